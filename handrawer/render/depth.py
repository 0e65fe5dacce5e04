"""How depth becomes brightness: which depths are the brightest and the darkest, and along which curve between."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .faces import NEAR, prepare
from .rasterise import centres
from .scene import Scene

FAR_VALUE = 0.2
"""Brightness of the farthest point of a hand in a depth picture, so that it stands out from the black background."""

RANGES = ("picture", "hand", "batch")
CURVES = ("inverse", "linear")

_PROBE = 192  # pixels a side of the small picture in which a hand's visible depths are looked up

Brightness = tuple[Tensor, Tensor]
"""[N] factor and [N] offset of each mesh: its brightness is factor * nearness(depth) + offset."""


def check_depth(depth_range: str | tuple[float, float], curve: str) -> None:
    """Raises ValueError for what is no range or no curve."""
    if curve not in CURVES:
        raise ValueError(f'There is no depth curve "{curve}": choose from {", ".join(CURVES)}.')
    if isinstance(depth_range, str):
        if depth_range not in RANGES:
            raise ValueError(f'depth_range must be "picture", "hand", "batch" or (near, far), not "{depth_range}".')
    elif not 0 < depth_range[0] < depth_range[1]:
        raise ValueError(f"depth_range must be (near, far) in metres with 0 < near < far, not {depth_range}.")


def nearness(depth: Tensor, curve: str) -> Tensor:
    """What brightness is proportional to, greater where nearer: 1 / depth ("inverse") or -depth ("linear")."""
    return 1 / depth if curve == "inverse" else -depth


def brightness(scenes: Sequence[Scene], depth_range: str | tuple[float, float], curve: str) -> list[Brightness]:
    """For each scene; depth_range and curve as render_layers takes them."""
    extents = []
    for scene in scenes:
        low, high = _visible_extent(scene, curve) if depth_range == "hand" else _extent(scene, curve)
        shift = torch.zeros_like(low)
        if scene.order is not None and isinstance(depth_range, str):
            shift = _shifts(low, high, scene.order)
        extents.append((low + shift, high + shift, shift))
    if not isinstance(depth_range, str):
        high, low = nearness(torch.tensor(depth_range, dtype=torch.float32), curve).tolist()
        extents = [(torch.full_like(s, low), torch.full_like(s, high), s) for _, _, s in extents]
    elif depth_range != "hand":
        groups = [extents] if depth_range == "batch" else [[extent] for extent in extents]
        extents = [extent for group in groups for extent in _joined(group)]
    result = []
    for low, high, shift in extents:
        size = high - low
        # A hand without any depth (seen is one plane) is as near as can be.
        flat = ~(size > 1e-6)
        factor = torch.where(flat, 0, (1 - FAR_VALUE) / size)
        result.append((factor, torch.where(flat, 1, FAR_VALUE + factor * (shift - low))))
    return result


def _extent(scene: Scene, curve: str) -> tuple[Tensor, Tensor]:
    """Least and greatest nearness [N] of each hand's vertices, whichever way they face: steady in a video.

    A hand out of the picture has no extent, and does not darken the others.
    """
    # One vertex more that is never seen: there may be no others.
    points = F.pad(torch.cat([scene.pixels[..., :2], scene.vertices[..., 2:]], -1), (0, 0, 0, 1))
    place, depth = points[..., :2], points[..., 2]
    seen = depth > NEAR
    size = torch.tensor([scene.width, scene.height], device=depth.device)
    low = torch.where(seen[..., None], place, torch.inf).amin(1)
    high = torch.where(seen[..., None], place, -torch.inf).amax(1)
    seen &= ((low < size) & (high > 0)).all(1, keepdim=True)
    near = nearness(torch.where(seen, depth, 1), curve)
    return torch.where(seen, near, torch.inf).amin(1), torch.where(seen, near, -torch.inf).amax(1)


@torch.no_grad()
def _visible_extent(scene: Scene, curve: str) -> tuple[Tensor, Tensor]:
    """Least and greatest nearness [N] of what would be visible of each hand if it were alone and wholly in sight."""
    low, high = _extent(scene, curve)
    if not scene.places:
        return low, high
    place, depth = scene.pixels[..., :2], scene.pixels[..., 2:]
    sound = (depth > NEAR) & torch.isfinite(place).all(-1, keepdim=True)
    corner = torch.where(sound, place, torch.inf).amin(1, keepdim=True)
    size = torch.where(sound, place, -torch.inf).amax(1, keepdim=True) - corner
    points = torch.cat([(place - corner) * (_PROBE / size.amax(-1, keepdim=True).clamp(min=1e-6)), depth], -1)
    each = torch.arange(len(points), device=points.device)
    prepared = prepare(points, scene.faces, each, _PROBE, _PROBE, "back")
    drawn = centres(prepared, len(points), _PROBE, _PROBE)
    seen = nearness(drawn.depth, curve)
    least = torch.full_like(low, torch.inf).scatter_reduce(0, drawn.mesh, seen, "amin")
    most = torch.full_like(high, -torch.inf).scatter_reduce(0, drawn.mesh, seen, "amax")
    # A hand too small or too oddly placed to be looked up keeps what its vertices say.
    found = torch.isfinite(least)
    return torch.where(found, least, low), torch.where(found, most, high)


def _joined(group: list[tuple[Tensor, Tensor, Tensor]]) -> list[tuple[Tensor, Tensor, Tensor]]:
    lows, highs = torch.cat([low for low, _, _ in group]), torch.cat([high for _, high, _ in group])
    if not lows.numel():
        return group
    return [(lows.amin().expand_as(s), highs.amax().expand_as(s), s) for _, _, s in group]


def _shifts(low: Tensor, high: Tensor, order: Tensor) -> Tensor:
    """What to add to each hand's nearness so that no hand of a lower order is farther than one of a higher order."""
    shift = torch.zeros_like(low)
    behind = torch.full((), -torch.inf, device=low.device)
    for rank in torch.unique(order).flip(0):
        mine = order == rank
        step = (behind - low[mine].amin()).clamp(min=0)
        shift[mine] = step
        behind = torch.maximum(behind, high[mine].amax() + step)
    return shift
