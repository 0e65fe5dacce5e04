"""The drawn grippers: what was wanted, what the adapter, the box alone and the text alone made of it."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.ablation.base import load_base
from benchmarks.ablation.pictures_at_home import latents_of
from benchmarks.ablation.sampling import decode
from handrawer.render.pictures import save_picture, sheet

from .machine import COPIES

SHOWN = 6


def sheet_of_machines(folder: Path, path: Path) -> Path:
    """Write the sheet of a run's kept latents."""
    base, latents = load_base(torch.device("cpu")), latents_of(folder)
    titles = {"ceiling": "wanted, VAE", f"adapter.{COPIES[0]}": "adapter", f"adapter.{COPIES[1]}": "another seed",
              f"box.{COPIES[0]}": "box only", "text": "text alone"}  # fmt: skip
    shown, labels = [], []
    titles = {name: title for name, title in titles.items() if f"machine.{name}" in latents}  # one seed has no other
    for name, title in titles.items():
        pictures = list(decode(base, latents[f"machine.{name}"][:SHOWN], 8).float() / 255)
        shown += pictures
        labels += [title] + [""] * (len(pictures) - 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_picture(path, sheet(shown, min(SHOWN, len(shown) // len(titles)), labels, cell=112))
    return path
