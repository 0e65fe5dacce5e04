"""The list of hands: made, placed, repeated, written and read without loss."""

import dataclasses
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handrawer.hand.anatomy import sample_angles
from handrawer.hand.boxes import box_around
from handrawer.hand.camera import Camera, contain, project
from handrawer.hand.gestures import gesture_angles
from handrawer.hand.hands import Frame, Hands, hand_from_gesture, make_hand, orientation_from_degrees
from handrawer.hand.model import load_open_hand
from handrawer.hand.skinning import axis_angle_to_matrix

TENSORS = ("pose", "orientation", "shape", "translation", "joints", "joints_2d", "box", "vertices")


def random_hand(seed, width=640, height=480, side="right"):
    generator = torch.Generator().manual_seed(seed)
    return make_hand(
        angles=sample_angles(1, generator)[0],
        side=side,
        orientation=torch.randn(3, generator=generator),
        translation=torch.tensor([0.05, -0.03, 0.7]) + 0.05 * torch.randn(3, generator=generator),
        shape=torch.randn(4, generator=generator),
        camera=Camera(1.3, 0.48, 0.55),
        width=width,
        height=height,
        confidence=0.37,
        notes=("from a test",),
    )


def same(one, other):
    for name in TENSORS:
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    for field in dataclasses.fields(one):
        if field.name not in TENSORS:
            assert getattr(one, field.name) == getattr(other, field.name), field.name


def test_make_hand_projects_its_mesh():
    hand = random_hand(0)
    assert torch.allclose(project(hand.joints, hand.camera, 640, 480), hand.joints_2d)
    assert torch.allclose(box_around(project(hand.vertices, hand.camera, 640, 480)), hand.box)
    assert torch.allclose(hand.joints[0], hand.translation, atol=1e-6)
    assert hand.rotations().shape == (15, 3, 3)
    assert not hand.left


def test_make_hand_takes_matrices_and_refuses_what_cannot_be():
    turned = orientation_from_degrees(20, -10, 30)
    hand = make_hand(orientation=turned, pose=torch.eye(3).expand(15, 3, 3), width=64, height=64)
    assert torch.allclose(axis_angle_to_matrix(hand.orientation), turned, atol=1e-6)
    assert float(hand.pose.abs().max()) == 0
    with pytest.raises(ValueError, match="behind the camera"):
        make_hand(translation=(0.0, 0.0, -1.0), width=64, height=64)
    with pytest.raises(ValueError, match="not both"):
        make_hand(angles=gesture_angles("ok"), pose=torch.zeros(15, 3), width=64, height=64)
    with pytest.raises(ValueError, match="side"):
        make_hand(side="Right", width=64, height=64)
    with pytest.raises(ValueError, match="not finite"):
        random_hand(0).replace(box=torch.tensor([0.0, float("nan"), 1.0, 1.0]))
    with pytest.raises(ValueError, match="pose has shape"):
        random_hand(0).replace(pose=torch.zeros(16, 3))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(16, 2000),
    st.integers(16, 2000),
    st.tuples(st.integers(16, 2000), st.integers(16, 2000)),
    st.sampled_from(["contain", "cover", "crop", "box"]),
)
def test_placing_moves_2d_and_camera_together(seed, width, height, target, mode):
    source = (width, height)
    hand = random_hand(seed, width, height, side="left")
    frame = Frame(width, height, (hand,))
    placed = Hands((frame,)).placed(target[0], target[1], mode, box=(0.1, 0.2, 0.9, 0.7), margin=0.1).frames[0]
    assert (placed.width, placed.height) == target
    moved = placed.hands[0]
    assert torch.equal(moved.joints, hand.joints)
    assert torch.equal(moved.vertices, hand.vertices)
    projected = project(moved.joints, moved.camera, placed.width, placed.height)
    assert torch.allclose(projected, moved.joints_2d, atol=2e-5, rtol=1e-5)
    box = box_around(project(moved.vertices, moved.camera, placed.width, placed.height))
    assert torch.allclose(box, moved.box, atol=2e-5, rtol=1e-5)

    def shape(h, size):
        in_pixels = h.joints_2d.double() * torch.tensor(size)
        return (in_pixels - in_pixels[0]) / (in_pixels - in_pixels[0]).norm()

    assert torch.allclose(shape(hand, source), shape(moved, target), atol=1e-4), "never stretched"


def test_a_photo_on_a_square_canvas():
    frame = hand_from_gesture("peace", "right", 848, 565, box=(0.1, 0.1, 0.6, 0.9))
    placed = Hands((frame,)).placed(256, 256).frames[0].hands[0]
    hand = frame.hands[0]
    wide, high = (hand.box[2] - hand.box[0]) * 848, (hand.box[3] - hand.box[1]) * 565
    assert float((placed.box[2] - placed.box[0]) / (placed.box[3] - placed.box[1])) == pytest.approx(float(wide / high))


def test_placing_modes():
    frame = hand_from_gesture("open", "right", 300, 200, centre=(0.2, 0.5), size=0.4)
    crop = Hands((frame,)).placed(128, 128, "crop", margin=0.25).frames[0].hands[0].box
    assert float((crop[0] + crop[2]) / 2) == pytest.approx(0.5, abs=1e-4)
    assert float(max(crop[2] - crop[0], crop[3] - crop[1])) == pytest.approx(1 / 1.5, abs=1e-4)
    put = Hands((frame,)).placed(128, 128, "box", box=(0.0, 0.0, 0.5, 0.5)).frames[0].hands[0].box
    assert float(max(put[2] - put[0], put[3] - put[1])) == pytest.approx(0.5, abs=1e-4)
    empty = Hands((Frame(300, 200),)).placed(128, 64, "crop")
    assert (empty.frames[0].width, empty.frames[0].height, empty.count) == (128, 64, 0)
    with pytest.raises(ValueError, match="choose one of"):
        Hands((frame,)).placed(128, 128, "stretch")
    with pytest.raises(ValueError, match="needs the box"):
        Hands((frame,)).placed(128, 128, "box")
    with pytest.raises(ValueError, match="belong to one of 300 x 200"):
        frame.placed(contain(301, 200, 64, 64))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("turn", [(0, 0, 0), (60, 20, -30), (180, 0, 90), (-90, -60, 0)])
def test_gestures_land_in_their_box(side, turn):
    width, height, box = 768, 512, (0.3, 0.1, 0.7, 0.95)
    hand = hand_from_gesture("call", side, width, height, box=box, orientation=turn).hands[0]
    share = (hand.box[2:] - hand.box[:2]) / torch.tensor([0.4, 0.85])
    assert float(share.max()) == pytest.approx(1, abs=1e-3), "as large as it fits"
    assert ((hand.box[2:] + hand.box[:2]) / 2).tolist() == pytest.approx([0.5, 0.525], abs=1e-3)


def test_size_is_of_the_pictures_shorter_side():
    hand = hand_from_gesture("open", "right", 400, 200, centre=(0.25, 0.5), size=0.5).hands[0]
    pixels = (hand.box[2:] - hand.box[:2]) * torch.tensor([400.0, 200.0])
    assert float(pixels.max()) == pytest.approx(100, rel=1e-3)
    assert ((hand.box[2:] + hand.box[:2]) / 2).tolist() == pytest.approx([0.25, 0.5], abs=1e-3)
    with pytest.raises(ValueError, match="cannot be seen"):
        hand_from_gesture("open", size=0)
    with pytest.raises(ValueError, match="empty"):
        hand_from_gesture("open", box=(0.5, 0.5, 0.2, 0.9))


def test_upright_hands_look_as_they_should():
    for side, way in (("right", 1), ("left", -1)):
        points = hand_from_gesture("open", side).hands[0].joints_2d
        assert float(points[12, 1]) < float(points[0, 1]), "fingers up"
        assert way * float(points[4, 0] - points[0, 0]) > 0, "palm to the camera: a right hand's thumb is on the right"


def test_orientation_degrees():
    fingers, palm = torch.tensor([0.0, -1.0, 0.0]), torch.tensor([0.0, 0.0, -1.0])
    assert torch.allclose(orientation_from_degrees(), torch.eye(3))
    assert (orientation_from_degrees(yaw=90) @ palm).tolist() == pytest.approx([1, 0, 0], abs=1e-6)
    assert (orientation_from_degrees(pitch=90) @ fingers).tolist() == pytest.approx([0, 0, -1], abs=1e-6)
    assert (orientation_from_degrees(roll=90) @ fingers).tolist() == pytest.approx([1, 0, 0], abs=1e-6)
    order = orientation_from_degrees(roll=90) @ orientation_from_degrees(pitch=40) @ orientation_from_degrees(yaw=30)
    assert torch.allclose(orientation_from_degrees(30, 40, 90), order, atol=1e-6)


def test_batches_repeat_and_cut_and_say_so():
    frames = [hand_from_gesture(name, width=64, height=64) for name in ("open", "fist", "ok")]
    hands = Hands(tuple(frames))
    repeated, note = hands.for_batch(5)
    assert [f is frames[i % 3] for i, f in enumerate(repeated.frames)] == [True] * 5
    assert "3 pictures" in note
    assert "5 pictures" in note
    cut, note = hands.for_batch(2)
    assert len(cut.frames) == 2
    assert "first 2" in note
    assert hands.for_batch(3)[1] == ""
    one, note = Hands((frames[0],)).for_batch(4)
    assert len(one.frames) == 4
    assert note == "", "one list serves every picture: nothing to say"
    assert hands.count == 3
    with pytest.raises(ValueError, match="cannot serve"):
        Hands(()).for_batch(2)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["left", "right"]), st.booleans(), st.none() | st.integers(-3, 3))
def test_json_is_lossless(seed, side, enabled, z_order):
    hand = random_hand(seed, side=side).replace(enabled=enabled, z_order=z_order, weight=0.123456789)
    hands = Hands((Frame(640, 480, (hand, random_hand(seed + 1))), Frame(33, 44, (), "nobody")))
    text = hands.to_json()
    again = Hands.from_json(text)
    assert again.to_json() == text
    assert [(f.width, f.height, f.note) for f in again.frames] == [(640, 480, ""), (33, 44, "nobody")]
    for one, other in zip(hands.frames[0].hands, again.frames[0].hands, strict=True):
        same(one, other)


def test_placed_hands_survive_json():
    hands = Hands((Frame(640, 480, (random_hand(4),)),)).placed(333, 777, "crop")
    same(hands.frames[0].hands[0], Hands.from_json(hands.to_json()).frames[0].hands[0])


def test_json_is_readable_and_small():
    text = Hands((hand_from_gesture("ok"),)).to_json()
    data = json.loads(text)
    assert data["format"] == "handrawer-hands"
    assert data["version"] == 1
    hand = data["frames"][0]["hands"][0]
    assert hand["side"] == "right"
    assert "vertices" not in hand, "they follow from the parameters"
    assert len(text) < 10_000
    assert max(len(line) for line in text.splitlines()) < 120


def test_vertices_that_do_not_follow_from_the_parameters_are_kept():
    hand = random_hand(1)
    moved = hand.replace(vertices=hand.vertices + 0.001)
    foreign = hand.replace(model="mano", vertices=hand.vertices[:778], shape=torch.zeros(10))
    hands = Hands((Frame(640, 480, (moved, foreign)),))
    for one, other in zip(hands.frames[0].hands, Hands.from_json(hands.to_json()).frames[0].hands, strict=True):
        same(one, other)


def test_what_is_not_hands_gets_a_sentence():
    good = json.loads(Hands((hand_from_gesture("ok", width=64, height=64),)).to_json())

    def broken(change):
        data = json.loads(json.dumps(good))
        change(data)
        return json.dumps(data)

    cases = {
        "not JSON": "hello",
        'no "format"': "[1, 2]",
        "newer than version": broken(lambda d: d.update(version=2)),
        "no version": broken(lambda d: d.pop("version")),
        "'pose' is missing": broken(lambda d: d["frames"][0]["hands"][0].pop("pose")),
        "'frames' is missing": broken(lambda d: d.pop("frames")),
        "not at hand": broken(lambda d: d["frames"][0]["hands"][0].update(model="mano")),
        "pose has shape": broken(lambda d: d["frames"][0]["hands"][0].update(pose=[[0, 0, 0]])),
        "pose is not an array": broken(lambda d: d["frames"][0]["hands"][0].update(pose=None)),
        "box is not an array": broken(lambda d: d["frames"][0]["hands"][0].update(box=["a", "b", "c", "d"])),
        "whole numbers": broken(lambda d: d["frames"][0].update(width="wide")),
        "damaged": broken(lambda d: d.update(frames=5)),
        "not finite": broken(lambda d: d["frames"][0]["hands"][0].update(box=[0, 0, 1, float("nan")])),
    }
    for message, text in cases.items():
        with pytest.raises(ValueError, match=message):
            Hands.from_json(text)


def test_tensors_are_taken_to_the_cpu_in_float32():
    hand = random_hand(0)
    again = hand.replace(pose=hand.pose.double().requires_grad_())
    assert again.pose.dtype == torch.float32
    assert not again.pose.requires_grad


def test_map_changes_every_hand():
    hands = Hands((hand_from_gesture("ok"), hand_from_gesture("fist"))).map(lambda h: h.replace(weight=0.5))
    assert [h.weight for f in hands.frames for h in f.hands] == [0.5, 0.5]
    assert load_open_hand().name == hands.frames[0].hands[0].model


def test_doubt_and_confidence_of_joints_go_through_json_and_old_files_are_read():
    (hand,) = hand_from_gesture("open", width=64, height=64).hands
    told = hand.replace(unsure=True, joint_confidence=torch.linspace(0, 1, 21), joint_residual=torch.rand(21))
    (back,) = Hands.from_json(Hands((Frame(64, 64, (told,)),)).to_json()).frames[0].hands
    assert back.unsure
    for name in ("joint_confidence", "joint_residual"):
        assert torch.equal(getattr(back, name), getattr(told, name))
    data = json.loads(Hands((Frame(64, 64, (hand,)),)).to_json())
    del data["frames"][0]["hands"][0]["unsure"]
    (old,) = Hands.from_json(json.dumps(data)).frames[0].hands
    assert not old.unsure and old.joint_confidence is None and old.joint_residual is None
    with pytest.raises(ValueError, match="joint_residual"):
        hand.replace(joint_residual=torch.zeros(20))
