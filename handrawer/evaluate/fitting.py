"""How good the fit of the hand model to landmarks is, from exact landmarks to pictures: ``reports/fitting/report.md``.

python -m handrawer.evaluate.fitting                 # some minutes on one core
python -m handrawer.evaluate.fitting --pictures 0    # exact landmarks only
"""

from __future__ import annotations

import argparse
import logging
import platform
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..estimate.doubt import fit_judged
from ..estimate.fit import JOINTS, MEDIAPIPE, Source, fit_landmarks
from ..estimate.landmarks import THOROUGHNESS
from ..hand.model import load_open_hand
from .fitting_pictures import measure_pictures
from .known_hands import HEIGHT, WIDTH, Errors, Known, disturbed, errors_of, random_hands, viewed_gestures
from .parallel import mapped

log = logging.getLogger("handrawer")

SEED = 20261123


def fit_known(
    known: Known, source: Source, *, in_3d: bool, thickness: bool = False, noise_seed: int | None = None
) -> Errors:
    """Fit hands to their landmarks, with or without the third dimension, exact or disturbed."""
    points, world = known.landmarks(source)
    if noise_seed is not None:
        points, world = disturbed(points, world, noise_seed)
    fit = fit_landmarks(
        load_open_hand(), points, WIDTH, HEIGHT, known.side, world if in_3d else None,
        shape=known.known_thickness() if thickness else None, source=source,
    )  # fmt: skip
    return errors_of(fit, known)


EXACT: dict[str, tuple[Source, dict[str, Any]]] = {
    "joints, 2D and 3D, exact, thickness known": (JOINTS, {"in_3d": True, "thickness": True}),
    "joints, 2D only, exact": (JOINTS, {"in_3d": False}),
    "MediaPipe's points, 2D and 3D, exact": (MEDIAPIPE, {"in_3d": True}),
    "MediaPipe's points, 2D only, exact": (MEDIAPIPE, {"in_3d": False}),
    "MediaPipe's points, 2D and 3D, disturbed": (MEDIAPIPE, {"in_3d": True, "noise_seed": SEED}),
    "MediaPipe's points, 2D only, disturbed": (MEDIAPIPE, {"in_3d": False, "noise_seed": SEED}),
}


def exact_table(count: int, workers: int = 1) -> str:
    """The fit of ``count`` random hands to exact and to disturbed landmarks, as a Markdown table."""
    errors = mapped(_exact_row, [(name, count) for name in EXACT], workers)
    lines = [
        "| landmarks | vertices, Procrustes, mm | vertices, wrists together, mm | joints, Procrustes, mm | "
        "reprojection, % of the box | its 95th percentile | joints bent the wrong way | palm/back right | "
        "within all limits |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*lines, *(_row(name, e) for name, e in zip(EXACT, errors, strict=True))])


def _exact_row(task: tuple[str, int]) -> Errors:
    name, count = task
    source, how = EXACT[name]
    return fit_known(random_hands(count, SEED), source, **how)


def _row(name: str, errors: Errors) -> str:
    residual = 100 * errors.residual.flatten()
    # torch.quantile takes no more than 16 million numbers; kthvalue does.
    late = residual.kthvalue(max(1, int(0.95 * len(residual)))).values
    cells = [
        f"{float(errors.aligned.mean()):.2f}",
        f"{float(errors.rooted.mean()):.2f}",
        f"{float(errors.joints.mean()):.2f}",
        f"{float(residual.mean()):.2f}",
        f"{float(late):.2f}",
        _share(errors.wrong_way, 2),
        _share(errors.facing),
        _share(errors.within),
    ]
    return f"| {name} | " + " | ".join(cells) + " |"


def _share(right: Tensor, digits: int = 1) -> str:
    return f"{100 * float(right.double().mean()):.{digits}f} %"


VIEWS = (
    ("joints, 2D and 3D", JOINTS, True, False),
    ("joints, 2D only", JOINTS, False, True),
    ("joints, 2D only", JOINTS, False, False),
    ("MediaPipe's points, 2D and 3D", MEDIAPIPE, True, False),
    ("MediaPipe's points, 2D only", MEDIAPIPE, False, True),
)


def views_table(known: Known, workers: int = 1) -> str:
    """Palm or back and side of known hands, from exact landmarks, as a Markdown table."""
    lines = [
        "| exact landmarks | side is | palm/back right | side right | flagged unsure | both right of the sure ones |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    judged = mapped(_judged_row, [(known, number) for number in range(len(VIEWS))], workers)
    for (name, _, _, told), (facing, side, unsure) in zip(VIEWS, judged, strict=True):
        sure = ~unsure
        cells = [_share(facing), _share(side), _share(unsure), _share((facing & side)[sure])]
        lines.append(f"| {name} | {'told' if told else 'not told'} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _judged_row(task: tuple[Known, int]) -> tuple[Tensor, Tensor, Tensor]:
    known, number = task
    _, source, in_3d, told = VIEWS[number]
    return judged_views(known, source, in_3d=in_3d, told=told)


def judged_views(known: Known, source: Source, *, in_3d: bool, told: bool) -> tuple[Tensor, Tensor, Tensor]:
    """[N] bool each: palm or back right, side right, flagged unsure."""
    points, world = known.landmarks(source)
    judged = fit_judged(
        load_open_hand(), points, WIDTH, HEIGHT, known.side if told else [None] * len(points),
        world if in_3d else None, source=source,
    )  # fmt: skip
    side = torch.tensor([a == b for a, b in zip(judged.side, known.side, strict=True)])
    return judged.facing * known.facing > 0, side, torch.tensor(judged.unsure)


def report(out: Path, count: int, pictures: int, thoroughness: str = "balanced", workers: int = 1) -> str:
    """Measure and write ``report.md`` (and pictures) into the folder ``out``; gives the text."""
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    known = viewed_gestures()
    machine = f"torch {torch.__version__}, {platform.machine()} CPU, {torch.get_num_threads()} thread(s)"
    parts = [
        "# How well the hand model fits",
        f"Made by `python -m handrawer.evaluate.fitting --count {count} --pictures {pictures} --thoroughness "
        f"{thoroughness}`; {machine}; seed {SEED}.",
        f"## Landmarks of {count} random hands",
        "Plausible random poses and shapes of the open hand, both sides, seen from anywhere, at 0.5 to 1.5 m. Lengths "
        "are for a hand of 190 mm, wrist to middle fingertip. *Disturbed*: noise of 2 % of the hand's box (of its size "
        "in 3D) on every landmark, and one of the 21 put half a box away; the reprojection is then against the "
        "disturbed landmarks. A joint is bent the wrong way if it lies on the other side of straight than it should, "
        "by more than 10 degrees. *MediaPipe's points* are fitted as a picture's are, with no more trust than that.",
        exact_table(count, workers),
        f"## Palm or back, left or right: {len(known.left)} views",
        "All gestures, both sides, 24 directions (8 about the hand's long axis, 3 leant), random shape and roll.",
        views_table(known, workers),
    ]
    if pictures:
        parts += measure_pictures(out, pictures, SEED, thoroughness, workers)
    text = "\n\n".join(parts) + "\n"
    (out / "report.md").write_text(text, encoding="utf-8")
    log.info("%.0f s", time.monotonic() - started)
    return text


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("reports/fitting"))
    parser.add_argument("--count", type=int, default=2000, help="random hands (default: %(default)s)")
    parser.add_argument("--pictures", type=int, default=500, help="rendered pictures (default: %(default)s)")
    parser.add_argument("--thoroughness", default="balanced", choices=THOROUGHNESS, help="of the detection")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    how = arguments.thoroughness, arguments.workers
    log.info(report(arguments.out, arguments.count, arguments.pictures, *how))


if __name__ == "__main__":
    main()
