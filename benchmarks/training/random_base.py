"""Full-size bases with random weights: in memory, as a checkpoint file, or as a folder in diffusers layout.

    python -m benchmarks.training.random_base sd15 /tmp/random.safetensors
    python -m benchmarks.training.random_base sd15 /tmp/random_folder

Matrices are N(0, 1 / fan in), norms 1, biases 0, so that no signal vanishes. They draw nothing that anybody would
want; they cost what the real ones cost. A file of SD1.5 has 2.1 GB.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.training.checkpoint_names import checkpoint
from handrawer.adapter.unet import describe_diffusers
from handrawer.train.bases import DTYPES, Base, noise_levels
from handrawer.train.single_file import read_configs
from handrawer.train.text import ClipTokens, TextEncoders


def fill(network: nn.Module, device: torch.device, dtype: torch.dtype, seed: int = 0) -> Any:
    """A network that was built on `meta`, with weights; frozen, in eval mode."""
    buffers = {name: torch.arange(buffer.shape[-1]).expand(buffer.shape) for name, buffer in network.named_buffers()}
    network = network.to(dtype).to_empty(device=device)
    generator = torch.Generator(device).manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
            else:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
        for name, buffer in network.named_buffers():
            buffer.copy_(buffers[name])  # CLIP's position_ids
    return network.eval().requires_grad_(False)


def networks(base: str, configs: dict[str, Any]) -> dict[str, nn.Module]:
    """The networks of a base without any weights."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    with torch.device("meta"):
        found: dict[str, nn.Module] = {"unet": UNet2DConditionModel(**configs["unet"])}
        found["vae"] = AutoencoderKL(**configs["vae"])
        found["text_encoder"] = CLIPTextModel(CLIPTextConfig(**configs["text_encoder"]))
        if base == "sdxl":
            found["text_encoder_2"] = CLIPTextModelWithProjection(CLIPTextConfig(**configs["text_encoder_2"]))
    return found


def make_base(base: str, precision: str, device: torch.device) -> Base:
    """A base in memory, made where it is used."""
    configs = read_configs(base)
    parts = networks(base, configs)
    made = {
        name: fill(part, device, torch.float32 if name == "vae" else DTYPES[precision]) for name, part in parts.items()
    }
    encoders = [made[name] for name in ("text_encoder", "text_encoder_2") if name in made]
    text = TextEncoders(
        [(ClipTokens(p), e) for p, e in zip(configs["text_pad"], encoders, strict=True)], base == "sdxl"
    )
    a, s = noise_levels(configs["scheduler"])
    description = describe_diffusers(made["unet"], "epsilon")
    return Base(
        f"random {base}", made["unet"], made["vae"], text, description, "epsilon", a.to(device), s.to(device),
        configs["scheduler"],
    )  # fmt: skip


def filled_networks(base: str, configs: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """The networks of a base with random weights, on the CPU."""
    return {name: fill(part, torch.device("cpu"), dtype) for name, part in networks(base, configs).items()}


def write_file(base: str, path: Path, filled: dict[str, Any] | None = None, configs: Any = None) -> Path:
    """A checkpoint file, as canvas users have it; of `filled_networks`, or of full size in half precision."""
    from safetensors.torch import save_file

    configs = configs or read_configs(base)
    filled = filled or filled_networks(base, configs, torch.float16)
    text = [filled[name].state_dict() for name in ("text_encoder", "text_encoder_2") if name in filled]
    weights = checkpoint(filled["unet"].state_dict(), filled["vae"].state_dict(), text, base, configs)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)
    return path


def write_folder(base: str, folder: Path, dtype: torch.dtype = torch.float16) -> Path:
    """A folder in diffusers layout (SD1.x and SD2.x), without a tokenizer's files of its own: it gets CLIP's."""
    import json

    from handrawer.train.text import clip_vocabulary

    configs = read_configs(base)
    for name, part in networks(base, configs).items():
        filled = fill(part, torch.device("cpu"), dtype)
        filled.save_pretrained(folder / name)
        del filled
        gc.collect()
    (folder / "scheduler").mkdir(parents=True, exist_ok=True)
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(configs["scheduler"]))
    (folder / "tokenizer").mkdir(exist_ok=True)
    vocabulary, merges = clip_vocabulary()
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(vocabulary))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "tokenizer" / "merges.txt").write_text("\n".join(lines) + "\n")
    return folder


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("sd15", "sd21", "sdxl"):
        sys.exit(__doc__)
    target = Path(sys.argv[2])
    print(write_file(sys.argv[1], target) if target.suffix == ".safetensors" else write_folder(sys.argv[1], target))
