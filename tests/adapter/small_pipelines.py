"""Whole diffusers pipelines with small random networks: SD1.5 and SDXL, with real tokenizers and text encoders."""

from __future__ import annotations

from typing import Any

import torch

from handrawer.mini.modules import make_tokenizer
from tests.nodes.random_mini import fill

from .small_unets import make_unet


def text_encoder(width: int, projection: int | None = None) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(make_tokenizer()),
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        projection_dim=projection or width,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    encoder = CLIPTextModel(config) if projection is None else CLIPTextModelWithProjection(config)
    fill(encoder, 3)
    return encoder.eval()


def make_vae() -> Any:
    from diffusers import AutoencoderKL

    config: dict[str, Any] = {
        "block_out_channels": (8, 8, 8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "latent_channels": 4,
        "norm_num_groups": 4,
    }
    vae = AutoencoderKL(**config)
    fill(vae, 4)
    return vae.eval()


def make_pipeline(base: str = "sd15", kind: str = "") -> Any:
    """base as in small_unets.LAYOUTS; kind "", "Img2Img" or "Inpaint"."""
    import diffusers

    unet = make_unet(base)
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    parts: dict[str, Any] = {"vae": make_vae(), "unet": unet, "scheduler": scheduler, "tokenizer": make_tokenizer()}
    if base.startswith("sdxl"):
        parts |= {"text_encoder": text_encoder(768), "text_encoder_2": text_encoder(1280, 1280)}
        pipeline = getattr(diffusers, f"StableDiffusionXL{kind}Pipeline")(**parts, tokenizer_2=make_tokenizer())
    else:
        parts |= {"text_encoder": text_encoder(768), "safety_checker": None, "feature_extractor": None}
        pipeline = getattr(diffusers, f"StableDiffusion{kind}Pipeline")(**parts, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(pipeline: Any, prompt: Any = "a left hand", *, steps: int = 2, seed: int = 0, **options: Any) -> torch.Tensor:
    """Latents [B, 4, h, w] of a call; every picture of a batch has noise of its own."""
    options = {"guidance_scale": 4.0, "negative_prompt": None, **options}
    negative = options.pop("negative_prompt")
    if isinstance(prompt, list) and isinstance(negative, str):
        negative = [negative] * len(prompt)
    generator = torch.Generator().manual_seed(seed)
    call = {"num_inference_steps": steps, "generator": generator, "output_type": "latent", **options}
    return pipeline(prompt=prompt, negative_prompt=negative, **call).images
