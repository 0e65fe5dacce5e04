import dataclasses

import pytest
import torch
from safetensors.torch import load_file

from handrawer.evaluate.proof import held_out, load_control, moved_points, swapped, table
from handrawer.hand.model import load_open_hand
from handrawer.mini.control import store_control
from handrawer.mini.pipeline import load_mini
from handrawer.train.diffusion import Base


def test_points_move_with_their_box():
    points = torch.tensor([[0.2, 0.2], [0.4, 0.6]])
    moved = moved_points(points, torch.tensor([0.2, 0.2, 0.4, 0.6]), torch.tensor([0.0, 0.5, 1.0, 1.0]))
    assert torch.allclose(moved, torch.tensor([[0.0, 0.5], [1.0, 1.0]]))


def test_another_hand_lies_in_this_box():
    model = load_open_hand()
    poses = held_out(0, 3, model)
    swap = swapped(poses, model, 64)
    for k in range(3):
        other = poses.wanted[(k + 1) % 3]
        assert swap.wanted[k].side == other.side
        low, high = swap.inputs.box[k, :2], swap.inputs.box[k, 2:]
        assert bool((swap.wanted[k].points > low).all() and (swap.wanted[k].points < high).all())
        assert f"a {other.side} hand" in swap.prompts[k]
    assert swap.inputs.picture.tolist() == [0, 1, 2]


def test_the_control_comes_back_nearly_the_same(tmp_path):
    torch.manual_seed(3)
    base = Base()
    store_control(base, tmp_path / "control.safetensors")
    pipe = load_control(tmp_path / "control.safetensors", load_mini())
    stored = load_file(tmp_path / "control.safetensors")
    assert sum(v.numel() * v.element_size() for v in stored.values()) < 12e6
    for name, value in pipe.unet.state_dict().items():
        wanted = base.unet.state_dict()[name]
        assert float((value - wanted).norm()) <= 0.02 * float(wanted.norm()) + 1e-6, name


def test_a_control_of_another_model_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="does not fit the small model"):
        load_control(tmp_path / "x.safetensors", dataclasses.replace(load_mini()))


def test_the_table_scores_fists_apart():
    good = {"found": True, "confidence": 0.9, "errors": [0.01] * 21, "side": True, "gesture": "ok", "view": "palm"}
    lost = good | {"found": False, "errors": [None] * 21, "side": False}
    rows = {"ceiling": [good, good, lost | {"gesture": "fist"}], "handrawer": [good, lost, good | {"gesture": "fist"}]}
    said = table(rows)
    assert "| handrawer | 2 | 0.500" in said and "| 50% |" in said
    assert "Fists apart, 1 poses: PCK ceiling 0.000, handrawer 1.000" in said
