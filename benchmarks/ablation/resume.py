"""A run in several calls: what an earlier one left is taken over, if it is of the same run."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from handrawer.mini.pipeline import WEIGHTS

from .config import AblationConfig
from .workshop import Workshop

FILES = ("results.json", "detections.npz", "latents.safetensors", "more_latents.safetensors", "four_steps.safetensors")
FREE = ("seconds", "workers", "arms", "chunk", "beyond")  # settings that may differ from call to call


def fingerprint() -> str:
    """16 hexadecimal digits of the small model's weights."""
    digest = hashlib.sha256()
    for path in sorted(WEIGHTS.rglob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def settings(config: AblationConfig) -> dict[str, Any]:
    """A configuration as JSON has it."""
    return json.loads(json.dumps(asdict(config)))


def bring(earlier: Path | None, out: Path) -> None:
    """Copy an earlier call's files, unless there are results already."""
    if earlier is None or (out / "results.json").exists():
        return
    for name in FILES:
        if (earlier / name).exists():
            shutil.copyfile(earlier / name, out / name)


def take_over(shop: Workshop) -> None:
    """Results, detections and latents of earlier calls; what the detector had not come to is drawn again.

    Raises ValueError where they are of another base, or of other settings.
    """
    path, base = shop.out / "results.json", fingerprint()
    if path.exists():
        found = json.loads(path.read_text())
        if found.get("base") != base:
            raise ValueError(f"{path} was made on another small model: choose an empty folder.")
        now = settings(shop.config)
        changed = [k for k, v in now.items() if k not in FREE and found["config"].get(k) != v]
        if changed:
            raise ValueError(f"{path} was made with another {changed[0]}: choose an empty folder or the same settings.")
        shop.results |= {k: v for k, v in found.items() if k != "left"}
        _load(shop)
    shop.results |= {"base": base, "config": settings(shop.config)}


def _load(shop: Workshop) -> None:
    from safetensors.torch import load_file

    found = shop.out / "detections.npz"
    if found.exists():  # not in a call that ended before its first pictures
        with np.load(found) as file:
            shop.judge.found |= {name: file[name] for name in file.files}
    for name in ("latents.safetensors", "more_latents.safetensors"):
        if (shop.out / name).exists():
            shop.kept |= load_file(shop.out / name)
    # What the detector had not come to when a call ended is drawn again.
    for stage, names in shop.results.get("drew", {}).items():
        if not set(names) <= set(shop.judge.found):
            shop.results["stages"].pop(stage, None)
