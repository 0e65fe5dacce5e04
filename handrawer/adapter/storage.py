"""Weights kept in fewer bits than they compute in: float16, bfloat16 and 8-bit floats.

The layers cast their weights where they use them, so an adapter of a few megabytes in any of these types works with
float32 inputs on every device, and under autocast in bfloat16. ComfyUI's own layers do the same on the canvas.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Network = TypeVar("Network", bound=nn.Module)
EIGHT_BIT = (torch.float8_e4m3fn, torch.float8_e5m2)
STORED = (torch.float32, torch.float16, torch.bfloat16, *EIGHT_BIT)


class _Linear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight.to(input.dtype), _like(self.bias, input))


class _Conv2d(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight.to(input.dtype), _like(self.bias, input))


class _LayerNorm(nn.LayerNorm):
    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, _like(self.weight, input), _like(self.bias, input), self.eps)


class _Embedding(nn.Embedding):
    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(input, self.weight.float())  # no device looks up 8-bit rows


def _like(weight: Tensor | None, x: Tensor) -> Tensor | None:
    return None if weight is None else weight.to(x.dtype)


class CastingLayers:
    """The `operations` for HanDrawer and `load` that cast weights to their input's type."""

    Linear = _Linear
    Conv2d = _Conv2d
    LayerNorm = _LayerNorm
    Embedding = _Embedding


def store_as(network: Network, dtype: torch.dtype) -> Network:
    """Keep a network's matrices in `dtype`, in place; vectors (norms, biases) and the mesh's buffers stay as they are.

    The network must have been built with CastingLayers. Raises ValueError for another network, or a type that is none
    of STORED.
    """
    if dtype not in STORED:
        raise ValueError(f"Weights cannot be kept as {dtype}: choose one of {', '.join(str(d) for d in STORED)}.")
    known = (_Linear, _Conv2d, _LayerNorm, _Embedding)
    plain = (nn.Linear, nn.Conv2d, nn.LayerNorm, nn.Embedding)
    if any(isinstance(module, plain) and not isinstance(module, known) for module in network.modules()):
        raise ValueError("This network computes in the type of its weights: load it with dtype=..., or CastingLayers.")
    for parameter in network.parameters():
        if parameter.ndim > 1:
            parameter.data = parameter.data.to(dtype)
    return network
