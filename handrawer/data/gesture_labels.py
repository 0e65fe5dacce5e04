"""HaGRID's words for gestures: what they are called in a caption, and which fingers they show extended.

Fingers are written thumb to little: 1 extended, 0 curled, - either. A `-` stands wherever people differ, so that a flag
means something. Two-handed gestures and those that a hand's fingers do not tell apart have no pattern.
"""

from __future__ import annotations

NO_GESTURE = "no_gesture"

_PATTERNS = {
    "call": "10001", "dislike": "-0000", "fist": "-0000", "four": "-1111", "like": "-0000", "mute": "-1000",
    "ok": "--111", "one": "-1000", "palm": "-1111", "peace": "-1100", "peace_inverted": "-1100", "rock": "-1001",
    "stop": "-1111", "stop_inverted": "-1111", "three": "-1110", "three2": "-1100", "two_up": "-1100",
    "two_up_inverted": "-1100", "point": "-1000", "little_finger": "-0001", "middle_finger": "-0100",
    "thumb_index": "-1000", "thumb_index2": "-1000", "three_gun": "-1100",
}  # fmt: skip

PHRASES = {
    "call": "call me sign", "dislike": "thumbs down", "fist": "fist", "four": "four fingers", "like": "thumbs up",
    "mute": "finger to the lips", "ok": "ok sign", "one": "pointing", "palm": "open palm", "peace": "peace sign",
    "peace_inverted": "peace sign", "rock": "rock sign", "stop": "flat hand", "stop_inverted": "flat hand",
    "three": "three fingers", "three2": "three fingers", "two_up": "two fingers together",
    "two_up_inverted": "two fingers together", "grabbing": "grabbing hand", "grip": "gripping hand",
    "holy": "hands pressed together", "point": "pointing", "three3": "three fingers", "timeout": "timeout sign",
    "xsign": "crossed arms", "hand_heart": "heart made of hands", "hand_heart2": "heart made of hands",
    "little_finger": "little finger up", "middle_finger": "middle finger up", "take_picture": "picture frame of hands",
    "three_gun": "finger gun", "thumb_index": "thumb and index finger", "thumb_index2": "thumb and index finger",
}  # fmt: skip
"""In the small model's words where it has them."""

POSE_PHRASES = {
    "open": "open palm", "point": "pointing", "peace": "peace sign", "ok": "ok sign", "thumbs_up": "thumbs up",
    "three": "three fingers", "four": "four fingers", "call": "call me sign", "rock": "rock sign",
    "spread": "spread fingers", "flat": "flat hand", "gun": "finger gun",
}  # fmt: skip
"""Of the named gestures of `hand.gestures`, where the words differ from the name."""


def plain(label: str) -> str:
    """A label as HaGRID writes it now: lower case, with underscores."""
    return label.strip().lower().replace(" ", "_").replace("-", "_")


def pattern_of(label: str | None) -> tuple[bool | None, ...] | None:
    """Which fingers a gesture shows extended, thumb to little, None where either; None for one without a pattern."""
    pattern = _PATTERNS.get(plain(label or ""))
    return None if pattern is None else tuple({"1": True, "0": False}.get(mark) for mark in pattern)


def phrase_of(label: str | None) -> str:
    """What a gesture is called in a caption; "" for none."""
    if not label or plain(label) == NO_GESTURE:
        return ""
    return PHRASES.get(plain(label), plain(label).replace("_", " "))
