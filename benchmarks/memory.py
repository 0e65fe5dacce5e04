"""What it saves to keep an adapter in fewer bits, and what that costs: `python benchmarks/memory.py`.

The adapter that ships with the small model, trained and therefore with weights as they really are, stored in each type
and computed in float32 or, under autocast, in bfloat16. The error is that of its maps against float32, for one hand.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__" and not __package__:
    sys.path[0] = str(ROOT)  # started as a file: find the repository's packages, not this folder's files

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from handrawer.adapter.checkpoint import load  # noqa: E402
from handrawer.adapter.handrawer import HanDrawer, hand_inputs  # noqa: E402
from handrawer.adapter.inputs import HandInputs  # noqa: E402
from handrawer.adapter.storage import STORED  # noqa: E402
from handrawer.hand.hands import Hands, hand_from_gesture  # noqa: E402
from handrawer.hand.model import load_open_hand  # noqa: E402

SHIPPED = ROOT / "handrawer" / "mini" / "weights" / "handrawer.safetensors"
LATENT = 32


def bytes_of(adapter: HanDrawer) -> int:
    return sum(t.numel() * t.element_size() for t in (*adapter.parameters(), *adapter.buffers()))


@torch.no_grad()
def maps(adapter: HanDrawer, inputs: HandInputs, text: Tensor, autocast: bool) -> dict[int, Tensor]:
    """The whole way from a hand to maps."""
    with torch.autocast(text.device.type, torch.bfloat16, enabled=autocast):
        return adapter.residuals(adapter.encode(inputs), LATENT, LATENT, text)


def error(found: dict[int, Tensor], expected: dict[int, Tensor]) -> float:
    """The largest relative error of a site's map."""
    return max(float((found[b].float() - m).norm() / m.norm()) for b, m in expected.items())


def measure(device: str, rounds: int) -> list[list[str]]:
    """Rows of the table; all are timed in turn."""
    hands = Hands((hand_from_gesture("peace", width=256, height=256, size=0.6),))
    reference = load(SHIPPED)
    inputs = hand_inputs(hands, load_open_hand(), reference.config.raster).to(device)
    generator = torch.Generator().manual_seed(0)
    text = torch.randn(1, 77, reference.config.unet.context_width, generator=generator).to(device)
    expected = maps(reference.to(device), inputs, text, autocast=False)
    adapters = {dtype: load(SHIPPED, dtype=dtype).to(device) for dtype in STORED}
    cases = [(dtype, autocast) for dtype in STORED for autocast in (False, True)]
    times: dict[tuple[torch.dtype, bool], list[float]] = {case: [] for case in cases}
    errors = {}
    for turn in range(rounds + 1):
        for dtype, autocast in cases:
            start = time.perf_counter()
            found = maps(adapters[dtype], inputs, text, autocast)
            errors[dtype, autocast] = error(found, expected)  # reading it waits for a GPU
            if turn:
                times[dtype, autocast].append(time.perf_counter() - start)
    return [
        [
            str(dtype).removeprefix("torch."),
            "bfloat16" if autocast else "float32",
            f"{bytes_of(adapters[dtype]) / 2**20:.2f}",
            f"{100 * errors[dtype, autocast]:.3f} %",
            f"{1000 * statistics.median(times[dtype, autocast]):.1f}",
        ]
        for dtype, autocast in cases
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    rows = measure(arguments.device, arguments.rounds)
    heads = ["stored as", "computed in", "MiB with the mesh", "largest error of a site's maps", "hand to maps, ms"]
    for row in (heads, ["---"] * len(heads), *rows):
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
