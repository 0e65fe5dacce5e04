"""The 21 joints of a hand in OpenPose's colours, as the pose ControlNets were trained with."""

from __future__ import annotations

import colorsys

import torch
from torch import Tensor

from ..hand.hands import Frame, Hands
from ..hand.joints import JOINT_PARENTS
from .scene import frames_of

BONES = tuple((parent, joint) for joint, parent in enumerate(JOINT_PARENTS) if parent >= 0)
"""20 pairs of joints, finger by finger from the wrist."""

BONE_COLOURS = tuple(colorsys.hsv_to_rgb(place / len(BONES), 1.0, 1.0) for place in range(len(BONES)))
"""The rainbow of OpenPose's hands: one hue a bone, red at the thumb's base."""

JOINT_COLOUR = (0.0, 0.0, 1.0)

LINE_WIDTH, JOINT_RADIUS, REFERENCE_SIZE = 2.0, 4.0, 512
"""Pixels at a picture whose shorter side is REFERENCE_SIZE; they grow and shrink with it."""


def draw_skeleton(
    hands: Hands | Frame,
    width: int | None = None,
    height: int | None = None,
    *,
    pictures: Tensor | None = None,
    scale: float = 1.0,
) -> Tensor:
    """[B, H, W, 3] float32, 0..1: bones and joints of the enabled hands, anti-aliased, on black.

    width, height  as in render_layers
    pictures       [B, H, W, 3] to draw over instead of black (not changed); of the size of the drawing
    scale          multiplies the width of lines and joints

    Colours, widths and the order of drawing (all bones of a hand, then its joints, hand after hand, nothing hidden) are
    those of the annotators that pose ControlNets were trained with.
    """
    frames = frames_of(hands, width, height)
    canvases = []
    for place, frame in enumerate(frames):
        if pictures is None:
            canvas = torch.zeros(frame.height, frame.width, 3)
        else:
            if pictures.shape[0] != len(frames) or pictures.shape[1:] != (frame.height, frame.width, 3):
                wanted = [len(frames), frame.height, frame.width, 3]
                raise ValueError(f"The pictures to draw over must be {wanted}, not {list(pictures.shape)}.")
            canvas = pictures[place].clone()
        size = torch.tensor([frame.width, frame.height], dtype=torch.float32)
        for hand in frame.hands:
            if hand.enabled:
                draw_joints(canvas, hand.joints_2d.to(canvas.device, torch.float32) * size.to(canvas.device), scale)
        canvases.append(canvas)
    return torch.stack(canvases) if canvases else torch.zeros(0, 1, 1, 3)


def draw_joints(canvas: Tensor, joints: Tensor, scale: float = 1.0) -> None:
    """Draw one hand, joints [21, 2] in pixels, onto canvas [H, W, 3] in place; joints not finite are left out."""
    scale = scale * min(canvas.shape[:2]) / REFERENCE_SIZE
    half, radius = max(LINE_WIDTH * scale, 1.0) / 2, max(JOINT_RADIUS * scale, 1.0)
    places = joints.tolist()
    for (a, b), colour in zip(BONES, BONE_COLOURS, strict=True):
        draw_line(canvas, places[a], places[b], half, colour)
    for place in places:
        draw_line(canvas, place, place, radius, JOINT_COLOUR)


def draw_line(canvas: Tensor, start, end, half: float, colour, opacity: float = 1.0) -> None:
    """Draw a line with round ends (a disc where start equals end) onto canvas [H, W, 3] in place, anti-aliased.

    start, end: (x, y) in pixels, pixel centres at i + 0.5; half: half the width in pixels. Nothing is drawn if a
    coordinate is not finite.
    """
    height, width = canvas.shape[:2]
    ends = torch.tensor([start, end], dtype=torch.float32)
    if not torch.isfinite(ends).all():
        return
    limit = torch.tensor([width, height])
    # Cut to the picture before the conversion to integers, which far points would overflow.
    left, top = (ends.amin(0) - half - 1).floor().clamp(min=0).minimum(limit).int().tolist()
    right, bottom = (ends.amax(0) + half + 1).ceil().clamp(min=0).minimum(limit).int().tolist()
    if right <= left or bottom <= top:
        return
    x = torch.arange(left, right, device=canvas.device) + 0.5 - float(ends[0, 0])
    y = torch.arange(top, bottom, device=canvas.device)[:, None] + 0.5 - float(ends[0, 1])
    along_x, along_y = (ends[1] - ends[0]).tolist()
    length = along_x**2 + along_y**2
    share = ((x * along_x + y * along_y) / length).clamp(0, 1) if length > 0 else 0.0
    distance = torch.hypot(x - share * along_x, y - share * along_y)
    alpha = ((half + 0.5 - distance).clamp(0, 1) * opacity)[..., None]
    part = canvas[top:bottom, left:right]
    part.lerp_(torch.tensor(colour, device=canvas.device, dtype=canvas.dtype).expand_as(part), alpha.expand_as(part))
