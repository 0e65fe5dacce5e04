"""Pictures of a folder: which hands are in them, how well they are built, and how near to the wanted ones.

Every hand is found by the project's detector (`fast`, confidence 0.5, the plain judge of the scores) and fitted. A
picture is a row; what is wanted of it is known or not. Nothing is drawn at random.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..estimate.calibration import mediapipe_points_2d
from ..estimate.doubt import fit_judged
from ..estimate.fit import hands_of_fit
from ..estimate.landmarks import LandmarkDetector, Landmarks
from ..hand.fingers import count_extended
from ..hand.hands import Frame, Hand, Hands
from ..hand.model import load_open_hand
from ..render.pictures import load_picture
from .known_hands import procrustes
from .score import PCK_RADIUS, hand_box

logger = logging.getLogger("handrawer")

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MIN_CONFIDENCE = 0.5
MOST_HANDS = 20
ANOTHER = 0.5  # mean joint distance over the wanted hand's size, from where the nearest hand is another one
PCK_STEPS = tuple(round(0.01 * step, 2) for step in range(31))
"""Radii of the PCK curve, shares of the longer side of the wanted hand's box."""


@dataclass(frozen=True, eq=False)
class WantedHand:
    """One wanted hand against what was found of it. Distances are infinite, counts None, where nothing was found."""

    side: str
    found: bool
    errors: Tensor
    """[21] distance of each joint over the longer side of the wanted hand's box."""
    pixels: float = math.inf
    """Mean distance of the joints."""
    millimetres: float = math.inf
    """Mean distance of the fitted hand's 3D joints from the wanted ones, after Procrustes (turn, shift, scale)."""
    side_right: bool = False
    fingers: int = 0
    """Extended in the wanted hand."""
    fingers_found: int | None = None

    @property
    def pck(self) -> float:
        return float((self.errors <= PCK_RADIUS).float().mean())

    @property
    def percent(self) -> float:
        """Mean joint distance, percent of the box."""
        return 100 * float(self.errors.mean())


@dataclass(frozen=True, eq=False)
class Row:
    """One picture."""

    name: str
    path: Path
    width: int
    height: int
    frame: Frame
    """The fitted hands."""
    wanted: tuple[WantedHand, ...] | None = None
    clip: float | None = None
    caption: str = ""

    @property
    def residuals(self) -> list[float]:
        return [float(h.joint_residual.mean()) for h in self.frame.hands if h.joint_residual is not None]

    @property
    def fingers(self) -> list[int]:
        return [int(count_extended(hand.joints)) for hand in self.frame.hands]

    @property
    def worth(self) -> float:
        """By what pictures are ordered: PCK, then the joint error, where hands are wanted; else how well the worst hand
        is explained, with pictures without a hand last."""
        if self.wanted is not None and not self.wanted:
            return 1.0
        if self.wanted:
            scores = [w.pck - min(w.percent, 100.0) / 1000 for w in self.wanted]
            return sum(scores) / len(scores)
        return -max(self.residuals) if self.residuals else -1.0

    def to_dict(self) -> dict[str, Any]:
        """As it stands in report.json; what is infinite or unknown is null."""
        row: dict[str, Any] = {
            "name": self.name,
            "hands": [
                {"side": hand.side, "confidence": round(hand.confidence, 4), "fingers": fingers,
                 "residual": round(r, 5), "unsure": hand.unsure}
                for hand, fingers, r in zip(self.frame.hands, self.fingers, self.residuals, strict=True)
            ],
        }  # fmt: skip
        if self.wanted is not None:
            row["wanted"] = [
                {"side": w.side, "found": w.found, "pck": round(w.pck, 4), "pixels": finite(w.pixels),
                 "percent": finite(w.percent), "millimetres": finite(w.millimetres), "side_right": w.side_right,
                 "fingers": w.fingers, "fingers_found": w.fingers_found}
                for w in self.wanted
            ]  # fmt: skip
        if self.clip is not None:
            row["clip"] = round(self.clip, 3)
        return row


def finite(value: float, digits: int = 4) -> float | None:
    return round(value, digits) if math.isfinite(value) else None


# --- what is read


def pictures_of(folder: Path) -> list[Path]:
    """The pictures of a folder and the folders in it, by name.

    Raises:
        FileNotFoundError: there is no folder, or no picture in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}.")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    if not found:
        raise FileNotFoundError(f"There are no pictures in {folder}: give a folder of JPEG, PNG or WebP files.")
    return found


class Wanted:
    """The hands that pictures were to show.

    Args:
        source: a JSON file of hands (one frame for all pictures, or one for each in the order of their names), a folder
            of such files named as the pictures (`NAME.json` or `NAME.hands.json`), or a prepared folder.

    Raises:
        FileNotFoundError, ValueError: there is nothing of the kind.
    """

    def __init__(self, source: Path):
        self.source = source
        self._frames: tuple[Frame, ...] | None = None
        self._by_name: dict[str, Frame] = {}
        if source.is_file():
            self._frames = Hands.from_json(source.read_text(encoding="utf-8")).frames
        elif (source / "shards").is_dir():
            from ..data.shards import read_samples

            self._by_name = {sample.key: sample.hands for sample in read_samples(source, layers=())}
        elif source.is_dir():
            for file in sorted(source.rglob("*.json")):
                name = file.name.removesuffix(".json").removesuffix(".hands")
                self._by_name[name] = Hands.from_json(file.read_text(encoding="utf-8")).frames[0]
        else:
            raise FileNotFoundError(f"There are no wanted hands in {source}: give a JSON file of hands or a folder.")
        if self._frames is None and not self._by_name:
            raise FileNotFoundError(f"There are no JSON files of hands in {source}.")

    def frame(self, path: Path, place: int, count: int) -> Frame | None:
        """What picture number `place` of `count` was to show, None where nothing is said of it."""
        if self._frames is None:
            return self._by_name.get(path.stem)
        if len(self._frames) not in (1, count):
            raise ValueError(
                f"{self.source} has hands of {len(self._frames)} pictures, the folder has {count}: give one, as many, "
                "or a folder of files with the pictures' names."
            )
        return self._frames[place % len(self._frames)]


# --- what is measured


def look(picture: Tensor, detector: Callable[[Tensor], list[Landmarks]]) -> tuple[list[Landmarks], Frame]:
    """What the detector finds in a picture [H, W, 3], and the fitted hands in the same order."""
    height, width = picture.shape[:2]
    found = detector(picture)
    if not found:
        return [], Frame(width, height, (), "No hand was found.")
    model = load_open_hand()
    points, world = (torch.stack([getattr(mark, name) for mark in found]) for name in ("points", "world"))
    judged = fit_judged(
        model, points, width, height, [mark.side for mark in found], world, score=[mark.score for mark in found]
    )
    presence = [mark.presence for mark in found]
    hands = hands_of_fit(judged.fit, model, judged.side, width, height, presence, None, judged.notes, judged.unsure)
    return found, Frame(width, height, tuple(hands))


def compare(wanted: Frame, found: Sequence[Landmarks], frame: Frame) -> tuple[WantedHand, ...]:
    """Each wanted hand against the nearest one found that is not nearer to another wanted hand."""
    width, height = frame.width, frame.height
    if wanted.width * height != width * wanted.height:
        raise ValueError(
            f"The picture has {width} x {height} pixels, the wanted hands belong to one of {wanted.width} x "
            f"{wanted.height}: place them first (Hands.placed)."
        )
    size = torch.tensor([width, height], dtype=torch.float32)
    hands = [hand for hand in wanted.hands if hand.enabled]
    points = [mediapipe_points_2d(hand, width, height) for hand in hands]
    longer = [float(((b := hand_box(hand, width, height))[2:] * size - b[:2] * size).max()) for hand in hands]
    distances = [[((mark.points - p) * size).norm(dim=-1) for mark in found] for p in points]
    order = sorted((float(d.mean()) / longer[w], w, f) for w, row in enumerate(distances) for f, d in enumerate(row))
    pairs: dict[int, int] = {}
    for off, w, f in order:
        if off <= ANOTHER and w not in pairs and f not in pairs.values():
            pairs[w] = f
    return tuple(_one(hand, w, pairs.get(w), distances, longer[w], frame) for w, hand in enumerate(hands))


def _one(
    hand: Hand, w: int, f: int | None, distances: list[list[Tensor]], longer: float, frame: Frame
) -> WantedHand:  # fmt: skip
    fingers = int(count_extended(hand.joints))
    if f is None:
        return WantedHand(hand.side, False, torch.full((21,), math.inf), fingers=fingers)
    fitted, away = frame.hands[f], distances[w][f]
    target = hand.joints[None].double()
    aligned = procrustes(fitted.joints[None].double(), target) - target
    return WantedHand(
        side=hand.side, found=True, errors=away / longer, pixels=float(away.mean()),
        millimetres=1000 * float(aligned.norm(dim=-1).mean()), side_right=fitted.side == hand.side, fingers=fingers,
        fingers_found=int(count_extended(fitted.joints)),
    )  # fmt: skip


def measure(
    folder: Path,
    wanted: Wanted | None = None,
    *,
    detector: Callable[[Tensor], list[Landmarks]] | None = None,
    score: Callable[[Tensor, str], float] | None = None,
    captions: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[Row, Tensor]]:
    """A row for each picture of a folder, with the picture [H, W, 3]; one at a time.

    Args:
        detector: the judge; the project's own at confidence 0.5 if None.
        score: CLIP's, of a picture and its caption.
        captions: by the pictures' names without ending.
        progress: called as ``progress(pictures done, pictures)``.

    Raises:
        FileNotFoundError: no pictures.
        ValueError: a wanted hand does not fit its picture.
    """
    judge = detector or LandmarkDetector(max_hands=MOST_HANDS, min_confidence=MIN_CONFIDENCE)
    paths = pictures_of(folder)
    captions = captions or {}
    for place, path in enumerate(paths):
        try:
            picture = load_picture(path)[0]
        except ValueError as error:
            logger.warning("%s is left out: %s", path, error)
            continue
        found, frame = look(picture, judge)
        asked = wanted.frame(path, place, len(paths)) if wanted is not None else None
        against = compare(asked, found, frame) if asked is not None else None
        caption = captions.get(path.stem, "")
        clip = score(picture, caption) if score is not None and caption else None
        name = path.relative_to(folder).as_posix()
        yield Row(name, path, frame.width, frame.height, frame, against, clip, caption), picture
        if progress is not None:
            progress(place + 1, len(paths))


def captions_of(folder: Path) -> dict[str, str]:
    """The captions beside the pictures of a folder (.txt, metadata.jsonl), by the pictures' names without ending."""
    from ..data.sources import folder_items

    return {Path(item.file).stem: item.caption for item in folder_items(folder) if item.caption}
