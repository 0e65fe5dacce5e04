"""What the golden outputs of a format version are made of: a small frozen adapter, and hands as plain numbers.

Run `python -m tests.adapter.golden_cases VERSION` to write the files of a format version: once, when it is made, and
never again. The adapter's weights are random and its mesh graphs are those of the open hand when it was made; hands are
stored as their vertices. So neither training nor gestures nor skinning are part of it, only the mathematics.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import torch
from torch import Tensor

from handrawer.adapter.checkpoint import load, save
from handrawer.adapter.handrawer import HanDrawer, hand_inputs
from handrawer.adapter.unet import BASES, describe_blocks
from handrawer.hand.hands import Frame, Hand, Hands, hand_from_gesture
from handrawer.hand.model import load_open_hand

GOLDEN = Path(__file__).parent / "golden"
STEP = 37  # every so manieth value of a map is kept
SIZE = 256


def adapter_file(version: int) -> Path:
    return GOLDEN / f"adapter_{version}.safetensors"


def outputs_file(version: int) -> Path:
    return GOLDEN / f"outputs_{version}.safetensors"


def small_adapter() -> HanDrawer:
    """In the small model's layout, random throughout."""
    torch.manual_seed(0)
    base = BASES["mini"]
    modules = tuple(f"input_blocks.{i}" for i in range(len(base.blocks)))
    description = describe_blocks(base.blocks, modules, 4, base.context_width)
    sizes = {"width": 32, "heads": 4, "graph_widths": (8, 16, 32), "raster": 64, "mlp_ratio": 1.5}
    adapter = HanDrawer.create(description, load_open_hand(), **sizes)
    with torch.no_grad():
        for parameter in adapter.parameters():
            if not parameter.any():  # the projections start at zero
                parameter.normal_(0, 0.3)
    return adapter.eval()


def some_hands() -> list[Hand]:
    """A left and a right hand which overlap in one picture."""
    left = hand_from_gesture("peace", "left", SIZE, SIZE, centre=(0.6, 0.45), size=0.6).hands[0]
    right = hand_from_gesture("ok", "right", SIZE, SIZE, centre=(0.4, 0.5), size=0.5, orientation=(30, 10, -20)).hands[
        0
    ]
    return [left, right]


def with_vertices(hands: list[Hand], vertices: Tensor) -> list[Hand]:
    return [dataclasses.replace(hand, vertices=v) for hand, v in zip(hands, vertices, strict=True)]


def some_text(tokens: int, width: int) -> Tensor:
    """[1, tokens, width] without a random generator, whose numbers no version of torch promises."""
    place = torch.arange(tokens * width, dtype=torch.float64).reshape(1, tokens, width)
    return (torch.sin(place * 12.9898) * 3 + torch.sin(place * 0.37)).float()


@torch.no_grad()
def outputs(adapter: HanDrawer, hands: list[Hand]) -> dict[str, Tensor]:
    """Every case by name: tokens of the graph network and the maps of all sites."""
    left, right = hands
    pictures = {
        "one": Hands((Frame(SIZE, SIZE, (left,)),)),
        "two": Hands((Frame(SIZE, SIZE, (left, dataclasses.replace(right, z_order=1, weight=0.75))),)),
    }
    found = {}
    for name, shown in pictures.items():
        tokens = adapter.encode(hand_inputs(shown, load_open_hand(), adapter.config.raster))
        found[f"{name}.tokens"] = tokens.tokens
        text = some_text(77, adapter.config.unet.context_width)
        only = torch.ones(len(tokens.inputs), dtype=torch.bool)
        for case, maps in {
            "text": adapter.residuals(tokens, 16, 16, text),
            "masked text": adapter.residuals(tokens, 16, 16, text, (torch.arange(77) < 9)[None]),
            "null text": adapter.residuals(tokens, 16, 16),
            "odd grid": adapter.residuals(tokens, 19, 27, text),
            "box only": adapter.residuals(tokens, 16, 16, text, box_only=only),
        }.items():
            found |= {f"{name}.{case}.{block}": values for block, values in maps.items()}
    return found


def kept(values: Tensor) -> Tensor:
    """The part of a result that a golden file holds: every STEP-th value, and the norm of all."""
    return torch.cat([values.flatten()[::STEP], values.double().norm()[None].float()])


def main() -> None:
    from safetensors.torch import save_file

    version = int(sys.argv[1])
    if outputs_file(version).exists():
        raise SystemExit("It exists: the mathematics of a format version never changes, so its numbers stay.")
    GOLDEN.mkdir(exist_ok=True)
    save(adapter_file(version), small_adapter())
    hands = some_hands()
    found = {name: kept(values) for name, values in outputs(load(adapter_file(version)), hands).items()}
    found["vertices"] = torch.stack([hand.vertices for hand in hands]).float()
    save_file(found, outputs_file(version), {"torch": torch.__version__})


if __name__ == "__main__":
    main()
