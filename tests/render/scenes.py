"""Small scenes with known answers, and a rasteriser that loops over faces to compare with."""

from __future__ import annotations

import torch
from torch import Tensor

TETRAHEDRON = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])


def tetrahedron(size: float = 1.0) -> tuple[Tensor, Tensor]:
    """Vertices [4, 3] and faces [4, 3], outward counter-clockwise in a right-handed frame."""
    vertices = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * size
    a, b, c = vertices[TETRAHEDRON].unbind(1)
    outward = (torch.linalg.cross(b - a, c - a) * (a + b + c)).sum(1)
    assert (outward > 0).all()
    return vertices, TETRAHEDRON


def icosphere(level: int = 2) -> tuple[Tensor, Tensor]:
    """Unit sphere, outward counter-clockwise: an octahedron whose faces are cut in four `level` times."""
    vertices = [(1.0, 0.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, -1.0)]
    faces = [(0, 2, 4), (2, 1, 4), (1, 3, 4), (3, 0, 4), (2, 0, 5), (1, 2, 5), (3, 1, 5), (0, 3, 5)]
    for _ in range(level):
        middles: dict[tuple[int, int], int] = {}

        def middle(a: int, b: int, middles=middles) -> int:
            key = (min(a, b), max(a, b))
            if key not in middles:
                point = [vertices[a][k] + vertices[b][k] for k in range(3)]
                length = sum(v * v for v in point) ** 0.5
                vertices.append((point[0] / length, point[1] / length, point[2] / length))
                middles[key] = len(vertices) - 1
            return middles[key]

        cut = []
        for a, b, c in faces:
            ab, bc, ca = middle(a, b), middle(b, c), middle(c, a)
            cut += [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        faces = cut
    return torch.tensor(vertices), torch.tensor(faces)


def to_pixels(points: Tensor, focal: float, width: int, height: int) -> Tensor:
    """Camera frame (x right, y down, z away) to the (x px, y px, z) that rasterise takes; focal in pixels."""
    x, y, z = points.unbind(-1)
    return torch.stack([focal * x / z + width / 2, focal * y / z + height / 2, z], -1)


def reference(points: Tensor, faces: Tensor, picture: Tensor, pictures: int, height: int, width: int, order=None):
    """face, mesh, depth by a loop over meshes and faces in float64, no culling."""
    face = torch.full((pictures, height, width), -1)
    mesh = torch.full((pictures, height, width), -1)
    depth = torch.full((pictures, height, width), torch.inf, dtype=torch.float64)
    rank = torch.full((pictures, height, width), 2**40)
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    for n, corners in enumerate(points.double()):
        b = int(picture[n])
        mine = 0 if order is None else int(order[n])
        for f, (i, j, k) in enumerate(faces.tolist()):
            p, q, r = corners[i], corners[j], corners[k]
            if min(p[2], q[2], r[2]) <= 1e-3:
                continue
            matrix = torch.stack([torch.stack([p[0], q[0], r[0]]), torch.stack([p[1], q[1], r[1]]), torch.ones(3)])
            if abs(float(torch.linalg.det(matrix.double()))) < 1e-12:
                continue
            where = torch.stack([x, y, torch.ones_like(x)]).double().reshape(3, -1)
            weight = torch.linalg.solve(matrix.double(), where).reshape(3, height, width)
            z = 1 / (weight[0] / p[2] + weight[1] / q[2] + weight[2] / r[2])
            inside = (weight >= 0).all(0)
            nearer = inside & ((mine < rank[b]) | ((mine == rank[b]) & (z < depth[b])))
            face[b][nearer], mesh[b][nearer], rank[b][nearer] = f, n, mine
            depth[b][nearer] = z[nearer]
    return face, mesh, depth
