"""What HanDrawer needs to know of a UNet: its blocks, where their cells lie, and where residuals are injected.

Blocks are numbered as ComfyUI's input blocks, which are diffusers' `down_block_res_samples`: 0 is `conv_in`, then the
blocks of each level, each level but the last closed by its downsampler. A description is read from a network, from
diffusers' or from ComfyUI's, and everything else follows from it; both libraries' networks of one model give the same.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from .grid import cell_edges, level_cells


@dataclass(frozen=True)
class Site:
    """One place where a residual is added: the output of an encoder block."""

    block: int
    """Input block, ComfyUI's number, also the index into diffusers' `down_block_res_samples`."""
    level: int
    """Halvings before it: its cells are 2**level latent cells apart."""
    channels: int
    module: str
    """Path of the block's last module in a diffusers UNet."""

    @property
    def comfy_module(self) -> str:
        """Path of the block in ComfyUI's UNetModel; there an input-block patch does the same."""
        return f"input_blocks.{self.block}"


@dataclass(frozen=True)
class UNetDescription:
    """A family of UNets that an adapter fits."""

    name: str
    """One of BASES ("mini", "sd15", "sd21", "sdxl"), one of STRANGERS, or "custom" for any other."""
    latent_channels: int
    context_width: int
    prediction: str
    """"epsilon" or "v_prediction"."""
    sites: tuple[Site, ...]
    blocks: tuple[tuple[int, int], ...]
    """(level, channels) of every input block."""
    depths: tuple[int, ...] = ()
    """Transformer layers of every input block; empty where nothing depends on them."""
    input_channels: int = 0
    """Channels that the UNet reads: more than the latent's where it inpaints (9) or edits (8). 0: the latent's."""

    def __post_init__(self) -> None:
        if not self.input_channels:
            object.__setattr__(self, "input_channels", self.latent_channels)

    @property
    def levels(self) -> tuple[int, ...]:
        """Levels that have a site, finest first."""
        return tuple(sorted({site.level for site in self.sites}))

    @property
    def known(self) -> bool:
        """Whether this is one of the bases that HanDrawer is made for."""
        return self.name in BASES

    @property
    def title(self) -> str:
        """What a person calls it."""
        found = BASES.get(self.name) or STRANGERS.get(self.name)
        if found is None:
            return f"a UNet of {len(self.blocks)} encoder blocks with text of width {self.context_width}"
        return found.title + (" for inpainting" if self.input_channels == INPAINTING else "")

    def grid(self, level: int, latent_height: int, latent_width: int) -> tuple[int, int]:
        """Rows and columns of cells of a level for a latent of the given size."""
        return level_cells(level, latent_height), level_cells(level, latent_width)

    def cell_centres(self, level: int, latent_cells: int) -> Tensor:
        """Where the cells of a level lie along a side of a latent, in latent cells: [n] float32.

        Measured by impulse responses in every layout: cell j is centred on the middle of latent cell 2**level j.
        """
        edges = cell_edges(level, level_cells(level, latent_cells))
        return (edges[1:] + edges[:-1]) / 2

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what the name says already is left out, so older readers know every field."""
        values = asdict(self)
        if self.name in BASES and self.depths == BASES[self.name].depths:
            del values["depths"]
        if self.input_channels == self.latent_channels:
            del values["input_channels"]
        return values

    @staticmethod
    def from_dict(values: dict[str, Any]) -> UNetDescription:
        """The description written by to_dict, also after a round through JSON."""
        sites = tuple(Site(**site) for site in values["sites"])
        blocks = tuple((int(level), int(channels)) for level, channels in values["blocks"])
        base = BASES.get(values["name"])
        depths = tuple(int(depth) for depth in values.get("depths", base.depths if base else ()))
        return UNetDescription(**{**values, "sites": sites, "blocks": blocks, "depths": depths})

    def misfit(self, other: UNetDescription) -> str | None:
        """Why an adapter made for this UNet cannot serve `other` (a phrase about `other`), or None if it can.

        Prediction type and further input channels do not count: the residuals act inside the encoder.
        """
        if other.latent_channels != self.latent_channels:
            return f"has {other.latent_channels} latent channels, not {self.latent_channels}"
        if other.context_width != self.context_width:
            return f"reads text of width {other.context_width}, not {self.context_width}"
        if other.blocks != self.blocks:
            return f"has {len(other.blocks)} encoder blocks {_shape(other)}, not {len(self.blocks)} {_shape(self)}"
        if self.depths and other.depths and other.depths != self.depths:
            return f"has {sum(other.depths)} transformer layers in its encoder, not {sum(self.depths)}"
        return None


def _shape(description: UNetDescription) -> str:
    widths = [channels for _, channels in description.blocks]
    return f"of {widths[0]} to {widths[-1]} channels on {description.blocks[-1][0] + 1} levels"


@dataclass(frozen=True)
class Base:
    """A model that is known by the shape of its encoder, never by a file's name. depths empty: any."""

    title: str
    context_width: int
    prediction: str
    blocks: tuple[tuple[int, int], ...]
    depths: tuple[int, ...] = ()
    sites: tuple[int, ...] = ()


def _blocks(channels: tuple[int, ...], layers: int) -> tuple[tuple[int, int], ...]:
    found = [(0, channels[0])]
    for level, width in enumerate(channels):
        found += [(level, width)] * layers
        if level + 1 < len(channels):
            found.append((level + 1, width))
    return tuple(found)


INPAINTING = 9  # input channels: latent, mask, masked picture
_SD, _SDXL = _blocks((320, 640, 1280, 1280), 2), _blocks((320, 640, 1280), 2)
_SD_DEPTHS = (0, 1, 1, 0, 1, 1, 0, 1, 1, 0, 0, 0)
_E, _V = "epsilon", "v_prediction"

# The last block of every level, where that level's features are complete; mini also right after conv_in.
BASES: dict[str, Base] = {
    "mini": Base("the small model", 128, _V, _blocks((64, 128, 192), 1), sites=(0, 1, 3, 5)),
    "sd15": Base("Stable Diffusion 1.x", 768, _E, _SD, _SD_DEPTHS, (2, 5, 8, 11)),
    "sd21": Base("Stable Diffusion 2.x", 1024, _V, _SD, _SD_DEPTHS, (2, 5, 8, 11)),
    "sdxl": Base("SDXL", 2048, _E, _SDXL, (0, 0, 0, 0, 2, 2, 0, 10, 10), (2, 5, 8)),
}
# Known well enough to be called by name where they are refused.
STRANGERS: dict[str, Base] = {
    "sdxl_refiner": Base("the SDXL refiner", 1280, _E, _blocks((384, 768, 1536, 1536), 2)),
    "ssd1b": Base("SSD-1B", 2048, _E, _SDXL, (0, 0, 0, 0, 2, 2, 0, 4, 4)),
    "vega": Base("Segmind Vega", 2048, _E, _SDXL, (0, 0, 0, 0, 1, 1, 0, 2, 2)),
    "koala": Base("KOALA", 2048, _E, _blocks((320, 640, 1280), 1)),
    "sdxs": Base("SDXS", 768, _E, _blocks((320, 640, 1280), 1)),
    "sd_x4": Base("the Stable Diffusion x4 upscaler", 1024, _V, _blocks((256, 512, 512, 1024), 2)),
}
SUPPORTED = (
    "Stable Diffusion 1.x and 2.x, SDXL (Pony, Illustrious, NoobAI and the like) and HanDrawer's own small model"
)
INSTEAD = "give this model the depth and the mask of its hands through a ControlNet of its own"


def describe_blocks(
    blocks: tuple[tuple[int, int], ...],
    modules: tuple[str, ...],
    latent_channels: int,
    context_width: int,
    prediction: str | None = None,
    *,
    depths: tuple[int, ...] = (),
    input_channels: int = 0,
) -> UNetDescription:
    """The description of a UNet given as a table of its input blocks.

    blocks [(level, channels)] and modules (diffusers paths, or any names where diffusers is not used), one each for
    every input block, and depths, the transformer layers of each, or () if they are not known; prediction None takes
    the known base's, or "epsilon"; input_channels 0: the latent's. A base is known by its shape, never by a name:
    levels and context width for "mini" (its channels are free), all channels and depths for the others.
    """
    if len(blocks) != len(modules) or not blocks or len(depths) not in (0, len(blocks)):
        raise ValueError(f"{len(blocks)} blocks and {len(modules)} modules do not describe a UNet: give one per block.")
    name = _recognised(tuple(blocks), context_width, depths)
    base = BASES.get(name) or STRANGERS.get(name)
    chosen = (base.sites if base else ()) or _last_of_each_level(blocks)
    return UNetDescription(
        name=name,
        latent_channels=latent_channels,
        context_width=context_width,
        prediction=prediction or (base.prediction if base else "epsilon"),
        sites=tuple(Site(i, *blocks[i], modules[i]) for i in chosen),
        blocks=tuple(blocks),
        depths=() if name == "mini" else depths or (base.depths if base else ()),
        input_channels=input_channels or latent_channels,
    )


def _recognised(blocks: tuple[tuple[int, int], ...], context_width: int, depths: tuple[int, ...]) -> str:
    for name, base in {**BASES, **STRANGERS}.items():
        same = base.blocks == blocks
        if name == "mini":
            same = [level for level, _ in base.blocks] == [level for level, _ in blocks]
        if same and base.context_width == context_width and (not depths or base.depths in ((), depths)):
            return name
    return "custom"


def _last_of_each_level(blocks: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
    levels = [level for level, _ in blocks]
    return tuple(i for i, level in enumerate(levels) if i + 1 == len(levels) or levels[i + 1] > level)


def describe_diffusers(unet: Any, prediction: str | None = None) -> UNetDescription:
    """The description of a diffusers `UNet2DConditionModel`, read from its modules.

    prediction is the scheduler's `prediction_type` where it is known; the UNet itself does not hold it. Raises
    ValueError for a network of another kind (a transformer such as Flux or SD3, a video UNet), saying what works.
    """
    kind = type(unet).__name__
    context = getattr(getattr(unet, "config", None), "cross_attention_dim", None)
    video = any(word in kind for word in ("3D", "Temporal", "Motion", "I2VGen"))
    if video or context is None or not hasattr(unet, "conv_in") or not hasattr(unet, "down_blocks"):
        raise ValueError(f"HanDrawer steers the UNets of {SUPPORTED}, and {kind} is of another kind: {INSTEAD}.")
    blocks, modules, depths = [(0, int(unet.conv_in.out_channels))], ["conv_in"], [0]
    for i, down in enumerate(unet.down_blocks):
        attentions = getattr(down, "attentions", None)
        for j, resnet in enumerate(down.resnets):
            blocks.append((blocks[-1][0], int(resnet.out_channels)))
            modules.append(f"down_blocks.{i}.{'attentions' if attentions is not None else 'resnets'}.{j}")
            depths.append(0 if attentions is None else len(getattr(attentions[j], "transformer_blocks", (None,))))
        if getattr(down, "downsamplers", None):
            blocks.append((blocks[-1][0] + 1, int(down.downsamplers[0].out_channels)))
            modules.append(f"down_blocks.{i}.downsamplers.0")
            depths.append(0)
    width = int(context if isinstance(context, int) else context[0])
    read = int(unet.config.in_channels)
    return describe_blocks(
        tuple(blocks),
        tuple(modules),
        min(read, int(unet.config.out_channels)),  # an inpainting UNet reads a mask and a masked picture, too
        width,
        prediction,
        depths=tuple(depths),
        input_channels=read,
    )


def describe_comfy(
    unet: Any, latent_channels: int, context_width: int, prediction: str | None = None
) -> UNetDescription:
    """The description of ComfyUI's `UNetModel`, read from its modules without importing the host.

    latent_channels of the model's latent format and context_width of its configuration, which the network does not
    tell. Sites carry the diffusers paths of the same blocks where the base is a known one, else the host's names.
    Raises ValueError for a network without input blocks.
    """
    if not hasattr(unet, "input_blocks"):
        raise ValueError(
            f"HanDrawer steers the UNets of {SUPPORTED}, and {type(unet).__name__} is of another kind: {INSTEAD}."
        )
    blocks: list[tuple[int, int]] = []
    depths: list[int] = []
    for block in unet.input_blocks:
        level, channels = blocks[-1] if blocks else (0, int(unet.model_channels))
        depth = 0
        for layer in block:
            kind = type(layer).__name__
            if kind == "Downsample":
                level, channels = level + 1, int(layer.out_channels)
            elif kind == "ResBlock":
                channels = int(layer.out_channels)
            elif kind == "SpatialTransformer":
                depth = len(layer.transformer_blocks)
        blocks.append((level, channels))
        depths.append(depth)
    return describe_blocks(
        tuple(blocks),
        tuple(_diffusers_paths(blocks, depths)),
        latent_channels,
        context_width,
        prediction,
        depths=tuple(depths),
        input_channels=int(unet.in_channels),
    )


def _diffusers_paths(blocks: list[tuple[int, int]], depths: list[int]) -> list[str]:
    """The modules that diffusers ends the same blocks with; a level has attention in all of its blocks or in none."""
    paths, place = ["conv_in"], 0
    attended = {level for (level, _), depth in zip(blocks, depths, strict=True) if depth}
    for (before, _), (level, _) in itertools.pairwise(blocks):
        if level > before:
            paths.append(f"down_blocks.{before}.downsamplers.0")
            place = 0
        else:
            paths.append(f"down_blocks.{level}.{'attentions' if level in attended else 'resnets'}.{place}")
            place += 1
    return paths
