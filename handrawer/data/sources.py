"""Where pictures come from: HaGRID's folders, a plain folder, or the shards of MANUS-HaGRID.

A source gives its items in one order, always the same, without holding them all.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .items import PICTURES, Item, Keys, hands_of_annotation, read_words

logger = logging.getLogger("handrawer")

KINDS = ("auto", "hagrid", "folder", "manus")
PEEK = 1 << 16  # bytes of a JSON file that are looked at to tell what it is
CAPTIONS = ("text", "caption", "prompt")
ANNOTATED = ("bboxes", "labels", "leading_hand", "hand_landmarks", "landmarks")


def kind_of(source: Path) -> str:
    """Which kind of source a folder (or a tar file) is.

    Raises:
        FileNotFoundError: there is nothing there.
    """
    if source.is_file() and source.suffix == ".tar":
        return "manus"
    if not source.is_dir():
        raise FileNotFoundError(f"There is no folder {source}: give a folder of pictures, of HaGRID, or of shards.")
    if any(True for _ in annotation_files(source)):
        return "hagrid"
    if next(source.rglob("*.tar"), None) is not None:
        return "manus"
    return "folder"


def open_source(source: Path, kind: str = "auto") -> tuple[str, Callable[[], Iterator[Item]]]:
    """The kind of a source, and what gives its items, anew at every call.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: an unknown kind.
    """
    if kind not in KINDS:
        raise ValueError(f"There is no kind of source {kind!r}: choose one of {', '.join(KINDS)}.")
    found = kind_of(source)
    kind = found if kind == "auto" else kind
    if kind == "manus":
        from .manus import manus_items

        return kind, lambda: manus_items(source)
    return kind, lambda: (hagrid_items if kind == "hagrid" else folder_items)(source)


# --- HaGRID


def annotation_files(source: Path) -> Iterator[Path]:
    """The annotation files of HaGRID below a folder, in order: JSON files that speak of "bboxes" near their start."""
    for path in sorted(source.rglob("*.json")):
        with open(path, "rb") as file:
            if b'"bboxes"' in file.read(PEEK):
                yield path


def hagrid_items(source: Path) -> Iterator[Item]:
    """The pictures that HaGRID's annotation files tell of; v1 and v2, whole or a subsample.

    An annotation file is named after its class, `CLASS.json`; its pictures lie in a folder named CLASS or something
    that ends in `_CLASS` (`train_val_CLASS`), wherever it is; pictures of a flat folder are found by their names.

    Raises:
        ValueError: an annotation file is no JSON.
    """
    keys, seen = Keys(), set()
    folders = _picture_folders(source)
    elsewhere: dict[str, str] | None = None
    for path in annotation_files(source):
        try:
            annotations = json.loads(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"{path} is damaged ({error}): copy it again from where it came from.") from error
        here = _pictures_of(source, [folder for folder in folders if _is_of_class(folder.name, path.stem)])
        for name in sorted(annotations):
            file = here.get(name)
            if file is None:
                elsewhere = _pictures_of(source, folders) if elsewhere is None else elsewhere
                file = elsewhere.get(name, "")
            if name in seen:
                logger.warning("%s is in %s and in an annotation file before it: used once.", name, path.name)
                continue
            seen.add(name)
            yield _hagrid_item(keys.make(name), file or f"{path.stem}/{name}.jpg", annotations[name], path)


def _hagrid_item(key: str, file: str, data: Any, path: Path) -> Item:
    if not isinstance(data, dict):
        return Item(key, file, label=path.stem, faults=("its annotation is no record",))
    hands, faults = hands_of_annotation(data)
    extra = {name: data[name] for name in ("user_id", "leading_conf", "meta") if name in data}
    extra |= {name: data[name] for name in ("united_bbox", "united_label") if data.get(name)}
    extra["annotations"] = path.parent.name
    return Item(key, file, hands=hands, label=path.stem, faults=tuple(faults), extra=extra)


def _is_of_class(folder: str, label: str) -> bool:
    return folder == label or (folder.endswith(f"_{label}") and folder[: -len(label) - 1] in _PARTS)


_PARTS = ("train_val", "train", "val", "test", "subsample")


def _picture_folders(source: Path) -> list[Path]:
    found = []
    for folder, inner, names in os.walk(source):
        inner.sort()
        if any(name.lower().endswith(PICTURES) for name in names):
            found.append(Path(folder))
    return sorted(found)


def _pictures_of(source: Path, folders: list[Path]) -> dict[str, str]:
    """Paths relative to the source by names without ending; of several the first."""
    found: dict[str, str] = {}
    for folder in folders:
        for name in sorted(os.listdir(folder)):
            stem, ending = os.path.splitext(name)
            if ending.lower() in PICTURES:
                found.setdefault(stem, (folder / name).relative_to(source).as_posix())
    return found


# --- plain folder


def folder_items(source: Path) -> Iterator[Item]:
    """The pictures of a folder and the folders in it, with captions of a .txt beside each or of a `metadata.jsonl`.

    A line of `metadata.jsonl` is {"file_name": ..., "text" or "caption": ...}, as Hugging Face's ImageFolder has it; it
    may tell of hands with HaGRID's fields (`bboxes`, `labels`, `leading_hand`, `hand_landmarks`).
    """
    keys = Keys()
    for folder in _picture_folders(source):
        told = _metadata(folder)
        for name in sorted(os.listdir(folder)):
            path = folder / name
            if not name.lower().endswith(PICTURES) or not path.is_file():
                continue
            relative = path.relative_to(source)
            yield _folder_item(keys.make(relative.with_suffix("").as_posix()), relative.as_posix(), path, told)


def _folder_item(key: str, file: str, path: Path, told: dict[str, dict[str, Any]]) -> Item:
    row = told.get(path.name, {})
    faults: list[str] = []
    caption = next((str(row[name]).strip() for name in CAPTIONS if isinstance(row.get(name), str)), "")
    words = path.with_suffix(".txt")
    if words.is_file():
        caption, fault = read_words(words)
        faults += [fault] if fault else []
    hands = None
    if any(name in row for name in ANNOTATED):
        hands, more = hands_of_annotation(row)
        faults += more
    return Item(key, file, caption=caption, hands=hands, faults=tuple(faults))


def _metadata(folder: Path) -> dict[str, dict[str, Any]]:
    file = folder / "metadata.jsonl"
    if not file.is_file():
        return {}
    text, fault = read_words(file)
    if fault:
        logger.warning("%s.", fault)
    told = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            told[str(row["file_name"])] = row
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("%s, line %d is skipped: %s.", file, number, error)
    return told
