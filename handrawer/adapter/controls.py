"""Run-time controls: how much of an adapter's maps a picture gets, and where."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .grid import cell_edges, level_cells, overlap_matrix
from .unet import UNetDescription


def mask_cells(
    mask: Tensor,
    level: int,
    latent_height: int,
    latent_width: int,
    region: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
) -> Tensor:
    """How much of each cell of a level a mask covers.

    mask [M, y, x] in 0..1 over the whole picture, of any size; region (left, top, right, bottom) the part of that
    picture that the latent shows, as shares of it. Returns [M, h, w] in 0..1: area averages over the
    cells' own places, exactly 1 where all is white and exactly 0 where all is black. Cells that reach beyond the
    picture's edge, as on coarse levels, count what they cover inside it.
    """
    mask = mask.to(torch.float32)
    left, top, right, bottom = region
    rows, columns = (
        overlap_matrix(
            cell_edges(level, level_cells(level, side), mask.device),
            torch.linspace(
                -start / (stop - start) * side, (1 - start) / (stop - start) * side, pixels + 1, device=mask.device
            ),
        )
        for side, pixels, start, stop in (
            (latent_height, mask.shape[-2], top, bottom),
            (latent_width, mask.shape[-1], left, right),
        )
    )
    white, black = rows @ mask @ columns.T, rows @ (1 - mask) @ columns.T
    return white / (white + black)


def check_mask(mask: Tensor) -> Tensor:
    """A mask as [M, y, x] float32. Raises ValueError if it is none."""
    mask = mask[None] if mask.ndim == 2 else mask
    if mask.ndim != 3 or not mask.numel():
        raise ValueError(f"A mask is [height, width] or one such picture for each picture, not {list(mask.shape)}.")
    mask = mask.to(torch.float32)
    if not bool(((mask >= 0) & (mask <= 1)).all()):
        raise ValueError("A mask holds values from 0 (the model alone) to 1 (the hands steer): divide by its largest.")
    return mask


def check_levels(description: UNetDescription, levels: Mapping[int, float] | None) -> None:
    """Raise ValueError if a factor names a level that the adapter adds nothing to."""
    unknown = sorted(set(levels or {}) - set(description.levels))
    if unknown:
        raise ValueError(
            f"Level {unknown[0]} has no injection site: the levels of this UNet are {list(description.levels)}."
        )


def controlled(
    residuals: Mapping[int, Tensor],
    description: UNetDescription,
    latent_height: int,
    latent_width: int,
    *,
    strength: float = 1.0,
    levels: Mapping[int, float] | None = None,
    mask: Tensor | None = None,
) -> dict[int, Tensor]:
    """Residuals as they are to be added.

    residuals  block -> [B, C, h, w], for a latent of the given size; left alone
    strength   factor of all
    levels     further factors, level -> factor; levels not named count as 1
    mask       [y, x] or [M, y, x] in 0..1 over the picture, M 1 or B: where the hands steer. White changes nothing to
               the last bit, half a mask only its own half of each map

    Raises ValueError for a level without a site, or a mask that does not fit.
    """
    check_levels(description, levels)
    covers = None if mask is None else check_mask(mask)
    found = {}
    for site in description.sites:
        if site.block not in residuals:
            continue
        values, factor = residuals[site.block], strength * (levels or {}).get(site.level, 1.0)
        if covers is not None:
            if len(covers) not in (1, len(values)):
                raise ValueError(f"{len(covers)} masks do not fit {len(values)} pictures: give one, or one for each.")
            cells = mask_cells(covers.to(values.device), site.level, latent_height, latent_width)
            values = values * cells[:, None].to(values.dtype)
        found[site.block] = values * factor if factor != 1.0 else values
    return found
