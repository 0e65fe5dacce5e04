"""Hands in pictures: what runs over the ``HANDS`` socket, and handy ways to make them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .anatomy import angles_to_rotations
from .boxes import box_around, union_box
from .camera import Camera, Placement, contain, cover, crop_around, default_camera, place_at_box, project
from .framing import place_in_box
from .gestures import gesture_angles
from .model import HandModel, load_open_hand
from .model import known_model as known_model  # told apart by name: whoever has hands needs their models
from .skinning import PosedHand, axis_angle_to_matrix, matrix_to_axis_angle, pose_hand

SIDES = ("left", "right")
PLACING_MODES = ("contain", "cover", "crop", "box")


@dataclass(frozen=True, eq=False)
class Hand:
    """One hand in a picture. Tensors are float32 on the CPU; never changed in place."""

    model: str
    """Name of the hand model that pose, shape and vertices belong to."""
    side: str
    """``"left"`` or ``"right"``, the person's own."""
    pose: Tensor
    """[15, 3] axis-angle of the finger joints relative to their parents, rig order, always those of a right hand."""
    orientation: Tensor
    """[3] axis-angle of the hand in the camera frame, after mirroring for a left hand."""
    shape: Tensor
    """[S] shape coefficients."""
    translation: Tensor
    """[3] the wrist joint in the camera frame, metres."""
    camera: Camera
    joints: Tensor
    """[21, 3] metres, camera frame."""
    vertices: Tensor
    """[V, 3] metres, camera frame."""
    joints_2d: Tensor
    """[21, 2] normalised picture coordinates."""
    box: Tensor
    """[4] (x0, y0, x1, y1) tight around the projected vertices, normalised; may reach outside [0, 1]."""
    confidence: float = 1.0
    """0 to 1, of the detector; 1 for a hand that was made."""
    weight: float = 1.0
    """How strongly the hand steers, 1 is normal."""
    enabled: bool = True
    z_order: int | None = None
    """Overrides depth between hands: greater lies nearer to the viewer. None: by depth."""
    notes: tuple[str, ...] = ()
    unsure: bool = False
    """Side, or palm and back, are not certain; a note says why."""
    joint_confidence: Tensor | None = None
    """[21] from 0 to 1, how far each landmark that the hand was fitted to was believed; None where it was made."""
    joint_residual: Tensor | None = None
    """[21] how far the fitted hand misses each landmark, in shares of the longer side of the landmarks' box."""

    def __post_init__(self):
        if self.side not in SIDES:
            raise ValueError(f"A hand's side is 'left' or 'right', not {self.side!r}.")
        sizes = {"pose": (15, 3), "orientation": (3,), "shape": (None,), "translation": (3,), "joints": (21, 3),
                 "vertices": (None, 3), "joints_2d": (21, 2), "box": (4,)}  # fmt: skip
        sizes |= {name: (21,) for name in ("joint_confidence", "joint_residual") if getattr(self, name) is not None}
        for name, size in sizes.items():
            value = torch.as_tensor(getattr(self, name)).detach().to("cpu", torch.float32)
            if value.dim() != len(size) or any(s not in (None, v) for s, v in zip(size, value.shape, strict=True)):
                raise ValueError(f"A hand's {name} has shape {tuple(value.shape)}, expected {size}.")
            if not bool(torch.isfinite(value).all()):
                raise ValueError(f"A hand's {name} has numbers that are not finite.")
            object.__setattr__(self, name, value)

    @property
    def left(self) -> bool:
        return self.side == "left"

    def rotations(self) -> Tensor:
        """[15, 3, 3] finger rotations."""
        return axis_angle_to_matrix(self.pose)

    def replace(self, **changes) -> Hand:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def placed(self, placement: Placement) -> Hand:
        """The hand in another picture: its 3D stays, camera and 2D move together."""
        return self.replace(
            camera=placement.camera(self.camera),
            joints_2d=placement.points(self.joints_2d.double()),
            box=placement.box(self.box.double()),
        )


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture's hands, and the size in pixels of the picture that they belong to."""

    width: int
    height: int
    hands: tuple[Hand, ...] = ()
    note: str = ""

    def __post_init__(self):
        if min(self.width, self.height) < 1:
            raise ValueError(f"A picture of {self.width} x {self.height} pixels has no room for hands.")
        object.__setattr__(self, "hands", tuple(self.hands))

    def placed(self, placement: Placement) -> Frame:
        if (self.width, self.height) != (placement.source_width, placement.source_height):
            raise ValueError(
                f"The placement is for a picture of {placement.source_width} x {placement.source_height} pixels, "
                f"the hands belong to one of {self.width} x {self.height}."
            )
        hands = tuple(hand.placed(placement) for hand in self.hands)
        return Frame(placement.target_width, placement.target_height, hands, self.note)

    def placement(
        self, width: int, height: int, mode: str = "contain", box: Sequence[float] | None = None, margin: float = 0.25
    ) -> Placement:
        """How ``Hands.placed`` would bring this picture to another size."""
        if mode not in PLACING_MODES:
            raise ValueError(f"Unknown way of placing {mode!r}: choose one of {', '.join(PLACING_MODES)}.")
        if mode == "cover":
            return cover(self.width, self.height, width, height)
        if mode == "contain" or not self.hands:
            return contain(self.width, self.height, width, height)
        around = union_box([hand.box for hand in self.hands]).tolist()
        if mode == "crop":
            return crop_around(around, self.width, self.height, width, height, margin)
        if box is None:
            raise ValueError("Placing hands at a box needs the box: (x0, y0, x1, y1), each between 0 and 1.")
        return place_at_box(around, self.width, self.height, box, width, height)


@dataclass(frozen=True, eq=False)
class Hands:
    """For each picture of a batch, the hands in it. Never changed in place."""

    frames: tuple[Frame, ...]

    def __post_init__(self):
        object.__setattr__(self, "frames", tuple(self.frames))

    @property
    def count(self) -> int:
        """How many hands there are in all frames."""
        return sum(len(frame.hands) for frame in self.frames)

    def for_batch(self, n: int) -> tuple[Hands, str]:
        """Exactly ``n`` frames, and a note where some were repeated or cut (empty if nothing is worth saying).

        One frame serves every picture; fewer frames than pictures repeat cyclically, more are cut.
        """
        have = len(self.frames)
        if have == 0 or n < 1:
            raise ValueError(f"Hands of {have} pictures cannot serve {n} pictures.")
        frames = tuple(self.frames[i % have] for i in range(n))
        if have in (1, n):
            return Hands(frames), ""
        if have < n:
            return Hands(frames), f"Hands of {have} pictures serve {n} pictures: they repeat in turn."
        return Hands(frames), f"Hands of {have} pictures serve {n} pictures: only the first {n} are used."

    def placed(
        self,
        width: int,
        height: int,
        mode: str = "contain",
        *,
        box: Sequence[float] | None = None,
        margin: float = 0.25,
    ) -> Hands:
        """The hands on pictures of another size, never stretched.

        Args:
            mode: ``contain`` shows the whole picture, ``cover`` fills the new one, ``crop`` takes what is around all of
                a picture's hands with ``margin`` (share of their box's size) on each side, ``box`` puts all of a
                picture's hands as large as they fit into ``box`` (normalised in the new picture). Pictures without a
                hand are brought over as ``contain`` does by the last two.
        """
        return Hands(tuple(f.placed(f.placement(width, height, mode, box, margin)) for f in self.frames))

    def map(self, change: Callable[[Hand], Hand]) -> Hands:
        """Every hand replaced by ``change(hand)``."""
        return Hands(tuple(dataclasses.replace(f, hands=tuple(change(h) for h in f.hands)) for f in self.frames))

    def to_json(self) -> str:
        """Lossless, readable, versioned; see ``hands_json.py``."""
        from .hands_json import dump_hands  # it knows this module

        return dump_hands(self)

    @staticmethod
    def from_json(text: str) -> Hands:
        """The inverse of ``to_json``; ValueError with a sentence for text that is not hands."""
        from .hands_json import parse_hands

        return parse_hands(text)


def pose_parameters(
    model: HandModel, pose: Tensor, orientation: Tensor, shape: Tensor, translation: Tensor, side: str
) -> PosedHand:
    """One hand (batch of 1) from a ``Hand``'s parameters, in float32 on the CPU."""
    return pose_hand(
        model,
        axis_angle_to_matrix(pose)[None],
        shape[None],
        axis_angle_to_matrix(orientation)[None],
        translation[None],
        torch.tensor([side == "left"]),
    )


def make_hand(
    model: HandModel | None = None,
    *,
    angles: Tensor | None = None,
    pose: Tensor | None = None,
    side: str = "right",
    orientation: Tensor | Sequence[float] = (0.0, 0.0, 0.0),
    translation: Tensor | Sequence[float] = (0.0, 0.0, 0.5),
    shape: Tensor | Sequence[float] | None = None,
    camera: Camera | None = None,
    width: int,
    height: int,
    confidence: float = 1.0,
    notes: tuple[str, ...] = (),
) -> Hand:
    """A hand from its parameters: poses the model, projects it, and measures its box.

    Args:
        model: the open hand if None.
        angles: [21] anatomical angles, radians; or
        pose: [15, 3] axis-angle or [15, 3, 3] matrices of the finger joints. Neither: the rest pose.
        orientation: [3] axis-angle or [3, 3] matrix.
        translation: [3] wrist joint in metres; the whole hand must lie before the camera.
        shape: [S], zeros if None.
        camera: ``default_camera(width, height)`` if None.
        width, height: of the picture, pixels.
    """
    model = (model or load_open_hand()).to("cpu", torch.float32)
    if angles is not None and pose is not None:
        raise ValueError("make_hand takes angles or a pose, not both.")
    if angles is not None:
        pose = angles_to_rotations(model, _plain(angles)[None])[0]
    pose = torch.zeros(15, 3) if pose is None else _axis_angle(pose, 2)
    orientation = _axis_angle(orientation, 1)
    shape = torch.zeros(model.shape_count) if shape is None else _plain(shape)
    camera = camera or default_camera(width, height)
    posed = pose_parameters(model, pose, orientation, shape, _plain(translation), side)
    vertices, joints = posed.vertices[0], posed.joints[0]
    if float(vertices[:, 2].min()) <= 0:
        raise ValueError("Part of the hand lies behind the camera: give it a greater depth (translation z).")
    return Hand(
        model=model.name, side=side, pose=pose, orientation=orientation, shape=shape, translation=_plain(translation),
        camera=camera, joints=joints, vertices=vertices, joints_2d=project(joints, camera, width, height),
        box=box_around(project(vertices, camera, width, height)), confidence=float(confidence), notes=tuple(notes),
    )  # fmt: skip


def _plain(value: Tensor | Sequence[float]) -> Tensor:
    return torch.as_tensor(value).detach().to("cpu", torch.float32)


def _axis_angle(value: Tensor | Sequence[float], dims: int) -> Tensor:
    value = _plain(value)
    return matrix_to_axis_angle(value) if value.dim() == dims + 1 else value


def orientation_from_degrees(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> Tensor:
    """[3, 3] orientation of a hand, float32. All 0: palm to the camera, fingers up.

    Positive ``yaw`` turns the palm to the picture's right, positive ``pitch`` leans the fingertips towards the camera,
    positive ``roll`` turns the picture of the hand clockwise; yaw is done first, roll last.
    """
    turns = torch.tensor([[0.0, -yaw, 0.0], [pitch, 0.0, 0.0], [0.0, 0.0, roll]], dtype=torch.float64)
    about_y, about_x, about_z = axis_angle_to_matrix(turns * (math.pi / 180))
    return (about_z @ about_x @ about_y).float()


def hand_from_gesture(
    name: str,
    side: str = "right",
    width: int = 512,
    height: int = 512,
    *,
    box: Sequence[float] | None = None,
    centre: tuple[float, float] = (0.5, 0.5),
    size: float = 0.8,
    orientation: tuple[float, float, float] = (0.0, 0.0, 0.0),
    shape: Tensor | Sequence[float] | None = None,
    camera: Camera | None = None,
    model: HandModel | None = None,
) -> Frame:
    """A picture with one hand that makes a named gesture; for the arguments see ``frame_from_angles``."""
    return frame_from_angles(
        gesture_angles(name), side, width, height, box=box, centre=centre, size=size,
        orientation=orientation_from_degrees(*orientation), shape=shape, camera=camera, model=model,
    )  # fmt: skip


def frame_from_angles(
    angles: Tensor,
    side: str = "right",
    width: int = 512,
    height: int = 512,
    *,
    box: Sequence[float] | None = None,
    centre: tuple[float, float] = (0.5, 0.5),
    size: float = 0.8,
    orientation: Tensor | Sequence[float] = (0.0, 0.0, 0.0),
    shape: Tensor | Sequence[float] | None = None,
    camera: Camera | None = None,
    model: HandModel | None = None,
) -> Frame:
    """A picture with one hand of given joint angles, as large as wanted.

    Args:
        angles: [21] radians, in the order of ``anatomy.ANGLE_NAMES``.
        width, height: of the picture, pixels.
        box: where the hand goes, normalised (x0, y0, x1, y1): it lies in the middle, as large as it fits. Without one,
        centre, size: the middle of the hand's box, and its longer side as a share of the picture's shorter side.
        orientation: [3] axis-angle or [3, 3] matrix, see ``orientation_from_degrees``.
    """
    if box is None:
        if not size > 0:
            raise ValueError(f"A hand of size {size} cannot be seen: use a size above 0, 1 fills the picture.")
        half = size * min(width, height) / 2
        box = (centre[0] - half / width, centre[1] - half / height, centre[0] + half / width, centre[1] + half / height)
    camera = camera or default_camera(width, height)

    def at(translation: Tensor) -> Hand:
        return make_hand(model, angles=angles, side=side, orientation=orientation, translation=translation, shape=shape,
                         camera=camera, width=width, height=height)  # fmt: skip

    return Frame(width, height, (_bring_to_box(at, torch.tensor([float(x) for x in box]), camera, width, height),))


def _bring_to_box(at: Callable[[Tensor], Hand], box: Tensor, camera: Camera, width: int, height: int) -> Hand:
    """Move a hand so that its projection lies in the middle of the box, as large as it fits."""
    if not bool((box[2:] > box[:2]).all()):
        raise ValueError(f"The box {tuple(box.tolist())} is empty: it needs x0 < x1 and y0 < y1.")
    away = torch.tensor([0.0, 0.0, 2.0])
    return at(place_in_box(at(away).vertices - away, box, camera, width, height))
