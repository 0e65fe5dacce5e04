"""Labels the pictures of one chunk of a source and writes them as one shard, with a decision for each."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..hand.hands import Hands
from ..render.maps import render_layers
from .atomic import atomic_file, write_text
from .checks import plain_words
from .flags import flags_of
from .items import Item, SourceHand
from .layout import Layout
from .manus import rgb_member, to_normalised
from .pictures import png8, png16, to_tensor, usable
from .relabel import relabel
from .shards import Entry, Reader, scan_shard, write_shard
from .words import describe

logger = logging.getLogger("handrawer")

THUMB = 224  # pixels, of the longer side of a picture in the contact sheet
LOOKED_AT = 40  # one of so many pictures without a fault is shown in the contact sheet too
PERSON = "person"
FAILED = "failed"


@dataclass(frozen=True)
class Options:
    """What changes the result of a preparation; other settings only change how fast it comes."""

    kind: str = "auto"
    limit: int = 0
    shard_size: int = 500
    least_side: int = 64
    longest: int = 0
    search: str = "fast"
    exchange_sides: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Task:
    """One chunk: so many items of the source in a row."""

    number: int
    items: tuple[Item, ...]
    drops: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Certain faults: reason and sentence by key."""
    overrules: Mapping[str, str] = field(default_factory=dict)
    """What a person decided: `keep` or `drop` by key."""
    reuse: bool = False
    """Take what the shard has already; label only what it has not."""


def read_item(source: Path, item: Item) -> dict[str, bytes] | None:
    """The bytes of a picture's file under `picture`, and of everything else that its source keeps; None if missing."""
    root = source if source.is_dir() else source.parent
    path = root / item.file
    if item.end:
        reader = Reader()
        try:
            members = reader.members(Entry(path, item.key, item.start, item.end, 0, 0, 0))
        except OSError:
            return None
        finally:
            reader.close()
        chosen = rgb_member(members)
        return members | {"picture": members[chosen] if chosen else b""}
    try:
        return {"picture": path.read_bytes()}
    except FileNotFoundError:
        return None


def label_chunk(source: Path, layout: Layout, options: Options, task: Task) -> None:
    """Write shard, thumbnails and decisions of one chunk; the decisions last, since they say that it is done.

    Raises:
        OSError: the disk is full, or a folder cannot be read or written.
    """
    kept = _Kept(layout.shard(task.number), layout.decisions(task.number)) if task.reuse else None
    decisions: list[dict[str, Any]] = []
    shard = layout.shard(task.number)
    write_shard(shard, _samples(source, layout, options, task, decisions, kept))
    for decision in decisions:
        if decision["decision"] != "drop":
            decision["shard"] = shard.name
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in decisions)
    write_text(layout.decisions(task.number), lines)


class _Kept:
    """The samples and decisions of a chunk that was written before."""

    def __init__(self, shard: Path, decisions: Path):
        self._reader = Reader()
        entries = scan_shard(shard) if shard.is_file() else []
        self.entries = {entry.key: entry for entry in entries}
        lines = decisions.read_text(encoding="utf-8").splitlines() if decisions.is_file() else []
        self.decisions = {row["key"]: row for row in map(json.loads, lines)}

    def members(self, key: str) -> dict[str, bytes]:
        return self._reader.members(self.entries[key])


def _samples(
    source: Path, layout: Layout, options: Options, task: Task, decisions: list[dict[str, Any]], kept: _Kept | None
) -> Iterator[tuple[str, dict[str, bytes]]]:
    for item in task.items:
        wish = task.overrules.get(item.key, "")
        fault = task.drops.get(item.key)
        row: dict[str, Any] = {"key": item.key, "file": item.file, "label": item.label}
        if wish == "drop":
            before = kept.decisions.get(item.key, {}) if kept else {}
            row |= {"decision": "drop", "reasons": [PERSON], "text": ["A person took it out."]}
            row |= {"hands": before.get("hands", 0), "found": before.get("found", [])}
        elif fault is not None and (wish != "keep" or fault[0] in ("missing", "unreadable")):
            row |= {"decision": "drop", "reasons": [fault[0]], "text": [fault[1]], "hands": 0, "found": []}
            _show_dropped(source, layout, item, fault[0])
        else:
            try:
                if kept and item.key in kept.entries:
                    members, meta = _again(kept, item.key, wish == "keep")
                else:
                    members, meta = _label(source, layout, options, item, wish == "keep")
            except (ValueError, RuntimeError, SyntaxError) as error:
                words = plain_words(error)
                logger.warning("%s is left out (%s).", item.file, words)
                row |= {"decision": "drop", "reasons": [FAILED], "text": [words], "hands": 0, "found": []}
            else:
                row |= _kept_row(meta, fault)
                yield item.key, members
        decisions.append(row)


def _kept_row(meta: dict[str, Any], fault: tuple[str, str] | None) -> dict[str, Any]:
    """The decision on a picture that stays."""
    flags, confirmed = meta["flags"], meta["confirmed"]
    reasons = list(dict.fromkeys(flag["reason"] for flag in flags))
    text = [flag["text"] for flag in flags]
    if confirmed:
        text.append("A person looked at it and kept it." + (f" ({fault[1]})" if fault else ""))
    return {
        "decision": "flag" if flags and not confirmed else "keep", "reasons": reasons, "text": text or ["No fault."],
        "hands": len(meta["hands"]), "found": [hand["found"] for hand in meta["hands"]],
    }  # fmt: skip


def _again(kept: _Kept, key: str, confirmed: bool) -> tuple[dict[str, bytes], dict[str, Any]]:
    members = kept.members(key)
    meta = json.loads(members["json"]) | {"confirmed": confirmed}
    return members | {"json": _json(meta)}, meta


def _json(meta: dict[str, Any]) -> bytes:
    return json.dumps(meta, ensure_ascii=False, indent=1).encode("utf-8")


def _label(
    source: Path, layout: Layout, options: Options, item: Item, confirmed: bool
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """One picture's members, all but the key."""
    files = read_item(source, item)
    if files is None:
        raise ValueError("the file is gone since it was looked at")
    image, ending, data = usable(files.pop("picture"), options.longest)
    item = _in_units(item, image.width, image.height, options.exchange_sides)
    relabelled = relabel(to_tensor(image), item, options.search)
    flags = flags_of(item, relabelled)
    layers = render_layers(relabelled.frame, ("mask", "depth", "normals"))
    meta = {
        "key": item.key,
        "width": image.width,
        "height": image.height,
        **describe(item, relabelled, flags),
        "flags": [flag.to_dict() for flag in flags],
        "confirmed": confirmed,
        "source": {"file": item.file, "label": item.label, "caption": item.caption, "hands": _told(item), **item.extra},
    }
    members = {
        ending: data,
        "json": _json(meta),
        "hands.json": Hands((relabelled.frame,)).to_json().encode("utf-8"),
        "mask.png": png8(layers["mask"][0]),
        "depth.png": png16(layers["depth"][0]),
        "normals.png": png8(layers["normals"][0]),
    }
    members |= {f"source.{name}": value for name, value in files.items() if name in ("full_depth.png", "vertices.json")}
    if flags or _is_sample(item.key):
        _show(layout, item.key, image, relabelled.frame, [h.box for h in item.hands or () if h.box])
    return members, meta


def _in_units(item: Item, width: int, height: int, exchange: bool) -> Item:
    """The item with boxes in shares of the picture, and sides as they are wanted."""
    if item.hands is None:
        return item
    other = {"left": "right", "right": "left"}
    hands = []
    for hand in item.hands:
        box = to_normalised(hand.box, width, height) if hand.box is not None else None
        side = other[hand.side] if exchange and hand.side else hand.side
        hands.append(SourceHand(box, hand.label, side, hand.landmarks))
    return Item(**{**item.__dict__, "hands": tuple(hands)})


def _told(item: Item) -> list[dict[str, Any]] | None:
    if item.hands is None:
        return None
    return [
        {"box": hand.box, "label": hand.label, "side": hand.side, "landmarks": hand.landmarks is not None}
        for hand in item.hands
    ]


# --- pictures for a person to look at


def _is_sample(key: str) -> bool:
    return int(hashlib.sha256(key.encode()).hexdigest(), 16) % LOOKED_AT == 0


def _show(layout: Layout, key: str, image: Any, frame: Any, boxes: Sequence[tuple[float, ...]]) -> None:
    """A thumbnail with the found hands laid over it and the source's boxes."""
    from PIL import ImageDraw

    from ..render.overlay import draw_overlay
    from ..render.pictures import to_pil

    small = image.copy()
    small.thumbnail((THUMB, THUMB))
    drawn = to_pil(draw_overlay(to_tensor(small)[None], Hands((frame,)), opacity=0.55, badges=False)[0])
    draw = ImageDraw.Draw(drawn)
    for x0, y0, x1, y1 in boxes:
        edges = [x0 * small.width, y0 * small.height, x1 * small.width - 1, y1 * small.height - 1]
        draw.rectangle(edges, outline=(255, 230, 0), width=2)
    _write_thumb(layout.thumb(key), drawn)


def _show_dropped(source: Path, layout: Layout, item: Item, reason: str) -> None:
    """A thumbnail of a picture that was dropped, where there is one to see."""
    if reason in ("missing", "unreadable"):
        return
    files = read_item(source, item)
    if files is None:
        return
    small = usable(files["picture"])[0]
    small.thumbnail((THUMB, THUMB))
    _write_thumb(layout.thumb(item.key), small)


def _write_thumb(path: Path, image: Any) -> None:
    with atomic_file(path) as file:
        file.write(_jpeg(image))


def _jpeg(image: Any) -> bytes:
    from io import BytesIO

    file = BytesIO()
    image.save(file, "JPEG", quality=80)
    return file.getvalue()
