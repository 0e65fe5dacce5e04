"""Batches made ahead: in a thread of their own, on a stream of their own, while the steps before them run."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch

from .batches import Batch
from .trees import tensors_of


@dataclass(frozen=True)
class _Made:
    """Batches, and the event of the stream after which they are there (GPUs alone)."""

    batches: list[Batch]
    ready: torch.cuda.Event | None


class Ahead:
    """Gives the batches of a run by their number, in order.

    Batches are made in groups: numbers k n to k n + n - 1 together, wherever a run begins or goes on, so that a run
    that was stopped sees what it would have seen. While a group is used the next one is made.

    Args:
        make: numbers to batches; what it raises is raised by `take`.
        together: n; 0: each batch when it is taken, in the thread that takes it.
        end: the number after the last one that will be taken.
        device: of the batches.
    """

    def __init__(self, make: Callable[[list[int]], list[Batch]], together: int, end: int, device: torch.device) -> None:
        self.make, self.together, self.end, self.device = make, together, end, device
        self._groups: dict[int, Future[_Made]] = {}
        self._alone = threading.RLock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="handrawer-batches") if together else None
        self._stream = torch.cuda.Stream(device) if together and device.type == "cuda" else None

    def take(self, number: int) -> Batch:
        """The batch of a number; the group after its own begins to be made."""
        if self._pool is None:
            return self.make([number])[0]
        group = number // self.together
        for old in [key for key in self._groups if key < group]:
            self._groups.pop(old)
        for key in (group, group + 1):
            if key not in self._groups and key * self.together < max(self.end, number + 1):
                self._groups[key] = self._pool.submit(self._group, key, self._event())
        made = self._groups[group].result()
        batch = made.batches[number - group * self.together]
        if made.ready is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(made.ready)
            for tensor in tensors_of(batch).values():
                if tensor.is_cuda:
                    tensor.record_stream(current)  # its memory is not used again before this stream is done with it
        return batch

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """While it is open nothing is made: what is under way is finished first."""
        with self._alone:
            if self._stream is not None:
                self._stream.synchronize()
            yield

    def close(self) -> None:
        """Wait for what is under way, make no more."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._groups.clear()

    def _event(self) -> torch.cuda.Event | None:
        """After which everything that the taking thread has made is there."""
        if self._stream is None:
            return None
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self.device))
        return event

    def _group(self, key: int, before: torch.cuda.Event | None) -> _Made:
        first = key * self.together
        numbers = list(range(first, max(first + 1, min(first + self.together, self.end))))
        with self._alone:
            if self._stream is None or before is None:
                return _Made(self.make(numbers), None)
            with torch.cuda.device(self.device), torch.cuda.stream(self._stream):
                self._stream.wait_event(before)
                batches = self.make(numbers)
                ready = torch.cuda.Event()
                ready.record(self._stream)
        return _Made(batches, ready)
