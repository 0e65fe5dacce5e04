"""The arms: HanDrawer with one part taken out each, and the two usual ways of giving a picture of depth and normals.

The adapter's own mathematics is not touched: variants change what it is given, or override one step of a subclass.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from handrawer.adapter.config import HanDrawerConfig
from handrawer.adapter.handrawer import HanDrawer, HandTokens
from handrawer.adapter.inputs import HandInputs
from handrawer.adapter.mesh_graph import MeshGraph, build_graph
from handrawer.adapter.ppzp import Window, cell_coverage
from handrawer.adapter.unet import UNetDescription
from handrawer.hand.model import HandModel
from handrawer.mini.modules import LATENT_SIZE

from .base import Added, FrozenBase, Guide
from .pictures import CHANNELS, condition_pictures, over_picture

CLUSTERS = (256, 64)


@functools.lru_cache(maxsize=2)
def _graph(model: HandModel, clusters: tuple[int, int]) -> MeshGraph:
    return build_graph(model, clusters)


def make_adapter(
    kind: type[HanDrawer],
    description: UNetDescription,
    model: HandModel,
    clusters: tuple[int, int] = CLUSTERS,
    **changes: Any,
) -> HanDrawer:
    """An untrained adapter of HanDrawer or a subclass; `model` on the CPU; weights from the global generator."""
    graph = _graph(model, clusters)
    adapter = kind(HanDrawerConfig.for_description(description, model, graph, **changes))
    adapter.encoder.load_graph(graph)
    return adapter


class WithoutGeometry(HanDrawer):
    """The cells see no rendered geometry; the hand is known by its GCN tokens alone."""

    def _fuse(self, level, inputs, box, window, weight, hands, words, box_only) -> dict[int, Tensor]:
        blind = torch.ones(len(hands), dtype=torch.bool, device=hands.device)
        return super()._fuse(level, inputs, box, window, weight, hands, words, blind)


def snapped(box: Tensor, window: Window) -> Tensor:
    """Boxes [N, 4] in latent cells with their edges moved to the nearest edges of the window's cells, one cell at
    least."""
    pitch = 2.0**window.level
    x0, y0, x1, y1 = box.unbind(-1)
    left, top = window.columns[0], window.rows[0]

    def rounded(value: Tensor, origin: Tensor) -> Tensor:
        return origin + ((value - origin) / pitch).round() * pitch

    x0, y0, x1, y1 = rounded(x0, left), rounded(y0, top), rounded(x1, left), rounded(y1, top)
    return torch.stack([x0, y0, torch.maximum(x1, x0 + pitch), torch.maximum(y1, y0 + pitch)], -1)


class WholeCells(HanDrawer):
    """Padding by whole cells: at every level the box is rounded to cells, and the hand is stretched to that."""

    def _fuse(self, level, inputs, box, window, weight, hands, words, box_only) -> dict[int, Tensor]:
        return super()._fuse(level, inputs, snapped(box, window), window, weight, hands, words, box_only)

    @staticmethod
    @torch.no_grad()
    def _weights(inputs: HandInputs, box: Tensor, silhouettes: Tensor, window: Window) -> Tensor:
        return cell_coverage(snapped(box, window), window) * inputs.weight[:, None, None]


class AdapterGuide(Guide):
    """An adapter as an arm.

    tokens    "gcn", "learned" (the same for every hand) or "none" (the null hand)
    geometry  whether the cells see it; with tokens "none" and no geometry, the box and the text are all that is known
    text      whether the fusion sees the prompt
    spread    "box" (PPZP), "stretched" (the hand's features over the whole picture, its box told in a token), or
              "unpadded" (the hand stays where it is, but the features are not cut off at its box)
    """

    def __init__(
        self, adapter: HanDrawer, tokens: str = "gcn", geometry: bool = True, text: bool = True, spread: str = "box"
    ) -> None:
        super().__init__()
        self.adapter, self.kind, self.geometry, self.text, self.spread = adapter, tokens, geometry, text, spread
        width = adapter.config.width
        count = adapter.config.graph.nodes[2]
        self.learned = nn.Parameter(torch.randn(count, width)) if tokens == "learned" else None
        self.place = nn.Linear(4, width) if spread == "stretched" else None
        if tokens != "gcn":
            adapter.encoder.requires_grad_(False)
        unused = []
        if isinstance(adapter, WithoutGeometry) or not geometry:
            unused.append("geometry")
        if not text:  # attention to the one null token is a constant
            unused += ["text", *(f"blocks.{k}.text" for k in range(adapter.config.blocks))]
            adapter.text.requires_grad_(False)
        for fusion in adapter.fusions.values():
            for path, part in fusion.named_modules():
                if path in unused:
                    part.requires_grad_(False)

    def prepare(self, inputs: HandInputs, text: Tensor, drop_text: Tensor) -> dict[int, Tensor]:
        own = inputs
        if self.spread == "unpadded":
            inputs = in_picture(inputs)
        tokens = self._tokens(inputs)
        if self.spread == "stretched":
            assert self.place is not None
            tokens = torch.cat([tokens, self.place(2 * own.box - 1)[:, None].to(tokens)], 1)
            inputs = dataclasses.replace(inputs, box=whole_picture(inputs.box))
        blind = None
        if self.kind == "none" and not self.geometry:
            blind = torch.ones(len(inputs), dtype=torch.bool, device=tokens.device)
        encoded = HandTokens(tokens, inputs)
        # Prompts belong to pictures, of which one may have several hands.
        seen, dropped = (text, drop_text[inputs.picture]) if self.text else (None, None)
        return self.adapter.residuals(
            encoded, LATENT_SIZE, LATENT_SIZE, seen, drop_text=dropped, box_only=blind, dense=True
        )

    def at(self, prepared: dict[int, Tensor], noisy: Tensor, time: Tensor, text: Tensor) -> Added:
        return Added(prepared)

    def _tokens(self, inputs: HandInputs) -> Tensor:
        width, count = self.adapter.config.width, self.adapter.config.graph.nodes[2]
        if self.kind == "gcn":
            return self.adapter.encoder(inputs.vertices, inputs.points, inputs.side)
        if self.learned is not None:
            return self.learned.expand(len(inputs), -1, -1)
        return torch.zeros(len(inputs), count, width, device=inputs.box.device)


def whole_picture(box: Tensor) -> Tensor:
    """The box of the whole picture for every one of boxes [N, 4]."""
    corner = torch.zeros_like(box[:, :2])
    return torch.cat([corner, corner + 1], 1)


def in_picture(inputs: HandInputs) -> HandInputs:
    """The same hands with the whole picture as their box: points and geometry lie where they were."""
    low, high = inputs.box[:, None, :2], inputs.box[:, None, 2:]
    raster = over_picture(inputs.geometry, inputs.box, inputs.geometry.shape[-1])
    points = low + inputs.points * (high - low)
    return dataclasses.replace(inputs, box=whole_picture(inputs.box), points=points, geometry=raster)


class T2IGuide(Guide):
    """diffusers' T2IAdapter on depth and normals, into HanDrawer's injection sites through projections from zero."""

    def __init__(self, description: UNetDescription, channels: tuple[int, ...] = (68, 136, 208)) -> None:
        from diffusers import T2IAdapter

        super().__init__()
        self.network = T2IAdapter(CHANNELS, list(channels), num_res_blocks=2, downscale_factor=8)
        self.projections = nn.ModuleDict(
            {str(s.block): nn.Conv2d(channels[s.level], s.channels, 1, bias=False) for s in description.sites}
        )
        self.levels = {s.block: s.level for s in description.sites}
        for projection in self.projections.values():
            nn.init.zeros_(projection.weight)  # pyright: ignore[reportArgumentType]

    def prepare(self, inputs: HandInputs, text: Tensor, drop_text: Tensor) -> dict[int, Tensor]:
        features = self.network(condition_pictures(inputs))
        return {block: self.projections[str(block)](features[level]) for block, level in self.levels.items()}

    def at(self, prepared: dict[int, Tensor], noisy: Tensor, time: Tensor, text: Tensor) -> Added:
        return Added(prepared)


class ControlGuide(Guide):
    """diffusers' ControlNet on depth and normals, its encoder copied from the base."""

    def __init__(self, base: FrozenBase) -> None:
        from diffusers import ControlNetModel

        super().__init__()
        unet = copy.deepcopy(base.pipe.unet).to("cpu")
        self.network: Any = ControlNetModel.from_unet(unet, conditioning_channels=CHANNELS)
        self.network.requires_grad_(True)
        self.dtype = base.dtype

    def prepare(self, inputs: HandInputs, text: Tensor, drop_text: Tensor) -> Tensor:
        return condition_pictures(inputs)

    def at(self, prepared: Tensor, noisy: Tensor, time: Tensor, text: Tensor) -> Added:
        low = {k: v.to(self.dtype) for k, v in self.network.state_dict(keep_vars=True).items()}
        given = (noisy.to(self.dtype), time, text.to(self.dtype), prepared.to(self.dtype))
        with torch.autocast(noisy.device.type, enabled=False):
            skips, mid = torch.func.functional_call(self.network, low, given, {"return_dict": False})
        return Added({}, tuple(skips), mid)


@dataclass(frozen=True)
class Arm:
    """One row of the table.

    Attributes:
        title: what the table says.
        network: "adapter", "tokens" (an adapter that must learn from tokens alone where the hand is, or what it looks
            like), "t2i" or "control": kinds of which each has its own learning rate.
        loss: "hand" (denoising and hand loss), "plain" (denoising alone) or "mask" (mask-weighted denoising instead).
        options: of AdapterGuide.
        changes: of HanDrawerConfig.
        variant: the adapter's class.
        coarse: without the sites at the finest resolution.
    """

    title: str
    network: str = "adapter"
    loss: str = "hand"
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    changes: dict[str, Any] = dataclasses.field(default_factory=dict)
    variant: type[HanDrawer] = HanDrawer
    coarse: bool = False


# Where a part with weights is taken out, the perceptrons of the fusion are widened, so that the parameters stay equal.
ARMS: dict[str, Arm] = {
    "full": Arm("full"),
    "geometry": Arm("geometry without the GCN", options={"tokens": "learned"}, changes={"mlp_ratio": 3.0}),
    "gcn": Arm("GCN tokens without geometry", network="tokens", variant=WithoutGeometry, changes={"mlp_ratio": 2.25}),
    "box": Arm("box only", options={"tokens": "none", "geometry": False}, changes={"mlp_ratio": 3.25}),
    "stretched": Arm("without PPZP: spread over the picture", network="tokens", options={"spread": "stretched"}),
    "t2i": Arm("T2I-Adapter, depth and normals", network="t2i"),
    "whole": Arm("whole cells instead of sub-cells", variant=WholeCells),
    "plain": Arm("without the hand loss", loss="plain"),
    "mask": Arm("mask-weighted denoising in its place", loss="mask"),
    "control": Arm("ControlNet, depth and normals", network="control"),
    "coarse": Arm("without the finest site", coarse=True, changes={"mlp_ratio": 5.445}),
    "silent": Arm("without text in the fusion", options={"text": False}, changes={"mlp_ratio": 4.06}),
    "unpadded": Arm("in place, but not cut off at the box", options={"spread": "unpadded"}),
    "small": Arm("half width", changes={"width": 64, "graph_widths": (16, 32, 64)}),
}


def make_guide(name: str, base: FrozenBase) -> Guide:
    """An untrained arm, weights from the global generator; on the CPU."""
    arm = ARMS[name]
    if arm.network == "t2i":
        return T2IGuide(base.description)
    if arm.network == "control":
        return ControlGuide(base)
    description = base.description
    if arm.coarse:
        description = dataclasses.replace(description, sites=tuple(s for s in description.sites if s.level > 0))
    return AdapterGuide(make_adapter(arm.variant, description, _on_cpu(base.model), **arm.changes), **arm.options)


@functools.lru_cache(maxsize=2)
def _on_cpu(model: HandModel) -> HandModel:
    return model.to("cpu")


def learned_parameters(guide: nn.Module) -> int:
    """How many numbers learn."""
    return sum(p.numel() for p in guide.parameters() if p.requires_grad)
