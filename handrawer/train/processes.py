"""One process, or several that `accelerate launch` has started: device, shares, sums."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

REDUCED_AT_ONCE = 16 * 2**20  # numbers


class Processes:
    """Who else trains. Without `accelerate launch` it is this process alone, and accelerate is not needed.

    Args:
        device: "auto", "cpu", "cuda", ...
    """

    def __init__(self, device: str = "auto") -> None:
        self.accelerator: Any = None
        self.rank, self.count = 0, 1
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from accelerate import Accelerator

            self.accelerator = Accelerator(cpu=device == "cpu" or not torch.cuda.is_available())
            self.rank, self.count = self.accelerator.process_index, self.accelerator.num_processes
            self.device: torch.device = self.accelerator.device
        elif device == "auto":
            self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        else:
            self.device = torch.device(device)

    @property
    def first(self) -> bool:
        """Whether this one writes the files."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all have come here."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean of a tensor over all processes, in all of them."""
        if self.accelerator is None:
            return tensor
        return self.accelerator.reduce(tensor, reduction="mean")

    def any(self, wanted: bool) -> bool:
        """Whether any process wants it."""
        return bool(self.mean(torch.tensor(float(wanted), device=self.device)) > 0)

    def mean_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace every gradient by its mean over all processes; one that is missing counts as zero."""
        if self.accelerator is None:
            return
        group: list[Tensor] = []
        size = 0
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            group.append(parameter.grad)
            size += parameter.numel()
            if size >= REDUCED_AT_ONCE:
                self._mean_together(group)
                group, size = [], 0
        self._mean_together(group)

    def _mean_together(self, tensors: list[Tensor]) -> None:
        if not tensors:
            return
        flat = self.mean(torch.cat([tensor.flatten() for tensor in tensors]))
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def close(self) -> None:
        """Leave the group; nothing can be summed afterwards."""
        if self.accelerator is not None:
            self.accelerator.end_training()
