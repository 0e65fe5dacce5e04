"""Models of other kinds than HanDrawer steers, tiny, of the host's own classes: what people connect by mistake."""

import inspect
from typing import Any

import torch

_FLUX: dict[str, Any] = {
    "image_model": "flux", "in_channels": 16, "out_channels": 16, "patch_size": 2, "vec_in_dim": 32,
    "context_in_dim": 64, "hidden_size": 64, "mlp_ratio": 2.0, "num_heads": 2, "depth": 1, "depth_single_blocks": 1,
    "axes_dim": [8, 12, 12], "theta": 10000, "qkv_bias": True, "guidance_embed": False, "txt_ids_dims": [],
}  # fmt: skip
_SD3: dict[str, Any] = {
    "in_channels": 16, "pos_embed_scaling_factor": None, "input_size": None, "patch_size": 2, "depth": 1,
    "pos_embed_max_size": 8, "adm_in_channels": 32,
    "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 64, "out_features": 64}},
}  # fmt: skip
_WAN: dict[str, Any] = {
    "image_model": "wan2.1", "model_type": "t2v", "dim": 64, "out_dim": 16, "num_heads": 2, "ffn_dim": 64,
    "num_layers": 1, "patch_size": (1, 2, 2), "freq_dim": 32, "window_size": (-1, -1), "qk_norm": True,
    "cross_attn_norm": True, "eps": 1e-6, "in_dim": 16, "text_dim": 64,
}  # fmt: skip
_QWEN: dict[str, Any] = {
    "image_model": "qwen_image", "in_channels": 64, "num_layers": 1, "num_attention_heads": 2,
    "attention_head_dim": 32, "joint_attention_dim": 64, "axes_dims_rope": (8, 12, 12),
}  # fmt: skip
_LUMINA: dict[str, Any] = {
    "image_model": "lumina2", "patch_size": 2, "in_channels": 16, "dim": 64, "cap_feat_dim": 64, "n_layers": 1,
    "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2, "axes_dims": [8, 12, 12], "axes_lens": [64, 64, 64],
    "qk_norm": True,
}  # fmt: skip
CONFIGS = {"Flux": _FLUX, "SD3": _SD3, "WAN21_T2V": _WAN, "QwenImage": _QWEN, "Lumina2": _LUMINA, "ZImage": _LUMINA}


def make_other(kind: str) -> Any:
    """A MODEL of the host's class of that name; LookupError where this host does not know it."""
    import comfy.ldm.flux.model as flux
    import comfy.model_patcher
    import comfy.supported_models

    found = getattr(comfy.supported_models, kind, None)
    if found is None:
        raise LookupError(f"this host has no {kind}")
    config = dict(CONFIGS[kind])
    if kind == "Flux":  # newer hosts want more
        known = inspect.signature(flux.FluxParams).parameters
        config = {name: value for name, value in config.items() if name in known or name == "image_model"}
    chosen = found(config)
    chosen.set_inference_dtype(torch.float32, None)
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(chosen.get_model({}, device=cpu), load_device=cpu, offload_device=cpu)
