"""Long measurements in several processes, with the same results as in one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

import torch

Task = TypeVar("Task")
Result = TypeVar("Result")


def mapped(function: Callable[[Task], Result], tasks: Sequence[Task], workers: int = 1) -> list[Result]:
    """``function`` of each task, in their order.

    Args:
        function: of a module, so that other processes find it by name; what it gives must be picklable.
        workers: processes of one thread each; 1 does the work here.
    """
    if workers <= 1:
        return [function(task) for task in tasks]
    with ProcessPoolExecutor(workers, get_context("spawn"), _one_thread) as pool:
        return list(pool.map(function, tasks))


def _one_thread() -> None:
    torch.set_num_threads(1)
