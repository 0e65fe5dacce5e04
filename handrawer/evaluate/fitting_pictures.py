"""Pictures of known hands through the detector and the fit: what is found, which way round, and how far off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ..estimate.estimate import estimate_hands
from ..hand.camera import Camera
from ..hand.hands import Frame, Hand, Hands
from ..hand.model import load_open_hand
from ..hand.skinning import axis_angle_to_matrix
from ..mini.captions import SIDES, VIEWS
from ..mini.picture import Skin, draw_pictures, make_skin
from ..mini.scene import GESTURE_NAMES, NAMELESS, Scene, draw_scenes
from ..render.overlay import draw_overlay
from ..render.pictures import save_picture, sheet
from .known_hands import HAND_SIZE, procrustes
from .parallel import mapped

SIZE = 256  # pixels
BATCH = 8
SAME_HAND = 0.4  # mean joint distance over the hand's size, above which what was found is another thing
WORST = 12  # shown


@dataclass(frozen=True, eq=False)
class Seen:
    """One picture: what was in it, and the hand that was found in its place, if any."""

    gesture: str
    view: str
    side: str
    picture: Tensor
    hand: Hand | None
    facing: float = 0.0
    """Cosine of palm normal and view, of the drawn hand; positive shows the palm."""
    found_facing: float = 0.0
    aligned: float = 0.0
    """Mean joint error after Procrustes, millimetres at a hand of 190 mm."""
    rooted: float = 0.0
    """Mean joint error with the wrists put together, the same unit."""
    flat: float = 0.0
    """Mean joint error in the picture over the longer side of the joints' box."""

    @property
    def right_side(self) -> bool:
        return self.hand is not None and self.hand.side == self.side

    @property
    def right_way(self) -> bool:
        return self.facing * self.found_facing > 0

    @property
    def unsure(self) -> bool:
        return self.hand is not None and self.hand.unsure


def look_at_pictures(count: int, seed: int, thoroughness: str, workers: int = 1) -> list[Seen]:
    """``count`` drawn pictures of one hand each, and what the estimate makes of them; in so many processes."""
    tasks = [(seed, start, min(start + BATCH, count), thoroughness) for start in range(0, count, BATCH)]
    return [seen for some in mapped(_look_at_some, tasks, workers) for seen in some]


@cache
def _skin() -> Skin:
    return make_skin(load_open_hand())


def _look_at_some(task: tuple[int, int, int, str]) -> list[Seen]:
    seed, start, end, thoroughness = task
    model = load_open_hand()
    scene = draw_scenes(seed, torch.arange(start, end), model)
    pictures = draw_pictures(scene, model, _skin(), size=SIZE).permute(0, 2, 3, 1).contiguous()
    seen = []
    for i, picture in enumerate(pictures):
        # The camera is given, so that depth is not judged by a guess of the lens.
        camera = Camera(float(scene.focal[i]))
        frame = estimate_hands(picture[None], camera=camera, thoroughness=thoroughness).frames[0]
        seen.append(_seen(scene, i, picture, frame))
    return seen


def _seen(scene: Scene, i: int, picture: Tensor, frame: Frame) -> Seen:
    number = int(scene.gesture[i])
    label = {
        "gesture": "without a name" if number == NAMELESS else GESTURE_NAMES[number],
        "view": VIEWS[int(scene.view[i])],
        "side": SIDES[int(scene.side[i])],
        "picture": picture,
    }
    wanted = scene.joints_2d[i]
    extent = float((wanted.amax(dim=0) - wanted.amin(dim=0)).max())
    off = [float((hand.joints_2d - wanted).norm(dim=-1).mean()) / extent for hand in frame.hands]
    if not off or min(off) > SAME_HAND:
        return Seen(**label, hand=None)
    best = off.index(min(off))
    hand, joints = frame.hands[best], scene.posed.joints[i]
    chain = joints[[0, 9, 10, 11, 12]].diff(dim=0).norm(dim=1).sum()
    scale = HAND_SIZE / float(chain)
    aligned = procrustes(hand.joints[None].double(), joints[None].double())[0] - joints.double()
    rooted = (hand.joints - hand.joints[:1]) - (joints - joints[:1])
    return Seen(
        **label, hand=hand, flat=off[best],
        facing=_facing(scene.orientation[i], scene.translation[i]),
        found_facing=_facing(axis_angle_to_matrix(hand.orientation), hand.translation),
        aligned=scale * float(aligned.norm(dim=-1).mean()), rooted=scale * float(rooted.norm(dim=-1).mean()),
    )  # fmt: skip


def _facing(orientation: Tensor, translation: Tensor) -> float:
    return float(orientation[:, 2] @ torch.nn.functional.normalize(translation, dim=0))


def _percent(flags: list[bool]) -> str:
    return f"{100 * sum(flags) / len(flags):.1f} %" if flags else "-"


def _mean(values: list[float], digits: int = 1) -> str:
    return f"{sum(values) / len(values):.{digits}f}" if values else "-"


def table_by(seen: list[Seen], key: Callable[[Seen], str], title: str) -> str:
    """A Markdown table of the pictures by a property, and of all."""
    groups = sorted({key(s) for s in seen})
    lines = [
        f"| {title} | pictures | found | joints, Procrustes, mm | joints, wrists together, mm | "
        "joints in the picture, % | side right | palm/back right | unsure | both right of the sure ones |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in [*groups, "all"]:
        rows = [s for s in seen if name in ("all", key(s))]
        found = [s for s in rows if s.hand is not None]
        sure = [s for s in found if not s.unsure]
        cells = [
            str(len(rows)), _percent([s.hand is not None for s in rows]),
            _mean([s.aligned for s in found]), _mean([s.rooted for s in found]),
            _mean([100 * s.flat for s in found]), _percent([s.right_side for s in found]),
            _percent([s.right_way for s in found]), _percent([s.unsure for s in found]),
            _percent([s.right_side and s.right_way for s in sure]),
        ]  # fmt: skip
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def measure_pictures(out: Path, count: int, seed: int, thoroughness: str, workers: int = 1) -> list[str]:
    """The report's parts about pictures; the worst cases are drawn into ``out``."""
    seen = look_at_pictures(count, seed, thoroughness, workers)
    _draw_worst(seen, out / "worst.jpg")
    return [
        f"## {count} pictures",
        f"Synthetic pictures of {SIZE} x {SIZE} pixels (the project's own generator, seed {seed}, which neither the "
        f"calibration nor the rule of doubt has seen), `{thoroughness}` detection, the picture's own camera. "
        "Lengths as above, joints of the rig. A hand counts as found if the joints lie within 40 % of its size on "
        "average.",
        table_by(seen, lambda s: s.view, "view"),
        table_by(seen, lambda s: s.gesture, "gesture"),
        f"The {WORST} worst of the hands that were found and not flagged, by the error with the wrists together:",
        "![Worst cases: picture and fitted hand](worst.jpg)",
    ]


def _draw_worst(seen: list[Seen], path: Path) -> None:
    pictures, labels = [], []
    for s in sorted((s for s in seen if not s.unsure), key=lambda s: -s.rooted)[:WORST]:
        hands = Hands((Frame(SIZE, SIZE, () if s.hand is None else (s.hand,)),))
        pictures.append(torch.cat([s.picture, draw_overlay(s.picture[None], hands)[0]], dim=1))
        labels.append(f"{s.side}, {s.gesture}, {s.view}: {s.rooted:.0f} mm")
    if pictures:
        save_picture(path, sheet(pictures, 3, labels, cell=384))
