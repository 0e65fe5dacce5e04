"""Weights brought to 16 bits all together.

Autocast casts every matrix and every bias by a kernel of its own, there and back: in an adapter that is hundreds of
short kernels a step. Side by side in one tensor they are a few, and the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

MULTIPLYING = (nn.Linear, nn.Conv2d)  # what autocast runs in 16 bits


class _Call(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, function: Callable[[], Any]) -> Any:
        return function()


def multiplied(network: nn.Module, without: tuple[nn.Module, ...] = ()) -> dict[str, nn.Parameter]:
    """The weights and biases of linear layers and convolutions by name, but for those of some parts."""
    left = {id(module) for part in without for module in part.modules()}
    found = {}
    for name, module in network.named_modules():
        if isinstance(module, MULTIPLYING) and id(module) not in left:
            found |= {f"{name}.{key}": parameter for key, parameter in module.named_parameters(recurse=False)}
    return found


def cast_together(
    network: nn.Module, dtype: torch.dtype, function: Callable[[], Any], without: tuple[nn.Module, ...] = ()
) -> Any:
    """What `function`, which uses the network under autocast, gives; its weights are in `dtype` meanwhile.

    Gradients flow to the network's own weights; one that is used by nothing gets zeros.

    Args:
        without: parts of the network that run in their own precision.
    """
    parameters = multiplied(network, without)
    if dtype == torch.float32 or not parameters:
        return function()
    flat = torch.cat([parameter.reshape(-1) for parameter in parameters.values()]).to(dtype)
    parts: tuple[Tensor, ...] = flat.split([parameter.numel() for parameter in parameters.values()])
    cast = {
        f"network.{name}": part.view_as(parameter)
        for (name, parameter), part in zip(parameters.items(), parts, strict=True)
    }
    return torch.func.functional_call(_Call(network), cast, (function,))
