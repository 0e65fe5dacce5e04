"""`data prepare`: a source of pictures to shards, in two passes that can be stopped anywhere and taken up again.

First every file is looked at (certain faults, perceptual hash); then copies are told from originals, in the order of
the source; then every chunk of the source is labelled and becomes one shard. A chunk's files appear when they are whole
and depend on the source, the options and a person's decisions alone, so that whoever is killed goes on, with any number
of processes, and gets the same bytes.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from .atomic import PART, write_text
from .checks import Check, check_picture
from .duplicates import Duplicates
from .items import Item, fingerprint
from .label import Options, Task, label_chunk, read_item
from .layout import Layout
from .pool import run_tasks
from .report import write_report
from .shards import write_index
from .sources import open_source

logger = logging.getLogger("handrawer")

Progress = Callable[[str, int, int], None]
STATE = "handrawer-data"
VERSION = 1


@dataclass(frozen=True)
class Prepared:
    """What a preparation wrote."""

    out: Path
    pictures: int
    kept: int
    flagged: int
    dropped: int


def prepare(
    source: Path,
    out: Path,
    options: Options | None = None,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> Prepared:
    """Prepare a source, or go on where an earlier run stopped.

    Args:
        source: HaGRID's folders, a folder of pictures, or a folder of MANUS-HaGRID's shards: see `sources`.
        out: the folder to write into.
        options: see `Options`.
        workers: processes; 1 works in this one.
        progress: called as ``progress(what, done, total)``.

    Raises:
        FileNotFoundError: there is no source.
        ValueError: no pictures in it, or `out` belongs to another source or other options.
        OSError: the disk is full; the same call goes on later.
        RuntimeError: a process ended, out of memory for instance.
    """
    options = options or Options()
    source, layout = source.resolve(), Layout(out)
    if out.resolve().is_relative_to(source):
        raise ValueError(f"{out} lies in {source}: choose a folder outside, or its pictures would be read as well.")
    kind, items = open_source(source, options.kind)
    _remember(layout, source, kind, options)
    say = progress or (lambda what, done, total: None)
    total = _check(source, layout, options, items, workers, say)
    _label(source, layout, options, items, total, workers, say, _overrules(layout), _pending(layout))
    return _finish(layout, total, say)


# --- the two passes


def _chunks(items: Callable[[], Iterator[Item]], options: Options) -> Iterator[tuple[int, tuple[Item, ...]]]:
    wanted = itertools.islice(items(), options.limit) if options.limit else items()
    for number in itertools.count():
        chunk = tuple(itertools.islice(wanted, options.shard_size))
        if not chunk:
            return
        yield number, chunk


def _check(
    source: Path, layout: Layout, options: Options, items: Callable[[], Iterator[Item]], workers: int, say: Progress
) -> int:
    """The first look at every file; how many items there are."""
    total = 0
    sizes: list[int] = []
    todo: list[int] = []
    for number, chunk in _chunks(items, options):
        total += len(chunk)
        sizes.append(len(chunk))
        if not _is_checked(layout, number, chunk):
            todo.append(number)
    if not total:
        raise ValueError(f"There are no pictures in {source}: give a folder of JPEG, PNG or WebP files.")
    wanted = set(todo)
    done = total - sum(sizes[number] for number in todo)
    calls = (
        partial(check_chunk, source, layout, options, number, chunk)
        for number, chunk in _chunks(items, options)
        if number in wanted
    )
    for count in run_tasks(calls, workers):
        done += count
        say("Looking at files", done, total)
    return total


def _is_checked(layout: Layout, number: int, chunk: tuple[Item, ...]) -> bool:
    """Whether a chunk's files were looked at before; ValueError where the source is another than then."""
    file = layout.checks(number)
    if not file.is_file():
        return False
    with open(file, encoding="utf-8") as lines:
        head = json.loads(lines.readline())
    if head["fingerprint"] == fingerprint(chunk):
        return True
    if head["items"] < len(chunk) and head["fingerprint"] == fingerprint(chunk[: head["items"]]):
        # The same source with more pictures behind: this chunk has grown.
        layout.decisions(number).unlink(missing_ok=True)
        file.unlink()
        return False
    raise ValueError(
        f"{layout.out} was begun with other pictures or annotations in the source (chunk {number} differs): choose "
        "another folder to write into, or delete this one to begin anew."
    )


def check_chunk(source: Path, layout: Layout, options: Options, number: int, chunk: tuple[Item, ...]) -> int:
    """Look at one chunk's files, write what was found, and say how many they are."""
    rows: list[dict[str, Any]] = [{"fingerprint": fingerprint(chunk), "items": len(chunk)}]
    for item in chunk:
        files = read_item(source, item)
        rows.append(check_picture(item.key, None if files is None else files["picture"], options.least_side).to_dict())
    write_text(layout.checks(number), "".join(json.dumps(row) + "\n" for row in rows))
    return len(chunk)


def read_checks(layout: Layout, number: int) -> list[Check]:
    """What the first look found of a chunk."""
    rows = [json.loads(line) for line in layout.checks(number).read_text(encoding="utf-8").splitlines()]
    return [Check(**row) for row in rows[1:]]


def _drops(checks: Iterable[Check], duplicates: Duplicates) -> dict[str, tuple[str, str]]:
    """Certain faults by key; must see all chunks in their order, since the first of two copies stays."""
    drops = {}
    for check in checks:
        if check.fault:
            drops[check.key] = (check.fault, f"{check.detail[0].upper()}{check.detail[1:]}.")
        else:
            first = duplicates.first_of(check)
            if first is not None:
                drops[check.key] = ("duplicate", f"It shows the same as {first}.")
    return drops


def certain_faults(
    source: Path, out: Path, options: Options | None = None, *, workers: int = 1, progress: Progress | None = None
) -> dict[str, tuple[str, str]]:
    """The first pass alone: what would be dropped, by key, with reason and sentence. `prepare` goes on from it.

    Arguments and errors are those of `prepare`.
    """
    options = options or Options()
    source, layout = source.resolve(), Layout(out)
    kind, items = open_source(source, options.kind)
    _remember(layout, source, kind, options)
    _check(source, layout, options, items, workers, progress or (lambda what, done, total: None))
    duplicates, drops = Duplicates(), {}
    for number in _numbers(layout):
        drops |= _drops(read_checks(layout, number), duplicates)
    return drops


def _label(
    source: Path, layout: Layout, options: Options, items: Callable[[], Iterator[Item]], total: int, workers: int,
    say: Progress, overrules: Mapping[str, str], again: frozenset[int] = frozenset(),
) -> None:  # fmt: skip
    """Label every chunk that has no decisions yet, and those of `again`."""
    done = 0

    def calls() -> Iterator[Callable[[], int]]:
        nonlocal done
        duplicates = Duplicates()
        for number, chunk in _chunks(items, options):
            drops = _drops(read_checks(layout, number), duplicates)
            if layout.decisions(number).is_file() and number not in again:
                done += len(chunk)
                say("Labelling", done, total)
                continue
            keys = {item.key for item in chunk}
            wishes = {key: wish for key, wish in overrules.items() if key in keys}
            task = Task(number, chunk, drops, wishes, reuse=number in again)
            yield partial(_label_task, source, layout, options, task)

    for count in run_tasks(calls(), workers):
        done += count
        say("Labelling", done, total)


def _label_task(source: Path, layout: Layout, options: Options, task: Task) -> int:
    label_chunk(source, layout, options, task)
    return len(task.items)


def _finish(layout: Layout, total: int, say: Progress) -> Prepared:
    """Index, decisions in one file, report and contact sheet."""
    say("Writing the report", 0, 1)
    write_index(layout.shards)
    counts = write_report(layout)
    layout.pending.unlink(missing_ok=True)
    for left in layout.out.rglob(f"*{PART}"):
        left.unlink(missing_ok=True)  # of a process that was killed
    say("Writing the report", 1, 1)
    return Prepared(layout.out, total, counts["keep"], counts["flag"], counts["drop"])


# --- what was begun, and what a person decided


def _remember(layout: Layout, source: Path, kind: str, options: Options) -> None:
    """Write down source and options, or compare with what is written.

    Raises:
        ValueError: the folder was begun with others.
    """
    told = options.to_dict() | {"kind": kind}
    if layout.state.is_file():
        state = json.loads(layout.state.read_text(encoding="utf-8"))
        before = state["options"] | {"limit": options.limit}  # more pictures are welcome
        changed = [name for name, value in told.items() if before.get(name) != value]
        if state["source"] != str(source):
            changed.insert(0, "source")
        if changed:
            raise ValueError(
                f"{layout.out} was begun with another {' and '.join(changed)}: use the same, or another folder to "
                "write into."
            )
        if state["options"]["limit"] == options.limit:
            return
    elif layout.out.is_dir() and any(layout.out.iterdir()):
        raise ValueError(f"{layout.out} has other files in it: choose a new folder to write into.")
    state = {"format": STATE, "version": VERSION, "source": str(source), "options": told}
    write_text(layout.state, json.dumps(state, indent=1) + "\n")


def _overrules(layout: Layout) -> dict[str, str]:
    if not layout.overrules.is_file():
        return {}
    return json.loads(layout.overrules.read_text(encoding="utf-8"))["decisions"]


def _pending(layout: Layout) -> frozenset[int]:
    """Chunks that wait to be written again by a person's decisions."""
    return frozenset(json.loads(layout.pending.read_text())) if layout.pending.is_file() else frozenset()


def read_decisions(file: Path) -> dict[str, str]:
    """A person's decisions from the contact sheet: `keep` or `drop` by key.

    Raises:
        ValueError: it is no such file.
    """
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        decisions = data["decisions"]
        wrong = [key for key, wish in decisions.items() if wish not in ("keep", "drop")]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is no file of decisions from a contact sheet ({error}).") from error
    if wrong:
        raise ValueError(f'{file}: the decision on {wrong[0]} must be "keep" or "drop".')
    return decisions


def apply_decisions(file: Path, out: Path, *, workers: int = 1, progress: Progress | None = None) -> Prepared:
    """Take a person's decisions: only the shards that they change are written again.

    The source is needed only for pictures that were dropped and shall stay.

    Raises:
        FileNotFoundError, ValueError: no such decisions, or `out` is no prepared folder, or a key is not in it.
    """
    layout = Layout(out)
    if not layout.state.is_file():
        raise ValueError(f"{out} is no prepared folder: run `python -m handrawer data prepare SOURCE {out}` first.")
    state = json.loads(layout.state.read_text(encoding="utf-8"))
    options, source = Options(**state["options"]), Path(state["source"])
    wishes = read_decisions(file)
    before = _overrules(layout)
    wanted = before | wishes
    changed = {key for key, wish in wishes.items() if before.get(key) != wish}
    touched = _chunks_with(layout, changed)
    unknown = changed - {key for keys in touched.values() for key in keys}
    if unknown:
        raise ValueError(f"{file}: there is no picture {sorted(unknown)[0]} in {out}.")
    # Written before the decisions count, so that whoever is stopped half way still knows which shards wait.
    again = frozenset(touched) | _pending(layout)
    write_text(layout.pending, json.dumps(sorted(again)) + "\n")
    write_text(layout.overrules, json.dumps({"format": STATE, "decisions": wanted}, indent=1) + "\n")
    _, items = open_source(source, options.kind)
    total = sum(len(read_checks(layout, number)) for number in _numbers(layout))
    say = progress or (lambda what, done, total: None)
    _label(source, layout, options, items, total, workers, say, wanted, again)
    return _finish(layout, total, say)


def _numbers(layout: Layout) -> Sequence[int]:
    return sorted(int(file.stem) for file in layout.checks(0).parent.glob("*.jsonl"))


def _chunks_with(layout: Layout, keys: set[str]) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for number in _numbers(layout):
        here = keys & {check.key for check in read_checks(layout, number)}
        if here:
            found[number] = here
    return found
