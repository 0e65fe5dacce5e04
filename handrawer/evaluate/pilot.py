"""A pilot: a few of one's own pictures through preparation, a short training and evaluation, and one report.

It answers, before anyone spends a weekend: does the data hold, does the base take to it, what would a full run need.
What was measured here and what is arithmetic are told apart.
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from ..data.prepare import Prepared

MINI = "mini"
LOOK_SECONDS = 4.0  # a person needs to look at a flagged picture; an assumption
SHORT_SAMPLES = 24_000  # with so many mini's adapter came to nine tenths of the ceiling (docs/ablation.md)
FULL_SAMPLES = 1_500_000  # what the adapter of mini saw in its longest run (docs/training.md)
EFFICIENCY = 0.30  # share of a GPU's peak that training reaches; an assumption
PEAKS = {"RTX 3090": 71e12, "RTX 4090": 165e12, "A100": 312e12, "H100 SXM": 989e12}
"""Dense bf16 operations a second, as the makers' data sheets give them."""
BASES = {"SD1.5": ("sd15", 512), "SDXL": ("sdxl", 1024)}
ADAPTER_SHARE = 1.1  # the adapter adds at most a tenth to a step: the bar of docs/training.md
SHORTEST = 0.314 / 4
"""Seconds of a sample below which no training was measured: SD1.5 on an H100, 4 pictures of 512 a step, where starting
kernels and making the pictures, not the GPU's operations, took the time (docs/training.md)."""
ON_24_GB = 24e9
STATE_BYTES = 20  # a learning parameter in float32, with gradient, two moments of AdamW and its average
GB = 1e9

Progress = Callable[[str, int, int], None]


@dataclass
class Pilot:
    """What a pilot measured."""

    prepared: Prepared
    base: str
    device: str
    minutes: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    judged: dict[str, Any] = field(default_factory=dict)
    """The judge on the pictures themselves: the most that a score can say."""
    steps: int = 0
    batch: int = 0
    samples: int = 0
    shard_bytes: int = 0
    learning: int = 0
    """Parameters that learn."""
    step_seconds: float | None = None
    """Of training here, the median."""
    peak_bytes: int | None = None
    """Of GPU memory in training; None on a CPU."""
    adapter_file: str = ""


def training_config(
    out: Path, data: Path, base: str, *, steps: int, batch: int, size: int, held_out: int, device: str,
    sampling_steps: int, start: str | None,
) -> dict[str, Any]:  # fmt: skip
    """The configuration of the short training, as `python -m handrawer.train` takes it."""
    return {
        "out": str(out), "base": base, "steps": steps, "batch": batch, "device": device,
        "precision": "bf16" if device.startswith("cuda") else "fp32",
        "checkpointing": base != MINI,
        "adapter": {"start": start},
        "data": {"kind": "shards", "path": str(data), "size": size, "buckets": base != MINI},
        "optimiser": {"rate": 2e-5 if start else 1e-4, "warmup": max(1, steps // 10), "ema": 0.9},
        "validation": {"every": steps, "count": held_out, "steps": sampling_steps},
        "log_every": max(1, steps // 20), "save_every": steps,
    }  # fmt: skip


def full_config(short: dict[str, Any], out: Path) -> dict[str, Any]:
    """The short training's configuration made long; SDXL would want batch 1 and more `accumulate` on 24 GB."""
    steps = FULL_SAMPLES // 16
    kept = {name: short[name] for name in ("base", "checkpointing", "adapter")}
    return {
        "out": str(out), **kept, "steps": steps, "batch": 4, "accumulate": 4, "precision": "bf16",
        "data": {**short["data"], "cache": str(out / "cache")},
        "validation": {"every": 1000, "count": short["validation"]["count"]}, "save_every": 500,
    }  # fmt: skip


def run_training(pilot: Pilot, config: dict[str, Any], progress: Progress) -> None:
    """The score before, the training, the score after.

    Raises:
        ValueError, FileNotFoundError: a sentence about the base or the data.
    """
    from ..train.adapter import AdapterTrainer
    from ..train.adapter import Progress as Step
    from ..train.config import make_config

    made = make_config(config)
    trainer = AdapterTrainer(made)
    try:
        started = time.monotonic()
        progress("Scoring before", 0, 1)
        pilot.before = dict(trainer.validate())
        progress("Scoring before", 1, 1)
        pilot.minutes["score before"] = (time.monotonic() - started) / 60
        if trainer.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

        ends: list[float] = []

        def step(done: Step) -> None:
            ends.append(time.monotonic())
            progress("Training", done.step, done.steps)

        result = trainer.run(step)
        pilot.after, pilot.samples = dict(result.scores), result.samples
        pilot.minutes["training and score after"] = result.seconds / 60
        if len(ends) > 2:  # the last one scores as well
            pilot.step_seconds = statistics.median(b - a for a, b in itertools.pairwise(ends[:-1]))
        pilot.steps, pilot.batch, pilot.device = made.steps, made.batch, trainer.device.type
        pilot.learning = sum(p.numel() for p in trainer.adapter.parameters())
        pilot.adapter_file = str(result.adapter_file)
        if trainer.device.type == "cuda":
            pilot.peak_bytes = torch.cuda.max_memory_allocated()
    finally:
        trainer.close()


def _unet_settings(base: str) -> dict[str, Any]:
    file = Path(__file__).resolve().parents[1] / "train" / "base_configs" / f"{base}.json"
    return json.loads(file.read_text(encoding="utf-8"))["unet"]


def step_operations(base: str, size: int) -> float:
    """Operations of one sample's step through a frozen base: forward, and back to the adapter.

    The UNet is laid out without weights (torch's meta device) and its forward pass counted; going back through frozen
    weights needs the activations' gradients alone, which costs as much as the forward pass once more.
    """
    from diffusers import UNet2DConditionModel
    from torch.utils.flop_counter import FlopCounterMode

    settings = _unet_settings(base)
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel(**settings)
        cells = size // 8
        added = None
        if settings.get("addition_embed_type") == "text_time":
            pooled = settings["projection_class_embeddings_input_dim"] - 6 * settings["addition_time_embed_dim"]
            added = {"text_embeds": torch.empty(1, pooled), "time_ids": torch.empty(1, 6)}
        latents = torch.empty(1, settings["in_channels"], cells, cells)
        context = torch.empty(1, 77, settings["cross_attention_dim"])
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            unet(latents, torch.ones(1), context, added_cond_kwargs=added)
    return 2.0 * float(counter.get_total_flops())


def adapter_parameters(base: str) -> int:
    """Numbers that learn in a HanDrawer for a full-size base, which is laid out without weights."""
    from diffusers import UNet2DConditionModel

    from ..adapter.handrawer import HanDrawer
    from ..adapter.unet import describe_diffusers
    from ..hand.model import load_open_hand

    with torch.device("meta"):
        unet: Any = UNet2DConditionModel(**_unet_settings(base))
    adapter = HanDrawer.create(describe_diffusers(unet, "epsilon"), load_open_hand())
    return sum(parameter.numel() for parameter in adapter.parameters())


def hours(operations: float, samples: int, peak: float) -> float:
    """Of so many samples, each of so many operations, on a GPU with such a peak; never less than was measured."""
    return samples * max(operations / (peak * EFFICIENCY), SHORTEST) / 3600


def full_run(pilot: Pilot) -> list[str]:
    """Markdown: what longer runs need, by measurement and by arithmetic, each step of it written down."""
    lines = [
        "| base | samples | operations of each | " + " | ".join(PEAKS) + " |",
        "| --- | --- | --- |" + " --- |" * len(PEAKS),
    ]
    for title, (name, size) in BASES.items():
        operations = step_operations(name, size) * ADAPTER_SHARE
        for samples in (SHORT_SAMPLES, FULL_SAMPLES):
            took = [_hours(hours(operations, samples, peak)) for peak in PEAKS.values()]
            lines.append(f"| {title}, {size} px | {samples:,} | {operations / 1e12:.2f} T | {' | '.join(took)} |")
    lines += [
        "",
        f"*Arithmetic, not measured:* time = samples x operations / ({100 * EFFICIENCY:.0f} % of the GPU's dense bf16 "
        f"peak), but at least {1000 * SHORTEST:.0f} ms a sample, which SD1.5 took on an H100 (measured, four pictures "
        "a step). Operations: the UNet's forward pass, counted, twice (there and back through frozen weights), and "
        f"{100 * (ADAPTER_SHARE - 1):.0f} % for the adapter. With {SHORT_SAMPLES:,} samples the adapter of mini came "
        f"to nine tenths of its ceiling; {FULL_SAMPLES:,} are what its longest run saw. What a full-size base needs is "
        "not known. Latents and text made once (`data.cache`) leave the VAE and the text encoder out.",
        "",
    ]
    if pilot.step_seconds is not None:
        short = SHORT_SAMPLES / pilot.batch * pilot.step_seconds / 3600
        lines += [
            f"Measured here ({pilot.device}, base `{pilot.base}`): {pilot.step_seconds:.2f} s a step of "
            f"{pilot.batch}, so {_hours(short)} for {SHORT_SAMPLES:,} samples on this machine.",
            "",
        ]
    return lines + _room(pilot)


def _room(pilot: Pilot) -> list[str]:
    """Disk and memory."""
    pictures = max(1, pilot.prepared.kept + pilot.prepared.flagged)
    disk = pilot.shard_bytes / pictures
    learning = adapter_parameters("sdxl")
    held = 5.1e9 + 1.6e9 + 0.2e9 + learning * STATE_BYTES
    lines = [
        f"Disk (measured here): {disk / 1e6:.2f} MB a picture in shards, so {disk * 10_000 / GB:.1f} GB for 10,000 "
        f"pictures, {disk * 100_000 / GB:.0f} GB for 100,000.",
        "",
        "SDXL on 24 GB (arithmetic): the UNet's 2.57 G weights in bf16 take 5.1 GB, both text encoders 1.6 GB, the "
        f"VAE 0.2 GB, an adapter of {learning / 1e6:.1f} M parameters with its optimiser {STATE_BYTES} bytes each: "
        f"{learning * STATE_BYTES / GB:.2f} GB. The rest of the 24 GB, about {(ON_24_GB - held) / GB:.0f} GB, is for "
        "activations; gradient checkpointing and batch 1 with accumulation keep them small.",
    ]
    if pilot.peak_bytes is not None:
        lines += ["", f"Measured here: {pilot.peak_bytes / GB:.1f} GB of GPU memory at most, batch {pilot.batch}."]
    return lines


def _hours(hours: float) -> str:
    if hours < 1:
        return f"{60 * hours:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"


def report(pilot: Pilot) -> str:
    """The report as Markdown."""
    p = pilot.prepared
    lines = ["# Pilot", "", f"{p.pictures} pictures, base `{pilot.base}`, on {pilot.device}."]
    if pilot.base == MINI:
        lines.append("mini draws synthetic hands on plain backgrounds and nothing else: its scores show that the way "
                     "through works, not what your own base would do. Give that with `--base`.")  # fmt: skip
    look = _minutes(p.flagged * LOOK_SECONDS)
    reasons = ", ".join(f"{name} {count}" for name, count in pilot.reasons.items()) or "none"
    lines += [
        "", "## Data", "",
        f"- {p.kept} kept, {p.flagged} kept and flagged, {p.dropped} dropped. Reasons: {reasons}.",
        f"- Annotation took {pilot.minutes['preparation']:.1f} minutes of this machine (measured). {p.flagged} "
        f"pictures are flagged for a person: about {look} at {LOOK_SECONDS:.0f} s each (an assumption). "
        "Open `data/index.html`.",
        f"- The judge finds a hand in {_percent(pilot.judged.get('hand_found'))} of the pictures themselves: generated "
        "ones can hardly score higher.",
        "", "## Training", "",
        f"- {pilot.steps} steps of {pilot.batch} ({pilot.samples} samples) and the score after them: "
        f"{pilot.minutes['training and score after']:.1f} minutes (measured).",
        f"- Adapter: `{pilot.adapter_file}`.",
        "- *Before* is " + ("the HanDrawer that ships with mini, with which the training begins." if pilot.base == MINI
                            else "an untrained HanDrawer, which changes nothing."), "",
        "| held-out hands | base alone | before | after |", "| --- | --- | --- | --- |",
    ]  # fmt: skip
    for name, words in (("found", "found"), ("pck", "PCK@0.1"), ("joint_error", "joint error, share of the box")):
        cells = [pilot.before.get(f"base_{name}"), pilot.before.get(name), pilot.after.get(name)]
        lines.append(f"| {words} | " + " | ".join(map(_number, cells)) + " |")
    count = int(pilot.after.get("pictures", 0))
    lines += [
        "",
        f"Of {count} held-out pictures, too few for more than an impression. The sheets are in `training/validation/`.",
        "", "## A full run", "", *full_run(pilot),
        "", "`full_run.json` beside this report is a configuration for it, on the data that were prepared here: "
        "`python -m handrawer.train full_run.json`. A few hundred pictures are too few; prepare more first.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.3f}"


def _percent(value: dict[str, Any] | None) -> str:
    return "-" if not value or value["mean"] is None else f"{100 * value['mean']:.0f} %"
