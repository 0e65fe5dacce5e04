"""The forearm and the sleeve that a synthetic hand grows out of: two tubes added to the hand's mesh.

A hand that ends at the wrist looks cut off and is found less often by hand detectors, so the tubes run on to the
picture's edge. They are rigid with the wrist.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..hand.model import HandModel

RINGS = 10
SEGMENTS = 24
ARM_LENGTH = 0.32  # metres from the stub's end
SKIN, SLEEVE = 0, 1


@dataclass(frozen=True)
class Arm:
    """Tubes in the rest pose of the right hand.

    Attributes:
        points: [2 * RINGS * SEGMENTS, 3] metres; the arm first, then the sleeve.
        faces: [F, 3] int64 into `points`, outward like the hand's.
        radii: [2 * RINGS * SEGMENTS, 3] offset of each point from the tube's axis, metres, for widening a sleeve.
    """

    points: Tensor
    faces: Tensor
    radii: Tensor


def _tube_faces(offset: int, flip: bool) -> Tensor:
    ring = torch.arange(RINGS - 1)[:, None] * SEGMENTS
    here = torch.arange(SEGMENTS)[None]
    after = (here + 1) % SEGMENTS
    a, b, c, d = ring + here, ring + after, ring + SEGMENTS + here, ring + SEGMENTS + after
    first, second = torch.stack([a, b, c], -1), torch.stack([b, d, c], -1)
    faces = torch.cat([first.reshape(-1, 3), second.reshape(-1, 3)])
    return (faces.flip(-1) if flip else faces) + offset


def _signed_volume(points: Tensor, faces: Tensor) -> float:
    a, b, c = points[faces].unbind(1)
    return float((a * torch.linalg.cross(b, c)).sum() / 6)


def grow_arm(model: HandModel) -> Arm:
    """Fit the two tubes to the end of the model's forearm stub, which points to +y."""
    template = model.template.float()
    end = template[:, 1].max()
    rim = template[template[:, 1] > end - 0.012]
    centre = (rim.amin(0) + rim.amax(0)) / 2
    half = (rim.amax(0) - rim.amin(0)) / 2
    angle = torch.arange(SEGMENTS) / SEGMENTS * 2 * math.pi
    circle = torch.stack([torch.cos(angle) * half[0], torch.zeros(SEGMENTS), torch.sin(angle) * half[2]], -1)
    along = torch.linspace(0, 1, RINGS)[:, None, None]
    axis = torch.tensor([0.0, 1.0, 0.0])
    # The arm starts inside the stub and swells towards the elbow.
    arm_radii = circle[None] * (0.985 + 0.45 * along)
    arm = torch.tensor([centre[0], end - 0.01, centre[2]]) + along * ARM_LENGTH * axis + arm_radii
    # The sleeve starts a little below the wrist, wider than the arm, with a slight flare at the cuff.
    sleeve_radii = circle[None] * (1.18 + 0.06 * torch.exp(-along * 12) + 0.5 * along)
    start = end - 0.035
    sleeve = torch.tensor([centre[0], start, centre[2]]) + along * (ARM_LENGTH + 0.02) * axis + sleeve_radii
    points = torch.cat([arm.reshape(-1, 3), sleeve.reshape(-1, 3)])
    # Wind the tubes as the hand is wound, whatever that is.
    outward = _signed_volume(template, model.faces)
    tube = _tube_faces(0, False)
    flip = (_signed_volume(arm.reshape(-1, 3) - arm.reshape(-1, 3).mean(0), tube) > 0) != (outward > 0)
    faces = torch.cat([_tube_faces(0, flip), _tube_faces(RINGS * SEGMENTS, flip)])
    return Arm(points, faces, torch.cat([arm_radii.reshape(-1, 3), sleeve_radii.reshape(-1, 3)]))
