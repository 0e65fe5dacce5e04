"""The small model's text encoder as the host's CLIP: a CLIPTextModel with a small vocabulary of whole words."""

from pathlib import Path

import comfy.clip_model
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models_base
import torch
from torch import Tensor

from .diffusers_unet import load_weights

NAME = "handrawer_mini"  # the host's key for this encoder's tokens


class WordTokenizer:
    """A ``tokenizer.json`` behind the few calls that the host's SDTokenizer makes."""

    def __init__(self, path: Path, start: int, end: int) -> None:
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(path))
        self.tokenizer.no_padding()  # the host pads, and splits what is longer than the encoder's window
        self.tokenizer.no_truncation()
        self.start, self.end = start, end

    def __call__(self, text: str) -> dict[str, list[int]]:
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        return {"input_ids": [self.start, *ids, self.end]}

    def get_vocab(self) -> dict[str, int]:
        return self.tokenizer.get_vocab()


class MiniTextModel(comfy.clip_model.CLIPTextModel):
    """The host's CLIP text model, which takes its vocabulary's size from the configuration."""

    def __init__(self, config_dict, dtype, device, operations) -> None:
        super().__init__(config_dict, dtype, device, operations)
        size, width = config_dict["vocab_size"], config_dict["hidden_size"]
        self.set_input_embeddings(operations.Embedding(size, width, dtype=dtype, device=device))


def tokenizer_class(config: dict, tokenizer_file: Path) -> type:
    """The class that the host makes the tokenizer from."""
    start, end, pad = config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]

    class Source:
        @classmethod
        def from_pretrained(cls, path, **_settings) -> WordTokenizer:
            return WordTokenizer(Path(path), start, end)

    class MiniSDTokenizer(comfy.sd1_clip.SDTokenizer):
        def __init__(self, embedding_directory=None, tokenizer_data=None) -> None:
            super().__init__(
                tokenizer_path=str(tokenizer_file),
                max_length=config["max_position_embeddings"],
                embedding_directory=embedding_directory,
                embedding_size=config["hidden_size"],
                embedding_key=NAME,
                tokenizer_class=Source,
                pad_with_end=False,
                pad_token=pad,
                tokenizer_data=tokenizer_data or {},
            )

    class MiniTokenizer(comfy.sd1_clip.SD1Tokenizer):
        def __init__(self, embedding_directory=None, tokenizer_data=None) -> None:
            super().__init__(
                embedding_directory=embedding_directory,
                tokenizer_data=tokenizer_data or {},
                tokenizer=MiniSDTokenizer,
                name=NAME,
            )

    return MiniTokenizer


def encoder_class(config: dict) -> type:
    """The class that the host makes the text encoder from."""
    special = {"start": config["bos_token_id"], "end": config["eos_token_id"], "pad": config["pad_token_id"]}

    class MiniSDClipModel(comfy.sd1_clip.SDClipModel):
        def __init__(self, device="cpu", dtype=None, model_options=None) -> None:
            super().__init__(
                device=device,
                dtype=dtype,
                max_length=config["max_position_embeddings"],
                textmodel_json_config=dict(config),
                model_class=MiniTextModel,
                special_tokens=special,
                return_projected_pooled=False,
                model_options=model_options or {},
            )

    class MiniClipModel(comfy.sd1_clip.SD1ClipModel):
        def __init__(self, device="cpu", dtype=None, model_options=None) -> None:
            super().__init__(
                device=device, dtype=dtype, model_options=model_options or {}, name=NAME, clip_model=MiniSDClipModel
            )

    return MiniClipModel


def host_weights(weights: dict[str, Tensor], config: dict) -> dict[str, Tensor]:
    """Weights of a transformers ``CLIPTextModel`` under the host's names (``text_model.…``), in float32.

    The host's model has a text projection besides, which this one lacks: it gets the identity, so that nothing
    uninitialised remains.
    """
    named = {}
    for name, tensor in weights.items():
        if name.endswith("position_ids"):  # a buffer of older transformers releases
            continue
        named[name if name.startswith("text_model.") else f"text_model.{name}"] = tensor.float()
    named["text_projection.weight"] = torch.eye(config["hidden_size"])
    return named


def load_text_encoder(config: dict, weights: dict[str, Tensor], tokenizer_file: Path) -> comfy.sd.CLIP:
    """The host's CLIP object for a transformers ``CLIPTextModel`` folder.

    Args:
        config: its ``config.json``; the ids of start, end and padding are taken from there.
        weights: its state dict.
        tokenizer_file: ``tokenizer.json``.

    Raises:
        ValueError: the weights do not fit the configuration.
    """
    target = comfy.supported_models_base.ClipTarget(tokenizer_class(config, tokenizer_file), encoder_class(config))
    named = host_weights(weights, config)
    # A few hundred thousand parameters: float32 everywhere, so that the embedding is the same on every device.
    clip = comfy.sd.CLIP(
        target, parameters=sum(t.numel() for t in named.values()), model_options={"dtype": torch.float32}
    )
    # Not in the constructor: 0.3.64 does not take them there.
    load_weights(clip.load_sd, named, "text encoder")
    return clip
