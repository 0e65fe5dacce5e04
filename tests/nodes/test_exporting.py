"""Meshes to files and to the host's 3D nodes."""

import importlib
import json
import struct
from types import SimpleNamespace

import pytest
import torch

from handrawer.hand.hands import Frame, Hands, hand_from_gesture


@pytest.fixture(scope="module")
def hands_of(plugin):
    module = importlib.import_module(f"{plugin.__name__}.handrawer.hand.hands")
    return lambda *frames: module.Hands.from_json(Hands(frames).to_json())


@pytest.fixture
def export(nodes_package, nodes, tmp_path, monkeypatch):
    import folder_paths

    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    node = nodes("exporting").HanDrawerExportMesh

    def call(hands, filename_prefix="mesh/hands", format="glb"):
        with torch.inference_mode():
            return node.execute(hands=hands, filename_prefix=filename_prefix, format=format)

    call.folder = tmp_path
    return call


def two() -> Frame:
    left = hand_from_gesture("open", "left", 96, 64, centre=(0.3, 0.5)).hands
    return Frame(96, 64, left + hand_from_gesture("fist", "right", 96, 64, centre=(0.7, 0.5)).hands)


def test_a_file_for_each_picture_with_hands(export, hands_of):
    found = export(hands_of(two(), Frame(96, 64), two()))
    mesh, file, note = found.args
    assert file == "mesh/hands_00001_.glb" and note == "Picture 1: no hand, no file."
    assert [one["filename"] for one in found.ui["3d"]] == ["hands_00001_.glb", "hands_00002_.glb"]
    assert all(one["subfolder"] == "mesh" and one["type"] == "output" for one in found.ui["3d"])
    data = (export.folder / file).read_bytes()
    assert data[:4] == b"glTF" and struct.unpack_from("<I", data, 8)[0] == len(data)
    names = [node["name"] for node in json.loads(data[20 : 20 + struct.unpack_from("<I", data, 12)[0]])["nodes"]]
    assert names == ["hand 0 (left)", "hand 1 (right)"]
    assert mesh.vertices.shape[0] == mesh.faces.shape[0] == 4
    text = export(hands_of(two()), format="obj").args[1]
    assert (export.folder / text).read_text().count("\no hand_") == 2


def test_the_host_s_save_glb_takes_the_mesh(export, hands_of):
    module = importlib.import_module("comfy_extras.nodes_hunyuan3d")
    mesh = export(hands_of(two())).args[0]
    save = module.SaveGLB
    if hasattr(save, "execute"):
        clone = type(save.__name__, (save,), {"hidden": SimpleNamespace(prompt=None, extra_pnginfo=None)})
        saved = clone.execute(mesh, "mesh/host").ui["3d"]
    else:  # 0.3.64
        saved = save().save(mesh, "mesh/host")["ui"]["3d"]
    assert len(saved) == 2
    assert all((export.folder / "mesh" / one["filename"]).stat().st_size > 10_000 for one in saved)


def test_no_hands_flow_on(export, hands_of):
    found = export(hands_of(Frame(8, 8)))
    mesh, file, note = found.args
    assert file == "" and note == "No hand, no file." and mesh.vertices.shape[0] == 0
    assert found.ui["3d"] == [] and found.ui["text"] == ("No hand, no file.",)
    assert not list(export.folder.rglob("*.*"))


def test_nothing_is_written_outside_the_output_folder(export, hands_of):
    with pytest.raises(ValueError, match=r"^filename_prefix: "):
        export(hands_of(two()), "../elsewhere")


def test_meshes_of_two_sizes_share_a_batch(nodes_package, nodes):
    mesh = SimpleNamespace(vertices=torch.rand(4, 3), faces=torch.tensor([[0, 1, 2], [1, 2, 3]]))
    small = SimpleNamespace(vertices=torch.rand(3, 3), faces=torch.tensor([[0, 1, 2]]))
    both = nodes("exporting")._stacked([mesh, small])
    assert both.vertices.shape == (2, 4, 3) and both.faces.tolist()[1] == [[0, 1, 2], [0, 0, 0]]
    assert torch.equal(both.vertices[1, 3], small.vertices[0])
