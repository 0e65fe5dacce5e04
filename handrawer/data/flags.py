"""What is doubtful about a picture: flagged for a person or a trainer to decide, never dropped.

Detectors miss fists and hands from the edge; whoever drops what is doubtful drops those.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from ..hand.fingers import extensions
from ..hand.hands import Hand
from ..hand.skinning import axis_angle_to_matrix
from .gesture_labels import NO_GESTURE, pattern_of, phrase_of, plain
from .items import Item, SourceHand
from .relabel import Found, Relabelled
from .soundness import rule

REASONS = {
    "box": "a box of the source does not lie around a hand",
    "gesture": "the gesture's name does not suit the fingers",
    "side": "the source says left, the hand looks right, or the other way round",
    "fit": "the hand does not look like one that is possible",
    "hand_not_found": "no hand was found where one should be",
    "annotation": "the source's words on the picture are damaged in part",
}
"""Reasons of flags."""

LEAST_OVERLAP = 0.35  # of a source's box and the hand that it is about
WORST_FIT = 0.032  # mean distance of fitted and seen landmarks over the hand's size
OPPOSITE = 0.75  # how far a finger must be on the other side of what the gesture's name says, 0.5 to 1
EDGE_ON = 0.35  # cosine of palm normal and view under which a hand is seen from its side


@dataclass(frozen=True)
class Flag:
    """One doubt about one picture."""

    reason: str
    text: str
    """A sentence for a person."""
    hand: int | None = None
    """Which of the frame's hands."""

    def to_dict(self) -> dict[str, Any]:
        return {"reason": self.reason, "text": self.text} | ({} if self.hand is None else {"hand": self.hand})


def flags_of(item: Item, relabelled: Relabelled) -> list[Flag]:
    """Every doubt about a picture; none is a good sign."""
    flags = [Flag("annotation", f"{fault[0].upper()}{fault[1:]}.") for fault in item.faults]
    told = item.hands or ()
    flags += _boxes(told, relabelled)
    if not relabelled.found:
        flags.append(Flag("hand_not_found", "No hand was found in the picture."))
    alone = item.label if len(relabelled.found) == 1 and item.hands is None else None
    for place, found in enumerate(relabelled.found):
        source = told[found.source] if found.source is not None else None
        label = source.label if source is not None else alone
        flags += _gesture(place, found.hand, label) + _side(place, found, source) + _fit(place, found)
    return flags


def _boxes(told: tuple[SourceHand, ...], relabelled: Relabelled) -> list[Flag]:
    """Boxes without a hand and hands without a box; a box beside the only hand is a wrong box, not a missing hand."""
    flags = []
    boxed = any(source.box is not None for source in told)
    strays = [place for place, one in enumerate(relabelled.found) if one.source is None] if boxed else []
    for place in relabelled.missing:
        if strays:
            text = f"Box {place} shows no hand, but a hand is seen where no box is."
            flags.append(Flag("box", text, strays.pop(0)))
        elif relabelled.found:
            flags.append(Flag("hand_not_found", f"No hand was found in box {place}."))
    flags += [Flag("box", "A hand is seen where the source has no box.", place) for place in strays]
    for place, one in enumerate(relabelled.found):
        if one.source is not None and told[one.source].box is not None and one.overlap < LEAST_OVERLAP:
            flags.append(Flag("box", f"The source's box and the hand overlap by {100 * one.overlap:.0f} %.", place))
    return flags


def _gesture(place: int, hand: Hand, label: str | None) -> list[Flag]:
    pattern = pattern_of(label)
    if pattern is None or label is None:
        return []
    wrong = []
    names = ("thumb", "index finger", "middle finger", "ring finger", "little finger")
    for name, wanted, extended in zip(names, pattern, extensions(hand.joints).tolist(), strict=True):
        if wanted is not None and (1 - extended if wanted else extended) >= OPPOSITE:
            wrong.append(f"the {name} is {'extended' if extended >= 0.5 else 'curled'}")
    if not wrong:
        return []
    return [Flag("gesture", f"The source calls it {phrase_of(label)} ({plain(label)}), but {', '.join(wrong)}.", place)]


def _side(place: int, found: Found, source: SourceHand | None) -> list[Flag]:
    if source is None or source.side is None or found.hand.side == source.side or found.how == "landmarks":
        return []
    doubt = " (the fit itself is unsure)" if found.hand.unsure else ""
    return [Flag("side", f"The source says {source.side}, it looks like a {found.hand.side} hand{doubt}.", place)]


def _fit(place: int, found: Found) -> list[Flag]:
    """Landmarks that no possible hand explains; and hands that look malformed, whatever the landmarks say."""
    if found.residual > WORST_FIT:
        text = f"The fitted hand misses what is seen by {100 * found.residual:.1f} % of its size."
        return [Flag("fit", text, place)]
    if found.soundness is not None and found.soundness < rule().least:
        share = 100 / (1 + math.exp(-found.soundness))
        text = f"The hand looks malformed: of hands that look like this {share:.0f} % are sound, where half of all are."
        return [Flag("fit", text, place)]
    return []


def view_of(hand: Hand) -> str:
    """`palm`, `back` or `side`: what of the hand the camera sees."""
    towards = torch.nn.functional.normalize(hand.translation, dim=0)
    cosine = float(axis_angle_to_matrix(hand.orientation)[:, 2] @ towards)
    return "side" if abs(cosine) < EDGE_ON else "palm" if cosine > 0 else "back"


def gesture_is_doubtful(flags: list[Flag], place: int) -> bool:
    """Whether the gesture's name of a hand should not be believed."""
    return any(flag.reason == "gesture" and flag.hand == place for flag in flags)


def is_no_gesture(label: str | None) -> bool:
    """Whether a label only says that no gesture is made."""
    return label is None or plain(label) == NO_GESTURE
