"""What is done with the latents that a run brought home: sheets, and the same pictures before a second judge."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from handrawer.hand.model import load_open_hand
from handrawer.render.pictures import save_picture, sheet

from .base import FrozenBase, load_base
from .collect import score
from .judging import find_hands
from .poses import held_out_wanted, truth
from .sampling import decode
from .variants import ARMS

SHOWN = 6


def latents_of(folder: Path) -> dict[str, torch.Tensor]:
    """All kept latents by name, float32."""
    from safetensors.torch import load_file

    found: dict[str, torch.Tensor] = {}
    for file in ("latents.safetensors", "more_latents.safetensors"):
        if (folder / file).exists():
            found |= load_file(folder / file)
    return {name: value.float() for name, value in found.items()}


def second_judge(folder: Path, store: Path) -> None:
    """How often mediapipe itself and the networks in torch give the same score to the kept pictures of every arm."""
    base, latents = load_base(torch.device("cpu")), latents_of(folder)
    names = [name for name in latents if name.split(".")[0] in ARMS]
    first = [name for name in names if name.endswith(names[0].rpartition(".")[2])]
    wanted = held_out_wanted(len(latents[first[0]]), load_open_hand())
    detections = np.load(folder / "detections.npz")
    rows, same, close = {}, [], []
    for name in first:
        pictures = decode(base, latents[name], 8)
        other = np.array(score(find_hands(pictures.numpy(), "mediapipe"), wanted)["joints"]) / 21
        own = np.array(score(detections[name][: len(pictures)], wanted)["joints"]) / 21
        rows[name] = {"mediapipe": round(float(other.mean()), 4), "torch": round(float(own.mean()), 4)}
        same += ((other > 0) == (own > 0)).tolist()
        close += (abs(other - own) <= 0.1).tolist()
    kept = json.loads(store.read_text())
    shares = {"within a tenth": float(np.mean(close)), "both or neither": float(np.mean(same))}
    kept["agreement"] = {"pictures": len(same), "arms": rows} | shares
    store.write_text(json.dumps(kept, separators=(",", ":")))


def _strip(base: FrozenBase, latents: torch.Tensor) -> list[torch.Tensor]:
    return list(decode(base, latents[:SHOWN], 8).float() / 255)


def sheets(folder: Path) -> None:
    """reports/ablation/sheet.jpg: the first poses of every arm; and those of lighter and beyond."""
    base, latents = load_base(torch.device("cpu")), latents_of(folder)
    seed = next(name for name in latents if name.startswith("full.")).rpartition(".")[2]
    wanted = list(truth(SHOWN, load_open_hand(), 8).permute(0, 2, 3, 1))
    arms = {"text": "text alone", "shipped": "the adapter that ships"}
    arms |= {f"{name}.{seed}": arm.title for name, arm in ARMS.items()}
    few = {"few.student": "four-step student", "few.base guided": "base, 4 steps, guided", "few.base": "base, 4 steps",
           "stored.float8_e4m3fn": "adapter in 8 bits", f"small.{seed}": "half width"}  # fmt: skip
    zero = {name: name.removeprefix("zero.").replace(".", " ", 1) for name in latents if name.startswith("zero.")}
    machine = {"machine.ceiling": "wanted", "machine.21": "adapter", "machine.22": "adapter", "machine.text": "text"}
    for place, titles, with_truth in (
        ("ablation/sheet.jpg", arms, True),
        ("lighter/sheet.jpg", few, True),
        ("beyond/zero_shot.jpg", zero, True),
        ("beyond/machine.jpg", machine, False),
    ):
        shown = list(wanted) if with_truth else []
        labels = ["wanted"] + [""] * (SHOWN - 1) if with_truth else []
        for name, title in titles.items():
            if name in latents:
                row = _strip(base, latents[name])
                shown += row
                labels += [title] + [""] * (len(row) - 1)
        path = Path("reports") / place
        path.parent.mkdir(parents=True, exist_ok=True)
        if shown:
            save_picture(path, sheet(shown, SHOWN, labels, cell=112))
