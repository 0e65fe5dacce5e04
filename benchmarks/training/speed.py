"""What a training step costs: milliseconds, memory, the adapter's share; full-size bases with random weights.

    python -m benchmarks.training.speed --out speed.json                  # on a GPU: the table of docs/training.md
    python -m benchmarks.training.speed --only sd15 --size 256 --batch 1 --steps 3 --precision fp32   # a CPU can do it
    python -m benchmarks.training.speed --only sd15 --profile kernels.txt # which kernels, and the stages of a batch

Every step runs through the trainer's own code, on synthetic hands that are drawn while it trains. In turn with it
runs the same forward and backward with plain residual tensors as leaves in the adapter's place, on the same batch:
what the adapter and its hands cost is the difference. On a GPU both are measured kernel by kernel and recorded, and
the whole step with batches made ahead as well. Medians are given; of steps with batches made ahead the mean.
"""

from __future__ import annotations

import argparse
import functools
import gc
import importlib.util
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.training.random_base import make_base
from handrawer.hand.model import load_open_hand
from handrawer.train.adapter import AdapterTrainer
from handrawer.train.ahead import Ahead
from handrawer.train.batches import Batch
from handrawer.train.config import make_config
from handrawer.train.recorded import RecordedSteps
from handrawer.train.sources import open_synthetic
from handrawer.train.steps import Noised, adapter_maps, losses_of

# base, pictures a step, size in pixels, gradient checkpointing, depth ControlNet, 8-bit optimiser
GPU = (
    ("sdxl", 1, 1024, True, False, False),
    ("sd15", 4, 512, False, False, False),
    ("sd15", 4, 512, True, False, False),
    ("sd15", 4, 512, True, True, False),
    ("sdxl", 1, 1024, False, False, False),
    ("sdxl", 1, 1024, True, False, True),
)
TOGETHER = 4  # batches that are made ahead at once


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(device: torch.device, work: Callable[[], Any]) -> float:
    """Milliseconds that `work` takes."""
    wait(device)
    started = time.perf_counter()
    work()
    wait(device)
    return 1000 * (time.perf_counter() - started)


def with_leaves(trainer: AdapterTrainer, leaves: dict[int, Tensor], batch: Batch, noised: Noised) -> dict[str, Tensor]:
    """The step's forward and backward with tensors in the adapter's place."""
    text = batch.text.where(batch.chances.drop_text, trainer.empty)
    with trainer.denoiser.adding(leaves):
        prediction = trainer.denoiser.predict(noised.noisy, noised.time, text, batch.depth)
        found = losses_of(prediction, noised, batch.mask, trainer.denoiser.kind, trainer.config.losses)
        torch.stack(list(found.values())).sum().backward()
    return {name: loss.detach() for name, loss in found.items()}


def open_trainer(
    folder: str, name: str, batch: int, size: int, checkpointing: bool, control: bool, eight_bit: bool,
    precision: str, device: str,
) -> AdapterTrainer:  # fmt: skip
    """A trainer whose batches are made when they are needed, and whose steps run kernel by kernel."""
    config = make_config({
        "out": folder, "steps": 10_000, "batch": batch, "precision": precision, "checkpointing": checkpointing,
        "data": {"size": size, "ahead": 0}, "save_every": 10_000, "control": {} if control else None,
        "device": device, "graph": False, "optimiser": {"eight_bit": eight_bit},
    })  # fmt: skip
    place = torch.device("cuda" if device == "auto" and torch.cuda.is_available() else device.replace("auto", "cpu"))
    return AdapterTrainer(config, base=make_base(name, precision, place))


def measure(
    name: str, batch: int, size: int, checkpointing: bool, control: bool, eight_bit: bool, precision: str, steps: int,
    device: str,
) -> dict[str, Any]:  # fmt: skip
    """One row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = open_trainer(folder, name, batch, size, checkpointing, control, eight_bit, precision, device)
        try:
            row: dict[str, Any] = {
                "base": name, "batch": batch, "size": size, "precision": precision, "checkpointing": checkpointing,
                "control": control, "8-bit optimiser": eight_bit, **_rounds(trainer, steps),
            }  # fmt: skip
            if trainer.device.type == "cuda":
                row |= _recorded(trainer, steps)
            return row
        finally:
            trainer.close()


def _peak(device: torch.device) -> float:
    """GiB that were needed since the last call."""
    if device.type != "cuda":
        return 0.0
    found = torch.cuda.max_memory_reserved(device) / 2**30
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return round(found, 2)


def _rounds(trainer: AdapterTrainer, steps: int) -> dict[str, Any]:
    """Kernel by kernel."""
    rounds = []
    for _ in range(steps + 1):  # the first one warms up
        rounds.append(_compared(trainer))
        rounds[-1]["step"] = timed(trainer.device, trainer.train_step)
    middle = {name: statistics.median(row[name] for row in rounds[1:]) for name in rounds[0]}
    _peak(trainer.device)
    for _ in range(2):
        trainer.train_step()
    memory = _peak(trainer.device)
    result = {
        "ms a step": round(middle["step"], 1),
        "ms making the batch": round(middle["data"], 1),
        "ms forward and backward": round(middle["adapter"], 1),
        "ms the same with leaves": round(middle["leaves"], 1),
        "adapter costs": round(middle["adapter"] / middle["leaves"] - 1, 4),
        "adapter parameters": sum(p.numel() for p in trainer.adapter.parameters()),
        "steps": steps,
    }
    return result | ({"peak GiB": memory} if memory else {})


def _compared(trainer: AdapterTrainer) -> dict[str, float]:
    """Milliseconds of making a batch, of its forward and backward, and of the same with leaves."""
    device = trainer.device
    made: list[Batch] = []
    times = {"data": timed(device, lambda: made.append(trainer.batch()))}
    (batch,) = made
    noised = trainer.noised(batch)
    leaves = _leaves(trainer, batch, noised)
    times["adapter"] = timed(device, lambda: trainer.forward(batch, trainer.learner.backward))
    trainer.learner.optimizer.zero_grad(set_to_none=True)
    times["leaves"] = timed(device, lambda: with_leaves(trainer, leaves, batch, noised))
    trainer.learner.optimizer.zero_grad(set_to_none=True)
    return times


def _leaves(trainer: AdapterTrainer, batch: Batch, noised: Noised) -> dict[int, Tensor]:
    with torch.no_grad():
        height, width = noised.clean.shape[-2:]
        maps = adapter_maps(trainer.adapter, batch, batch.text, height, width, trainer.denoiser.dtype)
    return {block: residual.detach().clone().requires_grad_() for block, residual in maps.items()}


def _recorded(trainer: AdapterTrainer, steps: int) -> dict[str, Any]:
    """With recorded steps and batches made ahead, as a GPU trains by default."""
    device, batch = trainer.device, trainer.batch()
    noised = trainer.noised(batch)
    leaves = _leaves(trainer, batch, noised)
    learning = [p for part in trainer.learner.parts.values() for p in part.parameters()]
    own = RecordedSteps(trainer.backward, learning)
    plain = RecordedSteps(functools.partial(with_leaves, trainer, leaves), list(leaves.values()))  # pyright: ignore
    times: dict[str, list[float]] = {"adapter": [], "leaves": []}
    for _ in range(steps + 1):
        for name, recorded in (("adapter", own), ("leaves", plain)):
            times[name].append(timed(device, lambda r=recorded: r(batch, noised)))
        trainer.learner.optimizer.zero_grad(set_to_none=True)
        for leaf in leaves.values():
            leaf.grad = None
    differs = _difference(trainer, own, batch, noised, learning)
    adapter, bare = (statistics.median(times[name][1:]) for name in ("adapter", "leaves"))
    refused = own.refused or plain.refused
    del own, plain, leaves
    _peak(device)
    trainer.ahead = Ahead(trainer.make_batches, TOGETHER, 10_000, device)
    trainer.recorded = RecordedSteps(trainer.backward, learning, quiet=trainer.ahead.paused)
    for _ in range(2 * TOGETHER - trainer.step % TOGETHER):  # to the beginning of a group that is made already
        trainer.train_step()
    count = max(1, steps // TOGETHER) * 2 * TOGETHER
    took = timed(device, lambda: [trainer.train_step() for _ in range(count)])
    return {
        "recorded": {
            "ms a step": round(took / count, 1), "ms forward and backward": round(adapter, 1),
            "ms the same with leaves": round(bare, 1), "adapter costs": round(adapter / bare - 1, 4),
            "peak GiB": _peak(device), "refused": refused, "gradient differs": differs,
        }
    }  # fmt: skip


def _difference(
    trainer: AdapterTrainer, recorded: RecordedSteps, batch: Batch, noised: Noised, learning: list[Any]
) -> list[float]:
    """How far recorded gradients lie from those of the step kernel by kernel, and those from themselves when they are
    made again: norms of the differences over the norm."""
    found = []
    for step in (recorded, trainer.backward, trainer.backward):
        trainer.learner.optimizer.zero_grad(set_to_none=True)
        step(batch, noised)
        found.append(torch.cat([p.grad.flatten() for p in learning if p.grad is not None]))
    trainer.learner.optimizer.zero_grad(set_to_none=True)
    return [float((other - found[1]).norm() / found[1].norm()) for other in (found[0], found[2])]


def generator_speed(size: int, device: torch.device, chunk: int, rounds: int) -> dict[str, Any]:
    """Pictures a second of the synthetic generator, with their hands' inputs and masks."""
    synthetic = open_synthetic(1, size, load_open_hand().to(device))
    times = []
    for number in range(rounds + 1):

        def work(number: int = number) -> None:
            with torch.no_grad():
                scene = synthetic.scene(list(range(number * chunk, (number + 1) * chunk)))
                synthetic.pictures(scene)
                synthetic.inputs(scene, 256)
                synthetic.mask(scene, size // 8, size // 8)

        times.append(timed(device, work))
    return {"size": size, "pictures a second": round(1000 * chunk / statistics.median(times[1:]), 1), "batch": chunk}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("sd15", "sd21", "sdxl"), help="one base, with the settings that follow")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--precision", default="bf16", choices=("fp32", "bf16", "fp16"))
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--control", action="store_true")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--eight-bit", action="store_true")
    parser.add_argument("--profile", type=Path, help="the kernels of a step and the stages of a batch, into this file")
    parser.add_argument("--generator", action="store_true", help="the generator alone")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    began = time.perf_counter()
    device = torch.device("cuda" if torch.cuda.is_available() and given.device == "auto" else "cpu")
    machine = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    report: dict[str, Any] = {"machine": machine, "torch": torch.__version__, "training": [], "generator": []}
    rows = GPU
    if given.only:
        rows = ((given.only, given.batch, given.size, given.checkpointing, given.control, given.eight_bit),)
    if given.profile:
        from benchmarks.training.kernels import profile

        with tempfile.TemporaryDirectory() as folder:
            trainer = open_trainer(folder, *(rows if given.only else GPU[1:])[0], given.precision, given.device)
            given.profile.write_text(profile(trainer))
            trainer.close()
        return
    eight = importlib.util.find_spec("bitsandbytes") is not None

    def keep() -> None:
        if given.out:
            given.out.write_text(json.dumps(report, indent=2) + "\n")

    for size, chunk in ((256, 64), (512, 16)):
        if given.generator:
            count, rounds = (chunk, 4) if device.type == "cuda" else (2, 1)
            report["generator"].append(generator_speed(size, device, count, rounds))
            print(report["generator"][-1], flush=True)
            keep()
    for row in [row for row in rows if (eight or not row[5]) and not given.generator]:
        report["training"].append(measure(*row, given.precision, given.steps, given.device))
        print(f"{time.perf_counter() - began:.0f} s", report["training"][-1], flush=True)
        keep()
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
