"""The pose library in ComfyUI's own page, in both renderers, dark and light."""

import json

import pytest

from handrawer.hand.library import library
from tests.browser.conftest import POSE, scene

SCENES = ("library", "libraryNewer")


@pytest.fixture(params=SCENES)
def steps(request: pytest.FixtureRequest, seen: dict) -> dict:
    found = dict(seen[request.param])
    # The page tells of the answer to the file that is no pose, and to the name that is none, in its console, too.
    found["complaints"] = [said for said in found["complaints"] if not said.endswith("/api/handrawer/poses")]
    return scene({"library": found}, "library")


def test_the_chosen_pose_is_shown(steps: dict):
    start = steps["start"]
    assert start["pose"] == "peace" and start["visible"] and start["background"].endswith('/poses.webp")')
    assert start["options"] > 65
    assert all(width > 60 and height >= 24 for width, height in steps["boxes"]), "large enough to press"


def test_search_shortens_the_list_and_the_panel(steps: dict):
    assert 1 < steps["searched"]["options"] < 10 and steps["searched"]["search"] == "count, chinese"
    assert steps["narrowed"] == {"words": "count, chinese", "count": steps["searched"]["options"] - 1}
    assert steps["nothing"]["count"] == 0 and steps["nothing"]["said"]
    assert steps["all"] >= 65


def test_a_pose_is_chosen_by_its_picture(steps: dict):
    chosen = steps["chosen"]
    (entry,) = chosen["prompt"].values()
    assert chosen["pose"] == entry["inputs"]["pose"] == "vulcan"
    assert chosen["search"] == "" and chosen.get("field") in (None, ""), "the search did not find it: cleared"
    assert chosen["at"] != steps["start"]["at"], "another picture"


def test_a_file_comes_in_and_goes_out_unchanged(steps: dict):
    name = steps["brought"]["pose"]
    assert name.startswith("brought_in") and name.endswith(" (mine)")
    assert steps["ownPicture"] == [200, "image/png"] and steps["brought"]["visible"]
    assert steps["sent"]["name"] == name.removesuffix(" (mine)") + ".json"
    assert json.loads(steps["sent"]["text"]) == json.loads(POSE)


def test_a_file_that_is_no_pose_is_refused_in_a_sentence(steps: dict):
    assert "wrong.json: This is no pose" in steps["refused"]
    assert steps["after"]["pose"] == steps["brought"]["pose"]


def test_what_is_chosen_is_saved_and_loaded(steps: dict):
    assert steps["mirrored"] == "scaleX(-1)"
    assert steps["saved"][:3] == ["", steps["brought"]["pose"], "left"] and len(steps["saved"]) == 11
    assert steps["reloaded"]["pose"] == steps["brought"]["pose"] and steps["reloaded"]["visible"]


def test_poses_are_called_in_the_pages_language(steps: dict):
    """Japanese in the classic renderer, Chinese in the newer one."""
    said = steps["said"]
    button, search = {"ja": ("ポーズ", "ポーズを検索"), "zh": ("姿势", "搜索姿势")}[said["language"]]
    others = {name: pose.others[said["language"]] for name, pose in library().items()}
    assert (said["button"].strip(), said["search"]) == (button, search)
    assert said["titles"][: len(others)] == [other.title for other in others.values()]
    assert said["start"].startswith(others["peace"].title) and others["peace"].tags[0] in said["start"]
    assert said["found"] == [others["vulcan"].title] and said["inPoser"] == [others["peace"].title]
    (entry,) = said["chosen"]["prompt"].values()
    assert said["chosen"]["pose"] == entry["inputs"]["pose"] == "vulcan", "what is saved is the same in all languages"


def test_a_pose_of_the_poser_is_kept(steps: dict):
    assert "'../x' is no name of a pose" in steps["wrongName"]
    assert "kept_by_hand" in steps["keptAs"]
    kept = steps["keptAs"].removeprefix("Kept as ")
    assert kept in steps["listed"]
