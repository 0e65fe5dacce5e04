"""The small model's bare base, guided by the rendered hand without any trained adapter.

Three ways, and the first two together:

* `start`: SDEdit (Meng et al. 2022, arXiv 2108.01073). The posed mesh, shaded plainly on grey, is encoded, noised to a
  share of the schedule and denoised with the prompt.
* `steer`: the predicted clean latent is moved at every step towards the rendered coverage, depth and normals, as a
  linear probe reads them from latents: x minimises strength |P x - y|^2 / variance + |x - x0|^2 (a^2 + s^2) / s^2, so
  the model's own prediction counts little where it is noise (as in pseudo-inverse guidance, Song et al. 2023).
* `both`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.ablation.pictures import condition_pictures, over_picture
from benchmarks.ablation.run import drawing
from benchmarks.ablation.sampling import Start, draw, encode
from benchmarks.ablation.workshop import Workshop
from handrawer.adapter.inputs import HandInputs

from .probe import Probe, fit_probe, wanted_maps

ITERATIONS = 15
BOTH_SHARE = 0.8  # of the schedule, where start and steering are used together
SKIN, GREY = (0.86, 0.66, 0.54), 0.55
FITTED = 2048  # training pictures that the probe is fitted on


@torch.no_grad()
def plain_pictures(inputs: HandInputs) -> Tensor:
    """[N, 3, 256, 256]: the mesh shaded by a lamp at the camera, in one colour on grey."""
    covered = over_picture(inputs.geometry[:, :1].float(), inputs.box, 256)
    toward = -condition_pictures(inputs)[:, 3:4]
    colour = torch.tensor(SKIN, device=covered.device)[:, None, None]
    shaded = (0.4 * covered + 0.6 * toward.clamp_min(0)) * colour
    return (shaded + (1 - covered) * GREY).clamp(0, 1)


def steering(probe: Probe, maps: Tensor, strength: float) -> Any:
    """A function for `draw`: predicted clean latents of some rows at noise s to steered ones."""

    def steer(clean: Tensor, rows: slice, s: float) -> Tensor:
        trust = 1 / max(s * s, 1e-3)  # how much the model's own prediction counts: a^2 + s^2 = 1
        step = 1 / (strength * probe.norm + trust)
        x = clean
        for _ in range(ITERATIONS):
            x = x - step * (strength * probe.back(probe(x) - maps[rows]) + trust * (x - clean))
        return x

    return steer


def zero_shot(shop: Workshop) -> None:
    """All settings on the held-out poses."""
    base, samples, inputs = shop.base, shop.samples, shop.poses.inputs
    assert samples.drawn is not None
    count = min(FITTED, len(samples))
    known = samples.drawn.inputs.hand(slice(0, count))
    seen = [wanted_maps(known.hand(slice(i, i + 256))) for i in range(0, count, 256)]
    probe = fit_probe(samples.latents[:count].float(), torch.cat(seen))
    shop.note(probe={"explained": probe.share.tolist(), "norm": probe.norm, "pictures": count})
    plain = encode(base, plain_pictures(inputs))
    shop.show("zero.plain", plain)
    maps, options = wanted_maps(inputs), drawing(shop.config)
    for share in shop.config.start_shares:
        shop.show(f"zero.start.{share}", draw(base, None, shop.poses, start=Start(plain, share), **options))
    for strength in shop.config.steer_strengths:
        steer = steering(probe, maps, strength)
        shop.show(f"zero.steer.{strength}", draw(base, None, shop.poses, steer=steer, **options))
        latents = draw(base, None, shop.poses, start=Start(plain, BOTH_SHARE), steer=steer, **options)
        shop.show(f"zero.both.{strength}", latents)
