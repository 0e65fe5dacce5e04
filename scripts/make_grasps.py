"""Find how the open hand holds simple objects, and write handrawer/synthetic/grasps.json.

    python scripts/make_grasps.py [--out FILE]

For each grasp a pose to begin with, an object and the places that should touch it are given. The finger angles and the
object's place are then moved by gradient descent until these places lie on the object's surface (a signed distance) and
no vertex of the hand lies inside it, with angles inside the joint limits and near the pose they began with.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from handrawer.adapter.inputs import vertex_normals  # noqa: E402
from handrawer.hand.anatomy import ANGLE_NAMES, LIMITS, angles_to_rotations  # noqa: E402
from handrawer.hand.model import HandModel, load_open_hand  # noqa: E402
from handrawer.hand.skinning import axis_angle_to_matrix, pose_hand  # noqa: E402

OUT = ROOT / "handrawer" / "synthetic" / "grasps.json"
STEPS = 300
RATE = 0.02
FINGERS = ("thumb", "index", "middle", "ring", "little")


@dataclass(frozen=True)
class Wanted:
    """One grasp to find.

    Attributes:
        kind: what the object is called.
        shape: "cylinder" (radius, half length along y) or "box" (half extents x, y, z) or "ball" (radius).
        size: metres.
        angles: degrees to begin with, by the angle's name; thumb and fingers may be given in short, see `_angles`.
        place: of the object's middle in the wrist's frame, metres, or "tips": between thumb and finger tips.
        turn: of the object, degrees about x, y, z of the wrist's frame (a cylinder stands along y before).
        touch: regions that should touch, see `_regions`.
    """

    kind: str
    shape: str
    size: tuple[float, ...]
    thumb: tuple[float, float, float, float]
    fingers: tuple[tuple[float, float, float], ...]
    place: tuple[float, float, float]
    turn: tuple[float, float, float]
    touch: tuple[str, ...]
    spread: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    at_tips: tuple[str, ...] = ()


def curl(*values: float) -> tuple[tuple[float, float, float], ...]:
    """The same three flexions for all four fingers."""
    return ((values[0], values[1], values[2]),) * 4


ALL = tuple(f"{finger}_{part}" for finger in FINGERS[1:] for part in ("middle", "pad"))
PADS = tuple(f"{finger}_pad" for finger in FINGERS)
POWER = ("palm", "thumb_pad", *ALL)
OPPOSED = (-34.0, 50.0, 18.0, 22.0)
WANTED = (
    Wanted("can", "cylinder", (0.032, 0.058), OPPOSED, curl(52, 48, 24), (-0.004, -0.08, -0.056), (0, 0, 82), POWER),
    Wanted("can", "cylinder", (0.027, 0.045), OPPOSED, curl(58, 56, 28), (-0.004, -0.08, -0.050), (0, 0, 78), POWER),
    Wanted("bottle", "cylinder", (0.034, 0.1), OPPOSED, curl(48, 44, 24), (-0.004, -0.08, -0.058), (0, 0, 84), POWER),
    Wanted("bottle", "cylinder", (0.029, 0.09), OPPOSED, curl(54, 52, 26), (-0.004, -0.08, -0.052), (0, 0, 78), POWER),
    Wanted("cup", "cylinder", (0.038, 0.046), (-40, 54, 12, 18), curl(44, 40, 20), (-0.004, -0.082, -0.062), (0, 0, 86),
           POWER),
    Wanted("stick", "cylinder", (0.012, 0.130), (-26, 46, 26, 46), curl(74, 76, 44), (-0.006, -0.078, -0.032),
           (0, 0, 72), POWER),
    Wanted("stick", "cylinder", (0.017, 0.110), (-26, 46, 24, 36), curl(68, 70, 38), (-0.006, -0.078, -0.038),
           (0, 0, 74), POWER),
    Wanted("ball", "ball", (0.034,), (-42, 52, 14, 22), curl(38, 40, 24), (0.004, -0.094, -0.056), (0, 0, 0),
           ("palm", *PADS), (12, 2, 8, 14)),
    Wanted("ball", "ball", (0.027,), (-36, 52, 14, 26), curl(48, 50, 30), (0.004, -0.090, -0.048), (0, 0, 0),
           PADS, (8, 1, 5, 10)),
    Wanted("ball", "ball", (0.018,), (-24, 47, 14, 15), ((50, 40, 20), (52, 44, 22), (60, 60, 30), (64, 62, 32)),
           (0, 0, 0), (0, 0, 0), PADS[:3], at_tips=("thumb", "index", "middle")),
    Wanted("box", "box", (0.026, 0.026, 0.026), (-36, 52, 10, 18), curl(50, 34, 16), (0, 0, 0), (20, 0, 0), PADS,
           (4, 0, 2, 4), at_tips=("thumb", "middle")),
    Wanted("box", "box", (0.040, 0.014, 0.022), (-34, 50, 10, 18), curl(52, 38, 18), (0, 0, 0), (20, 0, 0), PADS,
           (2, 0, 0, 0), at_tips=("thumb", "middle")),
    Wanted("phone", "box", (0.036, 0.074, 0.0042), (-30, 30, 10, 15), curl(22, 44, 24), (0.004, -0.098, -0.030),
           (0, 0, -8), ("palm", *PADS)),
    Wanted("phone", "box", (0.034, 0.069, 0.0045), (-44, 40, 10, 20), curl(26, 50, 26), (0.004, -0.092, -0.030),
           (0, 0, -14), ("palm", *PADS)),
    Wanted("card", "box", (0.043, 0.027, 0.0006), (-24, 47, 14, 15), ((51, 44, 18), (50, 46, 20), (52, 50, 24),
           (54, 52, 26)), (0, 0, 0), (0, 0, 0), PADS[:3], at_tips=("thumb", "index")),
    Wanted("card", "box", (0.027, 0.043, 0.0006), (-20, 44, 20, 20), ((46, 50, 20), (62, 66, 34), (70, 74, 40),
           (74, 76, 42)), (0, 0, 0), (0, 0, 0), PADS[:2], at_tips=("thumb", "index")),
    Wanted("pen", "cylinder", (0.0045, 0.070), (-24, 47, 14, 20), ((48, 42, 14), (54, 52, 24), (62, 66, 34),
           (66, 70, 36)), (0, 0, 0), (0, 0, 0), (*PADS[:2], "middle_side"), at_tips=("thumb", "index")),
    Wanted("pen", "cylinder", (0.0055, 0.072), (-30, 50, 20, 30), ((52, 48, 22), (58, 56, 28), (64, 70, 36),
           (68, 72, 38)), (0, 0, 0), (0, 0, 0), (*PADS[:2], "middle_side"), at_tips=("thumb", "index")),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--only", help="kinds, by comma")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = load_open_hand()
    regions = _regions(model)
    found = []
    for wanted in WANTED:
        if arguments.only is None or wanted.kind in arguments.only.split(","):
            found.append(find(wanted, model, regions))
    text = ",\n".join(json.dumps(grasp) for grasp in found)
    arguments.out.write_text(f'{{"script": "scripts/make_grasps.py", "grasps": [\n{text}\n]}}\n', encoding="utf-8")


def find(wanted: Wanted, model: HandModel, regions: dict[str, Tensor]) -> dict[str, object]:
    """Optimise one grasp, and say what was reached."""
    begin = _angles(wanted)
    low, high = LIMITS.float().unbind(-1)
    angles = begin.clone().requires_grad_(True)
    posed = _posed(model, begin)
    matrix, place = _start(wanted, posed.joints[0])
    place = place.clone().requires_grad_(True)
    turn = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([{"params": [angles], "lr": RATE}, {"params": [turn], "lr": RATE},
                                  {"params": [place], "lr": RATE * 0.05}])  # fmt: skip
    start = place.detach().clone()
    # The thumb holds against all the others.
    weight = torch.tensor([36.0 if name.startswith("thumb") else 12.0 for name in wanted.touch])
    for step in range(STEPS):
        for group, rate in zip(optimizer.param_groups, (RATE, RATE, RATE * 0.05), strict=True):
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        vertices = _posed(model, angles).vertices[0]
        rotation = axis_angle_to_matrix(turn) @ matrix
        distance = signed_distance(wanted, (vertices - place) @ rotation)
        touching = torch.stack([_nearest(distance[regions[name]]) for name in wanted.touch])
        inside = (-distance - 0.0008).clamp_min(0)
        loss = (
            (F.smooth_l1_loss(touching / 0.004, torch.zeros_like(touching), reduction="none", beta=6.0) * weight).mean()
            + (inside / 0.002).square().sum() / 12
            + 0.6 * (angles - begin).square().mean()
            + 2.0 * turn.square().mean()
            + ((place - start) / 0.03).square().mean()
            + 40 * ((low - angles).clamp_min(0) + (angles - high).clamp_min(0)).square().sum()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        angles.copy_(torch.maximum(torch.minimum(angles, high), low))
        vertices = _posed(model, angles).vertices[0]
        rotation = axis_angle_to_matrix(turn) @ matrix
        distance = signed_distance(wanted, (vertices - place) @ rotation)
        gaps = {name: round(1000 * float(_nearest(distance[regions[name]])), 1) for name in wanted.touch}
        deepest = 1000 * float((-distance).clamp_min(0).max())
    print(f"{wanted.kind} {wanted.size}: deepest {deepest:.1f} mm; gaps {gaps}", flush=True)
    return {
        "kind": wanted.kind, "shape": wanted.shape, "size": list(wanted.size),
        "angles": [round(a, 4) for a in angles.tolist()], "place": [round(p, 5) for p in place.tolist()],
        "rotation": [[round(x, 5) for x in row] for row in rotation.tolist()],
    }  # fmt: skip


def signed_distance(wanted: Wanted, points: Tensor) -> Tensor:
    """Metres from the object's surface, negative inside; points [P, 3] in the object's own frame."""
    if wanted.shape == "ball":
        return points.norm(dim=-1) - wanted.size[0]
    if wanted.shape == "cylinder":
        radius, half = wanted.size
        outside = torch.stack([points[:, [0, 2]].norm(dim=-1) - radius, points[:, 1].abs() - half], -1)
    else:
        outside = points.abs() - torch.tensor(wanted.size)
    return outside.clamp_min(0).norm(dim=-1) + outside.amax(-1).clamp_max(0)


def _nearest(distance: Tensor) -> Tensor:
    """The mean of a region's three nearest distances: a pad touches with a spot."""
    return distance.topk(min(3, len(distance)), largest=False).values.mean()


def _angles(wanted: Wanted) -> Tensor:
    thumb = ("thumb_cmc_flexion", "thumb_cmc_abduction", "thumb_mcp_flexion", "thumb_ip_flexion")
    values: dict[str, float] = dict(zip(thumb, wanted.thumb, strict=True))
    for finger, bends, spread in zip(FINGERS[1:], wanted.fingers, wanted.spread, strict=True):
        for part, bend in zip(("mcp", "pip", "dip"), bends, strict=True):
            values[f"{finger}_{part}_flexion"] = bend
        values[f"{finger}_mcp_abduction"] = spread
    return torch.tensor([math.radians(values.get(name, 0.0)) for name in ANGLE_NAMES])


def _posed(model: HandModel, angles: Tensor):
    zero = torch.zeros(1, model.shape_dirs.shape[-1])
    rotations = angles_to_rotations(model, angles[None])
    return pose_hand(model, rotations, zero, torch.eye(3)[None], torch.zeros(1, 3), torch.zeros(1, dtype=torch.bool))


def _start(wanted: Wanted, joints: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation [3, 3] and place [3] of the object to begin with."""
    x, y, z = (axis_angle_to_matrix(torch.tensor(axis) * math.radians(angle)) for axis, angle in zip(
        ([1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]), wanted.turn, strict=True))  # fmt: skip
    matrix, place = z @ y @ x, torch.tensor(wanted.place)
    if wanted.at_tips:
        tips = torch.stack([joints[4 + 4 * FINGERS.index(name)] for name in wanted.at_tips])
        place = (tips[0] + tips[1:].mean(0)) / 2
        across = F.normalize(tips[1:].mean(0) - tips[0], dim=0)  # from the thumb to the fingers
        if wanted.kind == "card":  # its face towards the fingers, its edge between the tips
            out = F.normalize(tips[0] - joints[2] + tips[1] - joints[5], dim=0)
            out = F.normalize(out - (out @ across) * across, dim=0)
            matrix = torch.stack([torch.linalg.cross(out, across), out, across], -1)
            place = place + out * (wanted.size[1] - 0.012)
        elif wanted.kind == "pen":  # from between the tips back over the side of the index finger's knuckle
            back = F.normalize(joints[5] + torch.tensor([0.014, 0.0, 0.004]) - place, dim=0)
            side = F.normalize(torch.linalg.cross(back, across), dim=0)
            matrix = torch.stack([torch.linalg.cross(back, side), back, side], -1)
            place = place + back * (wanted.size[1] - 0.032)
        elif wanted.shape == "box":
            up = F.normalize(torch.tensor([1.0, 0, 0]) - across[0] * across, dim=0)
            matrix = torch.stack([up, across, torch.linalg.cross(up, across)], -1)
    return matrix, place


def _regions(model: HandModel) -> dict[str, Tensor]:
    """Vertices by name: the pad and the middle phalanx's palmar side of each finger, the palm, the middle's side."""
    normal = vertex_normals(model.template[None], model.faces, torch.zeros(1, dtype=torch.bool))[0]
    found: dict[str, Tensor] = {}
    nails = torch.zeros(len(model.template), dtype=torch.bool)
    nails[model.regions["nails"]] = True
    for number, finger in enumerate(FINGERS):
        distal, middle = model.parts == 3 + 3 * number, model.parts == 2 + 3 * number
        away = -F.normalize(normal[distal & nails].mean(0), dim=0)
        found[f"{finger}_pad"] = torch.nonzero(distal & (normal @ away > 0.75))[:, 0]
        found[f"{finger}_middle"] = torch.nonzero(middle & (normal @ away > 0.75))[:, 0]
    side = (model.parts == 9) & (normal[:, 0] > 0.8)
    found["middle_side"] = torch.nonzero(side)[:, 0]
    spot = (model.parts == 0) & (normal[:, 2] < -0.7) & (model.template[:, 1] < -0.055)
    found["palm"] = torch.nonzero(spot)[:, 0]
    return found


if __name__ == "__main__":
    main()
