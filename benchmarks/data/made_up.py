"""A made-up HaGRID: pictures of the project's own generator, exact labels, and planted faults.

    python benchmarks/data/made_up.py draw OUT/drawn 0 550      # in pieces, each some minutes
    python benchmarks/data/made_up.py plant OUT/drawn OUT/hagrid 2000

`OUT/hagrid` has HaGRID's layout (half of the classes annotated as v1, half as v2), `OUT/truth.jsonl` says of every
picture what was planted in it.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # started as a file: find the repository's packages, not this folder's files

import torch  # noqa: E402
from PIL import Image, ImageEnhance, ImageOps  # noqa: E402
from torch import Tensor  # noqa: E402

from handrawer.estimate.calibration import rig_to_mediapipe  # noqa: E402
from handrawer.hand.anatomy import ANGLE_NAMES, angles_to_rotations  # noqa: E402
from handrawer.hand.model import load_open_hand  # noqa: E402
from handrawer.hand.skinning import PosedHand, pose_hand  # noqa: E402
from handrawer.mini.captions import SIDES, VIEWS  # noqa: E402
from handrawer.mini.picture import draw_pictures, make_skin  # noqa: E402
from handrawer.mini.scene import GESTURE_NAMES, NAMELESS, Scene, draw_scenes, hand_vertices  # noqa: E402
from handrawer.render.pictures import to_pil  # noqa: E402

SEED = 505
SIZES = (240, 256, 272, 288)
BATCH = 8
MALFORMED, EMPTY = 0.035, 0.035  # shares of the drawings
LABELS = {
    "open": "palm", "spread": "palm", "fist": "fist", "point": "one", "peace": "peace", "ok": "ok", "thumbs_up": "like",
    "three": "three", "four": "four", "call": "call", "rock": "rock", "flat": "stop", "gun": "thumb_index",
}  # fmt: skip
"""The generator's gestures in HaGRID's words; the others are `no_gesture`."""
V2 = {"peace", "rock", "three", "stop", "thumb_index", "no_gesture"}
"""Classes that are annotated as in v2: landmarks, no leading hand."""
OTHERS = {  # wrong labels: words for other fingers
    "palm": "fist", "fist": "peace", "one": "four", "peace": "one", "ok": "one", "like": "palm", "three": "one",
    "four": "peace", "call": "palm", "rock": "palm", "stop": "one", "thumb_index": "stop",
}  # fmt: skip
TWO_HANDS = 0.08
WITHOUT_LANDMARKS = 0.35  # MediaPipe made HaGRID's, and does not find every hand
CERTAIN = {"truncated": 40, "empty_file": 10, "no_picture": 10, "missing": 10, "copied": 20, "encoded_again": 20,
           "resized": 10, "brightened": 10, "tiny": 30, "blank": 10}  # fmt: skip
DOUBTFUL = {"box": 60, "gesture": 80, "side": 80}
"""How many of 2,000 get each; malformed hands and pictures without a hand come from the drawing."""


@dataclass
class Drawing:
    """One drawn picture and what is in it."""

    file: str
    label: str
    side: str
    view: str
    box: list[float]
    landmarks: list[list[float]]
    kind: str  # good, malformed or empty
    mirrored: bool = False

    def mirror(self) -> Drawing:
        """The drawing as a mirror shows it: another picture, of a hand of the other side."""
        x, y, width, height = self.box
        box = [round(1 - x - width, 6), y, width, height]
        side = {"left": "right", "right": "left"}[self.side]
        landmarks = [[round(1 - px, 5), py] for px, py in self.landmarks]
        return replace(self, side=side, box=box, landmarks=landmarks, mirrored=True)


# --- drawing


def draw(out: Path, start: int, count: int, sizes: tuple[int, ...] = SIZES) -> None:
    """Draw pictures start..start + count - 1 and their labels."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    model = load_open_hand()
    skin = make_skin(model)
    lines = []
    for first in range(start, start + count, BATCH):
        index = torch.arange(first, min(first + BATCH, start + count))
        size = sizes[(first // BATCH) % len(sizes)]
        kinds = [_kind(int(i)) for i in index]
        scene = _changed(draw_scenes(SEED, index, model), kinds, model)
        pictures = draw_pictures(scene, model, skin, size=size).permute(0, 2, 3, 1)
        marks = rig_to_mediapipe(model, scene.posed, scene.shape, scene.left)
        for i, number in enumerate(index.tolist()):
            file = f"{number:05d}.png"
            to_pil(pictures[i]).save(out / file)
            lines.append(json.dumps(vars(_drawing(scene, i, file, kinds[i], scene.project(marks)[i]))))
    (out / f"labels_{start:05d}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _kind(number: int) -> str:
    u = random.Random(f"kind {number}").random()
    return "malformed" if u < MALFORMED else "empty" if u < MALFORMED + EMPTY else "good"


def _changed(scene: Scene, kinds: list[str], model: Any) -> Scene:
    """Hands that no person has, and pictures whose hand lies far outside."""
    angles = scene.angles.clone()
    for row, kind in enumerate(kinds):
        if kind == "malformed":
            chance = random.Random(f"malformed {int(scene.index[row])}")
            for finger in chance.sample(("index", "middle", "ring", "little"), 2):
                angles[row, ANGLE_NAMES.index(f"{finger}_pip_flexion")] = math.radians(chance.uniform(-75, -55))
                angles[row, ANGLE_NAMES.index(f"{finger}_mcp_abduction")] = math.radians(chance.choice((-45, 45)))
    posed = pose_hand(
        model, angles_to_rotations(model, angles), scene.shape, scene.orientation, scene.translation, scene.left
    )
    away = torch.tensor([100.0 if kind == "empty" else 0.0 for kind in kinds])[:, None, None]
    away = away * torch.tensor([1.0, 0.0, 0.0])
    moved = PosedHand(posed.vertices + away, posed.joints + away, posed.rotations)
    return replace(scene, angles=angles, posed=moved, translation=scene.translation + away[:, 0])


def _drawing(scene: Scene, i: int, file: str, kind: str, marks: Tensor) -> Drawing:
    gesture = int(scene.gesture[i])
    label = "no_gesture" if gesture == NAMELESS else LABELS.get(GESTURE_NAMES[gesture], "no_gesture")
    flat = scene.project(scene.posed.vertices[:, hand_vertices(load_open_hand())])[i]
    low, high = flat.amin(0).clamp(0, 1), flat.amax(0).clamp(0, 1)
    if kind == "empty":
        chance = random.Random(f"empty {file}")
        low = torch.tensor([chance.uniform(0.05, 0.4), chance.uniform(0.05, 0.4)])
        high = low + chance.uniform(0.3, 0.5)
    box = [round(v, 6) for v in (*low.tolist(), *(high - low).tolist())]
    return Drawing(
        file, label, SIDES[int(scene.side[i])], VIEWS[int(scene.view[i])], box,
        [[round(v, 5) for v in point] for point in marks.tolist()], kind,
    )  # fmt: skip


# --- planting


@dataclass
class Entry:
    """One picture of the made-up HaGRID."""

    name: str
    label: str
    picture: Image.Image
    annotation: dict[str, Any]
    planted: str = ""
    of: str = ""
    """Of a copy: the name of what it is a copy of."""
    truth: dict[str, Any] = field(default_factory=dict)


def plant(drawn: Path, out: Path, count: int) -> None:
    """Write the made-up HaGRID of `count` pictures and, beside it, `truth.jsonl`."""
    drawings = [
        Drawing(**json.loads(line))
        for file in sorted(drawn.glob("labels_*.jsonl"))
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    # Each drawing serves twice: drawing takes longer than preparing.
    drawings += [drawing.mirror() for drawing in drawings]
    chance = random.Random(7)
    share = count / 2000
    certain = {name: max(1, round(number * share)) for name, number in CERTAIN.items()}
    copies = sum(certain[name] for name in COPIES)
    entries: list[Entry] = []
    place = 0
    while len(entries) < count - copies - certain["blank"]:
        if place >= len(drawings) - 1:
            raise SystemExit(f"{len(drawings)} drawings are too few for {count} pictures: draw more.")
        two = chance.random() < TWO_HANDS
        entries.append(_entry(drawn, drawings[place : place + 1 + two], chance))
        place += 1 + two
    _plant_doubtful(entries, share, chance)
    _plant_certain(entries, certain, chance, out)
    _write(entries, out)


def _entry(drawn: Path, drawings: list[Drawing], chance: random.Random) -> Entry:
    """A picture of one drawing, or of two side by side, of which the second hand makes no gesture."""
    images = [Image.open(drawn / drawing.file).convert("RGB") for drawing in drawings]
    images = [ImageOps.mirror(i) if d.mirrored else i for d, i in zip(drawings, images, strict=True)]
    height = min(image.height for image in images)
    images = [image.resize((height, height), Image.Resampling.LANCZOS) for image in images]
    picture = Image.new("RGB", (height * len(images), height))
    boxes, labels, landmarks = [], [], []
    for place, (drawing, image) in enumerate(zip(drawings, images, strict=True)):
        picture.paste(image, (place * height, 0))
        x, y, w, h = drawing.box
        boxes.append([(x + place) / len(images), y, w / len(images), h])
        labels.append(drawing.label if place == 0 else "no_gesture")
        points = [[(px + place) / len(images), py] for px, py in drawing.landmarks]
        known = drawing.kind != "empty" and chance.random() > WITHOUT_LANDMARKS and drawing.label != "fist"
        landmarks.append(points if known else [])
    first = drawings[0]
    annotation: dict[str, Any] = {"bboxes": boxes, "labels": labels}
    if first.label in V2:
        annotation |= {"united_bbox": None, "united_label": None, "hand_landmarks": landmarks,
                       "meta": {"age": [30.0], "gender": ["female"], "race": ["White"]}}  # fmt: skip
    else:
        annotation |= {"leading_hand": first.side, "leading_conf": 1.0}
    name = str(uuid.UUID(int=random.Random(f"{first.file} {first.mirrored}").getrandbits(128)))
    annotation["user_id"] = name.replace("-", "")
    planted = {"good": "", "malformed": "fit", "empty": "hand_not_found"}[first.kind]
    if len(drawings) == 2 and not planted:
        planted = {"good": "", "malformed": "fit", "empty": "hand_not_found"}[drawings[1].kind]
    truth = {"gesture": first.label, "side": first.side, "view": first.view, "hands": len(drawings)}
    return Entry(name, first.label, picture, annotation, planted, truth=truth)


def _plant_doubtful(entries: list[Entry], share: float, chance: random.Random) -> None:
    plain = [entry for entry in entries if not entry.planted]
    chance.shuffle(plain)
    suits: dict[str, Callable[[Entry], bool]] = {
        "box": lambda entry: True,
        "gesture": lambda entry: entry.label in OTHERS,
        "side": lambda entry: "leading_hand" in entry.annotation and entry.label != "no_gesture",
    }
    for reason, number in DOUBTFUL.items():
        chosen = [entry for entry in plain if not entry.planted and suits[reason](entry)][
            : max(1, round(number * share))
        ]
        for entry in chosen:
            entry.planted = reason
            if reason == "box":
                entry.annotation["bboxes"][0] = _other_box(entry.annotation["bboxes"][0], chance)
                entry.annotation.get("hand_landmarks", [[]])[0] = []
            elif reason == "gesture":
                entry.annotation["labels"][0] = OTHERS[entry.label]
            else:
                entry.annotation["leading_hand"] = "left" if entry.truth["side"] == "right" else "right"


def _other_box(box: list[float], chance: random.Random) -> list[float]:
    """A box of another size in the corner that is farthest from the hand's middle."""
    x, y, w, h = box
    size = chance.uniform(0.15, 0.25)
    left, top = x + w / 2 > 0.5, y + h / 2 > 0.5
    return [0.02 if left else 0.98 - size, 0.02 if top else 0.98 - size, size, size]


COPIES = ("copied", "encoded_again", "resized", "brightened")


def _plant_certain(entries: list[Entry], certain: dict[str, int], chance: random.Random, out: Path) -> None:
    plain = [entry for entry in entries if not entry.planted]
    chance.shuffle(plain)
    for fault in ("truncated", "empty_file", "no_picture", "missing", "tiny"):
        for _ in range(certain[fault]):
            plain.pop().planted = fault
    for fault in COPIES:
        for _ in range(certain[fault]):
            first = plain.pop()
            # HaGRID is read class by class in the order of names: whichever comes second is dropped.
            name = str(uuid.UUID(int=chance.getrandbits(128)))
            entries.append(Entry(name, first.label, first.picture, first.annotation, fault, first.name, first.truth))
    for number in range(certain["blank"]):
        name = str(uuid.UUID(int=chance.getrandbits(128)))
        annotation = {"bboxes": [[0.2, 0.2, 0.5, 0.5]], "labels": ["palm"], "leading_hand": "right"}
        grey = Image.new("RGB", (256, 256), (10 * number,) * 3)
        entries.append(Entry(name, "palm", grey, annotation, "blank", truth={"gesture": "palm", "hands": 0}))


def _write(entries: list[Entry], out: Path) -> None:
    by_class: dict[str, dict[str, Any]] = {}
    truth = []
    for entry in entries:
        folder = out / ("v2" if entry.label in V2 else "v1") / entry.label
        folder.mkdir(parents=True, exist_ok=True)
        _write_picture(entry, folder / f"{entry.name}.jpg")
        by_class.setdefault(entry.label, {})[entry.name] = entry.annotation
        truth.append(
            {"name": entry.name, "label": entry.label, "planted": entry.planted, "of": entry.of, **entry.truth}
        )
    for label, of_class in by_class.items():
        folder = out / ("annotations/train" if label in V2 else "ann_train_val")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{label}.json").write_text(json.dumps(of_class), encoding="utf-8")
    lines = "\n".join(json.dumps(row) for row in truth)
    (out.parent / "truth.jsonl").write_text(lines + "\n", encoding="utf-8")


def _write_picture(entry: Entry, path: Path) -> None:
    picture, quality = entry.picture, 93
    if entry.planted == "missing":
        return
    if entry.planted in ("empty_file", "no_picture"):
        path.write_bytes(b"" if entry.planted == "empty_file" else b"<html>404: this picture is gone</html>\n" * 20)
        return
    if entry.planted == "tiny":
        picture = picture.resize((max(1, 48 * picture.width // picture.height), 48))
    elif entry.planted == "encoded_again":
        quality = 55
    elif entry.planted == "resized":
        picture = picture.resize((picture.width * 7 // 10, picture.height * 7 // 10), Image.Resampling.LANCZOS)
    elif entry.planted == "brightened":
        picture = ImageEnhance.Brightness(picture).enhance(1.08)
    picture.save(path, quality=quality)
    if entry.planted == "truncated":
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * random.Random(entry.name).randrange(20, 95) // 100])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    drawing = commands.add_parser("draw")
    drawing.add_argument("out", type=Path)
    drawing.add_argument("start", type=int)
    drawing.add_argument("count", type=int)
    planting = commands.add_parser("plant")
    planting.add_argument("drawn", type=Path)
    planting.add_argument("out", type=Path)
    planting.add_argument("count", type=int)
    arguments = parser.parse_args()
    if arguments.command == "draw":
        draw(arguments.out, arguments.start, arguments.count)
    else:
        plant(arguments.drawn, arguments.out, arguments.count)


if __name__ == "__main__":
    main()
