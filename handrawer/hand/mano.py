"""MANO (Romero, Tzionas & Black 2017, "Embodied Hands", ACM TOG 36) from the user's own file.

MANO's files are for non-commercial use and come from https://mano.is.tue.mpg.de; HanDrawer neither ships nor fetches
them. What can be read, and how, says ``mano_files.py``.

**Frames.** In MANO's rest frame a right hand's fingers point to -x, its palm to -y and its thumb to +z; a left hand's
fingers to +x. ``HandModel`` wants fingers up and the palm to the camera, wrist at the origin. The rotation between the
two is measured on the file: it takes the wrist and the four knuckles onto the open hand's (Kabsch 1976), so that
anatomical angles mean the same for both models.

**Left hands** are mirrored right hands here, so one file serves both sides; of a left file the mirror image is taken.
The official left file has its shape directions' x in the right hand's sense while its template is mirrored (known
since 2020: vchoutas/smplx issue 48), so its shapes come out distorted; this is found and mended unless told otherwise.

**Pose.** HanDrawer's poses are rotations from the template, the flat hand: smplx's ``flat_hand_mean=True`` with all 45
numbers. ``ManoFile.hand_pose`` makes those from PCA coefficients and from poses relative to MANO's mean pose.
"""

from __future__ import annotations

import functools
import logging
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor

from .joints import RIG_JOINTS, RIG_PARENTS
from .mano_files import ManoFile, read_mano
from .model import HandModel, load_open_hand, register_model
from .skinning import axis_angle_to_matrix, matrix_to_axis_angle

logger = logging.getLogger("handrawer")

MANO_TO_RIG: tuple[int, ...] = (0, 13, 14, 15, 1, 2, 3, 4, 5, 6, 10, 11, 12, 7, 8, 9)
"""For each rig joint its number in MANO's order: wrist, index, middle, little, ring, thumb, base to tip."""

TIP_VERTICES: tuple[int, ...] = (744, 320, 443, 554, 671)
"""The vertices of MANO's mesh that are taken for its fingertips, thumb to little finger, as smplx does."""

MANO_VERTICES = 778
_PALM = [RIG_JOINTS.index(joint) for joint in (0, 5, 9, 13, 17)]
_MIRROR = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
_SHAPES_OF_PEOPLE = 10  # the official files hold more directions; smplx and all data sets use ten


def load_mano(path: str | Path, *, mend_left: bool = True, register: bool = True) -> HandModel:
    """The hand model of a MANO file, float32 on the CPU; its name is ``"mano"``.

    Args:
        path: .pkl, .npz or .safetensors.
        mend_left: see ``mano_model``.
        register: make it known as "mano", so that hands of it can be drawn, refitted and read from files.

    Raises:
        ManoError: with one sentence that names the file.
    """
    model = mano_model(read_mano(path), mend_left=mend_left)
    if register:
        register_model(model)
    return model


@torch.no_grad()
def mano_model(mano: ManoFile, *, mend_left: bool = True) -> HandModel:
    """The hand model of MANO's numbers, float32, for both sides.

    Args:
        mend_left: turn the x of a left file's shape directions where they are found to be the right hand's. False keeps
            to the file, as smplx does.
    """
    turn, template, shape_dirs = _right_hand(mano, mend_left)
    pose_dirs = _mirrored_pose_dirs(mano.posedirs) if mano.left else mano.posedirs
    regressor = mano.joint_regressor[list(MANO_TO_RIG)]
    joints, joint_dirs = regressor @ template, torch.einsum("jv,vcs->jcs", regressor, shape_dirs)
    template, joints = (template - joints[0]) @ turn.mT, (joints - joints[0]) @ turn.mT
    weights = mano.weights[:, list(MANO_TO_RIG)]
    weights = weights / weights.sum(dim=1, keepdim=True)
    model = HandModel(
        name="mano",
        template=template,
        faces=_outward(template, mano.faces),
        shape_dirs=torch.einsum("ij,vjs->vis", turn, shape_dirs),
        shape_names=tuple(f"shape_{i}" for i in range(shape_dirs.shape[-1])),
        joint_template=joints,
        joint_shape_dirs=torch.einsum("ij,kjs->kis", turn, joint_dirs),
        weights=weights,
        parents=RIG_PARENTS,
        tip_vertices=_tips(template, joints, weights),
        pose_dirs=_turned_pose_dirs(pose_dirs, turn),
        parts=weights.argmax(dim=1),
    )
    return model.to(dtype=torch.float32)


def from_mano(
    mano: ManoFile, betas: Tensor, global_orient: Tensor, hand_pose: Tensor, transl: Tensor, *, mend_left: bool = True
) -> dict[str, Tensor]:
    """``pose_hand``'s arguments, except for the model, that give what ``smplx.MANO`` gives of these.

    Args:
        betas: [N, S].
        global_orient: [N, 3] axis-angle, into the frame of the result (a camera's: x right, y down, z away).
        hand_pose: [N, 45] axis-angles from the flat hand, MANO's order, of the file's own side: ``ManoFile.hand_pose``.
        transl: [N, 3] metres.
        mend_left: as for ``mano_model`` that made the model.
    """
    mirror, turn, root, root_dirs = _frames(mano, mend_left, betas)
    axis_angle = rearrange(hand_pose, "n (j c) -> n j c", c=3)[:, [joint - 1 for joint in MANO_TO_RIG[1:]]]
    # Mirroring turns a rotation about an axis into one about the mirrored axis, the other way round.
    axis_angle = axis_angle * (mirror * mirror.prod())
    shape = torch.zeros(len(betas), root_dirs.shape[-1]).to(betas)
    used = min(shape.shape[1], betas.shape[1])
    shape[:, :used] = betas[:, :used]
    return {
        "rotations": turn @ axis_angle_to_matrix(axis_angle) @ turn.mT,
        "shape": shape,
        "orientation": axis_angle_to_matrix(global_orient) @ _into_mano(mirror, turn),
        "translation": (root + shape @ root_dirs.mT) * mirror + transl,
        "left": torch.full((len(betas),), mano.left, device=betas.device),
    }


def to_mano(
    mano: ManoFile, pose: Tensor, orientation: Tensor, shape: Tensor, translation: Tensor, *, mend_left: bool = True
) -> dict[str, Tensor]:
    """smplx's ``betas``, ``global_orient``, ``hand_pose`` (45, flat hand) and ``transl`` of hands of the file's side.

    Args:
        pose: [N, 15, 3] axis-angle; orientation [N, 3] axis-angle; shape [N, S]; translation [N, 3] metres: the fields
            of ``Hand``.
    """
    mirror, turn, root, root_dirs = _frames(mano, mend_left, pose)
    axis_angle = (pose @ turn) * (mirror * mirror.prod())
    order = [MANO_TO_RIG.index(joint) - 1 for joint in range(1, 16)]
    return {
        "betas": shape,
        "global_orient": matrix_to_axis_angle(axis_angle_to_matrix(orientation) @ _into_mano(mirror, turn).mT),
        "hand_pose": axis_angle[:, order].flatten(1),
        "transl": translation - (root + shape @ root_dirs.mT) * mirror,
    }


@functools.lru_cache(maxsize=8)
def _right_hand(mano: ManoFile, mend_left: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The turn [3, 3] into the rest frame; template [V, 3] and shape directions [V, 3, S], of a left file mirrored."""
    template, shape_dirs = mano.v_template, mano.shapedirs[..., :_SHAPES_OF_PEOPLE]
    if mend_left and mano.left and _shapes_of_the_other_side(template, shape_dirs):
        logger.info("MANO: the left file's shape directions are the right hand's; they are mirrored.")
        shape_dirs = shape_dirs * _MIRROR[:, None]
    if mano.left:
        template, shape_dirs = template * _MIRROR, shape_dirs * _MIRROR[:, None]
    return _to_rest_frame(mano.joint_regressor[list(MANO_TO_RIG)] @ template), template, shape_dirs


def _frames(mano: ManoFile, mend_left: bool, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mirror [3] of the file's side, the turn [3, 3] into the rest frame, and in MANO's frame, mirrored for a left
    file, the wrist [3] and its directions [3, S]."""
    turn, template, shape_dirs = _right_hand(mano, mend_left)
    wrist = mano.joint_regressor[0]
    mirror = _MIRROR if mano.left else torch.ones_like(_MIRROR)
    found = (mirror, turn, wrist @ template, torch.einsum("v,vcs->cs", wrist, shape_dirs))
    mirror, turn, root, root_dirs = (value.to(like) for value in found)
    return mirror, turn, root, root_dirs


def _into_mano(mirror: Tensor, turn: Tensor) -> Tensor:
    """[3, 3] a proper rotation: from the rest frame, where a left hand is mirrored in x, to MANO's own of that side."""
    return (mirror[:, None] * turn.mT) * mirror


def _to_rest_frame(joints: Tensor) -> Tensor:
    """[3, 3] the rotation of a right hand's rig joints [16, 3] into the frame of ``HandModel``."""
    open_hand = load_open_hand().joint_template.double()[_PALM]
    own = joints[_PALM] - joints[_PALM].mean(dim=0)
    u, _, vh = torch.linalg.svd((open_hand - open_hand.mean(dim=0)).mT @ own)
    ends = torch.diag(torch.tensor([1.0, 1.0, float(torch.linalg.det(u @ vh).sign())], dtype=torch.float64))
    return u @ ends @ vh


def _shapes_of_the_other_side(template: Tensor, shape_dirs: Tensor) -> bool:
    """Whether shape directions have their x the wrong way round for this template.

    The first direction is the hand's size: along every axis it moves what lies on one side to that side, or along every
    axis to the other. Lengthwise (x) and breadthwise (z) must agree.
    """
    place = template - template.mean(dim=0)
    stretch = (place * (shape_dirs[..., 0] - shape_dirs[..., 0].mean(dim=0))).sum(dim=0)
    return bool(stretch[0] * stretch[2] < 0)


def _mirrored_pose_dirs(pose_dirs: Tensor) -> Tensor:
    """Correctives for the mirrored hand; the mirrored rotation is M R M, so entries with one x change their sign."""
    signs = (_MIRROR[:, None] * _MIRROR).flatten().repeat(15)
    return pose_dirs * _MIRROR[:, None] * signs


def _turned_pose_dirs(pose_dirs: Tensor, turn: Tensor) -> Tensor:
    """[V, 3, 135] in the rest frame and rig order: the features are turned with the rotations."""
    by_joint = rearrange(pose_dirs, "v c (j a b) -> v c j a b", a=3, b=3)[:, :, [j - 1 for j in MANO_TO_RIG[1:]]]
    turned = torch.einsum("ic,vcjab,ka,lb->vijkl", turn, by_joint, turn, turn)
    return rearrange(turned, "v i j k l -> v i (j k l)")


def _outward(template: Tensor, faces: Tensor) -> Tensor:
    """Faces whose normals point out: an (almost) closed mesh so wound has a positive volume."""
    a, b, c = (template - template.mean(dim=0))[faces].unbind(dim=1)
    volume = (a * torch.linalg.cross(b, c)).sum()
    return faces if float(volume) > 0 else faces.flip(1)


def _tips(template: Tensor, joints: Tensor, weights: Tensor) -> Tensor:
    """[5] MANO's tip vertices; on another mesh the vertices of the last bones that lie farthest along them."""
    if len(template) == MANO_VERTICES:
        return torch.tensor(TIP_VERTICES)
    tips = []
    for finger in range(5):
        last = 3 * finger + 3
        along = joints[last] - joints[last - 1]
        reach = (template - joints[last]) @ along
        tips.append(reach.masked_fill(weights.argmax(dim=1) != last, -torch.inf).argmax())
    return torch.stack(tips)
