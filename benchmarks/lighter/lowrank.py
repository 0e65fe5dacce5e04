"""Low-rank changes to a network's weights: W + B A (Hu et al. 2021, arXiv 2106.09685), for linear layers and
convolutions alike."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


class LowRank(nn.Module):
    """Changes of rank `rank` to every matrix and kernel of a network, zero at first. The network's own weights stay.

    network  its weights are read, never written
    """

    def __init__(self, network: nn.Module, rank: int) -> None:
        super().__init__()
        self.names = [name for name, value in network.named_parameters() if value.ndim in (2, 4)]
        weights = dict(network.named_parameters())
        self.down = nn.ParameterList()
        self.up = nn.ParameterList()
        for name in self.names:
            flat = weights[name].flatten(1)
            size = min(rank, *flat.shape)
            self.down.append(nn.Parameter(torch.randn(size, flat.shape[1]) / flat.shape[1] ** 0.5))
            self.up.append(nn.Parameter(torch.zeros(flat.shape[0], size)))

    def weights(self, network: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
        """All of the network's parameters and buffers by name in `dtype`, changed; gradients flow to this module."""
        state = {k: v.detach() for k, v in network.state_dict(keep_vars=True).items()}
        for name, down, up in zip(self.names, self.down, self.up, strict=True):
            state[name] = state[name].float() + (up.float() @ down.float()).view_as(state[name])
        return {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}

    @torch.no_grad()
    def merged(self, network: Any, dtype: torch.dtype) -> Any:
        """A copy of the network with the changes in its weights."""
        found = copy.deepcopy(network)
        found.load_state_dict(self.weights(network, torch.float32))
        return found.to(dtype).to(memory_format=torch.channels_last).eval()

    def tensors(self) -> dict[str, Tensor]:
        """For a file: NAME.down and NAME.up in float16."""
        found = {}
        for name, down, up in zip(self.names, self.down, self.up, strict=True):
            found |= {f"{name}.down": down.detach().half().cpu(), f"{name}.up": up.detach().half().cpu()}
        return {k: v.contiguous() for k, v in found.items()}
