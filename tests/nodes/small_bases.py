"""The same small UNet in diffusers and in the host, for parity: weights go through the host's own table of names."""

from __future__ import annotations

import copy
from typing import Any

import torch

from tests.adapter.small_unets import (  # also for whoever imports this module
    LAYOUTS,
    added_conditions,
    call,
    make_adapter,
    make_unet,
    write_adapter,
)

__all__ = [
    "LAYOUTS",
    "added_conditions",
    "call",
    "host_config",
    "make_adapter",
    "make_model",
    "make_unet",
    "write_adapter",
]


def host_config(base: str) -> dict[str, Any]:
    """Arguments of the host's UNetModel for LAYOUTS[base], as its own detection writes them for a full-size file."""
    layout = LAYOUTS[base]
    levels = range(len(layout.channels))
    depth = [layout.depths[i] * layout.attention[i] for i in levels]
    config: dict[str, Any] = {
        "image_size": 32,
        "in_channels": layout.input_channels,
        "out_channels": 4,
        "model_channels": layout.channels[0],
        "num_res_blocks": [2 for _ in levels],
        "channel_mult": [c // layout.channels[0] for c in layout.channels],
        "transformer_depth": [d for d in depth for _ in range(2)],
        "transformer_depth_output": [d for d in depth for _ in range(3)],
        "transformer_depth_middle": layout.depths[-1],
        "context_dim": layout.context,
        "use_spatial_transformer": True,
        "use_linear_in_transformer": layout.linear,
        "use_temporal_attention": False,
        "use_temporal_resblock": False,
        "legacy": False,
        "adm_in_channels": None,
    }
    if layout.sdxl:
        config |= {"num_classes": "sequential", "adm_in_channels": 2816}
    if len(set(layout.heads)) == 1:
        return config | {"num_heads": layout.heads[0], "num_head_channels": -1}
    return config | {"num_heads": -1, "num_head_channels": layout.channels[0] // layout.heads[0]}


def make_model(unet: Any, base: str) -> Any:
    """The host's MODEL (a ModelPatcher, float32, CPU) with the weights of `make_unet(base)`.

    Its class is the host's own for that base, so latent format, sampling and the inputs of SDXL and of inpainting
    models are what they are for the full-size files.
    """
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models
    import comfy.utils

    layout, config = LAYOUTS[base], host_config(base)
    known = comfy.supported_models
    parent = known.SDXL if layout.sdxl else known.SD20 if layout.linear else known.SD15
    kinds = comfy.model_base.ModelType
    kind = kinds.V_PREDICTION if layout.prediction == "v_prediction" else kinds.EPS
    heads = {name: config[name] for name in ("num_heads", "num_head_channels")}
    small = type("Small", (parent,), {"unet_extra_config": heads, "model_type": lambda self, *_args: kind})
    chosen = small(copy.deepcopy(config))
    chosen.set_inference_dtype(torch.float32, None)
    model = chosen.get_model({}, device=torch.device("cpu"))
    names = comfy.utils.unet_to_diffusers(config)
    weights = {names[name]: tensor.detach().clone() for name, tensor in unet.state_dict().items()}
    model.diffusion_model.load_state_dict(weights, strict=True)  # else the host goes on with uninitialised memory
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model.eval(), load_device=cpu, offload_device=cpu)
