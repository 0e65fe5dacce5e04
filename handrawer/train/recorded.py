"""Steps replayed as CUDA graphs: a step is thousands of short kernels, and starting them takes longer than they run.

A step is recorded for every shape of batch when it comes for the first time (picture size, number of hands), and
replayed from then on. So that there are few shapes, hands that add nothing fill their number up to a multiple of the
batch's size; else the same kernels run on the same numbers as without.
"""

from __future__ import annotations

import dataclasses
import gc
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .batches import Batch
from .steps import Noised
from .trees import tensors_of, with_tensors

log = logging.getLogger("handrawer")
WARMUPS = 2  # libraries choose their kernels, and what is looked up once is looked up
Step = Callable[[Batch, Noised], dict[str, Tensor]]


OUTSIDE = (2.0, 2.0, 3.0, 3.0)  # a box that no picture has a share in


def filled(batch: Batch) -> Batch:
    """The batch with hands that add nothing, until their number is a multiple of the number of pictures.

    They lie outside the first picture and have no weight: every map is as without them.
    """
    inputs = batch.inputs
    missing = -len(inputs) % inputs.pictures if len(inputs) else inputs.pictures
    if not missing:
        return batch
    kept = ("sizes", "alone")
    own = {f.name: getattr(inputs, f.name) for f in dataclasses.fields(inputs) if f.name not in kept}
    more = {name: torch.cat([value, value.new_zeros(missing, *value.shape[1:])]) for name, value in own.items()}
    more["box"][len(inputs) :] = more["box"].new_tensor(OUTSIDE)
    known = batch.described
    if known is not None:
        given = {name: torch.cat([t, t.new_zeros(missing, *t.shape[1:])]) for name, t in tensors_of(known).items()}
        known = with_tensors(known, given)
    return dataclasses.replace(batch, inputs=dataclasses.replace(inputs, **more), described=known)


@dataclass
class _Graph:
    graph: Any
    given: dict[str, Tensor]
    losses: dict[str, Tensor]
    gradients: list[Tensor | None]


class RecordedSteps:
    """A forward and backward of batches, recorded by their shapes.

    Args:
        step: forward and backward of a batch: gives the losses, adds to the parameters' gradients.
        parameters: what learns.
        kept: shapes that are recorded; batches of further shapes run without.
        quiet: a context in which no other thread uses the device: a recording must be alone.
    """

    def __init__(
        self, step: Step, parameters: Sequence[nn.Parameter], kept: int = 8,
        quiet: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:  # fmt: skip
        self.step, self.parameters, self.kept, self.quiet = step, list(parameters), kept, quiet
        self._graphs: dict[tuple, _Graph] = {}
        self._pool: Any = None
        self.refused = False

    def __call__(self, batch: Batch, noised: Noised) -> dict[str, Tensor]:
        """The losses by name, detached; gradients are added to the parameters' own."""
        batch = filled(batch)
        given = {f"batch.{k}": v for k, v in tensors_of(batch).items()}
        given |= {f"noised.{k}": v for k, v in tensors_of(noised).items()}
        name = (batch.inputs.alone, *((key, tuple(value.shape), value.dtype) for key, value in given.items()))
        if name not in self._graphs:
            if self.refused or len(self._graphs) >= self.kept:
                return self.step(batch, noised)
            try:
                with self.quiet():
                    self._graphs[name] = self._record(given, batch, noised)
            except RuntimeError as error:
                self.refused = True
                log.warning("This step cannot be recorded as a CUDA graph (%s): it goes on without.", error)
                return self.step(batch, noised)
        return self._replay(self._graphs[name], given)

    def _replay(self, recorded: _Graph, given: dict[str, Tensor]) -> dict[str, Tensor]:
        for key, tensor in given.items():
            recorded.given[key].copy_(tensor)
        recorded.graph.replay()
        for parameter, gradient in zip(self.parameters, recorded.gradients, strict=True):
            if gradient is not None:  # copied: the next replay writes into the same memory
                parameter.grad = gradient.clone() if parameter.grad is None else parameter.grad.add_(gradient)
        return {key: loss.clone() for key, loss in recorded.losses.items()}

    def _record(self, given: dict[str, Tensor], batch: Batch, noised: Noised) -> _Graph:
        fixed = {key: tensor.clone() for key, tensor in given.items()}
        own = with_tensors(batch, {k.removeprefix("batch."): v for k, v in fixed.items() if k.startswith("batch.")})
        its = with_tensors(noised, {k.removeprefix("noised."): v for k, v in fixed.items() if k.startswith("noised.")})
        before = [parameter.grad for parameter in self.parameters]
        try:
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(WARMUPS):
                    self._forget()
                    self.step(own, its)
            torch.cuda.current_stream().wait_stream(aside)
            self._forget()
            # A recording has memory of its own: what the steps without it needed is given back first.
            torch.cuda.synchronize()
            gc.collect()
            torch.cuda.empty_cache()
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                losses = self.step(own, its)
            return _Graph(graph, fixed, losses, [parameter.grad for parameter in self.parameters])
        finally:
            for parameter, gradient in zip(self.parameters, before, strict=True):
                parameter.grad = gradient

    def _forget(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None
