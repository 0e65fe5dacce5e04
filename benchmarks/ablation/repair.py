"""Single stage against the base's picture with a repair of the hand afterwards.

The repair is what hand refiners do: the finished picture's hand region (the wanted hand's dilated silhouette) is
noised again to a share of the schedule and denoised with a guide that knows the hand, the rest kept. It is done with
the ControlNet arm, as such repairs usually are, and with the adapter that ships.
"""

from __future__ import annotations

import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from handrawer.adapter.inputs import HandInputs

from .base import Guide
from .pictures import over_picture
from .sampling import Start, draw
from .workshop import Workshop


def hand_region(inputs: HandInputs, cells: int = 32) -> Tensor:
    """[B, 1, cells, cells] in 0..1: the silhouette, grown by a cell and a half."""
    covered = over_picture(inputs.geometry[:, :1], inputs.box, cells)
    return F.avg_pool2d((F.max_pool2d(covered, 3, 1, 1) > 0.05).float(), 3, 1, 1, count_include_pad=False)


def compare_repair(shop: Workshop, guides: dict[str, Guide]) -> None:
    """Draws with repairs by some guides at several lengths; and, with the adapter, the single stage at several.

    The judge's scores say which are equal.
    """
    config, base = shop.config, shop.base
    options: dict[str, Any] = {"guidance": config.guidance, "chunk": config.chunk}
    steps = config.sampling_steps
    found: dict[str, Any] = shop.results.setdefault("repair", {})

    def timed(name: str, evaluations: float, guide: Guide | None, **given: Any) -> Tensor:
        began = time.monotonic()
        latents = draw(base, guide, shop.poses, **given, **options)
        if base.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = (time.monotonic() - began) / len(shop.poses)
        found[name] = {"evaluations": evaluations, "milliseconds": round(1000 * seconds, 3)}
        return latents

    draw(base, None, shop.poses.rows(0, 1), steps=1, **options)  # what is slow the first time
    text = timed("text", 2 * steps, None, steps=steps)
    if "adapter" in guides:
        for count in (*config.single_steps, steps):
            shop.show(f"single.{count}", timed(f"single.{count}", 2 * count, guides["adapter"], steps=count))
    mask = hand_region(shop.poses.inputs)
    for kind, guide in guides.items():
        for share in config.repair_shares:
            name, count = f"repair.{kind}.{share}", 2 * max(1, round(share * steps))
            start = Start(text, share, mask)
            # The first picture's evaluations, then the repair's.
            shop.show(name, timed(name, 2 * steps + count, guide, steps=steps, start=start))
    shop.write()
