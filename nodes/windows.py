"""From the rows of one UNet call to the parts of the maps that they show. Plain tensors: no host in here."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from ..handrawer.adapter.controls import mask_cells
from ..handrawer.adapter.grid import level_cells


@dataclass(frozen=True)
class Row:
    """One row of a UNet call: which maps, which picture's, and the latent cell of its top left corner."""

    variant: int
    picture: int
    top: int
    left: int


@dataclass(frozen=True)
class CallRows:
    """All rows of a UNet call, which all show windows of the same size.

    Attributes:
        rows: one for each row of the batch.
        height, width: the windows' size in latent cells.
        full: every row shows its whole picture.
    """

    rows: tuple[Row, ...]
    height: int
    width: int
    full: bool

    @classmethod
    def read(cls, place: Tensor, variant: Tensor, height: int, width: int, pictures: int) -> "CallRows":
        """Read back what the host has cropped, repeated and concatenated.

        Args:
            place: [R, 3, h, w] integers: column, row, picture.
            variant: [R, 1] integers: which maps.
            height, width: the whole latent's size.
            pictures: how many pictures the hands are for; further ones of the batch start again at the first.
        """
        corner = torch.cat([place[:, :, 0, 0], variant], dim=1).tolist()
        rows = tuple(Row(number, picture % pictures, top, left) for left, top, picture, number in corner)
        h, w = place.shape[-2:]
        return cls(rows, h, w, full=(h, w) == (height, width))


def rows_of(maps: list[Tensor | None], rows: CallRows, level: int, h: Tensor) -> Tensor | None:
    """What belongs to each row of a feature map, or None if nothing does.

    Args:
        maps: for each variant, [P, C, Y, X] for the whole latent on h's device in its type, or None for nothing.
        rows: what the rows of ``h`` show.
        level: how often the block's grid has been halved.
        h: [R, C, y, x], a block's output. Another size than the block's usual one is allowed (some nodes shrink it).

    Returns:
        [R, C, y, x].
    """
    if all(maps[row.variant] is None for row in rows.rows):
        return None
    zero = h.new_zeros(h.shape[1:])
    parts = []
    for row in rows.rows:
        whole = maps[row.variant]
        parts.append(zero if whole is None else window(whole[row.picture], row, rows, level, h.shape[-2:]))
    return torch.stack(parts)


def add_all(h: Tensor, parts: list[tuple[Tensor, float]]) -> Tensor:
    """A feature map with everything that belongs to it, each part times its factor; ``h`` is left alone.

    Parts are summed before they meet ``h``: two of half the strength are then one of the whole to the last bit.
    """
    if not parts:
        return h
    (first, factor), *others = parts
    if not others:
        return torch.add(h, first, alpha=factor)
    total = first * factor
    for part, factor in others:
        total = torch.add(total, part, alpha=factor)
    return h + total


def window(whole: Tensor, row: Row, rows: CallRows, level: int, size: torch.Size) -> Tensor:
    """The part of one picture's map that a row shows.

    Cell j of level l of a window that starts at latent cell t is centred on t + 2^l j, which is cell j + t / 2^l of
    the whole map: an exact slice where that is whole, else linear interpolation between the cells.

    Args:
        whole: [C, Y, X].
        size: (y, x) of the block's output.
    """
    usual = (level_cells(level, rows.height), level_cells(level, rows.width))
    if rows.full and tuple(size) == usual == tuple(whole.shape[-2:]):
        return whole
    pitch = 2**level
    starts = (row.top / pitch, row.left / pitch)
    ends = [start + length for start, length in zip(starts, size, strict=True)]
    aligned = all(start == int(start) for start in starts)
    if tuple(size) == usual and aligned and ends[0] <= whole.shape[-2] and ends[1] <= whole.shape[-1]:
        top, left = int(starts[0]), int(starts[1])
        return whole[:, top : top + size[0], left : left + size[1]]
    y, x = (
        axis(start, length, wanted, cells, whole)
        for start, length, wanted, cells in zip(starts, size, usual, whole.shape[-2:], strict=True)
    )
    grid = torch.stack([x[None, :].expand(len(y), -1), y[:, None].expand(-1, len(x))], dim=-1)
    # float32: half precision cannot tell neighbouring cells of a large map apart
    sampled = grid_sample(whole[None].float(), grid[None], mode="bilinear", padding_mode="zeros", align_corners=True)
    return sampled[0].to(whole)


def axis(start: float, length: int, usual: int, cells: int, like: Tensor) -> Tensor:
    """Positions along one side in grid_sample's -1..1 between the first and the last of ``cells`` cells.

    Args:
        start: the window's first cell, in cells of the whole map.
        length: how many positions.
        usual: how many there would be at the block's usual size; else they are spread evenly over the same length.
    """
    step = usual / length
    index = start + (torch.arange(length, device=like.device, dtype=torch.float32) + 0.5) * step - 0.5
    return (index * 2 / max(cells - 1, 1) - 1).clamp(-1, 1)  # beyond the edge as at the edge; MPS has no such padding


def mask_map(
    whole: Tensor,
    mask: Tensor,
    level: int,
    height: int,
    width: int,
    region: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
) -> Tensor:
    """Maps weighted by how much of each cell a mask covers.

    Args:
        whole: [P, C, Y, X], maps of a level for a latent of height x width cells.
        mask: [M, y, x] in 0..1 over the whole picture, of any size.
        region: the part of the picture that the latent shows: left, top, right, bottom as shares of it.

    Returns:
        [lcm(P, M), C, Y, X]: maps and masks that are not equally many repeat in turn.
    """
    count = math.lcm(len(whole), len(mask))
    weight = mask_cells(mask.to(whole.device), level, height, width, region).to(whole)
    turn = torch.arange(count)
    return whole[turn % len(whole)] * weight[turn % len(mask), None]
