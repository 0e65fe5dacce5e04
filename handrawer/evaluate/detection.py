"""Photo to mesh on pictures whose hands are known: what is found, and how far off it is.

`python -m handrawer.evaluate.detection --out reports/detection` draws held-out synthetic pictures of one hand,
estimates the hands in them as the nodes do, and compares the nearest one with the drawn hand:

* found: some estimated hand's joints lie, on average, within half of the drawn hand's box.
* joint error in per cent: 2D, mean over the 21 joints of the rig, of the longer side of the hand's box.
* joint error in millimetres: 3D, at the true size of the hand. A single picture does not tell how large a hand is, so
  the estimate is scaled to the drawn hand's palm; once with the wrists laid on each other (direction counts), once
  after Procrustes (the pose alone).

One pass of the mediapipe package and one of the fast level stand beside it, for what they find. Cases are kept in
`cases.json` as they come, and a second call goes on there.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import statistics
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..estimate.estimate import estimate_hands
from ..estimate.landmarks import LandmarkDetector
from ..hand.hands import Frame, Hand
from ..hand.model import load_open_hand
from ..mini.captions import VIEWS
from ..mini.picture import draw_pictures, make_skin
from ..mini.scene import GESTURE_NAMES, NAMELESS, Scene, draw_scenes
from ..render.overlay import draw_overlay
from ..render.pictures import save_picture, sheet
from .known_hands import procrustes

log = logging.getLogger("handrawer")
HELD_OUT_SEED = 1000  # training draws its scenes from seed 1
SIZE = 384  # pixels
CHUNK = 10
NEAR = 0.5  # of the hand's box, mean over the joints: from where an estimate is of another thing
SHOWN = 12
PALM = (0, 9)  # wrist and middle finger's base


@dataclass(frozen=True)
class Case:
    """One picture. Errors are NaN where the hand was not found."""

    number: int
    gesture: str
    view: str
    side: str
    mediapipe: bool
    fast: bool
    found: bool
    invented: int
    side_right: bool
    unsure: bool
    percent: float
    millimetres: float
    aligned: float


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("reports/detection"))
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--thoroughness", default="balanced")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / "cases.json"
    cases = _read(kept, options.thoroughness)
    while len(cases) < options.pictures:
        numbers = torch.arange(len(cases), min(len(cases) + CHUNK, options.pictures))
        cases += evaluate(numbers, options.thoroughness)[0]
        content = {"thoroughness": options.thoroughness, "cases": [asdict(case) for case in cases]}
        kept.write_text(json.dumps(content, indent=0) + "\n", encoding="utf-8")
        log.info("%d pictures, %d hands found", len(cases), sum(case.found for case in cases))
    save_picture(options.out / "worst.png", worst(cases, options.thoroughness))
    (options.out / "report.md").write_text(report(cases, options.thoroughness), encoding="utf-8")
    return 0


def _read(path: Path, thoroughness: str) -> list[Case]:
    """The cases that an earlier call has left."""
    if not path.is_file():
        return []
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["thoroughness"] != thoroughness:
        raise SystemExit(f"{path} holds cases of thoroughness {content['thoroughness']}: choose another --out.")
    return [Case(**case) for case in content["cases"]]


def evaluate(numbers: Tensor, thoroughness: str) -> tuple[list[Case], list[Frame], Tensor]:
    """The cases of these sample numbers [N], the frames estimated, and the pictures [N, SIZE, SIZE, 3]."""
    model = load_open_hand()
    scene = draw_scenes(HELD_OUT_SEED, numbers, model)
    pictures = draw_pictures(scene, model, make_skin(model), size=SIZE).permute(0, 2, 3, 1).contiguous()
    frames = estimate_hands(pictures, thoroughness=thoroughness).frames
    plain = {"mediapipe": LandmarkDetector(backend="mediapipe"), "fast": LandmarkDetector()}
    cases = []
    for row, frame in enumerate(frames):
        joints = scene.joints_2d[row]
        seen = {
            name: any(_off(hand.points, joints) < NEAR for hand in detector(pictures[row]))
            for name, detector in plain.items()
        }
        cases.append(_case(scene, row, frame, seen))
    return cases, list(frames), pictures


def _off(points: Tensor, joints: Tensor) -> float:
    """Mean distance of joints [21, 2] over the longer side of the true ones' box."""
    return float((points - joints).norm(dim=-1).mean() / (joints.amax(dim=0) - joints.amin(dim=0)).max())


def _case(scene: Scene, row: int, frame: Frame, seen: dict[str, bool]) -> Case:
    joints, posed = scene.joints_2d[row], scene.posed.joints[row]
    gesture = int(scene.gesture[row])
    near = sorted(frame.hands, key=lambda hand: _off(hand.joints_2d, joints))
    found = bool(near) and _off(near[0].joints_2d, joints) < NEAR
    side = "left" if bool(scene.left[row]) else "right"
    millimetres = aligned = percent = float("nan")
    if found:
        percent = 100 * _off(near[0].joints_2d, joints)
        millimetres, aligned = _millimetres(near[0], posed)
    return Case(
        number=int(scene.index[row]),
        gesture="any pose" if gesture == NAMELESS else GESTURE_NAMES[gesture],
        view=VIEWS[int(scene.view[row])],
        side=side,
        **seen,
        found=found,
        invented=len(near) - found,
        side_right=found and near[0].side == side,
        unsure=found and near[0].unsure,
        percent=percent,
        millimetres=millimetres,
        aligned=aligned,
    )


def _millimetres(hand: Hand, true: Tensor) -> tuple[float, float]:
    """Mean 3D error of the joints against the true ones [21, 3], wrist on wrist and after Procrustes."""
    start, end = PALM
    scale = float((true[end] - true[start]).norm() / (hand.joints[end] - hand.joints[start]).norm())
    moved = (hand.joints - hand.joints[start]) * scale + true[start]
    laid = procrustes(hand.joints[None].double(), true[None].double())[0]
    rooted, aligned = (1000 * float((points - true).norm(dim=-1).mean()) for points in (moved, laid))
    return rooted, aligned


def worst(cases: list[Case], thoroughness: str) -> Tensor:
    """A sheet of the hands that were missed and of those that were found worst, half of it each at most."""
    missed = [case for case in cases if not case.found]
    bad = sorted((case for case in cases if case.found), key=lambda case: -case.percent)
    shown = missed[: SHOWN // 2]
    shown += bad[: SHOWN - len(shown)]
    pictures, labels = [], []
    for case in shown:
        _, (frame,), picture = evaluate(torch.tensor([case.number]), thoroughness)
        pictures.append(draw_overlay(picture, frame)[0])
        what = f"{case.percent:.0f} % off" if case.found else "not found"
        labels.append(f"{case.number}: {case.side} {case.gesture}, {case.view}, {what}")
    return sheet(pictures, 4, labels, cell=256, title="Missed hands, and the worst of those found")


def report(cases: list[Case], thoroughness: str) -> str:
    """The report as Markdown."""

    def line(name: str, chosen: list[Case]) -> str:
        found = [case for case in chosen if case.found]
        sure = [case for case in found if not case.unsure]
        values = [_mean(found, key) for key in ("percent", "millimetres", "aligned")]
        middle = [_median(found, key) for key in ("percent", "millimetres", "aligned")]
        cells = [name, str(len(chosen)), *(_share(chosen, key) for key in ("mediapipe", "fast", "found"))]
        cells += [str(sum(case.invented for case in chosen)), _share(found, "side_right"), _share(sure, "side_right")]
        cells += [f"{mean:.1f} ({median:.1f})" for mean, median in zip(values, middle, strict=True)]
        return "| " + " | ".join(cells) + " |"

    def table(title: str, key: Callable[[Case], str], names: Iterable[str]) -> list[str]:
        rows = [(name, [case for case in cases if key(case) == name]) for name in names]
        return ["", f"## {title}", "", *HEAD, *(line(name, chosen) for name, chosen in rows if chosen)]

    unsure = sum(case.unsure for case in cases if case.found) / max(1, sum(case.found for case in cases))
    lines = [
        "# Photo to mesh, on pictures whose hands are known",
        "",
        f"Made by `python -m handrawer.evaluate.detection`: {len(cases)} drawn pictures of one hand, {SIZE} x {SIZE} "
        f"pixels, held-out (seed {HELD_OUT_SEED}), estimated `{thoroughness}`; torch {torch.__version__}, "
        f"{platform.machine()} CPU. Drawn hands are not photographs: the networks find fewer of them. `mediapipe` is "
        "one pass of the mediapipe package, `fast` one of the networks in torch, `found` the level that is evaluated; "
        "`invented` are further hands where there is one. Errors are means over the found hands, with medians in "
        "brackets: of the 21 joints in 2D in per cent of the hand's box, in 3D in millimetres with the wrists laid on "
        f"each other, and after Procrustes. {100 * unsure:.0f} % of the found hands are flagged unsure; `side, sure` "
        "is of the others.",
        "",
        *HEAD,
        line("all", cases),
        *table("By view", lambda case: case.view, VIEWS),
        *table("By gesture", lambda case: case.gesture, [*GESTURE_NAMES, "any pose"]),
        *table("By side", lambda case: case.side, ["left", "right"]),
        "",
        "![Missed hands, and the worst of those found](worst.png)",
        "",
    ]
    return "\n".join(lines)


HEAD = (
    "| | pictures | mediapipe | fast | found | invented | side right | side, sure | 2D % | 3D mm | aligned mm |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
)


def _share(cases: list[Case], key: str) -> str:
    return f"{100 * sum(getattr(case, key) for case in cases) / len(cases):.1f} %" if cases else "–"


def _mean(cases: list[Case], key: str) -> float:
    return statistics.fmean(getattr(case, key) for case in cases) if cases else float("nan")


def _median(cases: list[Case], key: str) -> float:
    return statistics.median(getattr(case, key) for case in cases) if cases else float("nan")


if __name__ == "__main__":
    raise SystemExit(main())
