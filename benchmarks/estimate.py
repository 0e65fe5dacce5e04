"""What finding hands costs: `python benchmarks/estimate.py`.

The unit is one pass of the mediapipe package over a 512 x 512 picture of one hand (`LandmarkDetector` in its plain mode
with that backend). All rows run in the same process, in turn, so that a busy machine slows all alike; a row's time is
the processor time of the whole process, its least over the rounds, and the wall clock's least stands beside it. Each
level estimates the hands of a picture with none, with one and with four, from pixels to meshes; below the table stands
what a picture costs before any hand is found in it, and what each hand adds. The multiples compare between machines,
the times do not. Without mediapipe the unit is the level `fast` on the processor.

--device cuda      runs the torch networks there; the multiples are then of the wall clock
"""

from __future__ import annotations

import argparse
import platform
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__" and not __package__:
    sys.path[0] = str(ROOT)  # started as a file: find the repository's packages, not this folder's files

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from handrawer.estimate.estimate import estimate_hands  # noqa: E402
from handrawer.estimate.find import THOROUGHNESS  # noqa: E402
from handrawer.estimate.landmarks import LandmarkDetector  # noqa: E402
from handrawer.estimate.networks import HAND_SIDE, PALM_SIDE, hand_network, palm_network  # noqa: E402
from handrawer.hand.model import load_open_hand  # noqa: E402
from handrawer.mini.picture import draw_pictures, make_skin  # noqa: E402
from handrawer.mini.scene import draw_scenes  # noqa: E402

SIZE = 512
FOUR = 4  # hands in the fullest picture
ROUNDS = {"thorough": 2}  # where a row takes seconds, so many rounds must do


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = tasks(options.device)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    for turn in range(options.rounds + 1):
        for name, task in rows.items():
            few = next((rounds for word, rounds in ROUNDS.items() if word in name), options.rounds)
            if turn <= few:
                used, began = time.process_time(), time.perf_counter()
                task()
                taken = time.process_time() - used, time.perf_counter() - began
                if turn:  # the first round warms up
                    times[name].append(taken)
    where = "CPU" if options.device == "cpu" else torch.cuda.get_device_name()
    print(
        f"{platform.machine()}, {options.threads} threads, {where}, Python {platform.python_version()}, torch "
        f"{torch.__version__}, mediapipe {mediapipe()}; least of {options.rounds} rounds\n"
    )
    print("| | processor, ms | multiple | wall, ms | multiple |\n| --- | --- | --- | --- | --- |")
    least = {name: (min(t[0] for t in row), min(t[1] for t in row)) for name, row in times.items()}
    unit = next(iter(least.values()))
    for name, (processor, wall) in least.items():
        cells = f"{1e3 * processor:.1f} | {processor / unit[0]:.2f} | {1e3 * wall:.1f} | {wall / unit[1]:.2f}"
        print(f"| {name} | {cells} |")
    print("\n| level | a picture without a hand | each hand more |\n| --- | --- | --- |")
    column = 0 if options.device == "cpu" else 1
    for level in THOROUGHNESS:
        empty, full = (1e3 * least[row(level, hands)][column] for hands in (0, FOUR))
        print(f"| {level} | {empty:.0f} ms | {(full - empty) / FOUR:.0f} ms |")
    print(f"\nMemory of the process at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    if options.device != "cpu":
        print(f"Memory of the GPU at most {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB")


def row(level: str, hands: int) -> str:
    """The name of a row."""
    return f"{level}, {2 * SIZE} x {2 * SIZE}, {hands} hands, with the fit"


def mediapipe() -> str:
    """Its version, or that there is none."""
    try:
        return version("mediapipe")
    except PackageNotFoundError:
        return "not installed"


def tasks(device: str) -> dict[str, Callable[[], object]]:
    """What is timed, by name; the unit comes first."""
    one = picture_of_one()
    four = torch.cat([torch.cat([one, one.flip(1)], dim=1)] * 2, dim=0)
    nothing = torch.full((2 * SIZE, 2 * SIZE, 3), 0.5) + 0.1 * torch.linspace(-1, 1, 2 * SIZE)[:, None, None]
    alone = nothing.clone()
    alone[:SIZE, :SIZE] = one
    crop = one.permute(2, 0, 1)[None].to(device)
    rows: dict[str, Callable[[], object]] = {}
    if mediapipe() != "not installed":
        package = LandmarkDetector(20, backend="mediapipe")
        rows["one landmark pass of MediaPipe, 512 x 512, one hand"] = lambda: package(one)
    else:
        plain = LandmarkDetector(20)
        rows["fast on the processor, 512 x 512, one hand"] = lambda: plain(one)
    for level in THOROUGHNESS:
        for hands, picture in ((0, nothing), (1, alone), (FOUR, four)):
            rows[row(level, hands)] = lambda level=level, picture=picture: estimate_hands(
                picture[None], max_hands=20, thoroughness=level, device=device
            )
    for name, network, side in (("palm", palm_network, PALM_SIDE), ("landmark", hand_network, HAND_SIDE)):
        for batch in (1, 16):
            seen = torch.nn.functional.interpolate(crop, size=(side, side)).expand(batch, 3, side, side).contiguous()
            rows[f"{name} network, {batch} at once"] = lambda network=network, seen=seen: run(network(device), seen)
    return rows


@torch.inference_mode()
def run(network: torch.nn.Module, seen: Tensor) -> object:
    found = network(seen)
    if seen.is_cuda:
        torch.cuda.synchronize()
    return found


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
