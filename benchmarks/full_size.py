"""Full-size networks with random weights, and how they are timed: what `benchmarks/unet.py` measures."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from handrawer.adapter.handrawer import HanDrawer, HandTokens, hand_inputs
from handrawer.adapter.hooks import Addition, apply_residuals
from handrawer.adapter.unet import UNetDescription
from handrawer.hand.hands import Frame, Hands, hand_from_gesture
from handrawer.hand.model import load_open_hand
from handrawer.render.maps import render_layers

GESTURES = ("open", "fist", "peace", "ok", "point", "relaxed", "rock", "three")
VARIANTS = ("bare", "HanDrawer", "ControlNet", "T2I-Adapter")
MIB = 2**20
CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
UNETS: dict[str, dict[str, Any]] = {
    "sd15": {
        "block_out_channels": (320, 640, 1280, 1280),
        "down_block_types": (CROSS, CROSS, CROSS, PLAIN),
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
    },
    "sdxl": {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": (PLAIN, CROSS, CROSS),
        "cross_attention_dim": 2048,
        "attention_head_dim": (5, 10, 20),
        "transformer_layers_per_block": (1, 2, 10),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
T2I: dict[str, dict[str, Any]] = {
    "sd15": {"channels": [320, 640, 1280, 1280], "downscale_factor": 8, "adapter_type": "full_adapter"},
    "sdxl": {"channels": [320, 640, 1280, 1280], "downscale_factor": 16, "adapter_type": "full_adapter_xl"},
}
SIZES: dict[str, tuple[int, tuple[int, ...]]] = {
    "sd15": (512, (512, 768, 1024)),
    "sdxl": (1024, (768, 1024, 1536)),
}  # usual, and all that are tried
# The same layouts in few channels, to try the benchmark itself.
TINY = {"sd15": {"attention_head_dim": 8}, "sdxl": {"attention_head_dim": (2, 4, 8)}}
for _base, _heads in TINY.items():
    _widths = (32, 64, 128, 128)[: len(UNETS[_base]["block_out_channels"])]
    UNETS[f"{_base}_tiny"] = {**UNETS[_base], "block_out_channels": _widths, **_heads}
    T2I[f"{_base}_tiny"] = {**T2I[_base], "channels": [32, 64, 128, 128]}
    SIZES[f"{_base}_tiny"] = (128, (128, 192))


@dataclass(frozen=True)
class Setting:
    """Where and how a base is measured. rows: of the UNet's batch, two under guidance."""

    base: str
    device: torch.device
    dtype: torch.dtype
    rows: int
    rounds: int
    sizes: tuple[int, ...]

    @property
    def usual(self) -> int:
        return self.sizes[0] if SIZES[self.base][0] not in self.sizes else SIZES[self.base][0]

    @property
    def batch(self) -> str:
        return f"{self.rows} row{'s' if self.rows > 1 else ''}"

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def make(build: Callable[[], nn.Module], setting: Setting, seed: int = 0) -> Any:
    """A network without ever holding it twice: built on `meta`, then filled where it is measured.

    Matrices N(0, 1 / fan in), norms 1, biases 0, so that no signal vanishes or overflows half precision. diffusers'
    networks of these kinds have no buffers that would be lost.
    """
    with torch.device("meta"):
        network = build()
    if any(True for _ in network.buffers()):
        raise RuntimeError(f"{type(network).__name__} has buffers, which cannot be made up.")
    network = network.to(setting.dtype).to_empty(device=setting.device)
    generator = torch.Generator(setting.device).manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
            else:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
    return network.eval().requires_grad_(False)


def build_unet(base: str) -> Any:
    from diffusers import UNet2DConditionModel

    config = UNETS[base]
    up = tuple(name.replace("Down", "Up") for name in reversed(config["down_block_types"]))
    return UNet2DConditionModel(**config, up_block_types=up)


def build_controlnet(base: str) -> Any:
    from diffusers import ControlNetModel

    return ControlNetModel.from_unet(build_unet(base), load_weights_from_unet=False)


def build_t2i(base: str) -> Any:
    from diffusers import T2IAdapter

    return T2IAdapter(in_channels=3, num_res_blocks=2, **T2I[base])


def build_handrawer(description: UNetDescription, setting: Setting) -> HanDrawer:
    """As it is used: float32, with projections that are not zero."""
    torch.manual_seed(0)
    adapter = HanDrawer.create(description, load_open_hand())
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if ".sites." in name:
                parameter.normal_(0, 0.02)
    return adapter.to(setting.device).eval().requires_grad_(False)


def bytes_of(network: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in (*network.parameters(), *network.buffers()))


def inputs(setting: Setting, size: int, device: torch.device | None = None) -> dict[str, Any]:
    """A UNet call for pictures of size x size pixels: keyword arguments."""
    device = device or setting.device

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device).to(setting.dtype)

    rows, config = setting.rows, UNETS[setting.base]
    found: dict[str, Any] = {
        "sample": noise(rows, 4, size // 8, size // 8),
        "timestep": torch.tensor(500, device=device),
        "encoder_hidden_states": noise(rows, 77, config["cross_attention_dim"]),
    }
    if "addition_embed_type" in config:
        ids = torch.tensor([[size, size, 0, 0, size, size]], device=device).expand(rows, 6).to(setting.dtype)
        found["added_cond_kwargs"] = {"text_embeds": noise(rows, 1280), "time_ids": ids}
    return found


def some_hands(count: int, size: int) -> Hands:
    """`count` hands of different gestures in one picture, in two rows."""
    hands = []
    for place, name in enumerate(GESTURES[:count]):
        centre = (0.5, 0.5) if count == 1 else (0.15 + 0.23 * (place % 4), 0.3 if place < 4 else 0.7)
        side = "left" if place % 2 else "right"
        hands += hand_from_gesture(name, side, size, size, centre=centre, size=0.7 if count == 1 else 0.4).hands
    return Hands((Frame(size, size, tuple(hands)),))


@torch.no_grad()
def encode(adapter: HanDrawer, hands: Hands, setting: Setting) -> HandTokens:
    """Rendering of the hands' own rasters, and the graph network."""
    return adapter.encode(hand_inputs(hands, load_open_hand(), adapter.config.raster, setting.device))


@torch.no_grad()
def make_maps(adapter: HanDrawer, tokens: HandTokens, call: dict[str, Any]) -> dict[int, Tensor]:
    """Maps for every row of a call, each with its own text, in the UNet's type: block -> [rows, C, h, w]."""
    height, width = call["sample"].shape[-2:]
    text = call["encoder_hidden_states"]
    made = [adapter.residuals(tokens, height, width, text[i : i + 1]) for i in range(len(text))]
    return {block: torch.cat([maps[block] for maps in made]).to(text.dtype) for block in made[0]}


@torch.no_grad()
def hint(hands: Hands, size: int, setting: Setting) -> Tensor:
    """The depth picture that the two others are given, [rows, 3, size, size]."""
    depth = render_layers(hands, ["depth"], size, size, device=setting.device)["depth"]
    return depth.to(setting.device, setting.dtype)[:, None].expand(setting.rows, 3, size, size).contiguous()


def seconds(function: Callable[[], object], setting: Setting) -> float:
    setting.wait()
    start = time.perf_counter()
    function()
    setting.wait()
    return time.perf_counter() - start


@torch.no_grad()
def in_turn(
    functions: dict[str, Callable[[], object]], setting: Setting, rounds: int | None = None, warm: bool = True
) -> dict[str, list[float]]:
    """Seconds of each function, all of them in turn, after one round that warms up unless that is left out."""
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range((rounds or setting.rounds) + warm):
        for name, function in functions.items():
            found = seconds(function, setting)
            if turn >= warm:
                taken[name].append(found)
    return taken


class TimedAddition(Addition):
    """An Addition that measures its own part of a step, where it happens: between the blocks of a running UNet."""

    def __init__(self, site: Any, residual: Tensor) -> None:
        super().__init__(site, residual)
        self.starts: list[Any] = []
        self.stops: list[Any] = []

    def __call__(self, module: nn.Module, given: Any, output: Any) -> Any:
        self.starts.append(moment(self.residual.device))
        found = super().__call__(module, given, output)
        self.stops.append(moment(self.residual.device))
        return found

    def taken(self) -> float:
        """Seconds of the latest call; on a GPU between its events, so wait first."""
        start, stop = self.starts[-1], self.stops[-1]
        return stop - start if isinstance(start, float) else start.elapsed_time(stop) / 1000


def moment(device: torch.device) -> Any:
    """Now, on the processor's clock or as an event in the GPU's stream."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def share_of(timed: list[tuple[float, float]]) -> float:
    """What the hooks take over the rest of the same step, the median: a busy machine slows both alike."""
    return statistics.median(own / (whole - own) for own, whole in timed)


@contextlib.contextmanager
def added(names: dict[str, Any], call: dict[str, Any], variant: str) -> Iterator[Callable[[], Tensor]]:
    """One denoising step of a variant as a function; names holds its networks and what was made before."""
    unet = names["unet"]

    def step(**more: Any) -> Tensor:
        return unet(**call, **more, return_dict=False)[0]

    def controlled() -> Tensor:
        down, middle = names["ControlNet"](**call, controlnet_cond=names["hint"], return_dict=False)
        return step(down_block_additional_residuals=down, mid_block_additional_residual=middle)

    def adapted() -> Tensor:
        return step(down_intrablock_additional_residuals=[f.clone() for f in names["features"]])

    if variant == "HanDrawer":
        with apply_residuals(unet, names["description"], names["maps"]):
            yield step
    else:
        yield {"bare": step, "ControlNet": controlled, "T2I-Adapter": adapted}[variant]


def run_variant(
    names: dict[str, Any], call: dict[str, Any], variant: str, setting: Setting, own: list[float] | None = None
) -> Callable[[], object]:
    """A step that opens and closes the variant's context around itself, so that variants can take turns.

    own: HanDrawer's steps append to it what their hooks took of them, in seconds.
    """
    sites = {site.block: site for site in names["description"].sites}
    # What the hooks have fitted lives as long as their context, as in a sampling run: they stay, on for a step.
    kept: dict[int, TimedAddition] = {}

    def steered() -> Tensor:
        if not kept:
            kept.update({block: TimedAddition(sites[block], residual) for block, residual in names["maps"].items()})
        handles = [names["unet"].get_submodule(sites[b].module).register_forward_hook(h) for b, h in kept.items()]
        try:
            found = names["unet"](**call, return_dict=False)[0]
        finally:
            for handle in handles:
                handle.remove()
        if own is not None:
            setting.wait()
            own.append(sum(hook.taken() for hook in kept.values()))
        return found

    def other() -> Tensor:
        with added(names, call, variant) as step:
            return step()

    return steered if variant == "HanDrawer" else other
