"""Pictures and their hands moved together: cropped, padded, resized, flipped, turned, and all of it back again.

A pinhole camera with square pixels follows exactly the similarities of its picture: scale and shift change the focal
length and the principal point, a turn in the picture is a turn of everything about the camera's z axis, and a mirrored
picture shows mirrored hands: a right hand becomes a left one. Stretching has no camera, so there is none here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .boxes import box_around
from .camera import Camera, Placement, project
from .hands import Frame, Hand, Hands
from .skinning import axis_angle_to_matrix, matrix_to_axis_angle


@dataclass(frozen=True)
class Transform:
    """``target pixel = scale * turn @ mirror @ source pixel + offset``, for pixels that count from the left top corner.

    ``mirror`` is (x, y) -> (-x, y) where ``mirrored``, else nothing; ``turn`` is [[cosine, -sine], [sine, cosine]],
    clockwise in the picture for a positive sine.
    """

    scale: float
    cosine: float
    sine: float
    mirrored: bool
    offset_x: float
    offset_y: float
    source_width: int
    source_height: int
    target_width: int
    target_height: int

    def __post_init__(self):
        numbers = (self.scale, self.cosine, self.sine, self.offset_x, self.offset_y)
        if not (all(map(math.isfinite, numbers)) and self.scale > 0):
            raise ValueError(f"A transform needs a positive scale and finite numbers, got {self}.")
        if abs(math.hypot(self.cosine, self.sine) - 1) > 1e-9:
            raise ValueError(f"A turn by cosine {self.cosine} and sine {self.sine} would stretch the picture.")
        sizes = (self.source_width, self.source_height, self.target_width, self.target_height)
        if min(sizes) < 1:
            raise ValueError(f"Pictures need a width and height of at least one pixel, got {sizes}.")

    @property
    def turn(self) -> Tensor:
        """[2, 2] float64, turn and mirror without the scale."""
        first = -1.0 if self.mirrored else 1.0
        rows = [[self.cosine * first, -self.sine], [self.sine * first, self.cosine]]
        return torch.tensor(rows, dtype=torch.float64)

    @property
    def upright(self) -> bool:
        """Neither mirrored nor turned: crop, pad and resize alone."""
        return not self.mirrored and self.cosine == 1 and self.sine == 0

    @property
    def right_angled(self) -> bool:
        """Turned by a multiple of 90 degrees, or not at all."""
        return 0 in (self.cosine, self.sine)

    def pixels(self, xy: Tensor) -> Tensor:
        """[..., 2] pixels of the source to pixels of the target; float64."""
        offset = torch.tensor([self.offset_x, self.offset_y], dtype=torch.float64)
        return self.scale * (xy.double() @ self.turn.mT) + offset

    def points(self, xy: Tensor) -> Tensor:
        """[..., 2] normalised in the source to normalised in the target; float64."""
        source = torch.tensor([self.source_width, self.source_height], dtype=torch.float64)
        target = torch.tensor([self.target_width, self.target_height], dtype=torch.float64)
        return self.pixels(xy.double() * source) / target

    def camera(self, camera: Camera) -> Camera:
        """The target's camera: it projects transformed points to where ``points`` puts their projections."""
        centre = self.points(torch.tensor([camera.cx, camera.cy], dtype=torch.float64))
        focal = camera.focal * self.source_width * self.scale / self.target_width
        return Camera(focal, float(centre[0]), float(centre[1]))

    def hand(self, hand: Hand) -> Hand:
        """The hand in the target; mirrored, it is one of the other side."""
        camera = self.camera(hand.camera)
        if self.upright:
            corners = self.points(hand.box.view(2, 2)).flatten()
            return hand.replace(camera=camera, joints_2d=self.points(hand.joints_2d), box=corners)
        space = torch.eye(3, dtype=torch.float64)
        space[:2, :2] = self.turn
        vertices = hand.vertices.double() @ space.mT
        if self.right_angled:
            box = box_around(self.points(hand.box.view(2, 2)))
        else:
            box = box_around(project(vertices, camera, self.target_width, self.target_height))
        side = hand.side
        orientation = space @ axis_angle_to_matrix(hand.orientation.double())
        if self.mirrored:
            # A hand is orientation @ articulated, a left one has the mirror in between: it stays a turn if one more
            # mirror goes in, and the hand changes its side.
            side = "left" if hand.side == "right" else "right"
            orientation = orientation @ torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
        return hand.replace(
            side=side,
            orientation=matrix_to_axis_angle(orientation),
            translation=space @ hand.translation.double(),
            camera=camera,
            joints=hand.joints.double() @ space.mT,
            vertices=vertices,
            joints_2d=self.points(hand.joints_2d),
            box=box,
        )

    def frame(self, frame: Frame) -> Frame:
        """A picture's hands in the target.

        Raises:
            ValueError: the hands belong to a picture of another size than the source.
        """
        if (frame.width, frame.height) != (self.source_width, self.source_height):
            raise ValueError(
                f"The transform is for a picture of {self.source_width} x {self.source_height} pixels, "
                f"the hands belong to one of {frame.width} x {frame.height}."
            )
        hands = tuple(self.hand(hand) for hand in frame.hands)
        return dataclasses.replace(frame, width=self.target_width, height=self.target_height, hands=hands)

    def then(self, after: Transform) -> Transform:
        """This transform and then another, as one."""
        if (self.target_width, self.target_height) != (after.source_width, after.source_height):
            raise ValueError(
                f"A transform to {self.target_width} x {self.target_height} pixels cannot go on with one from "
                f"{after.source_width} x {after.source_height}."
            )
        turn = after.turn @ self.turn
        mirrored = self.mirrored != after.mirrored
        column = (turn[:, 0] * (-1.0 if mirrored else 1.0)).tolist()
        cosine, sine = _unit(column[0], column[1])
        offset = after.pixels(torch.tensor([self.offset_x, self.offset_y], dtype=torch.float64)).tolist()
        return Transform(
            self.scale * after.scale, cosine, sine, mirrored, offset[0], offset[1],
            self.source_width, self.source_height, after.target_width, after.target_height,
        )  # fmt: skip

    def inverse(self) -> Transform:
        """From the target back to the source."""
        back = self.turn.mT  # orthogonal
        column = (back[:, 0] * (-1.0 if self.mirrored else 1.0)).tolist()
        offset = (-(back @ torch.tensor([self.offset_x, self.offset_y], dtype=torch.float64)) / self.scale).tolist()
        return Transform(
            1 / self.scale, column[0], column[1], self.mirrored, offset[0], offset[1],
            self.target_width, self.target_height, self.source_width, self.source_height,
        )  # fmt: skip


def _unit(x: float, y: float) -> tuple[float, float]:
    length = math.hypot(x, y)
    return x / length, y / length


def identity(width: int, height: int) -> Transform:
    """The picture as it is."""
    return Transform(1.0, 1.0, 0.0, False, 0.0, 0.0, width, height, width, height)


def of_placement(placement: Placement) -> Transform:
    """A placement of ``camera.py`` as a transform."""
    return Transform(
        placement.scale, 1.0, 0.0, False, placement.offset_x, placement.offset_y,
        placement.source_width, placement.source_height, placement.target_width, placement.target_height,
    )  # fmt: skip


def crop(width: int, height: int, x: float, y: float, crop_width: int, crop_height: int) -> Transform:
    """The part of ``crop_width x crop_height`` pixels at (x, y); it may reach outside the picture: then it pads."""
    return Transform(1.0, 1.0, 0.0, False, -float(x), -float(y), width, height, crop_width, crop_height)


def pad(width: int, height: int, left: int, top: int, right: int, bottom: int) -> Transform:
    """Pixels added on each side; negative numbers cut."""
    return crop(width, height, -left, -top, width + left + right, height + top + bottom)


def resize(width: int, height: int, new_width: int, new_height: int, mode: str = "contain") -> Transform:
    """The whole picture at another size, in the middle and never stretched.

    Args:
        mode: ``contain`` shows all of it, ``cover`` fills the new size. Both are the same where the shapes agree.
    """
    ratios = (new_width / width, new_height / height)
    if mode not in ("contain", "cover"):
        raise ValueError(f"Unknown way of resizing {mode!r}: choose contain or cover.")
    scale = min(ratios) if mode == "contain" else max(ratios)
    offset_x, offset_y = (new_width - scale * width) / 2, (new_height - scale * height) / 2
    return Transform(scale, 1.0, 0.0, False, offset_x, offset_y, width, height, new_width, new_height)


def keeps_shape(width: int, height: int, new_width: int, new_height: int) -> bool:
    """Whether one scale serves both sides up to the rounding of the new size to whole pixels."""
    scale = (new_width + new_height) / (width + height)
    return abs(width * scale - new_width) <= 1 and abs(height * scale - new_height) <= 1


def flip(width: int, height: int, horizontally: bool = True, vertically: bool = False) -> Transform:
    """Left and right, top and bottom exchanged. Both together are half a turn: no hand changes its side."""
    cosine = -1.0 if vertically else 1.0
    mirrored = horizontally != vertically
    return Transform(
        1.0, cosine, 0.0, mirrored, float(width) if horizontally else 0.0, float(height) if vertically else 0.0,
        width, height, width, height,
    )  # fmt: skip


def rotate(width: int, height: int, degrees: float, expand: bool = True) -> Transform:
    """Turned clockwise about the middle.

    Args:
        expand: the new picture holds all of the old one; otherwise it keeps its size. Quarter turns are exact to the
            last bit, and exchange width and height where they expand.
    """
    quarters, rest = divmod(degrees, 90)
    if rest == 0:
        cosine, sine = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[int(quarters) % 4]
    else:
        cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    new_width, new_height = width, height
    if expand:
        # a hair less, so that rounding errors do not add a pixel
        new_width = max(1, math.ceil(abs(cosine) * width + abs(sine) * height - 1e-6))
        new_height = max(1, math.ceil(abs(sine) * width + abs(cosine) * height - 1e-6))
    middle_x, middle_y = width / 2, height / 2
    offset_x = new_width / 2 - (cosine * middle_x - sine * middle_y)
    offset_y = new_height / 2 - (sine * middle_x + cosine * middle_y)
    return Transform(1.0, cosine, sine, False, offset_x, offset_y, width, height, new_width, new_height)


def chain(steps: Sequence[Transform]) -> Transform:
    """Several transforms, one after another, as one; there must be at least one."""
    whole = steps[0]
    for step in steps[1:]:
        whole = whole.then(step)
    return whole


def transform_hands(hands: Hands, transforms: Sequence[Transform]) -> Hands:
    """Every picture's hands by its own transform; as many transforms as pictures."""
    return Hands(tuple(t.frame(frame) for t, frame in zip(transforms, hands.frames, strict=True)))
