"""From what a run brought home to small scores that are kept in the repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from handrawer.hand.model import load_open_hand

from .judging import VALUES
from .poses import TWO_HANDS_FIRST, Wanted, held_out_wanted, subsets, two_hands, wanted_of

RADIUS = 0.1
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def score(found: np.ndarray, wanted: Wanted) -> dict[str, list]:
    """Detections [n, K, VALUES] against what is wanted, as handrawer.evaluate.score: the nearest hand counts.

    Returns for every picture and wanted hand: joints within 0.1 of the box's longer side (0 to 21), whether a hand was
    found, whether its side is right, and the mean joint error in thousandths of the box (-1 where none was found).
    """
    if found.shape[-1] != VALUES:
        raise ValueError(f"Detections have {VALUES} values a hand, not {found.shape[-1]}: make them again.")
    values = torch.from_numpy(found.astype(np.float32))
    points = values[..., :42].unflatten(-1, (21, 2))  # [n, K, 21, 2]
    longer = (wanted.boxes[..., 2:] - wanted.boxes[..., :2]).amax(-1)  # [n, hands]; the pictures are square
    rows: dict[str, list] = {"joints": [], "found": [], "side": [], "error": []}
    for k in range(wanted.points.shape[1]):
        errors = (points - wanted.points[:, k, None]).norm(dim=-1) / longer[:, k, None, None]
        mean = errors.mean(-1).nan_to_num(torch.inf)
        best = mean.argmin(1)
        row = torch.arange(len(best))
        there = torch.isfinite(mean[row, best])
        chosen = errors[row, best]
        right = values[row, best, 42] > 0.5
        side = torch.tensor([sides[k] == "right" for sides in wanted.sides])
        rows["joints"] += ((chosen <= RADIUS).sum(1) * there).tolist()
        rows["found"] += there.int().tolist()
        rows["side"] += ((right == side) & there).int().tolist()
        rows["error"] += torch.where(there, chosen.mean(1) * 1000, -1.0).nan_to_num(-1).round().int().tolist()
    return rows


def pack(rows: dict[str, list]) -> dict[str, str]:
    """What `score` gives as short strings: a character for each picture (joints in base 36; 0 not found, 1 found, 2
    found with the right side), two for its error (base 36, "--" where none was found)."""
    states = [str(found + side) for found, side in zip(rows["found"], rows["side"], strict=True)]
    errors = ["--" if e < 0 else DIGITS[min(e, 1295) // 36] + DIGITS[min(e, 1295) % 36] for e in rows["error"]]
    return {"joints": "".join(DIGITS[j] for j in rows["joints"]), "state": "".join(states), "error": "".join(errors)}


def unpack(packed: dict[str, str]) -> dict[str, np.ndarray]:
    """Of `pack`: pck [n] in 0..1, found [n] bool, side [n] bool, error [n] as a share of the box, NaN where none."""
    state = np.array([int(c) for c in packed["state"]])
    pairs = [packed["error"][i : i + 2] for i in range(0, len(packed["error"]), 2)]
    error = np.array([np.nan if p == "--" else int(p, 36) / 1000 for p in pairs])
    return {"pck": np.array([int(c, 36) for c in packed["joints"]]) / 21, "found": state > 0, "side": state == 2,
            "error": error}  # fmt: skip


def collect(folder: Path, store: Path | None = None) -> dict[str, Any]:
    """Scores of `folder`/detections.npz with the run's own notes, written to `store` (or folder/scores.json)."""
    detections = np.load(folder / "detections.npz")
    results = json.loads((folder / "results.json").read_text())
    model = load_open_hand()
    singles = [name for name in detections.files if not name.startswith("two.")]
    doubles = [name for name in detections.files if name.startswith("two.")]
    count = max(len(detections[name]) for name in singles)
    wanted = held_out_wanted(count, model)
    scores = {name: score(detections[name], wanted) for name in singles}
    if doubles:
        pairs = wanted_of(two_hands(len(detections[doubles[0]]), model)[0])
        scores |= {name: score(detections[name], pairs) for name in doubles}
    marks = {name: chosen.int().tolist() for name, chosen in subsets(count, model).items()}
    marks = {name: "".join(map(str, values)) for name, values in marks.items()}
    written = {name: pack(rows) for name, rows in scores.items()}
    kept = {"results": results, "subsets": marks, "scores": written, "two_hands_first": TWO_HANDS_FIRST}
    (store or folder / "scores.json").write_text(json.dumps(kept, separators=(",", ":")))
    return kept
