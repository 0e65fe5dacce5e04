import pytest
import torch

from handrawer.adapter.card import card, card_values
from handrawer.adapter.checkpoint import CheckpointError, save
from handrawer.mini.pipeline import WEIGHTS


def test_the_shipped_file_tells_what_it_is():
    said = card(WEIGHTS / "handrawer.safetensors").splitlines()
    for line in (
        "file: handrawer.safetensors",
        "format version: 1",
        "made for: the small model",
        "acts after input blocks: 0, 1, 3, 5",
    ):
        assert line in said
    assert any(line.startswith("hand model: open (1730 vertices") for line in said)


def test_values_are_those_of_the_network(adapter, tmp_path):
    save(tmp_path / "x.safetensors", adapter, training={"samples": 7}, dtype=torch.bfloat16)
    values = card_values(tmp_path / "x.safetensors")
    assert values["parameters"] == sum(p.numel() for p in adapter.parameters())
    assert values["training"] == {"samples": 7} and values["stored as"] == "BF16"
    assert values["negative prompt gets"] == "the same hands as the prompt"


def test_a_file_without_training(adapter, tmp_path):
    save(tmp_path / "x.safetensors", adapter)
    assert card(tmp_path / "x.safetensors").endswith("training: the file does not tell")


def test_no_card_of_another_file(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"x\.safetensors is damaged"):
        card(tmp_path / "x.safetensors")
