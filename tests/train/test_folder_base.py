"""A base as a folder in diffusers layout is the base that its single file is."""

import json

import torch

from benchmarks.training import random_base
from handrawer.train import single_file
from handrawer.train.bases import load_base
from handrawer.train.config import BaseConfig
from handrawer.train.text import clip_vocabulary
from tests.train.test_single_file import small


def test_an_sdxl_folder_gives_what_its_file_gives(tmp_path, monkeypatch):
    configs = small("sdxl")
    monkeypatch.setattr(single_file, "read_configs", lambda name: configs)
    made = random_base.filled_networks("sdxl", configs, torch.float32)
    file = random_base.write_file("sdxl", tmp_path / "model.safetensors", made, configs)
    folder = tmp_path / "model"
    for name, network in made.items():
        network.save_pretrained(folder / name)
    vocabulary, merges = clip_vocabulary()
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    for name, pad in (("tokenizer", "<|endoftext|>"), ("tokenizer_2", "!")):
        (folder / name).mkdir()
        (folder / name / "vocab.json").write_text(json.dumps(vocabulary))
        (folder / name / "merges.txt").write_text("\n".join(lines) + "\n")
        special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
        told = {**special, "pad_token": pad, "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}
        (folder / name / "tokenizer_config.json").write_text(json.dumps(told))
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(configs["scheduler"]))
    one, other = (load_base(BaseConfig(str(path), prediction="epsilon"), "fp32") for path in (folder, file))
    assert one.sdxl and other.sdxl and one.description.blocks == other.description.blocks
    captions = ["a left hand, palm to the viewer", ""]
    first, second = one.text(captions), other.text(captions)
    assert torch.equal(first.context, second.context) and first.pooled is not None and second.pooled is not None
    assert torch.equal(first.pooled, second.pooled)
    assert torch.equal(one.a, other.a) and one.prediction == other.prediction == "epsilon"
    picture = torch.rand(1, 3, 64, 64)
    assert torch.equal(one.moments(picture), other.moments(picture))
