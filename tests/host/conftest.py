"""One server for all tests here; skipped, with the reason, where no ComfyUI can be started at all."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import checkout
from tests.host.server import ROOT, HostError, Server, install, python
from tests.nodes.random_mini import write_adapter, write_mini

# The checkout may have a package of the name, too.
SMALL_BASES = """import sys, types
sys.path.append({root!r})
tests = types.ModuleType("tests")
tests.__path__ = [{root!r} + "/tests"]
sys.modules["tests"] = tests
from tests.host.small_pack import NODE_CLASS_MAPPINGS
"""


def bare_host_error(place: Path, base: Path) -> str | None:
    """Why the host does not even start without this project, or None if it does."""
    for name in ("models", "input", "output", "temp", "user", "custom_nodes"):
        (base / name).mkdir(parents=True)
    found = subprocess.run(
        [python(), str(Path(__file__).with_name("start_host.py")), str(place), "--cpu", "--quick-test-for-ci",
         "--disable-all-custom-nodes", "--disable-api-nodes", "--base-directory", str(base),
         "--database-url", "sqlite:///:memory:"],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300,
    )  # fmt: skip
    return None if found.returncode == 0 else (found.stderr or found.stdout).strip().splitlines()[-1]


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = checkout()
    if place is None:
        pytest.skip("no ComfyUI checkout: set COMFYUI_PATH, or clone ComfyUI to ~/ComfyUI")
    base = tmp_path_factory.mktemp("host") / "base"
    pack = install(base)
    weights = pack / "handrawer" / "mini" / "weights"
    if not (weights / "unet").exists():  # a checkout without trained weights: any weights show that the nodes work
        write_mini(weights)
        write_adapter(weights / "handrawer.safetensors", weights)
    elsewhere = base.parent / "elsewhere"  # a folder of the user's own, named in extra_model_paths.yaml
    elsewhere.mkdir()
    shutil.copy(weights / "handrawer.safetensors", elsewhere / "from_yaml.safetensors")
    paths = base.parent / "paths.yaml"
    paths.write_text(f"mine:\n  base_path: {base.parent}\n  handrawer: elsewhere\n", encoding="utf-8")
    (base / "models" / "handrawer").mkdir()
    shutil.copy(weights / "handrawer.safetensors", base / "models" / "handrawer" / "mine.safetensors")
    (base / "models" / "handrawer" / "damaged.safetensors").write_bytes(b"not a file of tensors")
    (base / "models" / "diffusion_models").mkdir()
    shutil.copy(weights / "handrawer.safetensors", base / "models" / "diffusion_models" / "no_unet.safetensors")
    small = base / "custom_nodes" / "SmallBases"
    small.mkdir()
    (small / "__init__.py").write_text(SMALL_BASES.format(root=str(ROOT)), encoding="utf-8")
    try:
        server = Server(place, base, "--extra-model-paths-config", str(paths))
    except HostError:
        why = bare_host_error(place, tmp_path_factory.mktemp("bare") / "base")
        if why is None:
            raise  # it starts without this project: the fault is ours
        pytest.skip(f"{place} does not start with {python()} even without this project: {why}")
    yield server
    server.stop()
