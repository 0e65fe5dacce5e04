"""A checkpoint file as canvas users have it (one `.safetensors`) to diffusers' and transformers' networks.

Never asks a hub for anything: the configurations of the three bases come with the project.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .text import ClipTokens, TextEncoders

CONFIGS = Path(__file__).with_name("base_configs")
UNET = "model.diffusion_model."
TEXT_WIDTHS = {768: "sd15", 1024: "sd21", 2048: "sdxl"}
PREFIXES = {
    "sd15": ("cond_stage_model.transformer.",),
    "sd21": ("cond_stage_model.model.",),
    "sdxl": ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."),
}


def read_weights(path: Path) -> dict[str, Tensor]:
    """All tensors of a `.safetensors` file; ValueError with a sentence."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix != ".safetensors":
        raise ValueError(f"{path.name} is no .safetensors file; HanDrawer opens no pickles (.ckpt, .pt, .bin).")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged or no safetensors file ({error}): get it again.") from error


def recognise(weights: dict[str, Tensor], file: str) -> str:
    """ "sd15", "sd21" or "sdxl" by the shapes of the UNet in a file; ValueError for anything else."""
    if not any(name.startswith(UNET) for name in weights):
        raise ValueError(
            f"{file} holds no UNet of Stable Diffusion: give a whole checkpoint (UNet, text encoder, VAE) of SD1.x, "
            "SD2.x or SDXL, or a folder in diffusers layout."
        )
    width = next((t.shape[1] for n, t in weights.items() if n.startswith(UNET) and n.endswith("attn2.to_k.weight")), 0)
    first = weights[f"{UNET}input_blocks.0.0.weight"]
    if width not in TEXT_WIDTHS:
        raise ValueError(f"{file} is none of SD1.x, SD2.x and SDXL (text of width {width}): choose one of those.")
    if first.shape[1] != 4:
        raise ValueError(
            f"{file} is an inpainting model ({first.shape[1]} input channels): train on the base that it was made "
            "from; the adapter then fits both."
        )
    return TEXT_WIDTHS[width]


def predicts(weights: dict[str, Tensor], base: str) -> tuple[str, bool]:
    """What a file's UNet predicts, and whether its last noise level has no signal left.

    SDXL files say it by keys of their own (`v_pred`, `ztsnr`), as ComfyUI reads them. SD2.x files do not say it; the
    v-prediction ones have biases of another spread in one norm, which ComfyUI goes by, too.
    """
    if base == "sdxl":
        return ("v_prediction", "ztsnr" in weights) if "v_pred" in weights else ("epsilon", False)
    bias = weights.get(f"{UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias")
    told = base == "sd21" and bias is not None and float(bias.float().std(unbiased=False)) > 0.09
    return ("v_prediction" if told else "epsilon"), False


def fill(build: Any, weights: dict[str, Tensor], dtype: torch.dtype, what: str) -> Any:
    """A network without ever holding it twice: built without memory, then given these weights in `dtype`."""
    with torch.device("meta"):
        network: nn.Module = build()
    wanted = network.state_dict()
    if missing := sorted(wanted.keys() - weights.keys()):
        raise ValueError(
            f"The {what} lacks {missing[0]!r} ({len(missing)} of {len(wanted)} weights): give a whole checkpoint."
        )
    if wrong := [name for name in wanted if weights[name].shape != wanted[name].shape]:
        raise ValueError(f"The {what} is of another shape at {wrong[0]!r}: the file is no plain SD1.x, SD2.x or SDXL.")
    network.load_state_dict({name: weights[name].to(dtype) for name in wanted}, assign=True)
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_meta:  # CLIP's position_ids, which no file holds
                module.register_buffer(name, torch.arange(buffer.shape[-1]).expand(buffer.shape), persistent=False)
    return network.eval().requires_grad_(False)


def load_unet(weights: dict[str, Tensor], config: dict[str, Any], dtype: torch.dtype) -> Any:
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    return fill(lambda: UNet2DConditionModel(**config), convert_ldm_unet_checkpoint(weights, config), dtype, "UNet")


def load_vae(weights: dict[str, Tensor], config: dict[str, Any], dtype: torch.dtype = torch.float32) -> Any:
    """An AutoencoderKL out of a whole checkpoint, or of a file of its own."""
    from diffusers import AutoencoderKL
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    named = {name: tensor for name, tensor in weights.items() if name.startswith("first_stage_model.")}
    if not named and "encoder.conv_in.weight" in weights:
        named = {f"first_stage_model.{name}": tensor for name, tensor in weights.items()}
    if not named:
        raise ValueError("The checkpoint has no VAE in it: name one with 'base.vae'.")
    return fill(lambda: AutoencoderKL(**config), convert_ldm_vae_checkpoint(named, config), dtype, "VAE")


def load_text(weights: dict[str, Tensor], base: str, configs: dict[str, Any], dtype: torch.dtype) -> list[Any]:
    """The text encoders of a checkpoint, of transformers."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    found = []
    for place, prefix in enumerate(PREFIXES[base]):
        name = "text_encoder" if place == 0 else "text_encoder_2"
        config = CLIPTextConfig(**configs[name])
        kind = CLIPTextModel if place == 0 else CLIPTextModelWithProjection
        named = _text_weights(weights, prefix, config)
        if not named:
            raise ValueError("The checkpoint has no text encoder in it: give a whole one (UNet, text encoder, VAE).")
        with torch.device("meta"):
            wrapped = any(key.startswith("text_model.") for key in kind(config).state_dict())
        plain = {key.removeprefix("text_model."): tensor for key, tensor in named.items()}
        if wrapped:
            plain = {key if key.startswith("text_proj") else f"text_model.{key}": t for key, t in plain.items()}
        found.append(fill(lambda kind=kind, config=config: kind(config), plain, dtype, "text encoder"))
    return found


def _text_weights(weights: dict[str, Tensor], prefix: str, config: Any) -> dict[str, Tensor]:
    if not prefix.endswith(".model."):
        return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
    from types import SimpleNamespace

    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

    return convert_open_clip_checkpoint(SimpleNamespace(config=config), weights, prefix=prefix)


def read_configs(base: str) -> dict[str, Any]:
    """The configurations that come with the project, by part."""
    return json.loads((CONFIGS / f"{base}.json").read_text(encoding="utf-8"))


def load_parts(path: Path, dtype: torch.dtype, vae: bool = True) -> dict[str, Any]:
    """unet, vae (None if not wanted), text encoders and scheduler configuration of a checkpoint file."""
    weights = read_weights(path)
    base = recognise(weights, path.name)
    configs = read_configs(base)
    kind, zero = predicts(weights, base)
    scheduler = {**configs["scheduler"], "prediction_type": kind, "rescale_betas_zero_snr": zero}
    parts: dict[str, Any] = {"scheduler": scheduler, "sdxl": base == "sdxl"}
    # The largest part last, so that what has been converted of the others is gone by then.
    encoders = load_text(weights, base, configs, dtype)
    tokens = [ClipTokens(pad) for pad in configs["text_pad"]]
    parts["text"] = list(zip(tokens, encoders, strict=True))
    parts["vae"] = load_vae(weights, configs["vae"]) if vae else None
    unet = {name: weights.pop(name) for name in list(weights) if name.startswith(UNET)}
    weights.clear()
    parts["unet"] = load_unet(unet, configs["unet"], dtype)
    return parts


__all__ = ["TextEncoders", "load_parts", "load_vae", "read_configs", "read_weights", "recognise"]
