"""What few steps look like: the same poses and noise, drawn by the teacher, the student and the base."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.ablation.base import load_base
from benchmarks.ablation.pictures_at_home import latents_of
from benchmarks.ablation.poses import truth
from benchmarks.ablation.sampling import decode
from handrawer.hand.model import load_open_hand
from handrawer.render.pictures import save_picture, sheet

SHOWN = 6
TITLES = {
    "few.teacher": "12 steps, guided",
    "few.student": "student, 4 steps",
    "few.base guided": "base, 4, guided",
    "few.base": "base, 4 steps",
    "few.teacher text": "text: 12, guided",
    "few.student text": "text: student, 4",
    "few.base guided text": "text: base, 4, guided",
    "few.base text": "text: base, 4 steps",
}


def sheet_of_steps(folder: Path, path: Path) -> Path:
    """Write the sheet of a run's kept latents."""
    base, latents = load_base(torch.device("cpu")), latents_of(folder)
    shown = list(truth(SHOWN, load_open_hand(), 8).permute(0, 2, 3, 1))
    labels = ["wanted"] + [""] * (SHOWN - 1)
    for name, title in TITLES.items():
        pictures = decode(base, latents[name][:SHOWN], 8).float() / 255
        shown += list(pictures)
        labels += [title] + [""] * (len(pictures) - 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_picture(path, sheet(shown, SHOWN, labels, cell=112))
    return path
