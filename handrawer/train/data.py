"""Synthetic samples ready for the denoiser: latents and token ids kept, hands posed again for every batch or kept too.

The latent of each picture (8 KB) and three wordings of its caption are made once. The hand follows from the sample's
number, so its mesh and its rasters can be made on the device when a batch is drawn; where there is memory for them
(300 KB a sample) they are drawn once as well, which makes the steps of a GPU faster.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..adapter.inputs import HandInputs, hand_inputs_from_tensors, join_inputs
from ..hand.model import HandModel
from ..mini.captions import BACKGROUNDS, GESTURE_PHRASES, LIGHTS, NAILS, SIDES, SKINS, SLEEVES, VIEWS
from ..mini.modules import END, PAD, START, TEXT_TOKENS, make_tokenizer
from ..mini.picture import Skin, draw_pictures
from ..mini.random_table import uniforms
from ..mini.scene import GESTURE_NAMES, NAMELESS, Scene, draw_scenes
from ..render.rasterise import rasterise
from .state import step_generator

log = logging.getLogger("handrawer")
WORDINGS = 3  # the first one says everything
KEEP = 0.8  # chance of each part of a caption to be said in the others


@dataclass(frozen=True)
class Drawn:
    """What is drawn of N samples' hands.

    Attributes:
        inputs: of the adapter; one hand a picture, so the silhouettes, which divide a cell between hands, are left out.
        mask: [N, 1, h, w], share of each latent cell that the hand covers.
    """

    inputs: HandInputs
    mask: Tensor

    def rows(self, row: Tensor, kept: int) -> Drawn:
        """The samples `row` [B] as pictures 0..B - 1: masks of all, inputs of the first `kept` ones."""
        inputs = self.inputs.hand(row[:kept])
        inputs = dataclasses.replace(
            inputs,
            geometry=inputs.geometry.float(),
            picture=torch.arange(kept, device=row.device),
            sizes=self.inputs.sizes[:1].expand(kept, 2),
        )
        return Drawn(inputs, self.mask[row].float())


@dataclass(frozen=True)
class Samples:
    """N encoded samples.

    Attributes:
        seed: of the scenes.
        latents: [N, 4, h, w] float16, the VAE's latents of the pictures.
        tokens: [N, WORDINGS, 77] uint8 token ids.
        named: [K] int64, the samples whose pose has a name.
        drawn: what is drawn of their hands, or None: then it is drawn for every batch.
    """

    seed: int
    latents: Tensor
    tokens: Tensor
    named: Tensor
    drawn: Drawn | None = None

    def __len__(self) -> int:
        return len(self.latents)


@dataclass(frozen=True)
class Batch:
    """What one step sees of B samples, of which the first ones have a hand.

    Attributes:
        latents: [B, 4, h, w] float32.
        tokens: [B, 77] int64 token ids.
        drawn: the adapter's inputs of the first hands, and the masks of all.
    """

    latents: Tensor
    tokens: Tensor
    drawn: Drawn

    @property
    def kept(self) -> int:
        """How many samples have a hand."""
        return self.drawn.inputs.pictures


def scene_inputs(scene: Scene, model: HandModel, raster: int) -> HandInputs:
    """The adapter's inputs of synthetic scenes, one hand a picture."""
    middle = torch.full_like(scene.focal, 0.5)
    return hand_inputs_from_tensors(
        scene.posed.vertices, scene.focal, middle, middle, 256, 256, scene.left, model, raster
    )


def hand_mask(scene: Scene, model: HandModel, height: int, width: int) -> Tensor:
    """Share of each latent cell that the hand covers, [B, 1, height, width]; drawn at two pixels a cell."""
    scale = torch.tensor([2.0 * width, 2.0 * height], device=scene.focal.device)
    pixels = torch.cat([scene.project(scene.posed.vertices) * scale, scene.posed.vertices[..., 2:]], -1)
    picture = torch.arange(len(pixels), device=pixels.device)
    drawn = rasterise(pixels, model.faces, picture, len(pixels), 2 * height, 2 * width, cull="back")
    return F.avg_pool2d(drawn.covered[:, None].float(), 2)


@torch.no_grad()
def draw_hands(scene: Scene, model: HandModel, raster: int, height: int, width: int) -> Drawn:
    """What the adapter and the hand loss want of scenes, for latents of height x width cells."""
    inputs = scene_inputs(scene, model, raster)
    return Drawn(dataclasses.replace(inputs, visible=inputs.visible[:, :1, :1]), hand_mask(scene, model, height, width))


def keep_drawn(samples: Samples, model: HandModel, raster: int, chunk: int = 256) -> Samples:
    """The samples with what is drawn of their hands, 300 KB each at a raster of 128, on the model's device."""
    size = samples.latents.shape[-2:]
    parts = []
    for start in range(0, len(samples), chunk):
        index = torch.arange(start, min(start + chunk, len(samples)), device=samples.latents.device)
        part = draw_hands(draw_scenes(samples.seed, index, model), model, raster, *size)
        inputs = dataclasses.replace(part.inputs, geometry=part.inputs.geometry.half())
        parts.append(Drawn(inputs, part.mask.half()))
    every = torch.arange(len(samples), device=samples.latents.device)
    sizes = torch.cat([part.inputs.sizes for part in parts])
    joined = join_inputs([part.inputs for part in parts], every, sizes)
    return dataclasses.replace(samples, drawn=Drawn(joined, torch.cat([part.mask for part in parts])))


def caption_tokens(scene: Scene, seed: int) -> Tensor:
    """Token ids of WORDINGS wordings of every caption, [N, WORDINGS, 77] uint8 on the scene's device.

    The first one says everything, the others leave parts out at random.

    The same ids as the tokenizer gives for the captions' texts (a test compares them), put together from the ids of
    their parts: a hundred thousand captions take a second instead of a minute.
    """
    columns = (scene.side, scene.gesture, scene.view, scene.skin, scene.sleeve, scene.nails, scene.background)
    option = torch.stack([*columns, scene.light], 1)  # [N, 8], in the order of Caption.parts
    table = _part_tokens().to(option.device)
    parts = table[torch.arange(8, device=option.device), option]  # [N, 8, L]
    keep = uniforms(seed, scene.index, 7 * WORDINGS, stream=21).reshape(-1, WORDINGS, 7) < KEEP
    keep[:, 0] = True
    keep = torch.cat([torch.ones_like(keep[..., :1]), keep], -1)
    said = torch.where(keep[..., None], parts[:, None], PAD).flatten(2)
    # A stable sort moves the padding behind the words and leaves their order.
    order = torch.sort((said == PAD).to(torch.uint8), dim=-1, stable=True).indices
    said = F.pad(said.gather(-1, order), (1, TEXT_TOKENS - 1 - said.shape[-1]), value=PAD)
    said[..., 0] = START
    length = (said != PAD).sum(-1, keepdim=True)
    return said.scatter(-1, length, END).to(torch.uint8)


@functools.lru_cache(maxsize=1)
def _part_tokens() -> Tensor:
    """[8, options, L] int64: the ids of every part of a caption with the comma before it, padded."""
    tokenizer = make_tokenizer()
    gestures = [GESTURE_PHRASES.get(name, name.replace("_", " ")) for name in GESTURE_NAMES]
    rows: list[list[str]] = [[f"a {side} hand" for side in SIDES], [f", {phrase}" for phrase in gestures] + [""]]
    rows += [[f", {view} view" for view in VIEWS], [f", {skin} skin" for skin in SKINS]]
    rows += [[f", {sleeve}" for sleeve in SLEEVES], ["", *(f", {nails}" for nails in NAILS[1:])]]
    rows += [[f", {name} background" for name in BACKGROUNDS], [f", {name} light" for name in LIGHTS]]
    ids = [[tokenizer(text, add_special_tokens=False).input_ids for text in row] for row in rows]
    table = torch.full((len(ids), max(map(len, ids)), max(len(i) for row in ids for i in row)), PAD)
    for k, row in enumerate(ids):
        for j, tokens in enumerate(row):
            table[k, j, : len(tokens)] = torch.tensor(tokens, dtype=torch.int64)
    return table


@torch.no_grad()
def make_samples(
    seed: int,
    count: int,
    model: HandModel,
    skin: Skin,
    vae: Any,
    chunk: int = 64,
    progress: Callable[[str], None] = log.info,
) -> Samples:
    """Draw and encode the scenes 0..count-1 of a seed, on the model's device."""
    device = model.template.device
    latents, tokens, gestures = [], [], []
    for start in range(0, count, chunk):
        index = torch.arange(start, min(start + chunk, count), device=device)
        scene = draw_scenes(seed, index, model)
        pictures = draw_pictures(scene, model, skin, seed=seed) * 2 - 1
        with torch.autocast(device.type, torch.bfloat16):
            latents.append(vae.encode(pictures.contiguous(memory_format=torch.channels_last)).latents.half())
        tokens.append(caption_tokens(scene, seed))
        gestures.append(scene.gesture)
        if (start // chunk) % 100 == 0:
            progress(f"samples {start + len(index)} of {count}")
    named = torch.nonzero(torch.cat(gestures) < NAMELESS)[:, 0]
    return Samples(seed, torch.cat(latents), torch.cat(tokens), named)


def batch_at(
    samples: Samples, step: int, size: int, kept: int, model: HandModel, seed: int, raster: int, say_all: float = 0.5
) -> Batch:
    """The batch of a step: drawn with replacement, depends on (seed, step) alone.

    The first `kept` samples have a hand. The others have to teach the words: they are samples whose pose has a name,
    and the captions of at least the share `say_all` of them say everything.
    """
    device = samples.latents.device
    generator = step_generator(seed + 17, step, device)
    u = torch.rand(3, size, generator=generator, device=device)
    row = (u[0] * len(samples)).long().clamp_max(len(samples) - 1)
    if len(samples.named):
        named = samples.named[(u[0] * len(samples.named)).long().clamp_max(len(samples.named) - 1)]
        row = torch.cat([row[:kept], named[kept:]])
    wording = (u[1] * WORDINGS).long().clamp_max(WORDINGS - 1)
    wording[kept:] = torch.where(u[2] < say_all, 0, wording)[kept:]
    if samples.drawn is not None:
        drawn = samples.drawn.rows(row, kept)
    else:
        every = draw_hands(draw_scenes(samples.seed, row, model), model, raster, *samples.latents.shape[-2:])
        drawn = every.rows(torch.arange(size, device=device), kept)
    return Batch(samples.latents[row].float(), samples.tokens[row, wording].long(), drawn)


def drop_text(tokens: Tensor, drop: Tensor, empty: Tensor) -> Tensor:
    """Token ids [B, 77] with the rows of `drop` [B] bool replaced by the empty prompt's ids [77]."""
    return torch.where(drop[:, None], empty[None], tokens)
