"""What is found in pictures of hands, by MediaPipe as it comes and by HanDrawer: ``reports/detection/report.md``.

python -m handrawer.evaluate.detection                          # drawn pictures, some minutes on one core
python -m handrawer.evaluate.detection PICTURE... --seen FILE   # one's own pictures too
python -m handrawer.evaluate.detection --sheet FILE             # the picture of the documentation alone

FILE says what a person sees: ``{"picture's name": [{"box": [x0, y0, x1, y1], "side": "left"}, ...]}``, normalised.
Without the mediapipe package, its rows are left out.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ..estimate.doubt import fit_judged
from ..estimate.find import THOROUGHNESS, Landmarks
from ..estimate.landmarks import LandmarkDetector
from ..hand.model import load_open_hand
from ..mini.picture import Skin, make_skin
from ..render.pictures import load_picture
from . import agreement
from .backdrops import empty_picture
from .crowds import WISHES, Crowd, crowd
from .parallel import mapped

log = logging.getLogger("handrawer")

SAME_HAND = 0.4  # mean joint distance over the hand's size, above which what was found is another thing
SAME_BOX = 0.2  # the same for boxes that a person drew: their least intersection over union
MOST = 20  # hands that may be found in one picture


@dataclass(frozen=True, eq=False)
class Found:
    """One hand that a detector claims."""

    points: Tensor
    """[21, 2] pixels."""
    side: str
    unsure: bool = False


@dataclass(frozen=True, eq=False)
class Known:
    """One hand that is there: its joints [21, 2] in pixels, or a person's box [4]."""

    place: Tensor
    side: str
    asked: bool = True
    """Whether it must be found; what hides it mostly makes it one that may be."""


@dataclass
class Count:
    """What came of some pictures."""

    pictures: int = 0
    hands: int = 0
    found: int = 0
    right_side: int = 0
    unsure: int = 0
    wrong_and_sure: int = 0
    doubles: int = 0
    invented: int = 0

    def add(self, known: Sequence[Known], found: Sequence[Found]) -> None:
        """Count one picture: each known hand takes the nearest find that is near enough, the nearest pairs first."""
        pairs, near = _pairs(known, found)
        self.pictures += 1
        self.hands += sum(hand.asked for hand in known)
        for k, f in pairs.items():
            if not known[k].asked:
                continue
            right = known[k].side == found[f].side
            self.found += 1
            self.right_side += right
            self.unsure += found[f].unsure
            self.wrong_and_sure += not right and not found[f].unsure
        rest = [f for f in range(len(found)) if f not in pairs.values()]
        doubles = sum(bool(near[:, f].any()) for f in rest)
        self.doubles += doubles
        self.invented += len(rest) - doubles


def _pairs(known: Sequence[Known], found: Sequence[Found]) -> tuple[dict[int, int], Tensor]:
    """Known hand to find, and [K, F] bool: which finds are near which hands."""
    apart = torch.tensor([[_apart(k, f) for f in found] for k in known]).reshape(len(known), len(found))
    pairs: dict[int, int] = {}
    for at in apart.flatten().argsort().tolist():
        k, f = divmod(at, len(found))
        if apart[k, f] <= 1 and k not in pairs and f not in pairs.values():
            pairs[k] = f
    return pairs, apart <= 1


def _apart(known: Known, found: Found) -> float:
    """How far apart they are; up to 1 they are one hand."""
    if known.place.dim() == 2:
        extent = float((known.place.amax(dim=0) - known.place.amin(dim=0)).max())
        return float((known.place - found.points).norm(dim=-1).mean()) / (SAME_HAND * extent)
    low, high = found.points.amin(dim=0), found.points.amax(dim=0)
    common = (torch.minimum(high, known.place[2:]) - torch.maximum(low, known.place[:2])).clamp_min(0).prod()
    both = (high - low).prod() + (known.place[2:] - known.place[:2]).prod() - common
    return SAME_BOX / max(float(common / both), 1e-6)


Detector = Callable[[Tensor], list[Found]]


@cache
def detectors(levels: tuple[str, ...] = THOROUGHNESS) -> dict[str, Detector]:
    """What is compared, by name: MediaPipe as it comes, and ours."""
    every: dict[str, Detector] = {}
    if _mediapipe() is not None:
        every["MediaPipe, default settings"] = raw_mediapipe(1)
        every["MediaPipe, up to 20 hands"] = raw_mediapipe(MOST)
    for level in levels:
        every[f"ours, {level}"] = ours(level)
    return every


def ours(level: str) -> Detector:
    """Our detector and the judgement of sides, as the nodes use them."""
    detector, model = LandmarkDetector(MOST, thoroughness=level), load_open_hand()

    def detect(picture: Tensor) -> list[Found]:
        found = detector(picture)
        if not found:
            return []
        height, width = picture.shape[:2]
        points, world = (torch.stack([getattr(hand, name) for hand in found]) for name in ("points", "world"))
        judged = fit_judged(
            model, points, width, height, [hand.side for hand in found], world, score=_scores(found)
        )  # fmt: skip
        size = torch.tensor([width, height])
        return [
            Found(p * size, side, unsure) for p, side, unsure in zip(points, judged.side, judged.unsure, strict=True)
        ]

    return detect


def _scores(found: Sequence[Landmarks]) -> list[float]:
    return [hand.score for hand in found]


def _mediapipe() -> object | None:
    try:
        import mediapipe
    except ImportError:
        return None
    return mediapipe


def raw_mediapipe(most: int) -> Detector:
    """The package's own landmarker on the picture as it is; all settings its own, but for the number of hands."""
    import mediapipe

    from ..estimate.mediapipe_backend import before_pools_end, read_task

    tasks = mediapipe.tasks
    options = tasks.vision.HandLandmarkerOptions(
        base_options=tasks.BaseOptions(model_asset_buffer=read_task()), num_hands=most
    )
    landmarker = tasks.vision.HandLandmarker.create_from_options(options)
    before_pools_end(landmarker.close)

    def detect(picture: Tensor) -> list[Found]:
        height, width = picture.shape[:2]
        pixels = (picture.clamp(0, 1) * 255).round().to(torch.uint8).contiguous().numpy()
        result = landmarker.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels))
        return [
            Found(torch.tensor([(p.x * width, p.y * height) for p in points]), sides[0].category_name.lower())
            for points, sides in zip(result.hand_landmarks, result.handedness, strict=True)
        ]

    return detect


@dataclass
class Table:
    """Counts by detector, and by kind of picture and detector."""

    counts: dict[str, dict[str, Count]] = field(default_factory=dict)

    def add(self, kind: str, detector: str, known: Sequence[Known], found: Sequence[Found]) -> None:
        self.counts.setdefault(kind, {}).setdefault(detector, Count()).add(known, found)

    def markdown(self, title: str) -> str:
        lines = [
            f"| {title} | detector | pictures | hands | found | side right | unsure | side wrong and not unsure | "
            "doubles | invented |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for kind, rows in self.counts.items():
            for detector, c in rows.items():
                cells = (c.pictures, c.hands, c.found, c.right_side, c.unsure, c.wrong_and_sure, c.doubles, c.invented)
                lines.append(f"| {kind} | {detector} | " + " | ".join(str(cell) for cell in cells) + " |")
        return "\n".join(lines)


Picture = tuple[str, Tensor, list["Known"]]
"""Its kind, [H, W, 3], and the hands in it."""


def measure(
    make: Callable[[int], Picture], count: int, levels: Sequence[str] = THOROUGHNESS, *, workers: int = 1
) -> Table:
    """Every detector on every picture; a kind that sums up comes last.

    Args:
        make: the picture of a number; a function of a module if there are several workers.
        count: of the pictures.
    """
    table = Table()
    seen = mapped(_seen, [(make, number, tuple(levels)) for number in range(count)], workers)
    for kind, known, found in seen:
        for name, hands in found.items():
            table.add(kind, name, known, hands)
    for _, known, found in seen:
        for name, hands in found.items():
            table.add("all", name, known, hands)
    return table


def _seen(task: tuple[Callable[[int], Picture], int, tuple[str, ...]]) -> tuple[str, list[Known], dict]:
    make, number, levels = task
    kind, picture, known = make(number)
    return kind, known, {name: detect(picture) for name, detect in detectors(levels).items()}


def known_of(drawn: Crowd) -> list[Known]:
    return [Known(hand.points, hand.side, hand.visible) for hand in drawn.hands]


def own_picture(path: Path, seen: Path | None) -> Picture:
    told = {} if seen is None else json.loads(seen.read_text(encoding="utf-8"))
    picture = load_picture(path)
    picture = (picture[0] if picture.dim() == 4 else picture)[..., :3]
    scale = torch.tensor([picture.shape[1], picture.shape[0]] * 2)
    known = [Known(torch.tensor(hand["box"]) * scale, hand["side"]) for hand in told.get(path.name, ())]
    return path.name, picture, known


@cache
def _skin() -> Skin:
    return make_skin(load_open_hand())


def drawn_picture(number: int) -> Picture:
    """All kinds of crowds in turn."""
    kinds = list(WISHES)
    drawn = crowd(kinds[number % len(kinds)], number // len(kinds), load_open_hand(), _skin())
    return drawn.kind, drawn.picture, known_of(drawn)


def picture_of_nothing(number: int) -> Picture:
    kind, picture = empty_picture(number, load_open_hand(), _skin())
    return kind, picture, []


def report(
    out: Path, paths: Sequence[Path], seen: Path | None, count: int, empty: int, passes: int, workers: int = 1
) -> str:
    """Measure and write ``report.md`` into the folder ``out``; gives the text."""
    parts = [introduction()]
    if paths:
        parts.append(own_part(measure(lambda number: own_picture(paths[number], seen), len(paths))))
    drawn = len(WISHES) * count
    parts.append(crowd_part(measure(drawn_picture, drawn, workers=workers), drawn))
    parts.append(empty_part(measure(picture_of_nothing, empty, workers=workers), empty))
    if passes and _mediapipe() is not None:
        parts.append(agreement_part(passes))
    text = "\n\n".join(parts) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.md").write_text(text, encoding="utf-8")
    return text


def introduction() -> str:
    return "\n\n".join(
        [
            "# What is found",
            f"Made by `python -m handrawer.evaluate.detection`; torch {torch.__version__}, mediapipe {_version()}, "
            f"{platform.machine()} CPU. A hand is *found* if the joints lie within {100 * SAME_HAND:.0f} % of its size "
            "on average; a further find of the same hand is a *double*, a find without a hand is *invented*. *Unsure* "
            "hands are those whose side or view the node flags with a note; MediaPipe flags none. As it comes, "
            f"MediaPipe's landmarker gives one hand a picture, so that it is also measured with {MOST}, all else being "
            "its own.",
        ]
    )


def own_part(table: Table) -> str:
    told = (
        "They may not be passed on, so here are their names alone. What is to be found in them was written down by eye "
        "(`seen.json`)."
    )
    return "\n\n".join(["## Photos and generated pictures", told, table.markdown("picture")])


def crowd_part(table: Table, count: int) -> str:
    told = (
        "Hands of the project's own generator over backdrops (`evaluate/crowds.py`). Hands of which others hide more "
        "than half may be found, but need not."
    )
    return "\n\n".join([f"## {count} drawn pictures of several hands", told, table.markdown("picture")])


def empty_part(table: Table, count: int) -> str:
    told = (
        "Gradients, noise, waves, boards, text, branches and bars in the colour of skin, blobs, drawn faces, arms that "
        "leave the picture before the hand (`evaluate/backdrops.py`)."
    )
    return "\n\n".join([f"## {count} pictures without a hand", told, table.markdown("picture")])


def agreement_part(count: int) -> str:
    told = (
        "The landmark networks give the same numbers to 0.0002 pixels for the same crop. The passes as a whole differ "
        "in how they come by the crop, and the networks answer to less than an eye sees. So each is held against the "
        f"truth of {count} drawn pictures of one hand ({agreement.SIZE} x {agreement.SIZE} pixels), and against itself "
        "on the same picture turned by a right angle and moved by a pixel. Mean distances of the joints, in percent of "
        "the hand's size (about 190 pixels)."
    )
    return "\n\n".join(["## Our pass beside the package's", told, agreement.measure(count).markdown()])


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mediapipe")
    except PackageNotFoundError:
        return "not installed"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="*", type=Path, help="pictures of one's own")
    parser.add_argument("--seen", type=Path, help="what a person sees in them")
    parser.add_argument("--out", type=Path, default=Path("reports/detection"))
    parser.add_argument("--count", type=int, default=3, help="drawn pictures of each kind (default: %(default)s)")
    parser.add_argument("--empty", type=int, default=100, help="pictures without a hand (default: %(default)s)")
    parser.add_argument("--passes", type=int, default=300, help="pictures for both passes (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument("--sheet", type=Path, help="draw the sheet into this file, and nothing else")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if arguments.sheet is not None:
        from .detection_sheet import draw_sheet

        log.info("%s", draw_sheet(arguments.sheet))
        return
    chosen = (arguments.count, arguments.empty, arguments.passes, arguments.workers)
    log.info(report(arguments.out, arguments.pictures, arguments.seen, *chosen))


if __name__ == "__main__":
    main()
