"""How long pictures of hands take, and how much memory: `python benchmarks/render.py`.

Every row is timed in the same run, the rows taken in turn so that a busy machine slows all alike. Times are medians of
the wall clock and, on the CPU, of the processor time of all threads; they are also given as multiples of the first
row, one pass of MediaPipe's landmark networks over a 512 x 512 picture of one hand: the multiples compare between
machines, the times do not. Posing the hands is no part of it.

Beside it stands the best well-kept alternative for depth, rays cast by trimesh with embreex: one ray through each pixel
of the hands' bounding box, as the MeshGraphormer node draws its depth (`pip install trimesh embreex`; without them
those rows are left out). Its rows with "antialias" cast the four rays a pixel that our default smoothness stands for.

--device cuda      draws on the GPU (the passes of the landmark networks and trimesh stay on the CPU)
--threads 0        as many threads as torch takes by itself, instead of one
--memory           the greatest resident (or GPU) memory of some pictures, each in a process of its own
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__" and not __package__:
    sys.path[0] = str(ROOT)  # started as a file: find the repository's packages, not this folder's files

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from handrawer.hand.camera import crop_around  # noqa: E402
from handrawer.hand.hands import Frame, Hands, hand_from_gesture  # noqa: E402
from handrawer.render.drawing import window  # noqa: E402
from handrawer.render.hand_masks import hand_masks  # noqa: E402
from handrawer.render.maps import LAYERS, render_layers  # noqa: E402
from handrawer.render.overlay import draw_overlay  # noqa: E402
from handrawer.render.pictures import load_picture, place_picture  # noqa: E402
from handrawer.render.scene import build_scene  # noqa: E402
from handrawer.render.skeleton import draw_skeleton  # noqa: E402

GESTURES = ("open", "fist", "peace", "ok", "point", "relaxed", "rock", "three", "thumbs_up", "call")
PICTURES = ("depth", "normals", "parts", "mask")
EXAMPLE = ROOT / "handrawer" / "examples" / "hands.png"


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


def many_hands(size: int, count: int = 40) -> Frame:
    """Hands in rows of eight."""
    hands = []
    for place in range(count):
        centre = (0.06 + 0.125 * (place % 8), 0.1 + 0.2 * (place // 8))
        hands += hand_from_gesture(GESTURES[place % 10], "right", size, size, centre=centre, size=0.25).hands
    return Frame(size, size, tuple(hands))


def example_hand(size: int = 512) -> Tensor:
    """[H, W, 3]: a picture of one hand, which the landmark networks find: cut out of the example that comes with it."""
    from handrawer.estimate.landmarks import LandmarkDetector

    picture = load_picture(EXAMPLE)
    height, width = picture.shape[1:3]
    points = LandmarkDetector()(picture[0])[0].points
    box = torch.cat([points.amin(0), points.amax(0)])
    cut = place_picture(picture, crop_around(box, width, height, size, size, margin=0.3))[0]
    found = len(LandmarkDetector()(cut))
    if found != 1:
        raise RuntimeError(f"the picture for the landmark pass shows {found} hands instead of one")
    return cut


def landmark_pass() -> Callable[[], object]:
    from handrawer.estimate.landmarks import LandmarkDetector

    detector, picture = LandmarkDetector(), example_hand()
    return lambda: detector(picture)


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
            found[f"{name} depth of each hand"] = lambda f=frame: render_layers(
                f, ["depth"], depth_range="hand", depth_curve="linear", device=device
            )
            found[f"{name} normals"] = lambda f=frame: render_layers(f, ["normals"], device=device)
            found[f"{name} parts"] = lambda f=frame: render_layers(f, ["parts"], device=device)
            found[f"{name} depth, normals, parts, mask"] = lambda f=frame: render_layers(f, PICTURES, device=device)
            found[f"{name} all layers"] = lambda f=frame: render_layers(f, LAYERS, device=device)
            found[f"{name} skeleton"] = lambda f=frame: draw_skeleton(f)
            found[f"{name} overlay"] = lambda f=frame, below=grey: draw_overlay(below, f)
            found[f"{name} box mask"] = lambda f=frame: hand_masks(f)
            found[f"{name} silhouette mask"] = lambda f=frame: hand_masks(f, shape="silhouette")
            for samples in (1, 2) if _has_trimesh() else ():
                label = "antialias" if samples > 1 else "no antialias"
                found[f"{name} trimesh depth, {label}"] = trimesh_depth(frame, samples)
    return found


def _has_trimesh() -> bool:
    try:
        import embreex  # noqa: F401  # pyright: ignore[reportMissingImports]
        import trimesh  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        return False
    return True


def trimesh_depth(frame: Frame, samples: int) -> Callable[[], object]:
    """Depth by rays: scene built, rays made and cast, mean depth of each pixel's first hits; samples along a side."""
    import numpy as np
    from trimesh import Trimesh  # pyright: ignore[reportMissingImports]
    from trimesh.ray.ray_pyembree import RayMeshIntersector  # pyright: ignore[reportMissingImports]

    scene = build_scene(frame)
    count, total = scene.vertices.shape[:2]
    vertices = scene.vertices.reshape(-1, 3).numpy()
    faces = (scene.faces[None] + total * torch.arange(count)[:, None, None]).reshape(-1, 3).numpy()
    box, camera = window(scene), frame.hands[0].camera
    assert box is not None
    left, top, right, bottom = box

    def draw() -> object:
        x = (np.arange(left * samples, right * samples) + 0.5) / samples
        y = (np.arange(top * samples, bottom * samples) + 0.5) / samples
        x = (x / frame.width - camera.cx) / camera.focal
        y = (y / frame.height - camera.cy) / camera.focal * (frame.height / frame.width)
        rays = np.stack([*np.broadcast_arrays(x[None], y[:, None]), np.ones((len(y), len(x)))], -1).reshape(-1, 3)
        caster = RayMeshIntersector(Trimesh(vertices, faces, process=False, validate=False))
        places, ray, _ = caster.intersects_location(np.zeros_like(rays), rays, multiple_hits=False)
        depth = np.zeros(len(rays), dtype=np.float32)
        depth[ray] = places[:, 2]
        return depth.reshape(len(y) // samples, samples, len(x) // samples, samples).mean((1, 3))

    return draw


def measure(functions: dict[str, Callable[[], object]], repeats: int, device: str) -> dict[str, tuple[float, float]]:
    """Seconds of wall clock and of processor time, medians of `repeats` rounds after one that warms up."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            function()  # the row before has filled the caches and shaped the heap
            if device != "cpu":
                torch.cuda.synchronize()
            start, busy = time.perf_counter(), time.process_time()
            function()
            if device != "cpu":
                torch.cuda.synchronize()
            if turn:
                taken[name].append((time.perf_counter() - start, time.process_time() - busy))
    return {name: (_median(times, 0), _median(times, 1)) for name, times in taken.items()}


def _median(times: list[tuple[float, float]], which: int) -> float:
    return statistics.median(time[which] for time in times)


SCENES: dict[str, tuple[Callable[[], Hands | Frame], tuple[str, ...]]] = {
    "1 hand 512 x 512 depth": (lambda: one_hand(512), ("depth",)),
    "1 hand 1024 x 1024 depth, normals, parts, mask": (lambda: one_hand(1024), PICTURES),
    "10 hands 1024 x 1024 depth, normals, parts, mask": (lambda: ten_hands(1024), PICTURES),
    "40 hands 1024 x 1024 depth, normals, parts, mask": (lambda: many_hands(1024), PICTURES),
    "40 hands 1024 x 1024 overlay": (lambda: many_hands(1024), ("overlay",)),
    "16 pictures 1024 x 1024, 10 hands each, depth, normals, parts, mask": (
        lambda: Hands((ten_hands(1024),) * 16),
        PICTURES,
    ),
    "1 hand 8192 x 8192 depth": (lambda: one_hand(8192), ("depth",)),
    "10 hands 8192 x 8192 depth": (lambda: ten_hands(8192), ("depth",)),
    "10 hands 8192 x 8192 normals": (lambda: ten_hands(8192), ("normals",)),
}


def memory(name: str, device: str) -> None:
    """Prints mebibytes: the pictures themselves, and the greatest that was needed beside what was there before."""
    make, layers = SCENES[name]
    hands = make()
    render_layers(one_hand(16), PICTURES, device=device)
    before = _peak(device)
    if layers == ("overlay",):
        assert isinstance(hands, Frame)
        pictures = [draw_overlay(torch.zeros(1, hands.height, hands.width, 3, device=device), hands)]
    else:
        pictures = list(render_layers(hands, layers, device=device).values())
    size = sum(picture.numel() * picture.element_size() for picture in pictures) / 2**20
    print(f"{name:70s}{size:10.0f}{_peak(device) - before:10.0f}")


def _peak(device: str) -> float:
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def header(device: str) -> str:
    packages = []
    for name in ("torch", "mediapipe", "trimesh", "embreex"):
        try:
            packages.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            packages.append(f"no {name}")
    machine = torch.cuda.get_device_name() if device != "cpu" else f"{platform.machine()}, {os.cpu_count()} cores"
    return f"{', '.join(packages)}; Python {platform.python_version()}; {machine}; {torch.get_num_threads()} threads"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="0: as torch takes them by itself")
    parser.add_argument("--only", default="", help="rows whose name contains this, and the landmark pass")
    parser.add_argument("--memory", nargs="?", const="all", choices=["all", *SCENES])
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.memory == "all":
        print(header(options.device) + f"\n\n{'MiB':70s}{'pictures':>10s}{'at most':>10s}", flush=True)
        for name in SCENES:
            arguments = ["--memory", name, "--device", options.device, "--threads", str(options.threads)]
            subprocess.run([sys.executable, "-m", "benchmarks.render", *arguments], check=True, cwd=ROOT)
        return
    if options.memory:
        memory(options.memory, options.device)
        return
    functions = {name: function for name, function in rows(options.device).items() if options.only in name}
    try:
        functions = {"one landmark pass, 512 x 512": landmark_pass(), **functions}
    except ImportError:
        print("without mediapipe: the multiples are of the first row\n")
    seconds = measure(functions, options.repeats, options.device)
    first = next(iter(seconds.values()))
    print(f"{header(options.device)}; medians of {options.repeats}\n")
    print(f"{'':48s}{'wall ms':>10s}{'multiple':>10s}{'CPU ms':>10s}{'multiple':>10s}")
    for name, (wall, busy) in seconds.items():
        times = f"{1000 * wall:10.1f}{wall / first[0]:10.2f}{1000 * busy:10.1f}{busy / first[1]:10.2f}"
        print(f"{name:48s}{times}")


if __name__ == "__main__":
    main()
