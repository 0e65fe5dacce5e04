"""The losses of HanDrawer's single training stage, as plain functions.

Notation: a latent x0 is noised to x_t = a x0 + s n with a^2 + s^2 = 1, SNR = a^2 / s^2. The weights are min-SNR's
(Hang et al. 2023, arXiv 2303.09556): every loss is min(SNR, gamma) times the squared error of the predicted clean
latent. Unclamped, the SNR weight of the clean latent explodes at low noise, and the error itself at high noise. Where
much of the picture is noise, min-SNR hardly counts anything, although it is there that the layout of a picture follows
from its text: a floor under the weight lets the words count (ours).
"""

from __future__ import annotations

import torch
from einops import reduce
from torch import Tensor

GAMMA = 5.0


def velocity(clean: Tensor, noise: Tensor, a: Tensor, s: Tensor) -> Tensor:
    """v = a n - s x0 (Salimans, Ho 2022, arXiv 2202.00512); all [B, C, h, w], a and s [B]."""
    return a[:, None, None, None] * noise - s[:, None, None, None] * clean


def clean_error(prediction: Tensor, clean: Tensor, noise: Tensor, a: Tensor, s: Tensor, kind: str) -> Tensor:
    """Squared error of the predicted clean latent, [B, C, h, w].

    Args:
        prediction: the network's output, [B, C, h, w].
        clean, noise: x0 and n, [B, C, h, w].
        a, s: [B], the noise level.
        kind: "v_prediction" (x0' = a x_t - s v, so the error is s^2 times v's), "epsilon" (x0' = (x_t - s n') / a,
            so the error is s^2 / a^2 times that of n) or "sample".
    """
    if kind == "v_prediction":
        return (s**2)[:, None, None, None] * (prediction - velocity(clean, noise, a, s)) ** 2
    if kind == "epsilon":
        return ((s / a) ** 2)[:, None, None, None] * (prediction - noise) ** 2
    if kind == "sample":
        return (prediction - clean) ** 2
    raise ValueError(f"Unknown prediction type '{kind}'. Choose v_prediction, epsilon or sample.")


def snr_weight(a: Tensor, s: Tensor, gamma: float = GAMMA, floor: float = 0.0) -> Tensor:
    """SNR clamped to floor..gamma, [B]."""
    return ((a / s) ** 2).clamp(floor, gamma)


def denoising_loss(error: Tensor, a: Tensor, s: Tensor, floor: float = 0.0) -> Tensor:
    """The usual loss over the whole picture, a scalar: mean of `snr_weight` times |x0' - x0|^2."""
    return (snr_weight(a, s, floor=floor) * reduce(error, "b c h w -> b", "mean")).mean()


def hand_loss(error: Tensor, mask: Tensor, a: Tensor, s: Tensor, floor: float = 0.0) -> Tensor:
    """The hand reconstruction loss, a scalar: the same error inside the hand mask, normalised by its area.

    Args:
        error: [B, C, h, w] of `clean_error`.
        mask: [B, 1, h, w] in 0..1, the share of each latent cell that the hand covers. A picture whose mask is empty
            counts as zero.
    """
    inside = (reduce(error, "b c h w -> b 1 h w", "mean") * mask).flatten(1).sum(1)
    area = mask.flatten(1).sum(1)
    return (snr_weight(a, s, floor=floor) * torch.where(area > 0, inside / area.clamp_min(1e-6), 0.0)).mean()
