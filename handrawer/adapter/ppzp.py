"""Position-Preserving Zero Padding: how much each cell of a feature map belongs to each hand.

A hand's footprint is its box. A cell counts by the share of its area inside the box, so edges lie between cells, a
hand smaller than a cell still counts by its area, and outside the footprint the weight is exactly zero. Boxes may
cross the picture's edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .grid import cell_edges, level_cells, overlap_matrix, raster_edges


@dataclass(frozen=True)
class Window:
    """A rectangle of cells of one level's grid, with its edges in latent cells.

    rows [h + 1], columns [w + 1] float32; top and left are the indices of its first cell.
    """

    level: int
    rows: Tensor
    columns: Tensor
    top: int = 0
    left: int = 0

    @property
    def height(self) -> int:
        return self.rows.shape[0] - 1

    @property
    def width(self) -> int:
        return self.columns.shape[0] - 1

    def crop(self, top: int, bottom: int, left: int, right: int) -> Window:
        """The cells top..bottom - 1, left..right - 1 of this window (counted inside it)."""
        return Window(
            self.level,
            self.rows[top : bottom + 1],
            self.columns[left : right + 1],
            self.top + top,
            self.left + left,
        )


def full_window(level: int, latent_height: int, latent_width: int, device: torch.device | str | None = None) -> Window:
    """All cells of ``level`` for a latent of the given size."""
    rows = cell_edges(level, level_cells(level, latent_height), device)
    columns = cell_edges(level, level_cells(level, latent_width), device)
    return Window(level, rows, columns)


def box_in_cells(box: Tensor, latent_height: int, latent_width: int) -> Tensor:
    """Normalised picture boxes (x0, y0, x1, y1) [N, 4] in latent cells, [N, 4]."""
    # Without a tensor made from numbers, which a recorded CUDA graph could not copy to the GPU.
    x0, y0, x1, y1 = box.unbind(-1)
    return torch.stack([x0 * latent_width, y0 * latent_height, x1 * latent_width, y1 * latent_height], -1)


def axis_coverage(box: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    """Share of each row and of each column inside each box (in latent cells): [N, h], [N, w]."""
    rows = overlap_matrix(window.rows, box[:, 1::2])[..., 0]
    columns = overlap_matrix(window.columns, box[:, 0::2])[..., 0]
    return rows, columns


def cell_coverage(box: Tensor, window: Window) -> Tensor:
    """Share of each cell's area inside each box [N, 4] (latent cells): [N, h, w], exactly 0 outside."""
    rows, columns = axis_coverage(box, window)
    return rows[:, :, None] * columns[:, None, :]


def footprint(box: Tensor, level: int, latent_height: int, latent_width: int) -> Tensor:
    """Share of each cell's area inside each box.

    box [N, 4] float32, normalised picture coordinates, may reach outside [0, 1].
    Returns [N, h, w] in 0..1 for the grid that a latent of the given size has at ``level``; exactly 0 outside.
    """
    window = full_window(level, latent_height, latent_width, box.device)
    return cell_coverage(box_in_cells(box, latent_height, latent_width), window)


def covered_cells(box: Tensor, window: Window) -> Window | None:
    """The smallest part of ``window`` outside which the footprint of one box [1, 4] (latent cells) is zero."""
    rows, columns = (axis[0].nonzero().flatten() for axis in axis_coverage(box, window))
    if not len(rows) or not len(columns):
        return None
    return window.crop(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)


def silhouette_share(visible: Tensor, box: Tensor, window: Window) -> Tensor:
    """Share of each cell's area under each silhouette.

    visible [N, R, R] in 0..1, rasters over the boxes [N, 4] (latent cells). Returns [N, h, w].
    """
    rows = overlap_matrix(window.rows, raster_edges(box[:, 1], box[:, 3], visible.shape[1]))
    columns = overlap_matrix(window.columns, raster_edges(box[:, 0], box[:, 2], visible.shape[2]))
    # Hand by hand: a batched product could round a hand differently beside others.
    each = zip(rows, visible, columns, strict=True)
    return torch.stack([a @ b @ c.T for a, b, c in each]) if len(box) else rows @ visible @ columns.transpose(1, 2)


def shares(coverage: Tensor, silhouette: Tensor, picture: Tensor, pictures: int) -> Tensor:
    """How much of each cell's feature each hand of a picture gives.

    coverage, silhouette [N, h, w] in 0..1: B_k, the share of the cell inside hand k's box, and S_k, the share under
    its dilated visible silhouette; picture [N] int64, the picture of each hand, 0..pictures - 1.

    r = max(0, 1 - sum_j S_j) is what no hand covers; it goes to the boxes there:
    share_k = (S_k + r B_k / sum_j B_j) / (sum_j S_j + r [sum_j B_j > 0]). The shares of a cell add up to 1. A hand
    alone at a cell gets exactly 1 there, and hands elsewhere change nothing, to the last bit. Returns [N, h, w].
    """

    def summed(values: Tensor) -> Tensor:
        total = values.new_zeros(pictures, *values.shape[1:]).index_add(0, picture, values)
        return total.index_select(0, picture)

    all_silhouettes, all_boxes = summed(silhouette), summed(coverage)
    rest = (1 - all_silhouettes).clamp(min=0)
    boxed = all_boxes > 0
    from_box = rest * coverage / torch.where(boxed, all_boxes, 1)
    whole = all_silhouettes + torch.where(boxed, rest, 0)
    # Alone, (S + r * B / B) / (S + r): the numerator is rounded like the denominator only if B / B is formed first.
    from_box = torch.where(coverage == all_boxes, rest * boxed, from_box)
    return (silhouette + from_box) / torch.where(whole > 0, whole, 1)
