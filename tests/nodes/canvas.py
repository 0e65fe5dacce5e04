"""A small base on the host's canvas: its MODEL, an adapter for it, the host's sampler, and what goes on inside."""

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from handrawer.adapter.checkpoint import load
from handrawer.adapter.handrawer import hand_inputs
from handrawer.hand.hands import Frame, Hands, hand_from_gesture
from handrawer.hand.model import load_open_hand
from tests.nodes.small_bases import LAYOUTS, make_model, make_unet, write_adapter

POOLED = 1280


@dataclass
class Call:
    """What the UNet was called with and gave, and what the patches in front of it added behind each block."""

    x: Tensor
    time: Tensor
    context: Tensor
    y: Tensor | None
    order: list[int]
    output: Tensor = field(default_factory=lambda: torch.empty(0))
    added: dict[int, Tensor] = field(default_factory=dict)


class Canvas:
    """One base. `adapter` is the library's, `network` the host's; both from the same file."""

    def __init__(self, nodes, base: str, file: Path) -> None:
        """With the adapter in ``file``, which is written if it is not there."""
        self.nodes, self.base, self.layout, self.file = nodes, base, LAYOUTS[base], file
        self.unet = make_unet(base)
        self.model = make_model(self.unet, base)
        with torch.inference_mode(False):
            if not file.exists():
                write_adapter(file, self.unet)
            self.adapter = load(self.file)
        self.network = nodes("network").load_network(self.file)
        package = nodes("network").__package__.removesuffix(".nodes")
        self.hands = importlib.import_module(f"{package}.handrawer.hand.hands").Hands

    def features(self, *frames: Frame, network=None):
        hands = self.hands.from_json(Hands(frames).to_json())
        with torch.inference_mode():
            return self.nodes("network").encode(network or self.network, hands)

    def patched(self, features, model=None, *, key="1", strength=1.0, start=0.0, end=1.0, mask=None, **more):
        sampling = self.nodes("sampling")
        return sampling.patched(
            model or self.model, sampling.Injection(key, features, strength, start, end, mask, **more)
        )

    def text(self, seed: int, tokens: int = 77, rows: int = 1, **values) -> list:
        """A conditioning of random text."""
        generator = torch.Generator().manual_seed(seed)
        text = torch.randn(rows, tokens, self.layout.context, generator=generator)
        return [[text, {"pooled_output": torch.randn(rows, POOLED, generator=generator), **values}]]

    def tagged(self, conditioning, role="positive", key="1"):
        return self.nodes("sampling").tagged(conditioning, key, role)

    def sample(
        self, model, positive, negative=None, *, cfg=1.0, batch=1, size=(17, 26), seed=0, steps=1, noise_of=None, **more
    ) -> tuple[Tensor, list[Call]]:
        """The host's latents [B, 4, h, w] and the calls of the UNet.

        Args:
            noise_of: give the latents the noise of these pictures of a batch.
            more: for the host's `comfy.sample.sample`.
        """
        import comfy.sample
        from comfy.patcher_extension import WrappersMP

        calls: list[Call] = []
        model = model.clone()
        model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "probe", probe(calls))
        with torch.inference_mode():
            latent = more.pop("latent", torch.zeros(batch, 4, *size))
            noise = comfy.sample.prepare_noise(latent, seed, noise_of)
            found = comfy.sample.sample(
                model, noise, steps, cfg, "euler", "normal", positive, negative or positive, latent,
                disable_pbar=True, seed=seed, **more,
            )  # fmt: skip
        return found, calls

    def residuals(self, frames, height: int, width: int, text: Tensor | None) -> dict[int, Tensor]:
        """The library's residuals for the first picture under one text [L, D]: block -> [C, h, w]."""
        with torch.no_grad():
            inputs = hand_inputs(Hands(tuple(frames)), load_open_hand(), self.adapter.config.raster)
            text = None if text is None else text[None].clone()
            made = self.adapter.residuals(self.adapter.encode(inputs), height, width, text)
        return {block: tensor[0] for block, tensor in made.items()}


def probe(calls: list[Call]):
    """Notes every call. The last wrapper: HanDrawer's patches are already in the options that it sees."""

    def wrapper(executor, x, t, context, y, control, options, *args, **kwargs):
        call = Call(x.clone(), t.clone(), context.clone(), y, list(options["cond_or_uncond"]))
        before: dict[int, Tensor] = {}

        def first(h, to):
            before[to["block"][1]] = h
            return h

        def last(h, to):
            call.added[to["block"][1]] = h - before[to["block"][1]]
            return h

        patches = options.get("patches", {})
        around = [first, *patches.get("input_block_patch", []), last]
        options = {**options, "patches": {**patches, "input_block_patch": around}}
        call.output = executor(x, t, context, y, control, options, *args, **kwargs).clone()
        calls.append(call)
        return call.output

    return wrapper


def one_hand(width: int = 208, height: int = 136, **changes: Any) -> Frame:
    settings = {"centre": (0.55, 0.45), "size": 0.8, **changes}
    return hand_from_gesture("peace", "left", width, height, **settings)


def other_hand(width: int = 208, height: int = 136) -> Frame:
    return hand_from_gesture("fist", "right", width, height, centre=(0.3, 0.6), size=0.5)


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())
