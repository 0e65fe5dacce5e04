"""The three networks of the small model, in the layouts of diffusers and transformers.

UNet: UNet2DConditionModel (v-prediction). VAE: AutoencoderTiny in TAESD's width, so that ComfyUI loads it as a TAESD.
Text: CLIPTextModel with the small vocabulary of `captions`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .captions import words

PICTURE_SIZE = 256
LATENT_SIZE = 32
TEXT_TOKENS = 77
TEXT_WIDTH = 128
PAD, START, END, UNKNOWN = 0, 1, 2, 3

UNET_CONFIG: dict[str, Any] = {
    "sample_size": LATENT_SIZE,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [64, 128, 192],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "cross_attention_dim": TEXT_WIDTH,
    "attention_head_dim": 4,  # diffusers reads this as the number of heads
    "norm_num_groups": 32,
    "use_linear_projection": True,
}
SCHEDULER_CONFIG: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "trailing",
}


def make_unet() -> Any:
    """A fresh UNet2DConditionModel: latents [B, 4, h, w], text [B, 77k, 128], any h and w of four or more."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(**UNET_CONFIG)


def make_vae() -> Any:
    """A fresh AutoencoderTiny of TAESD's width: pictures [B, 3, H, W] in -1..1, latents [B, 4, H/8, W/8]."""
    from diffusers import AutoencoderTiny

    return AutoencoderTiny()


def make_text_encoder() -> Any:
    """A fresh CLIPTextModel: token ids [B, 77] int64 to last_hidden_state [B, 77, 128]."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=UNKNOWN + 1 + len(words()),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=TEXT_TOKENS,
            pad_token_id=PAD,
            bos_token_id=START,
            eos_token_id=END,
        )
    )


def make_tokenizer() -> Any:
    """A word-level PreTrainedTokenizerFast; pads and cuts to 77 tokens, lower-cases, knows `captions.words()`."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = {"<|pad|>": PAD, "<|start|>": START, "<|end|>": END, "<|unknown|>": UNKNOWN}
    vocabulary = special | {word: UNKNOWN + 1 + i for i, word in enumerate(words())}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<|unknown|>"))
    core.normalizer = normalizers.Lowercase()
    # Commas stand alone, apostrophes stay inside their word.
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(",", "isolated"), pre_tokenizers.Split(".", "removed")]
    )
    core.post_processor = processors.TemplateProcessing(
        single="<|start|> $A <|end|>", special_tokens=[("<|start|>", START), ("<|end|>", END)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=TEXT_TOKENS,
        pad_token="<|pad|>",
        bos_token="<|start|>",
        eos_token="<|end|>",
        unk_token="<|unknown|>",
    )


def tokenize(tokenizer: Any, texts: list[str]) -> Any:
    """Prompts to token ids [B, 77] int64, padded and cut."""
    return tokenizer(
        texts, padding="max_length", truncation=True, max_length=TEXT_TOKENS, return_tensors="pt"
    ).input_ids


def save_layout(folder: Path, unet: Any, vae: Any, text_encoder: Any, tokenizer: Any) -> None:
    """Write the networks in diffusers' folder layout, fp16, so that StableDiffusionPipeline loads the folder."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    unet.to(torch.float16).save_pretrained(folder / "unet")
    vae.to(torch.float16).save_pretrained(folder / "vae")
    _drop_unknown(folder / "vae" / "config.json")
    text_encoder.to(torch.float16).save_pretrained(folder / "text_encoder")
    tokenizer.save_pretrained(folder / "tokenizer")
    (folder / "scheduler").mkdir(exist_ok=True)
    scheduler = {"_class_name": "DDIMScheduler", **SCHEDULER_CONFIG}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler, indent=2) + "\n")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderTiny"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def _drop_unknown(path: Path) -> None:
    """Take out of AutoencoderTiny's saved configuration what it warns of when it is loaded again."""
    config = json.loads(path.read_text())
    config.pop("block_out_channels", None)
    config.pop("_name_or_path", None)
    path.write_text(json.dumps(config, indent=2) + "\n")
