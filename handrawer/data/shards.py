"""Shards: tar files in WebDataset's layout, and the samples in them, in any order.

A sample is a run of members `key.jpg` (or png, webp), `key.json`, `key.hands.json`, `key.mask.png`, `key.depth.png`
(16 bit) and `key.normals.png`. Any reader of WebDataset reads the shards. The reader here knows where each sample lies,
so that it can shuffle all of them, give each worker its own, and go on anywhere, without reading what it skips.
"""

from __future__ import annotations

import io
import json
import logging
import tarfile
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from ..hand.hands import Frame, Hands
from .atomic import atomic_file

logger = logging.getLogger("handrawer")

PICTURES = ("jpg", "jpeg", "png", "webp")
INDEX = "index.jsonl"
OPEN_FILES = 32
BLOCK = 512  # bytes, of a tar file


@dataclass(frozen=True, eq=False)
class Sample:
    """One picture and what is known of it."""

    key: str
    picture: Tensor
    """[H, W, 3] uint8 RGB, upright."""
    hands: Frame
    """The hands in it, in its own size; none where none was found."""
    caption: str
    mask: Tensor | None
    """[H, W] float32, share of each pixel that hands cover; None if not asked for."""
    depth: Tensor | None
    """[H, W] float32, 1 near, background 0, as `render.maps` draws it; None if not asked for."""
    normals: Tensor | None
    """[H, W, 3] float32 0..1, ControlNet's normal_bae colours; None if not asked for."""
    meta: dict[str, Any] = field(default_factory=dict)
    """`key.json`: source, caption's parts, flags, hands (side, gesture, view, box), see docs/data.md."""


@dataclass(frozen=True)
class Entry:
    """Where a sample lies, and what a reader wants to know of it before it reads it."""

    shard: Path
    key: str
    start: int
    """Byte of the shard at which the sample's first member begins."""
    end: int
    width: int
    height: int
    hands: int
    reasons: tuple[str, ...] = ()
    """Of the flags that nobody has confirmed as harmless."""


# --- writing


def write_shard(path: Path, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> int:
    """Write one shard, all of it or nothing.

    Args:
        path: the shard; it appears when it is complete.
        samples: key (no dots, no slashes) and the members' bytes by ending.

    Returns:
        How many samples were written. The same samples give the same bytes.

    Raises:
        ImportError: without webdataset, with a sentence that says what to install.
        OSError: the disk is full, or the folder cannot be written to; nothing is left behind.
    """
    writer = _webdataset().TarWriter
    count = 0
    with (
        atomic_file(path) as file,
        writer(file, encoder=False, mtime=0, user="", group="", mode=0o644) as archive,
    ):
        for key, members in samples:
            archive.write({"__key__": key, **members})
            count += 1
    return count


def _webdataset() -> Any:
    try:
        import webdataset
    except ImportError as error:
        raise ImportError('Shards need webdataset: install it with `pip install "handrawer[train]"`.') from error
    return webdataset


def write_index(folder: Path) -> list[Entry]:
    """Write `index.jsonl` of all shards of a folder, one line a shard; `open_index` is fast then."""
    entries: list[Entry] = []
    with atomic_file(folder / INDEX) as file:
        for shard in sorted(folder.glob("*.tar")):
            found = scan_shard(shard)
            rows = [[e.key, e.start, e.end, e.width, e.height, e.hands, list(e.reasons)] for e in found]
            line = {"shard": shard.name, "bytes": shard.stat().st_size, "samples": rows}
            file.write((json.dumps(line) + "\n").encode())
            entries += found
    return entries


# --- where samples lie


def shards_of(folder_or_shards: Path | str | Sequence[Path | str]) -> list[Path]:
    """The shards of a prepared folder (or of its `shards` folder), or the ones that are given, in order.

    Raises:
        FileNotFoundError: there is none.
    """
    if isinstance(folder_or_shards, (str, Path)):
        path = Path(folder_or_shards)
        if path.is_file():
            return [path]
        inner = path / "shards"
        found = sorted((inner if inner.is_dir() else path).glob("*.tar"))
        if not found:
            raise FileNotFoundError(
                f"There are no shards (.tar) in {path}: make them with `python -m handrawer data prepare`."
            )
        return found
    paths = [Path(path) for path in folder_or_shards]
    missing = [path for path in paths if not path.is_file()]
    if missing or not paths:
        raise FileNotFoundError(f"There is no shard {missing[0] if missing else '(the list is empty)'}.")
    return paths


def open_index(folder_or_shards: Path | str | Sequence[Path | str]) -> list[Entry]:
    """Every sample's entry, shard by shard, in the order of writing.

    A shard that is not in the folder's index, or has changed, is scanned. What cannot be read of a shard is skipped,
    and the log says so.
    """
    shards = shards_of(folder_or_shards)
    known: dict[Path, list[Entry]] = {}
    for folder in {shard.parent for shard in shards}:
        known |= _read_index(folder)
    entries: list[Entry] = []
    for shard in shards:
        found = known.get(shard)
        entries += scan_shard(shard) if found is None else found
    return entries


def _read_index(folder: Path) -> dict[Path, list[Entry]]:
    file = folder / INDEX
    known: dict[Path, list[Entry]] = {}
    if not file.is_file():
        return known
    try:
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            shard = folder / row["shard"]
            if shard.is_file() and shard.stat().st_size == row["bytes"]:
                known[shard] = [
                    Entry(shard, key, start, end, width, height, hands, tuple(reasons))
                    for key, start, end, width, height, hands, reasons in row["samples"]
                ]
    except (ValueError, KeyError, TypeError) as error:
        logger.warning("%s is damaged (%s): the shards are scanned instead.", file, error)
        return {}
    return known


@dataclass(frozen=True)
class Group:
    """The members of one sample in a tar file, by ending, and the bytes from `start` to `end` that they fill."""

    key: str
    start: int
    end: int
    members: dict[str, tarfile.TarInfo]


def sample_groups(shard: Path) -> Iterator[tuple[tarfile.TarFile, Group]]:
    """The samples of a tar file in order, by their headers; where it is damaged it ends, and the log says so."""
    if shard.stat().st_size == 0:
        logger.warning("%s is empty: skipped.", shard)
        return
    count = 0
    group: list[tarfile.TarInfo] = []
    with open(shard, "rb") as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for member in archive:
                    if group and _key(member) != _key(group[0]):
                        count += 1
                        yield archive, _grouped(group)
                        group = []
                    if member.isfile():
                        group.append(member)
                if group:
                    yield archive, _grouped(group)
        except (tarfile.TarError, EOFError) as error:
            logger.warning("%s is damaged (%s): %d samples of it are used.", shard, error, count)


def _grouped(members: list[tarfile.TarInfo]) -> Group:
    last = members[-1]
    end = last.offset_data + -(-last.size // BLOCK) * BLOCK
    return Group(_key(members[0]), members[0].offset, end, {_ending(member): member for member in members})


def scan_shard(shard: Path) -> list[Entry]:
    """The entries of one shard, from its tar headers; those after a damaged place are left out, and the log says so."""
    return [entry for archive, group in sample_groups(shard) for entry in _entry(shard, archive, group)]


def _key(member: tarfile.TarInfo) -> str:
    folder, slash, name = member.name.rpartition("/")
    return folder + slash + name.split(".", 1)[0]


def _ending(member: tarfile.TarInfo) -> str:
    return member.name.rpartition("/")[2].partition(".")[2].lower()


def _entry(shard: Path, archive: tarfile.TarFile, group: Group) -> list[Entry]:
    """One sample's entry, or none where its description cannot be read."""
    try:
        if "json" not in group.members:
            raise ValueError("it has no .json")
        opened = archive.extractfile(group.members["json"])
        meta = json.loads(opened.read() if opened else b"")
        reasons = tuple(sorted(open_reasons(meta)))
        size = int(meta["width"]), int(meta["height"])
        return [Entry(shard, group.key, group.start, group.end, *size, len(meta["hands"]), reasons)]
    except (ValueError, KeyError, TypeError, OSError, tarfile.TarError) as error:
        logger.warning("%s: sample %s is skipped (%s).", shard, group.key, error)
        return []


def open_reasons(meta: Mapping[str, Any]) -> set[str]:
    """Reasons of the flags of a `key.json`; none where a person has confirmed the picture."""
    return set() if meta.get("confirmed") else {str(flag["reason"]) for flag in meta.get("flags", ())}


# --- reading


class Reader:
    """Reads samples wherever they lie; keeps some shards open. Not to be shared between threads."""

    def __init__(self, layers: Collection[str] = ("mask", "depth")):
        self.layers = tuple(layers)
        self._files: OrderedDict[Path, BinaryIO] = OrderedDict()

    def members(self, entry: Entry) -> dict[str, bytes]:
        """The bytes of a sample's members by ending.

        Raises:
            OSError, tarfile.TarError: the shard cannot be read there.
        """
        file = self._open(entry.shard)
        file.seek(entry.start)
        data = file.read(entry.end - entry.start)
        if len(data) < entry.end - entry.start:
            raise OSError(f"the shard ends {entry.end - entry.start - len(data)} bytes too early")
        found = {}
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for member in archive:
                opened = archive.extractfile(member)
                if opened is not None:
                    found[_ending(member)] = opened.read()
        return found

    def sample(self, entry: Entry) -> Sample:
        """One sample, decoded.

        Raises:
            ValueError: a member is missing or damaged; the sentence names shard and sample.
        """
        try:
            return decode_sample(entry.key, self.members(entry), self.layers)
        except (OSError, ValueError, KeyError, TypeError, SyntaxError, tarfile.TarError) as error:
            raise ValueError(f"Sample {entry.key} of {entry.shard.name} cannot be read: {error}.") from error

    def _open(self, shard: Path) -> BinaryIO:
        file = self._files.pop(shard, None) or open(shard, "rb")  # noqa: SIM115 - kept open
        self._files[shard] = file
        while len(self._files) > OPEN_FILES:
            self._files.popitem(last=False)[1].close()
        return file

    def close(self) -> None:
        while self._files:
            self._files.popitem()[1].close()


def decode_sample(key: str, members: Mapping[str, bytes], layers: Collection[str] = ("mask", "depth")) -> Sample:
    """A sample from its members' bytes.

    Raises:
        ValueError, OSError, KeyError: a member is missing or damaged.
    """
    picture = next((members[ending] for ending in PICTURES if ending in members), None)
    if picture is None:
        raise ValueError("it has no picture")
    meta = json.loads(members["json"].decode("utf-8"))
    pixels = torch.from_numpy(np.array(_opened(picture, upright=True).convert("RGB")))
    frame = Hands.from_json(members["hands.json"].decode("utf-8")).frames[0]
    if (frame.width, frame.height) != (pixels.shape[1], pixels.shape[0]):
        raise ValueError(
            f"the hands belong to {frame.width} x {frame.height} pixels, the picture has "
            f"{pixels.shape[1]} x {pixels.shape[0]}"
        )
    drawn = {name: _layer(members[f"{name}.png"], pixels) for name in ("mask", "depth", "normals") if name in layers}
    return Sample(
        key=key,
        picture=pixels,
        hands=frame,
        caption=str(meta.get("caption", "")),
        meta=meta,
        **{name: drawn.get(name) for name in ("mask", "depth", "normals")},
    )


def _opened(data: bytes, upright: bool = False):
    from PIL import Image, ImageOps

    image = Image.open(io.BytesIO(data))
    return ImageOps.exif_transpose(image) if upright else image


def _layer(data: bytes, pixels: Tensor) -> Tensor:
    image = _opened(data)
    values = np.asarray(image).astype(np.float32) / (255 if image.mode in ("L", "RGB") else 65535)
    if values.shape[:2] != pixels.shape[:2]:
        raise ValueError("a layer has another size than the picture")
    return torch.from_numpy(values)


def sample_order(count: int, shuffle_seed: int | None, epoch: int) -> np.ndarray:
    """[count] int64: the order of one epoch; that of writing without a seed."""
    if shuffle_seed is None:
        return np.arange(count)
    return np.random.default_rng([shuffle_seed, epoch]).permutation(count)


def read_samples(
    folder_or_shards: Path | str | Sequence[Path | str] | Sequence[Entry],
    *,
    shuffle_seed: int | None = None,
    epoch: int = 0,
    worker: tuple[int, int] = (0, 1),
    skip: int = 0,
    without: Collection[str] = (),
    layers: Collection[str] = ("mask", "depth"),
) -> Iterator[Sample]:
    """The samples of one epoch.

    Args:
        folder_or_shards: a prepared folder, shards, or entries of `open_index` (to read the index once).
        shuffle_seed: None reads in the order of writing; a number shuffles all samples, by (seed, epoch) alone.
        epoch: counts from 0.
        worker: (index, count): this worker reads every count-th sample. All workers together read each sample once.
        skip: how many samples of this worker to pass over without reading them, to go on where a run stopped.
        without: leave out samples with one of these flags, unless a person has confirmed them: see `flags.REASONS`.
        layers: which of "mask", "depth", "normals" to decode.

    A sample that cannot be read is skipped, and the log names it.

    Raises:
        FileNotFoundError: there are no shards.
        ValueError: the worker's numbers do not fit.
    """
    index, count = worker
    if not 0 <= index < count:
        raise ValueError(f"worker is {worker}: it must be (index, count) with 0 <= index < count.")
    if isinstance(folder_or_shards, (str, Path)) or not all(isinstance(e, Entry) for e in folder_or_shards):
        entries = open_index(folder_or_shards)  # type: ignore[arg-type]
    else:
        entries: list[Entry] = list(folder_or_shards)  # type: ignore[arg-type, no-redef]
    entries = [entry for entry in entries if not set(without) & set(entry.reasons)]
    reader = Reader(layers)
    try:
        for place in sample_order(len(entries), shuffle_seed, epoch)[index::count][skip:].tolist():
            try:
                sample = reader.sample(entries[place])
            except ValueError as error:
                logger.warning("%s It is skipped.", error)
                continue
            yield sample
    finally:
        reader.close()
