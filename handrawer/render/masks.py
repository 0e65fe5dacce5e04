"""Masks around hands: boxes with padding and feather, growing and shrinking, soft edges."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..hand.hands import Frame, Hands
from .scene import frames_of


def box_mask(
    hands: Hands | Frame,
    width: int | None = None,
    height: int | None = None,
    *,
    padding: float = 0.1,
    feather: float = 0.0,
) -> Tensor:
    """[B, H, W] float32, 1 inside the boxes of the enabled hands, 0 outside.

    padding  grows each box on all sides by this share of its longer side (negative shrinks it)
    feather  width in pixels of the soft edge; it lies outside the box, which stays at 1. With 0, the edge pixels hold
             the share of them that the box covers
    width, height: as in render_layers. Where boxes overlap the larger value counts.
    """
    frames = frames_of(hands, width, height)
    masks = []
    for frame in frames:
        boxes = [hand.box.to(torch.float32) for hand in frame.hands if hand.enabled]
        mask = torch.zeros(frame.height, frame.width, device=boxes[0].device if boxes else "cpu")
        for box in boxes:
            size = torch.tensor([frame.width, frame.height], device=box.device)
            low, high = box[:2] * size, box[2:] * size
            grow = padding * (high - low).amax()
            one = soft_box(low - grow, high + grow, frame.width, frame.height, feather)
            mask = torch.maximum(mask, one)
        masks.append(mask)
    return torch.stack(masks) if masks else torch.zeros(0, 1, 1)


def soft_box(
    low: Tensor, high: Tensor, width: int, height: int, feather: float, part: tuple[slice, slice] | None = None
) -> Tensor:
    """[height, width], or those rows and columns of it: 1 inside a box, 0 outside; arguments otherwise as in box_mask.

    low, high  the corners (x, y) in pixels
    """
    sides = []
    for axis, count in ((1, height), (0, width)):
        start = torch.arange(count, device=low.device, dtype=torch.float32)
        start = start if part is None else start[part[1 - axis]]
        if feather > 0:
            outside = torch.maximum(low[axis] - start - 0.5, start + 0.5 - high[axis])
            sides.append(outside.clamp(min=0))
        else:
            sides.append((torch.minimum(start + 1, high[axis]) - torch.maximum(start, low[axis])).clamp(0, 1))
    if feather > 0:
        distance = torch.hypot(sides[0][:, None], sides[1][None])
        ramp = (1 - distance / feather).clamp(0, 1)
        # A smooth step: no visible kink where the ramp starts and ends.
        return ramp * ramp * (3 - 2 * ramp)
    return sides[0][:, None] * sides[1][None]


def dilate(mask: Tensor, radius: float) -> Tensor:
    """Grow a mask [..., H, W] by a disc of `radius` pixels: the greatest value within that distance; grey masks too.

    A negative radius shrinks it (what lies outside the picture counts as masked: a hand cut by the picture's edge is
    not eaten from there). 0 returns the mask.
    """
    if radius < 0:
        return 1 - dilate(1 - mask, -radius)
    reach = math.floor(radius)
    if reach == 0 or mask.numel() == 0:
        return mask
    height, width = mask.shape[-2:]
    padded = F.pad(mask, (reach, reach, reach, reach), value=-torch.inf)
    # spans[k] is the maximum of 2**k neighbours along a row; two of them, overlapping, give any width.
    spans = [padded]
    while 2 ** len(spans) <= 2 * reach + 1:
        last, step = spans[-1], 2 ** (len(spans) - 1)
        spans.append(torch.maximum(last[..., :-step], last[..., step:]))
    grown = mask.clone()
    for down in range(-reach, reach + 1):
        half = math.floor(math.sqrt(radius * radius - down * down))
        k = (2 * half + 1).bit_length() - 1
        row = spans[k][..., reach + down : reach + down + height, :]
        left = row[..., reach - half : reach - half + width]
        right = row[..., reach + half + 1 - 2**k : reach + half + 1 - 2**k + width]
        grown = torch.maximum(grown, torch.maximum(left, right))
    return grown


def blur(mask: Tensor, radius: float) -> Tensor:
    """Soften a mask [..., H, W]: Gaussian of standard deviation radius / 2 pixels, edge values repeated outside."""
    reach = math.ceil(radius)
    if reach < 1 or mask.numel() == 0:
        return mask
    at = torch.arange(-reach, reach + 1, device=mask.device, dtype=mask.dtype)
    kernel = torch.exp(-0.5 * (at / (radius / 2)) ** 2)
    kernel = kernel / kernel.sum()
    flat = mask.reshape(-1, 1, *mask.shape[-2:])
    flat = F.conv2d(F.pad(flat, (reach, reach, 0, 0), mode="replicate"), kernel[None, None, None])
    flat = F.conv2d(F.pad(flat, (0, 0, reach, reach), mode="replicate"), kernel[None, None, :, None])
    return flat.reshape(mask.shape)
