"""The hands of one picture, put beside what the source says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..estimate.doubt import fit_judged
from ..estimate.estimate import estimate_hands
from ..estimate.fit import hands_of_fit
from ..hand.boxes import box_area
from ..hand.hands import Frame, Hand
from ..hand.model import load_open_hand
from .items import Item, SourceHand
from .soundness import soundness

SEARCHES = ("fast", "balanced", "thorough")
AROUND = 0.15  # share of the longer side by which a hand's flesh reaches beyond its joints
SAME_PLACE = 0.15  # least overlap (intersection over union) of a source's box and the hand that it is about
LOOK_AROUND = 0.2  # share of a source's box that is looked at beyond its edges
BOX_CONFIDENCE = 0.35  # where the source says that there is a hand, the landmark network need not be as sure
FROM_LANDMARKS = 0.5  # confidence of a hand that the detector did not see


@dataclass(frozen=True, eq=False)
class Found:
    """One hand, and how it was found."""

    hand: Hand
    how: str
    """`picture`, `box` (looked for in the source's box) or `landmarks` (fitted to the source's points)."""
    source: int | None = None
    """Place in `Item.hands` of what the source says about it."""
    overlap: float = 0.0
    """Intersection over union of the source's box and the hand's."""
    soundness: float | None = None
    """Log odds that the hand is a sound one, see `soundness`; None where the detector did not see it."""

    @property
    def residual(self) -> float:
        """Mean distance of fitted and detected landmarks, in shares of the longer side of their box."""
        residual = self.hand.joint_residual
        return 0.0 if residual is None else float(residual.mean())


@dataclass(frozen=True, eq=False)
class Relabelled:
    """All hands of one picture."""

    frame: Frame
    found: tuple[Found, ...]
    """In the order of the frame's hands."""
    missing: tuple[int, ...] = ()
    """Places in `Item.hands` of hands that were not found."""
    notes: tuple[str, ...] = field(default=())


def relabel(picture: Tensor, item: Item, search: str = "fast") -> Relabelled:
    """Find the hands of a picture and match them with the source's.

    The whole picture is searched first. Where the source has a box and nothing was found, the box is looked at more
    closely; where nothing is found there either, the source's own landmarks serve, if it has any. Where the source
    tells nothing and nothing was found, the picture is searched once more, thoroughly.

    Args:
        picture: [H, W, 3] float in [0, 1].
        search: how thoroughly the whole picture is searched at first, see `estimate.landmarks`.
    """
    height, width = picture.shape[:2]
    frame = estimate_hands(picture[None], max_hands=10, thoroughness=search).frames[0]
    if item.hands is None and not frame.hands and search == "fast":
        frame = estimate_hands(picture[None], max_hands=10, thoroughness="balanced").frames[0]
    told = item.hands or ()
    pairs = _matched(frame.hands, told, width, height)
    found = [Found(hand, "picture", *pairs.get(place, (None, 0.0))) for place, hand in enumerate(frame.hands)]
    missing = []
    for place, source in enumerate(told):
        if any(one.source == place for one in found):
            continue
        looked = _look(picture, source, [one.hand for one in found])
        if looked is None:
            missing.append(place)
        else:
            hand, how = looked
            found.append(Found(hand, how, place, _overlap(hand, source, width, height)))
    found = _judged(picture, found)
    found.sort(key=lambda one: -float(box_area(one.hand.box)))
    note = frame.note if not found else ""
    return Relabelled(Frame(width, height, tuple(one.hand for one in found), note), tuple(found), tuple(missing))


def _judged(picture: Tensor, found: list[Found]) -> list[Found]:
    """With the soundness of the hands that were seen; a hand that the source's landmarks mark shows nothing."""
    seen = [one for one in found if one.how != "landmarks"]
    odds = dict(zip(map(id, seen), soundness(picture, [one.hand for one in seen]), strict=True))
    return [replace(one, soundness=odds.get(id(one))) for one in found]


def flesh_box(hand: Hand, width: int, height: int) -> Tensor:
    """[4] the box of the hand as an annotator would draw it, without forearm: around its joints, a little larger."""
    low, high = hand.joints_2d.amin(dim=0), hand.joints_2d.amax(dim=0)
    size = torch.tensor([float(width), float(height)])
    grow = AROUND * float(((high - low) * size).max()) / size
    return torch.cat([low - grow, high + grow])


def _matched(
    hands: Sequence[Hand], told: Sequence[SourceHand], width: int, height: int
) -> dict[int, tuple[int | None, float]]:
    """For each hand's place the source's hand that overlaps it most, and by how much; each is given once."""
    overlaps = [
        (_overlap(hand, source, width, height), h, s) for h, hand in enumerate(hands) for s, source in enumerate(told)
    ]
    pairs: dict[int, tuple[int | None, float]] = {}
    for overlap, h, s in sorted(overlaps, key=lambda row: -row[0]):
        if overlap >= SAME_PLACE and h not in pairs and all(s != taken for taken, _ in pairs.values()):
            pairs[h] = (s, overlap)
    return pairs


def _overlap(hand: Hand, source: SourceHand, width: int, height: int) -> float:
    """Intersection over union of boxes, both cut at the picture's edge."""
    box = _source_box(source, width, height)
    if box is None:
        return 0.0
    own = flesh_box(hand, width, height).clamp(0, 1)
    box = box.clamp(0, 1)
    shared = float(box_area(torch.cat([torch.maximum(own[:2], box[:2]), torch.minimum(own[2:], box[2:])])))
    return shared / max(float(box_area(own) + box_area(box)) - shared, 1e-9)


def _source_box(source: SourceHand, width: int, height: int) -> Tensor | None:
    if source.box is not None:
        return torch.tensor(source.box)
    if source.landmarks is None:
        return None
    points = torch.tensor(source.landmarks)
    size = torch.tensor([float(width), float(height)])
    grow = AROUND * float(((points.amax(0) - points.amin(0)) * size).max()) / size
    return torch.cat([points.amin(0) - grow, points.amax(0) + grow])


def _look(picture: Tensor, source: SourceHand, known: Sequence[Hand]) -> tuple[Hand, str] | None:
    """The hand that the source speaks of, where the whole picture did not show it."""
    height, width = picture.shape[:2]
    box = _source_box(source, width, height)
    if box is None:
        return None
    around = LOOK_AROUND * (box[2:] - box[:2])
    wide = torch.cat([box[:2] - around, box[2:] + around])
    # A quick look at the box finds most; only what it does not find is worth several.
    for search in SEARCHES[:2]:
        frame = estimate_hands(
            picture[None], max_hands=3, min_confidence=BOX_CONFIDENCE, thoroughness=search, boxes=[wide[None]]
        ).frames[0]
        fresh = [hand for hand in frame.hands if not any(_is_same(hand, other, width, height) for other in known)]
        near = [(_overlap(hand, source, width, height), i) for i, hand in enumerate(fresh)]
        if near and max(near)[0] >= SAME_PLACE:
            return fresh[max(near)[1]], "box"
    if source.landmarks is not None:
        return _fitted(source, width, height), "landmarks"
    return None


def _is_same(hand: Hand, other: Hand, width: int, height: int) -> bool:
    size = torch.tensor([float(width), float(height)])
    extent = ((other.joints_2d.amax(0) - other.joints_2d.amin(0)) * size).max()
    apart = ((hand.joints_2d - other.joints_2d) * size).norm(dim=-1).mean()
    return bool(apart < 0.3 * extent)


def _fitted(source: SourceHand, width: int, height: int) -> Hand:
    """The hand that the source's own landmarks mark."""
    model = load_open_hand()
    points = torch.tensor(source.landmarks)[None]
    judged = fit_judged(model, points, width, height, [source.side])
    notes = [(*judged.notes[0], "It was fitted to the source's landmarks; the detector did not see it.")]
    return hands_of_fit(judged.fit, model, judged.side, width, height, [FROM_LANDMARKS], None, notes, judged.unsure)[0]
