#!/usr/bin/env bash
# A virtual environment that runs a ComfyUI checkout with this project in it, and this project's tests.
#
#   bash scripts/make_host_environment.sh CHECKOUT VENV
#   COMFYUI_PATH=CHECKOUT VENV/bin/python -m pytest tests/nodes tests/host
#
# HANDRAWER_CI_TORCH   what pip is asked for as torch, default torch==2.13.0
# HANDRAWER_CI_PYTHON  the Python that makes the environment, default python3
set -euo pipefail
checkout="$1"
venv="$2"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
torch="${HANDRAWER_CI_TORCH:-torch==2.13.0}"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_PROGRESS_BAR=off

[ -x "$venv/bin/python" ] || "${HANDRAWER_CI_PYTHON:-python3}" -m venv "$venv"
pip() { "$venv/bin/python" -m pip install -q "$@"; }
pip "$torch"
# torchvision and torchaudio come built for another torch than a CPU-only one, and would pull theirs in. The host imports
# the first; tests/host/start_host.py declares the two operators which that import asks for.
minor="$("$venv/bin/python" -c 'import torch; print(torch.__version__.split(".")[1])')"
pip --no-deps "torchvision==0.$((minor + 15)).*" # 0.28 belongs to 2.13
needs="$(mktemp)"
constraints="$(mktemp)"
trap 'rm -f "$needs" "$constraints"' EXIT
grep -v -i -E '^(torch|torchvision|torchaudio)([^a-z]|$)' "$checkout/requirements.txt" > "$needs"
"$venv/bin/python" -m pip freeze | grep -i -E '^(torch|torchvision)==' | sed 's/+.*//' > "$constraints"
pip -c "$constraints" -r "$needs" -r "$root/requirements.txt" pytest pytest-xdist hypothesis accelerate scipy
