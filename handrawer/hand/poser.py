"""What the hand poser keeps: hands in the project's own terms as JSON, and the hand model as a web page needs it.

The state is a node's value in a saved workflow: versioned, and read back without loss. Each hand has its side, 21
anatomical angles, orientation, translation, shape and camera, so the page and this library pose the same hand from it.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .anatomy import ANGLE_NAMES, LIMITS, anatomical_axes, rotations_to_angles
from .camera import Camera
from .convert import refit_for
from .gestures import GESTURES
from .hands import SIDES, Frame, Hands, hand_from_gesture, make_hand, orientation_from_degrees
from .joints import FINGER_NAMES, JOINT_NAMES, RIG_PARENTS
from .library import LibraryPose, describe_pose
from .model import OPEN_HAND, HandModel, load_open_hand
from .skinning import matrix_to_axis_angle

FORMAT = "handrawer-poser"
VERSION = 1
START_GESTURE = "relaxed"
_START_SIDE = 512  # pixels: the picture that the first hand is placed in, before it is brought to another size
_MAX_HANDS = 20


@dataclass(frozen=True)
class PosedHandState:
    """One hand of the open model.

    ``angles`` are ``anatomy.ANGLE_NAMES`` in radians, ``orientation`` is an axis-angle in radians, ``translation`` the
    wrist joint in metres, ``shape`` the coefficients of the model's shape directions.
    """

    side: str
    angles: tuple[float, ...]
    orientation: tuple[float, ...]
    translation: tuple[float, ...]
    shape: tuple[float, ...]
    camera: Camera


@dataclass(frozen=True)
class PoserState:
    """Hands in a picture of ``width`` x ``height`` pixels."""

    width: int
    height: int
    hands: tuple[PosedHandState, ...]


def start_state() -> PoserState:
    """One relaxed right hand in the middle of a square: where nothing was posed yet."""
    frame = hand_from_gesture(START_GESTURE, "right", _START_SIDE, _START_SIDE)
    (hand,) = frame.hands
    exact = PosedHandState(
        side="right",
        angles=tuple(_rounded(GESTURES[START_GESTURE].angles)),
        orientation=tuple(_rounded(hand.orientation)),
        translation=tuple(_rounded(hand.translation)),
        shape=tuple(_rounded(hand.shape)),
        camera=hand.camera,
    )
    return PoserState(_START_SIDE, _START_SIDE, (exact,))


def parse_state(text: str) -> PoserState | None:
    """The state in a text, or None for a text without any: nothing was posed.

    Raises:
        ValueError: one sentence, for a text that is no state of the poser.
    """
    if not text.strip():
        return None
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"This is no state of the hand poser: it is not JSON ({error}).") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError(f'This is no state of the hand poser: it has no "format": "{FORMAT}".')
    version = data.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError("This state of the hand poser has no version.")
    if version > VERSION:
        raise ValueError(
            f"This state of the hand poser has version {version}, newer than version {VERSION} that this HanDrawer "
            "reads: update HanDrawer."
        )
    try:
        size = _size(data["width"], "width"), _size(data["height"], "height")
        hands = data["hands"]
        if not isinstance(hands, list) or len(hands) > _MAX_HANDS:
            raise ValueError(f"This state of the hand poser is damaged: hands is not a list of at most {_MAX_HANDS}.")
        return PoserState(*size, tuple(_parse_hand(hand) for hand in hands))
    except KeyError as error:
        raise ValueError(f"This state of the hand poser is incomplete: {error} is missing.") from error
    except TypeError as error:
        raise ValueError(f"This state of the hand poser is damaged: {error}.") from error


def _parse_hand(data: dict[str, Any]) -> PosedHandState:
    if not isinstance(data, dict) or data["side"] not in SIDES:
        raise ValueError("This state of the hand poser is damaged: a hand's side is neither left nor right.")
    if data.get("model", OPEN_HAND) != OPEN_HAND:
        raise ValueError(f"The hand poser poses the hand model {OPEN_HAND!r}, not {data['model']!r}.")
    camera = data["camera"]
    values = {name: _number(camera[name], name) for name in ("focal", "cx", "cy")}
    return PosedHandState(
        side=data["side"],
        angles=_numbers(data["angles"], len(ANGLE_NAMES), "angles"),
        orientation=_numbers(data["orientation"], 3, "orientation"),
        translation=_numbers(data["translation"], 3, "translation"),
        shape=_numbers(data["shape"], load_open_hand().shape_count, "shape"),
        camera=Camera(**values),
    )


def dump_state(state: PoserState) -> str:
    """The text of a state; ``parse_state`` gives the same state back."""
    hands = [
        {
            "model": OPEN_HAND,
            "side": hand.side,
            "angles": list(hand.angles),
            "orientation": list(hand.orientation),
            "translation": list(hand.translation),
            "shape": list(hand.shape),
            "camera": {"focal": hand.camera.focal, "cx": hand.camera.cx, "cy": hand.camera.cy},
        }
        for hand in state.hands
    ]
    data = {"format": FORMAT, "version": VERSION, "width": state.width, "height": state.height, "hands": hands}
    return json.dumps(data, separators=(",", ":"), allow_nan=False)


def state_to_frame(state: PoserState, width: int, height: int) -> Frame:
    """The hands of a state, brought to a picture of that size as a whole ("contain"), never stretched.

    Raises:
        ValueError: a hand lies behind the camera.
    """
    hands = tuple(
        make_hand(
            angles=torch.tensor(hand.angles),
            side=hand.side,
            orientation=hand.orientation,
            translation=hand.translation,
            shape=hand.shape,
            camera=hand.camera,
            width=state.width,
            height=state.height,
        )
        for hand in state.hands
    )
    frame = Frame(state.width, state.height, hands)
    return frame.placed(frame.placement(width, height, "contain"))


def frame_to_state(frame: Frame) -> tuple[PoserState, str]:
    """What the poser makes of hands: their state, and a note where it is not quite the same (empty if it is).

    Hands of another model are refitted to the open one; joints that no anatomical angle describes are projected.
    """
    model = load_open_hand()
    refitted, note = refit_for(Hands((frame,)), OPEN_HAND)
    hands = refitted.frames[0].hands
    if len(hands) > _MAX_HANDS:
        hands, note = (
            hands[:_MAX_HANDS],
            f"The poser takes the first {_MAX_HANDS} of {len(hands)} hands. {note}".strip(),
        )
    states = tuple(
        PosedHandState(
            side=hand.side,
            angles=tuple(_rounded(rotations_to_angles(model, hand.rotations()[None])[0])),
            orientation=tuple(_rounded(hand.orientation)),
            translation=tuple(_rounded(hand.translation)),
            shape=tuple(_rounded(hand.shape)),
            camera=hand.camera,
        )
        for hand in hands
    )
    return PoserState(frame.width, frame.height, states), note


def browser_model(model: HandModel | None = None) -> dict[str, Any]:
    """All that a page needs to pose and draw a hand as this library does, fit for JSON.

    Arrays are ``{"shape", "type": "float32" | "uint16", "data": base64 of little-endian numbers}``. ``axes`` are
    ``anatomy.anatomical_axes``. Skinning weights are the greatest few of every vertex: all that are not 0.
    """
    model = model or load_open_hand()
    axes = anatomical_axes(model)
    most = int((model.weights > 0).sum(dim=1).max())
    weights, joints = model.weights.topk(most, dim=1)
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": model.name,
        "template": _packed(model.template),
        "faces": _packed(model.faces),
        "shape_dirs": _packed(model.shape_dirs),
        "shape_names": list(model.shape_names),
        "joint_template": _packed(model.joint_template),
        "joint_shape_dirs": _packed(model.joint_shape_dirs),
        "weight_joints": _packed(joints),
        "weights": _packed(weights),
        "tip_vertices": model.tip_vertices.tolist(),
        "nails": model.regions["nails"].tolist() if "nails" in model.regions else [],
        "parents": list(RIG_PARENTS),
        "joint_names": list(JOINT_NAMES),
        "finger_names": list(FINGER_NAMES),
        "angle_names": list(ANGLE_NAMES),
        "limits": LIMITS.double().tolist(),
        "axes": {
            "flexion": axes.flexion.tolist(),
            "abduction": axes.abduction.tolist(),
            "bone": axes.bone.tolist(),
            "rest": axes.rest.tolist(),
            "unrest": axes.unrest.tolist(),
            "pronation": list(axes.pronation),
        },
        "start": json.loads(dump_state(start_state())),
    }


def browser_poses(poses: Iterable[LibraryPose]) -> list[dict[str, Any]]:
    """Named poses, fit for JSON: what ``library.describe_pose`` says, angles in radians, and the orientation (a right
    hand's axis-angle) that shows them best."""
    return [
        {
            **describe_pose(pose),
            "angles": _rounded(pose.angles),
            "orientation": _rounded(matrix_to_axis_angle(orientation_from_degrees(*pose.turn))),
        }
        for pose in poses
    ]


def _packed(values: Tensor) -> dict[str, Any]:
    kind = "float32" if values.is_floating_point() else "uint16"
    array = values.detach().cpu().numpy().astype("<f4" if kind == "float32" else "<u2")
    if kind == "uint16" and not bool((torch.from_numpy(array.astype("int64")) == values.cpu()).all()):
        raise ValueError("This hand model has too many vertices for a web page.")
    return {"shape": list(values.shape), "type": kind, "data": base64.b64encode(array.tobytes()).decode("ascii")}


def _rounded(values: Tensor) -> list[float]:
    """Numbers as the page writes them: a millionth of a metre or radian is enough, and keeps the text short."""
    return [round(float(value), 6) for value in values.detach().cpu().double()]


def _size(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"This state of the hand poser is damaged: {name} is not a number of pixels.")
    return value


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"This state of the hand poser is damaged: {name} is not a number.")
    return float(value)


def _numbers(values: Any, count: int, name: str) -> tuple[float, ...]:
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"This state of the hand poser is damaged: {name} is not a list of {count} numbers.")
    return tuple(_number(value, name) for value in values)
