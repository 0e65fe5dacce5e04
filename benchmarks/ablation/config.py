"""The settings of the ablation and of what runs after it, read from a committed JSON file."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).with_name("configs")


@dataclass(frozen=True)
class AblationConfig:
    """One run of everything, in as many calls as it takes.

    Attributes:
        seconds: of one call, from the start of the process to the last file; the next call goes on.
        samples: different training pictures (seed 1, as the small model's own training).
        batch: samples a step of each training seed.
        seeds: training seeds; they are trained side by side in one step.
        steps: of every arm.
        trial_steps: length of the trials that choose a learning rate for each kind of network.
        rates: learning rates tried for adapters built from nothing, control_rates for the copied ControlNet encoder.
        warmup: steps.
        hand_weight: of the hand loss beside the denoising loss, as the small model's own training.
        drop_text: share of samples with the empty prompt.
        poses: held-out pose-and-seed pairs for each arm and training seed.
        two_hand_poses: pictures of two hands.
        sampling_steps, guidance: as handrawer.evaluate.proof.
        chunk: pictures drawn at once.
        kept: latents of so many poses are kept for sheets and for a second judge.
        workers: processes that run the hand detector.
        arms: in the order of their importance: those that a call has no time for are left to the next.
        beyond: whether what needs no trained arm is run after the arms (two hands, repair, stored types and so on).
        single_steps, repair_shares: steps of the single stage, and shares of the schedule of the repair, compared.
        start_shares, steer_strengths: of the zero-shot ways.
        distill_steps: of the distillation, in as many calls as it takes; None: as many as its seconds have room for.
        distill_seconds, distill_batch, distill_rate, rank: the distillation to four steps.
        machine_steps: of the machine part's training; None: as many as its seconds have room for.
        machine_samples, machine_seconds, machine_poses: the machine part's training and test.
    """

    seconds: float = 540.0
    samples: int = 24_000
    batch: int = 64
    seeds: tuple[int, ...] = (11, 12, 13)
    steps: int = 400
    trial_steps: int = 80
    rates: tuple[float, ...] = (1e-3, 2e-3, 4e-3)
    control_rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3)
    warmup: int = 20
    hand_weight: float = 0.5
    drop_text: float = 0.1
    poses: int = 512
    two_hand_poses: int = 96
    sampling_steps: int = 10
    guidance: float = 2.0
    chunk: int = 256
    kept: int = 32
    workers: int = 14
    arms: tuple[str, ...] = ()
    beyond: bool = True
    single_steps: tuple[int, ...] = (3, 4, 6, 8, 20)
    repair_shares: tuple[float, ...] = (0.4, 0.6, 0.8, 1.0)
    start_shares: tuple[float, ...] = (0.6, 0.8, 0.9)
    steer_strengths: tuple[float, ...] = (0.03, 0.3, 3.0)
    distill_steps: int | None = None
    distill_seconds: float = 60.0
    distill_batch: int = 96
    distill_rate: float = 5e-4
    rank: int = 16
    machine_steps: int | None = None
    machine_samples: int = 6_000
    machine_seconds: float = 30.0
    machine_poses: int = 256


def read_config(path: str | Path) -> AblationConfig:
    """A configuration from a JSON file, or one of `configs/` by its name. ValueError for an unknown key."""
    path = Path(path)
    if not path.suffix:
        path = CONFIGS / f"{path}.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    known = {f.name for f in fields(AblationConfig)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{path} has an unknown key {unknown[0]!r}: the keys are {', '.join(sorted(known))}.")
    settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return AblationConfig(**settings)
