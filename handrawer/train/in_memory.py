"""Training on pictures that are encoded already and kept in memory: what a canvas, a notebook or a test wants.

The frozen model is anybody's (`steps.Denoiser`); what learns, the losses and the random numbers are the same as in
`adapter.train_adapter`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..adapter.handrawer import HanDrawer
from ..adapter.inputs import HandInputs, hand_inputs, join_inputs
from ..hand.hands import Frame, Hands
from ..hand.model import HandModel
from .batches import CELL, Batch, draw_chances, latent_mask
from .buckets import Plan, Size
from .config import DropConfig, LossConfig, OptimiserConfig
from .learner import Learner
from .steps import Denoiser, Noised, run_step
from .text import Text
from .trees import tensors_of

KEPT_BYTES = 512 * 2**20
"""Of what is drawn of the pictures' hands: a hand takes 2.5 MiB at the raster of a full-size base."""


@dataclass(frozen=True)
class Item:
    """One picture, encoded.

    Attributes:
        latent: [1, C, h, w] float32 as the frozen model knows it.
        text: one row.
        frame: its hands, on a picture of 8 w x 8 h pixels.
        name: for messages.
    """

    latent: Tensor
    text: Text
    frame: Frame
    name: str = ""

    @property
    def size(self) -> Size:
        return self.latent.shape[-1] * CELL, self.latent.shape[-2] * CELL


@dataclass(frozen=True)
class Settings:
    """How to train; the parts are those of `config.TrainConfig`."""

    steps: int = 500
    batch: int = 1
    seed: int = 0
    losses: LossConfig = field(default_factory=LossConfig)
    drop: DropConfig = field(default_factory=DropConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    dtype: torch.dtype = torch.float32


class MemoryTrainer:
    """Trains `adapter`, which must lie on the device and be float32.

    Args:
        denoiser: the frozen model.
        adapter: what learns.
        model: its hand model.
        items: the pictures, of any sizes.
        empty: the empty prompt, one row.
        levels: a and s [T] of every time.
        frozen: networks of which nothing may learn.

    Raises:
        ValueError: there is no picture.
    """

    def __init__(
        self, denoiser: Denoiser, adapter: HanDrawer, model: HandModel, items: Sequence[Item], empty: Text,
        levels: tuple[Tensor, Tensor], settings: Settings, frozen: Sequence[torch.nn.Module] = (),
    ) -> None:  # fmt: skip
        self.denoiser, self.adapter, self.items, self.settings = denoiser, adapter.train(), items, settings
        self.device = next(adapter.parameters()).device
        self.model = model.to(self.device)
        self.levels = tuple(level.to(self.device, torch.float32) for level in levels)
        self.empty = empty.to(self.device)
        rates = {"adapter": settings.optimiser.rate}
        self.learner = Learner({"adapter": adapter}, rates, settings.optimiser, frozen)
        sizes = [item.size for item in items]
        self.plan = Plan(sizes, sorted(set(sizes)), settings.batch, settings.seed, exact=True)
        self.step = 0
        self._kept: dict[int, tuple[HandInputs, Tensor]] = {}
        self._room = KEPT_BYTES

    def batch(self) -> Batch:
        """The samples of the step that comes next."""
        planned = self.plan.step(self.step)
        chosen = [self.items[place] for place in planned.places]
        positions = [self.step * self.settings.batch + k for k in range(len(chosen))]
        drawn = [self._drawn(place) for place in planned.places]
        latents = torch.cat([item.latent for item in chosen]).to(self.device, torch.float32)
        shape = (latents.shape[1], latents.shape[2], latents.shape[3])
        times = len(self.levels[0])
        chances = draw_chances(self.settings.seed, positions, shape, self.settings.drop, times, "uniform")
        return Batch(
            [item.name for item in chosen], [""] * len(chosen), latents,
            Text.join([item.text for item in chosen]).to(self.device),
            side_by_side([inputs for inputs, _ in drawn]), torch.cat([mask for _, mask in drawn]),
            chances.to(self.device),
        )  # fmt: skip

    def _drawn(self, place: int) -> tuple[HandInputs, Tensor]:
        """The adapter's inputs and the mask of a picture's hands: the same in every step, so drawn once while there is
        room for them."""
        if place in self._kept:
            return self._kept[place]
        item = self.items[place]
        hands = Hands((item.frame,))
        inputs = hand_inputs(hands, self.model, self.adapter.config.raster, self.device)
        found = inputs, latent_mask(hands, item.size, self.device)
        size = sum(tensor.nbytes for tensor in tensors_of(inputs).values())
        if self._room >= size:
            self._room -= size
            self._kept[place] = found
        return found

    def train_step(self) -> dict[str, float]:
        """One step; the losses by name. FloatingPointError where they are not finite: nothing is learned then."""
        batch, settings = self.batch(), self.settings
        a, s = self.levels
        noised = Noised.make(batch.moments, batch.chances.noise, batch.chances.time, a, s)
        losses = run_step(
            self.denoiser, self.adapter, batch, noised, self.empty, settings.losses, settings.dtype,
            self.learner.backward,
        )  # fmt: skip
        found = {name: float(loss) for name, loss in losses.items()}
        if not all(math.isfinite(loss) for loss in found.values()):
            raise FloatingPointError(
                f"The loss of step {self.step + 1} is not a finite number (pictures {', '.join(batch.names)}): lower "
                "the learning rate, or look at these pictures."
            )
        norms = self.learner.update(self.step, self.step / settings.steps)
        if not all(math.isfinite(norm) for norm in norms.values()):
            raise FloatingPointError(f"The gradient of step {self.step + 1} is not finite: lower the learning rate.")
        self.step += 1
        return {"loss": sum(found.values()), **found}

    def finished(self) -> HanDrawer:
        """The adapter with the weights that are worth keeping, in eval mode."""
        self.adapter.load_state_dict(self.learner.finished("adapter"))
        return self.adapter.eval()


def side_by_side(parts: Sequence[HandInputs]) -> HandInputs:
    """The hands of several batches of pictures as one batch, the pictures one after another."""
    first = 0
    places = []
    for part in parts:
        places.append(part.picture + first)
        first += part.pictures
    sizes = torch.cat([part.sizes for part in parts])
    return join_inputs(parts, torch.cat(places), sizes, all(part.alone for part in parts))
