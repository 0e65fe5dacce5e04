"""A hand's degrees of freedom: anatomical angles, their limits, and the way from angles to joint rotations and back.

21 angles in radians. **Fingers**: flexion and abduction at the knuckle (MCP), flexion at the two joints beyond (PIP,
DIP). **Thumb**: flexion and abduction at its base (CMC), which turn it about its own axis as well (pronation), flexion
and a little abduction at the MCP, flexion at the IP.

Angles are those of anatomy, not offsets from a model's rest pose: 0 is a straight finger in the palm's plane, so the
same angles mean the same pose for every model. Flexion is positive towards the palm. A finger's abduction is positive
away from the middle finger (the middle finger's: towards the thumb). The thumb's CMC flexion is positive across the
palm, and 0 where its metacarpal is parallel to the middle finger's; its CMC abduction is positive out of the palm's
plane.

**Axes.** At a knuckle the flexion axis is fixed in the palm and the abduction axis moves with the flexed bone (the
order of the ISB's joint coordinate systems: Wu et al. 2005, J. Biomechanics 38), ``R = flexion @ abduction``, and so at
the thumb's base, whose saddle lets it turn by a linear function of both (Kapandji 2007, "The Physiology of the Joints",
vol. 1, on the column of the thumb; Hollister et al. 1992, J. Orthopaedic Research 10, on its two axes).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .joints import FINGER_NAMES
from .model import HandModel

ANGLE_NAMES: tuple[str, ...] = (
    "thumb_cmc_flexion",
    "thumb_cmc_abduction",
    "thumb_mcp_flexion",
    "thumb_mcp_abduction",
    "thumb_ip_flexion",
) + tuple(
    f"{finger}_{angle}"
    for finger in FINGER_NAMES[1:]
    for angle in ("mcp_flexion", "mcp_abduction", "pip_flexion", "dip_flexion")
)
"""The 21 angles, in the order of every angle tensor."""

ANGLE_INDEX: dict[str, int] = {name: i for i, name in enumerate(ANGLE_NAMES)}

# Active ranges of healthy adults, widened to what the passive joint allows where pictures show it. Sources: Greene &
# Heckman 1994, "The Clinical Measurement of Joint Motion" (AAOS): finger MCP 0..90, hyperextension to 45, PIP 0..100,
# DIP 0..80 and hyperextension 10; thumb MCP 0..55, IP -15..80. Kapandji 2007: knuckle flexion grows towards the little
# finger, abduction 20 to 30 to a side. Lin, Wu & Huang 2000, "Modeling the constraints of human hand motion": PIP
# 0..110, DIP 0..90, abduction -15..15. Thumb CMC: Barakat, Field & Taylor 2013, Hand 8: flexion-extension 41, abduction
# 51, measured about the joint; here it is the metacarpal's direction against the palm.
_LIMITS_DEGREES: dict[str, tuple[float, float]] = {
    "thumb_cmc_flexion": (-70, 25),
    "thumb_cmc_abduction": (-5, 65),
    "thumb_mcp_flexion": (-15, 60),
    "thumb_mcp_abduction": (-12, 12),
    "thumb_ip_flexion": (-25, 85),
    "index_mcp_flexion": (-25, 90),
    "index_mcp_abduction": (-15, 25),
    "middle_mcp_flexion": (-25, 90),
    "middle_mcp_abduction": (-15, 15),
    "ring_mcp_flexion": (-25, 92),
    "ring_mcp_abduction": (-15, 20),
    "little_mcp_flexion": (-25, 95),
    "little_mcp_abduction": (-18, 30),
    **{f"{finger}_pip_flexion": (-5, 112) for finger in FINGER_NAMES[1:]},
    **{f"{finger}_dip_flexion": (-10, 85) for finger in FINGER_NAMES[1:]},
}

LIMITS: Tensor = torch.tensor([_LIMITS_DEGREES[name] for name in ANGLE_NAMES]) * (math.pi / 180)
"""[21, 2] float32, least and greatest angle, radians."""

# The palm's bones start beside each other on the wrist, not in its centre: half of the angle under which the wrist
# joint sees a knuckle is the bone's real direction, and a straight finger goes on in it.
_METACARPAL_FAN = 0.5

# The thumb's hinges lie across its nail, turned about the bone by this much from the fingers' (measured on the open
# hand: the cross-section of its end, and the plane in which its bones bend, are both 60 to 66 degrees).
_THUMB_ROLL = math.radians(-60)

# How far the thumb's metacarpal turns about itself per radian of CMC flexion and abduction; negative is pronation,
# which brings its pad to face the fingers (chosen so that in a fist it lies on the fingers with its nail outwards).
_PRONATION = (-0.5, -0.35)


_PROJECTION_ROUNDS = 8


@dataclass(frozen=True, eq=False)
class AnatomicalAxes:
    """A model's axes in anatomy, as unit vectors in the rest frame, and its rest angles. float64 on the CPU.

    The rotation of a two-axis joint is ``turn(flexion) @ turn(abduction) @ turn(bone, pronation) @ unrest``, where only
    the thumb's base has the third; a hinge's is ``turn(flexion, angle - rest)``.
    """

    flexion: Tensor  # [15, 3]
    abduction: Tensor  # [15, 3], zeros for hinges
    bone: Tensor  # [15, 3] direction of the bone at angle 0, for the two-axis joints
    rest: Tensor  # [21] the angles at which the model is in its rest pose
    unrest: Tensor  # [6, 3, 3] two-axis joints (thumb CMC, thumb MCP, knuckles): transposed rotation of the rest angles
    pronation: tuple[float, float] = _PRONATION  # of the thumb's base, per radian of its flexion and abduction


# Rig joint (of the 15) and angles of the two-axis joints (thumb CMC, thumb MCP, four knuckles) and of the hinges.
_SADDLES = [(0, 0), (1, 2)] + [(3 * f, 5 + 4 * (f - 1)) for f in range(1, 5)]
_HINGES = [(2, 4)] + [(3 * f + h, 5 + 4 * (f - 1) + 1 + h) for f in range(1, 5) for h in (1, 2)]
_SADDLE_JOINTS, _SADDLE_ANGLES = (list(x) for x in zip(*_SADDLES, strict=True))
_HINGE_JOINTS, _HINGE_ANGLES = (list(x) for x in zip(*_HINGES, strict=True))
_RIG_ORDER = [(_SADDLE_JOINTS + _HINGE_JOINTS).index(joint) for joint in range(15)]
_SPREAD_SIDE = {"index": 1.0, "middle": 1.0, "ring": -1.0, "little": -1.0}


def angles_to_rotations(model: HandModel, angles: Tensor) -> Tensor:
    """Joint rotations [B, 15, 3, 3] of the angles [B, 21] (radians), for ``pose_hand``. Differentiable.

    Angles are not clamped: see ``clamp_angles``.
    """
    axes = _axes_of(model, angles)
    saddles = _saddle(angles[:, _SADDLE_ANGLES], angles[:, [a + 1 for a in _SADDLE_ANGLES]], axes) @ axes.unrest
    hinges = _turn(axes.flexion[_HINGE_JOINTS], angles[:, _HINGE_ANGLES] - axes.rest[_HINGE_ANGLES])
    both = torch.cat([saddles, hinges], dim=1)
    return both[:, _RIG_ORDER]


def rotations_to_angles(model: HandModel, rotations: Tensor) -> Tensor:
    """The angles [B, 21] of joint rotations [B, 15, 3, 3]; inverse of ``angles_to_rotations``. Differentiable.

    Exact for rotations that the angles can express (abductions within 90 degrees). Others are projected: hinges and
    knuckles to the nearest rotation in the least-squares sense (greatest trace), the base of the thumb so that its
    bone keeps its direction.
    """
    axes = _axes_of(model, rotations)
    angles = torch.zeros(rotations.shape[0], len(ANGLE_NAMES), dtype=rotations.dtype, device=rotations.device)
    hinge = rotations[:, _HINGE_JOINTS]
    angles[:, _HINGE_ANGLES] = _angle_about(axes.flexion[_HINGE_JOINTS], hinge) + axes.rest[_HINGE_ANGLES]

    flexion, abduction = _saddle_angles(rotations[:, _SADDLE_JOINTS] @ axes.unrest.mT, axes)
    angles[:, _SADDLE_ANGLES] = flexion
    angles[:, [a + 1 for a in _SADDLE_ANGLES]] = abduction
    return angles


def clamp_angles(angles: Tensor) -> Tensor:
    """Angles [..., 21] brought within ``LIMITS``."""
    limits = LIMITS.to(angles)
    return torch.minimum(torch.maximum(angles, limits[:, 0]), limits[:, 1])


def rest_angles(model: HandModel) -> Tensor:
    """[21] the angles of the model's rest pose (identity rotations), float32 on the model's device."""
    return _axes_of(model, model.joint_template).rest


def _axes_of(model: HandModel, like: Tensor) -> AnatomicalAxes:
    axes = _axes(model)
    if axes.rest.device == like.device and axes.rest.dtype == like.dtype:
        return axes
    return AnatomicalAxes(
        *(getattr(axes, name).to(like) for name in ("flexion", "abduction", "bone", "rest", "unrest"))
    )


def anatomical_axes(model: HandModel) -> AnatomicalAxes:
    """The axes about which ``angles_to_rotations`` turns this model's joints."""
    return _axes(model)


@functools.lru_cache(maxsize=16)
def _axes(model: HandModel) -> AnatomicalAxes:
    """Axes and rest angles from the joints at rest; in double precision, on the CPU."""
    rest_joints = model.joint_template.detach().double().cpu()
    tips = model.template.detach().double().cpu()[model.tip_vertices.cpu()]
    flexion, abduction, bone = (torch.zeros(15, 3, dtype=torch.float64) for _ in range(3))
    rest = torch.zeros(len(ANGLE_NAMES), dtype=torch.float64)
    for finger in range(5):
        first = 3 * finger
        chain = torch.cat([rest_joints[1 + first : 4 + first], tips[finger : finger + 1]])
        bones = torch.nn.functional.normalize(chain.diff(dim=0), dim=-1)
        saddle = _thumb_saddle() if finger == 0 else _knuckle(FINGER_NAMES[finger], chain[0] - rest_joints[0])
        flexion[first], abduction[first], bone[first] = saddle
        angle = 0 if finger == 0 else 5 + 4 * (finger - 1)
        rest[angle], rest[angle + 1] = _direction_angles(*saddle, bones[0])
        for hinge in (1, 2):
            flexion[first + hinge] = _hinge(bones[hinge - 1], bones[hinge], finger == 0)
        if finger == 0:
            _set_thumb_mcp(flexion, abduction, bone, rest, bones)
            rest[4] = _bend(flexion[2], bones[1], bones[2])
        else:
            rest[angle + 2] = _bend(flexion[first + 1], bones[0], bones[1])
            rest[angle + 3] = _bend(flexion[first + 2], bones[1], bones[2])
    draft = AnatomicalAxes(
        flexion, abduction, bone, rest, torch.eye(3, dtype=torch.float64).expand(len(_SADDLES), 3, 3)
    )
    at_rest = _saddle(rest[None, _SADDLE_ANGLES], rest[None, [a + 1 for a in _SADDLE_ANGLES]], draft)[0]
    return AnatomicalAxes(flexion, abduction, bone, rest, at_rest.mT)


def _knuckle(finger: str, metacarpal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    fan = _METACARPAL_FAN * math.atan2(float(metacarpal[0]), -float(metacarpal[1]))
    bone = torch.tensor([math.sin(fan), -math.cos(fan), 0.0], dtype=torch.float64)
    across = torch.tensor([math.cos(fan), math.sin(fan), 0.0], dtype=torch.float64)  # flexion turns -y to -z
    back = torch.tensor([0.0, 0.0, _SPREAD_SIDE[finger]], dtype=torch.float64)
    return across, back, bone


def _thumb_saddle() -> tuple[Tensor, Tensor, Tensor]:
    flexion, abduction, bone = (0.0, 0.0, -1.0), (1.0, 0.0, 0.0), (0.0, -1.0, 0.0)
    as_tensor = functools.partial(torch.tensor, dtype=torch.float64)
    return as_tensor(flexion), as_tensor(abduction), as_tensor(bone)


def _hinge(before: Tensor, after: Tensor, thumb: bool) -> Tensor:
    """Flexion axis of a hinge: across the bones; in the palm's plane for a finger, turned to the nail's for a thumb.

    The mean of the two bones counts, so that a rest pose that is bent a little gives the same axis.
    """
    along = torch.nn.functional.normalize(before + after, dim=-1)
    palmar = torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64)
    axis = torch.nn.functional.normalize(torch.linalg.cross(along, palmar), dim=-1)
    return _turn(along, torch.tensor(_THUMB_ROLL, dtype=torch.float64)) @ axis if thumb else axis


def _set_thumb_mcp(flexion: Tensor, abduction: Tensor, bone: Tensor, rest: Tensor, bones: Tensor) -> None:
    """The thumb's MCP has a second axis, square to its hinge; its bone at angle 0 goes on along the metacarpal."""
    hinge = flexion[1]
    straight = torch.nn.functional.normalize(bones[0] - hinge * (hinge @ bones[0]), dim=-1)
    bone[1] = straight
    abduction[1] = torch.linalg.cross(straight, hinge)  # positive towards +hinge: away from the palm
    rest[2], rest[3] = _direction_angles(hinge, abduction[1], straight, bones[1])


def _direction_angles(flexion: Tensor, abduction: Tensor, bone: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Angles for which flexion(abduction(bone)) points along ``direction`` [..., 3]; the axes are square to each other.

    Turning about the abduction axis moves the bone to ``side``, which is along the flexion axis and so stays.
    """
    side, forward = torch.linalg.cross(abduction, bone), torch.linalg.cross(flexion, bone)
    ahead, out, up = ((direction * axis).sum(dim=-1) for axis in (bone, forward, side))
    return torch.atan2(out, ahead), torch.atan2(up, torch.hypot(ahead, out))


def _bend(axis: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Signed angle about ``axis`` from one bone to the next."""
    return torch.atan2(axis @ torch.linalg.cross(before, after), before @ after - (axis @ before) * (axis @ after))


def _saddle(flexion: Tensor, abduction: Tensor, axes: AnatomicalAxes) -> Tensor:
    """[B, 6] and [B, 6] angles to rotations [B, 6, 3, 3] from angle 0; the thumb's base turns about its bone too."""
    turned = _turn(axes.flexion[_SADDLE_JOINTS], flexion) @ _turn(axes.abduction[_SADDLE_JOINTS], abduction)
    pronation = _PRONATION[0] * flexion[:, :1] + _PRONATION[1] * abduction[:, :1]
    base = turned[:, :1] @ _turn(axes.bone[:1], pronation)
    return torch.cat([base, turned[:, 1:]], dim=1)


def _saddle_angles(turned: Tensor, axes: AnatomicalAxes) -> tuple[Tensor, Tensor]:
    """The inverse of ``_saddle``: rotations [B, 6, 3, 3] to flexions [B, 6] and abductions [B, 6].

    The bone's direction decides at first, which is all for the thumb's base, because its turn about the bone follows
    from the angles. The others are then improved by turns, one angle at a time, towards the least-squares solution;
    rotations that the angles can express are left as they are.
    """
    first, second, bone = (axis[_SADDLE_JOINTS] for axis in (axes.flexion, axes.abduction, axes.bone))
    flexion, abduction = _direction_angles(first, second, bone, torch.einsum("bkij,kj->bki", turned, bone))
    base = flexion[:, :1], abduction[:, :1]
    turned, first, second = turned[:, 1:], first[1:], second[1:]
    flexion, abduction = flexion[:, 1:], abduction[:, 1:]
    for _ in range(_PROJECTION_ROUNDS):
        flexion = _angle_about(first, turned @ _turn(second, -abduction))
        abduction = _angle_about(second, _turn(first, -flexion) @ turned)
    return torch.cat([base[0], flexion], dim=1), torch.cat([base[1], abduction], dim=1)


def _turn(axis: Tensor, angle: Tensor) -> Tensor:
    """Rotations [..., K, 3, 3] about unit axes [K, 3] by angles [..., K] (Rodrigues)."""
    x, y, z = axis.unbind(dim=-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([torch.stack(r, dim=-1) for r in ((zero, -z, y), (z, zero, -x), (-y, x, zero))], dim=-2)
    outer = axis[..., :, None] * axis[..., None, :]
    identity = torch.eye(3, dtype=axis.dtype, device=axis.device)
    cosine, sine = angle.cos()[..., None, None], angle.sin()[..., None, None]
    return cosine * identity + sine * cross + (1 - cosine) * outer


def _angle_about(axis: Tensor, rotation: Tensor) -> Tensor:
    """Angles about axes [K, 3] whose turns are nearest to rotations [B, K, 3, 3] (greatest trace(turn^T rotation))."""
    along = torch.einsum("ki,bkij,kj->bk", axis, rotation, axis)
    trace = torch.diagonal(rotation, dim1=-2, dim2=-1).sum(dim=-1)
    r = rotation
    twice = torch.stack([r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]], dim=-1)
    return torch.atan2((axis * twice).sum(dim=-1), trace - along)


def sample_angles(n: int, generator: torch.Generator | None = None, device: torch.device | str | None = None) -> Tensor:
    """Random plausible poses: [n, 21] float32 radians within ``LIMITS``, on ``device`` (the generator's by default).

    A mixture of the named gestures with noise, poses between two gestures, and fingers that curl together; see
    ``sampling.py``. The generator must live on ``device``; the same seed gives the same poses on the same device.
    """
    from .sampling import draw_poses  # sampling builds on the gestures, which build on this module

    return draw_poses(n, generator, device)
