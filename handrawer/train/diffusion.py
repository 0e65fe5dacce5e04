"""Trains the small model's base and its HanDrawer adapter together, in one stage, beside a control base.

Two arms see the same samples, noise and steps, with the same losses:

* `guided`: text encoder, UNet and adapter, learned together. Hands are dropped in half of the samples, so the UNet is
  as well a base that works on text alone (there the poses have names, and captions say more); of the hands that stay,
  a share is given as box only (a control of the evaluation), text is dropped now and then for guidance.
* `control`: text encoder and UNet of equal size on text alone. What the base loses by sharing its capacity with the
  adapter is the difference between the two on text alone.

With `freeze` the base of `guided` stays as it is and the adapter learns alone, as on anybody's base model.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..adapter.handrawer import HanDrawer
from ..adapter.inputs import HandInputs
from ..adapter.unet import UNetDescription, describe_diffusers
from ..hand.model import HandModel
from ..mini.modules import SCHEDULER_CONFIG, make_text_encoder, make_tokenizer, make_unet, tokenize
from .data import Batch, Samples, batch_at, drop_text
from .graph import Graphed, Tensors
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
        cycles: how often the learning rate comes down from its peak (warm restarts, Loshchilov, Hutter 2017,
            arXiv 1608.03983); the end of each cycle gives usable weights.
        drop_hand: share of samples without a hand (residual exactly zero).
        box_only: share of the other samples whose adapter is given box and text alone.
        drop_text: share of samples with the empty prompt.
        hand_weight: weight of the hand reconstruction loss beside the denoising loss.
        floor: the least weight that a noise level counts with, see `losses.py`.
        say_all: least share of the samples without a hand whose caption says everything.
        control: whether to train the control base beside it.
        freeze: whether the base of `guided` stays as it is, and the adapter learns alone.
        compile: whether to compile the UNets' forward pass (took three minutes on an H100: for long runs).
        graph: whether a GPU replays the step as one CUDA graph (on the CPU it makes no difference).
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
    cycles: int = 1
    drop_hand: float = 0.5
    box_only: float = 0.12
    drop_text: float = 0.1
    hand_weight: float = 0.5
    floor: float = 0.0
    say_all: float = 0.5
    control: bool = True
    freeze: bool = False
    compile: bool = False
    graph: bool = False
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


def kept_hands(config: DiffusionConfig) -> int:
    """How many samples of a batch have a hand: the first ones, so that the adapter runs on them alone."""
    return round(config.batch * (1 - config.drop_hand))


def draw_chances(config: DiffusionConfig, shape: tuple[int, ...], kept: int, generator: torch.Generator) -> Tensors:
    """What is random in a step besides the choice of samples.

    Args:
        shape: of the latents, [B, C, h, w].
        kept: the first so many samples have a hand.
        generator: on the device of the result.

    Returns:
        `drop_text` [B] and `box_only` [kept] bool; `time` [B] int64, 0 to 999; `noise` [B, C, h, w].
    """
    device = generator.device
    u = torch.rand(2, shape[0], generator=generator, device=device)
    times = SCHEDULER_CONFIG["num_train_timesteps"]
    return {
        "drop_text": u[0] < config.drop_text,
        "box_only": (u[1] < config.box_only)[:kept],
        "time": torch.randint(times, shape[:1], generator=generator, device=device),
        "noise": torch.randn(shape, generator=generator, device=device),
    }


def batch_tensors(batch: Batch) -> Tensors:
    """A batch as named tensors; those of its hands' inputs carry the prefix `hand_`."""
    inputs = {f"hand_{f.name}": getattr(batch.drawn.inputs, f.name) for f in fields(HandInputs) if f.name != "alone"}
    return {"latents": batch.latents, "tokens": batch.tokens, "mask": batch.drawn.mask} | inputs


def hands_of(tensors: Tensors) -> HandInputs:
    """The hands' inputs in what `batch_tensors` gave; one hand a picture."""
    found = {name.removeprefix("hand_"): tensor for name, tensor in tensors.items() if name.startswith("hand_")}
    return HandInputs(**found, alone=True)


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
        self.guided.requires_grad_(not config.freeze)
        self.learning = [name for name in self.arms if not (name == "guided" and config.freeze)]
        for arm in self.arms.values():
            arm.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if config.compile:
            for base in (self.guided, self.control):
                if base is not None:
                    base.compile(dynamic=False)
        on_gpu = self.device.type == "cuda"
        self.optimizer = torch.optim.AdamW(
            self._groups(), lr=config.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=on_gpu
        )
        self.gradients = Graphed(self._gradients) if config.graph and on_gpu else self._gradients
        self.averages = {name: Average(arm, config.decay) for name, arm in self.arms.items()}
        self.clock = Clock(config.steps, config.minutes)
        self.step = 0
        self.a, self.s = noise_levels(self.device)
        tokenizer = make_tokenizer()
        self.empty = tokenize(tokenizer, [""])[0].to(self.device)

    def start_from(self, arms: dict[str, dict[str, Tensor]]) -> None:
        """Take over the weights of arms by name, as an earlier generation left them; its averages start there too."""
        for name, weights in arms.items():
            arm = self.arms[name]
            arm.load_state_dict(arm.state_dict() | weights)
            self.averages[name] = Average(arm, self.config.decay)

    def _groups(self) -> list[dict[str, Any]]:
        parameters = [p for arm in self.arms.values() for p in arm.parameters() if p.requires_grad]
        expected = sum(p.numel() for name in self.learning for p in self.arms[name].parameters())
        if sum(p.numel() for p in parameters) != expected:
            raise AssertionError("Every parameter of the arms that learn must be trained, and no other.")
        matrices = [p for p in parameters if p.ndim > 1]
        vectors = [p for p in parameters if p.ndim <= 1]
        return [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]

    def losses(self, tensors: Tensors) -> Tensors:
        """The losses of one batch by name; their sum is what is minimised.

        Args:
            tensors: of `batch_tensors` and of `draw_chances`.
        """
        config, clean, noise, time = self.config, tensors["latents"], tensors["noise"], tensors["time"]
        inputs = hands_of(tensors)
        kept, rest = inputs.pictures, len(clean) - inputs.pictures
        a, s = self.a[time], self.s[time]
        noisy = a[:, None, None, None] * clean + s[:, None, None, None] * noise
        noisy = noisy.contiguous(memory_format=torch.channels_last)
        tokens = drop_text(tensors["tokens"], tensors["drop_text"], self.empty)
        found: dict[str, Tensor] = {}

        def add(name: str, prediction: Tensor) -> None:
            error = clean_error(prediction.float(), clean, noise, a, s, "v_prediction")
            found[name] = denoising_loss(error, a, s, config.floor)
            found[name + "_hand"] = config.hand_weight * hand_loss(error, tensors["mask"], a, s, config.floor)

        with torch.autocast(self.device.type, torch.bfloat16):
            text = self.guided.encode(tokens)
            residuals = self.adapter.residuals(
                self.adapter.encode(inputs), clean.shape[-2], clean.shape[-1], text[:kept],
                drop_text=tensors["drop_text"][:kept], box_only=tensors["box_only"],
            )  # fmt: skip
            padded = {k: torch.cat([r, r.new_zeros(rest, *r.shape[1:])]) for k, r in residuals.items()}
            add("guided", self._denoise(self.guided, noisy, time, text, padded))
            if self.control is not None:
                control = self.control
                # Zeros rather than no residuals: the same compiled function then serves both.
                nothing = {k: torch.zeros_like(r) for k, r in padded.items()}
                add("control", self._denoise(control, noisy, time, control.encode(tokens), nothing))
        return found

    def _gradients(self, tensors: Tensors) -> Tensors:
        """The losses; their clipped gradients are in the parameters afterwards."""
        self.optimizer.zero_grad(set_to_none=True)
        losses = self.losses(tensors)
        torch.stack(list(losses.values())).sum().backward()
        # Each arm is clipped by itself, so that neither feels the other.
        for names in (("guided", "adapter"), ("control",)):
            parameters = [p for name in names if name in self.learning for p in self.arms[name].parameters()]
            if parameters:
                nn.utils.clip_grad_norm_(parameters, 1.0)
        return {name: loss.detach() for name, loss in losses.items()}

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
        kept = kept_hands(config)
        return batch_at(samples, self.step, config.batch, kept, self.model, config.seed, raster, config.say_all)

    def train_step(self, batch: Batch) -> Tensors:
        """One step of optimisation; gives the losses by name."""
        generator = step_generator(self.config.seed, self.step, self.device)
        progress = self.clock.progress(self.step) * self.config.cycles % 1.0
        rate = learning_rate(self.config.rate, self.step, progress, self.config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        chances = draw_chances(self.config, tuple(batch.latents.shape), batch.kept, generator)
        losses = self.gradients(batch_tensors(batch) | chances)
        self.optimizer.step()
        for name in self.learning:
            self.averages[name].update(self.arms[name], self.step)
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


__all__ = ["Base", "DiffusionConfig", "Trainer", "draw_chances", "kept_hands", "noise_levels"]
