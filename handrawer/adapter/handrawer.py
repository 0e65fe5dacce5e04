"""HanDrawer: hands and text in, residual feature maps for a UNet's encoder out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..counters import counters
from ..hand.model import HandModel
from .config import GEOMETRY_CHANNELS, AdapterMetadata, HanDrawerConfig
from .fusion import Cells, LevelFusion, describe_cells, look_up
from .gcn import GraphMatrices, MeshEncoder
from .inputs import HandInputs, hand_inputs, hand_inputs_from_tensors
from .mesh_graph import build_graph, topology_hash
from .ppzp import Window, box_in_cells, cell_coverage, covered_cells, full_window, shares, silhouette_share
from .unet import UNetDescription

__all__ = ["HanDrawer", "HanDrawerConfig", "HandInputs", "HandTokens", "hand_inputs", "hand_inputs_from_tensors"]


@dataclass(frozen=True)
class HandTokens:
    """Encoded hands: tokens [N, T, C] and the inputs that they came from. They fit any picture size."""

    tokens: Tensor
    inputs: HandInputs

    def to(self, device: torch.device | str) -> HandTokens:
        return HandTokens(self.tokens.to(device), self.inputs.to(device))

    def hand(self, index: Tensor | slice) -> HandTokens:
        """Some of the hands, in the given order, of the same pictures."""
        return HandTokens(self.tokens[index], self.inputs.hand(index))

    def weighted(self, factors: Sequence[float] | Tensor) -> HandTokens:
        """The same hands, each one's maps multiplied by a factor of its own: [N], on top of the weight it has."""
        given = torch.as_tensor(factors, dtype=torch.float32).to(self.inputs.weight.device)
        if given.shape != self.inputs.weight.shape:
            raise ValueError(f"{given.numel()} factors do not fit {len(self.inputs)} hands: give one for each.")
        return HandTokens(self.tokens, dataclasses.replace(self.inputs, weight=self.inputs.weight * given))


@dataclass(frozen=True)
class _Text:
    """Projected text tokens [N, L, C] of each hand's picture, and which of them may be attended to [N, L] or None."""

    tokens: Tensor
    mask: Tensor | None

    def hand(self, index: slice) -> _Text:
        return _Text(self.tokens[index], None if self.mask is None else self.mask[index])


@dataclass(frozen=True)
class DescribedLevel:
    """Of one level: what its cells know of N hands, and the share of every cell [N, h, w] that belongs to each."""

    cells: Cells
    share: Tensor


@dataclass(frozen=True)
class Described:
    """What `HanDrawer.describe` gives, level by level."""

    levels: tuple[DescribedLevel, ...]

    def hand(self, index: Tensor | slice) -> Described:
        """That of some of the hands."""

        def chosen(level: DescribedLevel) -> DescribedLevel:
            cells = Cells(*(getattr(level.cells, field.name)[index] for field in dataclasses.fields(Cells)))
            return DescribedLevel(cells, level.share[index])

        return Described(tuple(chosen(level) for level in self.levels))


class HanDrawer(nn.Module):
    """The adapter. `encode` the hands once, then make `residuals` for each latent size and text.

    operations gives the layers (Linear, LayerNorm, Embedding, Conv2d), default torch.nn; ComfyUI passes its own.
    metadata is what the file said that it was loaded from, None for a new one.
    """

    metadata: AdapterMetadata | None = None

    def __init__(self, config: HanDrawerConfig, operations: Any = nn) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.encoder = MeshEncoder(config.graph, config.graph_widths, config.graph_layers, operations)
        self.text = operations.Linear(config.unet.context_width, width)
        self.no_text = operations.Embedding(1, width)
        self.no_hand = operations.Embedding(1, width)
        for embedding in (self.no_text, self.no_hand):
            nn.init.normal_(embedding.weight, std=0.5)
        self.fusions = nn.ModuleDict(
            {
                str(level): LevelFusion(
                    sites={site.block: site.channels for site in config.unet.sites if site.level == level},
                    width=width,
                    heads=config.heads,
                    blocks=config.blocks,
                    hidden=round(width * config.mlp_ratio),
                    geometry_channels=GEOMETRY_CHANNELS * config.subcells**2,
                    frequencies=config.frequencies,
                    operations=operations,
                )
                for level in config.unet.levels
            }
        )

    @property
    def negative_hand(self) -> str:
        """ "same" or "none": what the negative rows get under guidance."""
        return self.config.negative_hand

    @staticmethod
    def create(
        description: UNetDescription,
        model: HandModel,
        operations: Any = nn,
        clusters: tuple[int, int] = (256, 64),
        **changes: Any,
    ) -> HanDrawer:
        """A new, untrained adapter for a UNet and a hand model; `changes` are fields of HanDrawerConfig.

        Weights are drawn from torch's global generator: seed it first.
        """
        graph = build_graph(model, clusters)
        config = HanDrawerConfig.for_description(description, model, graph, **changes)
        adapter = HanDrawer(config, operations)
        adapter.encoder.load_graph(graph)
        return adapter

    def check_model(self, model: HandModel) -> None:
        """Raise ValueError unless `model` has the mesh that this adapter was trained with."""
        if topology_hash(model) != self.config.topology:
            raise ValueError(
                f"This adapter was trained with the hand model {self.config.hand_model!r} ({self.encoder.nodes[0]} "
                f"vertices), {model.name!r} has another mesh of {len(model.template)}: encode hands of the former."
            )

    def encode(self, inputs: HandInputs, matrices: GraphMatrices | None = None) -> HandTokens:
        """The graph network: inputs of N hands -> tokens [N, T, width]; `matrices` as `MeshEncoder.matrices` makes
        them, or None to make them for this call.

        Outside training each hand is encoded alone, so that its tokens do not depend, to the last bit, on the others.
        """
        expected = self.encoder.nodes[0]
        if inputs.vertices.shape[1] != expected:
            raise ValueError(
                f"This adapter encodes hands of {expected} vertices ({self.config.hand_model!r}), these have "
                f"{inputs.vertices.shape[1]}: refit them to that model first."
            )
        if self.training or len(inputs) <= 1:
            tokens = self.encoder(inputs.vertices, inputs.points, inputs.side, matrices)
        else:
            each = [slice(i, i + 1) for i in range(len(inputs))]
            graph = self.encoder.matrices() if matrices is None else matrices
            found = [self.encoder(inputs.vertices[i], inputs.points[i], inputs.side[i], graph) for i in each]
            tokens = torch.cat(found)
        if not self.training:
            counters.count("encode")
        return HandTokens(tokens, inputs)

    @torch.no_grad()
    def describe(
        self, inputs: HandInputs, latent_height: int, latent_width: int, box_only: Tensor | None = None
    ) -> Described:
        """What the cells of all levels know of the hands before anything is learned: it depends on no weight, so a
        training can make it with its batches. The arguments are those of `residuals`, which takes it."""
        silhouettes = self._silhouettes(inputs, box_only)
        box = box_in_cells(inputs.box, latent_height, latent_width)
        found = []
        for level in self.config.unet.levels:
            window = full_window(level, latent_height, latent_width, inputs.box.device)
            share = self._shares(inputs, box, silhouettes, window)
            found.append(DescribedLevel(self._describe(inputs, box, window), share))
        return Described(tuple(found))

    def residuals(
        self,
        tokens: HandTokens,
        latent_height: int,
        latent_width: int,
        text: Tensor | None = None,
        text_mask: Tensor | None = None,
        *,
        drop_text: Tensor | None = None,
        drop_hand: Tensor | None = None,
        box_only: Tensor | None = None,
        dense: bool | None = None,
        described: Described | None = None,
    ) -> dict[int, Tensor]:
        """Residual maps for a latent of the given size (in latent cells): block -> [B, C, h, w].

        text       [B, L, D] (or [1, L, D] for all pictures) the UNet's own context, any length; None: no text
        text_mask  [B, L] bool, false at tokens to leave out; None: all count
        drop_text  [N] bool, these hands see the null text
        drop_hand  [N] bool, these hands give exactly zero
        box_only   [N] bool, these hands are known by box and text alone (the control of the evaluation)
        dense      compute all cells in one batch, as training wants it, or only the covered cells hand by hand; both
                   give the same maps. None: dense while training
        described  of the same hands, sizes and box_only, by `describe`; dense. None: made for this call

        Exactly zero outside the boxes. The order of a picture's hands does not matter. N = 0 gives zeros.
        """
        inputs = tokens.inputs
        dense = described is not None or (self.training if dense is None else dense)
        if drop_hand is not None:
            weight = torch.where(drop_hand.to(inputs.weight.device), 0, inputs.weight)
            tokens = HandTokens(tokens.tokens, dataclasses.replace(inputs, weight=weight))
        if not dense:
            order = torch.tensor(_fixed_order(inputs), dtype=torch.int64, device=inputs.box.device)
            tokens = tokens.hand(order)
            drop_text, box_only = (None if drop is None else drop[order] for drop in (drop_text, box_only))
        hands, words = self._memories(tokens, text, text_mask, drop_text, box_only)
        inputs = tokens.inputs
        silhouettes = self._silhouettes(inputs, box_only)
        box = box_in_cells(inputs.box, latent_height, latent_width)
        found: dict[int, Tensor] = {}
        for place, level in enumerate(self.config.unet.levels):
            if described is not None:
                known = described.levels[place]
                weight = known.share * inputs.weight[:, None, None]
                maps = self.fusions[str(level)](known.cells, hands, words.tokens, words.mask, weight, box_only)
                found |= self._added(maps, inputs)
                continue
            window = full_window(level, latent_height, latent_width, inputs.box.device)
            weight = self._weights(inputs, box, silhouettes, window)
            fill = self._dense if dense else self._gathered
            found |= fill(level, inputs, box, window, weight, hands, words, box_only)
        if not self.training:
            counters.count("fusion")
        return {site.block: found[site.block] for site in self.config.unet.sites}

    def _memories(
        self,
        tokens: HandTokens,
        text: Tensor | None,
        text_mask: Tensor | None,
        drop_text: Tensor | None,
        box_only: Tensor | None,
    ) -> tuple[Tensor, _Text]:
        """What the cells attend to: hand tokens [N, T, C], and text tokens of each hand's picture."""
        hand = tokens.tokens
        if box_only is not None:
            hand = torch.where(box_only[:, None, None], look_up(self.no_hand, hand), hand)
        nothing = look_up(self.no_text, hand)
        if text is None:
            return hand, _Text(nothing.expand(len(hand), 1, -1), None)
        pictures = tokens.inputs.pictures
        if len(text) not in (1, pictures) or text.shape[2] != self.config.unet.context_width:
            raise ValueError(
                f"The text must be [{pictures}, tokens, {self.config.unet.context_width}] for {pictures} pictures and "
                f"this adapter's base {self.config.unet.name!r}; it is {list(text.shape)}."
            )
        # Prompts weighted up or down differ in scale, zeroed ones are all zero: the norm makes them comparable.
        text = text.to(hand)
        words = self.text(nn.functional.layer_norm(text, text.shape[-1:]))
        row = tokens.inputs.picture if len(text) == pictures else torch.zeros_like(tokens.inputs.picture)
        words = words.index_select(0, row)
        mask = None if text_mask is None else text_mask.bool().index_select(0, row)
        dropped = torch.zeros(len(hand), dtype=torch.bool, device=hand.device) if drop_text is None else drop_text
        if mask is not None:
            # Without a single token to look at, it is no text; a row without any key would give NaN.
            dropped = dropped | ~mask.any(1)
            mask = mask | dropped[:, None]
        if drop_text is not None or mask is not None:
            # Equal keys share the attention equally, so L null tokens are the same as one.
            words = torch.where(dropped[:, None, None], nothing.to(words.dtype), words)
        return hand, _Text(words, mask)

    @staticmethod
    def _silhouettes(inputs: HandInputs, box_only: Tensor | None) -> Tensor:
        return inputs.visible if box_only is None else torch.where(box_only[:, None, None], 0, inputs.visible)

    @staticmethod
    @torch.no_grad()
    def _weights(inputs: HandInputs, box: Tensor, silhouettes: Tensor, window: Window) -> Tensor:
        """[N, h, w] footprint coverage times the share between hands times the hand's weight."""
        return HanDrawer._shares(inputs, box, silhouettes, window) * inputs.weight[:, None, None]

    @staticmethod
    @torch.no_grad()
    def _shares(inputs: HandInputs, box: Tensor, silhouettes: Tensor, window: Window) -> Tensor:
        """[N, h, w] footprint coverage times the share between hands."""
        with torch.autocast(box.device.type, enabled=False):
            coverage = cell_coverage(box, window)
            if inputs.alone:
                return coverage
            silhouette = silhouette_share(silhouettes, box, window)
            return coverage * shares(coverage, silhouette, inputs.picture, inputs.pictures)

    def _dense(self, level, inputs, box, window, weight, hands, words, box_only) -> dict[int, Tensor]:
        """All cells of all hands in one batch."""
        return self._added(self._fuse(level, inputs, box, window, weight, hands, words, box_only), inputs)

    @staticmethod
    def _added(maps: dict[int, Tensor], inputs: HandInputs) -> dict[int, Tensor]:
        """Maps of the hands [N, C, h, w], added up to those of the pictures."""
        empty = {block: m.new_zeros(inputs.pictures, *m.shape[1:]) for block, m in maps.items()}
        return {block: empty[block].index_add(0, inputs.picture, m) for block, m in maps.items()}

    def _gathered(self, level, inputs, box, window, weight, hands, words, box_only) -> dict[int, Tensor]:
        """Hand by hand, on the cells that its box touches; the hands come in a fixed order."""
        sites = [site for site in self.config.unet.sites if site.level == level]
        size = (window.height, window.width)
        maps = {s.block: torch.zeros(inputs.pictures, s.channels, *size, device=box.device) for s in sites}
        for k in range(len(inputs)):
            part = covered_cells(box[k : k + 1], window)
            if part is None or not bool(weight[k].any()):
                continue
            one = slice(k, k + 1)
            rows, columns = slice(part.top, part.top + part.height), slice(part.left, part.left + part.width)
            only = None if box_only is None else box_only[one]
            found = self._fuse(
                level, inputs.hand(one), box[one], part, weight[one, rows, columns], hands[one], words.hand(one), only
            )
            for block, values in found.items():
                maps[block] = maps[block].to(values.dtype)
                maps[block][inputs.picture[k], :, rows, columns] += values[0]
        return maps

    def _describe(self, inputs: HandInputs, box: Tensor, window: Window) -> Cells:
        with torch.autocast(box.device.type, enabled=False):
            return describe_cells(box, inputs.geometry, window, self.config.subcells, self.config.frequencies)

    def _fuse(self, level, inputs, box, window, weight, hands, words, box_only) -> dict[int, Tensor]:
        cells = self._describe(inputs, box, window)
        return self.fusions[str(level)](cells, hands, words.tokens, words.mask, weight, box_only)


def _fixed_order(inputs: HandInputs) -> list[int]:
    """Hands sorted by what they are, so that rounding in sums does not depend on the order of the list."""
    keys = torch.cat([inputs.box, inputs.side[:, None], inputs.vertices[:, :2].flatten(1)], 1).tolist()
    return sorted(range(len(inputs)), key=lambda k: keys[k])
