"""Loads the small model from its folder and samples pictures with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..hand.hands import Frame, Hand, Hands
from .captions import BACKGROUNDS, LIGHTS, SKINS, Caption
from .modules import LATENT_SIZE, PICTURE_SIZE, tokenize

WEIGHTS = Path(__file__).with_name("weights")
ADAPTER_FILE = "handrawer.safetensors"
_MISSING = (
    "The small model's weights are missing or damaged ({what}): install HanDrawer again, or copy the folder "
    "handrawer/mini/weights from the repository."
)


def default_prompt(hand: Hand | None = None) -> str:
    """A prompt that says the hand's side and nothing of its pose."""
    side = hand.side if hand is not None else "right"
    return f"a {side} hand, {SKINS[1]} skin, bare arm, {BACKGROUNDS[0]} background, {LIGHTS[0]} light"


@dataclass
class MiniPipeline:
    """The small model, in eval mode and float32.

    Attributes:
        unet, vae, text_encoder, tokenizer, scheduler: of diffusers and transformers.
        adapter: its HanDrawer.
    """

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any
    adapter: Any

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    def to(self, device: torch.device | str) -> MiniPipeline:
        """Move everything; returns itself."""
        for part in (self.unet, self.vae, self.text_encoder, self.adapter):
            if part is not None:
                part.to(device)
        return self

    default_prompt = staticmethod(default_prompt)

    @torch.no_grad()
    def encode_text(self, prompts: list[str]) -> Tensor:
        """Prompts to text features [B, 77, D]."""
        return self.text_encoder(tokenize(self.tokenizer, prompts).to(self.device)).last_hidden_state

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, 4, h, w] to pictures [B, 8h, 8w, 3] in 0..1."""
        latents = latents / self.vae.config.scaling_factor
        pictures = torch.cat([self.vae.decode(part).sample for part in latents.split(8)])
        return (pictures.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures [B, H, W, 3] in 0..1 to latents [B, 4, H/8, W/8]."""
        latents = self.vae.encode(pictures.permute(0, 3, 1, 2).to(self.device) * 2 - 1).latents
        return latents * self.vae.config.scaling_factor

    @torch.no_grad()
    def residuals(self, hands: Hands | None, inputs: Any, text: Tensor, size: tuple[int, int], **options: Any):
        """The adapter's residuals for one row of text per picture, or None without hands."""
        from ..adapter.inputs import hand_inputs
        from ..hand.model import load_open_hand

        if inputs is None:
            if hands is None or not any(frame.hands for frame in hands.frames):
                return None
            inputs = hand_inputs(hands, load_open_hand(), self.adapter.config.raster)
        tokens = self.adapter.encode(inputs.to(self.device))
        return self.adapter.residuals(tokens, size[0], size[1], text, **options)

    @torch.no_grad()
    def sample(
        self,
        prompts: list[str],
        hands: Hands | None = None,
        seeds: list[int] | None = None,
        *,
        steps: int = 20,
        guidance: float = 4.0,
        strength: float = 1.0,
        negative: str = "",
        negative_hand: str | None = None,
        inputs: Any = None,
        residual_options: dict[str, Any] | None = None,
        size: tuple[int, int] = (PICTURE_SIZE, PICTURE_SIZE),
        progress: Callable[[int, int], None] | None = None,
        as_latents: bool = False,
    ) -> Tensor:
        """Draw pictures.

        Args:
            prompts: one for each picture.
            hands: a frame for each picture (repeated cyclically), or None for text alone.
            seeds: one for each picture; the noise of a picture depends on its seed alone.
            steps: of DDIM.
            guidance: classifier-free guidance; 1 runs no negative rows.
            strength: factor on the adapter's residuals.
            negative: the negative prompt.
            negative_hand: "same" or "none", what the negative rows get; None takes what the checkpoint says.
            inputs: HandInputs instead of `hands`.
            residual_options: further arguments of `HanDrawer.residuals` (the evaluation's controls).
            size: height and width in pixels, multiples of 8.
            progress: called with (step, steps).
            as_latents: whether to leave out the VAE.

        Returns:
            [B, height, width, 3] float32 in 0..1, on the CPU; latents [B, 4, height / 8, width / 8] if asked for.
        """
        from ..adapter.hooks import apply_residuals
        from ..adapter.unet import describe_diffusers

        count = len(prompts)
        seeds = seeds if seeds is not None else list(range(count))
        if len(seeds) != count:
            raise ValueError(f"{count} prompts need {count} seeds, not {len(seeds)}.")
        if hands is not None:
            hands = hands.for_batch(count)[0]
        latents = torch.stack([self._noise(seed, size) for seed in seeds]).to(self.device)
        text = self.encode_text(prompts)
        grid = (size[0] // 8, size[1] // 8)
        rule = negative_hand or getattr(self.adapter, "negative_hand", "none")
        guided = guidance != 1.0
        residuals = self.residuals(hands, inputs, text, grid, **(residual_options or {})) if strength else None
        rows: list[int] | None = None
        if guided:
            unconditional = self.encode_text([negative] * count)
            if residuals is not None and rule == "same":
                other = self.residuals(hands, inputs, unconditional, grid, **(residual_options or {})) or {}
                residuals = {block: torch.cat([other[block], value]) for block, value in residuals.items()}
            elif residuals is not None:
                rows = [-1] * count + list(range(count))
            text = torch.cat([unconditional, text])
        description = describe_diffusers(self.unet, "v_prediction")
        self.scheduler.set_timesteps(steps)
        for i, time in enumerate(self.scheduler.timesteps):
            doubled = torch.cat([latents, latents]) if guided else latents
            times = torch.full((len(doubled),), int(time), device=self.device)
            with apply_residuals(self.unet, description, residuals or {}, rows, strength):
                predicted = self.unet(doubled, times, text, return_dict=False)[0]
            if guided:
                without, with_ = predicted.chunk(2)
                predicted = without + guidance * (with_ - without)
            latents = self.scheduler.step(predicted, time, latents, return_dict=False)[0]
            if progress is not None:
                progress(i + 1, steps)
        return latents.float().cpu() if as_latents else self.decode(latents).cpu()

    def _noise(self, seed: int, size: tuple[int, int]) -> Tensor:
        generator = torch.Generator("cpu").manual_seed(seed)
        return torch.randn(4, size[0] // 8, size[1] // 8, generator=generator)


def load_mini(folder: str | Path = WEIGHTS, device: torch.device | str = "cpu") -> MiniPipeline:
    """The small model from a folder in diffusers layout with `handrawer.safetensors` beside it.

    Raises:
        FileNotFoundError, ValueError: one sentence, where a file is missing or damaged.
    """
    from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, PreTrainedTokenizerFast

    from ..adapter.checkpoint import load

    folder = Path(folder)
    for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler", ADAPTER_FILE):
        if not (folder / part).exists():
            raise FileNotFoundError(_MISSING.format(what=part))

    def read(kind: Any, part: str, **options: Any) -> Any:
        try:
            return kind.from_pretrained(folder / part, local_files_only=True, **options)
        except Exception as error:  # the libraries raise many kinds; all mean that the folder cannot be read
            raise ValueError(_MISSING.format(what=f"{part}: {error}")) from error

    pipe = MiniPipeline(
        # Without the option diffusers would ask for accelerate, which pays for large models only.
        unet=read(UNet2DConditionModel, "unet", low_cpu_mem_usage=False).float().eval(),
        vae=read(AutoencoderTiny, "vae", low_cpu_mem_usage=False).float().eval(),
        text_encoder=read(CLIPTextModel, "text_encoder").float().eval(),
        tokenizer=read(PreTrainedTokenizerFast, "tokenizer"),
        scheduler=read(DDIMScheduler, "scheduler"),
        adapter=load(folder / ADAPTER_FILE).float().eval(),
    )
    return pipe.to(device)


__all__ = ["LATENT_SIZE", "Caption", "Frame", "MiniPipeline", "default_prompt", "load_mini"]
