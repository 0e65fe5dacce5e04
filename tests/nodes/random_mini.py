"""Random weights in the small model's layout, for tests of what happens to any weights."""

from pathlib import Path

import torch
from torch import nn


def fill(module: nn.Module, seed: int) -> None:
    """Matrices N(0, 1 / fan in), norms about 1, biases small: signals neither vanish nor explode."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            value = noise / parameter[0].numel() ** 0.5
        else:
            value = noise * 0.1 + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
        with torch.no_grad():
            parameter.copy_(value)


def write_mini(folder: Path, seed: int = 0) -> Path:
    """A whole small model with random weights, as diffusers and transformers write it."""
    from diffusers import DDIMScheduler

    from handrawer.mini import modules

    for name, make in (
        ("unet", modules.make_unet),
        ("vae", modules.make_vae),
        ("text_encoder", modules.make_text_encoder),
    ):
        module = make()
        fill(module, seed)
        module.save_pretrained(folder / name)
    modules.make_tokenizer().save_pretrained(folder / "tokenizer")
    DDIMScheduler(**modules.SCHEDULER_CONFIG).save_pretrained(folder / "scheduler")
    return folder
