"""Trains several copies of one arm side by side: each has its own seed, and the frozen base runs once for all of them.

The copies share nothing but the base's kernels: every copy has its own samples, noise, weights, gradient clipping and
optimiser state, and gradients of one never reach another (a test compares it with a copy trained alone).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from handrawer.adapter.inputs import HandInputs
from handrawer.train.data import Samples, batch_at, drop_text
from handrawer.train.diffusion import batch_tensors
from handrawer.train.graph import Graphed, Tensors
from handrawer.train.losses import clean_error, denoising_loss, hand_loss, snr_weight
from handrawer.train.state import learning_rate, step_generator

from .base import FrozenBase, Guide, joined

log = logging.getLogger("handrawer")
RASTER = 128


@dataclass(frozen=True)
class Recipe:
    """How an arm is trained.

    Attributes:
        seeds, rates: one of each for every copy.
        batch: samples a step and copy.
        steps, warmup: of the schedule (linear warm-up, half a cosine).
        loss: "hand", "plain" or "mask".
        hand_weight: of the hand loss; mask_weight: of the mask-weighted denoising loss.
        drop_text: share of samples with the empty prompt.
    """

    seeds: tuple[int, ...]
    rates: tuple[float, ...]
    batch: int
    steps: int
    warmup: int
    loss: str = "hand"
    hand_weight: float = 0.5
    mask_weight: float = 0.0
    drop_text: float = 0.1


def mask_weighted_loss(error: Tensor, mask: Tensor, a: Tensor, s: Tensor) -> Tensor:
    """Denoising loss that counts the hand's cells alone, without dividing by its area: a large hand counts more.

    The arguments are those of `handrawer.train.losses.hand_loss`.
    """
    return (snr_weight(a, s) * (error.mean(1, keepdim=True) * mask).flatten(1).mean(1)).mean()


def hands_at(tensors: Tensors, rows: slice) -> HandInputs:
    """The hands' inputs of some rows of a step's tensors, one hand a picture."""
    found = {f.name: tensors[f"hand_{f.name}"][rows] for f in fields(HandInputs) if f.name != "alone"}
    return HandInputs(**found, alone=True)


class Stack:
    """Copies of one arm in training."""

    def __init__(self, base: FrozenBase, build: Callable[[], Guide], recipe: Recipe) -> None:
        self.base, self.recipe = base, recipe
        self.guides = nn.ModuleList()
        for seed in recipe.seeds:
            torch.manual_seed(seed)
            self.guides.append(build().to(base.device).to(memory_format=torch.channels_last))  # pyright: ignore
        self.guides.train()
        on_gpu = base.device.type == "cuda"
        groups = []
        for guide, rate in zip(self.guides, recipe.rates, strict=True):
            learned = [p for p in guide.parameters() if p.requires_grad]
            matrices, vectors = [p for p in learned if p.ndim > 1], [p for p in learned if p.ndim <= 1]
            groups.append({"params": matrices, "peak": rate, "lr": rate})
            groups.append({"params": vectors, "peak": rate, "lr": rate, "weight_decay": 0.0})
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.01, fused=on_gpu)
        self.gradients = Graphed(self._gradients) if on_gpu else self._gradients
        self.step = 0

    def copies(self) -> list[Guide]:
        """The guides in training."""
        return [guide for guide in self.guides if isinstance(guide, Guide)]

    def batch(self, samples: Samples, step: int) -> Tensors:
        """A step's tensors, the copies below each other: samples, times, noise and dropped prompts."""
        recipe, parts = self.recipe, []
        for seed in recipe.seeds:
            size = recipe.batch
            drawn = batch_at(samples, step, size, size, self.base.model, seed, RASTER)
            generator = step_generator(seed, step, self.base.device)
            chance = {
                "drop_text": torch.rand(size, generator=generator, device=self.base.device) < recipe.drop_text,
                "time": torch.randint(1000, (size,), generator=generator, device=self.base.device),
                "noise": torch.randn(drawn.latents.shape, generator=generator, device=self.base.device),
            }
            parts.append(batch_tensors(drawn) | chance)
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def losses(self, tensors: Tensors) -> Tensors:
        """`denoising` and `second` [copies]: the loss over the picture, and that of the hand."""
        base, recipe, size = self.base, self.recipe, self.recipe.batch
        clean, noise, time_ = tensors["latents"], tensors["noise"], tensors["time"]
        a, s = base.a[time_], base.s[time_]
        noisy = a[:, None, None, None] * clean + s[:, None, None, None] * noise
        text = base.encode(drop_text(tensors["tokens"], tensors["drop_text"], base.empty))
        rows = [slice(k * size, (k + 1) * size) for k in range(len(recipe.seeds))]
        added = []
        with base.autocast():
            for guide, part in zip(self.copies(), rows, strict=True):
                prepared = guide.prepare(hands_at(tensors, part), text[part], tensors["drop_text"][part])
                added.append(guide.at(prepared, noisy[part], time_[part], text[part]))
        prediction = base.predict(noisy, time_, text, joined(added)).float()
        error = clean_error(prediction, clean, noise, a, s, "v_prediction")
        whole = [denoising_loss(error[part], a[part], s[part]) for part in rows]
        hand = [self._second(error[part], tensors["mask"][part], a[part], s[part]) for part in rows]
        return {"denoising": torch.stack(whole), "second": torch.stack(hand)}

    def _second(self, error: Tensor, mask: Tensor, a: Tensor, s: Tensor) -> Tensor:
        recipe = self.recipe
        if recipe.loss == "mask":
            return recipe.mask_weight * mask_weighted_loss(error, mask, a, s)
        return (recipe.hand_weight if recipe.loss == "hand" else 0.0) * hand_loss(error, mask, a, s)

    def _gradients(self, tensors: Tensors) -> Tensors:
        self.optimizer.zero_grad(set_to_none=True)
        losses = self.losses(tensors)
        (losses["denoising"].sum() + losses["second"].sum()).backward()
        for guide in self.guides:
            nn.utils.clip_grad_norm_([p for p in guide.parameters() if p.requires_grad], 1.0)
        return {name: value.detach() for name, value in losses.items()}

    def train_step(self, samples: Samples) -> Tensors:
        """One step of every copy; the losses, which the next step overwrites."""
        recipe = self.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(group["peak"], self.step, self.step / recipe.steps, recipe.warmup)
        losses = self._try(self.batch(samples, self.step))
        self.optimizer.step()
        self.step += 1
        return losses

    def _try(self, tensors: Tensors) -> Tensors:
        """The gradients by the recorded graph; where recording fails, kernel by kernel from then on."""
        try:
            return self.gradients(tensors)
        except RuntimeError as error:
            if self.step or not isinstance(self.gradients, Graphed):
                raise
            log.warning("this step cannot be recorded (%s): it goes on without", error)
            self.gradients = self._gradients
            return self.gradients(tensors)

    def train(self, samples: Samples) -> list[list[float]]:
        """All steps that are not done yet; the sum of both losses of every copy, a mean over each tenth of the run:
        [10][copies]."""
        curve, part = [], []
        for step in range(self.step, self.recipe.steps):
            losses = self.train_step(samples)
            part.append(losses["denoising"] + losses["second"])
            if (step + 1) * 10 // self.recipe.steps > step * 10 // self.recipe.steps:
                curve.append(torch.stack(part).mean(0).tolist())
                part = []
        if not all(value == value for row in curve for value in row):
            raise FloatingPointError(f"A copy of this arm diverged: {curve[-1]}.")
        return curve

    def seconds_per_step(self, samples: Samples, steps: int) -> float:
        """Measured over some steps, after one that records the graph."""
        self.train_step(samples)
        _wait(self.base.device)
        started = time.monotonic()
        for _ in range(steps):
            self.train_step(samples)
        _wait(self.base.device)
        return (time.monotonic() - started) / steps


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def mask_weight(base: FrozenBase, guide: Guide, samples: Samples, recipe: Recipe, batches: int = 4) -> float:
    """The weight at which the mask-weighted loss has the same gradient norm as the weighted hand loss.

    Mean over some batches, for this guide as it stands (trained), of |gradient of hand_weight * hand_loss| over
    |gradient of mask_weighted_loss|, both by the guide's parameters.
    """
    ratios = []
    stack = Stack.__new__(Stack)
    stack.base, stack.recipe, stack.guides = base, recipe, nn.ModuleList([guide])
    learned = [p for p in guide.parameters() if p.requires_grad]
    for number in range(batches):
        tensors = stack.batch(samples, 1_000_000 + number)
        norms = []
        for loss in ("hand", "mask"):
            chosen = Recipe((recipe.seeds[0],), (0.0,), recipe.batch, 1, 1, loss, recipe.hand_weight, 1.0)
            stack.recipe = chosen
            found = torch.autograd.grad(stack.losses(tensors)["second"].sum(), learned, allow_unused=True)
            norms.append(torch.stack([g.float().norm() for g in found if g is not None]).norm())
        ratios.append(float(norms[0] / norms[1]))
    return sum(ratios) / len(ratios)
