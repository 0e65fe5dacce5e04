"""How long pictures of hands take: `python -m benchmarks.render`, from the repository.

Every row is timed in the same run, the rows taken in turn so that a busy machine slows all alike, and is also given as
a multiple of the first one (a 512 x 512 depth picture of one hand): the multiples compare between machines, the times
do not. Times are the median of the processor time of this thread (on the CPU) or of the wall clock (on a GPU).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from handrawer.hand.hands import Frame, hand_from_gesture
from handrawer.render.maps import LAYERS, render_layers
from handrawer.render.masks import box_mask, dilate
from handrawer.render.overlay import draw_overlay
from handrawer.render.skeleton import draw_skeleton

GESTURES = ("open", "fist", "peace", "ok", "point", "relaxed", "rock", "three", "thumbs_up", "call")


def one_hand(size: int) -> Frame:
    """An open hand over most of the picture's height."""
    return hand_from_gesture("open", width=size, height=size, size=0.9)


def ten_hands(size: int) -> Frame:
    """Ten gestures in two rows, left and right hands, which overlap."""
    hands = []
    for place, name in enumerate(GESTURES):
        centre = (0.14 + 0.18 * (place % 5), 0.3 if place < 5 else 0.7)
        side = "left" if place % 2 else "right"
        hands += hand_from_gesture(name, side, size, size, centre=centre, size=0.55, orientation=(25, 10, 0)).hands
    return Frame(size, size, tuple(hands))


def rows(device: str) -> dict[str, Callable[[], object]]:
    found: dict[str, Callable[[], object]] = {}
    for size in (512, 1024):
        grey = torch.full((1, size, size, 3), 0.5, device=device)
        for count, frame in ((1, one_hand(size)), (10, ten_hands(size))):
            name = f"{count:2d} hands {size} x {size}"
            found[f"{name} depth"] = lambda f=frame: render_layers(f, ["depth"], device=device)
            found[f"{name} depth, no antialias"] = lambda f=frame: render_layers(
                f, ["depth"], antialias=1, device=device
            )
            found[f"{name} normals"] = lambda f=frame: render_layers(f, ["normals"], device=device)
            found[f"{name} parts"] = lambda f=frame: render_layers(f, ["parts"], device=device)
            found[f"{name} all layers"] = lambda f=frame: render_layers(f, LAYERS, device=device)
            found[f"{name} skeleton"] = lambda f=frame: draw_skeleton(f)
            found[f"{name} overlay"] = lambda f=frame, below=grey: draw_overlay(below, f)
            found[f"{name} box mask, grown by 16"] = lambda f=frame: dilate(box_mask(f), 16)
    return found


def measure(functions: dict[str, Callable[[], object]], repeats: int, device: str) -> dict[str, float]:
    """Seconds of each, the median of `repeats` rounds after one that warms up."""

    def clock() -> float:
        if device == "cpu":
            return time.thread_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    taken: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            function()  # the row before has filled the caches and shaped the heap
            start = clock()
            function()
            if turn:
                taken[name].append(clock() - start)
    return {name: statistics.median(times) for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu", help="cpu (one thread) or cuda")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seconds = measure(rows(options.device), options.repeats, options.device)
    first = next(iter(seconds.values()))
    print(f"torch {torch.__version__}, {options.device}, one thread, median of {options.repeats}\n")
    print(f"{'':44s}{'ms':>9s}{'multiple':>10s}")
    for name, value in seconds.items():
        print(f"{name:44s}{1000 * value:9.1f}{value / first:10.2f}")


if __name__ == "__main__":
    main()
