import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handrawer.hand.hands import Frame, hand_from_gesture
from handrawer.hand.model import HandModel, load_open_hand
from handrawer.render.faces import prepare
from handrawer.render.maps import render_layers
from handrawer.render.outline import closed_faces, join_edges, mesh_edges, outlines, touched
from handrawer.render.rasterise import rasterise
from handrawer.render.scene import build_scene
from handrawer.render.subsamples import subsamples


def test_a_closed_mesh_has_two_faces_at_every_edge():
    model = load_open_hand()
    edges = mesh_edges(model)
    assert edges.vertices.shape == edges.faces.shape == (2, len(model.faces) * 3 // 2)
    for side in edges.faces:
        of_faces = model.faces[side]
        assert (of_faces == edges.vertices[0, :, None]).any(1).all()
        assert (of_faces == edges.vertices[1, :, None]).any(1).all()
    assert (edges.faces[0] != edges.faces[1]).all()


def cut_off(model, keep) -> HandModel:
    """The model without the faces of which a corner is not kept ([V] bool), as MANO's is without a forearm."""
    return dataclasses.replace(model, faces=model.faces[keep[model.faces].all(1)])


def test_holes_are_covered():
    whole = load_open_hand()
    assert torch.equal(closed_faces(whole), whole.faces)
    model = cut_off(whole, whole.template[:, 1] < 0.03)
    faces = closed_faces(model)
    assert len(model.faces) < len(faces) < len(model.faces) + 80
    assert torch.equal(faces[: len(model.faces)], model.faces)
    directed = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).tolist()
    assert len(set(map(tuple, directed))) == len(directed), "all faces are wound one way"
    assert {(b, a) for a, b in directed} == set(map(tuple, directed))
    assert (mesh_edges(model).faces < len(faces)).all()


def test_one_cannot_look_into_an_open_mesh():
    whole = load_open_hand()
    model = cut_off(whole, whole.template[:, 1] < 0.03)
    hand = hand_from_gesture("open", width=96, height=96, orientation=(0, -75, 0)).hands[0]  # the wrist towards us
    scene = build_scene(Frame(96, 96, (hand.replace(model="cut"),)), {"cut": dataclasses.replace(model, name="cut")})

    def shown(faces, cull):
        return rasterise(scene.pixels, faces, torch.zeros(1, dtype=torch.int64), 1, 96, 96, cull=cull).covered

    assert int(shown(scene.faces, "back").sum()) > 600
    assert torch.equal(shown(scene.faces, "back"), shown(scene.faces, None))
    assert int((shown(model.faces, "back") != shown(model.faces, None)).sum()) > 20, "the hole is in sight"


def test_faces_of_several_models():
    whole = load_open_hand()
    model = cut_off(whole, whole.template[:, 1] < 0.03)
    joined, count = join_edges([model, whole], [0, 5000]), len(closed_faces(model))
    first = mesh_edges(model).vertices.shape[1]
    assert torch.equal(joined.vertices[:, :first], mesh_edges(model).vertices)
    assert torch.equal(joined.vertices[:, first:], mesh_edges(whole).vertices + 5000)
    assert torch.equal(joined.faces[:, first:], mesh_edges(whole).faces + count)


def test_an_edge_of_one_face_has_one():
    # Two triangles that share a corner alone: their six edges make one ring, which goes twice through the corner.
    whole = load_open_hand()
    bow = dataclasses.replace(whole, template=torch.rand(5, 3), faces=torch.tensor([[0, 1, 2], [0, 3, 4]]))
    edges = mesh_edges(bow)
    assert len(closed_faces(bow)) >= 3 and edges.vertices.shape[1] >= 6


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-40, 60, width=32), min_size=4, max_size=4), st.integers(1, 9), st.integers(1, 11))
def test_every_pixel_on_a_line_is_touched(ends, height, width):
    x, y = torch.tensor(ends[:2])[:, None], torch.tensor(ends[2:])[:, None]
    marked = touched(x, y, height, width).reshape(height, width)
    along = torch.linspace(0, 1, 5001, dtype=torch.float64)
    at_x, at_y = (v[0].double() + along * (v[1].double() - v[0].double()) for v in (x, y))
    inside = (at_x >= 0) & (at_x < width) & (at_y >= 0) & (at_y < height)
    assert marked[at_y[inside].long(), at_x[inside].long()].all()
    # Nothing far from the line: each marked pixel's centre lies within its own half diagonal, and the slack.
    centre = torch.nonzero(marked).flip(1).double() + 0.5
    if len(centre):
        start = torch.stack([x[0], y[0]], -1).double()
        run = torch.stack([x[1] - x[0], y[1] - y[0]], -1).double()
        share = ((centre - start) * run).sum(1) / run.square().sum().clamp(min=1e-12)
        distance = (centre - start - share.clamp(0, 1)[:, None] * run).norm(dim=1)
        assert float(distance.max()) < 0.75


def test_lines_that_are_not_finite_touch_nothing():
    x = torch.tensor([[1.5, torch.nan, 1.0], [5.5, 2.0, torch.inf]])
    marked = touched(x, torch.full_like(x, 2.5), 4, 4).reshape(4, 4)
    assert marked[2].tolist() == [False, True, True, True] and marked.sum() == 3


@pytest.mark.parametrize("side", [1, 2, 3, 8])
@pytest.mark.parametrize("ordered", [False, True])
def test_samples_are_those_of_a_larger_picture(generator, side, ordered):
    points = torch.rand(4, 24, 3, generator=generator) * torch.tensor([40.0, 30, 2]) - torch.tensor([5.0, 5, -0.2])
    faces, picture = torch.arange(24).reshape(-1, 3), torch.tensor([0, 1, 0, 1])
    order = torch.tensor([1, 0, 0, 1]) if ordered else None
    height, width = 19, 31
    pixels = torch.nonzero(torch.rand(2 * height * width, generator=generator) < 0.3).squeeze(1)
    prepared = prepare(points, faces, picture, height, width, None)
    got = subsamples(prepared, pixels, side, height, width, order)
    large = rasterise(
        points * torch.tensor([side, side, 1.0]), faces, picture, 2, height * side, width * side, order=order
    )

    def of_pixels(values):
        cells = values.reshape(2, height, side, width, side).permute(2, 4, 0, 1, 3).reshape(side * side, -1)
        return cells[:, pixels]

    same = of_pixels(large.face) == got.spread(got.face, -1)
    same &= of_pixels(large.mesh) == got.spread(got.mesh, -1)
    # Scaling by a power of two rounds nothing; by three, centres on an edge may fall to either side.
    assert same.all() if side != 3 else same.float().mean() > 0.999
    assert torch.allclose(of_pixels(large.depth)[same], got.spread(got.depth, torch.inf)[same], rtol=1e-4)
    few = subsamples(prepared, pixels, side, height, width, order, max_fragments=50)
    assert torch.equal(few.pixel, got.pixel) and torch.equal(few.depth, got.depth)
    weights = got.barycentric
    assert torch.allclose(weights.sum(0), torch.ones(len(got.pixel)), atol=1e-5)
    z = points[got.mesh, faces[got.face].T, 2]
    assert torch.allclose((weights * z).sum(0), got.depth, rtol=1e-4)


@pytest.mark.parametrize("antialias", [2, 4])
@pytest.mark.parametrize("gesture", ["open", "fist", "ok"])
def test_no_sample_is_spared_where_it_shows(gesture, antialias):
    """All samples of every pixel, at the same places: the same mask, and nearly the same pictures."""
    width, height = 90, 70
    hands = hand_from_gesture(gesture, "left", width, height, centre=(0.4, 0.6), orientation=(30, 25, 10)).hands
    hands += hand_from_gesture("peace", "right", width, height, centre=(0.6, 0.5), orientation=(-30, 5, 60)).hands
    frame = Frame(width, height, hands)
    got = render_layers(frame, ["depth", "normals", "parts", "mask", "visible"], antialias=antialias)
    large = dataclasses.replace(frame, width=width * antialias, height=height * antialias)
    every = render_layers(large, list(got), antialias=1)

    def mean(picture):
        return picture.unflatten(0, (height, antialias)).unflatten(2, (width, antialias)).mean((1, 3))

    assert torch.allclose(got["mask"][0], mean(every["mask"][0]), atol=1e-6)
    for hand in range(2):
        difference = (got["visible"][0][hand] - mean(every["visible"][0][hand])).abs()
        assert float((difference > 1e-6).float().mean()) < 2e-3  # where one hand enters the other
    for name, limit in (("depth", 0.04), ("normals", 0.25), ("parts", 0.75)):
        difference = (got[name][0] - mean(every[name][0])).abs()
        assert float(difference.mean()) < 2e-3 and float((difference > limit).float().mean()) < 2e-3, name


def test_outlines_bound_what_is_drawn():
    scene = build_scene(hand_from_gesture("open", width=64, height=64))
    prepared = prepare(scene.pixels, scene.faces, torch.zeros(1, dtype=torch.int64), 64, 64, "back")
    x, y = outlines(scene.pixels, scene.edges, prepared)
    assert x.shape == y.shape and x.shape[0] == 2 and x.shape[1] > 50
    marked = touched(x, y, 64, 64).reshape(64, 64)
    mask = render_layers(hand_from_gesture("open", width=64, height=64), ["mask"], antialias=8)["mask"][0]
    assert marked[(mask > 0) & (mask < 1)].all()
    assert float(marked.float().mean()) < 0.25
