"""The shards of MANUS-HaGRID: WebDataset samples of rgb, depth, boxes, vertices and mesh renders.

Its documentation names the members (`full_rgb.png`, `full_depth.png`, `hand_rgb.png`, `hand_bbox.json`, `bbox.json`,
`vertices.json`, `mesh_front.png`, ...) and leaves their contents open; many samples lack some. So every name is taken
with or without ending, boxes in any of the usual forms, and what is not understood is kept beside the sample.
"""

from __future__ import annotations

import json
import logging
import math
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .items import Item, Keys, SourceHand
from .shards import sample_groups

logger = logging.getLogger("handrawer")

RGB = ("full_rgb", "rgb", "image", "full_image", "picture", "img")
BOXES = ("hand_bbox", "bbox", "boxes", "bboxes", "hand_depth_bbox")
LABELS = ("gesture_label", "gesture", "label", "class")
NAMES = ("source_image_id", "manus_sample_id", "sample_id")
CAPTIONS = ("caption", "text", "prompt")
LARGEST_JSON = 1 << 16  # bytes; a member that may hold a box and is larger is not read while listing


def manus_items(source: Path) -> Iterator[Item]:
    """The samples of the tar files of a folder (or of one), in the order of their names."""
    keys = Keys()
    root = source if source.is_dir() else source.parent
    for shard in sorted(source.rglob("*.tar")) if source.is_dir() else [source]:
        file = shard.relative_to(root).as_posix()
        for archive, group in sample_groups(shard):
            name = group.key.rpartition("/")[2]
            try:
                yield _item(keys.make(name), file, archive, group.start, group.end, group.members)
            except (tarfile.TarError, OSError) as error:
                logger.warning("%s: sample %s is skipped (%s).", shard, name, error)


def rgb_member(members: Mapping[str, Any]) -> str | None:
    """Which member is the picture: the known names first, then any picture that is alone with its ending."""
    for wanted in RGB:
        for ending in members:
            if ending.rpartition(".")[0] == wanted:
                return ending
    plain = [ending for ending in members if ending in ("jpg", "jpeg", "png", "webp")]
    return plain[0] if plain else None


def _item(
    key: str, file: str, archive: tarfile.TarFile, start: int, end: int, members: Mapping[str, tarfile.TarInfo]
) -> Item:
    faults: list[str] = []

    def read(ending: str) -> Any:
        member = members.get(ending)
        opened = archive.extractfile(member) if member is not None and member.size <= LARGEST_JSON else None
        if opened is None:
            return None
        try:
            return json.loads(opened.read().decode("utf-8"))
        except ValueError as error:
            faults.append(f"{ending} is no JSON ({error})")
            return None

    about = read("json")
    about = about if isinstance(about, dict) else {}
    label = next((str(about[name]) for name in LABELS if about.get(name)), None) or _label_of_name(about)
    boxes: list[tuple[float, float, float, float]] = []
    for name in BOXES:
        boxes = boxes or find_boxes(read(f"{name}.json"))
    boxes = boxes or find_boxes({name: about[name] for name in BOXES if name in about})
    caption = next((str(about[name]) for name in CAPTIONS if about.get(name)), "")
    extra: dict[str, Any] = {n: value for n, value in about.items() if isinstance(value, (str, int, float, bool))}
    extra["members"] = sorted(members)
    hands = tuple(SourceHand(box, label if len(boxes) == 1 else None) for box in boxes) or None
    return Item(key, file, start, end, caption, hands, label, tuple(faults), extra)


def _label_of_name(about: Mapping[str, Any]) -> str | None:
    """`grabbing_00000001` and `v2_test_grabbing_00000001` are pictures of `grabbing`."""
    for name in NAMES:
        words = [word for word in str(about.get(name, "")).split("_") if word]
        while words and words[0] in ("v1", "v2", "train", "test", "val"):
            words = words[1:]
        while words and words[-1].isdigit():
            words = words[:-1]
        if words and all(word.isalnum() for word in words) and "-" not in words[0]:
            return "_".join(words)
    return None


def find_boxes(value: Any) -> list[tuple[float, float, float, float]]:
    """Every box in a piece of JSON, as four numbers still in the source's own units; see `to_normalised`.

    Understood are `[x0, y0, x1, y1]`, lists of such, and records with x0/x1, xmin/xmax, x_min/x_max, left/right or
    x, y with width/height or w/h. Four numbers under a name with `xywh` or `coco` are x, y, width, height.
    """
    return _boxes(value, xywh=False)


def _boxes(value: Any, xywh: bool) -> list[tuple[float, float, float, float]]:
    if isinstance(value, dict):
        record = _record(value)
        if record is not None:
            return [record]
        return [box for name, inner in value.items() for box in _boxes(inner, xywh or _says_xywh(str(name)))]
    if not isinstance(value, list):
        return []
    if len(value) == 4 and all(isinstance(v, (int, float)) and math.isfinite(v) for v in value):
        x, y, a, b = (float(v) for v in value)
        # Corners come in order; what does not is a width and a height.
        return [(x, y, x + a, y + b)] if xywh or a <= x or b <= y else [(x, y, a, b)]
    return [box for inner in value for box in _boxes(inner, xywh)]


def _says_xywh(name: str) -> bool:
    return "xywh" in name.lower() or "coco" in name.lower()


def _record(value: dict[str, Any]) -> tuple[float, float, float, float] | None:
    lower = {str(name).lower().replace("_", ""): v for name, v in value.items() if isinstance(v, (int, float))}
    for names in (("x0", "y0", "x1", "y1"), ("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"),
                  ("left", "top", "right", "bottom")):  # fmt: skip
        if all(name in lower for name in names):
            x0, y0, x1, y1 = (float(lower[name]) for name in names)
            return x0, y0, x1, y1
    for wide, high in (("width", "height"), ("w", "h")):
        if all(name in lower for name in ("x", "y", wide, high)):
            x, y = float(lower["x"]), float(lower["y"])
            return x, y, x + float(lower[wide]), y + float(lower[high])
    return None


def to_normalised(
    box: tuple[float, float, float, float], width: int, height: int
) -> tuple[float, float, float, float] | None:
    """A box in pixels or already in 0..1 as shares of the picture; None where it has no area."""
    pixels = max(abs(edge) for edge in box) > 2
    x0, y0, x1, y1 = box
    if pixels:
        x0, y0, x1, y1 = x0 / width, y0 / height, x1 / width, y1 / height
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None
