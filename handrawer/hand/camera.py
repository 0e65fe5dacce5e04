"""Cameras and the way from one picture to another: the one place where coordinates are converted.

Picture coordinates are normalised: x right, y down, [0, 1] over width and height, pixel centres at (i + 0.5) / size.
Going to another picture is always uniform (one scale for x and y in pixels), in 2D and in the camera together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Box = Sequence[float] | Tensor
"""(x0, y0, x1, y1), normalised."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with square pixels.

    ``focal`` is in picture widths, the principal point ``cx``, ``cy`` in normalised picture coordinates.
    """

    focal: float
    cx: float = 0.5
    cy: float = 0.5

    def __post_init__(self):
        if not (math.isfinite(self.focal) and self.focal > 0 and math.isfinite(self.cx) and math.isfinite(self.cy)):
            raise ValueError(f"A camera needs a positive focal length and a finite principal point, got {self}.")


def default_camera(width: int, height: int) -> Camera:
    """A camera for a picture about which nothing is known: 37 degrees along the picture's longer side."""
    return Camera(focal=1.5 * max(width, height) / width)


def project(points: Tensor, camera: Camera, width: int, height: int) -> Tensor:
    """Points [..., 3] in metres in the camera frame (z > 0) to picture coordinates [..., 2]; differentiable.

    ``u = focal x / z + cx``, ``v = focal (y / z) (width / height) + cy``. Points at or behind the camera have no
    projection: what comes out for them is not meaningful.
    """
    x, y, z = points.unbind(dim=-1)
    u = camera.focal * x / z + camera.cx
    v = camera.focal * (width / height) * y / z + camera.cy
    return torch.stack([u, v], dim=-1)


def unproject(points: Tensor, depth: Tensor, camera: Camera, width: int, height: int) -> Tensor:
    """Picture coordinates [..., 2] at depths [...] in metres to points [..., 3]; the inverse of ``project``."""
    x = (points[..., 0] - camera.cx) * depth / camera.focal
    y = (points[..., 1] - camera.cy) * depth * (height / width) / camera.focal
    return torch.stack([x, y, depth], dim=-1)


@dataclass(frozen=True)
class Placement:
    """Where one picture lies in another: ``target pixel = scale * source pixel + offset``."""

    scale: float
    offset_x: float
    offset_y: float
    source_width: int
    source_height: int
    target_width: int
    target_height: int

    def __post_init__(self):
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"A placement needs a positive scale, got {self.scale}.")
        sizes = (self.source_width, self.source_height, self.target_width, self.target_height)
        if min(sizes) < 1:
            raise ValueError(f"Pictures need a width and height of at least one pixel, got {sizes}.")

    def points(self, xy: Tensor) -> Tensor:
        """[..., 2] normalised in the source to normalised in the target."""
        return xy * xy.new_tensor(self._factor) + xy.new_tensor(self._shift)

    def box(self, box: Tensor) -> Tensor:
        """[..., 4] boxes, normalised in the source, to the target."""
        return torch.cat([self.points(box[..., :2]), self.points(box[..., 2:])], dim=-1)

    def camera(self, camera: Camera) -> Camera:
        """The target's camera: it projects to where ``points`` puts the source camera's projection."""
        (scale_x, scale_y), (shift_x, shift_y) = self._factor, self._shift
        return Camera(camera.focal * scale_x, camera.cx * scale_x + shift_x, camera.cy * scale_y + shift_y)

    def inverse(self) -> Placement:
        """From the target back to the source."""
        return Placement(
            1 / self.scale, -self.offset_x / self.scale, -self.offset_y / self.scale,
            self.target_width, self.target_height, self.source_width, self.source_height,
        )  # fmt: skip

    @property
    def _factor(self) -> tuple[float, float]:
        return (
            self.scale * self.source_width / self.target_width,
            self.scale * self.source_height / self.target_height,
        )

    @property
    def _shift(self) -> tuple[float, float]:
        return self.offset_x / self.target_width, self.offset_y / self.target_height


def contain(source_width: int, source_height: int, target_width: int, target_height: int) -> Placement:
    """The whole source in the middle of the target, as large as it fits."""
    _check_sizes(source_width, source_height, target_width, target_height)
    scale = min(target_width / source_width, target_height / source_height)
    return _centred(scale, source_width, source_height, target_width, target_height)


def cover(source_width: int, source_height: int, target_width: int, target_height: int) -> Placement:
    """The source's middle filling the whole target; what does not fit lies outside."""
    _check_sizes(source_width, source_height, target_width, target_height)
    scale = max(target_width / source_width, target_height / source_height)
    return _centred(scale, source_width, source_height, target_width, target_height)


def place_at_box(
    source_box: Box, source_width: int, source_height: int, target_box: Box, target_width: int, target_height: int
) -> Placement:
    """The source's box in the middle of the target's box, as large as it fits there."""
    _check_sizes(source_width, source_height, target_width, target_height)
    sx0, sy0, sx1, sy1 = _pixels(source_box, source_width, source_height)
    tx0, ty0, tx1, ty1 = _pixels(target_box, target_width, target_height)
    scale = min((tx1 - tx0) / (sx1 - sx0), (ty1 - ty0) / (sy1 - sy0))
    offset_x = (tx0 + tx1) / 2 - scale * (sx0 + sx1) / 2
    offset_y = (ty0 + ty1) / 2 - scale * (sy0 + sy1) / 2
    return Placement(scale, offset_x, offset_y, source_width, source_height, target_width, target_height)


def crop_around(
    box: Box, source_width: int, source_height: int, target_width: int, target_height: int, margin: float = 0.25
) -> Placement:
    """A crop of the source with the box in its middle; ``margin`` is left on each side, in shares of the box's size.

    The crop has the target's aspect ratio and may reach outside the source.
    """
    if not margin > -0.5:
        raise ValueError(f"A margin of {margin} leaves nothing of the box: use more than -0.5.")
    x0, y0, x1, y1 = (float(x) for x in box)
    wide, high = margin * (x1 - x0), margin * (y1 - y0)
    grown = (x0 - wide, y0 - high, x1 + wide, y1 + high)
    return place_at_box(grown, source_width, source_height, (0, 0, 1, 1), target_width, target_height)


def _centred(scale: float, source_width: int, source_height: int, target_width: int, target_height: int) -> Placement:
    offset_x = (target_width - scale * source_width) / 2
    offset_y = (target_height - scale * source_height) / 2
    return Placement(scale, offset_x, offset_y, source_width, source_height, target_width, target_height)


def _check_sizes(*sizes: int) -> None:
    if min(sizes) < 1:
        raise ValueError(f"Pictures need a width and height of at least one pixel, got {sizes}.")


def _pixels(box: Box, width: int, height: int) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(x) for x in box)
    if not (x1 > x0 and y1 > y0):
        raise ValueError(f"The box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) is empty: it needs x0 < x1 and y0 < y1.")
    return x0 * width, y0 * height, x1 * width, y1 * height
