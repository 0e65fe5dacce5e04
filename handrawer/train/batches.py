"""What one step sees: latents, text, hands, and what is random about each sample."""

from __future__ import annotations

import dataclasses
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..adapter.handrawer import Described
from ..adapter.inputs import HandInputs, hand_inputs
from ..hand.convert import refit_for
from ..hand.hands import Frame, Hands
from ..hand.model import HandModel
from ..render.maps import render_layers
from ..render.moving import transform_picture
from .bases import Base, weights_hash
from .buckets import Plan, Planned, Size, crop_for
from .cache import Cache, name_of
from .config import DropConfig
from .sources import Example, Source, Synthetic
from .state import step_generator
from .text import Text

log = logging.getLogger("handrawer")
CELL = 8  # pixels of a latent cell
TRIES = 20  # pictures in a row that may be unreadable
KEPT_TEXTS = 256


@dataclass(frozen=True)
class Chances:
    """What is random about B samples besides their choice, each by its own generator.

    Attributes:
        time: [B] int64.
        noise, spread: [B, C, h, w] standard normal: the diffusion's, and the VAE's within its own uncertainty.
        drop_text, drop_hand, box_only: [B] bool.
    """

    time: Tensor
    noise: Tensor
    spread: Tensor
    drop_text: Tensor
    drop_hand: Tensor
    box_only: Tensor

    def to(self, device: torch.device) -> Chances:
        return Chances(*(getattr(self, field.name).to(device) for field in dataclasses.fields(self)))


def draw_chances(
    seed: int, positions: Sequence[int], shape: tuple[int, int, int], drop: DropConfig, times: int, kind: str
) -> Chances:
    """The chances of samples by their places in the run, on the CPU: alike in any process and on any device.

    Args:
        positions: how many samples of all processes come before each one.
        shape: of a latent, [C, h, w].
        times: how many there are.
        kind: "uniform", or "cubic": t = (1 - u^3) T.
    """
    rows = []
    for position in positions:
        generator = step_generator(seed, position, "cpu")
        u = torch.rand(4, generator=generator, dtype=torch.float64)
        share = float(u[0]) if kind == "uniform" else 1 - float(u[0]) ** 3
        noise = torch.randn(2, *shape, generator=generator)
        rows.append(
            (min(int(share * times), times - 1), u[1] < drop.text, u[2] < drop.hand, u[3] < drop.box_only, noise)
        )
    noise = torch.stack([row[4] for row in rows])
    flags = torch.tensor([[bool(flag) for flag in row[1:4]] for row in rows]).reshape(-1, 3)
    return Chances(torch.tensor([row[0] for row in rows]), noise[:, 0], noise[:, 1], *flags.unbind(1))


@dataclass(frozen=True)
class Batch:
    """B samples of one size.

    Attributes:
        names: for messages.
        captions: in words.
        moments: [B, 8 or 4, h, w], see `Base.moments`.
        text: their features, those of dropped ones still their own.
        inputs: of the adapter, all hands of all pictures.
        mask: [B, 1, h, w] share of each latent cell that hands cover.
        chances: what is random.
        depth: [B, 3, H, W] in 0..1, for a ControlNet, or None.
        described: what the adapter's cells know of the hands, or None: it is made when the batch is used.
    """

    names: list[str]
    captions: list[str]
    moments: Tensor
    text: Text
    inputs: HandInputs
    mask: Tensor
    chances: Chances
    depth: Tensor | None = None
    described: Described | None = None

    def parts(self, size: int) -> list[Batch]:
        """The samples in batches of `size`, each with its own hands."""
        if len(self.names) == size:
            return [self]
        places = self.inputs.picture.tolist()
        return [self._part(slice(i, i + size), places) for i in range(0, len(self.names), size)]

    def _part(self, rows: slice, places: list[int]) -> Batch:
        own = [k for k, place in enumerate(places) if rows.start <= place < rows.stop]
        together = own == list(range(own[0], own[-1] + 1)) if own else True  # then no index is brought to the device
        index = slice(own[0], own[-1] + 1) if own and together else torch.tensor(own, device=self.mask.device).long()
        hands = self.inputs.hand(index)
        chances = Chances(*(getattr(self.chances, field.name)[rows] for field in dataclasses.fields(Chances)))
        return Batch(
            self.names[rows], self.captions[rows], self.moments[rows], self.text.rows(rows),
            dataclasses.replace(
                hands, picture=hands.picture - rows.start, sizes=hands.sizes[rows],
                alone=len({places[k] for k in own}) == len(own),
            ),
            self.mask[rows], chances, None if self.depth is None else self.depth[rows],
            None if self.described is None else self.described.hand(index),
        )  # fmt: skip

    def save(self, path: Path) -> None:
        """Everything of the batch as safetensors, for a look at what went wrong."""
        import json

        from safetensors.torch import save_file

        tensors = {"moments": self.moments, "mask": self.mask, "context": self.text.context}
        tensors |= {f"hand_{f.name}": getattr(self.inputs, f.name) for f in dataclasses.fields(self.inputs)}
        tensors |= {f"chance_{f.name}": getattr(self.chances, f.name) for f in dataclasses.fields(self.chances)}
        if self.text.pooled is not None:
            tensors["pooled"] = self.text.pooled
        told = {"names": json.dumps(self.names), "captions": json.dumps(self.captions)}
        flat = {k: t.detach().cpu().contiguous().clone() for k, t in tensors.items() if isinstance(t, Tensor)}
        save_file(flat, path, metadata=told)


def latent_mask(hands: Hands, size: Size, device: torch.device) -> Tensor:
    """[B, 1, h, w]: the share of each latent cell that hands cover; hands on pictures of `size`."""
    width, height = size
    drawn = render_layers(hands, ("mask",), 2 * width // CELL, 2 * height // CELL, device=device)["mask"]
    return F.avg_pool2d(drawn[:, None].float(), 2)


class TextMaker:
    """Text features of captions: with a cache each caption is encoded once, else those of a batch together."""

    def __init__(self, base: Base, cache: Cache | None) -> None:
        self.base, self.cache = base, cache
        self.key = "" if cache is None else name_of(*(weights_hash(e) for e in base.text.encoders), base.text.clip_skip)
        self._kept: OrderedDict[str, Text] = OrderedDict()

    def __call__(self, captions: Sequence[str]) -> Text:
        if self.cache is None:
            return self.base.text(list(captions))
        return Text.join([self._one(self.cache, caption) for caption in captions])

    def _one(self, cache: Cache, caption: str) -> Text:
        if caption not in self._kept:
            self._kept[caption] = self._made(cache, caption)
        self._kept.move_to_end(caption)
        if len(self._kept) > KEPT_TEXTS:
            self._kept.popitem(last=False)
        return self._kept[caption]

    def _made(self, cache: Cache, caption: str) -> Text:
        name = name_of("text", self.key, caption)
        found = cache.get(name)
        if found is not None:
            return Text(found["context"], found.get("pooled")).to(self.base.unet.device)
        text = self.base.text([caption])
        pooled = {} if text.pooled is None else {"pooled": text.pooled}
        cache.put(name, {"context": text.context, **pooled})
        return text


class BatchMaker:
    """Makes the batches of a run.

    Args:
        base: the frozen model, on its device.
        model: the adapter's hand model.
        raster: pixels of its geometry rasters.
        drop, seed, timesteps: see `draw_chances`.
        depth: whether depth pictures are drawn.
        cache: for latents and text, or None.
    """

    def __init__(
        self, base: Base, model: HandModel, raster: int, drop: DropConfig, seed: int, timesteps: str = "uniform",
        depth: bool = False, cache: Cache | None = None,
    ) -> None:  # fmt: skip
        self.base, self.raster, self.drop, self.seed = base, raster, drop, seed
        self.timesteps, self.depth, self.cache = timesteps, depth, cache
        self.device = base.a.device
        self.model = model.to(self.device)
        self.texts = TextMaker(base, cache)
        self.vae_key = "" if cache is None else weights_hash(base.vae)

    def chances(self, positions: Sequence[int], size: Size) -> Chances:
        shape = (self.base.description.latent_channels, size[1] // CELL, size[0] // CELL)
        times = len(self.base.a)
        return draw_chances(self.seed, positions, shape, self.drop, times, self.timesteps).to(self.device)

    @torch.no_grad()
    def synthetic(self, source: Synthetic[Any], numbers: list[int], positions: Sequence[int]) -> Batch:
        """Pictures of the generator, drawn on the device."""
        scene = source.scene(numbers)
        size = (source.size, source.size)
        captions = source.captions(scene)
        depth = self._depth(source.hands(scene)) if self.depth else None
        return Batch(
            [f"synthetic {number}" for number in numbers], captions, self.base.moments(source.pictures(scene)),
            self.texts(captions), source.inputs(scene, self.raster),
            source.mask(scene, source.size // CELL, source.size // CELL), self.chances(positions, size), depth,
        )  # fmt: skip

    @torch.no_grad()
    def pictures(self, cropped: Sequence[Cropped], size: Size, positions: Sequence[int]) -> Batch:
        """Pictures that were read."""
        hands = Hands(tuple(one.frame for one in cropped))
        captions = [one.example.caption for one in cropped]
        return Batch(
            [one.example.name for one in cropped], captions, torch.cat([self._moments(one) for one in cropped]),
            self.texts(captions), hand_inputs(hands, self.model, self.raster, self.device),
            latent_mask(hands, size, self.device), self.chances(positions, size),
            self._depth(hands) if self.depth else None,
        )  # fmt: skip

    def _moments(self, one: Cropped) -> Tensor:
        found = None if self.cache is None else self.cache.get(self.latent_name(one.content))
        if found is not None:
            return found["moments"].to(self.device)
        if one.picture is None:
            raise RuntimeError(f"{one.example.name} was not decoded, although the cache does not hold it.")
        moments = self.base.moments(one.picture.to(self.device))
        if self.cache is not None:
            self.cache.put(self.latent_name(one.content), {"moments": moments})
        return moments

    def latent_name(self, content: str) -> str:
        return name_of("latents", self.vae_key, content)

    def knows(self, content: str) -> bool:
        """Whether the latents of this crop are in the cache."""
        return self.cache is not None and self.latent_name(content) in self.cache

    def _depth(self, hands: Hands) -> Tensor:
        return render_layers(hands, ("depth",), device=self.device)["depth"][:, None].expand(-1, 3, -1, -1).float()


@dataclass(frozen=True)
class Cropped:
    """An example cropped to its bucket. picture: [1, 3, H, W], or None where its latents are in the cache."""

    example: Example
    frame: Frame
    content: str
    picture: Tensor | None


class Loader:
    """Reads the pictures of the steps to come in threads, while the device works.

    Args:
        source: of pictures.
        plan: which step sees which.
        model: hands of other models are refitted to it.
        knows: whether a crop's latents need no picture, see `BatchMaker.knows`.
        threads: that read.
    """

    def __init__(
        self, source: Source, plan: Plan, model: HandModel, knows: Callable[[str], bool], threads: int = 4
    ) -> None:
        self.source, self.plan, self.model, self.knows = source, plan, model, knows
        self.skipped = 0
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="handrawer-read")
        self._ahead: dict[tuple[int, tuple[int, int]], list[Future[Cropped]]] = {}

    def take(self, step: int, part: slice, following: Sequence[tuple[int, slice]] = ()) -> tuple[Size, list[Cropped]]:
        """The samples `part` of a step; the reading of `following` begins meanwhile."""
        futures = self._ahead.pop((step, _key(part)), None) or self._begin(step, part)
        for later in following:
            if (later[0], _key(later[1])) not in self._ahead:
                self._ahead[(later[0], _key(later[1]))] = self._begin(*later)
        return self.plan.step(step).size, [future.result() for future in futures]

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self, step: int, part: slice) -> list[Future[Cropped]]:
        planned = self.plan.step(step)
        return [self._pool.submit(self._read, planned, place) for place in planned.places[part]]

    def _read(self, planned: Planned, place: int) -> Cropped:
        """A sample, or the next readable one of its bucket; each one that is skipped is told."""
        for tried in [place, *self.plan.others(planned.size, place)][:TRIES]:
            try:
                return crop_example(self.source.load(tried), planned.size, self.model, self.knows)
            except (OSError, ValueError) as error:
                self.skipped += 1
                log.warning("%s It is skipped.", error)
        raise ValueError(
            f"No picture of {planned.size[0]} x {planned.size[1]} can be read: look at the log and the data."
        )


def _key(part: slice) -> tuple[int, int]:
    return (part.start or 0, part.stop)


def crop_example(
    example: Example, size: Size, model: HandModel, knows: Callable[[str], bool] = lambda content: False
) -> Cropped:
    """An example cropped to a size, its hands with it; ValueError or OSError where it cannot be read."""
    transform = crop_for(example.frame, size)
    frame = refit_for(Hands((transform.frame(example.frame),)), model.name)[0].frames[0]
    content = name_of(example.content, size, f"{transform.scale:.6f} {transform.offset_x:.3f} {transform.offset_y:.3f}")
    if knows(content):
        return Cropped(example, frame, content, None)
    picture = transform_picture(example.picture()[None, ..., :3], transform).clamp(0, 1)
    return Cropped(example, frame, content, picture.permute(0, 3, 1, 2).contiguous())
