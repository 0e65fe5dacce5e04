"""Which fingers are extended, by where a hand's joints lie.

A finger is extended as far as it is straight (distance from knuckle to tip over the length of its bones) and goes on
where the palm points (angle between wrist-to-knuckle and its first bone). The thumb counts as extended as far as it is
straight and its tip is away from the palm (distance to the little finger's knuckle over the palm's length). The bounds
were set on the named gestures (`gestures.py`): all straight fingers there score 1, all curled ones 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

# What scores 0, and what scores 1.
STRAIGHT = (0.60, 0.95)
TURNED = (95.0, 50.0)  # degrees
THUMB_STRAIGHT = (0.80, 0.93)
THUMB_AWAY = (0.72, 1.05)  # palm lengths
EXTENDED = 0.5


def extensions(joints: Tensor) -> Tensor:
    """[..., 5] how far each finger is extended, 0 to 1, thumb to little.

    Args:
        joints: [..., 21, 3] in any unit, in the order of `joints.JOINT_NAMES`.
    """
    wrist = joints[..., 0, :]
    chains = joints[..., 1:, :].unflatten(-2, (5, 4))  # [..., 5, 4, 3]
    bones = chains.diff(dim=-2).norm(dim=-1).sum(dim=-1).clamp_min(1e-9)
    straight = (chains[..., 3, :] - chains[..., 0, :]).norm(dim=-1) / bones
    palm, first = chains[..., 0, :] - wrist[..., None, :], chains[..., 1, :] - chains[..., 0, :]
    cosine = torch.nn.functional.cosine_similarity(palm, first, dim=-1).clamp(-1, 1)
    turned = torch.rad2deg(torch.acos(cosine))
    length = (joints[..., 9, :] - wrist).norm(dim=-1).clamp_min(1e-9)
    away = (joints[..., 4, :] - joints[..., 17, :]).norm(dim=-1) / length
    fingers = torch.minimum(_ramp(straight, *STRAIGHT), _ramp(turned, *TURNED))
    thumb = torch.minimum(_ramp(straight[..., 0], *THUMB_STRAIGHT), _ramp(away, *THUMB_AWAY))
    return torch.cat([thumb[..., None], fingers[..., 1:]], dim=-1)


def count_extended(joints: Tensor) -> Tensor:
    """[...] int64: how many fingers, the thumb among them, are extended by EXTENDED or more."""
    return (extensions(joints) >= EXTENDED).sum(dim=-1)


def _ramp(values: Tensor, low: float, high: float) -> Tensor:
    return ((values - low) / (high - low)).clamp(0, 1)
