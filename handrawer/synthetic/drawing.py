"""Draws worlds: hands, what they hold and what hides them by depth, people and furniture behind, out of focus."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..adapter.inputs import vertex_normals
from ..hand.model import HandModel
from ..mini.picture import (
    BACK_COLOURS,
    LIGHT_SETUPS,
    Layer,
    Seen,
    Skin,
    colours_of,
    contact_shade,
    draw_background,
    draw_layer,
    shade,
)
from ..mini.random_table import uniforms
from ..mini.scene import Scene
from ..render.rasterise import rasterise
from .camera import blur
from .objects import FLAT, KINDS, paint, unit_objects
from .people import dress, load_people
from .world import STREAMS, World

BACK_BLUR = (0.0055, 0.018)  # of the picture's side: how far the background is out of focus
SHAPES = 9  # furniture-like shapes at most
OTHER, HAND, OBJECT = 1, 2, 3  # who a pixel belongs to; an object: OBJECT + its holder + 1
OWNERS = 6


@dataclass(frozen=True)
class Drawn:
    """N drawn worlds, before the camera.

    Attributes:
        front: [N, 4, S, S] hands, arms and objects: colour times coverage, coverage.
        back: [N, 3, S, S].
        hands: [N, 1, S, S] share of each pixel in which a hand is seen.
        seen: [N, OWNERS + 1] share of the picture in which each owner is seen (0: none), then people.
    """

    front: Tensor
    back: Tensor
    hands: Tensor
    seen: Tensor


def draw(world: World, model: HandModel, skin: Skin, size: int, seed: int) -> Drawn:
    """Draw N worlds as square pictures of `size` pixels; edges are smoothed by drawing at twice that."""
    big, count = 2 * size, len(world.index)
    device = world.index.device
    depth = torch.full((count * big * big,), torch.inf, device=device)
    colour = torch.zeros(count * big * big, 3, device=device)
    owner = torch.zeros(count * big * big, dtype=torch.uint8, device=device)
    for layer, owns in _layers(world, model, skin, big, seed):
        nearer = layer.depth < depth[layer.place]
        place = layer.place[nearer]
        depth[place], colour[place], owner[place] = layer.depth[nearer], layer.colour[nearer], owns[nearer]
    palm = (world.first.posed.joints[:, 9] - world.first.posed.joints[:, 0]).norm(dim=-1)
    dark = contact_shade(depth.view(count, big, big), palm, quick=True).flatten()
    colour = colour * (1 - 0.25 * dark)[:, None]
    canvas = torch.cat([colour, (owner > 0).float()[:, None], (owner == HAND).float()[:, None]], -1)
    small = F.avg_pool2d(rearrange(canvas, "(n h w) c -> n c h w", h=big, w=big), 2)
    back, people = draw_back(world, size, seed)
    every = (owner.view(count, -1, 1) == torch.arange(OWNERS, device=device)).float().mean(1)
    behind = (people * (1 - small[:, 3:4])).mean((1, 2, 3))
    return Drawn(small[:, :4], back, small[:, 4:], torch.cat([every, behind[:, None]], 1))


def _layers(world: World, model: HandModel, skin: Skin, big: int, seed: int) -> list[tuple[Layer, Tensor]]:
    """All that is drawn before the background, and whose each of its pixels is."""
    found = []
    for rows, scene in world.hands():
        if len(rows):
            layer = draw_layer(scene, model, skin, big, seed=seed, warp=lambda v, rows=rows: world.bent(v, rows))
            place = rows[torch.div(layer.place, big * big, rounding_mode="floor")] * big * big
            place = place + layer.place % (big * big)
            owns = torch.where(layer.hand, HAND, OTHER).to(torch.uint8)
            found.append((Layer(place, layer.colour, layer.depth, layer.hand), owns))
    if len(world.objects.picture):
        found.append(_object_layer(world, big, seed))
    return found


def _object_layer(world: World, big: int, seed: int) -> tuple[Layer, Tensor]:
    """All objects of all pictures."""
    objects, faces = world.objects, unit_objects()[1].to(world.index.device)
    vertices = objects.vertices
    smooth = vertex_normals(vertices, faces, objects.mirrored)
    a, b, c = vertices[:, faces].unbind(2)
    flat = F.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
    flat = torch.where(objects.mirrored[:, None, None], -flat, flat)
    pixels = _pixels(world, vertices, objects.picture, big)
    drawn = rasterise(pixels, faces, objects.picture, len(world.index), big, big)
    place = torch.nonzero(drawn.face.flatten() >= 0)[:, 0]
    face, mesh = drawn.face.flatten()[place], drawn.mesh.flatten()[place]
    corner, weight = faces[face], drawn.barycentric.reshape(-1, 3)[place][..., None]
    normal = (smooth[mesh[:, None], corner] * weight).sum(1)
    edged = torch.tensor([kind in FLAT for kind in KINDS], device=place.device)[objects.kind[mesh]]
    normal = F.normalize(torch.where(edged[:, None], flat[mesh, face], normal), dim=-1)
    normal = _towards(normal)
    local = (objects.local[mesh[:, None], corner] * weight).sum(1)
    albedo = paint(objects.kind[mesh], local, objects.main[mesh], objects.accent[mesh], objects.pattern[mesh])
    colour = _lit(world.first, place, objects.picture[mesh], normal, albedo, seed)
    owns = (OBJECT + 1 + objects.holder[mesh]).to(torch.uint8)
    return Layer(place, colour, drawn.depth.flatten()[place], torch.zeros_like(edged)), owns


def _pixels(world: World, vertices: Tensor, picture: Tensor, side: int) -> Tensor:
    bent = world.bent(vertices, picture)
    focal = world.first.focal[picture][:, None, None]
    return torch.cat([(focal * bent[..., :2] / bent[..., 2:] + 0.5) * side, bent[..., 2:]], -1)


def _towards(normal: Tensor) -> Tensor:
    """Normals turned to the viewer: inner sides of open objects are lit as well."""
    return torch.where(normal[:, 2:] > 0.3, -normal, normal)


def _lit(scene: Scene, place: Tensor, row: Tensor, normal: Tensor, albedo: Tensor, seed: int) -> Tensor:
    seen = Seen(place, row, normal, torch.zeros(len(place), 7, device=place.device), torch.zeros_like(place))
    return shade(scene, seen, albedo, seed)


# --- what lies behind


def draw_back(world: World, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """[N, 3, size, size] the background with furniture and people, out of focus where there are any.

    Also [N, 1, size, size], how far people cover it.
    """
    scene = world.first
    tint = colours_of({name: setup[3] for name, setup in LIGHT_SETUPS.items()}, scene.light)[:, :, None, None]
    back = draw_background(scene, size, seed) * (0.5 + 0.5 * tint)
    busy = world.chosen["people"] | world.chosen["clutter"]
    rows = torch.nonzero(busy)[:, 0]
    cover = torch.zeros_like(back[:, :1])
    if not len(rows):
        return back, cover
    back = torch.where(world.chosen["clutter"][:, None, None, None], _furniture(world, back, seed), back)
    if len(world.crowd.picture):
        people = _people(world, size, seed)
        cover = people[:, 3:]
        back = people[:, :3] + (1 - cover) * back
    u = uniforms(seed, scene.index, 1, STREAMS["clutter"] + 1)[:, 0]
    sigma = (BACK_BLUR[0] + (BACK_BLUR[1] - BACK_BLUR[0]) * u * u) * size
    back[rows] = blur(back[rows], sigma[rows], 3 * BACK_BLUR[1] * size)
    return back, cover


def _furniture(world: World, back: Tensor, seed: int) -> Tensor:
    """Soft-edged rectangles and discs of the background's and other colours, the later ones in front."""
    size, count = back.shape[-1], len(back)
    u = uniforms(seed, world.index, SHAPES * 10, STREAMS["clutter"]).reshape(count, SHAPES, 10, 1, 1)
    step = (torch.arange(size, device=back.device) + 0.5) / size
    x, y = step[None, :], step[:, None]
    mean = back.mean((2, 3), keepdim=True)
    for k in range(SHAPES):
        part = u[:, k]
        width, height = 0.06 + 0.5 * part[:, 2] ** 2, 0.06 + 0.7 * part[:, 3] ** 2
        away = torch.maximum((x - part[:, 0]).abs() - width / 2, (y - part[:, 1]).abs() - height / 2)
        round_ = torch.hypot(x - part[:, 0], y - part[:, 1]) - 0.6 * width
        away = torch.where(part[:, 4] < 0.25, round_, away)
        cover = (0.5 - away * size / 2).clamp(0, 1)[:, None] * (part[:, 5] < 0.75)[:, None]
        own = part[:, 6:9, 0, 0].reshape(count, 3, 1, 1)
        own = 0.35 * own + 0.65 * own.mean(1, keepdim=True)  # rooms are not as colourful as toys
        colour = (0.55 * mean + 0.45 * own) * (0.5 + 0.8 * part[:, 9])[:, None]
        back = back + (colour - back) * cover
    return back.clamp(0, 1)


def _people(world: World, size: int, seed: int) -> Tensor:
    """[N, 4, size, size] the people: colour times coverage, coverage."""
    crowd, count = world.crowd, len(world.index)
    people = load_people(world.index.device)
    normal = vertex_normals(crowd.vertices, people.faces, torch.zeros_like(crowd.picture, dtype=torch.bool))
    drawn = rasterise(
        _pixels(world, crowd.vertices, crowd.picture, size), people.faces, crowd.picture, count, size, size
    )
    place = torch.nonzero(drawn.face.flatten() >= 0)[:, 0]
    face, mesh = drawn.face.flatten()[place], drawn.mesh.flatten()[place]
    corner, weight = people.faces[face], drawn.barycentric.reshape(-1, 3)[place][..., None]
    seen = F.normalize((normal[mesh[:, None], corner] * weight).sum(1), dim=-1)
    skin = colours_of(BACK_COLOURS, crowd.skin)[mesh]
    albedo = dress(people.part[face], skin, crowd.looks[mesh])
    albedo = albedo * (1 - (people.dark[corner] * weight[..., 0]).sum(1))[:, None]
    colour = _lit(world.first, place, crowd.picture[mesh], seen, albedo, seed).clamp(0, 1)
    canvas = torch.zeros(count * size * size, 4, device=place.device)
    canvas[place] = torch.cat([colour, torch.ones_like(colour[:, :1])], -1)
    return rearrange(canvas, "(n h w) c -> n c h w", h=size, w=size)
