"""The numbers that make an adapter's shape; they travel in the checkpoint."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from ..hand.model import HandModel
from .gcn import GraphSizes
from .mesh_graph import MeshGraph, topology_hash
from .unet import UNetDescription

FORMAT_VERSION = 1
"""The mathematics of a format version never changes; an improvement is a new version."""
GEOMETRY_CHANNELS = 8
NEGATIVE_RULES = ("same", "none")


@dataclass(frozen=True)
class HanDrawerConfig:
    """Everything needed to build a HanDrawer before its weights are loaded. Defaults suit the small model."""

    unet: UNetDescription
    hand_model: str
    """Name of the hand model whose mesh it encodes."""
    topology: str
    """`topology_hash` of that mesh."""
    graph: GraphSizes
    width: int = 128
    heads: int = 4
    blocks: int = 2
    mlp_ratio: float = 2.0
    subcells: int = 4
    """Geometry is read on subcells x subcells places in every cell."""
    frequencies: int = 6
    graph_widths: tuple[int, int, int] = (32, 64, 128)
    graph_layers: tuple[int, int, int] = (2, 3, 3)
    raster: int = 128
    """Pixels along each side of the geometry raster over a hand's box."""
    negative_hand: str = "same"
    """What the rows of the negative prompt get under guidance: "same" hand, or "none"."""

    def __post_init__(self) -> None:
        if self.graph_widths[-1] != self.width:
            raise ValueError(
                f"The graph network ends in {self.graph_widths[-1]} channels, but the fusion has {self.width}."
            )
        if self.width % self.heads:
            raise ValueError(f"{self.width} channels cannot be shared by {self.heads} attention heads.")

        if self.negative_hand not in NEGATIVE_RULES:
            raise ValueError(f"negative_hand must be one of {NEGATIVE_RULES}, not {self.negative_hand!r}.")

    @staticmethod
    def for_description(
        description: UNetDescription, model: HandModel, graph: MeshGraph, **changes: Any
    ) -> HanDrawerConfig:
        """The defaults for a UNet: wider, and with a finer raster, for the full-size bases than for the small model."""
        values: dict[str, Any] = {}
        if description.name != "mini" and max(channels for _, channels in description.blocks) >= 640:
            values = {"width": 256, "heads": 8, "graph_widths": (32, 96, 256), "raster": 256}
        return HanDrawerConfig(
            unet=description,
            hand_model=model.name,
            topology=topology_hash(model),
            graph=GraphSizes.of(graph),
            **{**values, **changes},
        )

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "unet": self.unet.to_dict()})

    @staticmethod
    def from_json(text: str) -> HanDrawerConfig:
        """The configuration written by to_json. Raises ValueError or TypeError if fields are missing or unknown."""
        values = json.loads(text)
        if not isinstance(values, dict):
            raise TypeError("a configuration is a JSON object")
        values["unet"] = UNetDescription.from_dict(values["unet"])
        values["graph"] = GraphSizes(tuple(values["graph"]["nodes"]), tuple(values["graph"]["edges"]))
        for name in ("graph_widths", "graph_layers"):
            if name in values:
                values[name] = tuple(values[name])
        return HanDrawerConfig(**values)


@dataclass(frozen=True)
class AdapterMetadata:
    """What a HanDrawer file says of itself; training is a free summary (samples seen, steps, data), JSON values."""

    config: HanDrawerConfig
    training: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION
