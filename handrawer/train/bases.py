"""The frozen model that an adapter is trained for: UNet, VAE, text encoders, noise levels."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..adapter.unet import STRANGERS, UNetDescription, describe_diffusers
from ..mini.pipeline import WEIGHTS as MINI
from .config import BaseConfig
from .single_file import load_parts, load_vae, read_configs, read_weights
from .text import FolderTokens, TextEncoders

AT_ONCE = 2**20  # pixels that a GPU encodes together
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Base:
    """A frozen model.

    Attributes:
        name: what it was loaded from.
        unet, vae: of diffusers; the VAE is kept in float32.
        text: its text encoders.
        description: of the UNet.
        prediction: "epsilon" or "v_prediction".
        a, s: [T] float32, signal and noise of each time: x_t = a x0 + s n.
        scheduler: configuration of diffusers' scheduler.
    """

    name: str
    unet: Any
    vae: Any
    text: TextEncoders
    description: UNetDescription
    prediction: str
    a: Tensor
    s: Tensor
    scheduler: dict[str, Any]

    @property
    def networks(self) -> list[nn.Module]:
        return [self.unet, *([] if self.vae is None else [self.vae]), *self.text.encoders]

    @property
    def sdxl(self) -> bool:
        return self.text.sdxl

    def to(self, device: torch.device) -> Base:
        for network in self.networks:
            network.to(device)
        self.a, self.s = self.a.to(device), self.s.to(device)
        return self

    @torch.no_grad()
    def moments(self, pictures: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] in 0..1 to what latents are drawn from: [B, 8, h, w] mean and log variance (the mean
        alone of a VAE without variance, [B, 4, h, w]); one by one, on a GPU as many as have `AT_ONCE` pixels, which
        bounds the memory. A GPU computes in bfloat16 where the base does."""
        device, dtype = self.vae.device, self.vae.dtype
        short = device.type == "cuda" and self.unet.dtype == torch.bfloat16
        found = []
        at_once = max(1, AT_ONCE // pictures[0, 0].numel()) if device.type == "cuda" and len(pictures) else 1
        for picture in pictures.split(at_once):
            with torch.autocast(device.type, torch.bfloat16, short):
                encoded = self.vae.encode(picture.to(device, dtype) * 2 - 1)
            spread = getattr(encoded, "latent_dist", None)
            found.append(encoded.latents if spread is None else spread.parameters)
        return torch.cat(found).float()

    @torch.no_grad()
    def pictures(self, latents: Tensor) -> Tensor:
        """Latents [B, 4, h, w] to pictures [B, H, W, 3] in 0..1, on the CPU."""
        latents = (latents / float(self.vae.config.scaling_factor)).to(self.vae.device, self.vae.dtype)
        drawn = torch.cat([self.vae.decode(latent, return_dict=False)[0] for latent in latents.split(1)])
        return (drawn.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu()

    def latents(self, moments: Tensor, noise: Tensor) -> Tensor:
        """The latents that the UNet knows, [B, 4, h, w], of `moments` and standard normal noise of that shape."""
        factor = float(self.vae.config.scaling_factor)
        if moments.shape[1] == self.description.latent_channels:
            return moments * factor
        mean, variance = moments.chunk(2, 1)
        return (mean + noise * (0.5 * variance.clamp(-30, 20)).exp()) * factor


def checkpoint(network: Any) -> None:
    """Gradient checkpointing of a network of diffusers. Nothing in it is random, so no generator's state is kept,
    which a recorded step could not do."""
    from torch.utils.checkpoint import checkpoint as again

    network.enable_gradient_checkpointing(functools.partial(again, use_reentrant=False, preserve_rng_state=False))


def noise_levels(scheduler: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """a and s [T] float32 of a scheduler's configuration; ValueError for a schedule that is none of diffusers' DDPM."""
    start, end = scheduler["beta_start"], scheduler["beta_end"]
    times = scheduler.get("num_train_timesteps", 1000)
    kind = scheduler.get("beta_schedule", "linear")
    if kind == "scaled_linear":
        betas = torch.linspace(start**0.5, end**0.5, times, dtype=torch.float64) ** 2
    elif kind == "linear":
        betas = torch.linspace(start, end, times, dtype=torch.float64)
    else:
        raise ValueError(f"The base's noise schedule is '{kind}': scaled_linear and linear can be trained.")
    a = torch.cumprod(1 - betas, 0).sqrt()
    if scheduler.get("rescale_betas_zero_snr"):
        # Lin et al. 2023, arXiv 2305.08891, algorithm 1: shifted so that nothing of the picture is left at the end.
        a = (a - a[-1]) * a[0] / (a[0] - a[-1])
    return a.float(), (1 - a**2).clamp_min(0).sqrt().float()


def load_base(config: BaseConfig, precision: str, device: torch.device | str = "cpu") -> Base:
    """The frozen model of a configuration, on a device. ValueError or FileNotFoundError with a sentence."""
    path = MINI if config.path == "mini" else Path(config.path)
    if not path.exists():
        raise FileNotFoundError(f'There is no base model {path}: name a folder, a .safetensors file or "mini".')
    dtype = DTYPES[precision]
    own_vae = config.vae is None
    parts = _folder(path, dtype, own_vae) if path.is_dir() else load_parts(path, dtype, own_vae)
    if config.vae is not None:
        parts["vae"] = _vae(Path(config.vae), parts["sdxl"])
    scheduler = dict(parts["scheduler"])
    if config.prediction != "auto":
        scheduler["prediction_type"] = config.prediction
    prediction = scheduler.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "v_prediction"):
        raise ValueError(f"The base predicts '{prediction}': only epsilon and v_prediction can be trained.")
    a, s = noise_levels(scheduler)
    if prediction == "epsilon" and float(a[-1]) == 0:
        raise ValueError("Without any signal at the last time a base cannot predict epsilon: set 'base.prediction'.")
    description = describe_diffusers(parts["unet"], prediction)
    if description.name in STRANGERS:
        raise ValueError(f"{path.name} is {description.title}: choose SD1.x, SD2.x or SDXL.")
    if description.input_channels != description.latent_channels:
        raise ValueError(f"{path} is {description.title}: train on the base that it was made from.")
    text = TextEncoders(parts["text"], parts["sdxl"], config.clip_skip)
    for network in (parts["unet"], parts["vae"], *text.encoders):
        network.eval().requires_grad_(False)
    return Base(str(config.path), parts["unet"], parts["vae"], text, description, prediction, a, s, scheduler).to(
        torch.device(device)
    )


def _vae(path: Path, sdxl: bool) -> Any:
    if path.is_dir():
        return _folder_vae(path)
    return load_vae(read_weights(path), read_configs("sdxl" if sdxl else "sd15")["vae"])


def _folder_vae(folder: Path) -> Any:
    from diffusers import AutoencoderKL, AutoencoderTiny

    kind = _json(folder / "config.json").get("_class_name", "AutoencoderKL")
    vae = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}.get(kind)
    if vae is None:
        raise ValueError(f"{folder} holds a VAE of the kind {kind}: AutoencoderKL and AutoencoderTiny can be used.")
    return vae.from_pretrained(folder, local_files_only=True, low_cpu_mem_usage=False).float()


def _folder(folder: Path, dtype: torch.dtype, with_vae: bool) -> dict[str, Any]:
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    for part in ("unet", "text_encoder", "tokenizer", "scheduler", *(["vae"] if with_vae else [])):
        if not (folder / part).is_dir():
            raise FileNotFoundError(f"{folder} has no folder '{part}': give a whole model in diffusers layout.")
    try:
        # Without the option diffusers would ask for accelerate; with it a large UNet is held once.
        unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype, local_files_only=True,
                                                    low_cpu_mem_usage=_has_accelerate())  # fmt: skip
        encoders: list[Any] = [CLIPTextModel.from_pretrained(folder / "text_encoder", local_files_only=True)]
        tokens = [FolderTokens(folder / "tokenizer")]
        sdxl = (folder / "text_encoder_2").is_dir()
        if sdxl:
            second = CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder_2", local_files_only=True)
            encoders.append(second)
            tokens.append(FolderTokens(folder / "tokenizer_2"))
        vae = _folder_vae(folder / "vae") if with_vae else None
    except OSError as error:
        raise ValueError(f"{folder} cannot be read as a model in diffusers layout: {error}") from error
    scheduler = _json(folder / "scheduler" / "scheduler_config.json")
    text = [(token, encoder.to(dtype)) for token, encoder in zip(tokens, encoders, strict=True)]
    return {"unet": unet, "vae": vae, "text": text, "scheduler": scheduler, "sdxl": sdxl}


def _has_accelerate() -> bool:
    import importlib.util

    return importlib.util.find_spec("accelerate") is not None


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}): the model's folder is not whole.") from error


@torch.no_grad()
def weights_hash(network: nn.Module) -> str:
    """A name for a network's weights: equal weights in equal types have equal names."""
    found = hashlib.blake2b(digest_size=12)
    for name, tensor in sorted(network.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
