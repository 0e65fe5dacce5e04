"""Pictures by number, streamed into training: the same number gives the same picture, whatever is drawn with it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..adapter.inputs import HandInputs, hand_inputs_from_tensors, join_inputs
from ..hand.anatomy import angles_to_rotations
from ..hand.boxes import box_around
from ..hand.camera import Camera, project
from ..hand.hands import Frame, Hand, Hands
from ..hand.model import HandModel
from ..hand.skinning import matrix_to_axis_angle
from ..mini.captions import SIDES
from ..mini.picture import Skin, make_skin
from .camera import moved, photographed
from .drawing import draw
from .options import SyntheticOptions
from .words import captions
from .world import World, draw_world

AT_ONCE = 32  # pictures that a GPU draws together; bounds the memory


@dataclass(frozen=True)
class Worlds:
    """N worlds, in the parts in which they are drawn."""

    parts: tuple[World, ...]

    def __len__(self) -> int:
        return sum(len(part.index) for part in self.parts)


@dataclass(frozen=True)
class Generator:
    """Square pictures drawn on the spot, on any device.

    On the CPU each picture is drawn alone, so that it is the same to the last bit in any batch. A GPU draws many at
    once, and its sums may differ in the last bits.

    Attributes:
        seed: of the pictures; held-out ones have another.
        size: side in pixels, a multiple of 64.
        model, skin: on the device that draws.
        options: what may be in the pictures.
        together: how many are drawn at once; None: one on the CPU, AT_ONCE elsewhere.
    """

    seed: int
    size: int
    model: HandModel
    skin: Skin
    options: SyntheticOptions
    together: int | None = None

    @staticmethod
    def create(seed: int, size: int, model: HandModel, options: SyntheticOptions) -> Generator:
        return Generator(seed, size, model, make_skin(model), options)

    @property
    def device(self) -> torch.device:
        return self.model.template.device

    @torch.no_grad()
    def scene(self, numbers: list[int]) -> Worlds:
        """What is in the pictures with these numbers."""
        step = self.together or (1 if self.device.type == "cpu" else AT_ONCE)
        groups = [torch.tensor(numbers[i : i + step], device=self.device) for i in range(0, len(numbers), step)]
        return Worlds(tuple(draw_world(self.seed, group, self.model, self.options) for group in groups))

    @torch.no_grad()
    def pictures(self, worlds: Worlds) -> Tensor:
        """[N, 3, size, size] float32 0..1."""
        return torch.cat([self._drawn(world)[0] for world in worlds.parts])

    @torch.no_grad()
    def mask(self, worlds: Worlds, height: int, width: int) -> Tensor:
        """[N, 1, height, width] share of each cell in which a hand is seen: not what objects or the edge hide."""
        masks = torch.cat([self._drawn(world)[1] for world in worlds.parts])
        return F.adaptive_avg_pool2d(masks, (height, width))

    @torch.no_grad()
    def _drawn(self, world: World) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures, where hands are seen [N, 1, size, size], and how much of what, see `drawing.Drawn`; drawn once."""
        if "drawn" not in world.kept:
            drawn = draw(world, self.model, self.skin, self.size, self.seed)
            both = moved(torch.cat([drawn.front, drawn.hands], 1), self.seed, world.index, world.chosen["motion_blur"])
            front, hands = both[:, :4], both[:, 4:]
            pictures = (front[:, :3] + (1 - front[:, 3:]) * drawn.back).clamp(0, 1)
            world.kept["drawn"] = photographed(pictures, self.seed, world.index, world.chosen), hands, drawn.seen
        return world.kept["drawn"]

    def captions(self, worlds: Worlds) -> list[str]:
        """In words, of what is seen; parts are left out at random, by the picture's number."""
        return [text for world in worlds.parts for text in captions(world, self._drawn(world)[2], self.seed)]

    @torch.no_grad()
    def inputs(self, worlds: Worlds, raster: int) -> HandInputs:
        """The adapter's inputs: all hands, as they lie before objects are put in front of them."""
        parts, pictures, begin = [], [], 0
        for world in worlds.parts:
            rows, vertices, focal, left = self._labels(world)
            middle = torch.full_like(focal, 0.5)
            parts.append(
                hand_inputs_from_tensors(
                    vertices, focal, middle, middle, self.size, self.size, left, self.model, raster, rows,
                    len(world.index),
                )
            )  # fmt: skip
            pictures.append(rows + begin)
            begin += len(world.index)
        sizes = torch.cat([part.sizes for part in parts])
        return join_inputs(parts, torch.cat(pictures), sizes, all(part.alone for part in parts))

    def _labels(self, world: World) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Picture [K], vertices [K, V, 3] as the lens shows them, focal length [K] and side [K] of every hand."""
        found = []
        for rows, scene in world.hands():
            found.append((rows, world.bent(scene.posed.vertices, rows), scene.focal, scene.left))
        rows, vertices, focal, left = (torch.cat(column) for column in zip(*found, strict=True))
        order = torch.argsort(rows, stable=True)
        return rows[order], vertices[order], focal[order], left[order]

    @torch.no_grad()
    def hands(self, worlds: Worlds) -> Hands:
        """Every picture's hands; where the lens bends, their points follow it and their pose does not know of it."""
        return Hands(tuple(frame for world in worlds.parts for frame in self._frames(world)))

    def _frames(self, world: World) -> list[Frame]:
        found: list[list[Hand]] = [[] for _ in range(len(world.index))]
        for rows, scene in world.hands():
            if not len(rows):
                continue
            points = world.bent(torch.cat([scene.posed.vertices, scene.posed.joints], 1), rows)
            vertices, joints = points[:, : len(self.model.template)], points[:, len(self.model.template) :]
            pose = matrix_to_axis_angle(angles_to_rotations(self.model, scene.angles))
            orientation = matrix_to_axis_angle(scene.orientation)
            for k, row in enumerate(rows.tolist()):
                camera = Camera(float(scene.focal[k]))
                flat = project(vertices[k], camera, self.size, self.size)
                found[row].append(
                    Hand(
                        model=self.model.name, side=SIDES[int(scene.side[k])], pose=pose[k],
                        orientation=orientation[k], shape=scene.shape[k], translation=scene.translation[k],
                        camera=camera, joints=joints[k], vertices=vertices[k],
                        joints_2d=project(joints[k], camera, self.size, self.size), box=box_around(flat),
                        confidence=1.0,
                    )
                )  # fmt: skip
        return [Frame(self.size, self.size, tuple(hands)) for hands in found]
