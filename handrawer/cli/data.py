"""`python -m handrawer data prepare SOURCE OUT`: pictures of hands, cleansed and relabelled, as shards; `data draw`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from tqdm import tqdm

from .errors import Refusal
from .progress import import_libraries

if TYPE_CHECKING:
    from ..data.prepare import Prepared, Progress

Result = TypeVar("Result")


def run(arguments: argparse.Namespace) -> int:
    """Prepare, go on, or take a person's decisions; or draw synthetic pictures."""
    if arguments.step == "draw":
        from .data_draw import run as draw

        return draw(arguments)
    if arguments.apply is not None:
        return _report(take(arguments))
    if arguments.source is None or arguments.out is None:
        raise Refusal("data prepare needs a SOURCE and a folder OUT to write into.")
    return _report(start(arguments))


def start(arguments: argparse.Namespace) -> Prepared:
    """Prepare with the command's arguments.

    Raises:
        Refusal: in a sentence, whatever stops it.
    """
    import_libraries("torch")
    from ..data.label import Options
    from ..data.prepare import prepare

    options = Options(
        kind=arguments.kind, limit=arguments.limit, shard_size=arguments.shard_size, least_side=arguments.least_side,
        longest=arguments.longest, search=arguments.search, exchange_sides=arguments.exchange_sides,
    )  # fmt: skip
    with Bars() as bars:
        return said(lambda: prepare(arguments.source, arguments.out, options, workers=worker_count(arguments),
                                     progress=bars))  # fmt: skip


def take(arguments: argparse.Namespace) -> Prepared:
    """Take the decisions of a contact sheet; the prepared folder is the only, or the last, argument."""
    from ..data.prepare import apply_decisions

    out = arguments.out or arguments.source
    if out is None:
        raise Refusal("data prepare --apply needs the prepared folder: data prepare --apply decisions.json OUT.")
    if not arguments.apply.is_file():
        raise Refusal(f"there is no file {arguments.apply}; the contact sheet's button makes it.")
    with Bars() as bars:
        return said(lambda: apply_decisions(arguments.apply, out, workers=worker_count(arguments), progress=bars))


def worker_count(arguments: argparse.Namespace) -> int:
    """Processes: as many as asked for, else half of the cores."""
    return arguments.workers or max(1, (os.cpu_count() or 2) // 2)


def said(work: Callable[[], Result]) -> Result:
    """Do some work; what stops it becomes a Refusal of one sentence."""
    try:
        return work()
    except (ValueError, RuntimeError, ImportError) as error:
        raise Refusal(str(error)) from error
    except OSError as error:
        plain = error.strerror if error.filename is None else None
        raise Refusal(plain or str(error)) from error


def _report(prepared: Prepared) -> int:
    print(
        f"{prepared.pictures} pictures: {prepared.kept} kept, {prepared.flagged} kept and flagged, "
        f"{prepared.dropped} dropped."
    )
    print(f"Written to {prepared.out}: shards/, decisions.jsonl, report.md; open index.html to look and to overrule.")
    return 0


class Bars:
    """One bar after another, by what is being done."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._what = ""

    def __enter__(self) -> Progress:
        return self._show

    def _show(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self.__exit__()
            self._what = what
            self._bar = tqdm(total=total, desc=what, unit="pictures", file=sys.stderr, delay=0.5)
        if self._bar is not None:
            self._bar.update(done - self._bar.n)

    def __exit__(self, *_) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
