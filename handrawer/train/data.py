"""Synthetic samples ready for the denoiser: latents and token ids kept, hands posed again for every batch.

Only what is costly is kept: the latent of each picture (8 KB) and two wordings of its caption. The hand follows from
the sample's number, so its mesh and its rasters are made on the device when a batch is drawn.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..hand.model import HandModel
from ..mini.modules import PAD, TEXT_TOKENS, make_tokenizer, tokenize
from ..mini.picture import Skin, draw_pictures
from ..mini.random_table import uniforms
from ..mini.scene import Scene, draw_scenes
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
    """Token ids of WORDINGS random wordings of every caption, [N, WORDINGS, 77] uint8 on the CPU."""
    tokenizer = make_tokenizer()
    keep = (uniforms(seed, scene.index, 8 * WORDINGS, stream=21) < KEEP).tolist()
    texts = [
        caption.text(keep=row[8 * k : 8 * k + 8])
        for caption, row in zip(scene.captions(), keep)
        for k in range(WORDINGS)
    ]
    if len(tokenizer) > 256:
        raise ValueError("The vocabulary has outgrown one byte: keep token ids as int16.")
    return tokenize(tokenizer, texts).to(torch.uint8).reshape(-1, WORDINGS, TEXT_TOKENS)


@torch.no_grad()
def make_samples(
    seed: int,
    count: int,
    model: HandModel,
    skin: Skin,
    vae: torch.nn.Module,
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
    return Samples(seed, torch.cat(latents), torch.cat(tokens).to(device))


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


def latent_mask(coverage: Tensor, size: tuple[int, int]) -> Tensor:
    """Hand masks [B, 1, H, W] in 0..1 averaged to a latent grid, [B, 1, h, w]; H and W are multiples of h and w."""
    return F.adaptive_avg_pool2d(coverage, size)


__all__ = ["PAD", "Batch", "Samples", "batch_at", "batches", "caption_tokens", "drop_text", "latent_mask", "make_samples"]
