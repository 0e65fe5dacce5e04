"""What finding hands costs: `python -m benchmarks.estimate`, from the repository.

The unit is one pass of the mediapipe package over a 512 x 512 picture of one hand (`LandmarkDetector` in its plain mode
with that backend). All rows run in the same process, in turn, so that a busy machine slows all alike; a row's time is
the processor time of the whole process, its least over the rounds, and the wall clock's least stands beside it. The
multiples compare between machines, the times do not. Without mediapipe the unit is the level `fast` on the processor.

--device cuda      runs the torch networks there; the multiples are then of the wall clock
"""

from __future__ import annotations

import argparse
import platform
import resource
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
    print(f"\nMemory of the process at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    if options.device != "cpu":
        print(f"Memory of the GPU at most {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB")


def mediapipe() -> str:
    """Its version, or that there is none."""
    try:
        return version("mediapipe")
    except PackageNotFoundError:
        return "not installed"


def tasks(device: str) -> dict[str, Callable[[], object]]:
    """What is timed, by name; the unit comes first."""
    one = picture_of_one()
    four = torch.cat([torch.cat([one, one.flip(1)], dim=1)] * 2, dim=0)  # [1024, 1024, 3]
    nothing = torch.full((SIZE, SIZE, 3), 0.5) + 0.1 * torch.linspace(-1, 1, SIZE)[:, None]
    crop = one.permute(2, 0, 1)[None].to(device)
    rows: dict[str, Callable[[], object]] = {}
    if mediapipe() != "not installed":
        package = LandmarkDetector(20, backend="mediapipe")
        rows["one landmark pass of MediaPipe, 512 x 512, one hand"] = lambda: package(one)
    else:
        plain = LandmarkDetector(20)
        rows["fast on the processor, one hand"] = lambda: plain(one)
    shown = {"no hand": nothing, "one hand": one, "four hands, 1024 x 1024": four}
    for level in THOROUGHNESS:
        detector = LandmarkDetector(20, thoroughness=level, device=device)
        for name, picture in shown.items():
            rows[f"{level}, {name}"] = lambda detector=detector, picture=picture: detector(picture)
    for level in THOROUGHNESS[:2]:
        rows[f"Estimate Hands, {level}, one hand, with the fit"] = lambda level=level: estimate_hands(
            one[None], thoroughness=level, device=device
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
