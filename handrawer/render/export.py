"""The posed meshes as files for 3D programs: glTF (one binary .glb file) and Wavefront OBJ.

Both have x to the right, y up and z to the viewer, in metres, with the camera at the origin: the camera frame turned by
half a turn about x. Faces are wound counter-clockwise seen from outside, for left hands too, and closed.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..hand.hands import Frame
from ..hand.model import HandModel
from .faces import winding
from .scene import build_scene

_TURN = (1.0, -1.0, -1.0)

_FLOAT, _UINT = 5126, 5125  # glTF's component types
_VERTICES, _INDICES = 34962, 34963  # glTF's buffer targets


@dataclass(frozen=True)
class Mesh:
    """One posed hand."""

    name: str
    """As in the overlay: "hand 0 (right)"."""
    vertices: Tensor
    """[V, 3] float32 metres, x right, y up, z to the viewer."""
    normals: Tensor
    """[V, 3] float32, unit length, out of the hand; zero where undefined."""
    faces: Tensor
    """[F, 3] int64."""


def hand_meshes(frame: Frame, models: Mapping[str, HandModel] | None = None) -> list[Mesh]:
    """The enabled hands of a picture, in their order; models: as in render_layers."""
    scene = build_scene(frame, models, "cpu")
    turn = torch.tensor(_TURN)
    outward = winding(scene.pixels, scene.faces) > 0
    meshes = []
    for place, vertices, normals, right_way in zip(
        scene.places, scene.vertices, scene.normals(), outward.tolist(), strict=True
    ):
        # Of the list that hands of several models share, each keeps its own.
        own = torch.nonzero(torch.isfinite(vertices).all(1)).squeeze(1)
        number = torch.full((len(vertices),), -1)
        number[own] = torch.arange(len(own))
        faces = number[scene.faces]
        faces = faces[(faces >= 0).all(1)]
        meshes.append(
            Mesh(
                name=f"hand {place} ({frame.hands[place].side})",
                vertices=vertices[own] * turn,
                normals=normals[own] * turn,
                faces=faces if right_way else faces.flip(1),
            )
        )
    return meshes


def to_obj(meshes: list[Mesh]) -> str:
    """The text of an .obj file, an object for each hand."""
    lines = ["# HanDrawer, metres"]
    first = 1
    for mesh in meshes:
        lines.append("o " + mesh.name.replace(" ", "_"))
        lines += [f"v {x:.7g} {y:.7g} {z:.7g}" for x, y, z in mesh.vertices.tolist()]
        lines += [f"vn {x:.5f} {y:.5f} {z:.5f}" for x, y, z in mesh.normals.tolist()]
        lines += [f"f {a}//{a} {b}//{b} {c}//{c}" for a, b, c in (mesh.faces + first).tolist()]
        first += len(mesh.vertices)
    return "\n".join(lines) + "\n"


def to_glb(meshes: list[Mesh]) -> bytes:
    """The bytes of a .glb file (glTF 2.0), a node for each hand; without hands an empty scene."""
    data, views, accessors, gltf_meshes = bytearray(), [], [], []

    def add(values: Tensor, target: int, **accessor) -> int:
        raw = values.contiguous().numpy().tobytes()
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": len(raw), "target": target})
        accessors.append({"bufferView": len(views) - 1, **accessor})
        data.extend(raw)
        return len(accessors) - 1

    for mesh in meshes:
        count, place = len(mesh.vertices), mesh.vertices.to(torch.float32)
        bounds = {"min": place.amin(0).tolist(), "max": place.amax(0).tolist()}
        position = add(place, _VERTICES, componentType=_FLOAT, count=count, type="VEC3", **bounds)
        # glTF wants unit normals everywhere.
        normals = torch.where(mesh.normals.norm(dim=1, keepdim=True) > 0.5, mesh.normals, torch.tensor([0.0, 0, 1]))
        normal = add(normals, _VERTICES, componentType=_FLOAT, count=count, type="VEC3")
        corners = mesh.faces.to(torch.int32).flatten()  # below 2**31, the same bits as unsigned
        index = add(corners, _INDICES, componentType=_UINT, count=len(corners), type="SCALAR")
        primitive = {"attributes": {"POSITION": position, "NORMAL": normal}, "indices": index, "mode": 4}
        gltf_meshes.append({"name": mesh.name, "primitives": [primitive]})
    document: dict = {"asset": {"version": "2.0", "generator": "HanDrawer"}, "scene": 0, "scenes": [{}]}
    if meshes:
        document["scenes"] = [{"nodes": list(range(len(meshes)))}]
        document["nodes"] = [{"name": mesh.name, "mesh": place} for place, mesh in enumerate(meshes)]
        document |= {"meshes": gltf_meshes, "accessors": accessors, "bufferViews": views}
        document["buffers"] = [{"byteLength": len(data)}]
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)  # chunks are multiples of four bytes; the data are
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    if data:
        chunks += struct.pack("<I4s", len(data), b"BIN\0") + bytes(data)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
