"""What HanDrawer needs to know of a UNet: its blocks, and where residuals are injected.

Blocks are numbered as ComfyUI's input blocks, which are diffusers' `down_block_res_samples`: 0 is `conv_in`, then the
blocks of each level, each level but the last closed by its downsampler.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


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
    """"mini", "sd15", "sd21", "sdxl", or "custom" for any other."""
    latent_channels: int
    context_width: int
    prediction: str
    """"epsilon" or "v_prediction"."""
    sites: tuple[Site, ...]
    blocks: tuple[tuple[int, int], ...]
    """(level, channels) of every input block."""

    @property
    def levels(self) -> tuple[int, ...]:
        """Levels that have a site, finest first."""
        return tuple(sorted({site.level for site in self.sites}))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> UNetDescription:
        """The description written by to_dict, also after a round through JSON."""
        sites = tuple(Site(**site) for site in values["sites"])
        blocks = tuple((int(level), int(channels)) for level, channels in values["blocks"])
        return UNetDescription(**{**values, "sites": sites, "blocks": blocks})

    def misfit(self, other: UNetDescription) -> str | None:
        """Why an adapter made for this UNet cannot serve `other` (a phrase about `other`), or None if it can.

        The prediction type does not count: the residuals act inside the encoder.
        """
        if other.latent_channels != self.latent_channels:
            return f"has {other.latent_channels} latent channels, not {self.latent_channels}"
        if other.context_width != self.context_width:
            return f"reads text of width {other.context_width}, not {self.context_width}"
        if other.blocks != self.blocks:
            return f"has {len(other.blocks)} encoder blocks {_shape(other)}, not {len(self.blocks)} {_shape(self)}"
        return None


def _shape(description: UNetDescription) -> str:
    widths = [channels for _, channels in description.blocks]
    return f"of {widths[0]} to {widths[-1]} channels on {description.blocks[-1][0] + 1} levels"


@dataclass(frozen=True)
class _Base:
    name: str
    context_width: int
    prediction: str
    blocks: tuple[tuple[int, int], ...]
    sites: tuple[int, ...]


def _blocks(channels: tuple[int, ...], layers: int) -> tuple[tuple[int, int], ...]:
    found = [(0, channels[0])]
    for level, width in enumerate(channels):
        found += [(level, width)] * layers
        if level + 1 < len(channels):
            found.append((level + 1, width))
    return tuple(found)


_SD = _blocks((320, 640, 1280, 1280), 2)
_MINI = _blocks((64, 128, 192), 1)

# The last block of every level, where that level's features are complete; mini also right after conv_in.
BASES: tuple[_Base, ...] = (
    _Base("mini", 128, "v_prediction", _MINI, (0, 1, 3, 5)),
    _Base("sd15", 768, "epsilon", _SD, (2, 5, 8, 11)),
    _Base("sd21", 1024, "v_prediction", _SD, (2, 5, 8, 11)),
    _Base("sdxl", 2048, "epsilon", _blocks((320, 640, 1280), 2), (2, 5, 8)),
)


def describe_blocks(
    blocks: tuple[tuple[int, int], ...],
    modules: tuple[str, ...],
    latent_channels: int,
    context_width: int,
    prediction: str | None = None,
) -> UNetDescription:
    """The description of a UNet given as a table of its input blocks.

    blocks [(level, channels)] and modules (diffusers paths, or any names where diffusers is not used), one each for
    every input block; prediction None takes the known base's, or "epsilon". A base is known by its shape, never by a
    name: levels and context width for "mini" (its channels are free), all channels for the others.
    """
    if len(blocks) != len(modules) or not blocks:
        raise ValueError(f"{len(blocks)} blocks and {len(modules)} modules do not describe a UNet: give one per block.")
    base = _known(blocks, context_width)
    chosen = base.sites if base else _last_of_each_level(blocks)
    sites = tuple(Site(i, *blocks[i], modules[i]) for i in chosen)
    name = base.name if base else "custom"
    prediction = prediction or (base.prediction if base else "epsilon")
    return UNetDescription(name, latent_channels, context_width, prediction, sites, tuple(blocks))


def _known(blocks: tuple[tuple[int, int], ...], context_width: int) -> _Base | None:
    for base in BASES:
        same = base.blocks == tuple(blocks)
        if base.name == "mini":
            same = [level for level, _ in base.blocks] == [level for level, _ in blocks]
        if same and base.context_width == context_width:
            return base
    return None


def _last_of_each_level(blocks: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
    levels = [level for level, _ in blocks]
    return tuple(i for i, level in enumerate(levels) if i + 1 == len(levels) or levels[i + 1] > level)


def describe_diffusers(unet: Any, prediction: str | None = None) -> UNetDescription:
    """The description of a diffusers `UNet2DConditionModel`, read from its modules.

    prediction is the scheduler's `prediction_type` where it is known; the UNet itself does not hold it.
    """
    blocks, modules = [(0, int(unet.conv_in.out_channels))], ["conv_in"]
    for i, down in enumerate(unet.down_blocks):
        attentions = getattr(down, "attentions", None)
        for j, resnet in enumerate(down.resnets):
            blocks.append((blocks[-1][0], int(resnet.out_channels)))
            modules.append(f"down_blocks.{i}.{'attentions' if attentions is not None else 'resnets'}.{j}")
        if getattr(down, "downsamplers", None):
            blocks.append((blocks[-1][0] + 1, int(down.downsamplers[0].out_channels)))
            modules.append(f"down_blocks.{i}.downsamplers.0")
    context = unet.config.cross_attention_dim
    width = int(context if isinstance(context, int) else context[0])
    return describe_blocks(tuple(blocks), tuple(modules), int(unet.config.in_channels), width, prediction)
