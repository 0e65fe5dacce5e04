"""Synthetic samples ready for the denoiser: latents and token ids kept, hands posed again for every batch.

Only what is costly is kept: the latent of each picture (8 KB) and two wordings of its caption. The hand follows from
the sample's number, so its mesh and its rasters are made on the device when a batch is drawn.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..hand.model import HandModel
from ..mini.captions import BACKGROUNDS, GESTURE_PHRASES, LIGHTS, NAILS, SIDES, SKINS, SLEEVES, VIEWS
from ..mini.modules import END, PAD, START, TEXT_TOKENS, make_tokenizer
from ..mini.picture import Skin, draw_pictures
from ..mini.random_table import uniforms
from ..mini.scene import GESTURE_NAMES, Scene, draw_scenes
from .state import step_generator

log = logging.getLogger("handrawer")
WORDINGS = 2
KEEP = 0.8  # chance of each part of a caption to be said


@dataclass(frozen=True)
class Samples:
    """N encoded samples.

    Attributes:
        seed: of the scenes.
        latents: [N, 4, h, w] float16, the VAE's latents of the pictures.
        tokens: [N, WORDINGS, 77] uint8 token ids.
    """

    seed: int
    latents: Tensor
    tokens: Tensor

    def __len__(self) -> int:
        return len(self.latents)


@dataclass(frozen=True)
class Batch:
    """What one step sees: the scene (labels), latents [B, 4, h, w] float32, token ids [B, 77] int64."""

    scene: Scene
    latents: Tensor
    tokens: Tensor


def caption_tokens(scene: Scene, seed: int) -> Tensor:
    """Token ids of WORDINGS random wordings of every caption, [N, WORDINGS, 77] uint8 on the scene's device.

    The same ids as the tokenizer gives for the captions' texts (a test compares them), put together from the ids of
    their parts: a hundred thousand captions take a second instead of a minute.
    """
    columns = (scene.side, scene.gesture, scene.view, scene.skin, scene.sleeve, scene.nails, scene.background)
    option = torch.stack([*columns, scene.light], 1)  # [N, 8], in the order of Caption.parts
    table = _part_tokens().to(option.device)
    parts = table[torch.arange(8, device=option.device), option]  # [N, 8, L]
    keep = uniforms(seed, scene.index, 7 * WORDINGS, stream=21).reshape(-1, WORDINGS, 7) < KEEP
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
    latents, tokens = [], []
    for start in range(0, count, chunk):
        index = torch.arange(start, min(start + chunk, count), device=device)
        scene = draw_scenes(seed, index, model)
        pictures = draw_pictures(scene, model, skin, seed=seed) * 2 - 1
        with torch.autocast(device.type, torch.bfloat16):
            latents.append(vae.encode(pictures.contiguous(memory_format=torch.channels_last)).latents.half())
        tokens.append(caption_tokens(scene, seed))
        if (start // chunk) % 100 == 0:
            progress(f"samples {start + len(index)} of {count}")
    return Samples(seed, torch.cat(latents), torch.cat(tokens))


def batch_at(samples: Samples, step: int, size: int, model: HandModel, seed: int) -> Batch:
    """The batch of a step: drawn with replacement, depends on (seed, step) alone."""
    device = samples.latents.device
    generator = step_generator(seed + 17, step, device)
    row = torch.randint(len(samples), (size,), generator=generator, device=device)
    wording = torch.randint(WORDINGS, (size,), generator=generator, device=device)
    scene = draw_scenes(samples.seed, row, model)
    return Batch(scene, samples.latents[row].float(), samples.tokens[row, wording].long())


def batches(samples: Samples, start: int, size: int, model: HandModel, seed: int) -> Iterator[Batch]:
    """Batches from step `start` on, without end."""
    step = start
    while True:
        yield batch_at(samples, step, size, model, seed)
        step += 1


def drop_text(tokens: Tensor, drop: Tensor, empty: Tensor) -> Tensor:
    """Token ids [B, 77] with the rows of `drop` [B] bool replaced by the empty prompt's ids [77]."""
    return torch.where(drop[:, None], empty[None], tokens)
