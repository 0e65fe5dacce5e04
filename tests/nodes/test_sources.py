"""Hands from pose nodes and files, on the host's canvas."""

import importlib
import json
from pathlib import Path

import pytest
import torch


@pytest.fixture
def folders(plugin, tmp_path, monkeypatch) -> Path:
    """The host's input, output and temp folders, empty."""
    import folder_paths

    for name in ("input", "output", "temp"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(folder_paths, f"{name}_directory", str(tmp_path / name))
    return tmp_path


@pytest.fixture
def library(plugin):
    """The plugin's own modules: `library("hand.hands")`."""
    return lambda name: importlib.import_module(f"{plugin.__name__}.handrawer.{name}")


@pytest.fixture
def run(nodes, folders):
    """`run("Node id", **inputs)` runs a node as the host does: a tuple of what it gives."""

    def execute(module: str, node: str, **inputs) -> tuple:
        with torch.inference_mode():
            return getattr(nodes(module), node).execute(**inputs).result

    return execute


def gestures(library, width=320, height=240):
    hands = library("hand.hands")
    left = hands.hand_from_gesture("open", "left", width, height, centre=(0.72, 0.5), size=0.6)
    right = hands.hand_from_gesture("peace", "right", width, height, centre=(0.28, 0.5), size=0.6)
    return hands.Frame(width, height, left.hands + right.hands)


def close(first, second, pixels: float) -> bool:
    far = (first.joints_2d - second.joints_2d) * torch.tensor([320, 240])
    return float(far.norm(dim=1).mean()) < pixels


def test_pose_keypoints_and_back(run, library):
    hands = library("hand.hands").Hands((gestures(library), library("hand.hands").Frame(320, 240)))
    (poses,) = run("sources", "HanDrawerPoseFromHands", hands=hands, coordinates="pixels")
    assert [len(frame["people"]) for frame in poses] == [2, 0]
    found, overlay, note = run(
        "sources", "HanDrawerHandsFromPose", min_confidence=0.3, sides="by wrists", pose_keypoint=poses
    )
    assert [[hand.side for hand in frame.hands] for frame in found.frames] == [["left", "right"], []]
    for old, new in zip(hands.frames[0].hands, found.frames[0].hands, strict=True):
        assert close(old, new, 2.0)
    assert overlay.shape == (2, 240, 320, 3) and float(overlay[0].max()) > 0.5 and float(overlay[1].max()) == 0
    assert note == "Picture 1: No hand: there are no people in the pose."
    text, _, _ = run("sources", "HanDrawerHandsFromPose", min_confidence=0.3, sides="as given", text=json.dumps(poses))
    assert close(text.frames[0].hands[1], hands.frames[0].hands[1], 2.0)


def test_hands_get_the_size_of_the_picture(run, library):
    hands = library("hand.hands").Hands((gestures(library),))
    (poses,) = run("sources", "HanDrawerPoseFromHands", hands=hands, coordinates="shares")
    image = torch.full((3, 480, 640, 4), 0.5)
    found, overlay, note = run(
        "sources", "HanDrawerHandsFromPose", min_confidence=0.3, sides="by wrists", pose_keypoint=poses, image=image
    )
    (frame,) = found.frames
    assert (frame.width, frame.height, note) == (640, 480, "") and overlay.shape == (3, 480, 640, 3)
    assert close(frame.hands[0], hands.frames[0].hands[0], 2.0)
    found, overlay, _ = run(
        "sources", "HanDrawerHandsFromPose", min_confidence=0.3, sides="by wrists", pose_keypoint=poses * 2,
        image=image[:1],
    )  # fmt: skip
    assert len(found.frames) == 2 and len(overlay) == 2


def test_a_pose_node_that_found_nothing(run):
    found, overlay, note = run(
        "sources", "HanDrawerHandsFromPose", min_confidence=0.3, sides="by wrists", pose_keypoint=[],
        image=torch.ones(2, 20, 30, 3),
    )  # fmt: skip
    assert [(f.width, f.height, f.hands) for f in found.frames] == [(30, 20, ())] * 2
    assert "No hand" in note and torch.equal(overlay, torch.ones(2, 20, 30, 3))


def test_no_hands_are_no_people(run, library):
    empty = library("hand.hands").Hands((library("hand.hands").Frame(30, 20),))
    body = [{"people": [{"pose_keypoints_2d": [1.0] * 54}], "canvas_width": 30, "canvas_height": 20}]
    for given in (None, []):
        (poses,) = run("sources", "HanDrawerPoseFromHands", hands=empty, coordinates="pixels", pose_keypoint=given)
        assert poses == [{"people": [], "canvas_width": 30, "canvas_height": 20}]
    (poses,) = run("sources", "HanDrawerPoseFromHands", hands=empty, coordinates="pixels", pose_keypoint=body)
    assert poses == body


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ({}, r"^pose_keypoint: nothing is connected, and text is empty"),
        ({"text": "hello"}, r"^text: This is no pose: it is not JSON"),
        ({"pose_keypoint": [1]}, r"^pose_keypoint: This is no pose"),
        ({"pose_keypoint": []}, r"^pose_keypoint: This is no pose"),
        ({"pose_keypoint": {"people": [], "canvas_width": 3, "canvas_height": 9}, "image": torch.zeros(1, 9, 9, 3)},
         r"^pose_keypoint: The poses lie on a canvas of 3 x 9 pixels, the picture has 9 x 9"),
    ],
)  # fmt: skip
def test_what_is_no_pose_is_a_sentence(run, inputs, sentence):
    with pytest.raises(ValueError, match=sentence):
        run("sources", "HanDrawerHandsFromPose", min_confidence=0.3, sides="by wrists", **inputs)


def test_files_are_saved_beside_each_other_and_loaded_without_loss(run, nodes, library, folders):
    frame = gestures(library)
    changed = frame.hands[0].replace(weight=0.5, enabled=False, z_order=3, notes=("Look at this.",), confidence=0.25)
    hands = library("hand.hands").Hands(
        (library("hand.hands").Frame(320, 240, (changed, frame.hands[1]), "A note."),)
    )  # fmt: skip
    saved = [run("sources", "HanDrawerSaveHands", hands=hands, filename_prefix="poses/mine_%width%") for _ in range(3)]
    names = [name for _, name in saved]
    assert names == [f"poses/mine_320_{n:05}_.json [output]" for n in (1, 2, 3)]
    written = folders / "output" / "poses" / "mine_320_00002_.json"
    assert written.read_text(encoding="utf-8") == saved[0][0] and '"side": "left"' in saved[0][0]
    json_files = nodes("json_files")
    assert json_files.hand_files() == names
    for inputs in ({"file": names[0]}, {"file": json_files.FROM_TEXT, "text": saved[0][0]}):
        again, note = run("sources", "HanDrawerLoadHands", **inputs)
        assert again.to_json() == hands.to_json() and "Look at this." in note
        (loaded,) = again.frames
        for old, new in zip(hands.frames[0].hands, loaded.hands, strict=True):
            assert torch.equal(old.joints, new.joints) and torch.equal(old.pose, new.pose)
            assert float((old.vertices - new.vertices).abs().max()) < 1e-6


@pytest.mark.parametrize("prefix", ["", ".", "../out", "a/../../out", "folder/", "/out"])
def test_nothing_is_written_outside_of_the_output_folder(run, library, folders, prefix):
    hands = library("hand.hands").Hands((library("hand.hands").Frame(8, 8),))
    with pytest.raises(ValueError, match=r"^filename_prefix: '.*' is no name of a file in ComfyUI's output folder"):
        run("sources", "HanDrawerSaveHands", hands=hands, filename_prefix=prefix)
    assert not [path for path in folders.rglob("*") if path.is_file()]


def test_a_number_that_is_taken_meanwhile_is_skipped(run, library, folders, monkeypatch):
    """Two queues may be told the same number."""
    import folder_paths

    hands = library("hand.hands").Hands((library("hand.hands").Frame(8, 8),))
    monkeypatch.setattr(folder_paths, "get_save_image_path", lambda *_: (str(folders / "output"), "hands", 1, "", ""))
    names = [run("sources", "HanDrawerSaveHands", hands=hands, filename_prefix="hands")[1] for _ in range(2)]
    assert names == ["hands_00001_.json [output]", "hands_00002_.json [output]"]


def test_an_edited_file_is_noticed(nodes, folders):
    node, file = nodes("sources").HanDrawerLoadHands, folders / "input" / "a.json"
    file.write_text("one")
    before = node.fingerprint_inputs(file="a.json", text="")
    assert before == node.fingerprint_inputs(file="a.json", text="", unknown=1)
    file.write_text("two")
    assert node.fingerprint_inputs(file="a.json") != before
    file.unlink()
    node.fingerprint_inputs(file="a.json", text=None)
    from_text = nodes("json_files").FROM_TEXT
    assert node.fingerprint_inputs(file=from_text, text="a") != node.fingerprint_inputs(file=from_text, text="b")


def test_files_are_listed_where_the_host_keeps_them(nodes, folders):
    for name in ("input/b.json", "input/A.JSON", "input/sub/c.json", "input/sub/deep/d.json", "input/x.png"):
        (folders / name).parent.mkdir(parents=True, exist_ok=True)
        (folders / name).write_text("{}")
    (folders / "output" / "z.json").write_text("{}")
    assert nodes("json_files").hand_files() == ["A.JSON", "b.json", "sub/c.json", "z.json [output]"]
    schema = nodes("sources").HanDrawerLoadHands.define_schema()
    assert schema.inputs[0].options[0] == "(from text)" and "b.json" in schema.inputs[0].options


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "file: This is not a file of hands: it is not JSON"),
        ("[]", "file: This is not a file of hands"),
        ('{"format": "handrawer-hands", "version": 99, "frames": []}', "newer than version"),
        ('{"format": "handrawer-hands", "version": 1, "frames": []}', "file: This file of hands has no pictures"),
        ('{"format": "handrawer-hands", "version": 1}', "file: This file of hands is incomplete"),
        (b"\xff\xfe\x00", r"file: a\.json cannot be read"),
        (None, r"file: a\.json cannot be read"),
    ],
)
def test_what_is_no_file_of_hands_is_a_sentence(run, folders, content, sentence):
    if content is not None:
        (folders / "input" / "a.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=sentence):
        run("sources", "HanDrawerLoadHands", file="a.json")


def test_neither_file_nor_text(run):
    with pytest.raises(ValueError, match=r"^file: choose a file of hands, or put its text into 'text'"):
        run("sources", "HanDrawerLoadHands", file="(from text)", text=" ")
