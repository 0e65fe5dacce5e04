"""Whole trainings by the command that a user types, on small bases of every kind, in every precision."""

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.training import random_base
from handrawer.adapter.card import card_values
from handrawer.train import single_file
from handrawer.train.__main__ import main
from handrawer.train.adapter import AdapterTrainer
from handrawer.train.config import make_config
from handrawer.train.records import read_records
from tests.train.conftest import SMALL
from tests.train.test_single_file import small


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def written(path: Path, **values: Any) -> str:
    path.write_text(json.dumps({**SMALL, "data": {"size": 64}, "steps": 2, "batch": 1, **values}))
    return str(path)


@pytest.mark.parametrize(
    "base, prediction, precision, checkpointing",
    [("sd15", "epsilon", "bf16", False), ("sd21", "v_prediction", "fp16", False), ("sdxl", "epsilon", "bf16", True)],
)
def test_a_checkpoint_file_is_trained_for(base, prediction, precision, checkpointing, tmp_path, monkeypatch):
    configs = small(base)
    configs["unet"]["norm_num_groups"] = 8  # the coarsest map of 64 pixels is a single cell
    monkeypatch.setattr(single_file, "read_configs", lambda name: configs)
    made = random_base.filled_networks(base, configs, torch.float16)
    path = random_base.write_file(base, tmp_path / "model.safetensors", made, configs)
    settings = {"base": {"path": str(path), "prediction": prediction}, "precision": precision}
    config = written(tmp_path / "c.json", out=str(tmp_path / "run"), checkpointing=checkpointing, **settings)
    assert main([config]) == 0
    rows = read_records(tmp_path / "run")
    assert [row["step"] for row in rows] == [1, 2] and all(row["loss"] > 0 for row in rows)
    told = card_values(tmp_path / "run" / "handrawer.safetensors")
    assert told["training"]["prediction"] == prediction and told["training"]["precision"] == precision
    # The adapter has learned: what its maps are made with is no longer zero.
    from handrawer.adapter.checkpoint import load

    learned = dict(load(tmp_path / "run" / "handrawer.safetensors").named_parameters())
    assert max(float(p.detach().abs().max()) for name, p in learned.items() if ".sites." in name) > 1e-4


def test_curves_go_to_tensorboard_where_it_is_installed(tmp_path, mini_base, monkeypatch):
    seen: list[tuple[str, float, int]] = []

    class Writer:
        def __init__(self, folder: str) -> None:
            self.folder = folder

        def add_scalar(self, name: str, value: float, step: int) -> None:
            seen.append((name, value, step))

        def close(self) -> None:
            seen.append(("closed", 0.0, 0))

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Writer))
    settings = {"out": str(tmp_path), **SMALL, "data": {"size": 64}, "batch": 1, "steps": 1}
    trainer = AdapterTrainer(make_config(settings), base=mini_base)
    trainer.run()
    trainer.close()
    (row,) = read_records(tmp_path)
    assert ("train/loss", row["loss"], 1) in seen and ("train/hand", row["hand"], 1) in seen
    assert ("train/norm_adapter", row["norm_adapter"], 1) in seen and seen[-1][0] == "closed"


def test_eight_bits_where_bitsandbytes_is_installed(tmp_path, mini_base, monkeypatch):
    class AdamW8bit(torch.optim.AdamW):
        pass

    library = types.SimpleNamespace(optim=types.SimpleNamespace(AdamW8bit=AdamW8bit))
    monkeypatch.setitem(sys.modules, "bitsandbytes", library)
    settings = {**SMALL, "optimiser": {"eight_bit": True, "warmup": 1}, "data": {"size": 64}, "batch": 1, "steps": 1}
    trainer = AdapterTrainer(make_config({"out": str(tmp_path), **settings}), base=mini_base)
    assert isinstance(trainer.learner.optimizer, AdamW8bit)
    decays = {group["weight_decay"] for group in trainer.learner.optimizer.param_groups}
    trainer.train_step()
    trainer.close()
    assert decays == {0.0, 0.01}
