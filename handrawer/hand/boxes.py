"""Boxes ``(x0, y0, x1, y1)`` in normalised picture coordinates; they may reach outside [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def box_around(points: Tensor) -> Tensor:
    """The tight box [..., 4] around points [..., N, 2]."""
    return torch.cat([points.amin(dim=-2), points.amax(dim=-2)], dim=-1)


def union_box(boxes: Sequence[Tensor]) -> Tensor:
    """The tight box [4] around boxes [4]; raises ValueError for none."""
    if not boxes:
        raise ValueError("There is no box around no boxes.")
    stacked = torch.stack(list(boxes))
    return torch.cat([stacked[:, :2].amin(dim=0), stacked[:, 2:].amax(dim=0)])


def clip_box(box: Tensor) -> Tensor:
    """[..., 4] the part of a box inside the picture; of zero size at the edge if it lies outside."""
    return box.clamp(0, 1)


def box_area(box: Tensor) -> Tensor:
    """[...] area of boxes [..., 4], in shares of the picture's area; 0 for empty ones."""
    return (box[..., 2] - box[..., 0]).clamp_min(0) * (box[..., 3] - box[..., 1]).clamp_min(0)


def inside_share(box: Tensor) -> Tensor:
    """[...] which share of a box's area lies inside the picture, 0 to 1; 0 for an empty box."""
    return box_area(clip_box(box)) / box_area(box).clamp_min(torch.finfo(box.dtype).tiny)


def longer_side(box: Tensor, width: int, height: int) -> Tensor:
    """[...] the longer side of boxes [..., 4] in pixels."""
    return torch.maximum((box[..., 2] - box[..., 0]) * width, (box[..., 3] - box[..., 1]) * height)
