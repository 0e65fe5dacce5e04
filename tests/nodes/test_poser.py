"""The node Hand Poser in the host's process: what it gives without any page."""

import importlib
import json
from pathlib import Path

import pytest
import torch


@pytest.fixture
def library(plugin):
    """The plugin's own modules: `library("hand.hands")`."""
    return lambda name: importlib.import_module(f"{plugin.__name__}.handrawer.{name}")


@pytest.fixture
def pose(nodes, tmp_path, monkeypatch):
    """Runs the node: (hands, overlay, note) and its message to the page."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))

    def execute(width=320, height=240, state="", **inputs):
        with torch.inference_mode():
            output = nodes("poser").HanDrawerPoser.execute(width=width, height=height, state=state, **inputs)
        (message,) = output.ui["handrawer_poser"]
        json.dumps(output.ui)  # goes to the page
        return output.result, message

    return execute


def test_an_empty_state_is_one_relaxed_right_hand(pose):
    (hands, overlay, note), message = pose()
    (frame,) = hands.frames
    assert (frame.width, frame.height) == (320, 240) and [hand.side for hand in frame.hands] == ["right"]
    assert overlay.shape == (1, 240, 320, 3) and float(overlay.max()) > 0.3 and note == ""
    assert message == {"width": 320, "height": 240, "background": None, "hands": None}


def test_the_state_alone_decides(pose, library):
    frame = library("hand.hands").hand_from_gesture("fist", "left", 400, 300, centre=(0.3, 0.6), size=0.5)
    poser = library("hand.poser")
    state = poser.dump_state(poser.frame_to_state(frame)[0])
    others = library("hand.hands").Hands((library("hand.hands").hand_from_gesture("open", "right", 100, 100),))
    for inputs in ({}, {"hands": others}):
        (hands, _, _), message = pose(400, 300, state, **inputs)
        (found,) = hands.frames[0].hands
        assert found.side == "left"
        torch.testing.assert_close(found.vertices, frame.hands[0].vertices, atol=1e-5, rtol=0)
        torch.testing.assert_close(found.box, frame.hands[0].box, atol=1e-4, rtol=0)
        assert (message["hands"] is None) == (not inputs)
    (placed, _, _), _ = pose(800, 300, state)
    assert placed.frames[0].width == 800, "another size: brought over as a whole"


def test_connected_hands_are_taken_as_long_as_nothing_was_posed(pose, library):
    hands_module = library("hand.hands")
    first, second = (hands_module.hand_from_gesture(name, "left", 320, 240) for name in ("ok", "fist"))
    (hands, _, note), message = pose(hands=hands_module.Hands((first, second)))
    torch.testing.assert_close(hands.frames[0].hands[0].vertices, first.hands[0].vertices, atol=1e-5, rtol=0)
    assert "2 pictures" in note
    again = library("hand.poser").state_to_frame(library("hand.poser").parse_state(message["hands"]), 320, 240)
    assert torch.equal(again.hands[0].vertices, hands.frames[0].hands[0].vertices), "the page shows the same"
    (hands, _, note), message = pose(hands=hands_module.Hands((hands_module.Frame(320, 240),)))
    assert len(hands.frames[0].hands) == 1 and message["hands"] is None and "none" in note


def test_a_picture_decides_the_size_and_lies_below(pose, tmp_path: Path):
    picture = torch.full((2, 96, 160, 3), 0.25)
    (hands, overlay, _), message = pose(image=picture)
    assert (hands.frames[0].width, hands.frames[0].height) == (160, 96) and overlay.shape == (1, 96, 160, 3)
    assert float(overlay[0, 0, 0, 0]) == pytest.approx(0.25) and bool((picture == 0.25).all())
    assert (tmp_path / message["background"]["filename"]).is_file() and message["background"]["type"] == "temp"
    assert (message["width"], message["height"]) == (160, 96)


def test_no_hands_at_all(pose, library):
    poser = library("hand.poser")
    (hands, overlay, note), _ = pose(state=poser.dump_state(poser.PoserState(320, 240, ())))
    assert hands.frames[0].hands == () and float(overlay.max()) == 0 and note == "No hand."


@pytest.mark.parametrize(
    "state, said", [("{", "^state: .*not JSON"), ('{"format":"handrawer-poser","version":9}', "update HanDrawer")]
)
def test_what_cannot_be_read_names_its_input(pose, state, said):
    with pytest.raises(ValueError, match=said):
        pose(state=state)


def test_what_the_page_is_served(nodes, nodes_package):
    routes = nodes("routes")
    assert json.loads(routes.poser_model())["format"] == "handrawer-poser"
    assert len(routes.poser_gestures()) >= 40


def test_ones_own_poses_are_served_and_damaged_files_are_not(nodes, nodes_package, library, tmp_path, monkeypatch):
    import folder_paths

    monkeypatch.setattr(folder_paths, "get_user_directory", lambda: str(tmp_path))
    folder = tmp_path / nodes("library").FOLDER
    folder.mkdir()
    (folder / "broken.json").write_text("{", encoding="utf-8")
    module = library("hand.library")
    own = module.LibraryPose("my_pose", "My pose", module.library()["ok"].angles, ("mine",))
    (folder / "my_pose.json").write_text(module.dump_pose(own), encoding="utf-8")
    assert [pose["title"] for pose in nodes("routes").poser_gestures()][-1] == "My pose"
