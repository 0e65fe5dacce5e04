"""How many synthetic pictures a second are drawn, and what each option costs.

    python benchmarks/data/synthetic.py OUT [--device cuda] [--sizes 256,512,1024] [--batch 16] [--seconds 1.5]

Every picture comes with what training needs: inputs of the adapter at a raster of 128, and masks. Writes
OUT/synthetic.json and OUT/synthetic.md, also how much a picture depends on those that are drawn with it; what was
measured into the same OUT before stays.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

import torch  # noqa: E402

from handrawer.hand.model import load_open_hand  # noqa: E402
from handrawer.synthetic.options import FULL, PLAIN, SyntheticOptions  # noqa: E402
from handrawer.train.sources import Synthetic, open_synthetic  # noqa: E402

RASTER = 128
WARM_UP = 2


def cases() -> dict[str, SyntheticOptions]:
    """What is measured, by name; each option is always on in its own case."""
    names = [field.name for field in dataclasses.fields(SyntheticOptions)]
    single = {name: SyntheticOptions(**{name: 1.0}) for name in names if name != "crossing"}
    single["two_hands"] = SyntheticOptions(two_hands=1.0, crossing=0.0)
    single["two hands, crossing"] = SyntheticOptions(two_hands=1.0, crossing=1.0)
    return {"plain": PLAIN, "full": FULL, **single}


def settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def make(source: Synthetic[Any], numbers: list[int]) -> dict[str, torch.Tensor]:
    """Everything that a training step wants of some pictures."""
    scene = source.scene(numbers)
    inputs = source.inputs(scene, RASTER)
    pictures = source.pictures(scene)
    cells = source.size // 8
    return {"pictures": pictures, "mask": source.mask(scene, cells, cells), "geometry": inputs.geometry}


def rate(source: Synthetic[Any], batch: int, seconds: float, device: torch.device) -> float:
    """Pictures a second; on the CPU of processor time, which other work on the machine does not count into."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    for step in range(WARM_UP if device.type == "cuda" else 1):
        make(source, list(range(step * batch, (step + 1) * batch)))
    settle(device)
    started, count = clock(), 0
    while clock() - started < seconds:
        make(source, list(range(100 + count, 100 + count + batch)))
        settle(device)
        count += batch
    return count / (clock() - started)


def differences(size: int, device: torch.device) -> dict[str, float]:
    """How much pictures differ that are drawn alone and with others: greatest and mean difference, of 0..1."""
    source = open_synthetic(1, size, load_open_hand().to(device), FULL)
    together = make(source, list(range(8)))["pictures"]
    alone = torch.cat([make(source, [number])["pictures"] for number in range(8)])
    away = (together - alone).abs()
    return {"most": float(away.max()), "mean": float(away.mean())}


def report(found: dict[str, Any]) -> str:
    sizes = sorted(int(size) for size in found["rates"])
    of = " of processor time" if found["device"] == "CPU" else ""
    lines = ["# Synthetic pictures, measured", "", f"{found['device']}, torch {found['torch']}, {found['threads']} "
             f"thread(s); batches of {found['batch']}. Pictures a second{of}, each with the adapter's inputs "
             f"(raster {RASTER}) and masks, all drawn on the device; an option's own line has it in every picture, "
             "`full` by its probabilities. By `python benchmarks/data/synthetic.py`.", ""]  # fmt: skip
    lines += ["| | " + " | ".join(f"{size} x {size}" for size in sizes) + " |", "| --- |" + " --- |" * len(sizes)]
    for name in cases():
        cells = [found["rates"][str(size)].get(name) for size in sizes]
        shown = ["" if cell is None else f"{cell:.1f}" if cell < 100 else f"{cell:.0f}" for cell in cells]
        lines.append(f"| {name.replace('_', ' ')} | " + " | ".join(shown) + " |")
    away = found["differences"]
    lines += ["", f"The same pictures drawn alone and eight together differ by at most {away['most']:.2g} of 1 (mean "
              f"{away['mean']:.2g})."]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sizes", default="256,512,1024")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each case")
    parser.add_argument("--only", default="", help="cases, by comma; default: all")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cpu":
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    model, sizes = load_open_hand().to(device), [int(size) for size in arguments.sizes.split(",")]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    found: dict[str, Any] = {
        "device": name, "torch": torch.__version__, "threads": torch.get_num_threads(), "batch": arguments.batch,
        "rates": {}, "differences": differences(min(sizes), device),
    }  # fmt: skip
    arguments.out.mkdir(parents=True, exist_ok=True)
    before = arguments.out / "synthetic.json"
    if before.is_file():
        earlier = json.loads(before.read_text(encoding="utf-8"))
        if all(earlier[key] == found[key] for key in ("device", "torch", "threads", "batch")):
            found["rates"] = earlier["rates"]
    for size in sizes:
        rates = found["rates"].setdefault(str(size), {})
        for case, options in cases().items():
            if arguments.only and case not in arguments.only.split(","):
                continue
            rates[case] = rate(open_synthetic(1, size, model, options), arguments.batch, arguments.seconds, device)
            print(f"{size} {case}: {rates[case]:.1f} pictures a second", flush=True)
            (arguments.out / "synthetic.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (arguments.out / "synthetic.md").write_text(report(found), encoding="utf-8")


if __name__ == "__main__":
    main()
