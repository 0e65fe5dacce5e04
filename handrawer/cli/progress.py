"""Progress bars for whatever takes longer than two seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module

from tqdm import tqdm

Progress = Callable[[int, int], None]


@contextmanager
def progress_bar(title: str, delay: float = 0.5) -> Iterator[Progress]:
    """A bar on stderr that appears once the work has taken `delay` seconds.

    Args:
        title: what is being done, shown before the bar.
        delay: seconds.

    Yields:
        `progress(done, total)`, to be called as the work goes on.
    """
    with tqdm(total=None, desc=title, delay=delay, file=sys.stderr, leave=True) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def import_libraries(*names: str) -> None:
    """Import the heavy libraries one by one under a bar, since together they can take many seconds on a cold disk."""
    missing = [name for name in names if name not in sys.modules]
    for name in tqdm(missing, desc="Loading libraries", delay=0.5, file=sys.stderr):
        import_module(name)
