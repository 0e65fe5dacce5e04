"""Residuals into a diffusers UNet, by forward hooks on the last module of each block.

This is the same function as ComfyUI's input-block patch: it changes the block's output and the skip connection taken
from it. The ControlNet interface, which changes the skips alone, is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .controls import check_levels
from .unet import Site, UNetDescription


@contextmanager
def apply_residuals(
    unet: nn.Module,
    description: UNetDescription,
    residuals: Mapping[int, Tensor],
    rows: Sequence[int] | None = None,
    strength: float = 1.0,
    levels: Mapping[int, float] | None = None,
) -> Iterator[None]:
    """Add residuals to the blocks of `unet` while the context is open.

    unet         a diffusers UNet2DConditionModel
    description  its description; blocks without a site are refused
    residuals    block -> [B, C, h, w], as HanDrawer.residuals returns them; gradients flow into them
    rows         for each row of the UNet's batch the residual row that it gets, -1 for none. Under classifier-free
                 guidance of two pictures with rows (negative, negative, positive, positive): (0, 1, 2, 3) if the
                 negative prompt's residuals come first in the batch, (-1, -1, 0, 1) if the negative rows get none.
                 None: the batches are equal, or one residual row serves all.
    strength     factor
    levels       further factors, level -> factor; levels not named count as 1

    Contexts may be nested or opened again and then add up; leaving removes exactly its own hooks. Residuals must not
    be changed in place meanwhile: what the UNet gets of them is worked out once. Raises ValueError if a residual does
    not fit the block.
    """
    sites = {site.block: site for site in description.sites}
    unknown = sorted(set(residuals) - set(sites))
    if unknown:
        raise ValueError(f"Input block {unknown[0]} is no injection site of this UNet: its sites are {sorted(sites)}.")
    check_levels(description, levels)
    handles = []
    try:
        for block, residual in residuals.items():
            site = sites[block]
            hook = Addition(site, residual, rows, strength * (levels or {}).get(site.level, 1.0))
            handles.append(unet.get_submodule(site.module).register_forward_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()


class Addition:
    """A forward hook that adds a residual to a block's output.

    Every denoising step calls the UNet alike, so what is added to such a call is fitted once: row for row, in its
    type, on its device. A step then costs one addition a site.
    """

    def __init__(self, site: Site, residual: Tensor, rows: Sequence[int] | None = None, strength: float = 1.0) -> None:
        self.site, self.residual, self.rows, self.strength = site, residual, rows, strength
        self._fitted: dict[tuple, Tensor] = {}

    def __call__(self, _module: nn.Module, _inputs: Any, output: Any) -> Any:
        # Transformer blocks return (features,) or an output class, the others the tensor itself.
        if isinstance(output, Tensor):
            return output + self.fitted(output)
        if isinstance(output, tuple):
            return (output[0] + self.fitted(output[0]), *output[1:])
        output.sample = output.sample + self.fitted(output.sample)
        return output

    def fitted(self, h: Tensor) -> Tensor:
        """What is added to h [rows, C, h, w]: [rows or 1, C, h, w] in its type and on its device."""
        if self.residual.requires_grad and torch.is_grad_enabled():
            return self._fit(h)  # a graph can be walked back once
        name = (h.shape, h.dtype, h.device)
        if name not in self._fitted:
            self._fitted = {name: self._fit(h)}
        return self._fitted[name]

    def _fit(self, h: Tensor) -> Tensor:
        residual = _chosen(self.residual, h, self.site, self.rows)
        return (residual * self.strength if self.strength != 1.0 else residual).to(h)


def _chosen(residual: Tensor, h: Tensor, site: Site, rows: Sequence[int] | None) -> Tensor:
    """The residual's rows for the rows of h, or one row for all."""
    if residual.shape[1:] != h.shape[1:]:
        raise ValueError(
            f"The residual for input block {site.block} has {residual.shape[1]} channels on "
            f"{residual.shape[3]}×{residual.shape[2]} cells, the UNet has {h.shape[1]} on {h.shape[3]}×{h.shape[2]} "
            "there: make the residuals for this UNet and this latent size."
        )
    if rows is None:
        if len(residual) not in (1, len(h)):
            raise ValueError(
                f"The residual for input block {site.block} has {len(residual)} rows, but the UNet was called with "
                f"{len(h)}: say with `rows` which row gets which."
            )
        return residual
    if len(rows) != len(h):
        raise ValueError(f"rows names {len(rows)} rows, but the UNet was called with {len(h)}: give one for each.")
    if not all(-1 <= row < len(residual) for row in rows):
        raise ValueError(f"rows must be -1 or lie in 0..{len(residual) - 1}, the residual's rows; it is {rows}.")
    if len(set(rows)) == 1 and rows[0] >= 0:
        return residual[rows[0] : rows[0] + 1]
    index = torch.tensor([max(row, 0) for row in rows], device=residual.device)
    given = torch.tensor([row >= 0 for row in rows], device=residual.device)[:, None, None, None]
    return torch.where(given, residual.index_select(0, index), 0)
