"""Checkpoint files as canvas users have them, made by the way back from what reads them; small, random weights."""

import copy
from typing import Any

import pytest
import torch

from benchmarks.training import random_base
from handrawer.train import single_file
from handrawer.train.bases import load_base, noise_levels
from handrawer.train.config import BaseConfig
from handrawer.train.text import ClipTokens


def small(base: str) -> dict[str, Any]:
    """The configurations of a base with few channels; text widths are what a file is known by."""
    configs = copy.deepcopy(single_file.read_configs(base))
    levels = len(configs["unet"]["block_out_channels"])
    configs["unet"]["block_out_channels"] = [32] * levels
    configs["unet"]["attention_head_dim"] = 2 if base == "sd15" else [2] * levels
    if base == "sdxl":
        configs["unet"]["transformer_layers_per_block"] = [1] * levels
    configs["vae"]["block_out_channels"] = [32] * 4
    for name in ("text_encoder", "text_encoder_2"):
        if name in configs:
            configs[name] |= {"num_hidden_layers": 2, "intermediate_size": 64, "vocab_size": 49408}
    return configs


@pytest.mark.parametrize("base", ["sd15", "sd21", "sdxl"])
def test_a_file_gives_the_networks_that_it_was_made_of(base, tmp_path, monkeypatch):
    configs = small(base)
    monkeypatch.setattr(single_file, "read_configs", lambda name: configs)
    made = random_base.filled_networks(base, configs, torch.float32)
    path = random_base.write_file(base, tmp_path / "model.safetensors", made, configs)
    loaded = load_base(BaseConfig(str(path), prediction="v_prediction"), "fp32")
    encoders = loaded.text.encoders
    pairs = [(made["unet"], loaded.unet), (made["vae"], loaded.vae), (made["text_encoder"], encoders[0])]
    if base == "sdxl":
        pairs.append((made["text_encoder_2"], encoders[1]))
    for wanted, got in pairs:
        a, b = wanted.state_dict(), got.state_dict()
        assert set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)
        assert not any(p.requires_grad for p in got.parameters())
    text = loaded.text(["a hand"])
    assert text.context.shape == (1, 77, {"sd15": 768, "sd21": 1024, "sdxl": 2048}[base])
    assert (text.pooled is not None) == (base == "sdxl") and loaded.prediction == "v_prediction"
    assert loaded.latents(loaded.moments(torch.rand(1, 3, 64, 64)), torch.zeros(1, 4, 8, 8)).shape == (1, 4, 8, 8)


def test_files_that_cannot_be_used_get_a_sentence(tmp_path):
    from safetensors.torch import save_file

    key = "model.diffusion_model.input_blocks.0.0.weight"
    attention = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    cases: list[tuple[dict[str, torch.Tensor], str]] = [
        ({"x": torch.zeros(1)}, "holds no UNet"),
        ({key: torch.zeros(320, 4, 1, 1)}, "none of SD1.x"),
        ({key: torch.zeros(320, 9, 1, 1), attention: torch.zeros(2, 768)}, "is an inpainting model"),
        ({key: torch.zeros(320, 4, 1, 1), attention: torch.zeros(2, 768)}, "has no text encoder"),
    ]
    for number, (weights, said) in enumerate(cases):
        save_file(weights, tmp_path / f"{number}.safetensors")
        with pytest.raises(ValueError, match=said):
            load_base(BaseConfig(str(tmp_path / f"{number}.safetensors")), "fp32")
    (tmp_path / "x.ckpt").write_bytes(b"x")
    with pytest.raises(ValueError, match="no pickles"):
        load_base(BaseConfig(str(tmp_path / "x.ckpt")), "fp32")
    (tmp_path / "x.safetensors").write_bytes(b"x")
    with pytest.raises(ValueError, match="damaged"):
        load_base(BaseConfig(str(tmp_path / "x.safetensors")), "fp32")
    with pytest.raises(FileNotFoundError, match="There is no base model"):
        load_base(BaseConfig(str(tmp_path / "none")), "fp32")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no folder 'unet'"):
        load_base(BaseConfig(str(tmp_path / "empty")), "fp32")


def test_what_a_file_says_of_its_prediction():
    bias = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"
    assert single_file.predicts({}, "sd15") == ("epsilon", False)
    assert single_file.predicts({"v_pred": torch.ones(1)}, "sdxl") == ("v_prediction", False)
    assert single_file.predicts({"v_pred": torch.ones(1), "ztsnr": torch.ones(1)}, "sdxl") == ("v_prediction", True)
    assert single_file.predicts({bias: torch.randn(320)}, "sd21") == ("v_prediction", False)
    assert single_file.predicts({bias: torch.randn(320) * 0.01}, "sd21") == ("epsilon", False)


def test_noise_levels_are_those_of_diffusers():
    from diffusers import DDIMScheduler

    for zero in (False, True):
        settings = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
        scheduler = DDIMScheduler(**settings, rescale_betas_zero_snr=zero)
        a, s = noise_levels({**settings, "num_train_timesteps": 1000, "rescale_betas_zero_snr": zero})
        assert torch.allclose(a**2, scheduler.alphas_cumprod, atol=1e-5)
        assert torch.allclose(a**2 + s**2, torch.ones(1000), atol=1e-6)


def test_the_tokenizer_is_clips():
    tokens = ClipTokens(0)(["a photo of a cat", "x " * 200])
    assert tokens.shape == (2, 77)
    assert tokens[0, :8].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407, 0]
    assert tokens[1, 75] != 49407 and tokens[1, 76] == 49407
