"""What learns: the adapter, and a ControlNet where there is one, with optimiser, averages and loss scaling."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .config import OptimiserConfig
from .processes import Processes
from .state import Average, learning_rate


class Learner:
    """Takes steps of AdamW on some networks.

    Args:
        parts: networks that learn, by name, float32.
        rates: their peak learning rates.
        config: of the optimiser.
        frozen: networks of which nothing may learn.
        scaled: whether the loss is scaled, as half precision (fp16) wants it.
        processes: that share the work, None: this one alone.

    Raises:
        RuntimeError: something that must be frozen would learn, or something that must learn is frozen.
    """

    def __init__(
        self, parts: dict[str, nn.Module], rates: dict[str, float], config: OptimiserConfig,
        frozen: Iterable[nn.Module] = (), scaled: bool = False, processes: Processes | None = None,
    ) -> None:  # fmt: skip
        self.parts, self.rates, self.config = parts, rates, config
        self.processes = processes or Processes("cpu")
        device = next(next(iter(parts.values())).parameters()).device
        self.optimizer = make_optimizer(self._groups(), config)
        assert_trainable(self.optimizer, parts, frozen)
        self.scaler = torch.amp.GradScaler(device.type, enabled=scaled)  # pyright: ignore[reportPrivateImportUsage]
        self.averages = {name: Average(part, config.ema) for name, part in parts.items()} if config.ema else {}

    def _groups(self) -> list[dict[str, Any]]:
        groups = []
        for name, part in self.parts.items():
            learning = list(part.parameters())
            for decay, chosen in (
                (self.config.weight_decay, [p for p in learning if p.ndim > 1]),
                (0.0, [p for p in learning if p.ndim <= 1]),
            ):
                groups.append({"params": chosen, "weight_decay": decay, "lr": self.rates[name], "part": name})
        return [group for group in groups if group["params"]]

    def backward(self, loss: Tensor) -> None:
        """Add a loss's gradients to those that are there."""
        self.scaler.scale(loss).backward()

    def update(self, step: int, progress: float) -> dict[str, float]:
        """One step with the gradients that are there, which are gone then.

        Args:
            step: its number, from 0.
            progress: share of the run that is over.

        Returns:
            The norms of the gradients before clipping by part; not finite where a step failed: then nothing has
            changed (with a scaled loss that happens now and then, and the scale is lowered).
        """
        self.processes.mean_gradients(p for part in self.parts.values() for p in part.parameters())
        self.scaler.unscale_(self.optimizer)
        norms = {}
        for name, part in self.parts.items():
            norms[name] = float(nn.utils.clip_grad_norm_(part.parameters(), self.config.clip))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(group["part"], step, progress)
        fine = all(math.isfinite(norm) for norm in norms.values())
        if fine or self.scaler.is_enabled():
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if fine:
            for name, average in self.averages.items():
                average.update(self.parts[name], step)
        return norms

    def rate(self, part: str, step: int, progress: float) -> float:
        """The learning rate of a part at a step."""
        along = progress if self.config.schedule == "cosine" else 0.0
        return learning_rate(self.rates[part], step, along, self.config.warmup)

    def state(self) -> dict[str, Any]:
        """All that an exact resume needs."""
        return {
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
            "averages": {name: average.values for name, average in self.averages.items()},
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        for name, part in self.parts.items():
            part.load_state_dict(state["parts"][name])
        for name, average in self.averages.items():
            average.values = state["averages"][name]
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])

    def finished(self, name: str) -> dict[str, Tensor]:
        """The weights of a part that are worth keeping: the averaged ones, where there are any."""
        return self.averages[name].values if name in self.averages else self.parts[name].state_dict()


def make_optimizer(groups: list[dict[str, Any]], config: OptimiserConfig) -> torch.optim.Optimizer:
    """AdamW; ValueError with a sentence where 8 bits are wanted and bitsandbytes is not there."""
    on_gpu = groups[0]["params"][0].is_cuda
    if not config.eight_bit:
        return torch.optim.AdamW(groups, lr=config.rate, betas=(0.9, 0.999), fused=on_gpu)
    try:
        library = importlib.import_module("bitsandbytes")
    except ImportError as error:
        raise ValueError(
            "'optimiser.eight_bit' needs the package bitsandbytes: install it, or leave the key out."
        ) from error
    return library.optim.AdamW8bit(groups, lr=config.rate, betas=(0.9, 0.999))


def assert_trainable(
    optimizer: torch.optim.Optimizer, parts: dict[str, nn.Module], frozen: Iterable[nn.Module]
) -> None:
    """Raise RuntimeError unless the optimiser holds exactly the parameters of `parts`, all of which want gradients,
    and nothing of `frozen` does."""
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    wanted = {id(p): f"{name}.{key}" for name, part in parts.items() for key, p in part.named_parameters()}
    if len(held) != len(set(held)) or set(held) != set(wanted):
        raise RuntimeError(f"The optimiser holds {len(held)} parameters, but {len(wanted)} are to learn.")
    for name, part in parts.items():
        for key, parameter in part.named_parameters():
            if not parameter.requires_grad:
                raise RuntimeError(f"{name}.{key} is to learn, but wants no gradient.")
    for network in frozen:
        for key, parameter in network.named_parameters():
            if parameter.requires_grad or id(parameter) in wanted:
                raise RuntimeError(f"{key} of the frozen {type(network).__name__} would learn.")
