"""What finding hands costs: `python -m benchmarks.estimate`, from the repository.

The unit is one pass of the mediapipe package over a 512 x 512 picture of one hand (`LandmarkDetector` in its plain mode
with that backend). All rows run in the same process, in turn, so that a busy machine slows all alike; a row's time is
the processor time of the whole process, its least over the rounds, and the wall clock's median stands beside it. The
multiples compare between machines, the times do not. Without mediapipe the unit is the level `fast`.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from itertools import count

import torch
from torch import Tensor

from handrawer.estimate.estimate import estimate_hands
from handrawer.estimate.find import THOROUGHNESS
from handrawer.estimate.landmarks import LandmarkDetector
from handrawer.estimate.networks import HAND_SIDE, PALM_SIDE, hand_network, palm_network
from handrawer.hand.model import load_open_hand
from handrawer.mini.picture import draw_pictures, make_skin
from handrawer.mini.scene import draw_scenes

SIZE = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = tasks()
    for task in rows.values():
        task()
    processor: dict[str, list[float]] = {name: [] for name in rows}
    wall: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(options.rounds):
        for name, task in rows.items():
            used, began = time.process_time(), time.perf_counter()
            task()
            processor[name].append(time.process_time() - used)
            wall[name].append(time.perf_counter() - began)
    print(f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}, mediapipe {mediapipe()}")
    unit = min(processor[next(iter(rows))])
    print("| what | processor ms | wall ms | passes |\n| --- | --- | --- | --- |")
    for name in rows:
        least = min(processor[name])
        print(f"| {name} | {1e3 * least:.0f} | {1e3 * statistics.median(wall[name]):.0f} | {least / unit:.1f} |")
    print(f"memory at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def mediapipe() -> str:
    """Its version, or that there is none."""
    try:
        return version("mediapipe")
    except PackageNotFoundError:
        return "not installed"


def tasks() -> dict[str, Callable[[], object]]:
    """What is timed, by name; the unit comes first."""
    one = picture_of_one()
    four = torch.cat([torch.cat([one, one.flip(1)], dim=1)] * 2, dim=0)  # [1024, 1024, 3]
    crop = one.permute(2, 0, 1)[None]
    detectors = {level: LandmarkDetector(20, thoroughness=level) for level in THOROUGHNESS}
    rows: dict[str, Callable[[], object]] = {}
    if mediapipe() != "not installed":
        package = LandmarkDetector(20, backend="mediapipe")
        rows["mediapipe, one pass, one hand"] = lambda: package(one)
    for level, detector in detectors.items():
        rows[f"{level}, one hand"] = lambda detector=detector: detector(one)
    for level, detector in detectors.items():
        rows[f"{level}, four hands at 1024 x 1024"] = lambda detector=detector: detector(four)
    rows["Estimate Hands (balanced, with the fit), one hand"] = lambda: estimate_hands(one[None])
    for name, network, side in (("palm", palm_network, PALM_SIDE), ("landmark", hand_network, HAND_SIDE)):
        for batch in (1, 16):
            seen = torch.nn.functional.interpolate(crop, size=(side, side)).expand(batch, 3, side, side).contiguous()
            rows[f"{name} network, batch of {batch}"] = lambda network=network, seen=seen: run(network, seen)
    return rows


@torch.inference_mode()
def run(network: Callable[[], torch.nn.Module], seen: Tensor) -> object:
    return network()(seen)


def picture_of_one() -> Tensor:
    """[SIZE, SIZE, 3] a drawn hand that every backend finds."""
    model = load_open_hand()
    skin, backends = make_skin(model), ["torch"] + ["mediapipe"] * (mediapipe() != "not installed")
    for number in count():
        drawn = draw_pictures(draw_scenes(5, torch.tensor([number]), model), model, skin, size=SIZE)[0]
        drawn = drawn.permute(1, 2, 0).contiguous()
        if all(len(LandmarkDetector(backend=backend)(drawn)) == 1 for backend in backends):
            return drawn
    raise AssertionError


if __name__ == "__main__":
    main()
