"""Captions of prepared pictures: the source's own words, how many hands, and for each side, gesture and view."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from ..hand.anatomy import rotations_to_angles
from ..hand.gestures import GESTURES
from ..hand.hands import Hand
from ..hand.model import OPEN_HAND, load_open_hand
from .flags import Flag, gesture_is_doubtful, is_no_gesture, view_of
from .gesture_labels import POSE_PHRASES, phrase_of
from .items import Item
from .relabel import Relabelled

NUMBERS = {0: "no hand", 2: "two hands", 3: "three hands", 4: "four hands"}
NEAR_GESTURE = 12.0  # degrees, mean over the angles
WORST_ANGLE = 45.0  # degrees


def describe(item: Item, relabelled: Relabelled, flags: list[Flag]) -> dict[str, Any]:
    """Caption, its parts, and a record of each hand, as they stand in `key.json`."""
    told = item.hands or ()
    hands = []
    for place, found in enumerate(relabelled.found):
        label = told[found.source].label if found.source is not None else None
        if item.hands is None and len(relabelled.found) == 1:
            label = item.label
        doubtful = gesture_is_doubtful(flags, place)
        named = "" if doubtful or is_no_gesture(label) else phrase_of(label)
        hand = found.hand
        hands.append({
            "side": hand.side, "view": view_of(hand), "label": label,
            "gesture": named or pose_phrase(hand),
            "box": [round(v, 6) for v in hand.box.tolist()], "confidence": round(hand.confidence, 4),
            "found": found.how, "residual": round(found.residual, 5), "unsure": hand.unsure,
            "soundness": None if found.soundness is None else round(found.soundness, 3),
        })  # fmt: skip
    parts = ([item.caption] if item.caption else []) + _parts(hands)
    return {"caption": ", ".join(parts), "parts": parts, "hands": hands}


def _parts(hands: list[dict[str, Any]]) -> list[str]:
    if len(hands) == 1:
        return [f"a {hands[0]['side']} hand", *_words(hands[0])]
    if not hands:
        return []
    count = NUMBERS.get(len(hands), f"{len(hands)} hands")
    return [count, *(" ".join([f"a {hand['side']} hand:", ", ".join(_words(hand))]) for hand in hands)]


def _words(hand: dict[str, Any]) -> list[str]:
    return ([hand["gesture"]] if hand["gesture"] else []) + [f"{hand['view']} view"]


def pose_phrase(hand: Hand) -> str:
    """What a pose is called, "" for one that is far from every named gesture."""
    model = load_open_hand()
    if hand.model != OPEN_HAND:
        return ""
    angles = torch.rad2deg(rotations_to_angles(model, hand.rotations()[None])[0].float())
    away = (angles - _named()).abs()
    best = int(away.mean(dim=1).argmin())
    if float(away[best].mean()) > NEAR_GESTURE or float(away[best].max()) > WORST_ANGLE:
        return ""
    name = tuple(GESTURES)[best]
    return POSE_PHRASES.get(name, name.replace("_", " "))


@functools.lru_cache(maxsize=1)
def _named() -> Tensor:
    return torch.rad2deg(torch.stack([gesture.angles for gesture in GESTURES.values()]).float())
