"""Poses of the library and one's own, on the host's canvas."""

import importlib

import pytest
import torch

AT = {"x": 0.4, "y": 0.55, "size": 0.6, "yaw": 0.0, "pitch": 0.0, "roll": 0.0, "width": 320, "height": 240}


@pytest.fixture
def folders(nodes, tmp_path, monkeypatch):
    """The host's folders, empty."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "get_user_directory", lambda: str(tmp_path / "user"))
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(tmp_path / "input"))
    return tmp_path


@pytest.fixture
def run(nodes, folders):
    def run(node: str, /, **inputs):
        with torch.inference_mode():
            return getattr(nodes("library"), node).execute(**inputs)

    return run


def test_a_pose_lies_where_it_was_put_and_is_shown_on_the_node(run):
    output = run("HanDrawerPoseLibrary", search="", pose="hold_glass", side="left", **AT)
    hands, name, note = output.result
    (hand,) = hands.frames[0].hands
    assert (hands.frames[0].width, hands.frames[0].height, hand.side, name, note) == (
        320,
        240,
        "left",
        "hold_glass",
        "",
    )
    middle = (hand.box[:2] + hand.box[2:]) / 2
    assert torch.allclose(middle, torch.tensor([0.4, 0.55]), atol=0.01)
    longer = float(((hand.box[2:] - hand.box[:2]) * torch.tensor([320, 240])).max())
    assert longer == pytest.approx(0.6 * 240, rel=0.02)
    assert output.ui.as_dict()["images"]


def test_search_takes_the_first_and_names_all(run, nodes):
    first = nodes("library").FIRST
    _, name, note = run("HanDrawerPoseLibrary", search="count chinese", pose=first, side="right", **AT).result
    assert name == "six" and "seven" in note and "peace" not in note
    with pytest.raises(ValueError, match=r"^search: no pose is found by 'zebra'"):
        run("HanDrawerPoseLibrary", search="zebra", pose=first, side="right", **AT)


def test_one_s_own_pose_is_kept_listed_found_and_never_overwritten(run, nodes, folders):
    library = nodes("library")
    made = run("HanDrawerPoseLibrary", search="", pose="vulcan", side="right", **AT).result[0]
    name, text = run("HanDrawerSavePose", hands=made, hand=0, name="mine", tags="first, test").result
    second = run("HanDrawerSavePose", hands=made, hand=0, name="mine", tags="").result[0]
    assert (name, second) == ("mine (mine)", "mine_2 (mine)")
    assert (folders / "user" / "handrawer_poses" / "mine.json").read_text(encoding="utf-8") == text
    assert library.pose_names()[-2:] == [name, second]
    assert library.HanDrawerPoseLibrary.validate_inputs(pose=name) is True
    again = run("HanDrawerPoseLibrary", search="", pose=name, side="right", **AT).result[0]
    assert torch.allclose(again.frames[0].hands[0].joints, made.frames[0].hands[0].joints, atol=1e-3)
    assert run("HanDrawerPoseLibrary", search="first", pose=library.FIRST, side="right", **AT).result[1] == name
    assert [entry["name"] for entry in library.listed()][-2:] == [name, second]


def test_a_file_of_another_comes_in_by_the_input_folder(run, nodes, folders):
    library = nodes("library")
    core = importlib.import_module(library.__package__.removesuffix(".nodes") + ".handrawer.hand.library")
    (folders / "input" / "handrawer_poses").mkdir(parents=True)
    place = folders / "input" / "handrawer_poses" / "theirs.json"
    place.write_text(core.dump_pose(core.library()["scout"]), encoding="utf-8")
    name = "theirs" + library.MINE
    before = library.HanDrawerPoseLibrary.fingerprint_inputs(pose=name)
    assert run("HanDrawerPoseLibrary", search="", pose=name, side="right", **AT).result[1] == name
    place.write_text("{}", encoding="utf-8")
    assert library.HanDrawerPoseLibrary.fingerprint_inputs(pose=name) != before
    with pytest.raises(ValueError, match=r"^pose: theirs.json: This is no pose"):
        run("HanDrawerPoseLibrary", search="", pose=name, side="right", **AT)
    assert len(library.listed()) == len(core.library()), "the others are listed all the same"
    place.unlink()
    assert "is not in the library" in library.HanDrawerPoseLibrary.validate_inputs(pose=name)


def test_a_pose_is_found_by_what_it_is_called_in_other_languages(run, nodes, folders):
    library = nodes("library")
    for words in ("ピースサイン", "比耶", "挨拶、ぴーす"):
        assert run("HanDrawerPoseLibrary", search=words, pose=library.FIRST, side="right", **AT).result[1] == "peace"
    made = run("HanDrawerPoseLibrary", search="", pose="fist", side="right", **AT).result[0]
    name = run("HanDrawerSavePose", hands=made, hand=0, name="わたしの", tags="自分、挨拶，手").result[0]
    entry = library.listed()[-1]
    assert (entry["name"], entry["tags"], entry["others"]) == (name, ["自分", "挨拶", "手"], {})
    assert run("HanDrawerPoseLibrary", search="自分", pose=library.FIRST, side="right", **AT).result[1] == name
    assert library.listed()[0]["others"]["ja"]["title"] and "mine" in entry["words"], "(mine) is a part of its name"


def test_a_pose_goes_out_as_a_file_and_comes_in_again(run, nodes, folders):
    files, library = nodes("pose_files"), nodes("library")
    name, text = files.export_pose("scout")
    assert name == "scout.json"
    kept = files.keep_pose({"text": "\ufeff" + text})
    assert kept == "scout (mine)" and files.export_pose(kept) == (name, text)
    assert (folders / "user" / "handrawer_poses" / "scout.json").read_text(encoding="utf-8") == text
    with pytest.raises(ValueError, match=r"^This is no pose: it is not JSON"):
        files.keep_pose({"text": "no"})
    with pytest.raises(ValueError, match="no name of a pose"):
        files.keep_pose({"text": text.replace('"scout"', '"../../scout"')})
    assert library.pose_names()[-1] == kept, "nothing else was written"
    with pytest.raises(ValueError, match="is not in the library"):
        files.export_pose("../scout")


def test_a_hand_of_the_poser_is_kept(nodes, folders):
    files = nodes("pose_files")
    package = files.__package__.removesuffix(".nodes")
    poser = importlib.import_module(package + ".handrawer.hand.poser")
    state = poser.start_state()
    name = files.keep_pose({"state": poser.dump_state(state), "hand": 0, "name": "at_rest", "tags": "mine, calm"})
    assert name == "at_rest (mine)"
    (entry,) = [entry for entry in nodes("library").listed() if entry["name"] == name]
    assert entry["tags"] == ["mine", "calm"] and entry["place"] is None
    angles = nodes("library").choose(name, "")[1].angles
    assert torch.allclose(angles, torch.tensor(state.hands[0].angles), atol=2e-3)
    for wrong in ({"hand": 1, "name": "x"}, {"hand": "0", "name": "x"}):
        with pytest.raises(ValueError, match=r"^There is no hand"):
            files.keep_pose({"state": poser.dump_state(state), **wrong})
    with pytest.raises(ValueError, match=r"^There is no hand 0 in the poser"):
        files.keep_pose({"state": "", "name": "x"})
    with pytest.raises(ValueError, match="no name of a pose"):
        files.keep_pose({"state": poser.dump_state(state), "hand": 0, "name": " "})


def test_a_picture_of_every_pose(nodes):
    import io

    from PIL import Image

    with Image.open(io.BytesIO(nodes("pose_files").pose_picture("peace"))) as picture:
        assert picture.format == "PNG" and picture.size == (96, 96)
        assert len(set(picture.convert("L").tobytes())) > 20


def test_nothing_to_keep_and_wrong_names_are_sentences(run, nodes):
    made = run("HanDrawerPoseLibrary", search="", pose="peace", side="right", **AT).result[0]
    for name in ("", "../up", "a/b"):
        with pytest.raises(ValueError, match=r"^name: .*no name of a pose"):
            run("HanDrawerSavePose", hands=made, hand=0, name=name, tags="")
    with pytest.raises(ValueError, match=r"^hand: there is no hand 3"):
        run("HanDrawerSavePose", hands=made, hand=3, name="x", tags="")
    empty = type(made)((type(made.frames[0])(8, 8),))
    with pytest.raises(ValueError, match=r"^hands: there is no hand"):
        run("HanDrawerSavePose", hands=empty, hand=0, name="x", tags="")


def test_the_sheet_of_pictures_has_a_place_for_every_pose(nodes):
    from pathlib import Path

    from PIL import Image

    root = Path(__file__).resolve().parents[2]
    shipped = [entry for entry in nodes("library").listed() if entry["place"] is not None]
    with Image.open(root / "web" / "poses.webp") as sheet:
        assert sheet.width == 11 * 96 and sheet.height == -(-len(shipped) // 11) * 96
    assert "COLUMNS = 11" in (root / "web" / "js" / "pose_chooser.js").read_text()
