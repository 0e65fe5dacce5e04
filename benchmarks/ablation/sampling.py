"""Draws with the frozen base and a guide: DDIM with classifier-free guidance, as the small model's pipeline does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .base import Added, FrozenBase, Guide, joined
from .poses import Poses


@dataclass(frozen=True)
class Start:
    """Where drawing starts and what it must leave alone.

    latents  [n, 4, 32, 32] a picture to start from, noised to the first time that is still to be done
    share    of the steps that are done, from 0 (none) to 1 (all)
    mask     [n, 1, 32, 32] in 0..1, drawn anew; elsewhere the latents are kept. None: everything is drawn anew
    """

    latents: Tensor
    share: float
    mask: Tensor | None = None


@torch.no_grad()
def draw(
    base: FrozenBase,
    guide: Guide | None,
    poses: Poses,
    *,
    steps: int = 10,
    guidance: float = 2.0,
    chunk: int = 256,
    start: Start | None = None,
    unet: Any = None,
    steer: Any = None,
) -> Tensor:
    """Latents [n, 4, 32, 32] float32 of every picture, on the device.

    The negative rows get the empty prompt and the same hand, as the guides were trained. guidance 1 runs no negative
    rows. `unet` takes the base's place (a student). `steer(clean, rows)` changes the predicted clean latents.
    """
    found = []
    for first in range(0, len(poses), chunk):
        last = min(first + chunk, len(poses))
        part = None
        if start is not None:
            mask = None if start.mask is None else start.mask[first:last]
            part = Start(start.latents[first:last], start.share, mask)
        rows = slice(first, last)
        found.append(_draw(base, guide, poses.rows(first, last), steps, guidance, part, unet, steer, rows))
    return torch.cat(found)


def _draw(
    base: FrozenBase,
    guide: Guide | None,
    poses: Poses,
    steps: int,
    guidance: float,
    start: Start | None,
    unet: Any,
    steer: Any,
    rows: slice,
) -> Tensor:
    texts = [base.encode(poses.tokens)]
    if guidance != 1:
        texts.insert(0, base.encode(base.empty.expand(len(poses), -1)))
    dropped = [torch.full((len(poses),), text is not texts[-1], device=base.device) for text in texts]
    prepared: list[Any] = []
    if guide is not None:
        with base.autocast():
            prepared = [guide.prepare(poses.inputs, t, d) for t, d in zip(texts, dropped, strict=True)]
    scheduler = base.pipe.scheduler
    scheduler.set_timesteps(steps)
    times = [int(t) for t in scheduler.timesteps]
    noise = poses.noise
    x = noise
    if start is not None:
        times = times[len(times) - max(1, round(start.share * steps)) :]
        x = _noised(base, start.latents, noise, times[0])
    for i, moment in enumerate(times):
        v = _guided(base, guide, prepared, texts, x, moment, guidance, unet)
        if steer is not None:
            v = _steered(base, v, x, moment, steer, rows)
        x = scheduler.step(v, moment, x, return_dict=False)[0]
        if start is not None and start.mask is not None:
            last = i + 1 == len(times)
            kept = start.latents if last else _noised(base, start.latents, noise, times[i + 1])
            x = start.mask * x + (1 - start.mask) * kept
    return x


def _noised(base: FrozenBase, clean: Tensor, noise: Tensor, moment: int) -> Tensor:
    return base.a[moment] * clean + base.s[moment] * noise


def _guided(base, guide, prepared, texts, x: Tensor, moment: int, guidance: float, unet: Any) -> Tensor:
    time = torch.full((len(x) * len(texts),), moment, device=base.device)
    added = Added()
    if guide is not None:
        with base.autocast():
            added = joined([guide.at(p, x, time[: len(x)], t) for p, t in zip(prepared, texts, strict=True)])
    v = base.predict(torch.cat([x] * len(texts)), time, torch.cat(texts), added, unet).float()
    if len(texts) == 1:
        return v
    without, with_ = v.chunk(2)
    return without + guidance * (with_ - without)


def _steered(base: FrozenBase, v: Tensor, x: Tensor, moment: int, steer: Any, rows: slice) -> Tensor:
    a, s = base.a[moment], base.s[moment]
    clean = steer(a * x - s * v, rows, float(s))
    return (a * x - clean) / s


@torch.no_grad()
def decode(base: FrozenBase, latents: Tensor, chunk: int = 64) -> Tensor:
    """Latents [n, 4, h, w] to pictures [n, 8h, 8w, 3] uint8 on the CPU."""
    found = []
    for part in latents.split(chunk):
        with base.autocast():
            picture = base.pipe.vae.decode(part.contiguous(memory_format=torch.channels_last)).sample
        found.append(to_bytes(picture.float() / 2 + 0.5))
    return torch.cat(found)


@torch.no_grad()
def encode(base: FrozenBase, pictures: Tensor, chunk: int = 64) -> Tensor:
    """Pictures [n, 3, H, W] in 0..1 to latents [n, 4, H / 8, W / 8] float32 on the device."""
    found = []
    for part in pictures.split(chunk):
        with base.autocast():
            given = (part.to(base.device) * 2 - 1).contiguous(memory_format=torch.channels_last)
            found.append(base.pipe.vae.encode(given).latents.float())
    return torch.cat(found)


def to_bytes(pictures: Tensor) -> Tensor:
    """[n, 3, H, W] in 0..1 to [n, H, W, 3] uint8 on the CPU."""
    return (pictures.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu()
