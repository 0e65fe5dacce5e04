"""The pose library: what ships looks like its names in millimetres, and one's own poses come back as they were."""

import json
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handrawer.hand.anatomy import LIMITS, angles_to_rotations, sample_angles
from handrawer.hand.gestures import GESTURES
from handrawer.hand.hands import hand_from_gesture, make_hand, orientation_from_degrees
from handrawer.hand.library import (
    WORDS_FILE,
    LibraryPose,
    all_tags,
    dump_pose,
    frame_from_pose,
    library,
    parse_pose,
    pose_of_hand,
    search,
    split_words,
    turn_of,
)  # fmt: skip
from handrawer.hand.model import load_open_hand
from handrawer.hand.sampling import finger_overlap
from handrawer.hand.skinning import axis_angle_to_matrix, pose_hand


def joints_of(name: str) -> torch.Tensor:
    rotations = angles_to_rotations(load_open_hand(), library()[name].angles[None])
    zeros = torch.zeros(1, 3)
    right = torch.zeros(1, dtype=torch.bool)
    return pose_hand(load_open_hand(), rotations, torch.zeros(1, 4), torch.eye(3)[None], zeros, right).joints[0]


def millimetres(name: str, one: int, other: int) -> float:
    joints = joints_of(name)
    return 1000 * float((joints[one] - joints[other]).norm())


def test_there_are_forty_and_the_gestures_are_the_same_bit_for_bit():
    assert len(library()) >= 40 and list(library())[: len(GESTURES)] == list(GESTURES)
    for name, gesture in GESTURES.items():
        assert torch.equal(library()[name].angles, gesture.angles) and library()[name].title == gesture.title


def test_every_pose_has_tags_a_title_of_its_own_and_possible_joints():
    titles = [pose.title for pose in library().values()]
    assert len(set(titles)) == len(titles)
    for name, pose in library().items():
        assert pose.name == name and pose.tags, name
        assert bool(((pose.angles >= LIMITS[:, 0]) & (pose.angles <= LIMITS[:, 1])).all()), name


def test_no_finger_is_in_another():
    overlap = finger_overlap(load_open_hand(), torch.stack([pose.angles for pose in library().values()]))
    assert float(overlap.max()) < 0.002, list(library())[int(overlap.argmax())]


def test_poses_differ():
    poses = torch.stack([pose.angles for pose in library().values()])
    turns = torch.tensor([pose.turn for pose in library().values()])
    apart = torch.cdist(poses, poses) + 0.02 * torch.cdist(turns, turns) + torch.eye(len(poses)) * 9
    assert float(apart.min()) > 0.15


@pytest.mark.parametrize(
    ("name", "tips"),
    [("seven", (8, 12)), ("money", (8, 12)), ("purse", (8, 12, 16, 20)), ("o_shape", (8, 12)), ("hold_pen", (8,)),
     ("hold_card", (8,)), ("pick_up", (8,)), ("meditation", (8,)), ("letter_d", (12,))],
)  # fmt: skip
def test_fingertips_that_touch_the_thumb(name, tips):
    assert "contact" in library()[name].tags
    for tip in tips:
        assert millimetres(name, 4, tip) < 22, tip


def test_poses_look_like_their_names():
    assert millimetres("two", 8, 12) < 22 < 35 < millimetres("peace", 8, 12)
    assert millimetres("vulcan", 12, 16) > 1.7 * max(millimetres("vulcan", 8, 12), millimetres("vulcan", 16, 20))
    crossed = joints_of("crossed")
    assert float(crossed[8, 0]) < float(crossed[12, 0]), "the index finger's tip lies on the middle finger's other side"
    assert millimetres("c_shape", 4, 8) > 40 > millimetres("o_shape", 4, 8)
    thumb_up = frame_from_pose(library()["thumbs_up"]).hands[0].joints_2d
    thumb_down = frame_from_pose(library()["thumbs_down"]).hands[0].joints_2d
    assert float(thumb_up[4, 1]) == pytest.approx(float(thumb_up[:, 1].min()))
    assert float(thumb_down[4, 1]) == pytest.approx(float(thumb_down[:, 1].max()))


@pytest.mark.parametrize("name", ["peace", "thumbs_up", "fist_bump"])
def test_a_left_hand_is_the_mirror_image(name):
    right, left = (frame_from_pose(library()[name], side, 200, 200).hands[0] for side in ("right", "left"))
    mirrored = right.joints_2d * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0])
    assert left.side == "left" and torch.allclose(left.joints_2d, mirrored, atol=1e-4)


def test_a_gesture_without_turns_is_what_the_gesture_node_makes():
    pose = LibraryPose("mine", "Mine", GESTURES["peace"].angles)
    ours = frame_from_pose(pose, "left", 128, 96, centre=(0.4, 0.5), size=0.6, turn=(10.0, 5.0, -20.0))
    plain = hand_from_gesture("peace", "left", 128, 96, centre=(0.4, 0.5), size=0.6, orientation=(10, 5, -20))
    assert torch.allclose(ours.hands[0].joints, plain.hands[0].joints, atol=1e-6)


def test_search_takes_every_word_in_name_title_and_tags():
    poses = library().values()
    assert len(search(poses, "")) == len(library())
    assert {pose.name for pose in search(poses, "hold, glass")} == {"hold_glass"}
    assert {"seven", "six", "eight", "nine"} == {pose.name for pose in search(poses, "chinese")}
    assert search(poses, "no such thing") == []
    assert "count" in all_tags(poses)


@settings(max_examples=20, deadline=None)
@given(st.floats(-180, 180), st.floats(-89, 89), st.floats(-180, 180))
def test_turns_come_back_from_orientations(yaw, pitch, roll):
    matrix = orientation_from_degrees(yaw, pitch, roll)
    assert torch.allclose(orientation_from_degrees(*turn_of(matrix)), matrix, atol=1e-5)


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_saved_pose_is_the_hand_again(side):
    angles = sample_angles(1, torch.Generator().manual_seed(4))[0]
    hand = make_hand(angles=angles, side=side, orientation=orientation_from_degrees(30, -20, 70), width=256, height=256)
    pose = parse_pose(dump_pose(pose_of_hand(hand, "mine", tags=("test",))))
    assert pose.name == "mine" and pose.title == "Mine" and pose.tags == ("test",)
    assert torch.allclose(pose.angles, angles, atol=2e-4)
    again = frame_from_pose(pose, side, 256, 256).hands[0]
    turned = [axis_angle_to_matrix(h.orientation) for h in (again, hand)]
    assert torch.allclose(turned[0], turned[1], atol=1e-3)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c.update(format="other"), "lacks the line"),
        (lambda c: c.update(version=2), "version 2"),
        (lambda c: c.pop("angles"), "lacks something"),
        (lambda c: c["angles"].update(index=[0, 0, 0]), "needs 21"),
        (lambda c: c["angles"].update(index=[0, 0, 170, 0]), "no hand's joints allow"),
        (lambda c: c.update(name="../up"), "no name of a pose"),
        (lambda c: c.update(turn={"yaw": float("nan")}), "not finite"),
    ],
)
def test_files_that_are_no_pose_are_refused_with_a_sentence(change, sentence):
    content = json.loads(dump_pose(library()["purse"]))
    change(content)
    with pytest.raises(ValueError, match=sentence):
        parse_pose(json.dumps(content))
    with pytest.raises(ValueError, match="not JSON"):
        parse_pose("{")


KANA, HAN = re.compile("[\u3041-\u30ff]"), re.compile("[\u4e00-\u9fff]")


@pytest.mark.parametrize("language", ["ja", "zh"])
def test_every_pose_is_called_something_in_japanese_and_chinese(language):
    poses = library().values()
    titles = [pose.others[language].title for pose in poses]
    assert len(set(titles)) == len(titles), "each has a title of its own"
    for pose in poses:
        other = pose.others[language]
        assert len(other.tags) > 0 and len(set(other.tags)) == len(other.tags), pose.name
        for text in (other.title, *other.tags, *other.also):
            assert text and text not in (pose.title, *pose.tags), (pose.name, text)
            assert HAN.search(text) or (language == "ja" and KANA.search(text)), (pose.name, text)
            assert language == "ja" or not KANA.search(text), (pose.name, text)
    if language == "ja":
        assert sum(bool(KANA.search(title)) for title in titles) > 0.7 * len(titles), "some are written in kanji alone"


def test_the_words_of_other_languages_name_poses_that_there_are():
    words = json.loads(WORDS_FILE.read_text(encoding="utf-8"))
    assert list(words) == ["ja", "zh"]
    for of_language in words.values():
        assert list(of_language["poses"]) == list(library())
        assert set(of_language["tags"]) == set(all_tags(library().values()))


@pytest.mark.parametrize(
    ("words", "names"),
    [("ピースサイン", {"peace"}), ("ﾋﾟｰｽ", {"peace"}), ("ぴーす", {"peace"}), ("チョキ", {"peace", "scissors"}),
     ("持つ、グラス", {"hold_glass"}), ("比耶", {"peace"}), ("数字，捏拢", {"seven"}), ("ＶＵＬＣＡＮ", {"vulcan"}),
     ("バルカン vulcan", {"vulcan"}), ("数字 中国 弯食指", {"nine"}), ("握手", {"handshake"}), ("存在しない", set())],
)  # fmt: skip
def test_search_knows_the_other_languages(words, names):
    assert {pose.name for pose in search(library().values(), words)} == names


def test_a_search_in_english_finds_what_it_found_before_there_were_other_languages():
    """A saved workflow may take the first pose that its words find."""
    for pose in library().values():
        english = " ".join((pose.name.replace("_", " "), pose.name, pose.title, *pose.tags)).lower()
        for part in re.findall("[!-~]+", pose.words()):
            assert part in english or part in "()", (pose.name, part)


def test_words_are_parted_by_the_commas_of_all_three_languages():
    assert split_words("mine, 自分、 挨拶，手") == ["mine", "自分", "挨拶", "手"]
