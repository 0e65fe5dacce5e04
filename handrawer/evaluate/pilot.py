"""A pilot: a few of one's own pictures through preparation, a short training and evaluation, and one report.

It answers, before anyone spends a weekend: does the data hold, does the base take to it, what would a full run need.
What was measured here and what is arithmetic are told apart.
"""

from __future__ import annotations

import json
import math
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
FULL_SAMPLES = 1_500_000  # what the adapter of mini saw (docs/training.md), taken for what a full run needs
EFFICIENCY = 0.30  # share of a GPU's peak that training reaches; an assumption
PEAKS = {"RTX 3090": 71e12, "RTX 4090": 165e12, "A100": 312e12, "H100 SXM": 989e12}
"""Dense bf16 operations a second, as the makers' data sheets give them."""
BASES = {"SD1.5": ("sd15", 512), "SDXL": ("sdxl", 1024)}
ADAPTER_SHARE = 1.1  # the adapter adds at most a tenth to a step: the bar of docs/training.md
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

        def step(done: Step) -> None:
            progress("Training", done.step, done.steps)

        result = trainer.run(step)
        pilot.after, pilot.samples = dict(result.scores), result.samples
        pilot.minutes["training and score after"] = result.seconds / 60
        pilot.steps, pilot.batch, pilot.device = made.steps, made.batch, trainer.device.type
        pilot.learning = sum(p.numel() for p in trainer.adapter.parameters())
        pilot.adapter_file = str(result.adapter_file)
        if trainer.device.type == "cuda":
            pilot.peak_bytes = torch.cuda.max_memory_allocated()
    finally:
        trainer.close()


def step_operations(base: str, size: int) -> float:
    """Operations of one sample's step through a frozen base: forward, and back to the adapter.

    The UNet is laid out without weights (torch's meta device) and its forward pass counted; going back through frozen
    weights needs the activations' gradients alone, which costs as much as the forward pass once more.
    """
    from diffusers import UNet2DConditionModel
    from torch.utils.flop_counter import FlopCounterMode

    file = Path(__file__).resolve().parents[1] / "train" / "base_configs" / f"{base}.json"
    settings = json.loads(file.read_text(encoding="utf-8"))["unet"]
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


def full_run(pilot: Pilot) -> list[str]:
    """Markdown: what a full run needs, by arithmetic, each step of it written down."""
    lines = [
        "| base | operations a sample | " + " | ".join(PEAKS) + " |",
        "| --- | --- |" + " --- |" * len(PEAKS),
    ]
    for title, (name, size) in BASES.items():
        operations = step_operations(name, size) * ADAPTER_SHARE
        hours = [FULL_SAMPLES * operations / (peak * EFFICIENCY) / 3600 for peak in PEAKS.values()]
        lines.append(f"| {title}, {size} px | {operations / 1e12:.2f} T | " + " | ".join(map(_hours, hours)) + " |")
    pictures = max(1, pilot.prepared.kept + pilot.prepared.flagged)
    disk = pilot.shard_bytes / pictures
    lines += [
        "",
        f"*Arithmetic, not measured:* hours = {FULL_SAMPLES:,} samples x operations / ({100 * EFFICIENCY:.0f} % of the "
        "GPU's dense bf16 peak). Operations: the UNet's forward pass, counted, twice (there and back through frozen "
        f"weights), and {100 * (ADAPTER_SHARE - 1):.0f} % for the adapter. The number of samples is what mini's "
        "adapter saw; fewer may do. Latents and text made once (`data.cache`) leave the VAE and the text encoder out.",
        "",
        f"Disk (measured here): {disk / 1e6:.2f} MB a picture in shards, so {disk * 10_000 / GB:.1f} GB for 10,000 "
        f"pictures, {disk * 100_000 / GB:.0f} GB for 100,000.",
        "",
        "SDXL on 24 GB (arithmetic): the UNet's 2.57 G weights in bf16 take 5.1 GB, both text encoders 1.6 GB, the "
        f"VAE 0.2 GB, an adapter of {pilot.learning / 1e6:.1f} M parameters with its optimiser {STATE_BYTES} bytes "
        f"each: {pilot.learning * STATE_BYTES / GB:.2f} GB. The rest of the 24 GB, about "
        f"{24 - 6.9 - pilot.learning * STATE_BYTES / GB:.0f} GB, is for activations; gradient checkpointing and "
        "batch 1 with accumulation keep them small.",
    ]
    if pilot.peak_bytes is not None:
        lines += ["", f"Measured here: {pilot.peak_bytes / GB:.1f} GB of GPU memory at most, batch {pilot.batch}."]
    return lines


def _hours(hours: float) -> str:
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def report(pilot: Pilot) -> str:
    """The report as Markdown."""
    p = pilot.prepared
    lines = ["# Pilot", "", f"{p.pictures} pictures, base `{pilot.base}`, on {pilot.device}."]
    if pilot.base == MINI:
        lines.append("mini draws synthetic hands on plain backgrounds and nothing else: its scores show that the way "
                     "through works, not what your own base would do. Give that with `--base`.")  # fmt: skip
    look = p.flagged * LOOK_SECONDS / 60
    reasons = ", ".join(f"{name} {count}" for name, count in pilot.reasons.items()) or "none"
    lines += [
        "", "## Data", "",
        f"- {p.kept} kept, {p.flagged} kept and flagged, {p.dropped} dropped. Reasons: {reasons}.",
        f"- Annotation took {pilot.minutes['preparation']:.1f} minutes of this machine (measured). {p.flagged} "
        f"pictures are flagged for a person: about {look:.0f} minutes at {LOOK_SECONDS:.0f} s each (an assumption). "
        "Open `data/index.html`.",
        f"- The judge finds a hand in {_percent(pilot.judged.get('hand_found'))} of the pictures themselves: generated "
        "ones can hardly score higher.",
        "", "## Training", "",
        f"- {pilot.steps} steps of {pilot.batch} ({pilot.samples} samples) and the score after them: "
        f"{pilot.minutes['training and score after']:.1f} minutes (measured).",
        f"- Adapter: `{pilot.adapter_file}`.", "",
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
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.3f}"


def _percent(value: dict[str, Any] | None) -> str:
    return "-" if not value or value["mean"] is None else f"{100 * value['mean']:.0f} %"
