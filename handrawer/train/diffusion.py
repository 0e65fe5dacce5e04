"""Trains the small model's base and its HanDrawer adapter together, in one stage, beside a control base.

Two arms see the same samples, noise and steps, with the same losses:

* `guided`: text encoder, UNet and adapter, learned together. Hands are dropped in half of the samples, so the UNet is
  as well a base that works on text alone (there the poses have names, and captions say more); of the hands that stay,
  a share is given as box only (a control of the evaluation), text is dropped now and then for guidance.
* `control`: text encoder and UNet of equal size on text alone. What the base loses by sharing its capacity with the
  adapter is the difference between the two on text alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..adapter.handrawer import HanDrawer
from ..adapter.unet import UNetDescription, describe_diffusers
from ..hand.model import HandModel
from ..mini.modules import SCHEDULER_CONFIG, make_text_encoder, make_tokenizer, make_unet, tokenize
from .data import Batch, Samples, batch_at, drop_text
from .losses import clean_error, denoising_loss, hand_loss
from .state import Average, Clock, learning_rate, load_state, save_state, step_generator, stop_on_nan

log = logging.getLogger("handrawer")
SAVE_SECONDS = 120


@dataclass(frozen=True)
class DiffusionConfig:
    """Settings of the joint training.

    Attributes:
        seed: of weights, batches, noise and drops.
        batch: samples a step.
        steps, minutes: the end, whichever comes first; either may be None.
        rate, warmup, decay: peak learning rate, warm-up steps, decay of the averaged weights.
        drop_hand: share of samples without a hand (residual exactly zero).
        box_only: share of the other samples whose adapter is given box and text alone.
        drop_text: share of samples with the empty prompt.
        hand_weight: weight of the hand reconstruction loss beside the denoising loss.
        control: whether to train the control base beside it.
        compile: whether to compile the UNets' forward pass (took three minutes on an H100: for long runs).
        cast: whether the UNets run on bfloat16 copies of their weights instead of under autocast, which norms in
            float32: nearly twice as fast on a GPU. The weights that are learned stay float32.
    """

    seed: int = 2
    batch: int = 256
    steps: int | None = None
    minutes: float | None = None
    rate: float = 6e-4
    warmup: int = 300
    decay: float = 0.9995
    drop_hand: float = 0.5
    box_only: float = 0.12
    drop_text: float = 0.1
    hand_weight: float = 0.5
    control: bool = True
    compile: bool = False
    cast: bool = False


class Base(nn.Module):
    """Text encoder and UNet of the small model."""

    def __init__(self) -> None:
        super().__init__()
        self.text = make_text_encoder()
        self.unet = make_unet()

    def encode(self, tokens: Tensor) -> Tensor:
        """Token ids [B, 77] to text features [B, 77, D]."""
        return self.text(tokens).last_hidden_state

    def forward(self, noisy: Tensor, time: Tensor, text: Tensor, residuals: dict[int, Tensor]) -> Tensor:
        """v of latents [B, 4, h, w] at times [B] int64; residuals are added to the encoder's blocks by number."""
        return denoise(self.unet, noisy, time, text, residuals)


def denoise(unet: Any, noisy: Tensor, time: Tensor, text: Tensor, residuals: dict[int, Tensor]) -> Tensor:
    """The forward pass of a UNet2DConditionModel with residuals added to its encoder's blocks.

    The same function as `apply_residuals` makes with hooks (a test compares them), but without hooks, which
    torch.compile would compile anew at every step.
    """
    embedding = unet.time_embedding(unet.time_proj(time).to(noisy.dtype))
    skips: list[Tensor] = []

    def keep(h: Tensor) -> Tensor:
        h = h + residuals[len(skips)].to(h.dtype) if len(skips) in residuals else h
        skips.append(h)
        return h

    h = keep(unet.conv_in(noisy))
    for block in unet.down_blocks:
        attentions = getattr(block, "attentions", [None] * len(block.resnets))
        for resnet, attention in zip(block.resnets, attentions, strict=True):
            h = resnet(h, embedding)
            h = keep(h if attention is None else attention(h, encoder_hidden_states=text, return_dict=False)[0])
        for downsampler in block.downsamplers or []:
            h = keep(downsampler(h))
    h = unet.mid_block(h, embedding, encoder_hidden_states=text)
    for block in unet.up_blocks:
        count = len(block.resnets)
        taken, skips = tuple(skips[-count:]), skips[:-count]
        size = skips[-1].shape[2:] if skips else None  # odd grids do not double exactly
        more = {"encoder_hidden_states": text} if hasattr(block, "attentions") else {}
        h = block(hidden_states=h, temb=embedding, res_hidden_states_tuple=taken, upsample_size=size, **more)
    return unet.conv_out(unet.conv_act(unet.conv_norm_out(h)))


def noise_levels(device: torch.device | str) -> tuple[Tensor, Tensor]:
    """a and s of each of the 1000 times, [1000] float32 each (Stable Diffusion's scaled-linear betas)."""
    c = SCHEDULER_CONFIG
    betas = torch.linspace(c["beta_start"] ** 0.5, c["beta_end"] ** 0.5, c["num_train_timesteps"], dtype=torch.float64)
    kept = torch.cumprod(1 - betas**2, 0)
    return kept.sqrt().to(device, torch.float32), (1 - kept).sqrt().to(device, torch.float32)


@dataclass(frozen=True)
class Drops:
    """What each sample goes without.

    Attributes:
        text: [B] bool.
        box_only: [kept] bool.
    """

    text: Tensor
    box_only: Tensor


def kept_hands(config: DiffusionConfig) -> int:
    """How many samples of a batch have a hand: the first ones, so that the adapter runs on them alone."""
    return round(config.batch * (1 - config.drop_hand))


def draw_drops(
    config: DiffusionConfig, count: int, kept: int, generator: torch.Generator, device: torch.device
) -> Drops:
    """What is dropped of `count` samples, the first `kept` of which have a hand."""
    u = torch.rand(2, count, generator=generator, device=device)
    return Drops(u[0] < config.drop_text, (u[1] < config.box_only)[:kept])


class Trainer:
    """The joint run: networks, optimiser, averages, exact resume."""

    def __init__(self, config: DiffusionConfig, model: HandModel) -> None:
        self.config, self.model = config, model
        self.device = model.template.device
        torch.manual_seed(config.seed)
        self.guided = Base().to(self.device)
        self.description: UNetDescription = describe_diffusers(self.guided.unet, "v_prediction")
        self.adapter = HanDrawer.create(self.description, model.to("cpu")).to(self.device)
        self.arms: dict[str, nn.Module] = {"guided": self.guided, "adapter": self.adapter}
        self.control: Base | None = None
        if config.control:
            torch.manual_seed(config.seed)  # the control starts from the same weights
            self.control = Base().to(self.device)
            self.arms["control"] = self.control
        for arm in self.arms.values():
            arm.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if config.compile:
            for base in (self.guided, self.control):
                if base is not None:
                    base.compile(dynamic=False)
        self.optimizer = torch.optim.AdamW(self._groups(), lr=config.rate, betas=(0.9, 0.99), weight_decay=0.01)
        self.averages = {name: Average(arm, config.decay) for name, arm in self.arms.items()}
        self.clock = Clock(config.steps, config.minutes)
        self.step = 0
        self.a, self.s = noise_levels(self.device)
        tokenizer = make_tokenizer()
        self.empty = tokenize(tokenizer, [""])[0].to(self.device)

    def _groups(self) -> list[dict[str, Any]]:
        parameters = [p for arm in self.arms.values() for p in arm.parameters() if p.requires_grad]
        expected = sum(p.numel() for arm in self.arms.values() for p in arm.parameters())
        if sum(p.numel() for p in parameters) != expected:
            raise AssertionError("Every parameter of both arms must be trained.")
        matrices = [p for p in parameters if p.ndim > 1]
        vectors = [p for p in parameters if p.ndim <= 1]
        return [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The losses of one batch by name; their sum is what is minimised."""
        config, count = self.config, len(batch.latents)
        drops = draw_drops(config, count, batch.kept, generator, self.device)
        time = torch.randint(len(self.a), (count,), generator=generator, device=self.device)
        noise = torch.randn(batch.latents.shape, generator=generator, device=self.device)
        a, s = self.a[time], self.s[time]
        noisy = a[:, None, None, None] * batch.latents + s[:, None, None, None] * noise
        noisy = noisy.contiguous(memory_format=torch.channels_last)
        tokens = drop_text(batch.tokens, drops.text, self.empty)
        inputs, mask = batch.drawn.inputs, batch.drawn.mask
        height, width = batch.latents.shape[-2:]
        found: dict[str, Tensor] = {}

        def add(name: str, prediction: Tensor) -> None:
            error = clean_error(prediction.float(), batch.latents, noise, a, s, "v_prediction")
            found[name] = denoising_loss(error, a, s)
            found[name + "_hand"] = config.hand_weight * hand_loss(error, mask, a, s)

        with torch.autocast(self.device.type, torch.bfloat16):
            text = self.guided.encode(tokens)
            residuals = self.adapter.residuals(
                self.adapter.encode(inputs), height, width, text[: batch.kept],
                drop_text=drops.text[: batch.kept], box_only=drops.box_only,
            )  # fmt: skip
            rest = count - batch.kept
            padded = {k: torch.cat([r, r.new_zeros(rest, *r.shape[1:])]) for k, r in residuals.items()}
            add("guided", self._denoise(self.guided, noisy, time, text, padded))
            if self.control is not None:
                control = self.control
                # Zeros rather than no residuals: the same compiled function then serves both.
                nothing = {k: torch.zeros_like(r) for k, r in padded.items()}
                add("control", self._denoise(control, noisy, time, control.encode(tokens), nothing))
        return found

    def _denoise(self, base: Base, noisy: Tensor, time: Tensor, text: Tensor, residuals: dict[int, Tensor]) -> Tensor:
        if not self.config.cast:
            return base(noisy, time, text, residuals)
        low = {k: v.to(torch.bfloat16) for k, v in base.state_dict(keep_vars=True).items() if k.startswith("unet.")}
        inputs = (noisy.to(torch.bfloat16), time, text.to(torch.bfloat16), residuals)
        with torch.autocast(self.device.type, enabled=False):
            return torch.func.functional_call(base, low, inputs)

    def batch(self, samples: Samples) -> Batch:
        """The batch of the step that comes next."""
        config = self.config
        raster = self.adapter.config.raster
        return batch_at(samples, self.step, config.batch, kept_hands(config), self.model, config.seed, raster)

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        """One step of optimisation."""
        generator = step_generator(self.config.seed, self.step, self.device)
        rate = learning_rate(self.config.rate, self.step, self.clock.progress(self.step), self.config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        losses = self.losses(batch, generator)
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        # Each arm is clipped by itself, so that neither feels the other.
        for names in (("guided", "adapter"), ("control",)):
            parameters = [p for name in names if name in self.arms for p in self.arms[name].parameters()]
            if parameters:
                nn.utils.clip_grad_norm_(parameters, 1.0)
        self.optimizer.step()
        for name, arm in self.arms.items():
            self.averages[name].update(arm, self.step)
        self.step += 1
        return losses

    def save(self, path: Path) -> None:
        """Everything that an exact resume needs."""
        state = {"arms": {k: v.state_dict() for k, v in self.arms.items()}, "optimizer": self.optimizer.state_dict()}
        state |= {"averages": {k: v.values for k, v in self.averages.items()}}
        save_state(path, state | {"step": self.step, "seconds": self.clock.seconds()})

    def resume(self, path: Path) -> bool:
        """Go on from `save`; False where there is no such file."""
        state = load_state(path, self.device)
        if state is None:
            return False
        for name, arm in self.arms.items():
            arm.load_state_dict(state["arms"][name])
            self.averages[name].values = state["averages"][name]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.clock.used = state["step"], state["seconds"]
        return True

    def run(
        self,
        samples: Samples,
        folder: Path,
        progress: Callable[[str], None] = log.info,
        on_save: Callable[[Trainer], None] | None = None,
    ) -> None:
        """Train until the clock has run out, saving to `folder/diffusion.pt` now and then; `on_save` is told."""
        path = folder / "diffusion.pt"
        if self.resume(path):
            progress(f"resumed at step {self.step}")
        saved = self.clock.seconds()
        while self.clock.progress(self.step) < 1:
            losses = self.train_step(self.batch(samples))
            if self.step % 100 == 0 or self.step < 4:
                values = {name: stop_on_nan(value, self.step) for name, value in losses.items()}
                shown = " ".join(f"{name} {value:.4f}" for name, value in values.items())
                seen = self.step * self.config.batch
                progress(f"step {self.step} samples {seen} {shown} seconds {self.clock.seconds():.0f}")
            if self.clock.seconds() - saved > SAVE_SECONDS:
                self.save(path)
                if on_save is not None:
                    on_save(self)
                saved = self.clock.seconds()
        self.save(path)

    def averaged(self, name: str) -> nn.Module:
        """The arm with its averaged weights loaded, ready for sampling."""
        arm = self.averages[name].into(self.arms[name])
        return arm.eval()


__all__ = ["Base", "DiffusionConfig", "Drops", "Trainer", "draw_drops", "kept_hands", "noise_levels"]
