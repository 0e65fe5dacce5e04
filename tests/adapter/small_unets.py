"""The bases' UNets with few channels: every block, attention and input of the full-size layout, random weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.nodes.random_mini import fill

POOLED = 1280  # width of SDXL's pooled text
GAINS = (0.25, 0.25, 0.5, 1.5)  # of each level's projections: every site alone changes the output by a tenth and more


@dataclass(frozen=True)
class Layout:
    """A base. heads: attention heads of every level, as diffusers counts; depths: transformer layers of every level."""

    context: int
    channels: tuple[int, ...]
    heads: tuple[int, ...]
    depths: tuple[int, ...]
    linear: bool
    prediction: str
    input_channels: int = 4
    sdxl: bool = False

    @property
    def attention(self) -> tuple[bool, ...]:
        """SD leaves attention out at the coarsest level, SDXL at the finest."""
        last = len(self.channels) - 1
        return tuple(i > 0 if self.sdxl else i < last for i in range(last + 1))


_SD: dict[str, Any] = {"channels": (32, 64, 128, 128), "depths": (1, 1, 1, 1)}
_XL: dict[str, Any] = {"channels": (32, 64, 128), "heads": (2, 4, 8), "depths": (1, 2, 3), "linear": True, "sdxl": True}
LAYOUTS = {
    "sd15": Layout(768, **_SD, heads=(8, 8, 8, 8), linear=False, prediction="epsilon"),
    "sd15_inpaint": Layout(768, **_SD, heads=(8, 8, 8, 8), linear=False, prediction="epsilon", input_channels=9),
    "sd21": Layout(1024, **_SD, heads=(2, 4, 8, 8), linear=True, prediction="v_prediction"),
    "sdxl": Layout(2048, **_XL, prediction="epsilon"),
    "sdxl_v": Layout(2048, **_XL, prediction="v_prediction"),
    "sdxl_inpaint": Layout(2048, **_XL, prediction="epsilon", input_channels=9),
}


def make_unet(base: str, seed: int = 0) -> Any:
    """A diffusers `UNet2DConditionModel` in the layout of LAYOUTS[base], random weights, float32."""
    from diffusers import UNet2DConditionModel

    layout = LAYOUTS[base]
    down = tuple("CrossAttnDownBlock2D" if on else "DownBlock2D" for on in layout.attention)
    config: dict[str, Any] = {
        "sample_size": 64,
        "in_channels": layout.input_channels,
        "block_out_channels": layout.channels,
        "down_block_types": down,
        "up_block_types": tuple(name.replace("Down", "Up") for name in reversed(down)),
        "layers_per_block": 2,
        "cross_attention_dim": layout.context,
        "attention_head_dim": layout.heads,
        "transformer_layers_per_block": layout.depths,
        "use_linear_projection": layout.linear,
        "norm_num_groups": 32,
    }
    if layout.sdxl:
        config |= {"addition_embed_type": "text_time", "addition_time_embed_dim": 256}
        config |= {"projection_class_embeddings_input_dim": POOLED + 6 * 256}
    unet = UNet2DConditionModel(**config)
    fill(unet, seed)
    return unet.eval()


def added_conditions(base: str, pooled: Tensor, width: int, height: int) -> dict[str, Tensor] | None:
    """What SDXL is told beside the text, `added_cond_kwargs`; None for the other bases.

    pooled [B, 1280]; width and height of the picture in pixels, uncropped, as ComfyUI tells it if nothing is set.
    """
    if not LAYOUTS[base].sdxl:
        return None
    ids = torch.tensor([height, width, 0, 0, height, width], dtype=torch.float32).expand(len(pooled), 6)
    return {"text_embeds": pooled, "time_ids": ids}


def make_adapter(unet: Any, *, negative_hand: str = "same", seed: int = 5, **changes: Any) -> Any:
    """A small HanDrawer for `unet`, random throughout, whose effect is no small one at any site (`eval`, float32)."""
    from handrawer.adapter.handrawer import HanDrawer
    from handrawer.adapter.unet import describe_diffusers
    from handrawer.hand.model import load_open_hand

    torch.manual_seed(seed)
    sizes = {"width": 64, "heads": 4, "graph_widths": (16, 32, 64), "raster": 96, **changes}
    adapter = HanDrawer.create(describe_diffusers(unet), load_open_hand(), negative_hand=negative_hand, **sizes)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if ".sites." in name:  # fusions.LEVEL.sites.BLOCK.weight
                gain = GAINS[int(name.split(".")[1])]
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * gain)
    return adapter.eval()


def write_adapter(path: Path, unet: Any, **options: Any) -> Path:
    """The adapter of `make_adapter` as a file, in float32."""
    from handrawer.adapter.checkpoint import save

    save(path, make_adapter(unet, **options), dtype=torch.float32)
    return path


def call(unet: Any, base: str, x: Tensor, timestep: Tensor, text: Tensor, pooled: Tensor | None = None) -> Tensor:
    """The UNet's output for x [B, C, h, w], timestep [B] or [1], text [B, L, D] and, for SDXL, pooled [B, 1280]."""
    pooled = torch.zeros(len(x), POOLED) if pooled is None else pooled
    added = added_conditions(base, pooled, 8 * x.shape[3], 8 * x.shape[2])
    return unet(x, timestep, text, added_cond_kwargs=added, return_dict=False)[0]
