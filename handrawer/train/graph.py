"""A step as one CUDA graph: a small model's step is thousands of short kernels, and starting them takes longer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


class Graphed:
    """A function of named tensors that is recorded at its first call and replayed from then on.

    Args:
        function: of a dict of tensors on one GPU, gives such a dict. What it does besides (gradients, say) is replayed
            too and lies in the same memory every time. It must neither wait for the GPU nor draw random numbers, and
            shapes must not change.
        warmups: calls before the recording, so that libraries choose their kernels.
    """

    def __init__(self, function: Callable[[Tensors], Tensors], warmups: int = 3) -> None:
        self.function, self.warmups = function, warmups
        self.graph: torch.cuda.CUDAGraph | None = None
        self.given: Tensors = {}
        self.found: Tensors = {}

    def __call__(self, tensors: Tensors) -> Tensors:
        if self.graph is None:
            self.graph = self._record(tensors)
        for name, tensor in tensors.items():
            self.given[name].copy_(tensor)
        self.graph.replay()
        return self.found

    def _record(self, tensors: Tensors) -> torch.cuda.CUDAGraph:
        self.given = {name: tensor.clone() for name, tensor in tensors.items()}
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(self.warmups):
                self.function(self.given)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.found = self.function(self.given)
        return graph
