"""Tasks over processes, a few at a time, that leave no process behind whatever happens to the first one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import TypeVar

Result = TypeVar("Result")
AHEAD = 2  # tasks of each process that wait for it; more would only fill the memory


def run_tasks(tasks: Iterable[Callable[[], Result]], workers: int) -> Iterator[Result]:
    """Run tasks and give their results as they come.

    Args:
        tasks: may be made while others run; no more than a few wait at a time. With several workers they must be
            functions that a new process can import.
        workers: processes; 1 runs everything in this one. torch works on one thread in either case, so that the result
            does not depend on the machine's cores.

    Raises:
        RuntimeError: a process was ended from outside, or ran out of memory.
        What a task raises.
    """
    if workers <= 1:
        yield from _here(tasks)
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin) as pool:
        running: set[Future[Result]] = set()
        waiting = iter(tasks)
        try:
            while True:
                while len(running) < AHEAD * workers and (task := next(waiting, None)) is not None:
                    running.add(pool.submit(task))
                if not running:
                    return
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "A process ended unexpectedly, perhaps because the memory was full: run the same command again, it "
                "goes on where it stopped; fewer --workers need less memory."
            ) from error
        finally:
            for future in running:
                future.cancel()


def _here(tasks: Iterable[Callable[[], Result]]) -> Iterator[Result]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for task in tasks:
            yield task()
    finally:
        torch.set_num_threads(threads)


def _begin() -> None:
    """In a new process: one thread, and an end when the first process ends, however it does."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A killed process cannot tell its children, and these would wait for work for ever.
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
