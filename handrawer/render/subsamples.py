"""The nearest faces at many samples of few pixels: those at an outline, where one sample a pixel is not enough."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from .faces import Prepared, Seen, over_pixels, pieces, repeated
from .fragments import SLACK, cover
from .rasterise import Covered, fragments_at_once, ranks
from .zbuffer import make_buffer


@torch.no_grad()
def subsamples(
    prepared: Prepared,
    pixels: Tensor,
    side: int,
    height: int,
    width: int,
    order: Tensor | None = None,
    max_fragments: int | None = None,
) -> Covered:
    """What is nearest at side x side samples, evenly spread, of each of some pixels.

    prepared  the faces of all meshes, in pictures of height x width pixels
    pixels    [A] int64, ascending flat indices of pixels
    order, max_fragments: as in rasterise
    The Covered has the size [side * side, A]; a pixel's samples are numbered row by row.
    """
    seen = over_pixels(prepared, height, width)
    samples = side * side
    buffer = make_buffer(len(pixels) * samples, len(seen.index), ranks(seen, prepared, order), seen.x.device)
    limit = max(1, (max_fragments or fragments_at_once(seen.x.device)) // samples)
    if len(pixels):
        face, first, counts = _rows_of_pixels(seen, pixels, width)
        for start, stop in pieces(torch.cumsum(counts, 0), limit):
            row = slice(start, stop)
            buffer.add(*_fragments(seen, face[row], first[row], counts[row], pixels, side, width, height))
    sample, winner, depth = buffer.nearest()
    place = functools.partial(_places, pixels=pixels, side=side, height=height, width=width)
    return Covered((samples, len(pixels)), sample, depth, winner, seen, prepared.faces, place)


def _places(sample: Tensor, pixels: Tensor, side: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """x and y [M] of samples [M], flat indices into [side * side, A]; of each the same bits wherever it is asked."""
    part = torch.div(sample, len(pixels), rounding_mode="floor")
    column, row = _columns_and_rows(pixels.index_select(0, sample - part * len(pixels)), height, width)
    down = torch.div(part, side, rounding_mode="floor")
    offset = _offsets(side, pixels.device)
    return column + offset.index_select(0, part - down * side), row + offset.index_select(0, down)


def _offsets(side: int, device: torch.device) -> Tensor:
    return (torch.arange(side, device=device, dtype=torch.float32) + 0.5) / side


def _columns_and_rows(pixel: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    row = torch.div(pixel, width, rounding_mode="floor")
    return (pixel - row * width).to(torch.float32), torch.remainder(row, height).to(torch.float32)


def _rows_of_pixels(seen: Seen, pixels: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Face by face and row by row which of the pixels it may touch: face, first pixel (of A) and number, [R] int64."""
    face, row = repeated(seen.rows)
    row += seen.top.index_select(0, face)
    line = seen.base.index_select(0, face) + row.to(torch.int64) * width
    left, right = seen.left.index_select(0, face), seen.right.index_select(0, face)
    first = torch.searchsorted(pixels, line + left)
    # Most rows of most faces hold none of the pixels; of the others the triangle's own extent is worth working out.
    met = torch.nonzero(first < torch.searchsorted(pixels, line + right, right=True)).squeeze(1)
    face, row, line, left, right = (v.index_select(0, met) for v in (face, row, line, left, right))
    low, high = _extent(seen.x.index_select(1, face), seen.y.index_select(1, face), row)
    left = torch.maximum(low.floor().clamp(min=-1).to(torch.int64), left)
    right = torch.minimum(high.floor().clamp(max=width).to(torch.int64), right)
    first = torch.searchsorted(pixels, line + left)
    counts = (torch.searchsorted(pixels, line + right, right=True) - first).clamp(min=0)
    met = torch.nonzero(counts).squeeze(1)
    return face.index_select(0, met), first.index_select(0, met), counts.index_select(0, met)


def _extent(x: Tensor, y: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    """Least and greatest x [R] of triangles x, y [3, R] within the rows of pixels [R], a little more for rounding."""
    low = torch.full_like(x[0], torch.inf)
    high = torch.full_like(x[0], -torch.inf)
    for k in range(3):
        a, b = k, (k + 1) % 3
        met = (torch.maximum(y[a], y[b]) >= row) & (torch.minimum(y[a], y[b]) <= row + 1)
        for step in (0, 1):
            # Where the edge crosses the upper and the lower border of the row, or its end before that. A horizontal
            # edge divides by zero: not a number, and infinities become ends.
            along = ((row + step - y[a]) / (y[b] - y[a])).clamp(0, 1)
            at = torch.where(met, x[a] + along * (x[b] - x[a]), torch.nan)
            low, high = torch.fmin(low, at), torch.fmax(high, at)
    slack = SLACK + 1e-6 * x.abs().amax(0)
    return low - slack, high + slack


def _fragments(
    seen: Seen, face: Tensor, first: Tensor, counts: Tensor, pixels: Tensor, side: int, width: int, height: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The fragments of pieces of rows: flat sample, face, depth there, and whether it is covered; [side^2 * P] each."""
    line, place = repeated(counts)
    place = place + first.index_select(0, line)
    face = face.index_select(0, line)
    column, row = _columns_and_rows(pixels.index_select(0, place), height, width)
    offset = _offsets(side, pixels.device)[:, None]
    x, y, near = (corners.index_select(1, face) for corners in (seen.x, seen.y, seen.near))
    pairs, samples = len(face), side * side
    across = (x[:, None] - (column + offset))[:, None].expand(3, side, side, pairs).reshape(3, -1)
    down = (y[:, None] - (row + offset))[:, :, None].expand(3, side, side, pairs).reshape(3, -1)
    inside, depth = cover(across, down, near[:, None].expand(3, samples, pairs).reshape(3, -1))
    sample = place + torch.arange(samples, device=face.device)[:, None] * len(pixels)
    return sample.flatten(), face.expand(samples, pairs).reshape(-1), depth, inside
