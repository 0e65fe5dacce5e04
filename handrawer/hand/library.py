"""A library of named poses with tags and the view that shows them best; one's own as small JSON files.

The poses that ship are the gestures of ``gestures.py`` and those of ``library.json``. A file of one pose looks like

    {"format": "handrawer pose", "version": 1, "name": "my_pose", "title": "My pose", "tags": ["mine"],
     "turn": {"yaw": 0, "pitch": 0, "roll": 0}, "angles": {"thumb": [..5], "index": [..4], ...}}

with all numbers in degrees: the angles of ``anatomy.ANGLE_NAMES`` finger by finger, and the turn of a right hand.

What the poses that ship are called in Japanese and Chinese is in ``library_words.json``: for each language its
``tags``, and for each of its ``poses`` a title and further words to find it by. A pose's name, which workflows save,
is the same in all languages.
"""

from __future__ import annotations

import functools
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .anatomy import ANGLE_NAMES, LIMITS, clamp_angles, rotations_to_angles
from .gestures import GESTURES
from .hands import Frame, Hand, frame_from_angles, known_model, orientation_from_degrees
from .joints import FINGER_NAMES
from .model import load_open_hand
from .skinning import axis_angle_to_matrix

LIBRARY_FILE = Path(__file__).with_name("library.json")
WORDS_FILE = Path(__file__).with_name("library_words.json")
FORMAT, VERSION = "handrawer pose", 1
_NAME = re.compile(r"[^\W_][\w-]{0,63}")
_TO_HIRAGANA = {code: code - 0x60 for code in range(ord("\u30a1"), ord("\u30f6") + 1)}  # from katakana
_SLACK = math.radians(0.6)  # files hold rounded degrees


@dataclass(frozen=True)
class PoseWords:
    """What a pose is called in another language than English."""

    title: str
    tags: tuple[str, ...]
    also: tuple[str, ...] = ()
    """Further words that a search finds it by."""


@dataclass(frozen=True, eq=False)
class LibraryPose:
    """A hand's pose under a name."""

    name: str
    """Letters, digits, _ and -, at most 64."""
    title: str
    angles: Tensor
    """[21] float32 radians within the limits, in the order of ``anatomy.ANGLE_NAMES``."""
    tags: tuple[str, ...] = ()
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Yaw, pitch and roll in degrees that show a right hand's pose best; a left hand is shown as its mirror image."""
    others: Mapping[str, PoseWords] = field(default_factory=dict)
    """The same in other languages ("ja", "zh"), of the poses that ship."""

    def __post_init__(self):
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"{self.name!r} is no name of a pose: use at most 64 letters, digits, _ and -, not _ or - first."
            )
        if tuple(self.angles.shape) != (len(ANGLE_NAMES),) or not bool(torch.isfinite(self.angles).all()):
            raise ValueError(f"Pose {self.name!r} needs {len(ANGLE_NAMES)} finite angles.")
        if bool((self.angles < LIMITS[:, 0] - _SLACK).any() | (self.angles > LIMITS[:, 1] + _SLACK).any()):
            raise ValueError(f"Pose {self.name!r} has angles that no hand's joints allow.")
        object.__setattr__(self, "angles", clamp_angles(self.angles.float()))

    def words(self) -> str:
        """All that a search looks through, in all languages, as ``plain`` writes it."""
        others = (text for other in self.others.values() for text in (other.title, *other.tags, *other.also))
        return plain(" ".join((self.name.replace("_", " "), self.name, self.title, *self.tags, *others)))


def plain(text: str) -> str:
    """Text as a search compares it: small letters, no full or half width (NFKC), hiragana for katakana."""
    return unicodedata.normalize("NFKC", text).lower().translate(_TO_HIRAGANA)


@functools.lru_cache(maxsize=1)
def library() -> Mapping[str, LibraryPose]:
    """The poses that ship, by name: the gestures first."""
    known = json.loads(LIBRARY_FILE.read_text(encoding="utf-8"))
    poses: dict[str, LibraryPose] = {}
    for name, entry in known.items():
        gesture = GESTURES.get(name)
        angles = gesture.angles if gesture else _angles(entry["angles"])
        title = gesture.title if gesture else entry["title"]
        tags = tuple(entry["tags"])
        poses[name] = LibraryPose(name, title, angles, tags, _turn(entry["turn"]), _others(name, tags))
    missing = [name for name in GESTURES if name not in poses]
    if missing or list(poses)[: len(GESTURES)] != list(GESTURES):
        raise ValueError(f"{LIBRARY_FILE.name} does not begin with all gestures: install HanDrawer again.")
    return poses


def search(poses: Iterable[LibraryPose], words: str) -> list[LibraryPose]:
    """The poses of which every word is found in name, title or tags, of any language; all of them for no word."""
    wanted = split_words(plain(words))
    return [pose for pose in poses if all(word in pose.words() for word in wanted)]


def split_words(text: str) -> list[str]:
    """Words with spaces or commas between them, also those of Japanese and Chinese (U+3001, U+FF0C)."""
    return re.sub("[,\u3001\uff0c]", " ", text).split()


def all_tags(poses: Iterable[LibraryPose]) -> list[str]:
    """Every tag once, sorted."""
    return sorted({tag for pose in poses for tag in pose.tags})


def describe_pose(pose: LibraryPose) -> dict[str, Any]:
    """What a page shows of a pose and searches in, fit for JSON: name, title, tags; title and tags in the other
    languages; and ``words``, all that a search looks through."""
    others = {language: {"title": other.title, "tags": list(other.tags)} for language, other in pose.others.items()}
    return {
        "name": pose.name,
        "title": pose.title,
        "tags": list(pose.tags),
        "others": others,
        "words": pose.words(),
    }


def frame_from_pose(
    pose: LibraryPose,
    side: str = "right",
    width: int = 512,
    height: int = 512,
    *,
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0),
    **settings: Any,
) -> Frame:
    """A picture with one hand in a pose of the library, seen as the pose is seen best.

    Args:
        turn: further yaw, pitch and roll in degrees.
        settings: box, centre, size, shape, camera, model as in ``hands.frame_from_angles``.
    """
    yaw, pitch, roll = pose.turn
    shown = (-yaw, pitch, -roll) if side == "left" else pose.turn
    orientation = orientation_from_degrees(*turn) @ orientation_from_degrees(*shown)
    return frame_from_angles(pose.angles, side, width, height, orientation=orientation, **settings)


def pose_of_hand(hand: Hand, name: str, title: str = "", tags: Sequence[str] = ()) -> LibraryPose:
    """A hand's pose, to keep: its angles, brought within the limits, and how it is turned.

    Raises:
        ValueError: hands of a model that is not at hand; a name that is none.
    """
    model = known_model(hand.model)
    if model is None:
        raise ValueError(f"The hand is of the model {hand.model!r}, which is not loaded; load it first.")
    if model is not load_open_hand():
        from .convert import convert_hands
        from .hands import Hands

        hand = convert_hands(Hands((Frame(256, 256, (hand,)),)), load_open_hand(), model).frames[0].hands[0]
    angles = clamp_angles(rotations_to_angles(load_open_hand(), hand.rotations()[None])[0])
    yaw, pitch, roll = turn_of(axis_angle_to_matrix(hand.orientation))
    turn = (-yaw, pitch, -roll) if hand.left else (yaw, pitch, roll)
    return LibraryPose(name, title or name.replace("_", " ").capitalize(), angles, tuple(tags), turn)


def turn_of(orientation: Tensor) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees of an orientation [3, 3]: the inverse of ``hands.orientation_from_degrees``."""
    # R = about_z(roll) @ about_x(pitch) @ about_y(-yaw): its second column and third row are products of few terms.
    r = orientation.double()
    pitch = math.asin(max(-1.0, min(1.0, float(r[2, 1]))))
    if abs(float(r[2, 1])) > 1 - 1e-9:  # looking along the fingers: yaw and roll are one turn
        return 0.0, math.degrees(pitch), math.degrees(math.atan2(float(r[1, 0]), float(r[0, 0])))
    roll = math.atan2(-float(r[0, 1]), float(r[1, 1]))
    yaw = math.atan2(float(r[2, 0]), float(r[2, 2]))
    return math.degrees(yaw), math.degrees(pitch), math.degrees(roll)


def dump_pose(pose: LibraryPose) -> str:
    """A pose as the text of its file; angles to a hundredth of a degree."""
    degrees = [round(value, 2) for value in (pose.angles.double() * (180 / math.pi)).tolist()]
    content = {
        "format": FORMAT,
        "version": VERSION,
        "name": pose.name,
        "title": pose.title,
        "tags": list(pose.tags),
        "turn": dict(zip(("yaw", "pitch", "roll"), (round(value, 2) for value in pose.turn), strict=True)),
        "angles": dict(zip(FINGER_NAMES, _by_finger(degrees), strict=True)),
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def parse_pose(text: str) -> LibraryPose:
    """The inverse of ``dump_pose``.

    Raises:
        ValueError: one sentence for text that is no pose.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"This is no pose: it is not JSON ({error}).") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f'This is no pose: it lacks the line "format": "{FORMAT}".')
    if content.get("version") != VERSION:
        raise ValueError(f"This pose has version {content.get('version')!r}, this HanDrawer reads {VERSION}.")
    try:
        tags = tuple(str(tag) for tag in content.get("tags", ()))
        name, title = str(content["name"]), str(content.get("title") or content["name"])
        return LibraryPose(name, title, _angles(content["angles"]), tags, _turn(content.get("turn", {})))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"This pose lacks something or has it in another form: {error}.") from error


@functools.lru_cache(maxsize=1)
def _words() -> Mapping[str, Any]:
    return json.loads(WORDS_FILE.read_text(encoding="utf-8"))


def _others(name: str, tags: Sequence[str]) -> dict[str, PoseWords]:
    """What ``library_words.json`` says of a pose; two tags of one meaning become one."""
    found = {}
    for language, words in _words().items():
        title, *also = words["poses"][name]
        found[language] = PoseWords(title, tuple(dict.fromkeys(words["tags"][tag] for tag in tags)), tuple(also))
    return found


def _by_finger(values: Sequence[float]) -> list[list[float]]:
    return [list(values[:5]), *([*values[start : start + 4]] for start in range(5, len(values), 4))]


def _angles(entry: Mapping[str, Sequence[float]]) -> Tensor:
    degrees = [float(value) for finger in FINGER_NAMES for value in entry[finger]]
    return torch.tensor(degrees) * (math.pi / 180)


def _turn(entry: Mapping[str, float] | Sequence[float]) -> tuple[float, float, float]:
    if isinstance(entry, Mapping):
        entry = [entry.get(name, 0.0) for name in ("yaw", "pitch", "roll")]
    yaw, pitch, roll = (float(value) for value in entry)
    if not all(math.isfinite(value) for value in (yaw, pitch, roll)):
        raise ValueError("A pose's turn is not finite.")
    return yaw, pitch, roll
