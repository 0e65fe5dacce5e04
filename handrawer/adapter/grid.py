"""Where the cells of a UNet's feature maps lie, and exact integration of rasters over them.

Positions are continuous latent cells: the latent grid's cell i covers [i, i + 1], its centre is i + 0.5. A UNet halves
its grid with 3x3 convolutions of stride 2 and padding 1, which centre output j on input 2 j. Cell j of level l is
therefore centred on the latent cell 2^l j, at position 2^l j + 0.5, and cells are 2^l apart, whatever the width of the
grid (impulse responses of a diffusers UNet confirm it: tests/adapter/test_grid.py). This is the convention of format
version 1.
"""

from __future__ import annotations

import torch
from torch import Tensor


def level_cells(level: int, latent_cells: int) -> int:
    """Cells of level ``level`` along a side of ``latent_cells``; halving rounds up, as stride 2 with padding 1 does."""
    cells = latent_cells
    for _ in range(level):
        cells = (cells + 1) // 2
    return cells


def cell_edges(level: int, cells: int, device: torch.device | str | None = None) -> Tensor:
    """Edges of the cells of one axis at ``level``, in latent cells.

    Returns [cells + 1] float32: cell j lies between entries j and j + 1, that is 2^l j + 0.5 -/+ 2^(l-1). At level 0
    these are the latent cells themselves, 0, 1, 2, ...
    """
    pitch = 2.0**level
    return torch.arange(cells + 1, device=device, dtype=torch.float32) * pitch + (0.5 - pitch / 2)


def subdivide(edges: Tensor, parts: int) -> Tensor:
    """Edges of ``parts`` equal sub-cells in each of n equally wide cells: [n + 1] -> [n * parts + 1]."""
    cells = edges.shape[0] - 1
    step = (edges[1] - edges[0]) / parts
    return edges[0] + step * torch.arange(cells * parts + 1, device=edges.device, dtype=edges.dtype)


def overlap_matrix(edges_out: Tensor, edges_in: Tensor) -> Tensor:
    """Share of each outer interval that each inner interval covers.

    edges_out [..., n + 1] and edges_in [..., m + 1] ascending, in the same unit; leading axes broadcast.
    Returns [..., n, m] in 0..1. With W_y and W_x of two axes, ``W_y @ G @ W_x.T`` is the area average over each outer
    cell of a raster G that is constant on the inner cells and zero outside them, exact for any offset and size.
    """
    low = torch.maximum(edges_out[..., :-1, None], edges_in[..., None, :-1])
    high = torch.minimum(edges_out[..., 1:, None], edges_in[..., None, 1:])
    width = edges_out[..., 1:, None] - edges_out[..., :-1, None]
    return (high - low).clamp(min=0) / width


def tent_matrix(edges_out: Tensor, edges_in: Tensor) -> Tensor:
    """Weights with which the inner intervals count in linear tents centred on the outer intervals.

    edges_out [..., n + 1] ascending with equal steps d, edges_in [..., m + 1] ascending; returns [..., n, m]. Row i is
    the exact integral over each inner interval of max(0, 1 - |x - c_i| / d) / d, c_i the middle of outer interval i.

    Like area averages the tents reproduce ramps (each integrates to 1 and is symmetric), but they also keep impulses:
    sum_i c_i tent_i(x) = x between the first and the last centre, so a detail's centre of mass does not move, wherever
    it lies inside a cell. Area averages would round it to the middle of its sub-cell.
    """
    step = (edges_out[..., 1:] - edges_out[..., :-1])[..., None]
    centre = (edges_out[..., 1:] + edges_out[..., :-1])[..., None] / 2
    place = ((edges_in[..., None, :] - centre) / step).clamp(-1, 1)
    integral = torch.where(place < 0, (1 + place) ** 2 / 2, 1 - (1 - place) ** 2 / 2)  # of the tent from the left end
    return integral[..., 1:] - integral[..., :-1]


def raster_edges(low: Tensor, high: Tensor, pixels: int) -> Tensor:
    """Pixel edges of rasters that span [low, high]: [N], [N] -> [N, pixels + 1]."""
    share = torch.arange(pixels + 1, device=low.device, dtype=low.dtype) / pixels
    return low[:, None] + (high - low)[:, None] * share
