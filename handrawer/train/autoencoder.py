"""Trains the small model's VAE (AutoencoderTiny in TAESD's layout) on synthetic pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..hand.model import HandModel
from ..mini.modules import make_vae
from ..mini.picture import Skin, draw_pictures
from ..mini.scene import Scene, draw_scenes
from .state import Average, Clock, learning_rate, load_state, save_state, step_generator, stop_on_nan

log = logging.getLogger("handrawer")
CROPS = 2  # of each picture: drawing costs about as much as a step


@dataclass(frozen=True)
class AutoencoderConfig:
    """Settings of the VAE's training.

    Attributes:
        seed: of pictures, crops and weights.
        batch: crops a step.
        crop: side of a crop in pixels, a multiple of 8.
        steps, minutes: the end, whichever comes first; either may be None.
        rate, warmup, decay: learning rate at its peak, warm-up steps, decay of the averaged weights.
        noise: standard deviation of the noise added to latents before decoding, so that the decoder forgives a
            denoiser's small errors.
    """

    seed: int = 1
    batch: int = 64
    crop: int = 144
    steps: int | None = None
    minutes: float | None = None
    rate: float = 1e-3
    warmup: int = 200
    decay: float = 0.998
    noise: float = 0.06


def reconstruction_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Error of a decoded picture, a scalar; both [B, 3, H, W] in -1..1.

    L1 on pixels, on differences of neighbours (edges: fingers, nails, creases), and on 8 x 8 means, where a tiny VAE
    fails first (colour).
    """
    loss = F.l1_loss(made, wanted)
    loss = loss + F.l1_loss(made.diff(dim=-1), wanted.diff(dim=-1)) + F.l1_loss(made.diff(dim=-2), wanted.diff(dim=-2))
    return loss + 2.0 * F.l1_loss(F.avg_pool2d(made, 8), F.avg_pool2d(wanted, 8))


def latent_loss(latent: Tensor) -> Tensor:
    """Pulls each channel of latents [B, 4, h, w] towards mean 0 and variance 1, a scalar."""
    mean, variance = latent.mean((0, 2, 3)), latent.var((0, 2, 3))
    return mean.pow(2).mean() + (variance - 1).pow(2).mean()


def crop_hands(pictures: Tensor, scene: Scene, crop: int, generator: torch.Generator) -> Tensor:
    """One crop of each picture [N, 3, S, S], centred within its hand's box, [N, 3, crop, crop]."""
    count, size = len(pictures), pictures.shape[-1]
    joints = scene.joints_2d
    low, high = joints.amin(1), joints.amax(1)
    u = torch.rand(count, 2, generator=generator, device=pictures.device)
    corner = ((low + (high - low) * u) * size - crop / 2).round().long().clamp(0, size - crop)
    along = torch.arange(crop, device=pictures.device)
    rows, columns = corner[:, 1, None] + along, corner[:, 0, None] + along
    picture = torch.arange(count, device=pictures.device)[:, None, None]
    return pictures.permute(0, 2, 3, 1)[picture, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def train_autoencoder(
    config: AutoencoderConfig,
    model: HandModel,
    skin: Skin,
    folder: Path,
    progress: Callable[[str], None] = log.info,
) -> torch.nn.Module:
    """Train from nothing, or go on from `folder/autoencoder.pt`; gives the averaged network, float32."""
    device = model.template.device
    torch.manual_seed(config.seed)
    vae = make_vae().to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=config.rate, betas=(0.9, 0.99), weight_decay=1e-4)
    average, clock, step = Average(vae, config.decay), Clock(config.steps, config.minutes), 0
    path = folder / "autoencoder.pt"
    if saved := load_state(path, device):
        vae.load_state_dict(saved["vae"])
        optimizer.load_state_dict(saved["optimizer"])
        average.values, step, clock.used = saved["average"], saved["step"], saved["seconds"]
    last_save = clock.seconds()

    def save() -> None:
        state = {"vae": vae.state_dict(), "optimizer": optimizer.state_dict(), "average": average.values}
        save_state(path, state | {"step": step, "seconds": clock.seconds()})

    while (done := clock.progress(step)) < 1:
        generator = step_generator(config.seed, step, device)
        drawn = config.batch // CROPS
        scene = draw_scenes(config.seed, torch.arange(step * drawn, (step + 1) * drawn, device=device), model)
        pictures = draw_pictures(scene, model, skin, seed=config.seed)
        wanted = torch.cat([crop_hands(pictures, scene, config.crop, generator) for _ in range(CROPS)]) * 2 - 1
        wanted = wanted.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            latent = vae.encode(wanted).latents
            noise = torch.randn(latent.shape, generator=generator, device=device) * config.noise
            made = vae.decode(latent + noise.to(latent)).sample
        error = reconstruction_loss(made.float(), wanted)
        loss = error + 0.1 * latent_loss(latent.float())
        optimizer.param_groups[0]["lr"] = learning_rate(config.rate, step, done, config.warmup)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        average.update(vae, step)
        step += 1
        if step % 100 == 0 or step < 4:
            value = stop_on_nan(error, step)
            progress(f"vae step {step} crops {step * config.batch} error {value:.4f} seconds {clock.seconds():.0f}")
        if clock.seconds() - last_save > 120:
            save()
            last_save = clock.seconds()
    save()
    average.into(vae)
    return vae.eval()
