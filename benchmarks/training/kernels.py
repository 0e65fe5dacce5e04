"""Where a training step's time goes: the stages of a batch, and the kernels of the adapter and of the whole step."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity

from handrawer.train.adapter import AdapterTrainer
from handrawer.train.batches import CELL
from handrawer.train.steps import adapter_maps

ROWS = 15
ROUNDS = 5


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _median(device: torch.device, work: Callable[[], Any]) -> float:
    times = []
    for _ in range(ROUNDS + 1):
        wait(device)
        began = time.perf_counter()
        work()
        wait(device)
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times[1:])


@torch.no_grad()
def stages(trainer: AdapterTrainer, pictures: int) -> list[str]:
    """Milliseconds of what makes a batch of so many synthetic pictures."""
    maker, source, device = trainer.maker, trainer.synthetic, trainer.device
    if source is None:
        raise ValueError("Only synthetic batches are taken apart.")
    numbers = list(range(pictures))
    scene = source.scene(numbers)
    drawn, captions, cells = source.pictures(scene), source.captions(scene), source.size // CELL
    work: dict[str, Callable[[], Any]] = {
        "scene": lambda: source.scene(numbers),
        "captions": lambda: source.captions(scene),
        "pictures": lambda: source.pictures(scene),
        "hands' inputs": lambda: source.inputs(scene, maker.raster),
        "mask": lambda: source.mask(scene, cells, cells),
        "text": lambda: maker.texts(captions),
        "latents": lambda: maker.base.moments(drawn),
        "chances": lambda: maker.chances(numbers, (source.size, source.size)),
    }
    rows = [f"{name}: {_median(device, todo):.1f}" for name, todo in work.items()]
    return [f"making a batch of {pictures}, milliseconds: {', '.join(rows)}"]


def kernels(device: torch.device, title: str, work: Callable[[], Any]) -> list[str]:
    """The kernels (on a CPU the operators) of `work`, by their time and by their number."""
    work()
    wait(device)
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    with torch.profiler.profile(activities=activities) as seen:
        work()
        wait(device)
    on_gpu = device.type == "cuda"
    events = [event for event in seen.key_averages() if (str(event.device_type).endswith("CUDA")) == on_gpu]
    if not on_gpu:
        events = [event for event in events if event.key.startswith("aten::")]

    def took(event: Any) -> float:
        return (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1000

    lines = [f"{title}: {sum(e.count for e in events)} of them, {sum(map(took, events)):.1f} ms"]
    for by, key in (("time", took), ("number", lambda event: event.count)):
        lines.append(f"  by {by}")
        for event in sorted(events, key=key, reverse=True)[:ROWS]:
            lines.append(f"    {event.count:6d} {took(event):9.2f} ms  {event.key[:110]}")
    return lines


def profile(trainer: AdapterTrainer) -> str:
    """The whole report."""
    batch, device = trainer.batch(), trainer.device
    noised = trainer.noised(batch)
    height, width = noised.clean.shape[-2:]

    def adapter() -> None:
        maps = adapter_maps(trainer.adapter, batch, batch.text, height, width, trainer.denoiser.dtype)
        torch.stack([residual.float().square().mean() for residual in maps.values()]).sum().backward()
        trainer.learner.optimizer.zero_grad(set_to_none=True)

    def whole() -> None:
        trainer.forward(batch, trainer.learner.backward)
        trainer.learner.optimizer.zero_grad(set_to_none=True)

    lines = []
    for pictures in (len(batch.names), 4 * len(batch.names)):
        lines += stages(trainer, pictures)
    lines.append(f"adapter alone, forward and backward: {_median(device, adapter):.1f} ms")
    lines.append(f"forward and backward: {_median(device, whole):.1f} ms")
    lines += kernels(device, "kernels of the adapter, forward and backward", adapter)
    lines += kernels(device, "kernels of a batch being made", lambda: trainer.make_batches([0]))
    lines += kernels(device, "kernels of forward and backward", whole)
    return "\n".join(lines) + "\n"
