"""Progress bars for whatever takes longer than two seconds."""

from __future__ import annotations

import os
import re
import sys
import tempfile
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


# MediaPipe's C++ side tells its developers a few things at every start; to users they read like faults.
CHATTER = re.compile(rb"INFO: |WARNING: Logging before InitGoogle|[IW]\d{4} ")


@contextmanager
def without_chatter() -> Iterator[None]:
    """Hold back what native libraries write to stderr, and pass on what is not CHATTER afterwards.

    Python's own sys.stderr, and so progress bars, go on at once. Does nothing where sys.stderr is not the process's.
    """
    try:
        native = sys.stderr.fileno() == 2
    except (AttributeError, OSError, ValueError):  # replaced by something without a file, as in tests and notebooks
        native = False
    if not native:
        yield
        return
    terminal, python_stderr = os.dup(2), sys.stderr
    with tempfile.TemporaryFile() as held, os.fdopen(terminal, "w", buffering=1, errors="replace") as stream:
        python_stderr.flush()
        os.dup2(held.fileno(), 2)
        sys.stderr = stream
        try:
            yield
        finally:
            sys.stderr = python_stderr
            os.dup2(terminal, 2)
            held.seek(0)
            os.write(2, b"".join(line for line in held if not CHATTER.match(line)))
