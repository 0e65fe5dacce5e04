"""A scene's layers, band by band: one sample a pixel, and many where that would show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .faces import NEAR, prepare
from .outline import outlines, touched
from .rasterise import Covered, centres
from .scene import Scene
from .subsamples import subsamples

FINE_LAYERS = ("normals", "parts")
"""Layers that also change where a part of a hand ends, without any outline."""


@dataclass(frozen=True)
class Layer:
    """How a layer is coloured: its value at drawn samples, [M] or [M, C], and the background's."""

    values: Callable[[Covered], Tensor]
    background: tuple[float, ...] | float = 0.0


@dataclass(frozen=True)
class Crop:
    """What is visible of one hand, and where in the picture: [rows, columns] float32."""

    rows: slice
    columns: slice
    share: Tensor


@dataclass
class _Band:
    """What is drawn in rows top..bottom of the window's columns left..right of the picture."""

    left: int
    top: int
    right: int
    bottom: int
    coarse: Covered
    pixels: Tensor  # [A] int64, the pixels with many samples, flat in the band
    outlined: Tensor | None  # [K] int64, which of them an outline passes through; None: all
    fine: list[tuple[int, int, Covered]] = field(default_factory=list)  # of pixels start..stop


def draw_layers(
    scene: Scene,
    layers: Mapping[str, Layer],
    pictures: Mapping[str, Tensor],
    crops: Sequence[Crop],
    antialias: int,
    max_samples: int,
) -> None:
    """Draw into pictures, [H, W] or [H, W, C] float32 for each of the layers, and into the crops, one for each hand.

    antialias    samples a pixel along each axis
    max_samples  bound on the pixels, and on the samples, worked on at once
    """
    for name, layer in layers.items():
        pictures[name][:] = torch.tensor(layer.background, device=scene.pixels.device)
    finer = any(name in FINE_LAYERS for name in layers)
    for band, (start, stop) in _bands(scene, antialias, max_samples, finer):
        inner = slice(start - band.top, stop - band.top)
        for name, layer in layers.items():
            drawn = _colour(band, layer, name in FINE_LAYERS)
            pictures[name][start:stop, band.left : band.right] = drawn[inner]
        if crops:
            _fill_crops(band, crops, start, stop)


def window(scene: Scene) -> tuple[int, int, int, int] | None:
    """left, top, right, bottom in whole pixels around all that can be drawn, or None."""
    boxes = [box for box in hand_windows(scene) if box is not None]
    if not boxes:
        return None
    left, top, right, bottom = zip(*boxes, strict=True)
    return min(left), min(top), max(right), max(bottom)


def hand_windows(scene: Scene) -> list[tuple[int, int, int, int] | None]:
    """For each mesh left, top, right, bottom in whole pixels of the picture, or None where it is out of sight."""
    if not scene.places:
        return []
    sound = (scene.pixels[..., 2] > NEAR) & torch.isfinite(scene.pixels).all(-1)
    size = torch.tensor([scene.width, scene.height], device=sound.device)
    place = scene.pixels[..., :2]
    low = torch.where(sound[..., None], place, torch.inf).amin(1).floor().clamp(min=0).minimum(size)
    high = torch.where(sound[..., None], place, -torch.inf).amax(1).ceil().clamp(min=0).minimum(size)
    found = torch.cat([low, high], 1).int().tolist()
    return [(a, b, c, d) if c > a and d > b else None for a, b, c, d in found]


def _filled(size: tuple[int, int], background: tuple[float, ...] | float, device: torch.device) -> Tensor:
    if isinstance(background, float):
        return torch.full(size, background, device=device)
    return torch.tensor(background, device=device).repeat(*size, 1)


def _bands(scene: Scene, antialias: int, max_samples: int, finer: bool) -> Iterator[tuple[_Band, tuple[int, int]]]:
    """Bands of the picture, and which of their rows to keep: pixels are compared with those around them."""
    box = window(scene)
    if box is None:
        return
    left, top, right, bottom = box
    step = max(1, max_samples // (right - left))
    for start in range(top, bottom, step):
        stop = min(start + step, bottom)
        around = max(start - 1, top), min(stop + 1, bottom)
        yield _band(scene, (left, around[0], right, around[1]), antialias, max_samples, finer), (start, stop)


@torch.no_grad()
def _band(scene: Scene, box: tuple[int, int, int, int], antialias: int, max_samples: int, finer: bool) -> _Band:
    left, top, right, bottom = box
    height, width = bottom - top, right - left
    points = scene.pixels - torch.tensor([left, top, 0.0], device=scene.pixels.device)
    picture = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    prepared = prepare(points, scene.faces, picture, height, width, "back")
    coarse = centres(prepared, 1, height, width, scene.order)
    if antialias == 1:
        return _Band(*box, coarse, picture[:0], None)
    marked = touched(*outlines(points, scene.edges, prepared), height, width)
    if len(points) > 1:
        marked |= _borders(coarse, coarse.mesh)
    outlined = None
    if finer:
        either = marked | _borders(coarse, parts_of(coarse, scene))
        pixels = torch.nonzero(either).squeeze(1)
        outlined = torch.nonzero(marked.index_select(0, pixels)).squeeze(1)
    else:
        pixels = torch.nonzero(marked).squeeze(1)
    band = _Band(*box, coarse, pixels, outlined)
    step = max(1, max_samples // antialias**2)
    for start in range(0, len(pixels), step):
        some = pixels[start : start + step]
        covered = subsamples(prepared, some, antialias, height, width, scene.order)
        band.fine.append((start, start + len(some), covered))
    return band


def _borders(coarse: Covered, label: Tensor) -> Tensor:
    """[H * W] bool, the drawn pixels with a neighbour, above, below or beside, of another label [M]."""
    labels = coarse.spread(label.to(torch.int32), -1)[0]
    marked = torch.zeros_like(labels, dtype=torch.bool)
    for one, other, a, b in (
        (labels[1:], labels[:-1], marked[1:], marked[:-1]),
        (labels[:, 1:], labels[:, :-1], marked[:, 1:], marked[:, :-1]),
    ):
        # Next to the background there is an outline, which says better which pixels it passes through.
        differs = (one != other) & (one >= 0) & (other >= 0)
        a |= differs
        b |= differs
    return marked.flatten()


def parts_of(covered: Covered, scene: Scene) -> Tensor:
    """[M] int64, the rig joint that the surface follows most at each drawn sample, of those that a corner does."""
    if "parts" not in covered.kept:
        corners = scene.faces.T.index_select(1, covered.seen_face)  # [3, K]
        labels = scene.weights.argmax(1)[corners]
        parts = covered.of_seen(labels[0])
        # Where the corners of a face agree so does its inside; only the others need their weights mixed.
        mixed = (labels != labels[0]).any(0)
        some = torch.nonzero(covered.of_seen(mixed)).squeeze(1)
        border = covered.select(some)
        # How much each corner follows the joint that another corner follows most: [3 joints, 3 corners, K].
        follows = scene.weights[corners[None], labels[:, None]]
        choice = border.weighed(follows).argmax(0)
        which = torch.stack([border.of_seen(label) for label in labels])
        covered.kept["parts"] = parts.index_copy(0, some, which.gather(0, choice[None])[0])
    return covered.kept["parts"]


def _colour(band: _Band, layer: Layer, finer: bool) -> Tensor:
    """[h, w] or [h, w, C]: the band's pixels, the mean of all samples where there are many."""
    size = (band.bottom - band.top, band.right - band.left)
    device = band.pixels.device
    values = layer.values(band.coarse)
    picture = _filled(size, layer.background, device)
    flat = picture.view(size[0] * size[1], *values.shape[1:])
    flat.index_copy_(0, band.coarse.pixel, values)
    if band.fine:
        means = torch.cat([_mean(covered, layer, device) for _, _, covered in band.fine])
        pixels = band.pixels
        if not finer and band.outlined is not None:
            pixels, means = pixels.index_select(0, band.outlined), means.index_select(0, band.outlined)
        flat.index_copy_(0, pixels, means)
    return picture


def _mean(fine: Covered, layer: Layer, device: torch.device) -> Tensor:
    samples = _filled((fine.size[0], fine.size[1]), layer.background, device)
    values = layer.values(fine)
    samples.view(fine.size[0] * fine.size[1], *values.shape[1:]).index_copy_(0, fine.pixel, values)
    return samples.sum(0) / fine.size[0]


def _fill_crops(band: _Band, crops: Sequence[Crop], start: int, stop: int) -> None:
    size = (band.bottom - band.top, band.right - band.left)
    nearest = band.coarse.spread(band.coarse.mesh.to(torch.int32), -1)[0]
    many = torch.zeros(size, dtype=torch.bool, device=nearest.device)
    many.view(-1)[band.pixels] = True
    shares = torch.cat([_shares(covered, len(crops)) for _, _, covered in band.fine], 1) if band.fine else None
    scratch = torch.zeros(size, device=nearest.device)
    for place, crop in enumerate(crops):
        top, bottom = max(start, crop.rows.start), min(stop, crop.rows.stop)
        if top >= bottom:
            continue
        part = (
            slice(top - band.top, bottom - band.top),
            slice(crop.columns.start - band.left, crop.columns.stop - band.left),
        )
        share = (nearest[part] == place).to(torch.float32)
        if shares is not None:
            scratch.view(-1).index_copy_(0, band.pixels, shares[place])
            share = torch.where(many[part], scratch[part], share)
        crop.share[top - crop.rows.start : bottom - crop.rows.start] = share


def _shares(fine: Covered, meshes: int) -> Tensor:
    """[N, A] float32: the share of each pixel's samples at which each mesh is the nearest."""
    samples, pixels = fine.size
    counts = torch.zeros(meshes * pixels, device=fine.pixel.device)
    # Sums of ones are exact in any order.
    counts.index_add_(0, fine.mesh * pixels + torch.remainder(fine.pixel, pixels), torch.ones_like(fine.depth))
    return counts.reshape(meshes, pixels) / samples
