"""How exactly Position-Preserving Zero Padding keeps positions: `python -m benchmarks.ppzp`, from the repository.

Impulses and ramps at known picture coordinates go through the footprint and the geometry integration and are read back
at the UNet's measured cell positions, for boxes at random sub-cell offsets, boxes that cross the picture's edge, boxes
smaller than a cell, and odd grids. Beside it what rounding the box to whole cells would give, with the measured
positions and with the grid spread evenly over the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from handrawer.adapter.fusion import describe_cells
from handrawer.adapter.grid import cell_edges, level_cells, raster_edges, subdivide, tent_matrix
from handrawer.adapter.ppzp import full_window

GRIDS = ((32, 32), (33, 41), (27, 64), (37, 37), (96, 128))  # latent height and width
LEVELS = (0, 1, 2, 3)
SUBCELLS = 4


def raster_for(latent: int) -> int:
    """The small model's raster for its own pictures and a second pass at twice the size, the larger bases' above."""
    return 128 if latent <= 64 else 256


@dataclass(frozen=True)
class Boxes:
    """Random boxes on one axis, in latent cells [N, 2], for a grid of `cells` cells of `level`."""

    span: Tensor
    level: int
    cells: int
    raster: int


def random_boxes(level: int, latent: int, count: int, generator: torch.Generator) -> Boxes:
    """From a quarter of a cell to the whole picture, a third of them across the picture's edge."""
    pitch = 2.0**level
    shortest = torch.tensor(0.25 * pitch)
    size = torch.exp(torch.rand(count, generator=generator) * torch.log(latent / shortest)) * shortest
    start = torch.rand(count, generator=generator) * (latent - size)
    clipped = torch.arange(count) % 3 == 0
    beyond = torch.where(torch.rand(count, generator=generator) < 0.5, -size / 2, latent - size / 2)
    start = torch.where(clipped, beyond, start)
    return Boxes(torch.stack([start, start + size], 1), level, level_cells(level, latent), raster_for(latent))


def centres(edges: Tensor) -> Tensor:
    return (edges[..., 1:] + edges[..., :-1]) / 2


def impulse_errors(boxes: Boxes, generator: torch.Generator) -> Tensor:
    """Error in cells of impulses inside the boxes, read back as the centre of mass of the sub-cells.

    Impulses lie where a raster pixel lies on both sides and sub-cells reach: within the grid.
    """
    edges = subdivide(cell_edges(boxes.level, boxes.cells), SUBCELLS)
    places = centres(edges)
    low, high = boxes.span.unbind(1)
    margin = (high - low) * 0.5 / boxes.raster
    first, last = torch.maximum(low + margin, places[0]), torch.minimum(high - margin, places[-1])
    usable = last > first
    low, high, first, last = (v[usable] for v in (low, high, first, last))
    impulse = first + (last - first) * torch.rand(len(first), generator=generator)
    raster = splat((impulse - low) / (high - low), boxes.raster)
    read = (tent_matrix(edges, raster_edges(low, high, boxes.raster)) @ raster[..., None])[..., 0]
    # Impulses whose pixels reach past the last sub-cell's centre are cut there, like the picture itself.
    whole = read.sum(1) > 0.9999 * (raster.sum(1) * (high - low) / boxes.raster / (edges[1] - edges[0]))
    found = (read * places).sum(1) / read.sum(1)
    return ((found - impulse) / 2**boxes.level)[whole].abs()


def splat(place: Tensor, size: int) -> Tensor:
    """Impulses at [N] in 0..1 on rasters [N, R], shared by the two nearest pixels."""
    at = place * size - 0.5
    pixels = torch.arange(size)
    return (1 - (at[:, None] - pixels).abs()).clamp(min=0)


def ramp_errors(boxes: Boxes) -> Tensor:
    """Error in cells of a picture-coordinate ramp, read at the cells that lie wholly inside the box."""
    cell = cell_edges(boxes.level, boxes.cells)
    edges = subdivide(cell, SUBCELLS)
    low, high = boxes.span.unbind(1)
    inside = raster_edges(low, high, boxes.raster)
    ramp = centres(inside)
    weights = tent_matrix(edges, inside)
    read = (weights @ ramp[..., None])[..., 0] / weights.sum(2).clamp(min=1e-9)
    read = read.unflatten(1, (boxes.cells, SUBCELLS)).mean(2)
    reach = (edges[1] - edges[0]) / 2
    whole = (cell[:-1] - reach >= low[:, None]) & (cell[1:] + reach <= high[:, None])
    return ((read - centres(cell)) / 2**boxes.level)[whole].abs()


def footprint_errors(boxes: Boxes) -> Tensor:
    """Error in cells of the box's middle as the queries tell it: where in its cell, and where in the box."""
    count = len(boxes.span)
    window = full_window(boxes.level, 1, 1)
    window = type(window)(boxes.level, window.rows, cell_edges(boxes.level, boxes.cells))
    box = torch.stack([boxes.span[:, 0], torch.zeros(count), boxes.span[:, 1], torch.ones(count)], 1)
    cells = describe_cells(box, torch.zeros(count, 1, 2, 2), window, SUBCELLS, 1)
    pitch = 2.0**boxes.level
    in_box = (cells.place[:, 0, :, 0] + 1) / 2  # 0..1 along the box
    extent = cells.place[:, 0, :, 8:10]  # both ends in the cell, from its centre
    in_picture = centres(window.columns) + pitch * extent.mean(2)
    length = (boxes.span[:, 1] - boxes.span[:, 0])[:, None]
    middle = in_picture + (0.5 - in_box) * length
    covered = cells.coverage[:, 0] > 0
    return ((middle - boxes.span.mean(1, keepdim=True)) / pitch)[covered].abs()


def rounded_errors(boxes: Boxes, generator: torch.Generator, evenly: bool) -> Tensor:
    """Error in cells of points in a box pasted onto whole cells: the box's ends are rounded to cell edges."""
    pitch = 2.0**boxes.level
    offset = 0.0 if evenly else 0.5 - pitch / 2
    low, high = boxes.span.unbind(1)
    point = torch.rand(len(low), generator=generator)
    first = torch.round((low - offset) / pitch)
    last = torch.maximum(torch.round((high - offset) / pitch), first + 1)
    # The paste lands on cells whose true positions are the measured ones.
    pasted = (first + (last - first) * point) * pitch + 0.5 - pitch / 2
    return ((pasted - (low + (high - low) * point)) / pitch).abs()


def measure(level: int, count: int = 400, seed: int = 0) -> dict[str, Tensor]:
    """All errors at one level, over all grids."""
    generator = torch.Generator().manual_seed(seed * 10 + level)
    found: dict[str, list[Tensor]] = {}
    for latent in sorted({side for grid in GRIDS for side in grid}):
        boxes = random_boxes(level, latent, count, generator)
        for name, errors in (
            ("impulse", impulse_errors(boxes, generator)),
            ("ramp", ramp_errors(boxes)),
            ("box", footprint_errors(boxes)),
            ("whole cells", rounded_errors(boxes, generator, evenly=False)),
            ("whole cells, even grid", rounded_errors(boxes, generator, evenly=True)),
        ):
            found.setdefault(name, []).append(errors)
    return {name: torch.cat(errors) for name, errors in found.items()}


def main() -> None:
    print("Error in cells of the level: mean / largest\n")
    print(f"{'level':>5}  {'what':<24}{'mean':>10}{'largest':>10}{'samples':>9}")
    for level in LEVELS:
        for name, errors in measure(level).items():
            print(f"{level:>5}  {name:<24}{errors.mean():>10.5f}{errors.max():>10.5f}{len(errors):>9}")
        print()


if __name__ == "__main__":
    main()
