"""Files of hands that someone has edited, or something has damaged."""

import copy
import json

import pytest
import torch

from handrawer.hand.camera import Camera
from handrawer.hand.hands import Frame, Hands, hand_from_gesture, make_hand

FRAME = hand_from_gesture("peace", "right", 320, 240, orientation=(20, -10, 30), camera=Camera(1.3, 0.45, 0.55))
DATA = json.loads(Hands((Frame(320, 240, FRAME.hands, "note"),)).to_json())


def edited(**changes):
    data = copy.deepcopy(DATA)
    data["frames"][0]["hands"][0].update(changes)
    return Hands.from_json(json.dumps(data)).frames[0].hands[0]


@pytest.mark.parametrize(
    "changes",
    [{"side": "left"}, {"translation": [0.05, 0.0, 0.7]}, {"pose": [[0.0, 0.0, 0.2]] * 15},
     {"camera": {"focal": 2.0, "cx": 0.3, "cy": 0.5}}],
)  # fmt: skip
def test_what_follows_from_an_edited_hand_is_made_anew(changes):
    found, old = edited(**changes), FRAME.hands[0]
    camera = Camera(**changes["camera"]) if "camera" in changes else old.camera
    expected = make_hand(
        pose=torch.tensor(changes["pose"]) if "pose" in changes else old.pose, side=changes.get("side", old.side),
        orientation=old.orientation, translation=changes.get("translation", old.translation), shape=old.shape,
        camera=camera, width=320, height=240,
    )  # fmt: skip
    for name in ("vertices", "joints", "joints_2d", "box"):
        assert torch.allclose(getattr(found, name), getattr(expected, name), atol=1e-6), name


def test_what_was_not_edited_comes_back_to_the_last_bit():
    found = edited(weight=0.5, z_order=-3, enabled=False, notes=["by hand"])
    for name in ("joints", "joints_2d", "box", "pose", "orientation", "translation"):
        assert torch.equal(getattr(found, name), getattr(FRAME.hands[0], name)), name
    assert (found.weight, found.z_order, found.enabled, found.notes) == (0.5, -3, False, ("by hand",))


def places(value, path=()):
    """Paths to everything in the file; of lists, to the first two items."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else list(enumerate(value))[:2] if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


@pytest.mark.parametrize(
    "value", [None, 5, -1, "x", [], {}, [1, 2], 1e400, 10**400, True, [[None]], {"a": 1}, "missing"], ids=repr
)
def test_damage_anywhere_is_one_sentence_or_harmless(value):
    for path in places(DATA):
        data = copy.deepcopy(DATA)
        inner = data
        for key in path[:-1]:
            inner = inner[key]
        if value == "missing":
            del inner[path[-1]]
        else:
            inner[path[-1]] = value
        said = "This file of hands"
        try:
            Hands.from_json(json.dumps(data))
        except ValueError as error:
            said = str(error)
        starts = ("This file of hands", "This is not a file of hands", "A hand's ", "A picture of ", "A camera needs ")
        assert said.startswith(starts), (path, said)
