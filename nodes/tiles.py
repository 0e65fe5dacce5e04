"""Where a tile lies, told by its conditioning.

Upscalers that draw a picture tile by tile give every tile the same MODEL, but cut what ControlNets are shown. So a
conditioning can carry a control of our own, which controls nothing: its picture holds its own coordinates, and what is
left of them after the cut tells where the tile lies. It is taken out again before the host compares conditionings, so
they are batched as without it.
"""

import functools

import torch
from comfy.controlnet import ControlBase
from torch import Tensor

SIDE = 2048  # pixels of the coordinates' picture: tiles are known to a 2048th of the whole
Region = tuple[float, float, float, float]  # left, top, right, bottom, as shares of the whole picture
Regions = tuple[Region, ...]  # of the latents of a batch, in turn
WHOLE: Regions = ((0.0, 0.0, 1.0, 1.0),)


@functools.cache
def coordinates() -> Tensor:
    """[1, 2, SIDE, SIDE]: x and y of every pixel's centre, 0 to 1. Made where it is first wanted, and kept."""
    centres = (torch.arange(SIDE, dtype=torch.float32) + 0.5) / SIDE
    return torch.stack([centres.expand(SIDE, SIDE), centres[:, None].expand(SIDE, SIDE)])[None]


class Place(ControlBase):
    """A control that adds nothing and knows which part of the picture is drawn."""

    sub_idxs = None  # packs for video set it on every control, and refuse those that have no such thing

    def __init__(self, key: str) -> None:
        """key: of the apply node."""
        super().__init__()
        self.key = key
        self.cond_hint_original = coordinates()

    def copy(self) -> "Place":
        other = Place(self.key)
        self.copy_to(other)
        return other

    def get_control(self, *args, **kwargs):
        """What the controls before it give."""
        return None if self.previous_controlnet is None else self.previous_controlnet.get_control(*args, **kwargs)

    @property
    def regions(self) -> Regions:
        """What is left of the coordinates: the tile's place in the whole picture, or that of each tile of a batch."""
        found = []
        for across, down in zip(self.cond_hint_original[:, 0, 0], self.cond_hint_original[:, 1, :, 0], strict=True):
            (left, right), (top, bottom) = ends(across), ends(down)
            found.append((left, top, right, bottom))
        return tuple(found)


def ends(centres: Tensor) -> tuple[float, float]:
    """Edges of the part that pixels' centres cover, cut and resampled as they may be."""
    first, last = float(centres[0]), float(centres[-1])
    half = max((last - first) / max(len(centres) - 1, 1), 1 / SIDE) / 2
    return max(first - half, 0.0), min(last + half, 1.0)


def carrying(positive: list | None, negative: list | None, key: str) -> tuple[list | None, list | None]:
    """Both prompts with a Place for an apply node; one object wherever the controls before it are the same.

    A ControlNet which the host itself hands from the positive prompt to the negative one is left alone: the host does
    so only where the negative prompt has none.
    """
    places: dict[int, Place] = {}

    def placed(entry: list) -> list:
        before = entry[1].get("control")
        if id(before) not in places:
            place = Place(key)
            place.set_previous_controlnet(before)
            places[id(before)] = place
        return [entry[0], {**entry[1], "control": places[id(before)]}]

    handed_on = any(entry[1].get("control_apply_to_uncond") for entry in positive or ())
    if positive is not None:
        positive = [placed(entry) for entry in positive]
    if negative is not None and not handed_on:
        negative = [placed(entry) for entry in negative]
    return positive, negative


def period(regions: Regions) -> int:
    """After how many tiles the same ones come again: tiles of several pictures come picture by picture."""
    count = len(regions)
    return next(p for p in range(1, count + 1) if count % p == 0 and regions == regions[:p] * (count // p))


def regions_of(control: ControlBase | None, key: str) -> Regions | None:
    """The parts of the picture that a conditioning is for; None where nothing says so."""
    while control is not None:
        if isinstance(control, Place) and control.key == key:
            return control.regions
        control = control.previous_controlnet
    return None


def without_place(cond: dict, key: str) -> dict:
    """The host's conditioning without the Place of an apply node, unless a ControlNet was put on top of it."""
    control = cond.get("control")
    if not isinstance(control, Place):
        return cond
    left = taken_out(control, key)
    if left is None:
        return {name: value for name, value in cond.items() if name != "control"}
    return {**cond, "control": left}


def taken_out(control: ControlBase | None, key: str) -> ControlBase | None:
    if not isinstance(control, Place):
        return control
    before = taken_out(control.previous_controlnet, key)
    if control.key == key:
        return before
    other = control.copy()
    other.set_previous_controlnet(before)
    return other
