"""Random numbers that depend on a sample's index alone.

A generator whose state runs on from sample to sample gives other pictures when the batch size, the worker or the
device changes. Here every number is a hash of (seed, sample index, column), so sample 4711 is the same sample
everywhere, and a run can resume or be split at any point.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def _mix(value: Tensor) -> Tensor:
    """One round of the splitmix64 finaliser (Steele, Lea, Flood 2014), in wrapping int64 arithmetic."""

    def shift_right(x: Tensor, bits: int) -> Tensor:
        return (x >> bits) & ((1 << (64 - bits)) - 1)  # logical, int64 shifts are arithmetic

    value = (value ^ shift_right(value, 30)) * -4658895280553007687  # 0xBF58476D1CE4E5B9
    value = (value ^ shift_right(value, 27)) * -7723592293110705685  # 0x94D049BB133111EB
    return value ^ shift_right(value, 31)


def uniforms(seed: int, index: Tensor, columns: int, stream: int = 0) -> Tensor:
    """Uniform random numbers in [0, 1).

    Args:
        seed: of the data set.
        index: [N] int64 sample numbers.
        columns: how many numbers a sample needs.
        stream: separates independent uses of the same sample.

    Returns:
        [N, columns] float32 on the index's device; the same for the same (seed, index, stream, column) always.
    """
    golden = -7046029254386353131  # 0x9E3779B97F4A7C15
    base = _mix(index.long() * golden + (seed * 1_000_003 + stream + 1))
    column = torch.arange(columns, device=index.device, dtype=torch.int64) * golden
    bits = _mix(base[:, None] + column[None])
    return ((bits >> 40) & 0xFFFFFF).to(torch.float32) / float(1 << 24)


def normals(seed: int, index: Tensor, columns: int, stream: int = 0) -> Tensor:
    """Standard normal numbers, [N, columns] float32, by the Box-Muller transform of `uniforms`."""
    u = uniforms(seed, index, 2 * columns, stream)
    radius = torch.sqrt(-2 * torch.log1p(-u[:, :columns]))
    return radius * torch.cos(2 * math.pi * u[:, columns:])


def pick(u: Tensor, shares: tuple[float, ...]) -> Tensor:
    """Indices drawn with the given shares.

    Args:
        u: [...] uniform numbers in [0, 1).
        shares: positive, any sum.

    Returns:
        [...] int64 in [0, len(shares)).
    """
    edges = torch.tensor(shares, dtype=torch.float64).cumsum(0)
    edges = (edges / edges[-1]).to(u.device, torch.float32)
    return torch.searchsorted(edges, u.contiguous(), right=True).clamp_max(len(shares) - 1)
