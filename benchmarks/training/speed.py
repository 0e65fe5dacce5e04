"""What a training step costs: milliseconds, memory, the adapter's share; full-size bases with random weights.

    python -m benchmarks.training.speed --out speed.json                  # on a GPU: the table of docs/training.md
    python -m benchmarks.training.speed --only sd15 --size 256 --batch 1 --steps 3 --precision fp32   # a CPU can do it

Every step runs through the trainer's own code, on synthetic hands that are drawn while it trains. In turn with it
runs the same forward and backward with plain residual tensors as leaves in the adapter's place, on the same batch:
what the adapter and its hands cost is the difference. Medians are given.
"""

from __future__ import annotations

import argparse
import gc
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
from handrawer.train.batches import Batch
from handrawer.train.config import make_config
from handrawer.train.sources import Synthetic
from handrawer.train.steps import Noised, adapter_maps, losses_of

# base, pictures a step, size in pixels, gradient checkpointing, depth ControlNet
GPU = (
    ("sd15", 4, 512, False, False),
    ("sd15", 4, 512, True, False),
    ("sd15", 4, 512, True, True),
    ("sdxl", 1, 1024, True, False),
    ("sdxl", 1, 1024, False, False),
)


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


def with_leaves(trainer: AdapterTrainer, batch: Batch, noised: Noised, leaves: dict[int, Tensor]) -> None:
    """The step's forward and backward with tensors in the adapter's place."""
    text = batch.text.where(batch.chances.drop_text, trainer.empty)
    with trainer.denoiser.adding(leaves):
        prediction = trainer.denoiser.predict(noised.noisy, noised.time, text, batch.depth)
        found = losses_of(prediction, noised, batch.mask, trainer.denoiser.kind, trainer.config.losses)
        torch.stack(list(found.values())).sum().backward()
    for leaf in leaves.values():
        leaf.grad = None
    trainer.learner.optimizer.zero_grad(set_to_none=True)


def measure(
    name: str, batch: int, size: int, checkpointing: bool, control: bool, precision: str, steps: int, device: str
) -> dict[str, Any]:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        config = make_config({
            "out": folder, "steps": 10_000, "batch": batch, "precision": precision, "checkpointing": checkpointing,
            "data": {"size": size}, "save_every": 10_000, "control": {} if control else None, "device": device,
        })  # fmt: skip
        place = torch.device(
            "cuda" if device == "auto" and torch.cuda.is_available() else device.replace("auto", "cpu")
        )
        trainer = AdapterTrainer(config, base=make_base(name, precision, place))
        try:
            return {
                "base": name, "batch": batch, "size": size, "precision": precision, "checkpointing": checkpointing,
                "control": control, **_rounds(trainer, steps),
            }  # fmt: skip
        finally:
            trainer.close()


def _rounds(trainer: AdapterTrainer, steps: int) -> dict[str, Any]:
    rounds, memory = [], 0.0
    for number in range(steps + 1):  # the first one warms up
        rounds.append(_compared(trainer))
        if trainer.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        rounds[-1]["step"] = timed(trainer.device, trainer.train_step)
        if trainer.device.type == "cuda" and number:
            memory = max(memory, torch.cuda.max_memory_allocated() / 2**30)
    middle = {name: statistics.median(row[name] for row in rounds[1:]) for name in rounds[0]}
    result = {
        "ms a step": round(middle["step"], 1),
        "ms making the batch": round(middle["data"], 1),
        "ms forward and backward": round(middle["adapter"], 1),
        "ms the same with leaves": round(middle["leaves"], 1),
        "adapter costs": round(middle["adapter"] / middle["leaves"] - 1, 4),
        "adapter parameters": sum(p.numel() for p in trainer.adapter.parameters()),
        "steps": steps,
    }
    return result | ({"peak GiB": round(memory, 2)} if memory else {})


def _compared(trainer: AdapterTrainer) -> dict[str, float]:
    """Milliseconds of making a batch, of its forward and backward, and of the same with leaves."""
    device = trainer.device
    made: list[Batch] = []
    times = {"data": timed(device, lambda: made.append(trainer.batch()))}
    (batch,) = made
    noised = trainer.noised(batch)
    with torch.no_grad():
        height, width = noised.clean.shape[-2:]
        maps = adapter_maps(trainer.adapter, batch, batch.text, height, width, trainer.denoiser.dtype)
    leaves = {block: residual.detach().clone().requires_grad_() for block, residual in maps.items()}
    del maps
    times["adapter"] = timed(device, lambda: trainer.forward(batch, trainer.learner.backward))
    trainer.learner.optimizer.zero_grad(set_to_none=True)
    times["leaves"] = timed(device, lambda: with_leaves(trainer, batch, noised, leaves))
    return times


def generator_speed(size: int, device: torch.device, chunk: int, rounds: int) -> dict[str, Any]:
    """Pictures a second of the synthetic generator, with their hands' inputs and masks."""
    synthetic = Synthetic.create(1, size, load_open_hand().to(device))
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
    parser.add_argument("--generator", action="store_true", help="the generator alone")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() and given.device == "auto" else "cpu")
    machine = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    report: dict[str, Any] = {"machine": machine, "torch": torch.__version__, "training": [], "generator": []}
    rows = GPU
    if given.only:
        rows = ((given.only, given.batch, given.size, given.checkpointing, given.control),)

    def keep() -> None:
        if given.out:
            given.out.write_text(json.dumps(report, indent=2) + "\n")

    for size, chunk in ((256, 64), (512, 16)):
        if device.type == "cuda" or given.generator:
            count, rounds = (chunk, 4) if device.type == "cuda" else (2, 1)
            report["generator"].append(generator_speed(size, device, count, rounds))
            print(report["generator"][-1], flush=True)
            keep()
    for row in () if given.generator else rows:
        report["training"].append(measure(*row, given.precision, given.steps, given.device))
        print(report["training"][-1], flush=True)
        keep()
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
