"""Pairs of pictures for the judge's network: a sound hand, and the same one with something wrong with it.

Both stand before the same random background and are cut out upright, as the judge cuts a found hand out, each with an
error of its own. What was changed is known pixel by pixel. The numbers of a scene decide everything, on every device.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..estimate.networks import HAND_SIDE
from ..estimate.regions import to_picture
from ..hand.anatomy import angles_to_rotations
from ..hand.skinning import PosedHand, pose_hand
from ..mini.picture import draw_cutouts, draw_pictures
from ..mini.random_table import uniforms
from ..mini.scene import Scene, draw_scenes
from . import judge_kinds, judge_smears
from .judge_kinds import MESH_EDITS, OF_A_FINGER
from .judge_network import CELLS, hand_regions
from .judge_smears import LOCAL, PICTURE_EDITS, blurred, waves
from .judge_workbench import Work, start_work, workbench
from .malformed import KINDS, draw_malformed, straight_fingers

TRAINING_KINDS = (*MESH_EDITS, *PICTURE_EDITS)
CHANGED = 0.06  # difference of a channel from where a pixel has changed
VISIBLE = (0.06, 0.75)  # share of the hand's pixels that a malformation changes
SHOWN = 2  # fingers beside the thumb that must be stretched for a change of the mesh to show
HIDDEN = 0.3  # share of the other scenes (fists, hands from their edge) that are drawn, for what is done to the picture
_STREAM = 60


@dataclass(frozen=True, eq=False)
class Pairs:
    """N sound and N malformed hands, row by row the same scene."""

    sound: Tensor
    """[N, 3, HAND_SIDE, HAND_SIDE] in 0..1."""
    malformed: Tensor
    """[N, 3, HAND_SIDE, HAND_SIDE]."""
    wrong: Tensor
    """[N, CELLS, CELLS] share of a cell that is wrong in the malformed hand."""
    kind: Tensor
    """[N] int64 into ``TRAINING_KINDS``."""


def _rows(scene: Scene, rows: Tensor) -> Scene:
    def cut(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[rows]
        return dataclasses.replace(value, **{f.name: cut(getattr(value, f.name)) for f in dataclasses.fields(value)})

    return dataclasses.replace(scene, **{f.name: cut(getattr(scene, f.name)) for f in dataclasses.fields(scene)})


def backgrounds(u: Tensor, size: int) -> Tensor:
    """[N, 3, size, size] random backgrounds of a plain colour, with slopes, blotches, stripes and patches."""
    colour = (0.05 + 0.9 * u[:, :3])[..., None, None]
    smooth = waves(u[:, 3:6], size, 4) * (0.16 * u[:, 6])[:, None, None, None]
    fine = waves(u[:, 7:10], size, 24) * (0.14 * (u[:, 10] - 0.3).clamp_min(0))[:, None, None, None]
    patch = torch.sigmoid(waves(u[:, 11:12], size, 6) * 14) * (u[:, 12] < 0.5)[:, None, None, None]
    second = (0.05 + 0.9 * u[:, 13:16])[..., None, None]
    turn, width = math.pi * u[:, 16], 8 + 60 * u[:, 17]
    step = torch.linspace(0, 1, size, device=u.device)
    ramp = turn.cos()[:, None, None] * step[None, None] + turn.sin()[:, None, None] * step[None, :, None]
    stripes = (
        torch.sin(ramp * width[:, None, None])[:, None]
        * (0.25 * (u[:, 18] - 0.75).clamp_min(0) * 4)[:, None, None, None]
    )
    found = torch.lerp(colour + smooth, second, patch) + fine + stripes
    return torch.lerp(found.mean(dim=1, keepdim=True), found, (u[:, 18:19] ** 1.5)[..., None, None]).clamp(0, 1)


def _skin_texture(cutouts: Tensor, u: Tensor) -> Tensor:
    """Hands with blotches, pores and a light of their own, as no render has them."""
    size = cutouts.shape[-1]
    blotch = waves(u[:, :1], size, 18) * (0.10 * u[:, 1])[:, None, None, None]
    pores = waves(u[:, 2:3], size, size // 2) * (0.07 * u[:, 3] ** 2)[:, None, None, None]
    light = waves(u[:, 4:5], size, 3) * (0.22 * u[:, 5])[:, None, None, None]
    hue = 1 + 0.24 * (u[:, 6:9] - 0.5)[..., None, None]
    colour = cutouts[:, :3] * (1 + blotch + pores + light) * hue
    return torch.cat([colour.clamp(0, 1.3), cutouts[:, 3:]], dim=1)


@dataclass(frozen=True, eq=False)
class Whole:
    """N pictures of sound hands and of the same hands malformed, not cut out yet."""

    scene: Scene
    sound: Tensor
    """[N, 3, S, S] in 0..1."""
    malformed: Tensor
    """[N, 3, S, S]."""
    changed: Tensor
    """[N, 1, S, S] 1 where the malformation changed the picture."""
    kind: Tensor
    """[N] int64 into ``TRAINING_KINDS``."""
    u: Tensor
    """[N, 16] random numbers that are left."""


def draw_whole(
    seed: int, index: Tensor, kinds: tuple[str, ...] = TRAINING_KINDS, *, size: int = 256, plain: bool = False
) -> Whole:
    """Pictures of the scenes with these numbers; those are left out whose malformation does not show.

    A folded finger of another length, or a fist with a finger that grows elsewhere, is a sound hand to any eye: meshes
    are changed where most of the hand is seen, at stretched fingers.

    Args:
        seed: of the data; index: [N] int64 numbers of scenes, on the device to draw on.
        kinds: which of ``TRAINING_KINDS``.
        size: side of the pictures, pixels.
        plain: as the small model's training pictures are, without other backgrounds, skins and retouching.
    """
    bench = workbench(str(index.device))
    scene = draw_scenes(seed, index, bench.hand)
    scene, which, u = _planned(scene, kinds, uniforms(seed, index, 96, stream=_STREAM))
    index = scene.index
    work = start_work(scene, bench)
    behind = backgrounds(u[:, 1:20], size)
    textured = (u[:, 20] < 0.6)[:, None, None, None]

    def picture(vertices: Tensor, rows: Tensor) -> Tensor:
        part = _rows(scene, rows)
        posed = dataclasses.replace(part, posed=PosedHand(vertices, part.posed.joints, part.posed.rotations))
        if plain:
            return draw_pictures(posed, bench.model, bench.skin, size=size, seed=seed)
        cut = draw_cutouts(posed, bench.model, bench.skin, size=size, seed=seed)
        cut = torch.where(textured[rows], _skin_texture(cut, u[rows, 21:30]), cut)
        return (cut[:, :3] + (1 - cut[:, 3:]) * behind[rows]).clamp(0, 1)

    sound = picture(work.vertices, torch.arange(len(index), device=index.device))
    malformed = sound.clone()
    rows, vertices = _edited(work, which, kinds, u)
    if len(rows):
        malformed[rows] = picture(vertices, rows)
    malformed = _smeared(scene, work, sound, malformed, which, kinds, u, picture)
    changed = ((malformed - sound).abs().amax(dim=1, keepdim=True) > CHANGED).float()
    # Beside the hand a sound picture may be smeared as well: a trace of retouching says nothing of the hand.
    sound = sound if plain else _retouched(sound, scene.joints_2d, u[:, 54:80])
    keep = _shown(scene, changed)
    names = torch.tensor([TRAINING_KINDS.index(kind) for kind in kinds], device=which.device)
    return Whole(
        _rows(scene, keep), sound[keep], malformed[keep], changed[keep], names[which[keep]], u[keep, 80:]
    )  # fmt: skip


def _planned(scene: Scene, kinds: tuple[str, ...], u: Tensor) -> tuple[Scene, Tensor, Tensor]:
    """The scenes that are drawn, the number of each one's kind, and their random numbers [N, 96], of which the one that
    chooses a finger (column 30) is changed so that it chooses one that is seen."""
    straight = straight_fingers(scene.angles)
    clear = (straight[:, 1:].sum(dim=1) >= SHOWN) & (scene.view < 2)
    which = (u[:, 0] * len(kinds)).long().clamp_max(len(kinds) - 1)
    flat = torch.tensor([n for n, kind in enumerate(kinds) if kind in PICTURE_EDITS], device=u.device)
    if len(flat):
        which = torch.where(clear, which, flat[(u[:, 88] * len(flat)).long().clamp_max(len(flat) - 1)])
    keep = torch.nonzero(clear | ((u[:, 89] < HIDDEN) if len(flat) else clear))[:, 0]
    of_finger = torch.tensor([kind in OF_A_FINGER for kind in kinds], device=u.device)[which]
    place = (u[:, 30:31] * straight.sum(dim=1, keepdim=True)).long() + 1  # the how manieth stretched finger
    finger = (straight & (straight.cumsum(dim=1) == place)).float().argmax(dim=1)
    u = u.clone()
    u[:, 30] = torch.where(of_finger, (finger + 0.5) / 5, u[:, 30])
    return _rows(scene, keep), which[keep], u[keep]


def _shown(scene: Scene, changed: Tensor) -> Tensor:
    """The rows whose malformation changes enough of the hand, and not all of it; the hand covers about a half of its
    joints' box."""
    points = scene.joints_2d
    area = ((points.amax(dim=1) - points.amin(dim=1)).prod(dim=-1) * 0.45).clamp_min(0.02)
    share = changed.mean(dim=(1, 2, 3)) / area
    return torch.nonzero((share > VISIBLE[0]) & (share < VISIBLE[1]))[:, 0]


def _edited(work: Work, which: Tensor, kinds: tuple[str, ...], u: Tensor) -> tuple[Tensor, Tensor]:
    """The rows whose mesh is changed, and their vertices."""
    found, rows_of_kinds = [], []
    for number, kind in enumerate(kinds):
        rows = torch.nonzero(which == number)[:, 0]
        if kind in MESH_EDITS and len(rows):
            part = Work(work.bench, _rows(work.scene, rows), work.vertices[rows], work.joints[rows], work.wrist[rows])
            found.append(MESH_EDITS[kind](part, u[rows, 30 : 30 + judge_kinds.NUMBERS]))
            rows_of_kinds.append(rows)
    if not found:
        return which[:0], work.vertices[:0]
    return torch.cat(rows_of_kinds), torch.cat(found)


def draw_pairs(
    seed: int, index: Tensor, kinds: tuple[str, ...] = TRAINING_KINDS, *, size: int = 256, plain: bool = False
) -> Pairs:
    """``draw_whole``'s hands, cut out as the judge does it, each with an error of its own."""
    whole = draw_whole(seed, index, kinds, size=size, plain=plain)
    regions = hand_regions(whole.scene.joints_2d.cpu() * size)
    first, second = disturbed(regions, whole.u[:, :4]), disturbed(regions, whole.u[:, 4:8])
    wrong = F.avg_pool2d(crops(whole.changed, second), HAND_SIDE // CELLS)[:, 0]
    return Pairs(crops(whole.sound, first), crops(whole.malformed, second), wrong, whole.kind)


def draw_test_pairs(seed: int, index: Tensor, kind: str, device: str, *, size: int = 256) -> Pairs:
    """Pairs of one of the test's kinds, for networks that are shown the others of them (leave one kind out).

    Their ``kind`` is its place in ``malformed.KINDS``, after those of ``TRAINING_KINDS``.
    """
    drawn = draw_malformed(seed, index, kind, size=size, device=device)
    changed = ((drawn.pictures - drawn.twins).abs().amax(dim=1, keepdim=True) > CHANGED).float()
    u = uniforms(seed, drawn.scene.index, 8, stream=_STREAM + 1)
    regions = hand_regions(drawn.scene.joints_2d * size)
    first, second = disturbed(regions, u[:, :4]), disturbed(regions, u[:, 4:])
    wrong = F.avg_pool2d(crops(changed, second), HAND_SIDE // CELLS)[:, 0]
    number = torch.full((len(drawn.kind),), len(TRAINING_KINDS) + KINDS.index(kind), device=device)
    return Pairs(crops(drawn.twins, first), crops(drawn.pictures, second), wrong, number)


def _smeared(scene, work, sound: Tensor, malformed: Tensor, which: Tensor, kinds, u: Tensor, picture) -> Tensor:
    """Those kinds that are done to the picture."""
    flat = [number for number, kind in enumerate(kinds) if kind in PICTURE_EDITS]
    rows = torch.nonzero(torch.isin(which, torch.tensor(flat, device=which.device)))[:, 0]
    if not len(rows):
        return malformed
    points = scene.joints_2d
    extent = (points.amax(dim=1) - points.amin(dim=1)).amax(dim=-1)
    other = sound
    twisted = [n for n in flat if kinds[n] in ("spliced", "ghosted")]
    again = torch.nonzero(torch.isin(which, torch.tensor(twisted, device=which.device)))[:, 0]
    if len(again):
        other = sound.clone()
        other[again] = picture(_other_pose(scene, work, again), again)
    malformed = malformed.clone()
    for number in flat:
        rows = torch.nonzero(which == number)[:, 0]
        if len(rows):
            v = u[rows, 30:54]
            middle = judge_smears.place_on_fingers(points[rows], v[:, :3])
            edit = PICTURE_EDITS[kinds[number]]
            malformed[rows] = edit(sound[rows], other[rows], middle, extent[rows], v[:, 3:])
    return malformed


def _other_pose(scene: Scene, work, rows: Tensor) -> Tensor:
    """[n, V, 3] vertices of the hands with the next hands' fingers."""
    bench = work.bench
    angles = scene.angles.roll(1, dims=0)[rows]
    posed = pose_hand(
        bench.hand, angles_to_rotations(bench.hand, angles), scene.shape[rows], scene.orientation[rows],
        scene.translation[rows], scene.left[rows],
    )  # fmt: skip
    return start_work(dataclasses.replace(_rows(scene, rows), posed=posed), bench).vertices


def _retouched(pictures: Tensor, points: Tensor, u: Tensor) -> Tensor:
    pictures = pictures.clone()
    middle = judge_smears.place_beside(points, u[:, :16])
    away = (middle[:, None] - points).norm(dim=-1).amin(dim=1)
    extent = (away - 0.02).clamp_min(0) / 0.5  # the disc ends before the hand begins
    which = (u[:, 16] * 2 * len(LOCAL)).long()
    for number, kind in enumerate(LOCAL):
        rows = torch.nonzero((which == number) & (away > 0.12))[:, 0]
        if len(rows):
            changed = PICTURE_EDITS[kind](pictures[rows], pictures[rows], middle[rows], extent[rows], u[rows, 10:])
            pictures[rows] = changed
    return pictures


def crops(pictures: Tensor, regions: Tensor, side: int = HAND_SIDE) -> Tensor:
    """[N, C, side, side] what pictures [N, C, S, S] show in regions [N, 4] in pixels, black outside."""
    regions = regions.to(pictures.device)
    step = torch.arange(side, device=pictures.device) / side - 0.5
    grid = torch.stack(torch.meshgrid(step, step, indexing="xy"), dim=-1).flatten(0, 1)
    places = to_picture(regions[:, None], grid[None].expand(len(regions), -1, -1)).unflatten(1, (side, side))
    places = (places + 0.5) / pictures.shape[-1] * 2 - 1
    return F.grid_sample(pictures, places, padding_mode="zeros", align_corners=False)


def disturbed(regions: Tensor, u: Tensor) -> Tensor:
    """Regions [N, 4] as a detector that errs would have them; u [N, 4]."""
    u = u.cpu() * 2 - 1
    middle = to_picture(regions, 0.08 * u[:, :2])
    return torch.cat([middle, regions[:, 2:3] * torch.exp(0.16 * u[:, 2:3]), regions[:, 3:] + 0.35 * u[:, 3:]], dim=1)


def processed(pictures: Tensor, u: Tensor) -> Tensor:
    """What happens to a picture on its way: tint, contrast, shadow, small size, blur, noise, compression; u [N, 28]."""

    def one(column: int, low: float, high: float) -> Tensor:
        return (low + (high - low) * u[:, column])[:, None, None, None]

    size = pictures.shape[-1]
    outside = pictures.amax(dim=1, keepdim=True) <= 0
    gains = torch.exp(0.24 * (u[:, :3] - 0.5))[..., None, None]
    found = (pictures * gains).clamp(1e-4, 1) ** torch.exp(one(3, -0.35, 0.35))
    grey = found.mean(dim=1, keepdim=True)
    found = torch.lerp(grey, found, torch.where(one(4, 0, 1) < 0.06, 0.0, one(5, 0.5, 1.3)))
    found = (found - 0.5) * one(6, 0.75, 1.25) + 0.5 + one(7, -0.08, 0.08)
    found = found * (1 + waves(u[:, 8:9], size, 3) * one(9, 0, 0.12))
    small = one(10, 0, 1) < 0.25
    coarse = F.interpolate(F.avg_pool2d(found, 2), (size, size), mode="bilinear", align_corners=False)
    found = torch.where(small, coarse, found)
    rows = torch.nonzero(u[:, 12] < 0.35)[:, 0]
    found[rows] = blurred(found[rows], 0.3 + 1.5 * u[rows, 11] ** 2)
    rows = torch.nonzero(u[:, 14] < 0.15)[:, 0]
    found[rows] += one(13, 0.2, 1.0)[rows] * (found[rows] - blurred(found[rows], 1.2))
    rows = torch.nonzero(u[:, 15] < 0.4)[:, 0]
    found[rows] = compressed(found[rows].clamp(0, 1), 0.01 + 0.07 * u[rows, 16])
    noise = torch.randn_like(found) * one(17, 0, 0.05) * (one(18, 0, 1) < 0.5)
    found = (found + noise).clamp(0, 1)
    # A bar over the edge of the picture, as where the hand is held against the picture's rim.
    across = torch.arange(size, device=u.device)[None] < (u[:, 19:20] - 0.85).clamp_min(0) * size
    found = found.masked_fill(across[:, None, None, :] | outside, 0.0)
    return torch.where((u[:, 20] < 0.5)[:, None, None, None], found.flip(-1), found)


def compressed(pictures: Tensor, coarseness: Tensor) -> Tensor:
    """Pictures [N, 3, S, S] after rounding their 8 x 8 cosine transforms, about as JPEG does; [N] in units of 1."""
    n = torch.arange(8, device=pictures.device, dtype=pictures.dtype)
    basis = torch.cos(math.pi / 8 * (n[None] + 0.5) * n[:, None]) * 0.5
    basis[0] = basis[0] / math.sqrt(2)
    blocks = pictures.unflatten(2, (-1, 8)).unflatten(4, (-1, 8)).permute(0, 1, 2, 4, 3, 5)
    steps = coarseness[:, None, None, None, None, None] * (1 + n[:, None] + n[None])
    found = torch.round((basis @ blocks @ basis.T) / steps) * steps
    return (basis.T @ found @ basis).permute(0, 1, 2, 4, 3, 5).flatten(4, 5).flatten(2, 3).clamp(0, 1)
