"""Captions to what a frozen base's UNet reads of them."""

from __future__ import annotations

import functools
import gzip
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger("handrawer")
MERGES = Path(__file__).with_name("base_configs") / "clip_merges.txt.gz"
TOKENS = 77


@dataclass(frozen=True)
class Text:
    """Text features of B captions.

    Attributes:
        context: [B, L, D], what the UNet's cross-attention reads.
        pooled: [B, P] for SDXL, else None.
    """

    context: Tensor
    pooled: Tensor | None = None

    def rows(self, rows: Tensor | slice) -> Text:
        return Text(self.context[rows], None if self.pooled is None else self.pooled[rows])

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Text:
        pooled = None if self.pooled is None else self.pooled.to(device, dtype)
        return Text(self.context.to(device, dtype), pooled)

    def where(self, rows: Tensor, other: Text) -> Text:
        """The rows [B] bool replaced by the one row of `other`."""
        context = torch.where(rows[:, None, None], other.context.to(self.context), self.context)
        if self.pooled is None or other.pooled is None:
            return Text(context)
        return Text(context, torch.where(rows[:, None], other.pooled.to(self.pooled), self.pooled))

    @staticmethod
    def join(parts: Sequence[Text]) -> Text:
        pooled = [part.pooled for part in parts if part.pooled is not None]
        return Text(torch.cat([part.context for part in parts]), torch.cat(pooled) if pooled else None)


def clip_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """CLIP's 49,408 tokens and 48,894 merges, in order (Radford et al. 2021; the file's licence is in NOTICE)."""
    merges = [tuple(line.split()) for line in gzip.decompress(MERGES.read_bytes()).decode("utf-8").splitlines()]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [chr(byte) for byte in printable] + [chr(256 + place) for place in range(len(others))]
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: number for number, token in enumerate(tokens)}, merges  # pyright: ignore[reportReturnType]


@functools.cache
def clip_tokenizer() -> Callable[[list[str]], list[list[int]]]:
    """CLIP's tokenizer without any download: captions to token ids without start and end."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    vocabulary, merges = clip_vocabulary()
    bpe = models.BPE(
        vocab=vocabulary, merges=merges, end_of_word_suffix="</w>", continuing_subword_prefix="",
        fuse_unk=False, unk_token="<|endoftext|>",  # noqa: S106 - no password
    )  # fmt: skip
    core = Tokenizer(bpe)
    core.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = Regex(r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+""")
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return lambda texts: [found.ids for found in core.encode_batch(texts, add_special_tokens=False)]


class ClipTokens:
    """Captions to [B, 77] ids: start, words, end, padding; what is too long is cut.

    Args:
        pad: the padding's id: 49407 (end) for CLIP-L, 0 for the OpenCLIP encoders.
    """

    START, END = 49406, 49407

    def __init__(self, pad: int) -> None:
        self.pad, self.words = pad, clip_tokenizer()
        self.told = False

    def __call__(self, texts: list[str]) -> Tensor:
        rows = torch.full((len(texts), TOKENS), self.pad)
        for row, ids in zip(rows, self.words(texts), strict=True):
            if len(ids) > TOKENS - 2 and not self.told:
                log.warning("Captions of more than %d tokens are cut there.", TOKENS - 2)
                self.told = True
            found = [self.START, *ids[: TOKENS - 2], self.END]
            row[: len(found)] = torch.tensor(found)
        return rows


class FolderTokens:
    """The tokenizer of a folder in diffusers layout."""

    def __init__(self, folder: Path) -> None:
        from transformers import CLIPTokenizer, PreTrainedTokenizerFast

        kind = CLIPTokenizer if (folder / "vocab.json").exists() else PreTrainedTokenizerFast
        self.tokenizer = kind.from_pretrained(folder, local_files_only=True)

    def __call__(self, texts: list[str]) -> Tensor:
        found = self.tokenizer(texts, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt")
        return torch.as_tensor(found.input_ids)


class TextEncoders:
    """The frozen text encoders of a base: one, or SDXL's two.

    Args:
        parts: (tokenizer, encoder of transformers) pairs.
        sdxl: whether the last layer but one of both is taken, side by side, and the second one's pooled output.
        clip_skip: for the others, from which layer the features come: 1 the last.
    """

    def __init__(self, parts: list[tuple[Callable[[list[str]], Tensor], Any]], sdxl: bool, clip_skip: int = 1) -> None:
        self.parts, self.sdxl, self.clip_skip = parts, sdxl, clip_skip

    @property
    def encoders(self) -> list[Any]:
        return [encoder for _, encoder in self.parts]

    @torch.no_grad()
    def __call__(self, captions: list[str]) -> Text:
        """Features of the captions on the encoders' device, in their type."""
        contexts, pooled = [], None
        for tokenize, encoder in self.parts:
            found = encoder(tokenize(captions).to(encoder.device), output_hidden_states=True)
            if self.sdxl:
                contexts.append(found.hidden_states[-2])
                pooled = getattr(found, "text_embeds", None)  # of the second one, the only one that projects
            elif self.clip_skip > 1:
                inner = getattr(encoder, "text_model", encoder)
                contexts.append(inner.final_layer_norm(found.hidden_states[-self.clip_skip]))
            else:
                contexts.append(found.last_hidden_state)
        return Text(torch.cat(contexts, -1), pooled)
