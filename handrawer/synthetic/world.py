"""Who and what is in a picture and where, drawn by the picture's number: exact labels of everything."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ..hand.anatomy import LIMITS, angles_to_rotations
from ..hand.model import HandModel
from ..hand.skinning import PosedHand, axis_angle_to_matrix, pose_hand
from ..mini.captions import SKINS
from ..mini.random_table import normals, uniforms
from ..mini.scene import DISTANCE, FILL, NAMELESS, Scene, draw_scenes, euler, hand_vertices
from .camera import exposure_of
from .objects import COLOURS, KINDS, load_grasps, unit_objects
from .options import SyntheticOptions
from .people import load_people

SECOND_SEED = 7_000_003  # added to the seed for the second hand's own pose
SAME_PERSON = 0.88  # of two hands: both are one person's, left and right
TO_PALM = 0.6  # of the backs of hands that hold something
GRASP_NOISE = math.radians(1.2)
FAR_FILL = (0.2, 0.5)
TWO_FILL, TWO_FAR_FILL = (0.36, 0.5), (0.2, 0.34)
ARM, BEYOND = 0.30, 0.06  # metres of arm that are drawn; picture widths by which its end lies outside
EDGE_SHARE = (0.15, 0.45)  # of the hand's box that lies outside
MOST_BEND = 0.75  # squared distance from the middle, in picture widths, from where the lens bends no more
HIDING = ("ball", "box", "stick", "bottle", "can", "cup")
EXTENTS = {"ball": (1, 1, 1), "box": (0.8, 1, 0.7), "stick": (0.09, 1, 0.09), "bottle": (0.32, 1, 0.32),
           "can": (0.6, 1, 0.6), "cup": (0.85, 1, 0.85)}  # fmt: skip
NEAREST_PERSON = 1.6  # metres behind the hand
STREAMS = {"choices": 60, "places": 61, "words": 62, "objects": 63, "people": 64, "lens": 65, "occluder": 66,
           "clutter": 67, "camera": 68, "grain": 69, "grasp": 70}  # fmt: skip
Rows = TypeVar("Rows")


@dataclass(frozen=True)
class Objects:
    """K objects.

    Attributes:
        picture: [K] int64.
        holder: [K] int64: 0 or 1, the hand that holds it; -1: it lies before the hands.
        kind: [K] int64 into KINDS.
        vertices: [K, V, 3] metres, camera frame.
        local: [K, V, 3] the same on the unit object.
        mirrored: [K] bool, held by a left hand.
        main, accent: [K, 3] colours; pattern [K] int64, see `objects.paint`.
    """

    picture: Tensor
    holder: Tensor
    kind: Tensor
    vertices: Tensor
    local: Tensor
    mirrored: Tensor
    main: Tensor
    accent: Tensor
    pattern: Tensor


@dataclass(frozen=True)
class Crowd:
    """P people in the background: picture [P], vertices [P, V, 3] in the camera frame, skin [P], looks [P, 5]."""

    picture: Tensor
    vertices: Tensor
    skin: Tensor
    looks: Tensor


@dataclass(frozen=True)
class World:
    """Everything in N pictures.

    Attributes:
        first, second: the hands; the second one counts where `chosen["two_hands"]`.
        chosen: [N] bool by the option's name (`SyntheticOptions`): what each picture has.
        objects, crowd: may be empty.
        lens: [N] how much the lens bends, see `bent`.
        stops: [N] exposure, where the camera's is off.
        hidden: [N] kind of the object before the hands, -1: none.
        grasp: [N, 2] kind of the object in each hand, -1: none.
        kept: what has been drawn of it.
    """

    first: Scene
    second: Scene
    chosen: dict[str, Tensor]
    objects: Objects
    crowd: Crowd
    lens: Tensor
    stops: Tensor
    hidden: Tensor
    grasp: Tensor
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def index(self) -> Tensor:
        return self.first.index

    @property
    def two(self) -> Tensor:
        """[N] bool."""
        return self.chosen["two_hands"]

    def bent(self, points: Tensor, picture: Tensor) -> Tensor:
        """Points [K, P, 3] of the pictures [K], moved across the view so that their projection is what the lens shows.

        A place at distance r from the middle, in picture widths, comes to lie at r (1 + k r^2). Because the points
        themselves move, picture and labels agree to the last bit.
        """
        flat = self.first.focal[picture][:, None, None] * points[..., :2] / points[..., 2:].clamp_min(1e-3)
        away = flat.square().sum(-1, keepdim=True).clamp_max(MOST_BEND)
        return torch.cat([points[..., :2] * (1 + self.lens[picture][:, None, None] * away), points[..., 2:]], -1)

    def hands(self) -> list[tuple[Tensor, Scene]]:
        """The rows of the pictures that have it, and the scene of those, for the first and for the second hand."""
        every = torch.arange(len(self.index), device=self.index.device)
        rows = torch.nonzero(self.two)[:, 0]
        return [(every, self.first), (rows, rows_of(self.second, rows))]


def rows_of(value: Rows, rows: Tensor) -> Rows:
    """Some rows of a dataclass of tensors."""
    changes = {}
    for each in dataclasses.fields(value):  # type: ignore[arg-type]
        part = getattr(value, each.name)
        changes[each.name] = part[rows] if isinstance(part, Tensor) else rows_of(part, rows)
    return dataclasses.replace(value, **changes)  # type: ignore[type-var]


def draw_world(seed: int, index: Tensor, model: HandModel, options: SyntheticOptions) -> World:
    """The worlds of the pictures with these numbers [N], on the index's device."""
    first = draw_scenes(seed, index, model)
    chosen = _choices(seed, index, options)
    # Nothing is worked out that no picture needs: a picture alone is drawn twice as fast.
    second = _second(seed, first, model) if bool(chosen["two_hands"].any()) else first
    grasp, numbers = _grasps(seed, index, chosen["holding"], chosen["two_hands"])
    gripping = _gripping(seed, first, numbers[:, 0], grasp[:, 0])
    second = first if second is first else _gripping(seed + 1, second, numbers[:, 1], grasp[:, 1])
    changed = chosen["two_hands"] | chosen["edge"] | chosen["far"] | (grasp[:, 0] >= 0)
    if bool(changed.any()):
        placed = _placed(seed, gripping, None if second is first else second, chosen, grasp, model)
        first, second = _chosen(changed, placed[0], first), placed[-1]
    lens = (uniforms(seed, index, 1, STREAMS["lens"])[:, 0] * 0.45 - 0.25) * chosen["distortion"]
    hidden, occluder = _occluders(seed, first, chosen["occluder"], model)
    held = [_held(seed, k, scene, numbers[:, k], grasp[:, k], model) for k, scene in enumerate((first, second))]
    objects = _joined([*held, occluder])
    crowd, stops = _crowd(seed, first, chosen["people"]), exposure_of(seed, index) * chosen["exposure"]
    return World(first, second, chosen, objects, crowd, lens, stops, hidden, grasp)


def _choices(seed: int, index: Tensor, options: SyntheticOptions) -> dict[str, Tensor]:
    shares = dataclasses.asdict(options)
    u = uniforms(seed, index, len(shares), STREAMS["choices"])
    chosen = {name: u[:, column] < share for column, (name, share) in enumerate(shares.items())}
    chosen["crossing"] &= chosen["two_hands"]
    chosen["edge"] &= ~chosen["two_hands"]
    chosen["far"] &= ~chosen["crossing"]
    return chosen


def _second(seed: int, first: Scene, model: HandModel) -> Scene:
    """Another hand for each picture, mostly the same person's other one."""
    own = draw_scenes(seed + SECOND_SEED, first.index, model)
    same = uniforms(seed, first.index, 1, STREAMS["words"] + 100)[:, 0] < SAME_PERSON
    looks = {name: torch.where(same, getattr(first, name), getattr(own, name)) for name in ("skin", "sleeve", "nails")}
    side = torch.where(same, 1 - first.side, own.side)
    shape = torch.where(same[:, None], first.shape, own.shape)
    return dataclasses.replace(own, **looks, side=side, shape=shape, background=first.background, light=first.light)


# --- what hands hold


def _grasps(seed: int, index: Tensor, holding: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
    """[N, 2] kind of object in each hand (-1 none) and the grasp's number; all kinds are alike frequent."""
    grasps = load_grasps().to(index.device)
    u = uniforms(seed, index, 5, STREAMS["grasp"])
    # Of two hands one holds something in most pictures, now and then the other one, or both.
    has = torch.stack([holding & (~two | (u[:, 4] < 0.65)), holding & two & (u[:, 4] > 0.5)], -1)
    kind = (u[:, :2] * len(KINDS)).long()
    matching = grasps.kind[None, None] == kind[..., None]  # [N, 2, G]
    number = (u[:, 2:4] * matching.sum(-1)).long()
    found = matching & (matching.cumsum(-1) == number[..., None] + 1)  # one of the kind's grasps
    return torch.where(has, kind, -1), found.long().argmax(-1)


def _gripping(seed: int, scene: Scene, number: Tensor, kind: Tensor) -> Scene:
    """The hands that hold something, with the grasp's fingers."""
    grasps, holds = load_grasps().to(number.device), kind >= 0
    limits = LIMITS.to(number.device, torch.float32)
    angles = grasps.angles[number] + GRASP_NOISE * normals(seed, scene.index, limits.shape[0], STREAMS["objects"] + 100)
    angles = torch.where(holds[:, None], torch.maximum(torch.minimum(angles, limits[:, 1]), limits[:, 0]), scene.angles)
    shape = torch.where(holds[:, None], 0.5 * scene.shape, scene.shape)
    gesture = torch.where(holds, NAMELESS, scene.gesture)
    # From behind most things are hidden by the hand that holds them: many of these hands are turned.
    turned = holds & (scene.view == 1) & (uniforms(seed, scene.index, 1, STREAMS["grasp"] + 100)[:, 0] < TO_PALM)
    about = torch.tensor([-1.0, 1.0, -1.0], device=number.device)  # half a turn about the hand's own length
    orientation = torch.where(turned[:, None, None], scene.orientation * about, scene.orientation)
    view = torch.where(turned, 0, scene.view)
    return dataclasses.replace(scene, angles=angles, shape=shape, gesture=gesture, orientation=orientation, view=view)


def _held(seed: int, slot: int, scene: Scene, number: Tensor, kind: Tensor, model: HandModel) -> Objects:
    """The objects in one slot's hands."""
    rows = torch.nonzero(kind >= 0)[:, 0]
    scene, number, grasps = rows_of(scene, rows), number[rows], load_grasps().to(kind.device)
    unit = unit_objects()[0].to(kind.device)[kind[rows]]
    length = (scene.posed.joints[:, 9] - scene.posed.joints[:, 0]).norm(dim=-1)
    usual = model.joint_template[7].norm().to(length)
    scale = (length / usual)[:, None, None]
    extent = grasps.extent[number][:, None]
    points = (unit * extent) @ grasps.rotation[number].transpose(1, 2) + grasps.place[number][:, None]
    points = points * scale
    mirror = torch.ones(len(rows), 1, 3, device=kind.device)
    mirror[scene.left, :, 0] = -1.0
    vertices = (points * mirror) @ scene.orientation.transpose(1, 2) + scene.translation[:, None]
    holder = torch.full_like(rows, slot)
    return Objects(
        rows, holder, kind[rows], vertices, unit, scene.left, *_colours(seed + 31 * slot, scene.index)
    )  # fmt: skip


def _colours(seed: int, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    u = uniforms(seed, index, 3, STREAMS["objects"])
    table = torch.tensor(COLOURS, device=index.device)
    main = (u[:, 0] * len(COLOURS)).long()
    accent = (main + 1 + (u[:, 1] * (len(COLOURS) - 1)).long()) % len(COLOURS)
    tone = 1 + 0.12 * normals(seed, index, 1, STREAMS["objects"] + 1)
    return (table[main] * tone).clamp(0.02, 0.95), table[accent], (u[:, 2] * 4).long()


# --- where the hands are


def _placed(
    seed: int, first: Scene, second: Scene | None, chosen: dict[str, Tensor], grasp: Tensor, model: HandModel
) -> list[Scene]:
    """The first hands, and the second ones where there are any, with a camera and places that suit what was chosen."""
    u = uniforms(seed, first.index, 16, STREAMS["places"])
    two, crossing, far = chosen["two_hands"], chosen["crossing"], chosen["far"]
    scenes = [first] if second is None else [first, second]
    turned = _turned(seed, scenes, two, crossing, u)
    still = [_posed(scene, model, torch.zeros_like(scene.translation)) for scene in turned]
    subset = hand_vertices(model)
    boxes = [posed.vertices[:, subset] for posed in still]
    ranges = [torch.where(far, a, b) for a, b in zip(TWO_FAR_FILL + FAR_FILL, TWO_FILL + FILL, strict=True)]
    low, high = torch.where(two, ranges[0], ranges[2]), torch.where(two, ranges[1], ranges[3])
    fill = low + (high - low) * u[:, 0]
    depth = DISTANCE[0] + 0.15 * two + (DISTANCE[1] - DISTANCE[0]) * u[:, 1]
    offset, extent = _flat(boxes[0], depth)
    focal = fill / extent.amax(-1)
    wanted = _single_place(u, extent * focal[:, None], fill, chosen["edge"])
    side = torch.where(u[:, 2] < 0.5, 1.0, -1.0)
    apart = torch.where(crossing, 0.04 + 0.09 * u[:, 3], 0.215 + 0.045 * u[:, 3])
    lift = torch.where(crossing, 0.16, 0.10)[:, None] * (u[:, 4:6] - 0.5)
    beside = torch.stack([torch.stack([-side * apart, lift[:, 0]], -1), torch.stack([side * apart, lift[:, 1]], -1)])
    middle = 0.12 * (u[:, 6:8] - 0.5)
    wanted = torch.where(two[:, None], beside[0] + middle, wanted)
    # Before each other, but not within each other: hands are kept apart by their depths, and what they hold by more.
    thick = [(b[..., 2].amax(1) - b[..., 2].amin(1)) / 2 + 0.035 * (grasp[:, k] >= 0) for k, b in enumerate(boxes)]
    gap = torch.where(crossing, thick[0] + thick[-1] + 0.008 + 0.03 * u[:, 8], 0.06 * u[:, 8])
    depths = [depth, (depth + torch.where(u[:, 9] < 0.5, gap, -gap)).clamp_min(0.4)]
    offsets = [offset, *(_flat(box, depths[1])[0] for box in boxes[1:])]
    placed = []
    # Not strict: the second hand may not be there.
    for scene, box, where, z, off in zip(turned, boxes, (wanted, beside[1] + middle), depths, offsets, strict=False):
        centre = (box.amin(1) + box.amax(1)) / 2
        across = (where / focal[:, None] - off) * z[:, None]
        translation = torch.cat([across, z[:, None]], -1) - centre
        # Hands that cross are large enough for their arms, and must stay together.
        translation = torch.where(crossing[:, None], translation, _with_arm(scene, translation, focal, z))
        posed = _posed(scene, model, translation)
        placed.append(dataclasses.replace(scene, translation=translation, focal=focal, posed=posed))
    return placed


def _with_arm(scene: Scene, translation: Tensor, focal: Tensor, depth: Tensor) -> Tensor:
    """[N, 3] the wrists, moved along their arms until these leave the picture: no arm ends in the air."""
    reach = ARM * scene.orientation[:, :, 1]  # the forearm lies along the hand's own y
    elbow = translation + reach
    end = focal[:, None] * elbow[:, :2] / elbow[:, 2:].clamp_min(0.1)
    wrist = focal[:, None] * translation[:, :2] / translation[:, 2:]
    way = end - wrist
    length = way.norm(dim=-1, keepdim=True)
    way = way / length.clamp_min(1e-6)
    # How far to the edge that the arm comes to first; nothing where it has left the picture.
    left = (0.5 + BEYOND - way.sign() * end) / way.abs().clamp_min(1e-3)
    missing = torch.where((end.abs() > 0.5 + BEYOND).any(-1), 0.0, left.amin(-1))
    missing = torch.where(
        length[:, 0] < 0.4 * ARM * focal / depth, 0.0, missing
    )  # arms towards the camera hide their end
    shift = way * missing[:, None] * (depth / focal)[:, None]
    return translation + torch.cat([shift, torch.zeros_like(shift[:, :1])], -1)


def _flat(vertices: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
    """Middle and extent [N, 2] of hands' boxes in the picture at focal length 1, their middle brought to a depth."""
    middle = (vertices.amin(1) + vertices.amax(1)) / 2
    ahead = torch.stack([torch.zeros_like(depth), torch.zeros_like(depth), depth], -1)
    moved = vertices - middle[:, None] + ahead[:, None]
    flat = moved[..., :2] / moved[..., 2:]
    return (flat.amax(1) + flat.amin(1)) / 2, flat.amax(1) - flat.amin(1)


def _single_place(u: Tensor, extent: Tensor, fill: Tensor, edge: Tensor) -> Tensor:
    """[N, 2] where the middle of a hand alone lies, from the picture's middle in picture widths."""
    wanted = (u[:, 10:12] * 2 - 1) * ((1 - fill) / 2)[:, None]
    share = EDGE_SHARE[0] + (EDGE_SHARE[1] - EDGE_SHARE[0]) * u[:, 12:13]
    out = torch.where(u[:, 13:14] < 0.5, -1.0, 1.0) * (0.5 + (share - 0.5) * extent)
    axis = F.one_hot((u[:, 14] < 0.35).long(), 2).bool()  # more often at the sides than above or below
    return torch.where(edge[:, None] & axis, out, wanted)


def _turned(seed: int, scenes: list[Scene], two: Tensor, crossing: Tensor, u: Tensor) -> list[Scene]:
    """Of two hands the arms come from below, each from its own side: so that none runs through the other."""
    found = []
    side = torch.where(u[:, 2] < 0.5, -1.0, 1.0)  # of the first hand in the picture
    for k, scene in enumerate(scenes):
        n = normals(seed + k, scene.index, 3, STREAMS["places"] + 100)
        turned = torch.tensor([0.0, math.pi, math.pi / 2], device=u.device)[scene.view]
        lean = torch.where(crossing, 38.0, 16.0) + torch.where(crossing, 12.0, 10.0) * n[:, 2].clamp(-2, 2)
        roll = -side * (1 - 2 * k) * torch.deg2rad(lean)
        own = euler(turned + n[:, 0] * math.radians(17), n[:, 1] * math.radians(10), roll)
        found.append(dataclasses.replace(scene, orientation=torch.where(two[:, None, None], own, scene.orientation)))
    return found


def _posed(scene: Scene, model: HandModel, translation: Tensor) -> PosedHand:
    rotations = angles_to_rotations(model, scene.angles)
    return pose_hand(model, rotations, scene.shape, scene.orientation, translation, scene.left)


def _chosen(mask: Tensor, one: Scene, other: Scene) -> Scene:
    """Row by row the one or the other."""

    def pick(a: Any, b: Any) -> Any:
        if isinstance(a, Tensor):
            return torch.where(mask.reshape(-1, *[1] * (a.dim() - 1)), a, b)
        return dataclasses.replace(
            a, **{f.name: pick(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a)}
        )

    return pick(one, other)


# --- what else there is


def _occluders(seed: int, scene: Scene, chosen: Tensor, model: HandModel) -> tuple[Tensor, Objects]:
    """[N] kind of the object before the hand (-1 none), and the objects."""
    rows = torch.nonzero(chosen)[:, 0]
    part = rows_of(scene, rows)
    u = uniforms(seed, part.index, 6, STREAMS["occluder"])
    device = u.device
    names = torch.tensor([KINDS.index(name) for name in HIDING], device=device)
    which = (u[:, 0] * len(HIDING)).long()
    kind = names[which]
    vertices = part.posed.vertices[:, hand_vertices(model)]
    flat = part.focal[:, None, None] * vertices[..., :2] / vertices[..., 2:]
    low, high = flat.amin(1), flat.amax(1)
    size = (high - low).amax(-1)
    depth = (vertices[..., 2].amin(1) - 0.03 - 0.15 * u[:, 1]).clamp_min(0.2)
    where = (low + high) / 2 + (u[:, 2:4] - 0.5) * 0.7 * (high - low)
    long = torch.where(kind == KINDS.index("stick"), 2.2, 1.0)
    half = (0.14 + 0.16 * u[:, 4]) * long * size * depth / part.focal
    extent = torch.tensor([EXTENTS[name] for name in HIDING], device=device)[which] * half[:, None]
    depth = depth - extent[:, 2]
    middle = torch.cat([where * (depth / part.focal)[:, None], depth[:, None]], -1)
    turn = axis_angle_to_matrix(normals(seed, part.index, 3, STREAMS["occluder"] + 100) * 0.9)
    unit = unit_objects()[0].to(device)[kind]
    points = (unit * extent[:, None]) @ turn.transpose(1, 2)
    # Whatever the turn, it stays before the hand and behind the camera's lens.
    points = points * torch.tensor([1.0, 1.0, 0.5], device=device) + middle[:, None]
    hidden = torch.full_like(scene.index, -1)
    hidden[rows] = kind
    plain = torch.zeros_like(kind, dtype=torch.bool)
    return hidden, Objects(
        rows, torch.full_like(rows, -1), kind, points, unit, plain, *_colours(seed + 97, part.index)
    )  # fmt: skip


def _joined(parts: list[Objects]) -> Objects:
    names = [each.name for each in dataclasses.fields(Objects)]
    return Objects(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def _crowd(seed: int, scene: Scene, chosen: Tensor) -> Crowd:
    """One to three people behind the hand."""
    device = chosen.device
    count = 1 + (uniforms(seed, scene.index, 1, STREAMS["people"])[:, 0] * 3).long()
    every = [torch.nonzero(chosen & (count > k))[:, 0] for k in range(3)]
    people, parts = load_people(device), []
    for k, rows in enumerate(every):
        u = uniforms(seed, scene.index[rows], 12, STREAMS["people"] + 100 + k)
        who = (u[:, 0] * len(people.vertices)).long()
        height = people.heights[who]
        focal, depth = scene.focal[rows], scene.translation[rows, 2]
        tall = 0.55 * (2.1 / 0.55) ** u[:, 1]  # of the picture's height
        away = torch.maximum(focal * height / tall, depth + NEAREST_PERSON)
        tall = focal * height / away
        top = (0.92 - tall).clamp_min(0.04) + 0.25 * u[:, 2]
        x = (u[:, 3] - 0.5) * 0.95
        yaw = (u[:, 4] - 0.5) * math.radians(110)
        turn = euler(yaw, torch.zeros_like(yaw), torch.zeros_like(yaw))
        shift = torch.stack([x * away / focal, (top - 0.5) * away / focal + height, away], -1)
        vertices = people.vertices[who] @ turn.transpose(1, 2) + shift[:, None]
        parts.append((rows, vertices, (u[:, 5] * len(SKINS)).long(), u[:, 6:11]))
    return Crowd(*(torch.cat(column) for column in zip(*parts, strict=True)))
