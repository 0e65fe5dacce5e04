"""What a camera does to a picture: blur, light, sensor, compression; every picture by its own number."""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, repeat
from torch import Tensor

from ..mini.random_table import normals, uniforms

DEFOCUS = (0.0012, 0.006)  # standard deviation, of the picture's side
MOTION = (0.008, 0.035)  # length, of the picture's side
STEPS = 15  # places of a moving hand that are averaged
STOPS = (-1.3, 0.9)  # exposure
GAINS = 0.13  # standard deviation of the logarithm of red's and blue's gain
VIGNETTE = (0.15, 0.6)  # light lost in the corners
SHOT, READ = (0.0002, 0.003), (0.002, 0.014)  # noise: variance by light, and standard deviation in the dark
QUALITY = (25.0, 92.0)
GAMMA = 2.2
# The quantisation tables that JPEG's standard gives as examples (ITU-T T.81, annex K.1), which libjpeg scales.
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99), (18, 21, 26, 66, 99, 99, 99, 99), (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99), *((99,) * 8,) * 4,
)  # fmt: skip
STREAM, GRAIN = 68, 69


def blur(pictures: Tensor, sigma: Tensor, radius: float) -> Tensor:
    """Gaussian blur of [N, C, H, W] by standard deviations [N] in pixels; `radius` cuts the kernels."""
    count, channels, height, width = pictures.shape
    reach = min(max(1, math.ceil(radius)), height - 1, width - 1)
    step = torch.arange(-reach, reach + 1, device=pictures.device)
    kernel = torch.exp(-0.5 * (step[None] / sigma.clamp_min(1e-3)[:, None]) ** 2)
    kernel = repeat(kernel / kernel.sum(-1, keepdim=True), "n k -> (n c) 1 1 k", c=channels)
    flat = rearrange(pictures, "n c h w -> 1 (n c) h w")
    flat = F.conv2d(F.pad(flat, (reach, reach, 0, 0), "replicate"), kernel, groups=count * channels)
    kernel = rearrange(kernel, "a b c k -> a b k c")
    flat = F.conv2d(F.pad(flat, (0, 0, reach, reach), "replicate"), kernel, groups=count * channels)
    return rearrange(flat, "1 (n c) h w -> n c h w", n=count)


def moved(pictures: Tensor, seed: int, index: Tensor, chosen: Tensor) -> Tensor:
    """[N, C, S, S] averaged along a short straight way, where chosen [N]: a hand in motion."""
    rows = torch.nonzero(chosen)[:, 0]
    if not len(rows):
        return pictures
    u = uniforms(seed, index[rows], 2, STREAM + 100)
    length, angle = MOTION[0] + (MOTION[1] - MOTION[0]) * u[:, 0], u[:, 1] * 2 * math.pi
    way = torch.stack([torch.cos(angle), torch.sin(angle)], -1) * (2 * length)[:, None]
    size = pictures.shape[-1]
    line = (torch.arange(size, device=pictures.device) + 0.5) / size * 2 - 1
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)[None]
    total = torch.zeros_like(pictures[rows])
    for share in torch.linspace(-0.5, 0.5, STEPS).tolist():
        shifted = grid + share * way[:, None, None]
        total += F.grid_sample(pictures[rows], shifted, padding_mode="border", align_corners=False)
    result = pictures.clone()
    result[rows] = total / STEPS
    return result


def photographed(pictures: Tensor, seed: int, index: Tensor, chosen: dict[str, Tensor]) -> Tensor:
    """[N, 3, S, S] in 0..1 as a camera gives them: defocus, vignette, exposure, white balance, noise, JPEG.

    Args:
        index: [N] the pictures' numbers, by which all is drawn.
        chosen: [N] bool by the option's name.
    """
    u = uniforms(seed, index, 8, STREAM)

    def between(low: float, high: float, column: int) -> Tensor:
        return low + (high - low) * u[:, column]

    for name, change in (
        ("defocus", lambda p, r: _defocused(p, between(*DEFOCUS, 0)[r])),
        ("vignette", lambda p, r: _vignetted(p, between(*VIGNETTE, 1)[r])),
        ("exposure", lambda p, r: _lit(p, (2 ** exposure_of(seed, index[r]))[:, None].expand(-1, 3))),
        ("white_balance", lambda p, r: _lit(p, _gains(seed, index[r]))),
        ("noise", lambda p, r: _noisy(p, seed, index[r], between(*SHOT, 3)[r], between(*READ, 4)[r])),
        ("jpeg", lambda p, r: compressed(p, between(*QUALITY, 5)[r])),
    ):
        rows = torch.nonzero(chosen[name])[:, 0]
        if len(rows):
            pictures = pictures.index_copy(0, rows, change(pictures[rows], rows))
    return pictures


def exposure_of(seed: int, index: Tensor) -> Tensor:
    """[N] stops by which the pictures with these numbers are exposed too much or too little."""
    return STOPS[0] + (STOPS[1] - STOPS[0]) * uniforms(seed, index, 8, STREAM)[:, 2]


def _defocused(pictures: Tensor, share: Tensor) -> Tensor:
    size = pictures.shape[-1]
    return blur(pictures, share * size, 3 * DEFOCUS[1] * size)


def _vignetted(pictures: Tensor, strength: Tensor) -> Tensor:
    size = pictures.shape[-1]
    line = (torch.arange(size, device=pictures.device) + 0.5) / size * 2 - 1
    away = (line[None, :] ** 2 + line[:, None] ** 2) / 2
    light = 1 - strength[:, None, None] * away**1.5
    return pictures * light[:, None] ** (1 / GAMMA)


def _lit(pictures: Tensor, gain: Tensor) -> Tensor:
    """Light multiplied by gains [N, 3]; what becomes too bright is rolled off, as cameras do."""
    light = pictures.clamp(0, 1) ** GAMMA * gain[:, :, None, None]
    rolled = torch.where(light > 0.8, 0.8 + 0.2 * torch.tanh((light - 0.8) / 0.2), light)
    return torch.where(gain[:, :, None, None] > 1, rolled, light).clamp(0, 1) ** (1 / GAMMA)


def _gains(seed: int, index: Tensor) -> Tensor:
    n = normals(seed, index, 2, STREAM + 101).clamp(-2, 2) * GAINS
    return torch.exp(torch.stack([n[:, 0], torch.zeros_like(n[:, 0]), n[:, 1]], -1))


def _noisy(pictures: Tensor, seed: int, index: Tensor, shot: Tensor, read: Tensor) -> Tensor:
    """Noise whose variance grows with the light; a half of it is grey, the other coarser and coloured."""
    count, _, size, _ = pictures.shape
    half = size // 2
    n = normals(seed, index, size * size + 3 * half * half, GRAIN)
    grey = n[:, : size * size].reshape(count, 1, size, size)
    coloured = n[:, size * size :].reshape(count, 3, half, half)
    coloured = F.interpolate(coloured, (size, size), mode="bilinear", align_corners=False)
    deviation = (shot[:, None, None, None] * pictures.clamp(0, 1) + read[:, None, None, None] ** 2).sqrt()
    return (pictures + deviation * (0.75 * grey + 0.6 * coloured)).clamp(0, 1)


@functools.lru_cache(maxsize=4)
def _cosines(device: torch.device) -> Tensor:
    """[8, 8] orthonormal discrete cosine transform."""
    k = torch.arange(8.0, dtype=torch.float64)
    matrix = torch.cos(math.pi / 8 * (k[None] + 0.5) * k[:, None]) * 0.5
    matrix[0] *= math.sqrt(0.5)
    return matrix.float().to(device)


def compressed(pictures: Tensor, quality: Tensor) -> Tensor:
    """[N, 3, H, W] in 0..1 as JPEG of a quality [N] (1 to 100, libjpeg's scale) leaves them, colours at half the size.

    Sides must be multiples of 16. Only what is lost is computed; there is no file.
    """
    red, green, blue = (pictures.clamp(0, 1) * 255).round().unbind(1)
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    colour = torch.stack([(blue - luminance) * 0.564, (red - luminance) * 0.713], 1)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    grey = _quantised(luminance[:, None] - 128, LUMINANCE, scale)[:, 0] + 128
    colour = F.interpolate(_quantised(F.avg_pool2d(colour, 2), CHROMINANCE, scale), scale_factor=2, mode="bilinear",
                           align_corners=False)  # fmt: skip
    cb, cr = colour.unbind(1)
    result = torch.stack([grey + 1.402 * cr, grey - 0.344136 * cb - 0.714136 * cr, grey + 1.772 * cb], 1)
    return (result.round() / 255).clamp(0, 1)


def _quantised(values: Tensor, table: tuple[tuple[int, ...], ...], scale: Tensor) -> Tensor:
    steps = torch.tensor(table, device=values.device, dtype=torch.float32)[None] * scale[:, None, None]
    steps = ((steps + 50) / 100).floor().clamp(1, 255)[:, None, None, None]
    cosines = _cosines(values.device)
    blocks = rearrange(values, "n c (h i) (w j) -> n c h w i j", i=8, j=8)
    coefficients = einsum(cosines, blocks, cosines, "a i, n c h w i j, b j -> n c h w a b")
    coefficients = (coefficients / steps).round() * steps
    blocks = einsum(cosines, coefficients, cosines, "a i, n c h w a b, b j -> n c h w i j")
    return rearrange(blocks, "n c h w i j -> n c (h i) (w j)")
