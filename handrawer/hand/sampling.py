"""Random plausible hand poses, vectorised: what ``anatomy.sample_angles`` does.

Fingers do not move by themselves: neighbours curl together, the outer joints follow the middle ones (DIP = 2/3 PIP,
Lin, Wu & Huang 2000), a bent finger cannot spread, and fingers do not pass through each other. A candidate pose is
drawn from a mixture, brought under these rules, and of a few candidates the one whose fingers touch least is kept.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from .anatomy import ANGLE_INDEX, LIMITS, angles_to_rotations, clamp_angles
from .gestures import GESTURES
from .joints import FINGER_NAMES
from .model import HandModel, load_open_hand

_FINGERS = FINGER_NAMES[1:]
_MCP = [ANGLE_INDEX[f"{finger}_mcp_flexion"] for finger in _FINGERS]
_ABDUCTION = [ANGLE_INDEX[f"{finger}_mcp_abduction"] for finger in _FINGERS]
_PIP = [ANGLE_INDEX[f"{finger}_pip_flexion"] for finger in _FINGERS]
_DIP = [ANGLE_INDEX[f"{finger}_dip_flexion"] for finger in _FINGERS]
_THUMB = list(range(5))

# Shares of the mixture: a gesture with noise, a pose between two gestures, fingers curled at random.
_SHARES = (0.45, 0.2, 0.35)
_CANDIDATES = 3
_CHUNK = 8192

# Radii of the bones' flesh in metres, thumb then fingers, base to tip, and how much of a touch is only pressed flesh.
_RADII = ((0.011, 0.010, 0.009),) + ((0.0090, 0.0080, 0.0072),) * 3 + ((0.0080, 0.0070, 0.0063),)
_RADII_OF_BALLS = torch.tensor(_RADII).repeat_interleave(4, dim=1)
_PALM_RADIUS = 0.0115
_SOFT = 0.005


def draw_poses(n: int, generator: torch.Generator | None, device: torch.device | str | None) -> Tensor:
    if device is None:
        device = generator.device if generator is not None else "cpu"
    draw = _Draw(generator, torch.device(device))
    chunks = [_draw_chunk(min(_CHUNK, n - start), draw) for start in range(0, n, _CHUNK)]
    return torch.cat(chunks) if chunks else torch.zeros(0, len(LIMITS), device=device)


class _Draw:
    """Random numbers from one generator, on one device."""

    def __init__(self, generator: torch.Generator | None, device: torch.device):
        self.generator, self.device = generator, device

    def uniform(self, *size: int) -> Tensor:
        return torch.rand(size, generator=self.generator, device=self.device)

    def normal(self, *size: int) -> Tensor:
        return torch.randn(size, generator=self.generator, device=self.device)

    def integers(self, count: int, *size: int) -> Tensor:
        return torch.randint(count, size, generator=self.generator, device=self.device)


def _draw_chunk(n: int, draw: _Draw) -> Tensor:
    count = n * _CANDIDATES
    kind = draw.uniform(n, 1).expand(n, _CANDIDATES).reshape(count, 1)
    near, between, curled = _near_gesture(count, draw), _between_gestures(count, draw), _curled(count, draw)
    angles = torch.where(kind < _SHARES[0], near, torch.where(kind < _SHARES[0] + _SHARES[1], between, curled))
    angles = _obey_rules(angles, draw)
    touching = finger_overlap(load_open_hand(), angles).reshape(n, _CANDIDATES)
    best = touching.argmin(dim=1)
    return angles.reshape(n, _CANDIDATES, -1)[torch.arange(n, device=draw.device), best]


@functools.lru_cache(maxsize=4)
def _gesture_table(device: torch.device) -> Tensor:
    return torch.stack([gesture.angles for gesture in GESTURES.values()]).to(device)


def _near_gesture(n: int, draw: _Draw) -> Tensor:
    table = _gesture_table(draw.device)
    angles = table[draw.integers(len(table), n)]
    amount = 0.25 + 1.25 * draw.uniform(n, 1)  # some poses keep close to the gesture, some are loose
    return angles + amount * _noise(n, draw)


def _between_gestures(n: int, draw: _Draw) -> Tensor:
    table = _gesture_table(draw.device)
    one, other = table[draw.integers(len(table), n)], table[draw.integers(len(table), n)]
    return torch.lerp(one, other, draw.uniform(n, 1)) + 0.7 * _noise(n, draw)


def _noise(n: int, draw: _Draw) -> Tensor:
    """Correlated: the whole hand curls by some, each finger by some, each joint by some. Radians."""
    noise = math.radians(4) * draw.normal(n, len(LIMITS))
    curl = math.radians(5) * draw.normal(n, 1) + math.radians(6) * draw.normal(n, 4)
    noise[:, _MCP] += curl
    noise[:, _PIP] += 1.2 * curl
    noise[:, _DIP] += 0.8 * curl
    noise[:, _ABDUCTION] += math.radians(2.5) * draw.normal(n, 1)
    noise[:, _THUMB] += math.radians(3) * draw.normal(n, 5)
    return noise


def _curled(n: int, draw: _Draw) -> Tensor:
    """Every finger curled by an amount of its own that resembles its neighbours', the thumb anywhere in its range."""
    angles = torch.zeros(n, len(LIMITS), device=draw.device)
    common, own, mix = draw.uniform(n, 1), draw.uniform(n, 4), draw.uniform(n, 1)
    curl = torch.lerp(common, own, mix)
    hook = 0.5 * (draw.uniform(n, 4) - 0.5) + 0.5 * (draw.uniform(n, 1) - 0.5)  # knuckle against the joints beyond
    low, high = LIMITS.to(draw.device)[:, 0], LIMITS.to(draw.device)[:, 1]
    angles[:, _MCP] = torch.lerp(low[_MCP] * 0.5, high[_MCP], (curl - hook).clamp(0, 1))
    angles[:, _PIP] = torch.lerp(low[_PIP], high[_PIP], (curl + hook).clamp(0, 1))
    angles[:, _DIP] = angles[:, _PIP] * 2 / 3
    spread = draw.uniform(n, 1)
    angles[:, _ABDUCTION] = high[_ABDUCTION] * (spread + 0.3 * (draw.uniform(n, 4) - 0.5) - 0.2)
    angles[:, _THUMB] = low[_THUMB] + (high - low)[_THUMB] * (0.1 + 0.8 * draw.uniform(n, 5))
    return angles + 0.5 * _noise(n, draw)


def _obey_rules(angles: Tensor, draw: _Draw) -> Tensor:
    """The soft constraints between joints, then the limits."""
    n = angles.shape[0]
    angles = angles.clone()
    coupled = angles[:, _PIP] * 2 / 3 + math.radians(5) * draw.normal(n, 4)
    angles[:, _DIP] = torch.lerp(angles[:, _DIP], coupled, 0.5)
    # The collateral ligaments tighten as the knuckle bends: no spreading in a fist.
    bent = angles[:, _MCP].clamp(0, math.pi / 2)
    angles[:, _ABDUCTION] = angles[:, _ABDUCTION] * bent.cos().clamp_min(0.15)
    # Across the palm the thumb must stand off it: its metacarpal cannot go through the index's.
    across = (angles[:, 0] - math.radians(-35)).clamp_min(0)
    angles[:, 1] = torch.maximum(angles[:, 1], math.radians(5) + 0.75 * across)
    angles = clamp_angles(angles)
    # Neighbours do not cross: fingers are parallel at least (the bases' fans are about 6.5, 0, -6.5 and -12 degrees).
    index, middle, ring, little = (angles[:, a] for a in _ABDUCTION)
    six = math.radians(6)
    index = torch.maximum(index, middle - six)
    ring = torch.maximum(ring, -six - middle)
    little = torch.maximum(little, ring - six)
    angles[:, _ABDUCTION] = torch.stack([index, middle, ring, little], dim=1)
    return clamp_angles(angles)


def finger_overlap(model: HandModel, angles: Tensor) -> Tensor:
    """[n] how deep the flesh of different fingers, or of a finger's end and the palm, overlaps at worst.

    Metres, beyond what soft flesh gives. Bones are told by balls; the thumb is held against all fingers, each finger
    against the next, the thumb's and the fingers' ends against the palm.
    """
    fingers, palm = _balls(model, angles)
    radii = _RADII_OF_BALLS.to(angles)
    worst = torch.zeros(angles.shape[0], device=angles.device, dtype=angles.dtype)
    for one, other in ((0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4)):
        depth = radii[one][:, None] + radii[other][None] - torch.cdist(fingers[:, one], fingers[:, other])
        worst = torch.maximum(worst, depth.flatten(1).amax(dim=1))
    for finger in range(5):
        ends = slice(6 if finger == 0 else 8, None)
        depth = radii[finger, ends][:, None] + _PALM_RADIUS - torch.cdist(fingers[:, finger, ends], palm)
        worst = torch.maximum(worst, depth.flatten(1).amax(dim=1))
    return (worst - _SOFT).clamp_min(0)


def _balls(model: HandModel, angles: Tensor) -> tuple[Tensor, Tensor]:
    """Centres [n, 5, 12, 3] of four balls on each of three bones a finger, and [n, 16, 3] of the palm's."""
    joints = _joint_positions(model, angles)
    share = torch.tensor([0.25, 0.5, 0.75, 1.0], device=angles.device, dtype=angles.dtype)
    centres = torch.lerp(joints[:, :, :-1, None], joints[:, :, 1:, None], share[:, None])
    knuckles = joints[:, 1:, 0]
    share = torch.tensor([0.4, 0.55, 0.7, 0.85], device=angles.device, dtype=angles.dtype)
    palm = knuckles[:, :, None] * share[:, None]  # the wrist is the origin
    return centres.flatten(2, 3), palm.flatten(1, 2)


def _joint_positions(model: HandModel, angles: Tensor) -> Tensor:
    """[n, 5, 4, 3] joints of the five fingers, base to just short of the tip, without skinning the mesh."""
    rotations = angles_to_rotations(model, angles)
    rest = model.joint_template.to(angles)
    tips = model.template.to(angles)[model.tip_vertices.to(angles.device)]
    fingers = []
    for finger in range(5):
        first = 1 + 3 * finger
        chain = torch.cat([rest[first : first + 3], tips[finger : finger + 1]])
        offsets = chain.diff(dim=0)
        offsets = torch.cat([offsets[:2], offsets[2:] * 0.75])  # the ball at the tip ends where the flesh does
        turned, place = rotations[:, first - 1], chain[0].expand(angles.shape[0], 3)
        places = [place]
        for bone in range(3):
            turned = turned if bone == 0 else turned @ rotations[:, first - 1 + bone]
            place = place + turned @ offsets[bone]
            places.append(place)
        fingers.append(torch.stack(places, dim=1))
    return torch.stack(fingers, dim=1)
