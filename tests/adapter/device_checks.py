"""What a device computes is what the CPU computes: `python -m tests.adapter.device_checks cuda`, from the repository.

Small UNets in the layouts of SD1.5 and SDXL, random weights. No host and no pytest are needed; test_devices.py runs
the same checks on every device that it finds.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from handrawer.adapter.checkpoint import load
from handrawer.adapter.controls import controlled
from handrawer.adapter.grid import level_cells
from handrawer.adapter.handrawer import HanDrawer, HandTokens, hand_inputs
from handrawer.adapter.hooks import apply_residuals
from handrawer.adapter.pipelines import attach
from handrawer.adapter.unet import UNetDescription, describe_diffusers
from handrawer.hand.hands import Frame, Hands, hand_from_gesture
from handrawer.hand.model import load_open_hand

from .small_pipelines import draw, make_pipeline
from .small_unets import LAYOUTS, call, make_adapter, make_unet, write_adapter

ROOT = Path(__file__).resolve().parents[2]
LATENT = (25, 38)  # height, width: odd on two levels


@dataclass(frozen=True)
class Check:
    """A difference, relative unless it is a share, and the most that it may be."""

    name: str
    found: float
    most: float

    @property
    def good(self) -> bool:
        return self.found <= self.most


def relative(found: Tensor, expected: Tensor) -> float:
    found, expected = found.float().cpu(), expected.float().cpu()
    return float((found - expected).norm() / expected.norm())


def two_pictures() -> Hands:
    """Two hands that overlap in the first picture, one in the second."""
    width, height = 8 * LATENT[1], 8 * LATENT[0]
    left = hand_from_gesture("peace", "left", width, height, centre=(0.6, 0.45), size=0.7).hands
    right = hand_from_gesture("open", "right", width, height, centre=(0.4, 0.55), size=0.6).hands
    alone = hand_from_gesture("fist", "right", width, height, centre=(0.3, 0.6), size=0.5)
    return Hands((Frame(width, height, left + right), alone))


@dataclass(frozen=True)
class Bench:
    """A base on the CPU: its small UNet, an adapter for it, encoded hands, and a call of two rows."""

    base: str
    unet: Any
    adapter: HanDrawer
    tokens: HandTokens
    x: Tensor
    text: Tensor

    @staticmethod
    @torch.no_grad()
    def make(base: str) -> Bench:
        unet = make_unet(base)
        adapter = make_adapter(unet)
        tokens = adapter.encode(hand_inputs(two_pictures(), load_open_hand(), adapter.config.raster))
        generator = torch.Generator().manual_seed(0)
        text = torch.randn(2, 77, LAYOUTS[base].context, generator=generator)
        return Bench(base, unet, adapter, tokens, torch.randn(2, 4, *LATENT, generator=generator), text)

    @property
    def description(self) -> UNetDescription:
        return describe_diffusers(self.unet)

    def move(self, device: torch.device) -> None:
        self.unet.to(device)
        self.adapter.to(device)

    def step(self, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
        """The UNet's output on a device, where it must be already."""
        x, text = (t.to(device, dtype) for t in (self.x, self.text))
        pooled = torch.ones(2, 1280, device=device, dtype=dtype)
        return call(self.unet, self.base, x, torch.tensor([500], device=device), text, pooled)

    def maps(self, device: torch.device) -> dict[int, Tensor]:
        return self.adapter.residuals(self.tokens.to(device), *LATENT, self.text.to(device))


def canvas_windows() -> Any:
    """The canvas' arithmetic, nodes/windows.py, which needs no host; its package does, so that is stood in for."""
    for name, path in (("canvas_parts", ROOT), ("canvas_parts.nodes", ROOT / "nodes")):
        package = sys.modules.setdefault(name, types.ModuleType(name))
        package.__path__ = [str(path)]
    return importlib.import_module("canvas_parts.nodes.windows")


def rows_at(windows: Any, top: int, left: int, height: int, width: int, device: torch.device) -> Any:
    """Two rows of a call, the two pictures, that show a window of the latent."""
    place = torch.zeros(2, 3, height, width, dtype=torch.int32)
    place[:, 0] = torch.arange(left, left + width)
    place[:, 1] = torch.arange(top, top + height)[:, None]
    place[1, 2] = 1
    variant = torch.zeros(2, 1, dtype=torch.int32, device=device)
    return windows.CallRows.read(place.to(device), variant, *LATENT, 2)


@contextmanager
def as_on_the_canvas(bench: Bench, maps: dict[int, Tensor], device: torch.device) -> Iterator[None]:
    """What the host's input-block patch does, behind the same blocks of a diffusers UNet."""
    windows = canvas_windows()
    rows = rows_at(windows, 0, 0, *LATENT, device)
    handles = []
    for site in bench.description.sites:

        def add(_module: Any, _given: Any, output: Any, site=site) -> Any:
            h = output if isinstance(output, Tensor) else output[0]
            part = windows.rows_of([maps[site.block].to(h)], rows, site.level, h)
            added = windows.add_all(h, [(part, 1.0)])
            return added if isinstance(output, Tensor) else (added, *output[1:])

        handles.append(bench.unet.get_submodule(site.module).register_forward_hook(add))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def check_inputs(device: torch.device) -> list[Check]:
    """What is drawn of hands; pixels on an outline may fall to either side."""
    expected = hand_inputs(two_pictures(), load_open_hand(), 96)
    found = hand_inputs(two_pictures(), load_open_hand(), 96, device)
    differ = (found.geometry.cpu() - expected.geometry).abs().amax(1) > 1e-3
    return [
        Check("boxes", relative(found.box, expected.box), 1e-5),
        Check("pixels of the rasters that differ, share", float(differ.float().mean()), 2e-3),
    ]


@torch.no_grad()
def check_effect(bench: Bench, device: torch.device) -> list[Check]:
    """Maps and what they do to the output in float32: against the CPU, and the canvas' arithmetic against hooks."""
    cpu = torch.device("cpu")
    expected, bare = bench.maps(cpu), bench.step(cpu)
    with apply_residuals(bench.unet, bench.description, expected):
        effect = bench.step(cpu) - bare
    bench.move(device)
    try:
        maps, plain = bench.maps(device), bench.step(device)
        with apply_residuals(bench.unet, bench.description, maps):
            steered = bench.step(device)
        with as_on_the_canvas(bench, maps, device):
            canvas = bench.step(device)
        nothing = {block: torch.zeros_like(values) for block, values in maps.items()}
        with apply_residuals(bench.unet, bench.description, nothing):
            unmoved = bench.step(device)
    finally:
        bench.move(cpu)
    steered, canvas = steered - plain, canvas - plain
    name, worst = bench.base, max(relative(maps[block], values) for block, values in expected.items())
    return [
        Check(f"{name}: maps", worst, 1e-4),
        Check(f"{name}: effect on the output", relative(steered, effect), 1e-3),
        Check(f"{name}: effect by the canvas' arithmetic against hooks", relative(canvas, steered), 1e-3),
        Check(f"{name}: maps of zero, values that change", float((unmoved != plain).float().mean()), 0.0),
    ]  # fmt: skip


@torch.no_grad()
def check_half(bench: Bench, device: torch.device) -> list[Check]:
    """The UNet in half precision (which rounds it for good), its maps from the adapter in float32."""
    cpu, found = torch.device("cpu"), []
    maps, bare = bench.maps(cpu), bench.step(cpu)
    with apply_residuals(bench.unet, bench.description, maps):
        effect = bench.step(cpu) - bare
    for dtype, most in ((torch.float16, 0.03), (torch.bfloat16, 0.2)):
        bench.unet.to(device, dtype)
        try:
            plain = bench.step(device, dtype)
            with apply_residuals(bench.unet, bench.description, maps):
                steered = bench.step(device, dtype)
        finally:
            bench.unet.to(cpu, torch.float32)
        error = relative(steered.float() - plain.float(), effect)
        found.append(Check(f"{bench.base}: effect in {str(dtype).removeprefix('torch.')}", error, most))
    return found


@torch.no_grad()
def check_windows(bench: Bench, device: torch.device) -> list[Check]:
    """Parts of the picture on whole cells and between them, masks and strengths: against the CPU."""
    cpu, windows, found = torch.device("cpu"), canvas_windows(), []
    maps = bench.maps(cpu)
    for what, (top, left) in {"on whole cells": (8, 8), "between cells": (3, 5)}.items():
        worst = 0.0
        for site in bench.description.sites:
            size = [level_cells(site.level, side) for side in (16, 24)]
            h = torch.zeros(2, site.channels, *size)
            parts = [
                windows.rows_of([maps[site.block].to(d)], rows_at(windows, top, left, 16, 24, d), site.level, h.to(d))
                for d in (cpu, device)
            ]
            assert parts[0].any(), "this part of the picture shows a hand"
            worst = max(worst, relative(parts[1], parts[0]))
        found.append(Check(f"{bench.base}: part of the picture {what}", worst, 1e-4))
    mask = torch.zeros(1, 40, 60)
    mask[..., :31] = 1
    options: dict[str, Any] = {"strength": 0.7, "levels": {0: 0.5}, "mask": mask}
    expected = controlled(maps, bench.description, *LATENT, **options)
    there = controlled({block: m.to(device) for block, m in maps.items()}, bench.description, *LATENT, **options)
    worst = max(relative(there[block], values) for block, values in expected.items())
    return [*found, Check(f"{bench.base}: mask, strength and levels", worst, 1e-5)]


@torch.no_grad()
def check_storage(device: torch.device) -> list[Check]:
    """Adapters kept in fewer bits, and computed under autocast."""
    found = []
    with TemporaryDirectory() as folder:
        file = write_adapter(Path(folder) / "small.safetensors", make_unet("sd15"))
        kinds = {torch.float16: 0.01, torch.bfloat16: 0.05}
        if device.type != "mps":  # has no 8-bit floats
            kinds |= {torch.float8_e4m3fn: 0.3, torch.float8_e5m2: 0.5}
        inputs = hand_inputs(two_pictures(), load_open_hand(), 96)
        text = torch.randn(1, 77, 768, generator=torch.Generator().manual_seed(1))

        def maps(adapter: HanDrawer, where: torch.device, autocast: bool = False) -> Tensor:
            adapter = adapter.to(where)
            with torch.autocast(where.type, torch.bfloat16, enabled=autocast):
                made = adapter.residuals(adapter.encode(inputs.to(where)), *LATENT, text.to(where))
            return torch.cat([values.float().flatten().cpu() for values in made.values()])

        expected = maps(load(file), torch.device("cpu"))
        for dtype, most in kinds.items():
            error = relative(maps(load(file, dtype=dtype), device), expected)
            found.append(Check(f"maps with weights in {str(dtype).removeprefix('torch.')}", error, most))
        found.append(Check("maps under autocast in bfloat16", relative(maps(load(file), device, True), expected), 0.05))
    return found


def check_pipeline(device: torch.device) -> list[Check]:
    """A whole diffusers pipeline on the device, under guidance; strength 0 changes nothing."""
    hands = hand_from_gesture("peace", "left", 64, 64, size=0.8)

    def latents(where: torch.device, dtype: torch.dtype, strength: float | None) -> Tensor:
        pipeline = make_pipeline("sd15").to(where, dtype)
        adapter = make_adapter(make_unet("sd15")).to(where)
        options = {"width": 64, "height": 64, "negative_prompt": "blurry"}
        if strength is None:
            return draw(pipeline, **options).float().cpu()
        with attach(pipeline, adapter, hands, strength=strength):
            return draw(pipeline, **options).float().cpu()

    cpu, single = torch.device("cpu"), torch.float32
    bare, steered = latents(device, single, None), latents(device, single, 1.0)
    half = latents(device, torch.float16, 1.0)
    return [
        Check("pipeline: latents", relative(steered, latents(cpu, single, 1.0)), 1e-3),
        Check("pipeline: strength 0, values that change",
              float((latents(device, single, 0.0) != bare).float().mean()), 0.0),
        Check("pipeline in float16: latents", relative(half, steered), 0.1),
    ]  # fmt: skip


def checks(device: torch.device) -> Iterator[tuple[str, Callable[[], list[Check]]]]:
    """All checks by name, for `run` and for the tests."""
    if device.type != "mps":  # there the canvas draws on the CPU: Metal lacks the minimum of 64-bit integers
        yield "inputs", lambda: check_inputs(device)
    for base in ("sd15", "sdxl"):
        yield f"{base} effect", lambda base=base: check_effect(Bench.make(base), device)
        yield f"{base} half", lambda base=base: check_half(Bench.make(base), device)
        yield f"{base} windows", lambda base=base: check_windows(Bench.make(base), device)
    yield "storage", lambda: check_storage(device)
    yield "pipeline", lambda: check_pipeline(device)


@contextmanager
def exact_products() -> Iterator[None]:
    """No TF32, which rounds what goes into float32 products to 10 bits: cuDNN's convolutions use it by default."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


def main(words: list[str]) -> int:
    from diffusers.utils import logging

    logging.set_verbosity_error()
    device = torch.device(words[0] if words else "cpu")
    print(f"{device.type}, torch {torch.__version__}\n\n| | found | at most |\n|---|---|---|")
    wrong = 0
    for _, check in checks(device):
        with exact_products():
            results = check()
        for found in results:
            wrong += not found.good
            print(
                f"| {found.name} | {found.found:.1e}{'' if found.good else ' **too much**'} | {found.most:g} |",
                flush=True,
            )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
