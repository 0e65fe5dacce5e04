"""How sound a found hand looks: the landmark network's own features, read by a linear rule.

A fit cannot tell that a hand is malformed: the network always answers with a whole hand, and a possible hand explains
whatever it says. But the network's last layer before its answers does look different for a finger that is missing, one
too many, or one bent as none bends, its looks disagree more, and the fit is a little worse. A linear rule over these,
fitted to drawn hands of known kind by ``benchmarks/data/soundness.py``, is in ``soundness.safetensors``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..estimate import regions as places
from ..estimate.calibration import mediapipe_points_2d
from ..estimate.networks import HAND_SIDE, hand_network
from ..estimate.regions import Pyramid
from ..hand.hands import Hand

RULE_FILE = Path(__file__).with_name("soundness.safetensors")
# dx, dy (shares of the side), scale, turn (radians), mirrored
LOOKS = (
    (0.0, 0.0, 1.0, 0.0, False),
    (0.0, 0.0, 1.06, 0.0, True),
    (0.04, 0.02, 1.12, 0.3, False),
    (-0.04, 0.03, 0.95, -0.3, True),
)
TINY = 1e-4  # shares of a hand; smaller distances are not told apart


@dataclass(frozen=True, eq=False)
class Rule:
    """A linear rule over features [F]: log odds of a sound hand, if one of two is."""

    mean: Tensor
    spread: Tensor
    weights: Tensor
    bias: float
    least: float
    """Log odds under which a hand is doubtful."""

    def odds(self, features: Tensor) -> Tensor:
        """[N] log odds from [N, F]."""
        return ((features - self.mean) / self.spread).clamp(-6, 6) @ self.weights + self.bias


@functools.lru_cache(maxsize=1)
def rule() -> Rule:
    """The rule that ships."""
    from safetensors import safe_open

    with safe_open(str(RULE_FILE), framework="pt") as file:
        told = file.metadata()
        values = {name: file.get_tensor(name).float().clone() for name in ("mean", "spread", "weights")}
    return Rule(**values, bias=float(told["bias"]), least=float(told["least"]))


@torch.inference_mode()
def features_of(picture: Tensor, hands: Sequence[Hand]) -> Tensor:
    """What the rule reads of N hands.

    Args:
        picture: [H, W, 3] float in [0, 1].
        hands: fitted to landmarks in it (``joint_residual`` tells how well; without it they count as perfect).

    Returns:
        [N, F] float32: mean and standard deviation over the looks of the network's last features; logarithms of how
        far each landmark scatters over the looks and of how far the fit misses it, both in shares of the hand's size;
        the network's mean doubt that this is a hand at all.
    """
    height, width = picture.shape[:2]
    size = torch.tensor([float(width), float(height)])
    points = torch.stack([mediapipe_points_2d(hand, width, height).float() for hand in hands]) * size
    network, count = hand_network(), len(points)
    pooled = network.output_of("mean")
    pyramid, upright = Pyramid(picture), places.region_of_hand(points)
    regions = torch.stack([places.shifted(upright, *look[:4]) for look in LOOKS], dim=1)  # [N, K, 4]
    crops = pyramid.crops(regions.flatten(0, 1), HAND_SIDE).unflatten(0, (count, len(LOOKS)))
    mirrored = torch.tensor([look[4] for look in LOOKS])
    crops = torch.where(mirrored[None, :, None, None, None], crops.flip(-1), crops)
    # One hand at a time: in a batch the last bits of a hand could depend on the others.
    answers = [network(crops[row], (pooled,)) for row in range(count)]
    flat, presence, _, _, last = (torch.stack(part) for part in zip(*answers, strict=True))
    places_ = flat.reshape(count, len(LOOKS), 21, 3)[..., :2] / HAND_SIDE
    turned = torch.stack([1 - 1 / HAND_SIDE - places_[..., 0], places_[..., 1]], -1)
    places_ = torch.where(mirrored[None, :, None, None], turned, places_)
    seen = places.to_picture(regions, places_ - 0.5)
    extent = (points.amax(1) - points.amin(1)).amax(-1).clamp_min(1.0)[:, None]
    scatter = (seen - seen.mean(1, keepdim=True)).norm(dim=-1).mean(1) / extent
    missed = torch.stack([_residual(hand) for hand in hands])
    doubt = -torch.logit(presence.reshape(count, -1).clamp(1e-4, 1 - 1e-4)).mean(1, keepdim=True)
    last = last.reshape(count, len(LOOKS), -1)
    logs = [(values + TINY).log() for values in (scatter, missed)]
    return torch.cat([last.mean(1), last.std(1), *logs, doubt], dim=1).clone()


def _residual(hand: Hand) -> Tensor:
    return torch.zeros(21) if hand.joint_residual is None else hand.joint_residual.float()


def soundness(picture: Tensor, hands: Sequence[Hand]) -> list[float]:
    """Log odds for each hand of a picture [H, W, 3] (float in [0, 1]) that it is sound, if one of two hands is."""
    return rule().odds(features_of(picture, hands)).tolist() if hands else []
