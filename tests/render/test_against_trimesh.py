"""Depth and coverage against rays cast by trimesh with embreex, where they are installed."""

import pytest
import torch

from handrawer.hand.hands import Frame, hand_from_gesture
from handrawer.render.faces import prepare
from handrawer.render.rasterise import centres
from handrawer.render.scene import build_scene

trimesh = pytest.importorskip("trimesh")
pytest.importorskip("embreex")


@pytest.mark.parametrize("gesture", ["open", "fist", "ok"])
@pytest.mark.parametrize("size", [(160, 120), (90, 130)])
def test_every_pixel_lies_where_the_ray_hits(gesture, size):
    from trimesh.ray.ray_pyembree import RayMeshIntersector

    width, height = size
    hands = hand_from_gesture(gesture, "left", width, height, centre=(0.4, 0.55), orientation=(35, 20, 15)).hands
    hands += hand_from_gesture("peace", "right", width, height, centre=(0.65, 0.45), orientation=(200, 10, -30)).hands
    frame = Frame(width, height, hands)
    scene, camera = build_scene(frame), hands[0].camera
    none = torch.zeros(2, dtype=torch.int64)
    drawn = centres(prepare(scene.pixels, scene.faces, none, height, width, "back"), 1, height, width)
    depth = drawn.spread(drawn.depth, torch.inf).flatten().double()

    # The camera of architecture.md, from pixel centres back to directions, not the project's own projection.
    x = ((torch.arange(width) + 0.5) / width - camera.cx) / camera.focal
    y = ((torch.arange(height) + 0.5) / height - camera.cy) / camera.focal * (height / width)
    rays = torch.stack([x.expand(height, -1), y[:, None].expand(-1, width), torch.ones(height, width)], -1).reshape(
        -1, 3
    )
    count = scene.vertices.shape[1]
    mesh = trimesh.Trimesh(
        scene.vertices.reshape(-1, 3).numpy(), torch.cat([scene.faces, scene.faces + count]).numpy(), process=False
    )
    caster = RayMeshIntersector(mesh)
    places, ray, _ = caster.intersects_location(torch.zeros_like(rays).numpy(), rays.numpy(), multiple_hits=False)
    expected = torch.full((height * width,), torch.inf, dtype=torch.float64)
    expected[torch.from_numpy(ray)] = torch.from_numpy(places[:, 2]).double()

    both = depth.isfinite() & expected.isfinite()
    assert int(both.sum()) > 2000
    # At the outline a ray may pass on the other side by rounding.
    assert int((depth.isfinite() != expected.isfinite()).sum()) <= 3
    difference = (depth[both] - expected[both]).abs()
    assert float(difference.median()) < 1e-6 and float((difference > 1e-4).double().mean()) < 2e-3  # metres
