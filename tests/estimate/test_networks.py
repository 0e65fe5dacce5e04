"""The two networks in torch: what they compute, that they are built once, and the file they come from."""

import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch.nn import functional as F

from handrawer.estimate import networks
from handrawer.estimate.landmarks import LandmarkDetector
from handrawer.estimate.networks import HAND_SIDE, PALM_SIDE, hand_network, palm_network

ROOT = Path(__file__).resolve().parents[2]


def load_script():
    spec = importlib.util.spec_from_file_location("convert_landmarker", ROOT / "scripts" / "convert_landmarker.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ramps(side: int) -> torch.Tensor:
    """Two pictures made of waves, the same everywhere."""
    t = torch.arange(side) / side
    y, x = torch.meshgrid(t, t, indexing="ij")
    waves = [torch.sin(40 * x + 7 * y), torch.cos(23 * y - 5 * x), torch.sin(31 * x * y + 2)]
    picture = torch.stack(waves)[None] / 2 + 0.5
    return torch.cat([picture, picture.flip(-1) ** 2])


def test_the_script_makes_the_file_again_byte_for_byte():
    assert load_script().convert(networks.WEIGHTS_FILE.with_name("hand_landmarker.task")) == (
        networks.WEIGHTS_FILE.read_bytes()
    )


def test_what_is_no_task_is_refused(tmp_path, capsys):
    wrong = tmp_path / "wrong.task"
    wrong.write_bytes(b"PK nothing")
    assert load_script().main(["--task", str(wrong), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("error: ") and not (tmp_path / "out").exists()


@torch.inference_mode()
def test_outputs_are_those_of_tensorflow_lite():
    """Figures of TensorFlow Lite's own interpreter (ai-edge-litert 2.3.0) on the same two pictures."""
    points, presence, right, world = hand_network()(ramps(HAND_SIDE))
    assert points.shape == (2, 63) and world.shape == (2, 63)
    boxes, scores = palm_network()(ramps(PALM_SIDE))
    assert boxes.shape == (2, 2016, 18) and scores.shape == (2, 2016, 1)
    found = {
        "points": points[:, [0, 1, 24, 25, 62]],
        "presence": presence[:, 0],
        "right": right[:, 0],
        "world": world[:, [0, 1, 24, 25, 62]],
        "boxes": boxes[:, [0, 700, 1500, 2015], 5],
        "scores": scores[:, [0, 700, 1500, 2015], 0],
    }
    for name, values in EXPECTED.items():
        tolerance = {"points": 1e-2, "boxes": 1e-2, "scores": 1e-3}.get(name, 1e-4)
        assert torch.allclose(found[name], torch.tensor(values), atol=tolerance), name


def test_one_batch_is_the_same_as_one_by_one(example):
    crop = F.interpolate(example[:, :, 384:].permute(0, 3, 1, 2), size=(HAND_SIDE, HAND_SIDE), mode="area")
    with torch.inference_mode():
        together = hand_network()(torch.cat([crop, crop.flip(-1)]))
        alone = hand_network()(crop)
    for a, b in zip(together, alone, strict=True):
        assert torch.allclose(a[:1], b, atol=1e-3)


def test_networks_are_built_once(monkeypatch, example):
    builds = []
    read = networks._read
    monkeypatch.setattr(networks, "_read", lambda path: builds.append(path) or read(path))
    networks.forget_networks()
    with torch.inference_mode():
        LandmarkDetector()(example[0])
    for confidence in (0.3, 0.5):
        LandmarkDetector(3, confidence)(example[0])
    assert len(builds) == 1
    assert not any(weight.is_inference() for weight in palm_network().buffers())


def test_missing_and_damaged_files_are_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing .*convert_landmarker"):
        networks._read(tmp_path / "none.safetensors")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(networks.WEIGHTS_FILE.read_bytes()[:-10])
    with pytest.raises(FileNotFoundError, match="damaged"):
        networks._read(damaged)


def test_the_file_says_where_it_comes_from():
    with safe_open(networks.WEIGHTS_FILE, "pt") as file:
        metadata = file.metadata()
    assert "Apache-2.0" in metadata["licence"] and metadata["source"].startswith("hand_landmarker.task")


EXPECTED = {
    "points": [[118.1615, 153.7466, 109.5188, 69.0126, -22.5048], [126.6783, 159.8772, 116.0862, 76.3357, -16.5597]],
    "presence": [9.1e-05, 0.000179],
    "right": [0.517037, 0.445911],
    "world": [[0.003722, 0.069717, 0.000924, -0.080206, 0.030752], [0.005495, 0.06834, 0.00671, -0.068746, 0.017442]],
    "boxes": [[9.9829, -4.9373, -7.0213, 30.1349], [-10.012, -3.7013, 0.0123, 26.2775]],
    "scores": [[-7.3226, -8.6016, -8.0319, -7.7206], [-5.3475, -6.717, -8.9851, -9.5801]],
}
