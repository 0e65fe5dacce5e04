"""The names that a checkpoint file gives to the weights of diffusers' and transformers' networks.

The way back from what `handrawer.train.single_file` does, to make files as canvas users have them.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_OUTSIDE = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def unet_name(name: str, attended: tuple[bool, ...]) -> str:
    """One weight of a UNet2DConditionModel with two resnets a block; attended: which up blocks have attention."""
    for ours, theirs in _OUTSIDE.items():
        if name.startswith(ours + "."):
            return theirs + name[len(ours) :]
    match = re.fullmatch(r"(down_blocks|up_blocks|mid_block)\.(?:(\d+)\.)?(\w+)\.(\d+)\.(.+)", name)
    if match is None:
        raise ValueError(f"{name} is no weight of such a UNet.")
    where, block, kind, place, rest = match[1], int(match[2] or 0), match[3], int(match[4]), match[5]
    if kind == "resnets":
        part, _, end = rest.rpartition(".")
        rest = f"{_RESNET[part]}.{end}"
    if where == "mid_block":
        return f"middle_block.{1 if kind == 'attentions' else 2 * place}.{rest}"
    if kind == "downsamplers":
        return f"input_blocks.{3 * (block + 1)}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        return f"output_blocks.{3 * block + 2}.{2 if attended[block] else 1}.{rest}"
    side = 0 if kind == "resnets" else 1
    if where == "down_blocks":
        return f"input_blocks.{3 * block + place + 1}.{side}.{rest}"
    return f"output_blocks.{3 * block + place}.{side}.{rest}"


def vae_name(name: str, levels: int) -> str:
    """One weight of an AutoencoderKL."""
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d+)\.resnets", lambda m: f"up.{levels - 1 - int(m[1])}.block", name)
    name = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample", name)
    name = re.sub(r"mid_block\.resnets\.(\d+)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = name.replace("mid_block.attentions.0", "mid.attn_1")
    if "attn_1" in name:
        for ours, theirs in (
            ("group_norm", "norm"),
            ("to_q", "q"),
            ("to_k", "k"),
            ("to_v", "v"),
            ("to_out.0", "proj_out"),
        ):
            name = name.replace(f"attn_1.{ours}.", f"attn_1.{theirs}.")
    return name


def open_clip(weights: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """The weights of a CLIPTextModel as OpenCLIP's files have them."""
    plain = {name.removeprefix("text_model."): tensor for name, tensor in weights.items()}
    found = {
        "token_embedding.weight": plain["embeddings.token_embedding.weight"],
        "positional_embedding": plain["embeddings.position_embedding.weight"],
        "ln_final.weight": plain["final_layer_norm.weight"],
        "ln_final.bias": plain["final_layer_norm.bias"],
    }
    if "text_projection.weight" in plain:
        found["text_projection"] = plain["text_projection.weight"].T
    names = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    for layer in range(layers):
        ours, theirs = f"encoder.layers.{layer}.", f"transformer.resblocks.{layer}."
        for end in ("weight", "bias"):
            parts = [plain[f"{ours}self_attn.{name}_proj.{end}"] for name in "qkv"]
            found[f"{theirs}attn.in_proj_{end}"] = torch.cat(parts)
            found[f"{theirs}attn.out_proj.{end}"] = plain[f"{ours}self_attn.out_proj.{end}"]
            for name, other in names.items():
                found[f"{theirs}{other}.{end}"] = plain[f"{ours}{name}.{end}"]
    return found


def checkpoint(unet: dict, vae: dict, text: list[dict], base: str, configs: dict) -> dict[str, Tensor]:
    """State dicts of the networks as one checkpoint's; base "sd15", "sd21" or "sdxl"."""
    attended = tuple("Cross" in name for name in configs["unet"]["up_block_types"])
    found = {f"model.diffusion_model.{unet_name(name, attended)}": tensor for name, tensor in unet.items()}
    levels = len(configs["vae"]["block_out_channels"])
    for name, tensor in vae.items():
        theirs = vae_name(name, levels)
        if "attn_1" in theirs and tensor.ndim == 2:
            tensor = tensor[..., None, None]  # there the attention is made of convolutions
        found[f"first_stage_model.{theirs}"] = tensor
    plain = {name.removeprefix("text_model."): tensor for name, tensor in text[0].items()}
    if base == "sd21":
        opened = open_clip(text[0], configs["text_encoder"]["num_hidden_layers"])
        return found | {f"cond_stage_model.model.{name}": tensor for name, tensor in opened.items()}
    first = {"sd15": "cond_stage_model.transformer.", "sdxl": "conditioner.embedders.0.transformer."}[base]
    found |= {f"{first}text_model.{name}": tensor for name, tensor in plain.items()}
    if base == "sdxl":
        opened = open_clip(text[1], configs["text_encoder_2"]["num_hidden_layers"])
        found |= {f"conditioner.embedders.1.model.{name}": tensor for name, tensor in opened.items()}
    return found
