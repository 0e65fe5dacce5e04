"""Projection, and placing one picture in another: uniform, and the same in 2D and in the camera."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handrawer.hand.camera import (
    Camera,
    contain,
    cover,
    crop_around,
    default_camera,
    place_at_box,
    project,
    unproject,
)

sizes = st.integers(1, 4000)
POINTS = torch.tensor([[0.1, -0.05, 0.6], [-0.2, 0.1, 0.5], [0.0, 0.0, 1.0]], dtype=torch.float64)


def box_of(draw):
    x0, y0 = draw(st.floats(-0.5, 0.9)), draw(st.floats(-0.5, 0.9))
    return (x0, y0, x0 + draw(st.floats(0.01, 1.0)), y0 + draw(st.floats(0.01, 1.0)))


@st.composite
def placements(draw):
    source, target = (draw(sizes), draw(sizes)), (draw(sizes), draw(sizes))
    kind = draw(st.sampled_from(["contain", "cover", "box", "crop"]))
    if kind == "contain":
        return contain(*source, *target)
    if kind == "cover":
        return cover(*source, *target)
    if kind == "box":
        return place_at_box(box_of(draw), *source, box_of(draw), *target)
    return crop_around(box_of(draw), *source, *target, margin=draw(st.floats(0, 1)))


def test_projection_is_the_formula():
    camera = Camera(focal=1.2, cx=0.4, cy=0.6)
    u, v = project(torch.tensor([0.1, 0.2, 0.5]), camera, 300, 200)
    assert float(u) == pytest.approx(1.2 * 0.1 / 0.5 + 0.4)
    assert float(v) == pytest.approx(1.2 * 0.2 / 0.5 * 300 / 200 + 0.6)


def test_pixels_are_square():
    """A sphere's worth of points is as wide as high in pixels, whatever the picture's shape."""
    circle = torch.tensor([[0.1, 0.0, 0.5], [0.0, 0.1, 0.5]])
    at = (project(circle, default_camera(900, 300), 900, 300) - 0.5) * torch.tensor([900.0, 300.0])
    assert float(at[0, 0]) == pytest.approx(float(at[1, 1]), rel=1e-6)


def test_unproject_is_the_inverse():
    camera = Camera(1.3, 0.45, 0.52)
    flat = project(POINTS, camera, 640, 360)
    assert torch.allclose(unproject(flat, POINTS[:, 2], camera, 640, 360), POINTS)


@settings(max_examples=200, deadline=None)
@given(placements())
def test_projection_of_the_placed_is_the_placed_projection(placement):
    camera = Camera(1.4, 0.47, 0.53)
    source = placement.points(project(POINTS, camera, placement.source_width, placement.source_height))
    target = project(POINTS, placement.camera(camera), placement.target_width, placement.target_height)
    assert torch.allclose(source, target, rtol=1e-9, atol=1e-9)


@settings(max_examples=100, deadline=None)
@given(placements())
def test_placements_are_uniform_and_have_inverses(placement):
    here = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    there = placement.points(here)
    source = here * torch.tensor([placement.source_width, placement.source_height])
    target = there * torch.tensor([placement.target_width, placement.target_height])
    for corner in (1, 2):
        distance = (target[corner] - target[0]).norm() / (source[corner] - source[0]).norm()
        assert float(distance) == pytest.approx(placement.scale, rel=1e-9)
    assert torch.allclose(placement.inverse().points(there), here, atol=1e-9)
    again = placement.inverse().camera(placement.camera(Camera(1.1, 0.3, 0.6)))
    assert (again.focal, again.cx, again.cy) == pytest.approx((1.1, 0.3, 0.6), abs=1e-9)


def test_three_by_two_on_a_square():
    """848 x 565 to 256 x 256: whole width with bars above and below, or whole height with the sides cut."""
    whole, filled = contain(848, 565, 256, 256), cover(848, 565, 256, 256)
    assert whole.scale == pytest.approx(256 / 848)
    assert filled.scale == pytest.approx(256 / 565)
    corners = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    bar = (256 - 565 * 256 / 848) / 2 / 256
    assert whole.points(corners).flatten().tolist() == pytest.approx([0, bar, 1, 1 - bar])
    side = (256 - 848 * 256 / 565) / 2 / 256
    assert filled.points(corners).flatten().tolist() == pytest.approx([side, 0, 1 - side, 1])


def test_pixel_centres_meet():
    """Half the size: the centre of two pixels' seam is the centre of the one that they become."""
    half = contain(64, 32, 32, 16)
    seam = torch.tensor([2.0 / 64, 2.0 / 32], dtype=torch.float64)
    assert (half.points(seam) * torch.tensor([32, 16])).tolist() == pytest.approx([1, 1])


def test_place_at_box_centres_and_fits():
    placement = place_at_box((0.2, 0.2, 0.4, 0.8), 100, 50, (0.5, 0.5, 1.0, 1.0), 200, 200)
    x0, y0, x1, y1 = placement.box(torch.tensor([0.2, 0.2, 0.4, 0.8], dtype=torch.float64)).tolist()
    assert (x0 + x1) / 2 == pytest.approx(0.75)
    assert (y0 + y1) / 2 == pytest.approx(0.75)
    assert max(x1 - x0, y1 - y0) == pytest.approx(0.5), "as large as it fits"


def test_crop_leaves_the_margin():
    placement = crop_around((0.4, 0.4, 0.6, 0.6), 100, 100, 64, 64, margin=0.25)
    placed = placement.box(torch.tensor([0.4, 0.4, 0.6, 0.6], dtype=torch.float64))
    assert placed.tolist() == pytest.approx([1 / 6, 1 / 6, 5 / 6, 5 / 6])


@pytest.mark.parametrize(
    "broken",
    [
        lambda: contain(0, 10, 10, 10),
        lambda: cover(10, 10, 10, 0),
        lambda: place_at_box((0.5, 0.5, 0.5, 0.9), 10, 10, (0, 0, 1, 1), 10, 10),
        lambda: crop_around((0, 0, 1, 1), 10, 10, 10, 10, margin=-0.5),
        lambda: Camera(focal=0.0),
        lambda: Camera(focal=math.nan),
        lambda: Camera(focal=1.0, cx=math.inf),
    ],
)
def test_what_cannot_be_is_refused(broken):
    with pytest.raises(ValueError):
        broken()
