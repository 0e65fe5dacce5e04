"""The small model in four steps without a negative row: its guided sampling distilled into low-rank weight changes.

Progressive distillation (Salimans, Ho 2022, arXiv 2202.00512) in one go: at each of the four times the student's one
DDIM step is to land where three guided steps of the teacher land, as in guided distillation (Meng et al. 2023, arXiv
2210.03142). The HanDrawer adapter is the one that ships; it is not touched and serves the student unchanged.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.ablation.base import Added, FrozenBase, Guide
from benchmarks.ablation.sampling import draw
from benchmarks.ablation.training import hands_at
from benchmarks.ablation.workshop import Workshop
from handrawer.train.data import Samples, batch_at
from handrawer.train.diffusion import batch_tensors
from handrawer.train.graph import Graphed, Tensors
from handrawer.train.state import Average, learning_rate, load_state, save_state, step_generator

from .lowrank import LowRank

log = logging.getLogger("handrawer")
STEPS = 4
SUBSTEPS = 3  # of the teacher for one of the student
WITHOUT_HAND = 0.25  # share of the samples that are given without a hand
SEED = 31


def trailing_times(steps: int) -> list[int]:
    """The sampling times of DDIM with trailing spacing, latest first."""
    return [round(1000 - 1000 * k / steps) - 1 for k in range(steps)]


def ddim(x: Tensor, v: Tensor, a: Tensor, s: Tensor, a_next: Tensor, s_next: Tensor) -> Tensor:
    """One DDIM step; noise levels are broadcastable to x."""
    return a_next * (a * x - s * v) + s_next * (s * x + a * v)


def landing_velocity(x: Tensor, landed: Tensor, a: Tensor, s: Tensor, a_next: Tensor, s_next: Tensor) -> Tensor:
    """The v with which one DDIM step from x arrives at `landed`: the inverse of `ddim` in v."""
    return (landed - (a * a_next + s * s_next) * x) / (s_next * a - a_next * s)


@dataclass
class Schedule:
    """Noise levels of the student's steps and of the teacher's between them: a, s [STEPS, SUBSTEPS + 1], times
    [STEPS, SUBSTEPS] int64; the last level is that of the finished picture."""

    a: Tensor
    s: Tensor
    times: Tensor

    @staticmethod
    def of(base: FrozenBase) -> Schedule:
        fine = torch.tensor(trailing_times(STEPS * SUBSTEPS), device=base.device)
        levels = torch.cat([fine, fine.new_zeros(1)])
        index = torch.arange(STEPS)[:, None] * SUBSTEPS + torch.arange(SUBSTEPS + 1)[None]
        chosen = levels[index.to(base.device)]
        return Schedule(base.a[chosen], base.s[chosen], chosen[:, :SUBSTEPS])


class Distiller:
    """Teacher, student and its optimiser."""

    def __init__(self, base: FrozenBase, guide: Guide, batch: int, rank: int, rate: float, guidance: float) -> None:
        self.base, self.guide, self.size, self.rate, self.guidance = base, guide, batch, rate, guidance
        torch.manual_seed(SEED)
        self.change = LowRank(base.pipe.unet, rank).to(base.device)
        self.schedule = Schedule.of(base)
        on_gpu = base.device.type == "cuda"
        self.optimizer = torch.optim.AdamW(self.change.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.0)
        self.average = Average(self.change, 0.99)
        self.gradients = Graphed(self._gradients) if on_gpu else self._gradients
        self.losses: list[Tensor] = []

    def batch(self, samples: Samples, step: int) -> Tensors:
        """A step's samples, noise, and which of the student's steps each of them is."""
        generator = step_generator(SEED, step, self.base.device)
        drawn = batch_at(samples, step, self.size, self.size, self.base.model, SEED, 128)
        return batch_tensors(drawn) | {
            "noise": torch.randn(drawn.latents.shape, generator=generator, device=self.base.device),
            "which": torch.randint(STEPS, (self.size,), generator=generator, device=self.base.device),
        }

    def _gradients(self, tensors: Tensors) -> Tensors:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(tensors)
        loss.backward()
        nn.utils.clip_grad_norm_(self.change.parameters(), 1.0)
        return {"loss": loss.detach()}

    def _try(self, tensors: Tensors, first: bool) -> Tensors:
        try:
            return self.gradients(tensors)
        except RuntimeError as error:
            if not first or not isinstance(self.gradients, Graphed):
                raise
            log.warning("the distillation's step cannot be recorded (%s): it goes on without", error)
            self.gradients = self._gradients
            return self.gradients(tensors)

    def loss(self, tensors: Tensors) -> Tensor:
        """Mean squared error of v against the landing velocity."""
        base, which = self.base, tensors["which"]
        a, s = (level[which][..., None, None, None].unbind(1) for level in (self.schedule.a, self.schedule.s))
        times = self.schedule.times[which]
        x = a[0] * tensors["latents"] + s[0] * tensors["noise"]
        with torch.no_grad():
            text, empty = base.encode(tensors["tokens"]), base.encode(base.empty.expand(self.size, -1))
            own, negative = (self._maps(tensors, t, t is empty) for t in (text, empty))
            both = {block: torch.cat([own[block], negative[block]]) for block in own}
            landed = x
            for k in range(SUBSTEPS):
                time_ = torch.cat([times[:, k]] * 2)
                v = base.predict(torch.cat([landed] * 2), time_, torch.cat([text, empty]), Added(both)).float()
                with_, without = v.chunk(2)
                v = without + self.guidance * (with_ - without)
                landed = ddim(landed, v, a[k], s[k], a[k + 1], s[k + 1])
            target = landing_velocity(x, landed, a[0], s[0], a[SUBSTEPS], s[SUBSTEPS])
        network = _Called(base.pipe.unet, self.change.weights(base.pipe.unet, base.dtype), base.dtype)
        found = network(x, times[:, 0], text, own)
        return (found.float() - target).square().mean()

    def _maps(self, tensors: Tensors, text: Tensor, dropped: bool) -> dict[int, Tensor]:
        drop = torch.full((self.size,), dropped, device=self.base.device)
        with self.base.autocast():
            maps = self.guide.prepare(hands_at(tensors, slice(None)), text, drop)
        given = (torch.arange(self.size, device=self.base.device) >= WITHOUT_HAND * self.size).float()
        return {block: value * given[:, None, None, None] for block, value in maps.items()}

    def train(self, samples: Samples, budget: Callable[[], float], steps: int | None = None) -> bool:
        """Train for so many seconds, or until `steps` are done in all calls; whether it came to its end.

        budget: asked after this call's first step, which is recorded, and from whose end the seconds count.
        """
        began, seconds, first = time.monotonic(), math.inf, len(self.losses)
        while steps is None or len(self.losses) < steps:
            done, share = len(self.losses), (time.monotonic() - began) / seconds
            if share >= 1:
                break
            progress = done / steps if steps else share
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.rate, done, progress, 20)
            self.losses.append(self._try(self.batch(samples, done), done == first)["loss"].clone())
            self.optimizer.step()
            self.average.update(self.change, done + 1)
            if done % 25 == 0 or done == first:
                self.losses[-1].item()  # waits for the GPU, so that the clock is true
            if done == first:
                began, seconds = time.monotonic(), max(0.1, budget())
        if not bool(torch.isfinite(torch.stack(self.losses)).all()):
            raise FloatingPointError("The distillation diverged.")
        return steps is None or len(self.losses) >= steps

    def curve(self) -> list[float]:
        """The loss in tenths of the steps."""
        return [float(part.mean()) for part in torch.stack(self.losses).chunk(10)]

    def save(self, path: Path, seconds: float) -> None:
        """To go on from in another call."""
        state = {"change": self.change.state_dict(), "average": self.average.values, "seconds": seconds,
                 "optimizer": self.optimizer.state_dict(), "losses": torch.stack(self.losses)}  # fmt: skip
        save_state(path, state)

    def load(self, path: Path) -> float:
        """Go on from `save`, if there is something; the seconds that were spent."""
        state = load_state(path, self.base.device)
        if state is None:
            return 0.0
        self.change.load_state_dict(state["change"])
        self.average.values = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.losses = list(state["losses"].unbind())
        return state["seconds"]


class _Called:
    """The UNet's forward pass with other weights, residuals added to its blocks."""

    def __init__(self, unet: nn.Module, weights: dict[str, Tensor], dtype: torch.dtype) -> None:
        self.unet, self.weights, self.dtype = unet, weights, dtype

    def __call__(self, noisy: Tensor, time_: Tensor, text: Tensor, sites: dict[int, Tensor]) -> Tensor:
        noisy = noisy.to(self.dtype).contiguous(memory_format=torch.channels_last)
        given = (noisy, time_, text.to(self.dtype), sites)
        wrapped = _Denoise(self.unet)
        named = {f"unet.{k}": v for k, v in self.weights.items()}
        with torch.autocast(noisy.device.type, enabled=False):
            return torch.func.functional_call(wrapped, named, given)


class _Denoise(nn.Module):
    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, noisy: Tensor, time_: Tensor, text: Tensor, sites: dict[int, Tensor]) -> Tensor:
        from handrawer.train.diffusion import denoise

        return denoise(self.unet, noisy, time_, text, sites)


def distill(shop: Workshop, reserve: float | None = None) -> bool:
    """Train the student, draw the held-out poses with it and with the base in as many steps.

    reserve: seconds of the call that are kept for drawing; training takes the others. None: it takes
        `distill_seconds`.

    Returns:
        Whether it came to its end; otherwise the next call goes on.
    """
    from safetensors.torch import save_file

    config, base, guide = shop.config, shop.base, shop.guides["shipped"]
    began, state = time.time(), shop.out / "student.pt"
    worker = Distiller(base, guide, config.distill_batch, config.rank, config.distill_rate, config.guidance)
    spent = worker.load(state)
    whole = worker.train(
        shop.samples, lambda: config.distill_seconds if reserve is None else shop.left() - reserve, config.distill_steps
    )
    spent += time.time() - began
    log.info("%d steps in %.0f s: %s", len(worker.losses), spent, worker.curve())
    if config.distill_steps:
        worker.save(state, spent)
    if not whole:
        log.info("%s steps are planned: the next call goes on", config.distill_steps)
        return False
    del worker.gradients
    shop.tidy()
    worker.average.into(worker.change)
    student = worker.change.merged(base.pipe.unet, base.dtype)
    tensors = worker.change.tensors()
    save_file(tensors, shop.out / "four_steps.safetensors", metadata={"rank": str(config.rank), "steps": str(STEPS)})
    shop.note(distillation={
        "steps": len(worker.losses), "batch": config.distill_batch, "seconds": round(spent, 1),
        "curve": worker.curve(), "pictures": len(shop.samples), "rate": config.distill_rate,
        "parameters": sum(p.numel() for p in worker.change.parameters()),
        "bytes": (shop.out / "four_steps.safetensors").stat().st_size, "distance": compare(shop, student),
    })  # fmt: skip
    return True


WAYS = {  # name: student or base, guidance, steps; with the hand, and after "text" without it
    "few.teacher": (False, True, STEPS * SUBSTEPS),
    "few.student": (True, False, STEPS),
    "few.base guided": (False, True, STEPS),
    "few.base": (False, False, STEPS),
}
JUDGED_WITHOUT = ("few.student", "few.base guided")  # from text alone


def compare(shop: Workshop, student: Any) -> dict[str, float]:
    """Draw the held-out poses in every way, with the hand and from text alone; how far the latents of each lie from
    those of the teacher's twelve guided steps from the same noise: root mean square over their standard deviation."""
    config, base, found = shop.config, shop.base, {}
    for end, guide in (("", shop.guides["shipped"]), (" text", None)):
        wanted = None
        for name, (learned, guided, steps) in WAYS.items():
            latents = draw(
                base, guide, shop.poses, steps=steps, guidance=config.guidance if guided else 1.0,
                unet=student if learned else None, chunk=config.chunk,
            )  # fmt: skip
            shop.show(name + end, latents, judged=not end or name in JUDGED_WITHOUT)
            wanted = latents if wanted is None else wanted
            found[name + end] = float((latents - wanted).square().mean().sqrt() / wanted.std())
    return found
