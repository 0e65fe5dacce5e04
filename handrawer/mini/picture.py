"""Draws the pictures of synthetic scenes: shaded hands with nails and creases, arm or sleeve, background, light."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..adapter.inputs import vertex_normals
from ..hand.model import HandModel
from ..render.rasterise import Fragments, rasterise
from .arm import Arm, grow_arm
from .random_table import normals
from .scene import Scene

# sRGB, 0..1; the palm is lighter and pinker than the back, the more so on dark skin.
BACK_COLOURS = {
    "pale": (0.93, 0.78, 0.70),
    "light": (0.86, 0.66, 0.54),
    "tan": (0.74, 0.52, 0.38),
    "brown": (0.54, 0.35, 0.24),
    "dark": (0.35, 0.22, 0.16),
}
PALM_COLOURS = {
    "pale": (0.96, 0.78, 0.72),
    "light": (0.91, 0.69, 0.60),
    "tan": (0.84, 0.61, 0.49),
    "brown": (0.74, 0.52, 0.41),
    "dark": (0.64, 0.44, 0.35),
}
SLEEVE_COLOURS = {
    "bare arm": (0.0, 0.0, 0.0),
    "blue sleeve": (0.20, 0.30, 0.55),
    "red sleeve": (0.60, 0.18, 0.17),
    "black sleeve": (0.10, 0.10, 0.11),
    "white sleeve": (0.88, 0.88, 0.86),
    "green sleeve": (0.20, 0.42, 0.26),
}
NAIL_COLOURS = {"natural nails": (0.95, 0.78, 0.74), "red nails": (0.72, 0.06, 0.10), "dark nails": (0.13, 0.08, 0.12)}
BACKGROUND_COLOURS = {
    "grey": (0.50, 0.50, 0.51),
    "blue": (0.36, 0.47, 0.62),
    "green": (0.40, 0.53, 0.41),
    "beige": (0.76, 0.69, 0.57),
    "white": (0.90, 0.90, 0.90),
    "dark": (0.13, 0.13, 0.15),
}
# Direction towards the light (x right, y down, z away), its strength, the ambient strength, and a tint.
LIGHT_SETUPS = {
    "soft": ((-0.2, -0.6, -0.8), 0.45, 0.60, (1.0, 1.0, 1.0)),
    "left": ((-0.95, -0.25, -0.35), 0.85, 0.32, (1.0, 1.0, 1.0)),
    "right": ((0.95, -0.25, -0.35), 0.85, 0.32, (1.0, 1.0, 1.0)),
    "warm": ((0.3, -0.6, -0.75), 0.55, 0.50, (1.06, 0.98, 0.84)),
    "cool": ((-0.3, -0.6, -0.75), 0.55, 0.50, (0.89, 0.98, 1.07)),
}
CREASE_WIDTH = 0.0010  # metres
# How much a fold takes from red, green and blue. Heavier ones look drawn on, and MediaPipe finds fewer palms.
FOLD_DEPTH = (0.15, 0.22, 0.24)
# The palm's heart, head and life line as quadratic curves, drawn by eye on the open hand. Each is three points
# (towards the thumb, from the wrist towards the fingers) in palm lengths, wrist to middle knuckle.
PALM_LINES = (
    ((-0.40, 0.70), (-0.02, 0.66), (0.13, 0.97)),
    ((0.36, 0.80), (0.10, 0.80), (-0.28, 0.48)),
    ((0.36, 0.77), (-0.02, 0.70), (0.06, 0.10)),
)
LINE_WIDTH = 0.014  # palm lengths
TEXTURE = 192  # side of the palm lines' picture, which spans -1..1 palm lengths


@dataclass(frozen=True)
class Skin:
    """What the shader knows about the surface of hand plus arm.

    Attributes:
        faces: [F', 3] int64 of hand and tubes.
        arm: the tubes.
        sleeve: [V'] 1 on the sleeve.
        palm: [V'] 0 back of the hand to 1 palm side.
        nail: [V'] 1 on nails.
        tip: [V'] redness of fingertips and knuckles, 0..1.
        rest: [V', 3] rest position, metres.
        finger: [F'] int64 0..4 thumb to little, 5 elsewhere.
        joints, axes: [6, 3, 3] rest position and direction of each finger's creases, metres; the sixth lies far away.
        lines: [1, 1, TEXTURE, TEXTURE] darkness of the palm's lines, 0..1.
        palm_length: metres.
    """

    faces: Tensor
    arm: Arm
    sleeve: Tensor
    palm: Tensor
    nail: Tensor
    tip: Tensor
    rest: Tensor
    finger: Tensor
    joints: Tensor
    axes: Tensor
    lines: Tensor
    palm_length: float

    def columns(self) -> Tensor:
        """[V', 7]: sleeve, palm, nail, tip, rest x, y, z."""
        return torch.cat([torch.stack([self.sleeve, self.palm, self.nail, self.tip], -1), self.rest], -1)


def _tip_redness(model: HandModel) -> Tensor:
    template = model.template.float()
    tips = template[model.tip_vertices]
    knuckles = model.joint_template[[4, 7, 10, 13]].float()
    near = torch.cdist(template, torch.cat([tips, knuckles]))
    return torch.exp(-((near[:, :5].amin(1) / 0.012) ** 2)) + 0.5 * torch.exp(-((near[:, 5:].amin(1) / 0.012) ** 2))


def _creases(model: HandModel) -> tuple[Tensor, Tensor]:
    """Where the fingers' creases lie, and along which direction they are thin: [6, 3, 3] each."""
    joints, tips = model.joint_template.float(), model.template[model.tip_vertices].float()
    where, axes = torch.full((6, 3, 3), 9.0), torch.zeros(6, 3, 3)
    for finger in range(5):
        chain = torch.cat([joints[1 + 3 * finger : 4 + 3 * finger], tips[finger : finger + 1]])
        axes[finger] = F.normalize(chain[1:] - chain[:-1], dim=-1)
        where[finger] = chain[:3]
    # The crease at a finger's base lies at the web, not at the knuckle joint inside the palm; the thumb has none at
    # its base.
    where[1:5, 0] += 0.024 * axes[1:5, 0]
    where[0, 0] = 9.0
    axes[5, :, 0] = 1.0
    device = model.template.device
    return where.to(device), axes.to(device)


def _line_texture() -> Tensor:
    """Darkness of the palm's lines over -1..1 palm lengths (x to the thumb; rows from the fingers to the wrist)."""
    span = (torch.arange(TEXTURE) + 0.5) / TEXTURE * 2 - 1
    place = torch.stack(torch.meshgrid(span, -span, indexing="xy"), -1).reshape(-1, 2)
    t = torch.linspace(0, 1, 60)[:, None]
    dark = torch.zeros(len(place))
    for a, b, c in (torch.tensor(line) for line in PALM_LINES):
        curve = (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c
        width = LINE_WIDTH * (0.5 + torch.sin(t[:, 0] * 3.0))  # thin ends
        reach = ((torch.cdist(place, curve) / width.clamp_min(1e-3)) ** 2).amin(1)
        dark = torch.maximum(dark, torch.exp(-reach))
    return dark.reshape(1, 1, TEXTURE, TEXTURE)


def make_skin(model: HandModel) -> Skin:
    """Everything of the surface that does not change with the pose, on the model's device."""
    arm = grow_arm(model.to("cpu"))
    device = model.template.device
    hand, tubes = len(model.template), len(arm.points)
    right = torch.zeros(1, dtype=torch.bool, device=device)
    rest_normal = vertex_normals(model.template[None].float(), model.faces, right)[0]
    nail = torch.zeros(hand, device=device)
    if "nails" in model.regions:
        nail[model.regions["nails"].to(device)] = 1.0
    sleeve = torch.zeros(hand + tubes, device=device)
    sleeve[hand + tubes // 2 :] = 1.0
    part = model.parts[model.faces].amax(1)
    finger = torch.where(part > 0, torch.div(part - 1, 3, rounding_mode="floor"), 5)
    joints, axes = _creases(model)

    def extended(values: Tensor, fill: float) -> Tensor:
        return torch.cat([values, torch.full((tubes, *values.shape[1:]), fill, device=device)])

    points, radii = arm.points.to(device), arm.radii.to(device)
    return Skin(
        faces=torch.cat([model.faces, arm.faces.to(device) + hand]),
        arm=Arm(points, arm.faces.to(device), radii),
        sleeve=sleeve,
        palm=torch.cat([torch.sigmoid(-rest_normal[:, 2] * 6), torch.sigmoid(-F.normalize(radii, dim=-1)[:, 2] * 6)]),
        nail=extended(nail, 0.0),
        tip=extended(_tip_redness(model), 0.0),
        rest=torch.cat([model.template.float(), points]),
        finger=torch.cat([finger, torch.full((len(arm.faces),), 5, device=device)]),
        joints=joints,
        axes=axes,
        lines=_line_texture().to(device),
        palm_length=float(model.joint_template[7].norm()),
    )


def _all_vertices(scene: Scene, model: HandModel, skin: Skin) -> Tensor:
    """[N, V', 3] camera frame: the posed hand with its tubes; a bare arm's sleeve shrinks to a point."""
    count = len(scene.index)
    points = skin.arm.points[None].repeat(count, 1, 1)
    half = points.shape[1] // 2
    dressed = (scene.sleeve > 0)[:, None, None]
    points[:, half:] = torch.where(dressed, points[:, half:], points[:, half : half + 1])
    mirror = torch.ones(count, 1, 3, device=points.device)
    mirror[scene.left, :, 0] = -1.0
    tubes = (points * mirror) @ scene.orientation.transpose(1, 2) + scene.translation[:, None]
    return torch.cat([scene.posed.vertices, tubes], 1)


def colours_of(colours: dict[str, tuple[float, float, float]], rows: Tensor) -> Tensor:
    """[N, 3] sRGB 0..1 of the rows [N] of a table."""
    return torch.tensor(list(colours.values()), device=rows.device)[rows]


def draw_background(scene: Scene, size: int, seed: int) -> Tensor:
    """[N, 3, size, size]: a muted colour with a gradient and soft blotches."""
    count, device = len(scene.index), scene.index.device
    colour = colours_of(BACKGROUND_COLOURS, scene.background)
    n = normals(seed, scene.index, 3 + 2 + 25, stream=11)
    colour = colour + n[:, :3] * 0.022
    ramp = torch.linspace(-1, 1, size, device=device)
    slope = n[:, 3:5] * 0.05
    plane = slope[:, :1, None] * ramp[None, None, :] + slope[:, 1:, None] * ramp[None, :, None]
    blotch = F.interpolate(rearrange(n[:, 5:], "n (h w) -> n 1 h w", h=5), (size, size), mode="bicubic")
    return (colour[:, :, None, None] + plane[:, None] + 0.025 * blotch).expand(count, 3, size, size)


@dataclass(frozen=True)
class Seen:
    """The M drawn pixels of a batch; those of other things than hands have no finger.

    Attributes:
        place: [M] int64 flat index into [N, big, big].
        row: [M] int64, the picture.
        normal: [M, 3] unit.
        surface: [M, 7] of `Skin.columns`.
        finger: [M] int64 0..5.
    """

    place: Tensor
    row: Tensor
    normal: Tensor
    surface: Tensor
    finger: Tensor


def _folds(seen: Seen, skin: Skin) -> Tensor:
    """Darkness [M] of finger creases and palm lines, 0..1."""
    palm, rest = seen.surface[:, 1], seen.surface[:, 4:7]
    along = ((rest[:, None] - skin.joints[seen.finger]) * skin.axes[seen.finger]).sum(-1)
    crease = torch.exp(-((along.abs().amin(-1) / CREASE_WIDTH) ** 2)) * (0.3 + 0.7 * palm)
    place = (rest[:, :2] / skin.palm_length)[None, None]
    line = F.grid_sample(skin.lines, place, align_corners=False)[0, 0, 0] * 0.7 * ((palm - 0.6) * 4).clamp(0, 1)
    return torch.maximum(crease, torch.where(seen.finger == 5, line, 0.0))


def _albedo(scene: Scene, seen: Seen, skin: Skin, seed: int) -> Tensor:
    """Surface colour [M, 3]."""
    sleeve, palm, nail, tip = seen.surface[:, :4].unbind(-1)
    device = palm.device
    tone = normals(seed, scene.index, 1, stream=12) * 0.03
    back = (colours_of(BACK_COLOURS, scene.skin) + tone)[seen.row]
    front = (colours_of(PALM_COLOURS, scene.skin) + tone)[seen.row]
    colour = back + (front - back) * palm[:, None]
    colour = colour + tip[:, None] * torch.tensor([0.03, -0.035, -0.03], device=device)
    folds = _folds(seen, skin)[:, None]
    colour = colour * (1 - folds * torch.tensor(FOLD_DEPTH, device=device))
    painted = (scene.nails > 0).float()[seen.row, None]
    nails = colours_of(NAIL_COLOURS, scene.nails)[seen.row]
    nails = painted * nails + (1 - painted) * (0.25 * nails + 0.75 * front)
    colour = colour + (nails - colour) * ((nail - 0.5) * 6 + 0.5).clamp(0, 1)[:, None]
    return torch.where(sleeve[:, None] > 0.5, colours_of(SLEEVE_COLOURS, scene.sleeve)[seen.row], colour)


def shade(scene: Scene, seen: Seen, albedo: Tensor, seed: int) -> Tensor:
    """Lambert with wrapped light, a hemisphere of ambient light, and a little gloss; [M, 3]."""
    device = albedo.device
    setups = list(LIGHT_SETUPS.values())
    direction = torch.tensor([setup[0] for setup in setups], device=device)[scene.light]
    direction = F.normalize(direction + normals(seed, scene.index, 3, stream=13) * 0.12, dim=-1)
    halfway = F.normalize(direction + torch.tensor([0.0, 0.0, -1.0], device=device), dim=-1)
    strength, ambient = (torch.tensor([s[k] for s in setups], device=device)[scene.light][seen.row] for k in (1, 2))
    tint = torch.tensor([setup[3] for setup in setups], device=device)[scene.light][seen.row]
    facing = (seen.normal * direction[seen.row]).sum(-1)
    diffuse = ((facing + 0.2) / 1.2).clamp_min(0)
    sky = 0.85 - 0.15 * seen.normal[:, 1]
    gloss = torch.where(seen.surface[:, 0] > 0.5, 0.0, 0.5 + 2.0 * seen.surface[:, 2])
    shine = (seen.normal * halfway[seen.row]).sum(-1).clamp_min(0) ** 24 * gloss
    light = strength * diffuse + ambient * sky
    return albedo * light[:, None] * tint + (0.18 * strength * shine)[:, None]


def contact_shade(depth: Tensor, palm_metres: Tensor, quick: bool = False) -> Tensor:
    """Darkening where the surface lies behind something close beside it in the picture, [N, H, W] in 0..1.

    A cheap stand-in for ambient occlusion: it sets a finger off against the finger behind it. `quick` averages first
    down and then across, which is the same but for rounding (mini's pictures were drawn without).
    """
    seen = torch.isfinite(depth)
    near = torch.where(seen, depth, 1e3)
    width = max(3, depth.shape[-1] // 40) | 1
    down, across = ((width, 1), 1, (width // 2, 0)), ((1, width), 1, (0, width // 2))
    nearest = -F.max_pool2d(F.max_pool2d(-near[:, None], *down), *across)
    if quick:
        nearest = F.avg_pool2d(nearest, *down, count_include_pad=False)
        nearest = F.avg_pool2d(nearest, *across, count_include_pad=False)[:, 0]
    else:
        nearest = F.avg_pool2d(nearest, width, 1, width // 2, count_include_pad=False)[:, 0]
    behind = ((near - nearest) / (0.25 * palm_metres[:, None, None])).clamp(0, 1)
    return torch.where(seen, behind, 0.0)


def _look(
    scene: Scene, model: HandModel, skin: Skin, big: int, warp: Callable[[Tensor], Tensor] | None = None
) -> tuple[Seen, Fragments]:
    """Rasterise the scenes at big x big: the drawn pixels, and where what lies."""
    vertices = _all_vertices(scene, model, skin)
    normal = vertex_normals(vertices, skin.faces, scene.left)
    vertices = vertices if warp is None else warp(vertices)
    pixels = torch.cat([scene.project(vertices) * big, vertices[..., 2:]], -1)
    picture = torch.arange(len(scene.index), device=pixels.device)
    fragments = rasterise(pixels, skin.faces, picture, len(picture), big, big)
    place = torch.nonzero(fragments.face.flatten() >= 0)[:, 0]
    face, row = fragments.face.flatten()[place], fragments.mesh.flatten()[place]
    corner = skin.faces[face]
    weight = fragments.barycentric.reshape(-1, 3)[place][..., None]
    seen = Seen(
        place=place,
        row=row,
        normal=F.normalize((normal[row[:, None], corner] * weight).sum(1), dim=-1),
        surface=(skin.columns()[corner] * weight).sum(1),
        finger=skin.finger[face],
    )
    return seen, fragments


@dataclass(frozen=True)
class Layer:
    """The M pixels that something covers, to be put together with others by depth.

    Attributes:
        place: [M] int64 flat index into [N, big, big].
        colour: [M, 3] sRGB, a little over 1 in glosses.
        depth: [M] metres.
        hand: [M] bool, false on arms, sleeves and everything else.
    """

    place: Tensor
    colour: Tensor
    depth: Tensor
    hand: Tensor


def draw_layer(
    scene: Scene, model: HandModel, skin: Skin, big: int, *, seed: int = 0,
    warp: Callable[[Tensor], Tensor] | None = None,
) -> Layer:  # fmt: skip
    """The hands and arms of N scenes at big x big pixels, without contact shade.

    Args:
        warp: moves the vertices [N, V', 3] that are projected; what is shaded stays.
    """
    seen, fragments = _look(scene, model, skin, big, warp)
    colour = shade(scene, seen, _albedo(scene, seen, skin, seed), seed)
    hand = fragments.face.flatten()[seen.place] < len(model.faces)
    return Layer(seen.place, colour, fragments.depth.flatten()[seen.place], hand)


def draw_pictures(scene: Scene, model: HandModel, skin: Skin, *, size: int = 256, seed: int = 0) -> Tensor:
    """The pictures of N scenes.

    Args:
        scene: on the model's device.
        skin: from `make_skin(model)`.
        size: side of the square pictures in pixels; drawn at twice that and averaged down.
        seed: of the small random differences in colour.

    Returns:
        [N, 3, size, size] float32 in 0..1.
    """
    canvas = draw_cutouts(scene, model, skin, size=size, seed=seed)
    tint = colours_of({k: v[3] for k, v in LIGHT_SETUPS.items()}, scene.light)[:, :, None, None]
    back = draw_background(scene, size, seed) * (0.5 + 0.5 * tint)
    return (canvas[:, :3] + (1 - canvas[:, 3:]) * back).clamp(0, 1)


def draw_cutouts(scene: Scene, model: HandModel, skin: Skin, *, size: int = 256, seed: int = 0) -> Tensor:
    """The hands and arms of N scenes without what is behind them, to be put over other pictures.

    Args: as in `draw_pictures`.

    Returns:
        [N, 4, size, size] float32: colour times coverage, a little over 1 in glosses, and coverage in 0..1.
    """
    big, count = 2 * size, len(scene.index)
    seen, fragments = _look(scene, model, skin, big)
    depth = fragments.depth
    colour = shade(scene, seen, _albedo(scene, seen, skin, seed), seed)
    palm_metres = (scene.posed.joints[:, 9] - scene.posed.joints[:, 0]).norm(dim=-1)
    colour = colour * (1 - 0.25 * contact_shade(depth, palm_metres).flatten()[seen.place])[:, None]
    canvas = torch.zeros(count * big * big, 4, device=colour.device)
    canvas[seen.place] = torch.cat([colour, torch.ones_like(colour[:, :1])], -1)
    return F.avg_pool2d(rearrange(canvas, "(n h w) c -> n c h w", h=big, w=big), 2)
