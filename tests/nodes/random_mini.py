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


def write_adapter(
    path: Path, folder: Path, *, trained: bool = True, negative_hand: str = "same", seed: int = 5
) -> Path:
    """An adapter for the model in `folder`: random throughout, or fresh (projections zero) if not `trained`.

    The projections are large enough for residuals of about the features' own size.
    """
    from diffusers import UNet2DConditionModel

    from handrawer.adapter.checkpoint import save
    from handrawer.adapter.handrawer import HanDrawer
    from handrawer.adapter.unet import describe_diffusers
    from handrawer.hand.model import load_open_hand

    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    torch.manual_seed(seed)
    description = describe_diffusers(unet, "v_prediction")
    adapter = HanDrawer.create(description, load_open_hand(), negative_hand=negative_hand)
    if trained:
        for name, parameter in adapter.named_parameters():
            if ".sites." in name:
                torch.nn.init.normal_(parameter, std=0.1)
    save(path, adapter, dtype=torch.float32)
    return path
