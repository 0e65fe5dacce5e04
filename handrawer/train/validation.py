"""Pictures and scores of hands that are never trained on, drawn while a training runs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..adapter.handrawer import HanDrawer
from ..adapter.inputs import hand_inputs
from ..evaluate.score import hand_box, score_picture, summarise
from ..hand.hands import Frame, Hands
from ..render.maps import render_layers
from ..render.overlay import draw_overlay
from ..render.pictures import save_picture, sheet
from .batches import CELL, crop_example
from .sources import open_synthetic
from .steps import DiffusersDenoiser, cast
from .text import Text

log = logging.getLogger("handrawer")

if TYPE_CHECKING:
    from .adapter import AdapterTrainer


@dataclass
class Validation:
    """The held-out hands of a run.

    Attributes:
        frames: one picture's hands each, at the size that is drawn.
        captions: of those pictures.
        pictures: the pictures themselves, [H, W, 3] each.
        bare: what the base draws of the captions alone, once it is known.
    """

    frames: list[Frame]
    captions: list[str]
    pictures: list[Tensor]
    bare: list[Tensor] = field(default_factory=list)

    @staticmethod
    def prepare(trainer: AdapterTrainer) -> Validation:
        """Held-out pictures of the run's data; of the generator those of another seed."""
        settings, data = trainer.config.validation, trainer.config.data
        if trainer.synthetic is not None:
            drawn = open_synthetic(settings.seed, data.size, trainer.maker.model, data.synthetic)
            scene = drawn.scene(list(range(settings.count)))
            pictures = drawn.pictures(scene).permute(0, 2, 3, 1).cpu()
            return Validation(list(drawn.hands(scene).frames), drawn.captions(scene), list(pictures))
        found = Validation([], [], [])
        if trainer.loader is None:
            return found
        from .buckets import bucket_sizes, nearest_bucket

        buckets = bucket_sizes(data.size) if data.buckets else [(data.size, data.size)]
        for place in trainer.held_out:
            size = nearest_bucket(*trainer.source.sizes[place], buckets)
            try:
                cropped = crop_example(trainer.source.load(place), size, trainer.model)
            except (OSError, ValueError) as error:
                trainer.records.say(f"a held-out picture cannot be read and is left out ({error})")
                continue
            if cropped.picture is not None:
                found.frames.append(cropped.frame)
                found.captions.append(cropped.example.caption)
                found.pictures.append(cropped.picture[0].permute(1, 2, 0))
        return found

    def run(self, trainer: AdapterTrainer) -> dict[str, float]:
        """Draw, score, and write a sheet; gives the scores by name."""
        if not self.frames:
            return {}
        settings = trainer.config.validation
        kept = {name: tensor.detach().clone() for name, tensor in trainer.adapter.state_dict().items()}
        trainer.adapter.load_state_dict(trainer.learner.finished("adapter"))
        trainer.adapter.eval()
        try:
            drawn = [self._draw(trainer, place, trainer.adapter) for place in range(len(self.frames))]
            self.bare = self.bare or [self._draw(trainer, place, None) for place in range(len(self.frames))]
        finally:
            trainer.adapter.load_state_dict(kept)
            trainer.adapter.train()
        self._sheet(trainer, drawn)
        with_hand, alone = score_all(drawn, self.frames), score_all(self.bare, self.frames)
        found = {f"base_{name}": value for name, value in alone.items()}
        return {**with_hand, **found, "pictures": float(len(drawn)), "guidance": settings.guidance}

    def _draw(self, trainer: AdapterTrainer, place: int, adapter: HanDrawer | None) -> Tensor:
        settings = trainer.config.validation
        text = trainer.base.text([self.captions[place]])
        return draw(
            trainer.denoiser, adapter, self.frames[place], Text.join([trainer.empty, text]),
            steps=settings.steps, guidance=settings.guidance, seed=settings.seed + place,
        )  # fmt: skip

    def _sheet(self, trainer: AdapterTrainer, drawn: list[Tensor]) -> None:
        rows: list[Tensor] = []
        for picture, frame, bare, steered in zip(self.pictures, self.frames, self.bare, drawn, strict=True):
            rows += [picture, draw_overlay(picture[None], Hands((frame,)))[0], bare, steered]
        folder = trainer.out / "validation"
        labels = ["held out", "its hands", "base", f"step {trainer.step}"] * len(drawn)
        try:
            folder.mkdir(exist_ok=True)
            save_picture(folder / f"step_{trainer.step:06d}.jpg", sheet(rows, columns=4, labels=labels))
        except OSError as error:  # a full disk must not end the run
            log.warning("The pictures of step %d cannot be written (%s): training goes on.", trainer.step, error)


def score_all(pictures: Sequence[Tensor], frames: Sequence[Frame]) -> dict[str, float]:
    """Mean scores of all wanted hands: share found, PCK@0.1, joint error of those found."""
    from ..estimate.calibration import mediapipe_points_2d

    scores = []
    for picture, frame in zip(pictures, frames, strict=True):
        for hand in frame.hands:
            points = mediapipe_points_2d(hand, frame.width, frame.height)
            box = hand_box(hand, frame.width, frame.height)
            scores.append(score_picture(picture, points, box, hand.side))
    names = ("found", "pck", "joint_error")
    found = {name: summarise(scores, name) for name in names}
    return {name: summary.mean for name, summary in found.items() if summary.count}


@torch.no_grad()
def draw(
    denoiser: DiffusersDenoiser, adapter: HanDrawer | None, frame: Frame, text: Text, *, steps: int, guidance: float,
    seed: int,
) -> Tensor:  # fmt: skip
    """One picture [H, W, 3] in 0..1 by DDIM.

    Args:
        adapter: in eval mode, or None for the base alone.
        frame: the hands, on the picture that is drawn.
        text: two rows, the empty prompt's and the caption's.
    """
    from diffusers import DDIMScheduler

    base = denoiser.base
    device = base.a.device
    height, width = frame.height // CELL, frame.width // CELL
    prediction: Any = base.prediction
    known = {k: base.scheduler[k] for k in ("beta_start", "beta_end", "beta_schedule") if k in base.scheduler}
    scheduler = DDIMScheduler(
        num_train_timesteps=len(base.a), clip_sample=False, set_alpha_to_one=False, timestep_spacing="trailing",
        prediction_type=prediction, rescale_betas_zero_snr=bool(base.scheduler.get("rescale_betas_zero_snr")),
        **known,
    )  # fmt: skip
    scheduler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(1, base.description.latent_channels, height, width, generator=generator).to(device)
    maps: dict[int, Tensor] = {}
    if adapter is not None:
        maps = _maps(denoiser, adapter, frame, text, height, width)
    depth = None
    if denoiser.control is not None:
        drawn = render_layers(Hands((frame,)), ("depth",), device=device)["depth"]
        depth = drawn[:, None].expand(2, 3, -1, -1).float()
    for time in scheduler.timesteps:
        times = torch.full((2,), int(time), device=device)
        with denoiser.adding(maps):
            without, with_ = denoiser.predict(latents.expand(2, -1, -1, -1), times, text, depth).chunk(2)
        found = scheduler.step(without + guidance * (with_ - without), int(time), latents, return_dict=False)
        latents = found[0]
    return base.pictures(latents.float())[0]


def _maps(
    denoiser: DiffusersDenoiser, adapter: HanDrawer, frame: Frame, text: Text, height: int, width: int
) -> dict[int, Tensor]:
    """The maps of the empty prompt's row and the caption's: the same hand, or none, as the adapter is meant for."""
    from ..hand.model import known_model

    model: Any = known_model(adapter.config.hand_model)
    device = denoiser.base.a.device
    inputs = hand_inputs(Hands((frame, frame)), model, adapter.config.raster, device)
    with cast(device, denoiser.dtype):
        maps = adapter.residuals(adapter.encode(inputs), height, width, text.context.float())
    if adapter.negative_hand == "none":
        for residual in maps.values():
            residual[0] = 0
    return maps
