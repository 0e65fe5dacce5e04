"""Files that are there whole or not at all, whenever a process ends."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PART = ".part"


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write bytes into, which takes the place of `path` when the block ends well.

    Until then it lies beside it under a name of this process's own that ends in PART. It is on the disk before it gets
    its name, so that a cut of the power leaves the old file or the new one.

    Raises:
        OSError: a full disk says so in a sentence (errno ENOSPC stays); nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}{PART}")
    try:
        with open(part, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise OSError(
                errno.ENOSPC,
                f"The disk with {path.parent} is full; make room and run the same command again, it goes on where it "
                "stopped.",
            ) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8), whole or not at all."""
    with atomic_file(path) as file:
        file.write(text.encode("utf-8"))
