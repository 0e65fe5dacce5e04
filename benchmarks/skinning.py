"""How long posing takes beside smplx: `python benchmarks/skinning.py`.

Both pose the same model with the same parameters: a file in MANO's format that the tests make, since the real one may
not be passed on (its 778 vertices, 16 joints, 10 shapes and 135 pose correctives are the real one's numbers, so the
work is the same). Every batch size is timed in the same run, all rows in turn so that a busy machine slows all alike.
Times are medians of this thread's processor time (CPU) or of the wall clock (GPU); the ratios compare between machines.
smplx comes with the extra [mano]; its licence is for non-commercial use.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__" and not __package__:
    sys.path[0] = str(ROOT)  # started as a file: find the repository's packages, not this folder's files

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from handrawer.hand.mano import ManoFile, from_mano, mano_model  # noqa: E402
from handrawer.hand.mano_files import read_mano  # noqa: E402
from handrawer.hand.skinning import axis_angle_to_matrix, pose_hand  # noqa: E402
from tests.hand.mano_like import mano_arrays, write_npz  # noqa: E402

BATCHES = (1, 64, 512)
ROUNDS = {1: 400, 64: 80, 512: 20}


def smplx_model(batch: int, device: str) -> Callable[..., Tensor]:
    """smplx.MANO on the same arrays."""
    import smplx  # pyright: ignore[reportMissingImports]
    from smplx.utils import Struct  # pyright: ignore[reportMissingImports]

    options = {"use_pca": False, "flat_hand_mean": True, "batch_size": batch}
    with contextlib.redirect_stdout(io.StringIO()):
        model = smplx.MANO("MANO_RIGHT.pkl", data_struct=Struct(**mano_arrays()), **options).to(device)

    def pose(betas: Tensor, orient: Tensor, fingers: Tensor, transl: Tensor) -> Tensor:
        return model(betas=betas, global_orient=orient, hand_pose=fingers, transl=transl).vertices

    return pose


def our_model(mano: ManoFile, batch: int, device: str) -> Callable[..., Tensor]:
    """pose_hand, from axis-angles as smplx takes them (the joints' order and frame are the model's own)."""
    model = mano_model(mano).to(device)
    left = torch.zeros(batch, dtype=torch.bool, device=device)

    def pose(betas: Tensor, orient: Tensor, fingers: Tensor, transl: Tensor) -> Tensor:
        turns = axis_angle_to_matrix(torch.cat([orient[:, None], fingers.unflatten(1, (15, 3))], dim=1))
        return pose_hand(model, turns[:, 1:], betas, turns[:, 0], transl, left).vertices

    return pose


def parameters(batch: int, device: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = (10, 3, 45, 3)
    return [0.5 * torch.randn(batch, size, generator=generator).to(device) for size in sizes]


def forward(pose: Callable[..., Tensor], given: list[Tensor]) -> Callable[[], None]:
    def run() -> None:
        with torch.no_grad():
            pose(*given)

    return run


def both_ways(pose: Callable[..., Tensor], given: list[Tensor]) -> Callable[[], None]:
    leaves = [value.clone().requires_grad_() for value in given]

    def run() -> None:
        for value in leaves:
            value.grad = None
        pose(*leaves).square().sum().backward()

    return run


def measure(functions: dict[str, Callable[[], None]], rounds: int, device: str) -> dict[str, float]:
    """Median seconds of each, in turn, after rounds that warm up."""

    def clock() -> float:
        if device == "cpu":
            return time.thread_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    taken: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(rounds + 3):
        for name, function in functions.items():
            start = clock()
            function()
            if turn >= 3:
                taken[name].append(clock() - start)
    return {name: statistics.median(times) for name, times in taken.items()}


def smplx_version() -> str | None:
    try:
        return version("smplx")
    except PackageNotFoundError:
        return None


def difference(mano: ManoFile, device: str) -> float:
    """Metres between the two, over 64 hands, with the parameters brought into the model's frame."""
    given = parameters(64, device)
    posed = pose_hand(mano_model(mano).to(device), **from_mano(mano, *given))
    return float((posed.vertices - smplx_model(64, device)(*given)).norm(dim=-1).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cpu", help="cpu (one thread) or cuda")
    device = parser.parse_args().device
    torch.set_num_threads(1)
    theirs = smplx_version()
    with TemporaryDirectory() as folder:
        mano = read_mano(write_npz(Path(folder) / "MANO_RIGHT.npz"))
    where = torch.cuda.get_device_name() if device != "cpu" else f"{platform.machine()}, {os.cpu_count()} cores"
    print(f"torch {torch.__version__}, smplx {theirs or 'none'}, Python {platform.python_version()}, {where}")
    if theirs:
        print(f"one thread, float32; the two differ by at most {difference(mano, device) * 1e6:.2f} micrometres\n")
    else:
        print('smplx is not here to compare with: pip install "smplx>=0.1.28" (non-commercial licence).\n')
    print(f"{'hands':>6s}  {'':20s}{'smplx ms':>10s}{'ours ms':>10s}{'ours / smplx':>14s}")
    for batch in BATCHES:
        given = parameters(batch, device)
        poses = {"ours": our_model(mano, batch, device)}
        if theirs:
            poses = {"smplx": smplx_model(batch, device), **poses}
        rows: dict[str, Callable[[], None]] = {}
        for name, pose in poses.items():
            rows[f"{name} forward"] = forward(pose, given)
            rows[f"{name} forward + backward"] = both_ways(pose, given)
        seconds = measure(rows, ROUNDS[batch], device)
        for what in ("forward", "forward + backward"):
            other, ours = seconds.get(f"smplx {what}", float("nan")), seconds[f"ours {what}"]
            print(f"{batch:6d}  {what:20s}{1000 * other:10.3f}{1000 * ours:10.3f}{ours / other:14.2f}")


if __name__ == "__main__":
    main()
