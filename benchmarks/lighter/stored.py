"""The adapter's file in fewer bits: sizes, how fast it makes its maps, and what it draws."""

from __future__ import annotations

import copy
import dataclasses
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.ablation.base import FrozenBase
from benchmarks.ablation.run import drawing
from benchmarks.ablation.sampling import draw
from benchmarks.ablation.variants import AdapterGuide
from benchmarks.ablation.workshop import Workshop
from handrawer.adapter.checkpoint import load, save
from handrawer.adapter.handrawer import HanDrawer
from handrawer.adapter.inputs import HandInputs
from handrawer.adapter.storage import STORED

REPEATS = 20


def stored_as(adapter: HanDrawer, dtype: torch.dtype, folder: Path) -> tuple[HanDrawer, int]:
    """The adapter written to a file in `dtype`, read again and kept so; and the file's bytes."""
    path = folder / f"{str(dtype).removeprefix('torch.')}.safetensors"
    save(path, adapter.to("cpu"), dtype=dtype, overwrite=True)
    return load(path, dtype=dtype), path.stat().st_size


@torch.no_grad()
def milliseconds(base: FrozenBase, adapter: HanDrawer, inputs: HandInputs) -> float:
    """To encode one hand and make its maps for one text: median of several."""
    text = base.encode(base.empty[None])
    one = dataclasses.replace(inputs.hand(slice(0, 1)), sizes=inputs.sizes[:1])
    times = []
    for _ in range(REPEATS):
        began = time.monotonic()
        adapter.residuals(adapter.encode(one), 32, 32, text)
        if base.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.monotonic() - began)
    return 1000 * sorted(times)[len(times) // 2]


def stored_types(shop: Workshop) -> None:
    """Every type that a file may have, on the adapter that ships."""
    base, found = shop.base, {}
    with tempfile.TemporaryDirectory() as folder:
        for dtype in STORED:
            adapter, size = stored_as(copy.deepcopy(base.pipe.adapter), dtype, Path(folder))
            adapter = adapter.to(base.device)
            took = milliseconds(base, adapter, shop.poses.inputs)
            name = str(dtype).removeprefix("torch.")
            found[name] = {"bytes": size, "milliseconds": round(took, 3)}
            shop.show(f"stored.{name}", draw(base, AdapterGuide(adapter), shop.poses, **drawing(shop.config)))
    shop.note(stored=found)
