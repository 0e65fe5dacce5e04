import math

import pytest
import torch

from handrawer.render import rasterise as module
from handrawer.render.rasterise import Fragments, interpolate, rasterise
from handrawer.render.zbuffer import SeparateBuffer


def random_scene(generator, meshes=3, faces=6, height=19, width=31, pictures=2):
    points = torch.rand(meshes, 3 * faces, 3, generator=generator)
    points = points * torch.tensor([width * 1.6, height * 1.6, 2.0]) - torch.tensor([width * 0.3, height * 0.3, -0.2])
    return points, torch.arange(3 * faces).reshape(-1, 3), torch.arange(meshes) % pictures


def same(a: Fragments, b: Fragments) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("face", "mesh", "barycentric", "depth"))


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_a_loop_over_faces(scenes, seed, ordered):
    generator = torch.Generator().manual_seed(seed)
    points, faces, picture = random_scene(generator, meshes=5)
    order = torch.tensor([3, -1, 0, -1, 7]) if ordered else None
    got = rasterise(points, faces, picture, 2, 19, 31, order=order)
    face, mesh, depth = scenes.reference(points, faces, picture, 2, 19, 31, order)
    assert torch.equal(got.face, face)
    assert torch.equal(got.mesh, mesh)
    assert torch.allclose(got.depth.double(), depth, rtol=1e-4)
    assert (got.face >= 0).float().mean() > 0.2


@pytest.mark.parametrize("limit", [1, 7, 100, 5000])
@pytest.mark.parametrize("ordered", [False, True])
def test_pieces_change_nothing(generator, limit, ordered):
    points, faces, picture = random_scene(generator, meshes=4, faces=9)
    order = torch.tensor([1, 0, 1, 2]) if ordered else None
    whole = rasterise(points, faces, picture, 2, 19, 31, order=order)
    assert same(whole, rasterise(points, faces, picture, 2, 19, 31, order=order, max_fragments=limit))


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("limit", [3, 200, None])
def test_32_bit_buffer_gives_the_same(generator, monkeypatch, limit, ordered):
    points, faces, picture = random_scene(generator, meshes=6, faces=9)
    order = torch.tensor([1, 0, 1, 2, 2, -5]) if ordered else None
    packed = rasterise(points, faces, picture, 2, 19, 31, order=order)
    monkeypatch.setattr(module, "make_buffer", SeparateBuffer)
    assert same(packed, rasterise(points, faces, picture, 2, 19, 31, order=order, max_fragments=limit))


def test_same_bits_twice_and_in_another_order_of_faces(generator):
    points, faces, picture = random_scene(generator, meshes=4, faces=20)
    first = rasterise(points, faces, picture, 2, 19, 31)
    assert same(first, rasterise(points, faces, picture, 2, 19, 31))
    turned = rasterise(points, faces.flip(0), picture, 2, 19, 31)
    assert torch.equal(first.depth, turned.depth)


def test_a_surface_has_no_holes(generator):
    # A net of slim random triangles over the whole picture, with vertices on and off pixel centres.
    size = 40
    grid = torch.stack(torch.meshgrid(torch.arange(-2, 43.0), torch.arange(-2, 43.0), indexing="ij"), -1)
    corner = torch.arange(44 * 45).reshape(44, 45)[:, :44].flatten()
    quads = torch.stack([corner, corner + 1, corner + 45, corner + 1, corner + 46, corner + 45], 1).reshape(-1, 3)
    for jitter in (0.0, 0.49, 0.5):
        shift = torch.rand(grid.shape, generator=generator) * jitter
        points = torch.cat([grid + 0.5 + shift, torch.rand(45, 45, 1, generator=generator) + 1], -1).reshape(1, -1, 3)
        got = rasterise(points, quads, torch.tensor([0]), 1, size, size)
        assert got.covered.all()


def test_barycentrics_are_perspective_correct(generator):
    points, faces, picture = random_scene(generator)
    got = rasterise(points, faces, picture, 2, 19, 31)
    covered = got.covered
    assert torch.allclose(got.barycentric.sum(-1)[covered], torch.ones(int(covered.sum())), atol=1e-5)
    assert (got.barycentric >= 0).all()
    # Depth is linear on the face in space, so interpolating it must give the depth that was found.
    depth = interpolate(got, points[..., 2:], faces)[..., 0]
    assert torch.allclose(depth[covered], got.depth[covered], rtol=1e-4)
    # x / z, y / z interpolated in space and projected again must land on the pixel centre.
    place = interpolate(got, points[..., :2] * points[..., 2:], faces) / depth[..., None]
    y, x = torch.meshgrid(torch.arange(19) + 0.5, torch.arange(31) + 0.5, indexing="ij")
    centres = torch.stack([x, y], -1).expand(2, -1, -1, -1)
    assert torch.allclose(place[covered], centres[covered], atol=1e-2)


def test_sphere_area_depth_and_normals(scenes):
    vertices, faces = scenes.icosphere(4)
    radius, distance, focal, size = 0.5, 4.0, 300.0, 128
    points = scenes.to_pixels(vertices * radius + torch.tensor([0, 0, distance]), focal, size, size)[None]
    got = rasterise(points, faces, torch.tensor([0]), 1, size, size, cull="back")
    # The silhouette of a sphere on the axis is a disc of this radius.
    disc = focal * radius / math.sqrt(distance**2 - radius**2)
    assert float(got.covered.sum()) == pytest.approx(math.pi * disc**2, rel=0.01)
    assert float(got.depth.min()) == pytest.approx(distance - radius, abs=1e-3)
    normals = interpolate(got, vertices, faces)[0]
    assert normals[64, 64].tolist() == pytest.approx([0, 0, -1], abs=0.05)
    assert normals[64, 64 + 30][0] > 0.7 and normals[64 + 30, 64][1] > 0.7


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("inside_out", [False, True])
def test_culling_finds_the_winding(scenes, mirror, inside_out):
    vertices, faces = scenes.icosphere(2)
    if mirror:
        vertices = vertices * torch.tensor([-1.0, 1, 1])
    if inside_out:
        faces = faces.flip(1)
    points = scenes.to_pixels(vertices * 0.5 + torch.tensor([0.2, 0.1, 2.0]), 40, 48, 32)[None]
    whole = rasterise(points, faces, torch.tensor([0]), 1, 32, 48)
    culled = rasterise(points, faces, torch.tensor([0]), 1, 32, 48, cull="back")
    assert same(whole, culled)
    assert int(whole.covered.sum()) > 200


def test_mirrored_and_plain_meshes_in_one_batch(scenes):
    vertices, faces = scenes.tetrahedron(0.3)
    # Turned: an edge through pixel centres on the outline belongs to a front and a back face alike.
    vertices = vertices @ torch.linalg.qr(torch.tensor([[1.0, 0.3, 0.2], [0.1, 1.0, -0.4], [0.3, 0.2, 0.9]]))[0]
    both = torch.stack([vertices, vertices * torch.tensor([-1.0, 1, 1])]) + torch.tensor([0, 0, 2.0])
    points = scenes.to_pixels(both, 60, 33, 33)
    picture = torch.tensor([0, 1])
    whole = rasterise(points, faces, picture, 2, 33, 33)
    assert same(whole, rasterise(points, faces, picture, 2, 33, 33, cull="back"))
    assert torch.equal(whole.covered[0].flip(1), whole.covered[1]) and int(whole.covered.sum()) > 200


def test_interpenetrating_meshes_and_order(scenes):
    vertices, faces = scenes.icosphere(3)
    centres = torch.tensor([[-0.2, 0, 3.0], [0.2, 0, 3.0]])
    points = scenes.to_pixels(vertices * 0.5 + centres[:, None], 80, 64, 48)
    picture = torch.tensor([0, 0])
    got = rasterise(points, faces, picture, 1, 48, 64, cull="back")
    # By symmetry they meet in the plane x = 0, in the middle of the picture.
    columns = torch.arange(64).expand(48, -1)
    assert (columns[got.mesh[0] == 0] < 32).all() and (columns[got.mesh[0] == 1] >= 32).all()
    alone = [rasterise(points[k : k + 1], faces, torch.tensor([0]), 1, 48, 64).covered for k in (0, 1)]
    front = rasterise(points, faces, picture, 1, 48, 64, cull="back", order=torch.tensor([5, 2]))
    assert torch.equal(front.mesh == 1, alone[1])
    assert torch.equal(front.mesh == 0, alone[0] & ~alone[1])


def test_near_broken_and_tiny_faces_are_dropped():
    good = [[2.0, 2, 1], [14, 2, 1], [2, 14, 1]]
    bad = [
        [[2.0, 2, 1], [14, 2, 1], [2, 14, -1]],
        [[2.0, 2, 1], [14, 2, 1], [2, 14, 1e-4]],
        [[2.0, 2, 1], [14, 2, math.nan], [2, 14, 1]],
        [[2.0, math.inf, 1], [14, 2, 1], [2, 14, 1]],
        [[2.0, 2, 1], [14, 2, math.inf], [2, 14, 1]],
        [[2.6, 2.6, 1], [2.9, 2.6, 1], [2.6, 2.9, 1]],
        [[2.0, 2, 1], [14, 14, 1], [8, 8, 1]],
    ]
    faces = torch.tensor([[0, 1, 2]])
    got = rasterise(torch.tensor([good, *bad]), faces, torch.arange(len(bad) + 1), len(bad) + 1, 16, 16)
    assert got.covered.flatten(1).any(1).tolist() == [True] + [False] * len(bad)
    assert got.depth.isnan().sum() == 0 and got.barycentric.isnan().sum() == 0


def test_huge_faces_cross_the_edges():
    points = torch.tensor([[[-1e9, -1e9, 1.0], [1e9, -1e9, 1.0], [0, 1e9, 1.0]]])
    got = rasterise(points, torch.tensor([[0, 1, 2]]), torch.tensor([0]), 1, 7, 11)
    assert got.covered.all()


def test_one_pixel_no_mesh_no_face_no_picture():
    triangle = torch.tensor([[[-5.0, -5, 2], [9, -5, 2], [-5, 9, 2]]])
    faces = torch.tensor([[0, 1, 2]])
    one = rasterise(triangle, faces, torch.tensor([0]), 1, 1, 1)
    assert one.face.tolist() == [[[0]]] and one.depth.tolist() == [[[2.0]]]
    none = torch.zeros(0, dtype=torch.int64)
    assert not rasterise(torch.zeros(0, 3, 3), faces, none, 2, 4, 5, order=none).covered.any()
    assert not rasterise(triangle, faces[:0], torch.tensor([0]), 2, 4, 5, cull="back").covered.any()
    assert rasterise(torch.zeros(0, 3, 3), faces, none, 0, 4, 5).face.shape == (0, 4, 5)
    empty = rasterise(torch.zeros(0, 3, 3), faces, none, 2, 4, 5)
    assert interpolate(empty, torch.zeros(0, 3, 7), faces).shape == (2, 4, 5, 7)
    assert torch.isinf(empty.depth).all() and (empty.mesh == -1).all()


def test_interpolation_is_differentiable_in_the_attributes(generator):
    points, faces, picture = random_scene(generator)
    got = rasterise(points, faces, picture, 2, 19, 31)
    attributes = torch.rand(3, points.shape[1], 2, generator=generator, requires_grad=True)
    interpolate(got, attributes, faces).sum().backward()
    assert attributes.grad is not None
    # Weights of a pixel sum to one, so the whole gradient counts the drawn pixels once a channel.
    assert float(attributes.grad.sum()) == pytest.approx(2 * int(got.covered.sum()), rel=1e-4)


def test_shared_attributes_equal_repeated_ones(generator):
    points, faces, picture = random_scene(generator)
    got = rasterise(points, faces, picture, 2, 19, 31)
    attributes = torch.rand(points.shape[1], 2, generator=generator)
    assert torch.equal(interpolate(got, attributes, faces), interpolate(got, attributes.expand(3, -1, -1), faces))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"points": torch.zeros(2, 3)}, "points must be"),
        ({"faces": torch.zeros(2, 4, dtype=torch.int64)}, "faces must be"),
        ({"picture": torch.zeros(3, dtype=torch.int64)}, "picture must be one"),
        ({"picture": torch.tensor([0, 2])}, "0..1"),
        ({"order": torch.zeros(3)}, "order must hold"),
        ({"height": 0}, "cannot draw"),
        ({"cull": "front"}, "cull must be"),
    ],
)
def test_what_does_not_fit_is_refused(change, said):
    arguments = {
        "points": torch.ones(2, 3, 3),
        "faces": torch.tensor([[0, 1, 2]]),
        "picture": torch.tensor([0, 1]),
        "pictures": 2,
        "height": 4,
        "width": 4,
    }
    with pytest.raises(ValueError, match=said):
        rasterise(**{**arguments, **change})
