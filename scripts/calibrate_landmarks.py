"""Measure where MediaPipe's landmarks lie on the open hand, and write `handrawer/estimate/landmark_offsets.json`.

Synthetic pictures are drawn whose joints are known, the detector looks at them, and for each of the 21 landmarks the
offset from the rig's joint is found that explains best where the detector saw it (robust least squares; the formula is
in `handrawer/estimate/calibration.py`). Half as many other pictures tell how well that works. Same seed, same file.

    python scripts/calibrate_landmarks.py            # some minutes on one core
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from handrawer.estimate.calibration import (
    OFFSETS_FILE,
    OWN_BONE,
    PARENT_BONE,
    palm_length,
    rig_to_mediapipe,
)
from handrawer.estimate.landmarks import LandmarkDetector
from handrawer.hand.joints import JOINT_NAMES
from handrawer.hand.model import HandModel, load_open_hand
from handrawer.mini.picture import draw_pictures, make_skin
from handrawer.mini.scene import Scene, draw_scenes

SIZE = 256  # pixels
BATCH = 16
RIGHT = 0.12  # mean joint error over the box's longer side, above which a detection is of no use here
NOISE = 0.02  # of a landmark, over the box's longer side
OFFSET_SIGMA = 0.15  # palm lengths, a weak belief that offsets are small
ROUNDS = 8


@dataclass
class Seen:
    """N detections: the hands drawn and what the detector saw. float64."""

    joints: Tensor  # [N, 21, 3]
    rotations: Tensor  # [N, 16, 3, 3]
    shape: Tensor  # [N, S]
    left: Tensor  # [N]
    focal: Tensor  # [N]
    extent: Tensor  # [N] longer side of the drawn joints' box
    points: Tensor  # [N, 21, 2] normalised


def look(seed: int, count: int, model: HandModel, backend: str) -> tuple[Seen, int]:
    """Draw `count` pictures and keep what was detected and roughly right; also how many were detected at all."""
    detector, skin = LandmarkDetector(backend=backend), make_skin(model)
    kept: list[tuple[Tensor, ...]] = []
    detected = 0
    for start in tqdm(range(0, count, BATCH), desc=f"Looking at pictures of seed {seed}", mininterval=5):
        scene = draw_scenes(seed, torch.arange(start, min(start + BATCH, count)), model)
        pictures = draw_pictures(scene, model, skin, size=SIZE).permute(0, 2, 3, 1)
        for i, picture in enumerate(pictures):
            found = detector(picture)
            if not found:
                continue
            detected += 1
            joints = scene.joints_2d[i]
            extent = (joints.amax(0) - joints.amin(0)).max()
            errors = [float((hand.points - joints).norm(dim=-1).mean() / extent) for hand in found]
            best = min(range(len(found)), key=errors.__getitem__)
            if errors[best] < RIGHT:
                kept.append((*_labels(scene, i), extent, found[best].points))
    if not kept:
        raise SystemExit(f"None of {count} pictures of seed {seed} shows the detector a hand ({detected} detections).")
    columns = [torch.stack(column) for column in zip(*kept, strict=True)]
    return Seen(*(c if c.dtype == torch.bool else c.double() for c in columns)), detected


def _labels(scene: Scene, i: int) -> tuple[Tensor, ...]:
    return scene.posed.joints[i], scene.posed.rotations[i], scene.shape[i], scene.left[i], scene.focal[i]


def predicted(seen: Seen, model: HandModel, offsets: Tensor) -> Tensor:
    """[N, 21, 2] where the detector should see the landmarks."""
    posed = type("Posed", (), {"joints": seen.joints, "rotations": seen.rotations})
    points = rig_to_mediapipe(model, posed, seen.shape, seen.left, offsets)  # type: ignore[arg-type]
    return seen.focal[:, None, None] * points[..., :2] / points[..., 2:] + 0.5


def solve(seen: Seen, model: HandModel) -> Tensor:
    """[21, 2, 3] offsets, by Gauss-Newton with Geman-McClure's weights, each landmark for itself."""
    offsets = torch.zeros(21, 6, dtype=torch.float64)
    mirror = torch.ones(len(seen.left), 1, 1, 6, dtype=torch.float64)
    mirror[seen.left, :, :, 0] = mirror[seen.left, :, :, 3] = -1
    turns = torch.cat([seen.rotations[:, OWN_BONE], seen.rotations[:, PARENT_BONE]], dim=-1) * mirror
    turns = turns * palm_length(model, seen.shape)[:, None, None, None]  # [N, 21, 3, 6]
    unit = (NOISE * seen.extent)[:, None, None]
    for _ in range(ROUNDS):
        points = seen.joints + torch.einsum("nkij,kj->nki", turns, offsets)
        x, y, z = points.unbind(-1)
        focal = seen.focal[:, None]
        drawn = torch.stack([focal * x / z + 0.5, focal * y / z + 0.5], dim=-1)
        slope = torch.zeros(*z.shape, 2, 3, dtype=torch.float64)
        slope[..., 0, 0] = slope[..., 1, 1] = focal / z
        slope[..., 0, 2], slope[..., 1, 2] = -focal * x / z**2, -focal * y / z**2
        jacobian = slope @ turns / unit[..., None]
        residual = (seen.points - drawn) / unit
        weight = 1 / (1 + residual.square().sum(-1) / 9) ** 2
        normal = torch.einsum("nkai,nkaj,nk->kij", jacobian, jacobian, weight)
        normal = normal + torch.eye(6, dtype=torch.float64) / OFFSET_SIGMA**2
        right = torch.einsum("nkai,nka,nk->ki", jacobian, residual, weight) - offsets / OFFSET_SIGMA**2
        offsets = offsets + torch.linalg.solve(normal, right[..., None])[..., 0]
    return offsets.view(21, 2, 3)


def errors(seen: Seen, model: HandModel, offsets: Tensor) -> Tensor:
    """[N, 21] distances over the box's longer side."""
    return (predicted(seen, model, offsets) - seen.points).norm(dim=-1) / seen.extent[:, None]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=900, help="pictures to learn from (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=8100, help="of the pictures (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=OFFSETS_FILE, help="where to write (default: %(default)s)")
    parser.add_argument("--backend", choices=("mediapipe", "torch"), default="mediapipe", help="%(default)s")
    options = parser.parse_args()
    model = load_open_hand()
    exact = model.to(dtype=torch.float64)
    learn, learned = look(options.seed, options.count, model, options.backend)
    held, detected = look(options.seed + 1, options.count // 2, model, options.backend)
    offsets = solve(learn, exact)
    before, after = (errors(held, exact, o) for o in (torch.zeros_like(offsets), offsets))
    numbers = {
        "pictures": options.count,
        "seed": options.seed,
        "detected": learned,
        "used": len(learn.left),
        "held_out_pictures": options.count // 2,
        "held_out_detected": detected,
        "held_out_used": len(held.left),
        "held_out_error_without": round(float(before.mean()), 4),
        "held_out_error_with": round(float(after.mean()), 4),
        "held_out_median_by_joint": {
            name: [round(float(b), 4), round(float(a), 4)]
            for name, b, a in zip(JOINT_NAMES, before.median(0).values, after.median(0).values, strict=True)
        },
    }
    table = [[[round(v, 4) for v in vector] for vector in joint] for joint in offsets.tolist()]
    text = {
        "what": "MediaPipe's landmarks beside the rig's joints (scripts/calibrate_landmarks.py): offsets in palm "
        "lengths with the own and the parent bone; errors are distances over the longer side of the joints' box, "
        "[without, with] offsets.",
        "models": {model.name: {"offsets": table, "measured": numbers}},
    }
    options.out.write_text(_dump(text), encoding="utf-8")
    print(json.dumps(numbers, indent=1))


def _dump(text: dict) -> str:
    """JSON with one joint's offsets a line."""
    dumped = json.dumps(text, indent=1)
    for model in text["models"].values():
        for joint in model["offsets"]:
            flat = json.dumps(joint)
            spread = json.dumps(joint, indent=1)
            for depth in range(8):
                dumped = dumped.replace(spread.replace("\n", "\n" + " " * depth), flat)
    return dumped + "\n"


if __name__ == "__main__":
    main()
