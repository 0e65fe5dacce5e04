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

from .pictures import over_picture
from .sampling import Start, draw
from .workshop import Workshop


def hand_region(inputs: HandInputs, cells: int = 32) -> Tensor:
    """[B, 1, cells, cells] in 0..1: the silhouette, grown by a cell and a half."""
    covered = over_picture(inputs.geometry[:, :1], inputs.box, cells)
    return F.avg_pool2d((F.max_pool2d(covered, 3, 1, 1) > 0.05).float(), 3, 1, 1, count_include_pad=False)


def compare_repair(shop: Workshop) -> None:
    """Draws both at several lengths; the judge's scores say which are equal."""
    config, base = shop.config, shop.base
    options: dict[str, Any] = {"guidance": config.guidance, "chunk": config.chunk}
    shipped = shop.guides["shipped"]
    found: dict[str, Any] = {}

    def timed(name: str, evaluations: float, **given: Any) -> None:
        began = time.monotonic()
        latents = draw(base, given.pop("guide"), shop.poses, **given, **options)
        if base.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = (time.monotonic() - began) / len(shop.poses)
        found[name] = {"evaluations": evaluations, "milliseconds": round(1000 * seconds, 3)}
        shop.show(name, latents)

    for steps in config.single_steps:
        timed(f"single.{steps}", 2 * steps, guide=shipped, steps=steps)
    timed("single.text", 2 * config.sampling_steps, guide=None, steps=config.sampling_steps)
    mask = hand_region(shop.poses.inputs)
    guides = {"adapter": shipped} | ({"control": shop.guides["control"][0]} if "control" in shop.guides else {})
    for kind, guide in guides.items():
        for share in config.repair_shares:
            start = Start(shop.guides["text latents"], share, mask)
            steps = config.sampling_steps
            count = 2 * max(1, round(share * steps))
            # The first picture's evaluations, then the repair's.
            timed(f"repair.{kind}.{share}", 2 * steps + count, guide=guide, steps=steps, start=start)
    shop.note(repair=found)
