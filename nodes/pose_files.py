"""Poses of the library as the page asks for them: as files to send on, kept from files and from the poser, pictured."""

from __future__ import annotations

import io
from typing import Any

import torch

from ..handrawer.hand.library import LibraryPose, dump_pose, parse_pose, pose_of_hand, split_words
from ..handrawer.hand.poser import parse_state, state_to_frame
from .library import MINE, choose, picture_of, write_pose

LARGEST = 64 * 1024  # bytes of a request; a pose has about one KiB, a state with 20 hands about 20
PICTURE_SIDE = 96  # pixels, as on the sheet of those that ship


def export_pose(name: str) -> tuple[str, str]:
    """A pose's file, to send on: its name and its text.

    Raises:
        ValueError: there is none of that name, or its file holds no pose.
    """
    pose = choose(name, "")[1]
    return f"{name.removesuffix(MINE)}.json", dump_pose(pose)


def keep_pose(asked: Any) -> str:
    """Write a new pose into the user's folder: its name in the library.

    Args:
        asked: ``{"text"}``, a pose's file; or ``{"state", "hand", "name", "tags"}``, a hand of the poser.

    Raises:
        ValueError: one sentence, for what is no pose.
    """
    if not isinstance(asked, dict):
        raise ValueError("A pose is kept from an object with text, or with state, hand, name and tags.")
    if "text" in asked:
        pose = parse_pose(str(asked["text"]).removeprefix("\ufeff"))
    else:
        pose = _of_state(str(asked.get("state", "")), asked.get("hand", 0), asked.get("name"), asked.get("tags", ""))
    return write_pose(pose).stem + MINE


def _of_state(state: str, number: Any, name: Any, tags: Any) -> LibraryPose:
    posed = parse_state(state)
    hands = () if posed is None else posed.hands
    if posed is None or not isinstance(number, int) or not 0 <= number < len(hands):
        raise ValueError(f"There is no hand {number!r} in the poser to keep the pose of; it has {len(hands)}.")
    with torch.inference_mode(False), torch.no_grad():
        frame = state_to_frame(posed, posed.width, posed.height)
        return pose_of_hand(frame.hands[number], str(name or "").strip(), tags=split_words(str(tags)))


def pose_picture(name: str) -> bytes:
    """A PNG of ``PICTURE_SIDE`` pixels: a right hand in that pose.

    Raises:
        ValueError: there is none of that name, or its file holds no pose.
    """
    from ..handrawer.render.pictures import to_pil

    with torch.inference_mode(False), torch.no_grad():
        picture = to_pil(picture_of(choose(name, "")[1], "right", PICTURE_SIDE)[0])
    kept = io.BytesIO()
    picture.save(kept, "PNG")
    return kept.getvalue()
