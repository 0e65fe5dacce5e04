"""The held-out poses, what is wanted of their pictures, and which of them are hard."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from handrawer.adapter.inputs import HandInputs, hand_inputs
from handrawer.estimate.calibration import mediapipe_points_2d
from handrawer.evaluate.proof import HELD_OUT_SEED
from handrawer.evaluate.score import hand_box
from handrawer.hand.anatomy import angles_to_rotations
from handrawer.hand.camera import Camera
from handrawer.hand.hands import Frame, Hands, make_hand
from handrawer.hand.model import HandModel
from handrawer.mini.captions import SIDES
from handrawer.mini.picture import draw_pictures, make_skin
from handrawer.mini.scene import Scene, draw_scenes, hand_vertices, scene_hands
from handrawer.render.rasterise import rasterise
from handrawer.train.data import caption_tokens, scene_inputs

TWO_HANDS_FIRST = 20_000  # first number of the scenes that two-hand pictures are put together from
TWO_HANDS_SCALE = 0.62
SELF_OCCLUDED = 0.25  # share of the poses, those of which most is hidden
EDGE_ON = 0.5  # |z| of the palm's normal under which a hand is seen from its edge: more than 60 degrees


@dataclass(frozen=True)
class Poses:
    """n held-out pictures to draw: token ids [n, 77], hands of n pictures, noise [n, 4, 32, 32]."""

    tokens: Tensor
    inputs: HandInputs
    noise: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    def rows(self, first: int, last: int) -> Poses:
        """The pictures first .. last - 1; of one hand each, or of several."""
        chosen = (self.inputs.picture >= first) & (self.inputs.picture < last)
        index = torch.nonzero(chosen)[:, 0]
        hands = self.inputs.hand(index)
        hands = dataclasses.replace(hands, picture=hands.picture - first, sizes=self.inputs.sizes[first:last])
        return Poses(self.tokens[first:last], hands, self.noise[first:last])


def noise_of(numbers: range) -> Tensor:
    """Each picture's noise [n, 4, 32, 32], from its number alone, as MiniPipeline draws it."""
    return torch.stack([torch.randn(4, 32, 32, generator=torch.Generator("cpu").manual_seed(k)) for k in numbers])


def held_out_scene(count: int, model: HandModel) -> Scene:
    """The first `count` held-out scenes, on the model's device."""
    return draw_scenes(HELD_OUT_SEED, torch.arange(count, device=model.template.device), model)


@torch.no_grad()
def held_out(count: int, model: HandModel) -> Poses:
    """What to draw of the first `count` held-out scenes, on the model's device."""
    scene = held_out_scene(count, model)
    inputs = scene_inputs(scene, model, 128)
    tokens = caption_tokens(scene, HELD_OUT_SEED)[:, 0].long()
    return Poses(tokens, inputs, noise_of(range(count)).to(tokens.device))


@torch.no_grad()
def truth(count: int, model: HandModel, chunk: int = 64) -> Tensor:
    """The pictures that were wanted, [count, 3, 256, 256] float32 in 0..1, on the CPU."""
    skin, found = make_skin(model), []
    for start in range(0, count, chunk):
        index = torch.arange(start, min(start + chunk, count), device=model.template.device)
        found.append(draw_pictures(draw_scenes(HELD_OUT_SEED, index, model), model, skin, seed=HELD_OUT_SEED).cpu())
    return torch.cat(found)


def two_hands(count: int, model: HandModel) -> tuple[Hands, Tensor]:
    """Pictures of a left and a right hand side by side, their boxes overlapping; and a prompt's token ids for each.

    Each hand is a held-out scene's at `TWO_HANDS_SCALE`; the second comes from the following scenes of the other side.
    model: on the CPU. Returns Hands of `count` frames and [count, 77] int64.
    """
    scene = draw_scenes(HELD_OUT_SEED, torch.arange(TWO_HANDS_FIRST, TWO_HANDS_FIRST + 4 * count + 40), model)
    left, right = (torch.nonzero(scene.left == side)[:count, 0].tolist() for side in (True, False))
    rotations = angles_to_rotations(model, scene.angles)
    frames = []
    for one, other in zip(left, right, strict=True):
        hands = []
        for k, middle in ((one, 0.33), (other, 0.67)):
            # The picture is scaled about its middle and moved: the camera's own numbers say so, the hand stays.
            camera = Camera(float(scene.focal[k]) * TWO_HANDS_SCALE, middle, 0.5)
            hands.append(
                make_hand(
                    model,
                    pose=rotations[k],
                    side=SIDES[int(scene.side[k])],
                    orientation=scene.orientation[k],
                    translation=scene.translation[k],
                    shape=scene.shape[k],
                    camera=camera,
                    width=256,
                    height=256,
                )
            )
        frames.append(Frame(256, 256, tuple(hands)))
    return Hands(tuple(frames)), caption_tokens(scene, HELD_OUT_SEED)[torch.tensor(left), 0].long()


@torch.no_grad()
def two_hand_poses(count: int, model: HandModel) -> Poses:
    """What to draw of `two_hands`, on the model's device."""
    device = model.template.device
    hands, tokens = two_hands(count, model.to("cpu"))
    return Poses(tokens.to(device), hand_inputs(hands, model, 128, device), noise_of(range(count)).to(device))


@dataclass(frozen=True)
class Wanted:
    """What n pictures are scored against: points [n, K, 21, 2] as MediaPipe marks them, boxes [n, K, 4], sides."""

    points: Tensor
    boxes: Tensor
    sides: list[list[str]]


def wanted_of(hands: Hands) -> Wanted:
    """The hands of every frame (as many in each) as a detector should find them."""
    points, boxes, sides = [], [], []
    for frame in hands.frames:
        size = (frame.width, frame.height)
        points.append(torch.stack([mediapipe_points_2d(hand, *size) for hand in frame.hands]))
        boxes.append(torch.stack([hand_box(hand, *size) for hand in frame.hands]))
        sides.append([hand.side for hand in frame.hands])
    return Wanted(torch.stack(points), torch.stack(boxes), sides)


def held_out_wanted(count: int, model: HandModel) -> Wanted:
    """The wanted hands of the first `count` held-out scenes; model on the CPU."""
    return wanted_of(scene_hands(held_out_scene(count, model), model))


@torch.no_grad()
def hidden_share(scene: Scene, model: HandModel, side: int = 192) -> Tensor:
    """[N] share of the hand's vertices facing the camera that another part of the hand hides."""
    from handrawer.adapter.inputs import vertex_normals

    vertices = scene.posed.vertices
    places = scene.project(vertices) * side
    pixels = torch.cat([places, vertices[..., 2:]], -1)
    drawn = rasterise(pixels, model.faces, torch.arange(len(vertices)), len(vertices), side, side)
    normal = vertex_normals(vertices, model.faces, scene.left)
    facing = (normal * torch.nn.functional.normalize(vertices, dim=-1)).sum(-1) < -0.2
    cell = places.long()
    inside = ((cell >= 0) & (cell < side)).all(-1)
    cell = cell.clamp(0, side - 1)
    row = torch.arange(len(vertices))[:, None]
    hidden = vertices[..., 2] > drawn.depth[row, cell[..., 1], cell[..., 0]] + 0.006
    own = torch.zeros(vertices.shape[1], dtype=torch.bool)
    own[hand_vertices(model)] = True
    counted = facing & inside & own
    return (hidden & counted).sum(1) / counted.sum(1).clamp_min(1)


def subsets(count: int, model: HandModel) -> dict[str, Tensor]:
    """Which of the held-out poses are self-occluded, edge-on, fists: [count] bool each; model on the CPU."""
    from handrawer.mini.scene import GESTURE_NAMES

    scene = held_out_scene(count, model)
    hidden = hidden_share(scene, model)
    limit = torch.quantile(hidden, 1 - SELF_OCCLUDED)
    return {
        "self-occluded": hidden > limit,
        "edge-on": scene.orientation[:, 2, 2].abs() < EDGE_ON,
        "fist": scene.gesture == GESTURE_NAMES.index("fist"),
    }
