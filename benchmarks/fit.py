"""What the fit costs beside the detector: `python benchmarks/fit.py`.

The unit is one landmark pass of MediaPipe: `LandmarkDetector` in its plain mode, with the mediapipe package, on a 512 x
512 picture of one hand. A fit is `fit_hands`, from landmarks to finished hands with meshes. All rows run in the same
process, in turn, so that a busy machine slows all alike; a row's time is the processor time of the whole process
(MediaPipe works in threads of its own, torch in this one), the wall clock stands beside it. The multiples compare
between machines, the times do not.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from itertools import count
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__" and not __package__:
    sys.path[0] = str(ROOT)  # started as a file: find the repository's packages, not this folder's files

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from handrawer.estimate.doubt import fit_judged  # noqa: E402
from handrawer.estimate.fit import MEDIAPIPE, fit_hands  # noqa: E402
from handrawer.estimate.landmarks import LandmarkDetector  # noqa: E402
from handrawer.evaluate.known_hands import HEIGHT, WIDTH, Known, random_hands  # noqa: E402
from handrawer.hand.model import load_open_hand  # noqa: E402
from handrawer.mini.picture import draw_pictures, make_skin  # noqa: E402
from handrawer.mini.scene import draw_scenes  # noqa: E402

HANDS = 64
NOISE = 0.02  # share of the hand's size, as on detected landmarks


@dataclass(frozen=True)
class Row:
    """Seconds of the processor and of the clock."""

    processor: float
    wall: float


def picture() -> Tensor:
    """[512, 512, 3] one drawn hand that the detector finds."""
    model = load_open_hand()
    skin, detector = make_skin(model), LandmarkDetector(backend="mediapipe")
    for number in range(20):
        drawn = draw_pictures(draw_scenes(5, torch.tensor([number]), model), model, skin, size=512)[0]
        if len(detector(drawn.permute(1, 2, 0))) == 1:
            return drawn.permute(1, 2, 0).contiguous()
    raise SystemExit("The detector finds no hand in 20 drawn pictures.")


def landmarks(known: Known) -> tuple[Tensor, Tensor]:
    """Landmarks of known hands with a detector's noise."""
    points, world = known.landmarks(MEDIAPIPE)
    generator = torch.Generator().manual_seed(1)
    size = torch.tensor([WIDTH, HEIGHT], dtype=points.dtype)
    extent = ((points.amax(dim=1) - points.amin(dim=1)) * size).amax(dim=1)[:, None, None]
    noisy = points + NOISE * extent / size * torch.randn(points.shape, generator=generator, dtype=points.dtype)
    return noisy, world + NOISE * 0.19 * torch.randn(world.shape, generator=generator, dtype=world.dtype)


def rows() -> dict[str, Callable[[], object]]:
    model, known, shown = load_open_hand(), random_hands(HANDS, 3), picture()
    mediapipe, ours = LandmarkDetector(backend="mediapipe"), LandmarkDetector(backend="torch")
    points, world = landmarks(known)
    side = known.side
    found: dict[str, Callable[[], object]] = {
        "one landmark pass of MediaPipe, 512 x 512, one hand": lambda: mediapipe(shown),
        "the same networks in torch": lambda: ours(shown),
    }
    turn = count()

    def some(hands: int) -> slice:
        start = next(turn) % (HANDS - hands + 1)  # other hands each time: some take more steps than others
        return slice(start, start + hands)

    def fit(hands: int, in_3d: bool) -> None:
        at = some(hands)
        fit_hands(model, points[at], WIDTH, HEIGHT, side[at], world[at] if in_3d else None)

    def judged(hands: int) -> None:
        at = some(hands)
        fit_judged(model, points[at], WIDTH, HEIGHT, side[at], world[at], score=[0.7] * hands)

    for hands in (1, 8, HANDS):
        found[f"fit of {hands}, 2D and 3D"] = lambda n=hands: fit(n, True)
        found[f"fit of {hands}, 2D only"] = lambda n=hands: fit(n, False)
        found[f"fit of {hands} on both sides, 2D and 3D, no meshes"] = lambda n=hands: judged(n)
    return found


def measure(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, Row]:
    """The medians of `repeats` rounds after two that warm up."""
    taken: dict[str, list[Row]] = {name: [] for name in functions}
    for turn in range(repeats + 2):
        for name, function in functions.items():
            function()  # the row before has filled the caches
            processor, wall = time.process_time(), time.perf_counter()
            function()
            if turn > 1:
                taken[name].append(Row(time.process_time() - processor, time.perf_counter() - wall))
    return {
        name: Row(statistics.median(r.processor for r in row), statistics.median(r.wall for r in row))
        for name, row in taken.items()
    }


def machine() -> str:
    names = Path("/proc/cpuinfo")
    lines = names.read_text().splitlines() if names.exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "mediapipe", "numpy"))
    return f"{cpu}, {platform.system()} {platform.machine()}, Python {platform.python_version()}, {versions}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    measured = measure(rows(), options.repeats)
    unit = next(iter(measured.values()))
    print(f"{machine()}; torch on one thread, medians of {options.repeats}\n")
    print(f"{'':52s}{'processor ms':>13s}{'multiple':>10s}{'wall ms':>10s}{'multiple':>10s}")
    for name, row in measured.items():
        multiples = row.processor / unit.processor, row.wall / unit.wall
        print(f"{name:52s}{1000 * row.processor:13.1f}{multiples[0]:10.2f}{1000 * row.wall:10.1f}{multiples[1]:10.2f}")


if __name__ == "__main__":
    main()
