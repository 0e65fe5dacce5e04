"""Malformations of the picture that the judge's network learns from: warped, smeared, pasted, spliced, melted.

All work on batches with random numbers that are handed in. ``points`` are the hand's joints: a malformation is put on
the fingers, and, for a picture that is to stay sound, beside the hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

NUMBERS = 16  # random numbers that an edit may use


def _grid(pictures: Tensor) -> Tensor:
    """[H, W, 2] pixel centres, 0..1."""
    height, width = pictures.shape[-2:]
    y = (torch.arange(height, device=pictures.device) + 0.5) / height
    x = (torch.arange(width, device=pictures.device) + 0.5) / width
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def sampled(pictures: Tensor, places: Tensor) -> Tensor:
    """Pictures [N, C, H, W] read at places [N, h, w, 2] in 0..1."""
    return F.grid_sample(pictures, places * 2 - 1, padding_mode="reflection", align_corners=False)


def blob(pictures: Tensor, middle: Tensor, reach: Tensor, hard: float = 3.0) -> Tensor:
    """[N, 1, H, W] 1 inside a disc [N, 2], [N] and 0 outside of it, with an edge that is the harder the greater."""
    away = (_grid(pictures)[None] - middle[:, None, None]).norm(dim=-1) / reach[:, None, None]
    return torch.sigmoid((1 - away) * 2 * hard)[:, None]


def blurred(pictures: Tensor, pixels: Tensor | float) -> Tensor:
    """Pictures under Gaussians of [N] pixels, at most 12."""
    if not len(pictures):
        return pictures
    sigma = torch.as_tensor(pixels, device=pictures.device, dtype=pictures.dtype).expand(len(pictures))
    steps = torch.arange(-24, 25, device=pictures.device)
    kernel = torch.exp(-0.5 * (steps[None] / sigma.clamp(0.05, 12)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(pictures.shape[1], dim=0)
    flat = F.pad(pictures.flatten(0, 1)[None], (24, 24, 24, 24), mode="replicate")
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=len(kernel))
    return F.conv2d(flat, kernel[:, None, :, None], groups=len(kernel))[0].unflatten(0, pictures.shape[:2])


def waves(seeds: Tensor, size: int, cells: int) -> Tensor:
    """[N, K, size, size] smooth random fields of about unit spread, from seeds [N, K] in [0, 1)."""
    cell = torch.arange(cells * cells, device=seeds.device)
    # A hash of seed and cell: sines of large multiples are as good as random here, and the same on every device but
    # for rounding.
    noise = torch.sin((seeds[..., None].double() * 1e4 + cell * 12.9898 + 1.0) * 78.233) * 43758.5453
    noise = ((noise - noise.floor()) * 2 - 1).float() * math.sqrt(3)
    return F.interpolate(noise.unflatten(-1, (cells, cells)), (size, size), mode="bicubic", align_corners=False)


def _warped(pictures: Tensor, other: Tensor, middle: Tensor, extent: Tensor, u: Tensor) -> Tensor:
    """Everything in a disc is pushed about by a smooth random field, or swirled."""
    grid = _grid(pictures)[None]
    reach = (0.22 + 0.2 * u[:, 0]) * extent
    inside = blob(pictures, middle, reach)[:, 0, ..., None]
    field = waves(u[:, 1:3], pictures.shape[-1], 9).permute(0, 2, 3, 1)
    field = field * ((0.05 + 0.05 * u[:, 3]) * extent)[:, None, None, None]
    away = grid - middle[:, None, None]
    angle = (torch.deg2rad(70 + 110 * u[:, 4]) * torch.where(u[:, 5] < 0.5, 1.0, -1.0))[:, None, None]
    angle = angle * (1 - away.norm(dim=-1) / reach[:, None, None]).clamp_min(0)
    cos, sin = angle.cos(), angle.sin()
    x, y = away.unbind(-1)
    swirl = torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1) - away
    return sampled(pictures, grid + torch.where((u[:, 6] < 0.6)[:, None, None, None], field * inside, swirl))


def _smeared(pictures: Tensor, other: Tensor, middle: Tensor, extent: Tensor, u: Tensor) -> Tensor:
    """One line of pixels is pulled over its neighbourhood, as a finger through wet paint."""
    grid = _grid(pictures)[None]
    inside = blob(pictures, middle, (0.16 + 0.16 * u[:, 0]) * extent, 5.0)[:, 0, ..., None]
    turn = 2 * math.pi * u[:, 1]
    way = torch.stack([turn.cos(), turn.sin()], dim=-1)[:, None, None]
    off = ((grid - middle[:, None, None]) * way).sum(-1, keepdim=True)
    return sampled(pictures, grid - inside * (0.75 + 0.25 * u[:, 2])[:, None, None, None] * off * way)


def _pasted(pictures: Tensor, other: Tensor, middle: Tensor, extent: Tensor, u: Tensor) -> Tensor:
    """A disc of the hand, shifted, turned and perhaps mirrored, over another part of it."""
    grid = _grid(pictures)[None]
    inside = blob(pictures, middle, (0.16 + 0.16 * u[:, 0]) * extent, 4.0 + 10)
    turn = 2 * math.pi * u[:, 1]
    shift = torch.stack([turn.cos(), turn.sin()], dim=-1) * ((0.16 + 0.3 * u[:, 2]) * extent)[:, None]
    angle = torch.deg2rad(160 * u[:, 3] - 80)[:, None, None]
    x, y = (grid - middle[:, None, None]).unbind(-1)
    x = x * torch.where(u[:, 4] < 0.5, 1.0, -1.0)[:, None, None]
    turned = torch.stack([angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y], dim=-1)
    return torch.lerp(pictures, sampled(pictures, turned + (middle + shift)[:, None, None]), inside)


def _spliced(pictures: Tensor, other: Tensor, middle: Tensor, extent: Tensor, u: Tensor) -> Tensor:
    """Parts of the same hand in another pose, in patches."""
    field = waves(u[:, :1], pictures.shape[-1], 5)
    return torch.lerp(pictures, other, torch.sigmoid(field * (2 + 12 * u[:, 1])[:, None, None, None]))


def _ghosted(pictures: Tensor, other: Tensor, middle: Tensor, extent: Tensor, u: Tensor) -> Tensor:
    """The same hand in another pose shines through."""
    inside = blob(pictures, middle, (0.35 + 0.3 * u[:, 0]) * extent, 2.0)
    return torch.lerp(pictures, other, inside * (0.35 + 0.3 * u[:, 1])[:, None, None, None])


def _melted(pictures: Tensor, other: Tensor, middle: Tensor, extent: Tensor, u: Tensor) -> Tensor:
    """What lies in a disc runs together: blurred, and its edges drawn hard again."""
    inside = blob(pictures, middle, (0.22 + 0.2 * u[:, 0]) * extent, 3.0)
    width = (0.025 + 0.03 * u[:, 1]) * extent * pictures.shape[-1]
    soft = blurred(pictures, width)
    sharp = soft + (0.8 + 1.6 * u[:, 2])[:, None, None, None] * (soft - blurred(soft, width))
    return torch.lerp(pictures, sharp.clamp(0, 1), inside)


def _directed(pictures: Tensor, middle: Tensor, turn: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Places [N, H, W] along a direction (radians [N]) and across it from the middle [N, 2], and both directions."""
    away = _grid(pictures)[None] - middle[:, None, None]
    way = torch.stack([turn.cos(), turn.sin()], dim=-1)[:, None, None]
    side = torch.stack([-turn.sin(), turn.cos()], dim=-1)[:, None, None]
    return (away * way).sum(-1), (away * side).sum(-1), way, side


def _repeated(pictures: Tensor, other: Tensor, middle: Tensor, extent: Tensor, u: Tensor) -> Tensor:
    """A strip of the hand is seen two or three times, side by side, or is mirrored beside itself."""
    x, y, way, _ = _directed(pictures, middle, 2 * math.pi * u[:, 0])
    width = ((0.10 + 0.16 * u[:, 1]) * extent)[:, None, None]
    period = x / width
    again = (period + 0.5) - (period + 0.5).floor() - 0.5  # the middle strip, over and over
    folded = (2 * ((period + 0.5) / 2 - ((period + 0.5) / 2).floor()) - 1).abs() - 0.5
    shown = torch.where((u[:, 2] < 0.5)[:, None, None], again, folded) * width
    reach = torch.where(u[:, 3] < 0.5, 1.5, 0.9)[:, None, None] * width
    long = ((0.3 + 0.3 * u[:, 4]) * extent)[:, None, None]
    inside = torch.sigmoid((reach - x.abs()) * 400) * torch.sigmoid((long - y.abs()) * 60)
    strips = sampled(pictures, _grid(pictures)[None] + (shown - x)[..., None] * way)
    return torch.lerp(pictures, strips, inside[:, None])


def _squeezed(pictures: Tensor, other: Tensor, middle: Tensor, extent: Tensor, u: Tensor) -> Tensor:
    """In one direction a part of the hand is pulled wide, and what lies beside it pressed together, or the reverse."""
    x, y, way, _ = _directed(pictures, middle, 2 * math.pi * u[:, 0])
    reach = ((0.22 + 0.2 * u[:, 1]) * extent)[:, None, None]
    t = (x / reach).clamp(-1, 1)
    power = torch.where(u[:, 2] < 0.5, 0.45 + 0.15 * u[:, 3], 1.9 + 0.9 * u[:, 3])[:, None, None]
    shown = t.sign() * t.abs().clamp_min(1e-4) ** power
    inside = torch.sigmoid(6 - 8 * (y / reach).abs())
    return sampled(pictures, _grid(pictures)[None] + ((shown - t) * reach * inside)[..., None] * way)


def _shifted(pictures: Tensor, other: Tensor, middle: Tensor, extent: Tensor, u: Tensor) -> Tensor:
    """Cut along a line: on one side of it the hand goes on beside itself, as two pictures that do not fit."""
    x, y, _, side = _directed(pictures, middle, 2 * math.pi * u[:, 0])
    reach = ((0.35 + 0.3 * u[:, 1]) * extent)[:, None, None]
    off = ((0.07 + 0.10 * u[:, 2]) * torch.where(u[:, 3] < 0.5, 1.0, -1.0) * extent)[:, None, None]
    hard = (60 + 400 * u[:, 4])[:, None, None]
    inside = torch.sigmoid(x * hard) * torch.sigmoid((reach - x) * 40) * torch.sigmoid((reach - y.abs()) * 40)
    return sampled(pictures, _grid(pictures)[None] + (off * inside)[..., None] * side)


PICTURE_EDITS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "warped": _warped, "smeared": _smeared, "pasted": _pasted, "spliced": _spliced, "ghosted": _ghosted,
    "melted": _melted, "repeated": _repeated, "squeezed": _squeezed, "shifted": _shifted,
}  # fmt: skip
"""Each: pictures [N, 3, S, S], the same hands in another pose, a place [N, 2] and a hand's size [N] in 0..1, and
[N, NUMBERS] numbers in [0, 1), to pictures."""
LOCAL = ("warped", "smeared", "pasted", "melted")  # those that can be put beside a hand


def place_on_fingers(points: Tensor, u: Tensor) -> Tensor:
    """[N, 2] somewhere on a finger of hands with joints [N, 21, 2]."""
    finger = (u[:, 0] * 5).long().clamp_max(4)
    first = 2 + 4 * finger + (u[:, 1] * 3).long().clamp_max(2) - 1
    pick = torch.stack([first, first + 1], dim=1)[..., None].expand(-1, -1, 2)
    a, b = points.gather(1, pick).unbind(1)
    return torch.lerp(a, b, u[:, 2:3])


def place_beside(points: Tensor, u: Tensor) -> Tensor:
    """[N, 2] a place in the picture that lies far from the joints [N, 21, 2]: the farthest of some."""
    tried = u[:, :16].unflatten(1, (8, 2))
    distance = (tried[:, :, None] - points[:, None]).norm(dim=-1).amin(dim=-1)
    return tried[torch.arange(len(u), device=u.device), distance.argmax(dim=1)]
