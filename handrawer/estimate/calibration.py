"""MediaPipe's 21 points on a rig: where they lie beside the rig's joints of the same names.

MediaPipe's landmarks are what people marked on photos, a rig's joints are centres of rotation. The difference is
measured once on renders whose joints are known (``scripts/calibrate_landmarks.py``) and kept, for each hand model, as
offsets that turn with the bones: for joint k

    m_k = j_k + palm * (R_own(k) @ a_k + R_parent(k) @ b_k)

with the global rotations of the bone that starts at the joint and of the one that ends there (for a fingertip, the last
two bones), and the length of the palm, wrist to middle knuckle, as the unit.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import torch
from torch import Tensor

from ..hand.camera import project
from ..hand.correspondence import correspond
from ..hand.hands import Hand, known_model
from ..hand.joints import JOINT_PARENTS, RIG_JOINTS
from ..hand.model import OPEN_HAND, HandModel, load_open_hand
from ..hand.skinning import PosedHand, axis_angle_to_matrix, pose_hand

OFFSETS_FILE = Path(__file__).with_name("landmark_offsets.json")
MIDDLE_KNUCKLE = 9


def _frames() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """For each of the 21 joints, the rig joints whose rotations carry the own and the parent bone."""
    own, parent = [], []
    for joint, before in enumerate(JOINT_PARENTS):
        tip = joint not in RIG_JOINTS
        carrier = before if tip else joint
        own.append(RIG_JOINTS.index(carrier))
        parent.append(RIG_JOINTS.index(max(JOINT_PARENTS[carrier], 0)))
    return tuple(own), tuple(parent)


OWN_BONE, PARENT_BONE = _frames()


@functools.lru_cache(maxsize=8)
def landmark_offsets(model_name: str) -> Tensor:
    """[21, 2, 3] float64: offsets with the own and with the parent bone, in palm lengths, of a right hand.

    Zeros for a model that has not been calibrated: see ``offsets_of``.
    """
    table = json.loads(OFFSETS_FILE.read_text(encoding="utf-8"))["models"]
    with torch.inference_mode(False):  # kept for callers outside of it too
        if model_name not in table:
            return torch.zeros(21, 2, 3, dtype=torch.float64)
        return torch.tensor(table[model_name]["offsets"], dtype=torch.float64)


def offsets_of(model: HandModel) -> Tensor:
    """[21, 2, 3] float64, as ``landmark_offsets``: those measured on the model, or carried over from the open hand's.

    A model that the user loaded cannot have been calibrated here. But where its joints lie beside the open hand's is
    known (``hand.correspondence``), and MediaPipe's points do not depend on a rig.
    """
    measured = landmark_offsets(model.name)
    return measured if model.name == OPEN_HAND or bool(measured.any()) else _carried_over(model)


@functools.lru_cache(maxsize=8)
def _carried_over(model: HandModel) -> Tensor:
    with torch.inference_mode(False), torch.no_grad():
        source = load_open_hand()
        matched = correspond(source, model)
        own, parent = (matched.laid.rotations[0, list(bones)].mT for bones in (OWN_BONE, PARENT_BONE))
        offsets = landmark_offsets(OPEN_HAND) * palm_length(source, torch.zeros(1, source.shape_count)).double()
        by_own = (own @ offsets[:, 0, :, None])[..., 0] + matched.offsets
        by_parent = (parent @ offsets[:, 1, :, None])[..., 0]
        palm = (matched.laid.joints[0, MIDDLE_KNUCKLE] - matched.laid.joints[0, 0]).norm()
        return torch.stack([by_own, by_parent], dim=1) / palm


def palm_length(model: HandModel, shape: Tensor) -> Tensor:
    """[B] metres from the wrist to the middle knuckle for shapes [B, S]."""
    ends = [0, RIG_JOINTS.index(MIDDLE_KNUCKLE)]
    joints = model.joint_template[ends] + torch.einsum("jcs,bs->bjc", model.joint_shape_dirs[ends], shape)
    return (joints[:, 1] - joints[:, 0]).norm(dim=-1)


def rig_to_mediapipe(
    model: HandModel, posed: PosedHand, shape: Tensor, left: Tensor, offsets: Tensor | None = None
) -> Tensor:
    """MediaPipe's points [B, 21, 3], metres in the camera frame, on posed hands. Differentiable.

    Args:
        posed: joints [B, 21, 3] and global rotations [B, 16, 3, 3] as ``pose_hand`` gives them.
        shape: [B, S] coefficients they were posed with; left: [B] bool.
        offsets: [21, 2, 3] instead of ``offsets_of`` the model.
    """
    offsets = (offsets_of(model) if offsets is None else offsets).to(posed.joints)
    mirror = torch.ones(len(left), 1, 3, dtype=offsets.dtype, device=offsets.device)
    mirror[:, 0, 0] = torch.where(left, -1.0, 1.0).to(mirror)
    shift = torch.zeros_like(posed.joints)
    for bones, offset in ((OWN_BONE, offsets[:, 0]), (PARENT_BONE, offsets[:, 1])):
        shift = shift + torch.einsum("bkij,bkj->bki", posed.rotations[:, bones], offset * mirror)
    return posed.joints + palm_length(model, shape)[:, None, None] * shift


def mediapipe_points(hand: Hand, model: HandModel | None = None) -> Tensor:
    """MediaPipe's points [21, 3] of one hand, metres in the camera frame.

    Args:
        model: the hand's model where it is not one that comes with HanDrawer. Without it the rig's joints themselves
            are returned for such hands.
    """
    model = model or known_model(hand.model)
    if model is None:
        return hand.joints
    left = torch.tensor([hand.left])
    orientation = axis_angle_to_matrix(hand.orientation)[None]
    posed = pose_hand(model, hand.rotations()[None], hand.shape[None], orientation, hand.translation[None], left)
    return rig_to_mediapipe(model, posed, hand.shape[None], left)[0]


def mediapipe_points_2d(hand: Hand, width: int, height: int, model: HandModel | None = None) -> Tensor:
    """MediaPipe's points [21, 2] of one hand in its picture of width x height pixels, normalised."""
    return project(mediapipe_points(hand, model), hand.camera, width, height)
