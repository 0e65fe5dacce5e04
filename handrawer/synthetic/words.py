"""Captions of worlds: what is seen, in the words of `mini.captions` and of prepared pictures."""

from __future__ import annotations

import torch
from torch import Tensor

from ..mini.captions import GESTURE_PHRASES, Caption
from ..mini.random_table import uniforms
from .drawing import OBJECT, OWNERS
from .objects import KINDS
from .world import STREAMS, World

LEAST = 0.002  # share of the picture from where a thing is spoken of
HIDER, *HELD = range(OBJECT, OWNERS)
KEEP = 0.8  # chance of each part after the first to be said
DARK, BRIGHT = -0.7, 0.5  # stops
THINGS = {kind: f"a {kind}" for kind in KINDS}
_SAID_OF_HANDS = ("gesture", "view")  # of Caption's parts, those that belong to one hand


def captions(world: World, seen: Tensor, seed: int, everything: bool = False) -> list[str]:
    """The captions of N worlds: of what is seen, as `drawing.Drawn.seen` [N, ...] says.

    Parts are left out at random, by the picture's number, unless `everything` is wanted.

    One hand: "a left hand, peace sign, palm view, tan skin, ..., people in the background". Two: "two hands, a left
    hand: peace sign, palm view, a right hand holding a ball: back view, ...".
    """
    first, second = world.first.captions(), world.second.captions()
    keep = uniforms(seed, world.index, 7, STREAMS["words"] - 40) < KEEP  # as plain pictures' words are left out
    more = uniforms(seed, world.index, 8, STREAMS["words"]) < KEEP
    visible = (seen > LEAST).tolist()
    two, grasp, extras = world.two.tolist(), world.grasp.tolist(), _extras(world, visible)
    found = []
    for row, (one, other) in enumerate(zip(first, second, strict=True)):
        said = [True] * 7 if everything else keep[row].tolist()
        held = [KINDS[kind] if kind >= 0 and visible[row][HELD[k]] else None for k, kind in enumerate(grasp[row])]
        if two[row]:
            hands = [_hand(one, held[0], ": ", said), _hand(other, held[1], ": ", said)]
            parts = ["two hands", *hands]
        else:
            parts = [_hand(one, held[0], ", ", said)]
        parts += [part for k, part in enumerate(_looks(one)) if said[(k + 2) % 7]]
        parts += [part for k, part in enumerate(extras[row]) if everything or bool(more[row, k % 8])]
        found.append(", ".join(parts))
    return found


def _hand(caption: Caption, held: str | None, link: str, said: list[bool]) -> str:
    head = f"a {caption.side} hand" + (f" holding {THINGS[held]}" if held else "")
    own = []
    if caption.gesture is not None and said[0]:
        own.append(GESTURE_PHRASES.get(caption.gesture, caption.gesture.replace("_", " ")))
    if said[1]:
        own.append(f"{caption.view} view")
    return link.join([head, ", ".join(own)]) if own else head


def _looks(caption: Caption) -> list[str]:
    """The parts that are alike for all hands of a picture."""
    parts = caption.parts()
    hand = {f"a {caption.side} hand", f"{caption.view} view"}
    if caption.gesture is not None:
        hand.add(GESTURE_PHRASES.get(caption.gesture, caption.gesture.replace("_", " ")))
    return [part for part in parts if part not in hand]


def _extras(world: World, visible: list[list[bool]]) -> list[list[str]]:
    """What options have added that is seen, for each picture."""
    chosen = {name: values.tolist() for name, values in world.chosen.items()}
    hidden, stops = world.hidden.tolist(), world.stops.tolist()
    people = torch.bincount(world.crowd.picture, minlength=len(hidden)).tolist()
    found = []
    for row, kind in enumerate(hidden):
        parts = ["one hand before the other"] if chosen["crossing"][row] else []
        if kind >= 0 and visible[row][HIDER]:
            parts.append(f"partly hidden by {THINGS[KINDS[kind]]}")
        if chosen["edge"][row]:
            parts.append("cut by the edge of the picture")
        if people[row] and visible[row][-1]:
            parts.append("a person in the background" if people[row] == 1 else "people in the background")
        if chosen["defocus"][row] or chosen["motion_blur"][row]:
            parts.append("blurred")
        if chosen["exposure"][row] and not DARK <= stops[row] <= BRIGHT:
            parts.append("dark photo" if stops[row] < DARK else "overexposed photo")
        found.append(parts)
    return found
