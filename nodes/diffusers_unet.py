"""A diffusers UNet2DConditionModel as the host builds it: configuration and weight names.

Nothing is repeated here that the folder's own ``config.json`` says.
"""

from collections.abc import Callable

import comfy.utils
from torch import Tensor

# What the host's UNetModel does in one way only: (setting, the values that mean this way).
FIXED = {
    "act_fn": ("silu",),
    "norm_num_groups": (32,),
    "resnet_time_scale_shift": ("default",),
    "time_embedding_type": ("positional",),
    "downsample_padding": (1,),
    "dual_cross_attention": (False,),
    "flip_sin_to_cos": (True,),
    "freq_shift": (0,),
    "class_embed_type": (None,),
    "addition_embed_type": (None,),
    "mid_block_type": ("UNetMidBlock2DCrossAttn",),
}
DOWN = {"DownBlock2D": False, "CrossAttnDownBlock2D": True}
UP = {"UpBlock2D": False, "CrossAttnUpBlock2D": True}


def per_level(value, levels: int) -> list[int]:
    """diffusers writes one number for all levels, or one for each."""
    return [value] * levels if isinstance(value, int) else list(value)


def head_settings(heads: list[int], channels: list[int], attention: list[bool]) -> dict[str, int]:
    """The host knows one number of heads for all levels, or one number of channels a head."""
    used = [(h, c) for h, c, on in zip(heads, channels, attention, strict=True) if on] or [(heads[-1], channels[-1])]
    if len({h for h, _ in used}) == 1:
        return {"num_heads": used[0][0], "num_head_channels": -1}
    if len({c // h for h, c in used}) == 1:
        return {"num_heads": -1, "num_head_channels": used[0][1] // used[0][0]}
    raise ValueError(f"The UNet has {heads} attention heads on {channels} channels, which ComfyUI cannot express.")


def host_config(config: dict) -> dict:
    """The host's ``UNetModel`` arguments for a diffusers configuration.

    Args:
        config: contents of the ``config.json`` of a ``UNet2DConditionModel``.

    Returns:
        Keyword arguments of ``comfy.ldm.modules.diffusionmodules.openaimodel.UNetModel`` without dtype and device.

    Raises:
        ValueError: the network has a part which the host does not build.
    """
    for setting, allowed in FIXED.items():
        if config.get(setting, allowed[0]) not in allowed:
            raise ValueError(f"The UNet's {setting} is {config[setting]!r}, and ComfyUI builds {allowed[0]!r} only.")
    channels = list(config["block_out_channels"])
    levels = len(channels)
    try:
        down = [DOWN[name] for name in config["down_block_types"]]
        up = [UP[name] for name in config["up_block_types"]][::-1]  # diffusers counts from the coarsest level
    except KeyError as error:
        raise ValueError(f"The UNet has blocks of the type {error}, which ComfyUI does not build.") from None
    layers = per_level(config.get("layers_per_block", 2), levels)
    depths = per_level(config.get("transformer_layers_per_block", 1), levels)
    heads = per_level(config.get("num_attention_heads") or config.get("attention_head_dim", 8), levels)
    if any(c % channels[0] for c in channels):
        raise ValueError(f"The UNet's widths {channels} are no whole multiples of the first, as ComfyUI needs them.")
    return {
        "image_size": config.get("sample_size") or 32,
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "model_channels": channels[0],
        "channel_mult": [c // channels[0] for c in channels],
        "num_res_blocks": layers,
        "transformer_depth": [d * on for n, d, on in zip(layers, depths, down, strict=True) for _ in range(n)],
        "transformer_depth_output": [d * on for n, d, on in zip(layers, depths, up, strict=True) for _ in range(n + 1)],
        "transformer_depth_middle": depths[-1],
        "context_dim": config["cross_attention_dim"],
        "use_spatial_transformer": True,
        "use_linear_in_transformer": config.get("use_linear_projection", False),
        "use_temporal_attention": False,
        "use_temporal_resblock": False,
        "adm_in_channels": None,
        "legacy": False,
        **head_settings(heads, channels, [d or u for d, u in zip(down, up, strict=True)]),
    }


def host_weights(weights: dict[str, Tensor], unet_config: dict) -> dict[str, Tensor]:
    """Weights under the host's names.

    Args:
        weights: state dict of the diffusers network.
        unet_config: the result of :func:`host_config` for it.

    Raises:
        ValueError: weights are missing or left over; the host would go on with uninitialised memory.
    """
    names = comfy.utils.unet_to_diffusers(unet_config)
    unknown = [name for name in weights if name not in names]
    if unknown:
        raise ValueError(f"The UNet's weights do not fit its config.json: {unknown[0]} has no place in it.")
    return {names[name]: tensor for name, tensor in weights.items()}


def load_weights(load: Callable, weights: dict[str, Tensor], what: str) -> None:
    """Fill a network, and refuse weights that do not fill it exactly: what the host's layers lack stays uninitialised.

    Args:
        load: takes the weights and returns the names that are missing and those left over. Not read off the network
            beforehand: newer hosts make its weights only now.
        what: the network's name, for the message.

    Raises:
        ValueError: naming a weight that is missing, left over, or of another shape.
    """
    try:
        missing, unexpected = load(weights)
        wrong = [*missing, *unexpected]
    except RuntimeError as error:  # torch's, where shapes differ: a heading and one line for each weight
        wrong = [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]
    if wrong:
        raise ValueError(
            f"The {what}'s weights do not fit its config.json ({wrong[0]}): the folder is damaged, fetch HanDrawer "
            "again."
        )
