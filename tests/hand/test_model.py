"""The open hand as it ships: a closed mesh in the promised frame, of a hand's size, with sound weights and shapes."""

import json
import struct

import pytest
import torch

from handrawer.hand import model as model_module
from handrawer.hand.joints import FINGERS, JOINT_NAMES, JOINT_PARENTS, RIG_JOINTS, RIG_PARENTS, TIP_JOINTS
from handrawer.hand.model import OPEN_HAND_FILE, load_open_hand


@pytest.fixture(scope="module")
def hand():
    return load_open_hand().to(dtype=torch.float64)


def volume(vertices, faces):
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return float((a * torch.linalg.cross(b, c)).sum() / 6)


def test_joint_tables_agree():
    assert JOINT_NAMES[0] == "wrist"
    assert JOINT_NAMES[4] == "thumb_tip"
    assert JOINT_NAMES[8] == "index_tip"
    assert JOINT_NAMES[20] == "little_tip"
    assert sorted(RIG_JOINTS + TIP_JOINTS) == list(range(21))
    for rig, joint in enumerate(RIG_JOINTS):
        parent = JOINT_PARENTS[joint]
        assert RIG_PARENTS[rig] == (-1 if parent == -1 else RIG_JOINTS.index(parent))
    assert [JOINT_NAMES[j] for j in FINGERS["ring"]] == ["ring_mcp", "ring_pip", "ring_dip", "ring_tip"]


def test_mesh_is_one_closed_surface(hand):
    faces = hand.faces
    directed = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert len(torch.unique(directed, dim=0)) == len(directed), "two faces run along an edge in the same direction"
    undirected, count = torch.unique(directed.sort(dim=1).values, dim=0, return_counts=True)
    assert bool((count == 2).all())
    assert len(hand.template) - len(undirected) + len(faces) == 2, "a closed surface without handles"
    assert set(faces.unique().tolist()) == set(range(len(hand.template)))


@pytest.mark.parametrize("flip", [(1.0, 1.0, 1.0), (1.0, -1.0, -1.0)], ids=["camera", "y up, z to the viewer"])
def test_faces_point_outwards(hand, flip):
    """250 to 600 cm3, positive, in camera coordinates as well as in a right-handed frame with y up."""
    assert 250e-6 < volume(hand.template * torch.tensor(flip, dtype=torch.float64), hand.faces) < 600e-6


def test_size_and_frame(hand):
    joints, tips = hand.joint_template, hand.template[hand.tip_vertices]
    assert float(joints[0].norm()) == 0
    assert 0.17 < float(tips[2].norm()) < 0.20, "wrist to the middle finger's tip, an adult's hand"
    assert bool((tips[1:, 1] < -0.13).all()), "fingers up is -y"
    assert float(tips[0, 0]) > 0.05, "the right thumb points to +x"
    assert float(tips[0, 2]) < -0.02, "and stands before the palm, which faces -z"
    knuckles = joints[[4, 7, 10, 13], 0]
    assert bool((knuckles.diff() < 0).all()), "index to little finger from +x to -x"
    palm = torch.linalg.cross(joints[4] - joints[0], joints[13] - joints[0])
    assert float(palm[2] / palm.norm()) < -0.95
    forearm = hand.template[hand.regions["forearm"]]
    assert 0.05 < float(forearm[:, 1].max()) < 0.1


def test_joints_lie_inside_the_flesh(hand):
    """Every joint is deeper than 3 mm under the surface: no vertex is nearer."""
    distance = torch.cdist(hand.joint_template, hand.template).min(dim=1).values
    assert float(distance.min()) > 0.003
    assert float(distance[1:].max()) < 0.02


def test_bones_have_the_proportions_of_people(hand):
    """Proximal to middle phalanx as in Buryanov & Kotiuk 2010, within a tenth."""
    for first, ratio in ((4, 1.78), (7, 1.70), (10, 1.61), (13, 1.81)):
        lengths = hand.joint_template[first : first + 3].diff(dim=0).norm(dim=1)
        assert float(lengths[0] / lengths[1]) == pytest.approx(ratio, rel=0.1)


def test_weights(hand):
    assert float(hand.weights.min()) >= 0
    assert torch.allclose(hand.weights.sum(dim=1), torch.ones(len(hand.weights), dtype=torch.float64), atol=1e-6)
    assert bool((hand.weights[hand.regions["forearm"], 0] > 0.97).all()), "the forearm is the wrist's alone"
    assert torch.equal(hand.parts, hand.weights.argmax(dim=1))
    assert set(hand.parts.tolist()) == set(range(16))
    assert hand.parts[hand.tip_vertices].tolist() == [3, 6, 9, 12, 15]


def test_weights_are_smooth(hand):
    """Along no edge longer than a millimetre does a weight jump: the skin would tear."""
    edges = torch.cat([hand.faces[:, [0, 1]], hand.faces[:, [1, 2]]])
    jump = (hand.weights[edges[:, 0]] - hand.weights[edges[:, 1]]).abs().amax(dim=1)
    length = (hand.template[edges[:, 0]] - hand.template[edges[:, 1]]).norm(dim=1)
    assert float(jump[length > 0.001].max()) < 0.5


def test_shape_directions(hand):
    assert hand.shape_names == ("length", "thickness", "spread", "size")
    assert float(hand.joint_shape_dirs[0].abs().max()) == 0, "the wrist stays at the origin"

    def measure(coefficients):
        vertices = hand.template + hand.shape_dirs @ coefficients
        joints = hand.joint_template + hand.joint_shape_dirs @ coefficients
        finger = (vertices[hand.tip_vertices[2]] - joints[7]).norm()
        around = vertices[hand.parts == 8]
        return float(finger), float((around - around.mean(0)).std()), float(vertices[hand.tip_vertices[2]].norm())

    rest, plus = measure(torch.zeros(4).double()), [measure(torch.eye(4).double()[i]) for i in range(4)]
    assert 1.02 < plus[0][0] / rest[0] < 1.06, "a unit of length makes fingers 2 to 6 % longer"
    assert plus[1][1] / rest[1] > 1.01
    assert abs(plus[1][0] / rest[0] - 1) < 0.02, "thicker, not longer"
    assert plus[3][2] / rest[2] == pytest.approx(1.065)
    for sign in (-2.0, 2.0):
        for i in range(4):
            shaped = hand.template + sign * hand.shape_dirs[:, :, i]
            assert 0.6 < volume(shaped, hand.faces) / volume(hand.template, hand.faces) < 1.6


def test_regions(hand):
    nails, palm, forearm = (set(hand.regions[name].tolist()) for name in ("nails", "palm", "forearm"))
    assert not palm & forearm
    assert not nails & palm
    assert {int(hand.parts[v]) for v in nails} == {3, 6, 9, 12, 15}, "one nail at each finger's end"
    for part in (3, 6, 9, 12, 15):
        assert sum(int(hand.parts[v]) == part for v in nails) >= 8
    corner = hand.template[hand.faces]
    normals = torch.linalg.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normals = torch.nn.functional.normalize(normals, dim=-1)
    for part in (3, 6, 9, 12, 15):
        plate = [all(int(v) in nails and int(hand.parts[v]) == part for v in face) for face in hand.faces]
        facing = normals[torch.tensor(plate)].mean(dim=0)
        assert float(facing[0 if part == 3 else 2]) > 0.5, "nails look back (+z), the thumb's aside (+x)"
    palmar = torch.tensor([all(int(v) in palm for v in face) for face in hand.faces])
    assert float(normals[palmar, 2].mean()) < -0.6


def test_to_keeps_what_needs_no_change_and_moves_the_rest():
    hand = load_open_hand()
    assert hand.to("cpu") is hand
    double = hand.to("cpu", torch.float64)
    assert double.template.dtype == torch.float64
    assert double.faces.dtype == torch.int64
    assert double.shape_names == hand.shape_names
    assert hand.template.dtype == torch.float32


def test_file_is_small_and_says_where_it_comes_from():
    raw = OPEN_HAND_FILE.read_bytes()
    assert len(raw) < 1_000_000
    (size,) = struct.unpack("<Q", raw[:8])
    metadata = json.loads(raw[8 : 8 + size])["__metadata__"]
    assert metadata["name"] == "open"
    assert metadata["licence"] == "CC0-1.0"
    assert "MakeHuman" in metadata["source"]


@pytest.mark.parametrize("content", [None, "other format"])
def test_a_missing_or_other_file_gets_a_sentence(tmp_path, monkeypatch, content):
    from safetensors.torch import save_file

    path = tmp_path / "open_hand.safetensors"
    if content:
        save_file({"x": torch.zeros(1)}, str(path), metadata={"format": "99"})
    monkeypatch.setattr(model_module, "OPEN_HAND_FILE", path)
    with pytest.raises((FileNotFoundError, ValueError), match="install HanDrawer again"):
        load_open_hand.__wrapped__()
