"""The possible hand that explains a crop best, drawn over it: what the judge's network compares the crop with.

Where a finger is missing, one too many or grown together with its neighbour, no hand of five fingers that bend as
fingers do covers what is seen. How far it does not is for the network to say; here it is only drawn.
"""

from __future__ import annotations

import functools

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from ..estimate.fit import fit_landmarks
from ..estimate.networks import HAND_SIDE
from ..hand.anatomy import angles_to_rotations
from ..hand.camera import default_camera, project
from ..hand.model import load_open_hand
from ..hand.skinning import pose_hand
from ..render.rasterise import interpolate, rasterise

SIDE = 56  # of the drawings
CHANNELS = 3 + 6 + 3 + 1  # the crop, palm and fingers, normals, nearness
_DEEP = 0.08  # metres from the hand's middle that use up the range of nearness


def drawn_over(crops: Tensor, points: Tensor, right: Tensor, world: Tensor) -> Tensor:
    """Crops of upright hands, each with the possible hand that explains its landmarks best.

    Args:
        crops: [N, 3, HAND_SIDE, HAND_SIDE] in 0..1.
        points: [N, 21, 2] landmarks, in shares of the crop's side.
        right: [N] chance of a right hand.
        world: [N, 21, 3] landmarks in metres.

    Returns:
        [N, CHANNELS, SIDE, SIDE] in 0..1: red, green, blue; palm, thumb, index, middle, ring and little finger; the
        normals' x, y and z (0.5 is 0); nearness (0.5 is the hand's middle). Zeros where no hand is drawn.
    """
    small = F.avg_pool2d(crops, HAND_SIDE // SIDE)
    model = load_open_hand()
    sides = ["right" if value >= 0.5 else "left" for value in right.tolist()]
    fit = fit_landmarks(model, points, HAND_SIDE, HAND_SIDE, sides, world)
    left = torch.tensor([side == "left" for side in sides])
    posed = pose_hand(model, angles_to_rotations(model, fit.angles.float()), fit.shape.float(),
                      fit.orientation.float(), fit.translation.float(), left)  # fmt: skip
    flat = project(posed.vertices, default_camera(HAND_SIDE, HAND_SIDE), HAND_SIDE, HAND_SIDE) * SIDE
    depth, count = posed.vertices[..., 2:], len(crops)
    points = torch.cat([flat, depth], dim=-1)
    fragments = rasterise(points, model.faces, torch.arange(count), count, SIDE, SIDE)
    near = 0.5 - (depth - posed.joints[:, :, 2].mean(dim=1)[:, None, None]) / (2 * _DEEP)
    labels = _fingers().expand(count, -1, -1)
    values = torch.cat([labels, _normals(posed.vertices, model.faces, left) * 0.5 + 0.5, near.clamp(0, 1)], dim=-1)
    drawn = rearrange(interpolate(fragments, values, model.faces), "n h w c -> n c h w")
    return torch.cat([small, drawn.clamp(0, 1).to(small.device)], dim=1)


@functools.lru_cache(maxsize=1)
def _fingers() -> Tensor:
    """[V, 6] which of palm and fingers a vertex belongs to; the thumb's metacarpal is the palm's."""
    parts = load_open_hand().parts
    with torch.inference_mode(False):  # the host calls in inference mode, and this outlives the call
        return F.one_hot(torch.where(parts > 1, (parts - 1) // 3 + 1, 0), 6).float()


def _normals(vertices: Tensor, faces: Tensor, left: Tensor) -> Tensor:
    """[N, V, 3] unit normals, outwards."""
    corners = vertices[:, faces]
    across = torch.linalg.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
    across = torch.where(left[:, None, None], -across, across)
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total.index_add_(1, faces[:, corner], across)
    return F.normalize(total, dim=-1)
