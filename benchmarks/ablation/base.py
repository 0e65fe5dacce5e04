"""The frozen base that every arm works on, and what an arm may add to it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from handrawer.adapter.unet import UNetDescription, describe_diffusers
from handrawer.hand.model import HandModel, load_open_hand
from handrawer.mini.modules import tokenize
from handrawer.mini.pipeline import MiniPipeline, load_mini
from handrawer.train.diffusion import denoise, noise_levels


@dataclass(frozen=True)
class Added:
    """What a guide adds to the base in one call.

    sites  block -> [B, C, h, w], added to the encoder's blocks, as HanDrawer does
    skips  one [B, C, h, w] for every skip connection, and mid for the middle block, as a ControlNet does
    """

    sites: dict[int, Tensor] = field(default_factory=dict)
    skips: tuple[Tensor, ...] = ()
    mid: Tensor | None = None


def joined(parts: list[Added]) -> Added:
    """Several guides' additions, one below the other."""
    sites = {block: torch.cat([part.sites[block] for part in parts]) for block in parts[0].sites}
    skips = tuple(torch.cat(rows) for rows in zip(*(part.skips for part in parts), strict=True))
    mids = [part.mid for part in parts if part.mid is not None]
    return Added(sites, skips, torch.cat(mids) if mids else None)


class Guide(nn.Module):
    """Something that steers the base by hands. `prepare` once for each picture, `at` at every step."""

    def prepare(self, inputs: Any, text: Tensor, drop_text: Tensor) -> Any:
        """What does not depend on the noise. inputs: HandInputs of B pictures; text [B, 77, D]; drop_text [B] bool."""
        raise NotImplementedError

    def at(self, prepared: Any, noisy: Tensor, time: Tensor, text: Tensor) -> Added:
        """What is added at these noise levels: noisy [B, 4, h, w], time [B] int64, text [B, 77, D]."""
        raise NotImplementedError


@dataclass
class FrozenBase:
    """The small model, none of whose weights learn.

    Attributes:
        pipe: as it ships, float32.
        unet: its UNet in the type that it runs in: bfloat16 on a GPU, float32 on the CPU.
        model: the open hand on the device.
        a, s: noise levels [1000].
        empty: [77] token ids of the empty prompt.
    """

    pipe: MiniPipeline
    unet: Any
    model: HandModel
    description: UNetDescription
    a: Tensor
    s: Tensor
    empty: Tensor

    @property
    def device(self) -> torch.device:
        return self.a.device

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    def autocast(self) -> torch.autocast:
        """bfloat16 on a GPU; nothing on the CPU."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    @torch.no_grad()
    def encode(self, tokens: Tensor) -> Tensor:
        """Token ids [B, 77] int64 to text features [B, 77, D] float32."""
        with self.autocast():
            return self.pipe.text_encoder(tokens).last_hidden_state.float()

    def predict(self, noisy: Tensor, time: Tensor, text: Tensor, added: Added, unet: Any = None) -> Tensor:
        """v [B, 4, h, w] in the UNet's type; gradients flow into what was added."""
        unet = unet or self.unet
        noisy = noisy.to(unet.dtype).contiguous(memory_format=torch.channels_last)
        text = text.to(unet.dtype)
        with torch.autocast(self.device.type, enabled=False):
            if not added.skips:
                return denoise(unet, noisy, time, text, added.sites)
            low = [skip.to(unet.dtype) for skip in added.skips]
            mid = None if added.mid is None else added.mid.to(unet.dtype)
            more: dict[str, Any] = {"down_block_additional_residuals": low, "mid_block_additional_residual": mid}
            return unet(noisy, time, text, return_dict=False, **more)[0]


def load_base(device: torch.device) -> FrozenBase:
    """The small model that ships, frozen, on a device."""
    pipe = load_mini(device=device)
    for part in (pipe.unet, pipe.vae, pipe.text_encoder, pipe.adapter):
        part.requires_grad_(False)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    unet = copy.deepcopy(pipe.unet).to(dtype).to(memory_format=torch.channels_last)
    pipe.vae.to(memory_format=torch.channels_last)
    a, s = noise_levels(device)
    empty = tokenize(pipe.tokenizer, [""])[0].to(device)
    model = load_open_hand().to(device)
    return FrozenBase(pipe, unet, model, describe_diffusers(pipe.unet, "v_prediction"), a, s, empty)
