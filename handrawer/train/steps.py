"""One step of training: a frozen UNet with the adapter's maps in it, the losses, their gradients.

Forward, loss and update are apart, so that each can be used and tested without the loop. What the UNet is, diffusers'
or the canvas's, is a `Denoiser`'s affair.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from einops import reduce
from torch import Tensor

from ..adapter.gcn import GraphMatrices
from ..adapter.handrawer import HanDrawer
from ..adapter.hooks import apply_residuals
from .bases import DTYPES, Base
from .batches import Batch
from .casting import cast_together
from .config import LossConfig
from .losses import clean_error, snr_weight
from .text import Text


@dataclass(frozen=True)
class Noised:
    """Latents on their way to noise: noisy = a clean + s noise.

    Attributes:
        clean, noise, noisy: [B, C, h, w] float32.
        time: [B] int64.
        a, s: [B] float32.
    """

    clean: Tensor
    noise: Tensor
    noisy: Tensor
    time: Tensor
    a: Tensor
    s: Tensor

    @staticmethod
    def make(clean: Tensor, noise: Tensor, time: Tensor, a: Tensor, s: Tensor) -> Noised:
        """a, s: [T], of every time."""
        a, s = a[time], s[time]
        return Noised(clean, noise, a[:, None, None, None] * clean + s[:, None, None, None] * noise, time, a, s)


class Denoiser(Protocol):
    """A frozen model as a step sees it."""

    @property
    def kind(self) -> str:
        """What it predicts: "epsilon", "v_prediction" or "sample"."""
        ...

    def adding(self, residuals: Mapping[int, Tensor]) -> AbstractContextManager[Any]:
        """While it is open, forward and backward, the maps are added to the encoder's blocks."""
        ...

    def predict(self, noisy: Tensor, time: Tensor, text: Text, depth: Tensor | None) -> Tensor:
        """What the model makes of latents [B, C, h, w] at times [B]: the same shape, float32; gradients flow to the
        maps that are added."""
        ...


class DiffusersDenoiser:
    """A diffusers UNet, with the depth ControlNet that is trained with it, if any.

    Args:
        base: the frozen model.
        precision: "fp32", "bf16" or "fp16".
        control: a ControlNetModel in float32, or None.
        scale: factor of its residuals.
    """

    def __init__(self, base: Base, precision: str, control: Any = None, scale: float = 1.0) -> None:
        self.base, self.dtype = base, DTYPES[precision]
        self.control, self.scale = control, scale
        self._sizes: dict[tuple[int, int], Tensor] = {}

    @property
    def kind(self) -> str:
        return self.base.prediction

    def adding(self, residuals: Mapping[int, Tensor]) -> AbstractContextManager[Any]:
        return apply_residuals(self.base.unet, self.base.description, residuals)

    def predict(self, noisy: Tensor, time: Tensor, text: Text, depth: Tensor | None) -> Tensor:
        added = self._added(text, noisy)
        more: dict[str, Any] = {}
        if self.control is not None:
            with cast(self.base.a.device, self.dtype):
                down, middle = self.control(
                    noisy, time, text.context.float(), depth, self.scale,
                    added_cond_kwargs=added, return_dict=False,
                )  # fmt: skip
            more["down_block_additional_residuals"] = [residual.to(self.dtype) for residual in down]
            more["mid_block_additional_residual"] = middle.to(self.dtype)
        return self.base.unet(
            noisy.to(self.dtype), time, text.context.to(self.dtype),
            added_cond_kwargs=added, return_dict=False, **more,
        )[0].float()  # fmt: skip

    def _added(self, text: Text, noisy: Tensor) -> dict[str, Tensor] | None:
        if not self.base.sdxl or text.pooled is None:
            return None
        # As the canvas tells it where nothing is set: a picture of this size, not cropped.
        height, width = (8 * side for side in noisy.shape[-2:])
        if (height, width) not in self._sizes:  # kept: numbers cannot be brought to a GPU while a step is recorded
            ids = torch.tensor([height, width, 0, 0, height, width], device=noisy.device, dtype=self.dtype)
            self._sizes[height, width] = ids
        return {"text_embeds": text.pooled.to(self.dtype), "time_ids": self._sizes[height, width].expand(len(noisy), 6)}


@contextmanager
def cast(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Autocast to a type of 16 bits, or nothing for float32."""
    with torch.autocast(device.type, dtype if dtype != torch.float32 else torch.bfloat16, dtype != torch.float32):
        yield


def described(adapter: HanDrawer, batch: Batch) -> Batch:
    """The batch with what the adapter's cells know of its hands, which depends on no weight."""
    height, width = batch.chances.noise.shape[-2:]
    box_only = batch.chances.box_only[batch.inputs.picture]
    return dataclasses.replace(batch, described=adapter.describe(batch.inputs, height, width, box_only))


def adapter_maps(
    adapter: HanDrawer, batch: Batch, text: Text, height: int, width: int, dtype: torch.dtype,
    matrices: GraphMatrices | None = None,
) -> dict[int, Tensor]:  # fmt: skip
    """The adapter's residuals for a batch: block -> [B, C, h, w], with its drops."""
    chances, picture = batch.chances, batch.inputs.picture

    def maps() -> dict[int, Tensor]:
        return adapter.residuals(
            adapter.encode(batch.inputs, matrices), height, width, text.context.float(),
            drop_text=chances.drop_text[picture], drop_hand=chances.drop_hand[picture],
            box_only=chances.box_only[picture], described=batch.described,
        )  # fmt: skip

    with cast(batch.mask.device, dtype):
        return cast_together(adapter, dtype, maps, (adapter.encoder,))  # the graph network runs in float32


def losses_of(prediction: Tensor, noised: Noised, mask: Tensor, kind: str, config: LossConfig) -> dict[str, Tensor]:
    """The weighted losses by name, scalars: "denoising", "hand". See `losses.py` for the formulas."""
    error = clean_error(prediction, noised.clean, noised.noise, noised.a, noised.s, kind)
    weight = snr_weight(noised.a, noised.s, config.gamma, config.floor)
    whole = reduce(error, "b c h w -> b", "mean")
    area = mask.flatten(1).sum(1)
    inside = (reduce(error, "b c h w -> b 1 h w", "mean") * mask).flatten(1).sum(1)
    hand = torch.where(area > 0, inside / area.clamp_min(1e-6), 0.0)
    return {"denoising": config.denoising * (weight * whole).mean(), "hand": config.hand * (weight * hand).mean()}


def run_step(
    denoiser: Denoiser, adapter: HanDrawer, batch: Batch, noised: Noised, empty: Text, losses: LossConfig,
    dtype: torch.dtype, backward: Any = None, matrices: GraphMatrices | None = None,
) -> dict[str, Tensor]:  # fmt: skip
    """Forward and backward of one batch.

    Args:
        empty: the empty prompt, one row, for samples whose text is dropped.
        dtype: that the adapter's matrices are multiplied in.
        backward: called with the sum of the losses while the maps are still added, which gradient checkpointing
            needs: it runs the UNet again. None: no gradients are made.
        matrices: of the adapter's graphs, so that they are made once.

    Returns:
        The losses by name, detached.
    """
    height, width = noised.clean.shape[-2:]
    text = batch.text.where(batch.chances.drop_text, empty)
    maps = adapter_maps(adapter, batch, text, height, width, dtype, matrices)
    with denoiser.adding(maps):
        prediction = denoiser.predict(noised.noisy, noised.time, text, batch.depth)
        found = losses_of(prediction, noised, batch.mask, denoiser.kind, losses)
        if backward is not None:
            backward(torch.stack(list(found.values())).sum())
    return {name: loss.detach() for name, loss in found.items()}
