"""LoRA and ControlNet files with random weights for any of the host's UNets, for graphs that have all of them."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor


def random_weights(shapes: dict[str, torch.Size], seed: int) -> dict[str, Tensor]:
    """Matrices N(0, 1 / fan in), vectors 1 where they scale and 0 where they shift."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in shapes.items():
        if len(shape) > 1:
            fan_in = shape[1:].numel()
            found[name] = torch.randn(shape, generator=generator) / fan_in**0.5
        else:
            found[name] = torch.full(shape, float(name.endswith("weight")))
    return found


def write_lora(path: Path, model, rank: int = 2, seed: int = 0) -> Path:
    """A LoRA for the attention of a MODEL's UNet, in the generic naming."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, weight in model.model.diffusion_model.state_dict().items():
        if name.endswith(("attn1.to_v.weight", "attn2.to_k.weight")):
            key = f"diffusion_model.{name.removesuffix('.weight')}"
            tensors[f"{key}.lora_up.weight"] = torch.randn(weight.shape[0], rank, generator=generator) * 0.3
            tensors[f"{key}.lora_down.weight"] = torch.randn(rank, weight.shape[1], generator=generator) * 0.3
    assert tensors
    save_file(tensors, path)
    return path


def make_controlnet(unet_config: dict, seed: int = 0):
    """The host's ControlNet module for a UNet's arguments, random throughout."""
    import comfy.cldm.cldm
    import comfy.ops

    config = {name: list(value) if isinstance(value, list) else value for name, value in unet_config.items()}
    for name in ("out_channels", "transformer_depth_output"):
        config.pop(name)
    config |= {"hint_channels": 3, "dtype": torch.float32, "device": "cpu", "operations": comfy.ops.disable_weight_init}
    module = comfy.cldm.cldm.ControlNet(**config)
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    module.load_state_dict(random_weights(shapes, seed))
    return module.eval()


def write_controlnet(path: Path, unet_config: dict, seed: int = 0) -> Path:
    """A ControlNet file in the naming of the first ControlNets, which the host's loader takes for any UNet."""
    save_file(
        {name: tensor.contiguous() for name, tensor in make_controlnet(unet_config, seed).state_dict().items()}, path
    )
    return path
