import dataclasses
import io
import json
import struct

import pytest
import torch

from handrawer.hand.hands import Frame, hand_from_gesture
from handrawer.render.export import hand_meshes, to_glb, to_obj


def two() -> Frame:
    left = hand_from_gesture("open", "left", 200, 100, centre=(0.3, 0.5)).hands
    right = hand_from_gesture("fist", "right", 200, 100, centre=(0.7, 0.5), orientation=(120, 30, 0)).hands
    return Frame(200, 100, left + right)


def volume(vertices: torch.Tensor, faces: torch.Tensor) -> float:
    a, b, c = vertices[faces].double().unbind(1)
    return float((a * torch.linalg.cross(b, c)).sum() / 6)


def test_meshes_stand_in_a_frame_of_their_own():
    frame = two()
    meshes = hand_meshes(frame)
    assert [mesh.name for mesh in meshes] == ["hand 0 (left)", "hand 1 (right)"]
    for mesh, hand in zip(meshes, frame.hands, strict=True):
        assert torch.equal(mesh.vertices * torch.tensor([1, -1, -1]), hand.vertices.float())
        # Wound outward, and about as large as a hand with a stub of forearm: some 0.3 to 0.9 litres.
        assert 2e-4 < volume(mesh.vertices, mesh.faces) < 1e-3
        assert torch.allclose(mesh.normals.norm(dim=1), torch.ones(len(mesh.normals)), atol=1e-4)
        outward = (mesh.vertices - mesh.vertices.mean(0)) * mesh.normals
        assert float((outward.sum(1) > 0).float().mean()) > 0.6
    off = Frame(200, 100, (frame.hands[0].replace(enabled=False), frame.hands[1]))
    assert [mesh.name for mesh in hand_meshes(off)] == ["hand 1 (right)"]


def test_glb_follows_the_specification():
    data = to_glb(hand_meshes(two()))
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size, kind = struct.unpack_from("<I4s", data, 12)
    document = json.loads(data[20 : 20 + size])
    assert kind == b"JSON" and size % 4 == 0 and document["asset"]["version"] == "2.0"
    binary, kind = struct.unpack_from("<I4s", data, 20 + size)
    assert kind == b"BIN\0" and binary == document["buffers"][0]["byteLength"] == len(data) - 28 - size
    for view in document["bufferViews"]:
        assert view["byteOffset"] % 4 == 0 and view["byteOffset"] + view["byteLength"] <= binary


def test_no_hands_are_an_empty_scene():
    data = to_glb(hand_meshes(Frame(8, 8)))
    (size,) = struct.unpack_from("<I", data, 12)
    assert json.loads(data[20:])["scenes"] == [{}] and len(data) == 20 + size
    assert to_obj(hand_meshes(Frame(8, 8))) == "# HanDrawer, metres\n"


@pytest.mark.parametrize("kind", ["glb", "obj"])
def test_another_reader_gets_the_same_meshes(kind):
    trimesh = pytest.importorskip("trimesh")
    meshes = hand_meshes(two())
    data = to_glb(meshes) if kind == "glb" else to_obj(meshes).encode()
    read = trimesh.load(io.BytesIO(data), file_type=kind, process=False)
    found = sorted(read.dump(), key=lambda one: one.bounds[0][0]) if kind == "glb" else [read]
    expected = [mesh.vertices[mesh.faces] for mesh in meshes]
    expected = expected if kind == "glb" else [torch.cat(expected)]  # that reader joins an .obj file's objects
    for again, corners in zip(found, expected, strict=True):
        points, faces = torch.from_numpy(again.vertices.copy()).float(), torch.from_numpy(again.faces.copy()).long()
        assert torch.allclose(points[faces], corners, atol=2e-7)
        assert again.is_watertight and again.volume > 2e-4


def test_hands_of_two_models_are_cut_apart():
    from handrawer.hand.model import load_open_hand

    model, frame = load_open_hand(), two()
    other = dataclasses.replace(model, name="mano", faces=model.faces.flip(0))
    mixed = Frame(200, 100, (frame.hands[0], frame.hands[1].replace(model="mano")))
    expected = hand_meshes(frame)
    for mesh, plain in zip(hand_meshes(mixed, {"mano": other}), expected, strict=True):
        assert torch.equal(mesh.vertices, plain.vertices)
        assert volume(mesh.vertices, mesh.faces) == pytest.approx(volume(plain.vertices, plain.faces), rel=1e-6)
