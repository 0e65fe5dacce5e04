"""What a long run needs besides its losses: learning rate, averaged weights, checkpoints that resume exactly."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn


@dataclass
class Clock:
    """How far a run has come, by steps or by minutes, whichever is further.

    Attributes:
        steps: planned, or None.
        minutes: allowed, or None.
        used: seconds spent before a resume.
    """

    steps: int | None
    minutes: float | None
    used: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        """Seconds spent, those before a resume counted."""
        return self.used + time.monotonic() - self.started

    def progress(self, step: int) -> float:
        """0 at the start, 1 at the end."""
        by_step = step / self.steps if self.steps else 0.0
        by_time = self.seconds() / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(by_step, by_time))


def learning_rate(peak: float, step: int, progress: float, warmup: int) -> float:
    """Linear warm-up over `warmup` steps, then half a cosine down to a hundredth of the peak."""
    warm = min(1.0, (step + 1) / max(warmup, 1))
    return peak * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


class Average:
    """Exponential moving average of a module's float parameters and buffers."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))  # early weights are soon forgotten
        state = module.state_dict()
        floats = [k for k, v in state.items() if v.is_floating_point()]
        torch._foreach_lerp_([self.values[k] for k in floats], [state[k] for k in floats], 1 - decay)

    def into(self, module: nn.Module) -> nn.Module:
        """Load the averaged values into a module of the same kind."""
        module.load_state_dict(self.values)
        return module


def step_generator(seed: int, step: int, device: torch.device | str) -> torch.Generator:
    """A generator that depends on (seed, step) alone, so that a resumed run draws what the first would have."""
    return torch.Generator(device=device).manual_seed((seed * 1_000_003 + step) % (2**63 - 1))


def save_state(path: Path, state: dict) -> None:
    """Write a checkpoint for resuming; whole or not at all."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def load_state(path: Path, device: torch.device | str) -> dict | None:
    """A checkpoint of `save_state`, or None where there is none; tensors and plain values only."""
    if not path.exists():
        return None
    return torch.load(path, map_location=device, weights_only=True)


def stop_on_nan(loss: Tensor, step: int) -> float:
    """The loss as a number; raises FloatingPointError where it is not finite."""
    value = float(loss.detach())
    if not math.isfinite(value):
        raise FloatingPointError(f"The loss is {value} at step {step}: lower the learning rate and resume.")
    return value
