"""Hands as JSON: lossless, readable, versioned.

Floats are written with as many digits as float32 needs to come back as it was. Vertices, by far the most numbers, are
left out where the hand's parameters give them back (within a micrometre) with a model that is at hand. A file may be
edited by hand: where pose, shape, place, side and camera no longer agree with the joints, these are made anew.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .boxes import box_around
from .camera import Camera, project
from .hands import Frame, Hand, Hands, pose_parameters
from .model import OPEN_HAND, known_model
from .skinning import PosedHand

FORMAT = "handrawer-hands"
VERSION = 1
_ARRAYS = ("pose", "orientation", "shape", "translation", "joints", "joints_2d", "box")
_OPTIONAL_ARRAYS = ("joint_confidence", "joint_residual")
_SAME = 1e-6  # metres
_ANOTHER_MODEL = 1e-4  # metres
_EDITED = 1e-4  # metres, or shares of the picture


def dump_hands(hands: Hands) -> str:
    frames = [
        {"width": f.width, "height": f.height, "note": f.note, "hands": [_hand_to_dict(hand) for hand in f.hands]}
        for f in hands.frames
    ]
    return _pretty({"format": FORMAT, "version": VERSION, "frames": frames}) + "\n"


def parse_hands(text: str) -> Hands:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"This is not a file of hands: it is not JSON ({error}).") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError(f'This is not a file of hands: it has no "format": "{FORMAT}".')
    if not isinstance(data.get("version"), int) or data["version"] < 1:
        raise ValueError("This file of hands has no version.")
    if data["version"] > VERSION:
        raise ValueError(
            f"This file of hands has version {data['version']}, newer than version {VERSION} that this HanDrawer "
            "reads: update HanDrawer."
        )
    try:
        return Hands(tuple(_frame_from_dict(frame) for frame in data["frames"]))
    except KeyError as error:
        raise ValueError(f"This file of hands is incomplete: {error} is missing.") from error
    except (TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"This file of hands is damaged: {error}.") from error


def _frame_from_dict(data: dict[str, Any]) -> Frame:
    if not (isinstance(data["width"], int) and isinstance(data["height"], int)):
        raise ValueError("This file of hands is damaged: a picture's width and height must be whole numbers.")
    hands = tuple(_hand_from_dict(hand, data["width"], data["height"]) for hand in data["hands"])
    return Frame(data["width"], data["height"], hands, str(data.get("note", "")))


def _hand_to_dict(hand: Hand) -> dict[str, Any]:
    data: dict[str, Any] = {
        "model": hand.model,
        "side": hand.side,
        "confidence": hand.confidence,
        "weight": hand.weight,
        "enabled": hand.enabled,
        "z_order": hand.z_order,
        "notes": list(hand.notes),
        "unsure": hand.unsure,
        "camera": {"focal": hand.camera.focal, "cx": hand.camera.cx, "cy": hand.camera.cy},
    }
    for name in _ARRAYS:
        data[name] = _numbers(getattr(hand, name))
    for name in _OPTIONAL_ARRAYS:
        if getattr(hand, name) is not None:
            data[name] = _numbers(getattr(hand, name))
    posed = _posed_again(hand)
    again = None if posed is None else posed.vertices[0]
    if again is None or again.shape != hand.vertices.shape or float((again - hand.vertices).abs().max()) > _SAME:
        data["vertices"] = _numbers(hand.vertices)
    return data


def _hand_from_dict(data: dict[str, Any], width: int, height: int) -> Hand:
    arrays = {name: _tensor(data[name], name) for name in _ARRAYS}
    arrays |= {name: _tensor(data[name], name) for name in _OPTIONAL_ARRAYS if data.get(name) is not None}
    camera = Camera(**{key: _number(data["camera"][key], key) for key in ("focal", "cx", "cy")})
    hand = Hand(
        model=data["model"],
        side=data["side"],
        camera=camera,
        vertices=_tensor(data["vertices"], "vertices") if "vertices" in data else torch.zeros(0, 3),
        confidence=_number(data.get("confidence", 1.0), "confidence"),
        weight=_number(data.get("weight", 1.0), "weight"),
        enabled=bool(data.get("enabled", True)),
        z_order=None if data.get("z_order") is None else int(_number(data["z_order"], "z_order")),
        notes=tuple(data.get("notes", ())),
        unsure=bool(data.get("unsure", False)),
        **arrays,
    )
    if "vertices" in data:
        return hand
    posed = _posed_again(hand)
    if posed is None:
        raise ValueError(
            f"This file of hands holds no vertices, and its hand model {hand.model!r} is not at hand: load that hand "
            "model first."
        )
    # Whoever edits an open hand's pose by hand need not edit its joints; another model's name says not which file.
    if hand.model != OPEN_HAND and float((posed.joints[0] - hand.joints).abs().max()) > _ANOTHER_MODEL:
        raise ValueError(
            f"This file of hands was written with another hand model named {hand.model!r} than the one that is loaded: "
            "load the one that it was written with."
        )
    return _as_edited(hand, posed, width, height)


def _as_edited(hand: Hand, posed: PosedHand, width: int, height: int) -> Hand:
    """The hand with its vertices; with joints and box of the parameters too, if someone has edited those."""
    vertices = posed.vertices[0]
    drawn = project(posed.joints[0], hand.camera, width, height)
    apart = max(float((posed.joints[0] - hand.joints).abs().max()), float((drawn - hand.joints_2d).abs().max()))
    if apart <= _EDITED:
        return hand.replace(vertices=vertices)
    box = box_around(project(vertices, hand.camera, width, height))
    return hand.replace(vertices=vertices, joints=posed.joints[0], joints_2d=drawn, box=box)


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"This file of hands is damaged: {name} is not a number.")
    return float(value)


def _tensor(values: Any, name: str) -> Tensor:
    try:
        return torch.tensor(values, dtype=torch.float32)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise ValueError(f"This file of hands is damaged: {name} is not an array of numbers ({error}).") from error


def _posed_again(hand: Hand) -> PosedHand | None:
    model = known_model(hand.model)
    if model is None or model.shape_count != hand.shape.numel():
        return None
    return pose_parameters(model, hand.pose, hand.orientation, hand.shape, hand.translation, hand.side)


def _numbers(values: Tensor) -> Any:
    """Nested lists of the shortest decimal numbers that are the same float32."""
    if values.dim() > 1:
        return [_numbers(row) for row in values]
    return [float(str(number)) for number in values.numpy().astype(np.float32)]


def _pretty(value: Any, indent: int = 0) -> str:
    """JSON with one field a line, and rows of numbers kept on their line."""
    if isinstance(value, dict) and value:
        inner = ",\n".join(f"{' ' * (indent + 1)}{json.dumps(k)}: {_pretty(v, indent + 1)}" for k, v in value.items())
        return "{\n" + inner + "\n" + " " * indent + "}"
    if isinstance(value, list) and value and isinstance(value[0], (dict, list)):
        inner = ",\n".join(" " * (indent + 1) + _pretty(item, indent + 1) for item in value)
        return "[\n" + inner + "\n" + " " * indent + "]"
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("Hands with numbers that are not finite cannot be written.")
    return json.dumps(value)
