"""What a hand in a picture gives away of how well it is made, without knowing how it should look.

The landmark network always answers with a whole hand of five fingers. What it says of a malformed one is unsteady: it
changes when the picture is turned, scaled or mirrored a little; its flat and its spatial joints disagree; a hand that
is anatomically possible does not explain them; and the fitted hand leaves skin unexplained, or covers what is none.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..estimate import regions as places
from ..estimate.doubt import fit_judged
from ..estimate.fit import Fit, hands_of_fit
from ..estimate.looks import BATCH
from ..estimate.merge import extents
from ..estimate.networks import HAND_SIDE, hand_network
from ..estimate.regions import Pyramid
from ..hand.hands import Frame, Hand, Hands
from ..hand.joints import FINGERS, JOINT_PARENTS
from ..hand.model import HandModel, load_open_hand

# dx, dy (shares of the side), scale, turn (radians), mirrored
LOOKS = (
    (0.0, 0.0, 1.0, 0.0, False),
    (0.0, 0.0, 1.05, 0.0, True),
    (0.05, 0.03, 1.15, 0.25, False),
    (-0.05, -0.03, 0.92, -0.25, True),
    (0.0, 0.05, 1.25, 0.1, True),
    (0.0, -0.05, 1.0, 0.5, False),
    (0.03, 0.0, 1.1, -0.5, False),
    (-0.03, 0.02, 0.95, 0.15, True),
)
BONES = tuple((parent, joint) for joint, parent in enumerate(JOINT_PARENTS) if parent >= 0)
PALM = ((0, 5), (0, 9), (0, 13), (0, 17))  # their mean length is the unit of bones


@dataclass(frozen=True, eq=False)
class Looked:
    """K looks at each of N hands of one picture."""

    points: Tensor
    """[N, K, 21, 2] pixels."""
    world: Tensor
    """[N, K, 21, 3] metres."""
    presence: Tensor
    """[N, K] 0 to 1."""
    right: Tensor
    """[N, K] 0 to 1."""
    features: Tensor
    """[N, K, C] the network's last layer before its answers."""


@torch.inference_mode()
def look_again(pyramid: Pyramid, points: Tensor) -> Looked:
    """Look at hands with joints [N, 21, 2] (pixels) several times, each time a little otherwise."""
    network = hand_network()
    upright = places.region_of_hand(points)
    pooled = network.output_of("mean")
    crops, regions = [], []
    for dx, dy, scale, turn, mirrored in LOOKS:
        region = places.shifted(upright, dx, dy, scale, turn)
        crop = pyramid.crops(region, HAND_SIDE)
        regions.append(region)
        crops.append(crop.flip(-1) if mirrored else crop)
    every = torch.stack(crops, dim=1).flatten(0, 1)
    answers = [network(batch, (pooled,)) for batch in every.split(BATCH)]
    flat, presence, right, world, features = (torch.cat(part) for part in zip(*answers, strict=True))
    count, looks = len(points), len(LOOKS)
    mirrored = torch.tensor([look[4] for look in LOOKS]).repeat(count)
    flat = flat.reshape(-1, 21, 3)[..., :2] / HAND_SIDE
    flat = torch.where(mirrored[:, None, None], torch.stack([1 - 1 / HAND_SIDE - flat[..., 0], flat[..., 1]], -1), flat)
    world = world.reshape(-1, 21, 3)
    world = torch.where(mirrored[:, None, None], world * torch.tensor([-1.0, 1.0, 1.0]), world)
    right = torch.where(mirrored, 1 - right[:, 0], right[:, 0])
    region = torch.stack(regions, dim=1).flatten(0, 1)
    cos, sin = region[:, 3].cos()[:, None], region[:, 3].sin()[:, None]
    x, y, z = world.unbind(-1)
    world = torch.stack([cos * x - sin * y, sin * x + cos * y, z], dim=-1)
    found = (places.to_picture(region, flat - 0.5), world, presence[:, 0], right, features)
    return Looked(*(value.reshape(count, looks, *value.shape[1:]).clone() for value in found))


def middle(looked: Looked) -> tuple[Tensor, Tensor]:
    """[N, 21, 2] and [N, 21, 3]: the median of the looks at each coordinate."""
    return looked.points.median(dim=1).values, looked.world.median(dim=1).values


def steadiness(looked: Looked) -> dict[str, Tensor]:
    """How much the looks disagree; [N] each."""
    points, world = middle(looked)
    size = extents(points).clamp_min(1e-3)
    off = (looked.points - points[:, None]).norm(dim=-1) / size[:, None, None]  # [N, K, 21]
    joint = off.mean(dim=1)
    palm = _palm(world)[:, None, None]
    deep = (looked.world - world[:, None]).norm(dim=-1) / palm
    logit = torch.logit(looked.presence.clamp(1e-4, 1 - 1e-4))
    right = looked.right.mean(dim=1)
    return {
        "presence": logit.mean(dim=1),
        "presence_least": logit.amin(dim=1),
        "side_doubt": 1 - (2 * right - 1).abs(),
        "side_scatter": looked.right.std(dim=1),
        "scatter": joint.mean(dim=1).add(1e-4).log(),
        "scatter_most": joint.amax(dim=1).add(1e-4).log(),
        "scatter_tips": joint[:, [4, 8, 12, 16, 20]].mean(dim=1).add(1e-4).log(),
        "scatter_world": deep.mean(dim=(1, 2)).add(1e-4).log(),
        "scatter_world_most": deep.mean(dim=1).amax(dim=1).add(1e-4).log(),
    }


def _palm(world: Tensor) -> Tensor:
    """[...] mean length of the palm's four bones of world [..., 21, 3]."""
    return (
        torch.stack([(world[..., b, :] - world[..., a, :]).norm(dim=-1) for a, b in PALM]).mean(dim=0).clamp_min(1e-4)
    )


def bone_ratios(world: Tensor) -> Tensor:
    """[..., 20] logarithms of the bones' lengths over the palm's."""
    lengths = torch.stack([(world[..., b, :] - world[..., a, :]).norm(dim=-1) for a, b in BONES], dim=-1)
    return (lengths.clamp_min(1e-4) / _palm(world)[..., None]).log()


def anatomy(points: Tensor, world: Tensor, right: Tensor, usual: Tensor, spread: Tensor) -> dict[str, Tensor]:
    """What is wrong with raw landmarks [N, 21, 2] (pixels) and [N, 21, 3]; [N] each.

    Args:
        right: [N] bool.
        usual, spread: [20] mean and standard deviation of ``bone_ratios`` over sound hands.
    """
    odd = ((bone_ratios(world) - usual) / spread).abs().clamp_max(6)
    seen, flat = points - points.mean(dim=1, keepdim=True), world[..., :2] - world[..., :2].mean(dim=1, keepdim=True)
    scale = (seen * flat).sum(dim=(1, 2)) / (flat**2).sum(dim=(1, 2)).clamp_min(1e-9)
    apart = (seen - scale[:, None, None] * flat).norm(dim=-1) / extents(points).clamp_min(1e-3)[:, None]
    back, side = _bends(world, right)
    return {
        "bones": odd.mean(dim=1).add(1e-2).log(),
        "bones_most": odd.amax(dim=1).add(1e-2).log(),
        "flat_and_deep": apart.mean(dim=1).add(1e-4).log(),
        "flat_and_deep_most": apart.amax(dim=1).add(1e-4).log(),
        "backwards": back.amax(dim=1),
        "sideways": side.amax(dim=1),
    }


def _bends(world: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """[N, 4] radians by which each finger's middle joint bends to the back, and sideways (absolute)."""
    to_little, to_middle = world[:, 17] - world[:, 5], world[:, 9] - world[:, 0]
    palmar = F.normalize(torch.linalg.cross(to_middle, to_little), dim=-1)
    palmar = torch.where(right[:, None], palmar, -palmar)
    back, side = [], []
    for finger in ("index", "middle", "ring", "little"):
        base, first, second, _ = FINGERS[finger]
        along = F.normalize(world[:, first] - world[:, base], dim=-1)
        across = F.normalize(torch.linalg.cross(to_little, to_middle), dim=-1)  # kept square to the bone below
        lateral = F.normalize(torch.linalg.cross(along, across), dim=-1)
        inward = F.normalize(palmar - (palmar * along).sum(-1, keepdim=True) * along, dim=-1)
        bone = F.normalize(world[:, second] - world[:, first], dim=-1)
        bend = torch.atan2((bone * inward).sum(-1), (bone * along).sum(-1))
        back.append((-bend).clamp_min(0))
        side.append((bone * lateral).sum(-1).clamp(-1, 1).asin().abs())
    return torch.stack(back, dim=1), torch.stack(side, dim=1)


def explain(model: HandModel, looked: Looked, width: int, height: int) -> tuple[Fit, list[Hand]]:
    """The possible hands that explain the looks best, and how they look in a picture of width x height pixels."""
    points, world = middle(looked)
    points = points / torch.tensor([width, height])
    right = looked.right.mean(dim=1)
    sides = ["right" if value >= 0.5 else "left" for value in right.tolist()]
    score = torch.maximum(right, 1 - right).tolist()
    judged = fit_judged(model, points, width, height, sides, world, score=score)
    hands = hands_of_fit(judged.fit, model, judged.side, width, height, looked.presence.mean(dim=1).tolist(), None,
                         judged.notes, judged.unsure)  # fmt: skip
    return judged.fit, hands


def fit_signals(fit: Fit) -> dict[str, Tensor]:
    """How badly a possible hand explains the landmarks; [N] each."""
    tips = fit.joint_residual[:, [4, 8, 12, 16, 20]]
    return {
        "residual": fit.residual.float().add(1e-4).log(),
        "residual_most": fit.joint_residual.amax(dim=1).float().add(1e-4).log(),
        "residual_tips": tips.mean(dim=1).float().add(1e-4).log(),
    }


def frame_of(hands: list[Hand], width: int, height: int) -> Hands:
    return Hands((Frame(width, height, tuple(hands)),))


__all__ = ["LOOKS", "Looked", "anatomy", "bone_ratios", "explain", "fit_signals", "load_open_hand", "look_again",
           "middle", "steadiness"]  # fmt: skip
