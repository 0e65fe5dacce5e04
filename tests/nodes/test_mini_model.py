"""The small model on the canvas is the small model of diffusers and transformers."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, PreTrainedTokenizerFast

PROMPTS = ["a right hand, open, dark skin", "", "hand hand unheardof word, " + "finger " * 20]


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@torch.inference_mode()
def test_denoiser_is_that_of_diffusers(mini, mini_folder: Path):
    model, _, _ = mini
    unet = UNet2DConditionModel.from_pretrained(mini_folder / "unet").eval()
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 4, 32, 24, generator=generator)
    text = torch.randn(2, 77, 128, generator=generator)
    steps = torch.tensor([3.0, 700.0])
    expected = unet(x, steps, text, return_dict=False)[0]
    found = model.model.diffusion_model(x, steps, context=text)
    assert expected.std() > 0.1
    assert relative(found, expected) < 1e-5


@torch.inference_mode()
def test_prediction_and_noise_schedule_are_those_of_the_scheduler(mini, mini_folder: Path):
    """One Euler step of the host's denoised estimate is diffusers' predicted clean latent at the same noise level."""
    from diffusers import DDIMScheduler

    model, _, _ = mini
    scheduler: Any = DDIMScheduler.from_pretrained(mini_folder / "scheduler")
    unet = UNet2DConditionModel.from_pretrained(mini_folder / "unet").eval()
    generator = torch.Generator().manual_seed(2)
    clean, noise = torch.randn(2, 1, 4, 32, 32, generator=generator)
    text = torch.randn(1, 77, 128, generator=generator)
    alpha = scheduler.alphas_cumprod[400]
    sigma = ((1 - alpha) / alpha).sqrt()
    noised = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
    v = unet(noised, 400, text, return_dict=False)[0]
    expected = alpha.sqrt() * noised - (1 - alpha).sqrt() * v
    found = model.model.apply_model(clean + sigma * noise, sigma[None], c_crossattn=text)
    assert relative(found, expected) < 1e-4


@torch.inference_mode()
def test_vae_is_that_of_diffusers(mini, mini_folder: Path):
    _, _, vae = mini
    tiny: Any = AutoencoderTiny.from_pretrained(mini_folder / "vae").eval()
    picture = torch.rand(1, 64, 48, 3, generator=torch.Generator().manual_seed(3))
    latent = tiny.encode(picture.movedim(-1, 1) * 2 - 1).latents
    assert relative(vae.encode(picture), latent) < 1e-5
    decoded = ((tiny.decode(latent).sample + 1) / 2).clamp(0, 1).movedim(1, -1)
    assert decoded.std() > 0.01
    assert (vae.decode(latent) - decoded).abs().max() < 1e-5


@torch.inference_mode()
@pytest.mark.parametrize("prompt", PROMPTS)
def test_text_embedding_is_that_of_transformers(mini, mini_folder: Path, prompt: str):
    _, clip, _ = mini
    tokenizer = PreTrainedTokenizerFast.from_pretrained(mini_folder / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(mini_folder / "text_encoder").eval()
    ids = tokenizer(prompt, padding="max_length", max_length=77, return_tensors="pt").input_ids
    expected = encoder(ids).last_hidden_state
    found = clip.encode_from_tokens(clip.tokenize(prompt))
    assert found.shape == (1, 77, 128)
    assert relative(found, expected) < 1e-5


@torch.inference_mode()
def test_prompt_weights_move_the_weighted_words_away_from_the_empty_prompt(mini):
    _, clip, _ = mini
    plain = clip.encode_from_tokens(clip.tokenize("open hand, dark skin"))
    weighted = clip.encode_from_tokens(clip.tokenize("open (hand:1.3), dark skin"))
    empty = clip.encode_from_tokens(clip.tokenize(""))
    expected = plain.clone()
    expected[:, 2] = empty[:, 2] + 1.3 * (plain[:, 2] - empty[:, 2])
    assert torch.allclose(weighted, expected, atol=1e-5)
    assert not torch.allclose(weighted, plain, atol=1e-2)


@torch.inference_mode()
def test_long_prompts_go_on_in_a_second_window(mini):
    _, clip, _ = mini
    assert clip.encode_from_tokens(clip.tokenize("hand, " * 60)).shape == (1, 154, 128)


@torch.inference_mode()
def test_previews_show_the_decoder_s_colours(mini):
    model, _, vae = mini
    latents = model.model.latent_format
    factors = torch.tensor(latents.latent_rgb_factors)
    assert factors.shape == (4, 3) and latents.scale_factor == 1.0
    flat = torch.randn(16, 4, 1, 1, generator=torch.Generator().manual_seed(4))
    preview = flat[:, :, 0, 0] @ factors + torch.tensor(latents.latent_rgb_factors_bias)
    decoded = vae.decode(flat.expand(-1, -1, 4, 4).contiguous())[:, 16, 16] * 2 - 1
    assert (preview - decoded).abs().mean() < (decoded - decoded.mean(0)).abs().mean()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: (folder / "unet" / "config.json").unlink(), "config.json is missing"),
        (lambda folder: (folder / "unet" / "config.json").write_text("{"), "config.json is damaged"),
        (lambda folder: next((folder / "vae").glob("*.safetensors")).unlink(), "one .safetensors file"),
        (lambda folder: next((folder / "unet").glob("*.safetensors")).write_bytes(b"\x08" * 40), "is damaged"),
        (lambda folder: change(folder / "unet" / "config.json", act_fn="relu"), "act_fn is 'relu'"),
        (
            lambda folder: change(folder / "unet" / "config.json", block_out_channels=[64, 96, 192]),
            "no whole multiples",
        ),
        (lambda folder: change(folder / "unet" / "config.json", layers_per_block=2), "do not fit its config.json"),
        (lambda folder: change(folder / "text_encoder" / "config.json", num_hidden_layers=1), "do not fit"),
        (lambda folder: without_weight(folder / "vae", "decoder.layers.0.weight"), "The VAE's weights"),
        (lambda folder: without_weight(folder / "unet", "conv_in.bias"), "The UNet's weights .*conv_in|input_blocks"),
        (lambda folder: change(folder / "scheduler" / "scheduler_config.json", beta_schedule="odd"), "noise schedule"),
    ],
)
def test_damage_is_told_in_a_sentence(nodes, mini_folder: Path, tmp_path: Path, damage, sentence: str):
    folder = tmp_path / "mini"
    shutil.copytree(mini_folder, folder)
    damage(folder)
    with torch.inference_mode(), pytest.raises(ValueError, match=sentence):
        nodes("mini_model").load_mini(folder)


def without_weight(folder: Path, name: str) -> None:
    (path,) = folder.glob("*.safetensors")
    weights = {key: value for key, value in load_file(path).items() if key != name}
    path.unlink()
    save_file(weights, path)


def change(path: Path, **values) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
