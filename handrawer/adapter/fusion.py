"""Fusion: the cells of a feature map ask the hand's tokens and the text what belongs there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from .grid import overlap_matrix, raster_edges, subdivide, tent_matrix
from .ppzp import Window

PLACE_CHANNELS = 7
"""log2 of the box's width and height in cells, the part of the cell inside the box (4), coverage."""


@dataclass(frozen=True)
class Cells:
    """What a window's cells know of N hands before anything is learned; all float32.

    place     [N, h, w, P] where in the box the cell lies, see `describe_cells`
    geometry  [N, h, w, G * s * s] rendered geometry on s x s sub-cells
    coverage  [N, h, w] share of the cell inside the box
    """

    place: Tensor
    geometry: Tensor
    coverage: Tensor


def place_channels(frequencies: int) -> int:
    return 4 * frequencies + 2 + PLACE_CHANNELS


@torch.no_grad()
def describe_cells(box: Tensor, geometry: Tensor, window: Window, subcells: int, frequencies: int) -> Cells:
    """Queries' inputs for the cells of a window.

    box       [N, 4] float32 in latent cells
    geometry  [N, G, R, R] float32, rasters over the boxes, zero where the hand is not

    A cell's place is the middle of the part of it that lies inside the box, in box coordinates 0..1, itself and in
    Fourier features sin, cos(2^k pi u), k < frequencies; with the box's size and the extent of that part inside the
    cell the place is known exactly, also for a box smaller than a cell. Geometry is read with tents on s x s sub-cells
    (grid.tent_matrix), so details keep their sub-cell positions.
    """
    pitch = 2.0**window.level
    across = _axis(box[:, 0], box[:, 2], window.columns, pitch)
    down = _axis(box[:, 1], box[:, 3], window.rows, pitch)
    shape = (len(box), window.height, window.width)

    def spread(columns: Tensor, rows: Tensor) -> Tensor:
        """Per-column values [N, w, K] and per-row values [N, h, K] -> [N, h, w, 2 K]."""
        a = columns[:, None].expand(*shape, -1)
        b = rows[:, :, None].expand(*shape, -1)
        return torch.cat([a, b], dim=-1)

    coverage = down.coverage[:, :, None] * across.coverage[:, None, :]
    middle = spread(across.middle[..., None], down.middle[..., None])
    waves = [waves for axis in (across, down) for waves in (_waves(axis.middle, frequencies),)]
    size = torch.log2((box[:, 2:] - box[:, :2]).clamp(min=1e-6) / pitch)[:, None, None].expand(*shape, 2) / 4
    extent = spread(across.extent, down.extent)
    place = torch.cat([2 * middle - 1, spread(*waves), size, extent, coverage[..., None]], dim=-1)
    return Cells(place, _integrate(box, geometry, window, subcells), coverage)


@dataclass(frozen=True)
class _Axis:
    coverage: Tensor  # [N, n] share of the cells inside the box
    middle: Tensor  # [N, n] middle of the part inside, in box coordinates 0..1
    extent: Tensor  # [N, n, 2] both ends of that part, in cells from the cell's centre


def _axis(low: Tensor, high: Tensor, edges: Tensor, pitch: float) -> _Axis:
    ends = torch.stack([low, high], 1)
    start = torch.maximum(edges[:-1], low[:, None])
    stop = torch.minimum(edges[1:], high[:, None])
    length = (high - low).clamp(min=1e-6)[:, None]
    middle = (((start + stop) / 2 - low[:, None]) / length).clamp(0, 1)
    centre = (edges[:-1] + edges[1:]) / 2
    extent = (torch.stack([start, stop], -1) - centre[:, None]) / pitch
    return _Axis(overlap_matrix(edges, ends)[..., 0], middle, extent.clamp(-0.5, 0.5))


def _waves(place: Tensor, frequencies: int) -> Tensor:
    """[N, n] in 0..1 -> [N, n, 2 * frequencies]."""
    angle = place[..., None] * (math.pi * 2.0 ** torch.arange(frequencies, device=place.device))
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def _integrate(box: Tensor, geometry: Tensor, window: Window, subcells: int) -> Tensor:
    rows = tent_matrix(subdivide(window.rows, subcells), raster_edges(box[:, 1], box[:, 3], geometry.shape[2]))
    columns = tent_matrix(subdivide(window.columns, subcells), raster_edges(box[:, 0], box[:, 2], geometry.shape[3]))
    read = rows[:, None] @ geometry @ columns.transpose(1, 2)[:, None]
    return rearrange(read, "n g (h a) (w b) -> n h w (g a b)", a=subcells, b=subcells)


class CrossAttention(nn.Module):
    """Queries x [N, Q, C] attend to memory [N, T, C] under an optional mask [N, T] (true: may be attended to)."""

    def __init__(self, width: int, heads: int, operations: Any) -> None:
        super().__init__()
        self.heads = heads
        self.query = operations.Linear(width, width)
        self.key_value = operations.Linear(width, 2 * width)
        self.out = operations.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        q = rearrange(self.query(x), "n q (h c) -> n h q c", h=self.heads)
        k, v = rearrange(self.key_value(memory), "n t (two h c) -> two n h t c", two=2, h=self.heads)
        mask = None if mask is None else mask[:, None, None].expand(-1, -1, q.shape[2], -1)
        found = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(rearrange(found, "n h q c -> n q (h c)"))


class FusionBlock(nn.Module):
    """Pre-norm block: attention to the hand, attention to the text, a two-layer perceptron."""

    def __init__(self, width: int, heads: int, hidden: int, operations: Any) -> None:
        super().__init__()
        self.hand_norm = operations.LayerNorm(width)
        self.hand = CrossAttention(width, heads, operations)
        self.text_norm = operations.LayerNorm(width)
        self.text = CrossAttention(width, heads, operations)
        self.mlp_norm = operations.LayerNorm(width)
        self.mlp = nn.Sequential(operations.Linear(width, hidden), nn.GELU(), operations.Linear(hidden, width))

    def forward(self, x: Tensor, hand: Tensor, text: Tensor, text_mask: Tensor | None) -> Tensor:
        x = x + self.hand(self.hand_norm(x), hand)
        x = x + self.text(self.text_norm(x), text, text_mask)
        return x + self.mlp(self.mlp_norm(x))


class LocalMix(nn.Module):
    """Residual depthwise 3x3 convolution between the cells of a box; cells outside count as zero."""

    def __init__(self, width: int, operations: Any) -> None:
        super().__init__()
        self.norm = operations.LayerNorm(width)
        self.convolution = operations.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, x: Tensor, coverage: Tensor) -> Tensor:
        """x [N, h * w, C], coverage [N, h, w]."""
        h = self.norm(x) * coverage.flatten(1)[..., None].to(x)
        h = rearrange(h, "n (h w) c -> n c h w", h=coverage.shape[1])
        return x + rearrange(self.convolution(h), "n c h w -> n (h w) c")


class LevelFusion(nn.Module):
    """Features of all cells of one level; its sites share them, each through a projection of its own.

    The projections have no bias and start at zero, so an untrained adapter changes nothing.
    """

    def __init__(
        self,
        sites: dict[int, int],
        width: int,
        heads: int,
        blocks: int,
        hidden: int,
        geometry_channels: int,
        frequencies: int,
        operations: Any = nn,
    ) -> None:
        """sites: block -> channels of the UNet there; geometry_channels: G * s * s."""
        super().__init__()
        self.place = operations.Linear(place_channels(frequencies), width)
        self.geometry = operations.Linear(geometry_channels, width)
        self.no_geometry = operations.Embedding(1, width)
        nn.init.normal_(self.no_geometry.weight, std=0.1)
        self.enter = nn.Sequential(nn.GELU(), operations.Linear(width, width))
        self.blocks = nn.ModuleList(FusionBlock(width, heads, hidden, operations) for _ in range(blocks))
        self.mixes = nn.ModuleList(LocalMix(width, operations) for _ in range(blocks - 1))
        self.norm = operations.LayerNorm(width)
        self.sites = nn.ModuleDict(
            {str(block): operations.Linear(width, channels, bias=False) for block, channels in sites.items()}
        )
        for projection in self.sites.values():
            nn.init.zeros_(projection.weight)  # pyright: ignore[reportArgumentType]

    def forward(
        self,
        cells: Cells,
        hand: Tensor,
        text: Tensor,
        text_mask: Tensor | None,
        weight: Tensor,
        box_only: Tensor | None,
    ) -> dict[int, Tensor]:
        """Residuals of N hands: block -> [N, C, h, w], exactly zero where `weight` is.

        hand [N, T, width] and text [N, L, width] tokens, text_mask [N, L] bool or None; weight [N, h, w] the share of
        each cell that belongs to the hand; box_only [N] bool or None: geometry is not looked at.
        """
        geometry = self.geometry(cells.geometry)
        if box_only is not None:
            nothing = look_up(self.no_geometry, geometry)
            geometry = torch.where(box_only[:, None, None, None], nothing, geometry)
        x = rearrange(self.enter(self.place(cells.place) + geometry), "n h w c -> n (h w) c")
        for i, block in enumerate(self.blocks):
            if i:
                x = self.mixes[i - 1](x, cells.coverage)
            x = block(x, hand, text, text_mask)
        x = self.norm(x)
        height = cells.coverage.shape[1]
        return {
            int(block): rearrange(projection(x), "n (h w) c -> n c h w", h=height) * weight[:, None]
            for block, projection in self.sites.items()
        }


def look_up(embedding: nn.Module, like: Tensor) -> Tensor:
    """The one row [1, width] of an embedding, in the type of `like` (its own weights may be of another)."""
    return embedding(torch.zeros(1, dtype=torch.long, device=like.device)).to(like.dtype)
