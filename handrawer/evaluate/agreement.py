"""Our pass of the landmark networks beside the mediapipe package's, on drawn hands whose joints are known.

The networks are the same; what differs is how a picture becomes the crop that they look at: the package turns it by
`MEDIAPIPE_TURN` from upright, ours does not. Through the package's crop ours gives the package's landmarks to half a
pixel. Neither pass is exact: the networks answer to changes that no eye sees. So each is measured against the truth,
and against itself on the same picture turned by a right angle or moved by a pixel, which changes nothing to be seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from ..estimate.calibration import rig_to_mediapipe
from ..estimate.landmarks import LandmarkDetector
from ..estimate.looks import find_palms, look_at_hands
from ..estimate.regions import MEDIAPIPE_TURN, Pyramid, to_picture, whole
from ..hand.model import load_open_hand
from ..mini.picture import draw_pictures, make_skin
from ..mini.scene import draw_scenes

SIZE = 256  # pixels
SEED = 20261201
NEAR = 0.4  # mean joint distance over the hand's size, above which another thing was found
PASSES = ("torch", "mediapipe")


@dataclass
class Pass:
    """What one pass did; distances are means over the joints, in percent of the hand's size."""

    found: int = 0
    joints: list[float] = field(default_factory=list)
    """From the rig's joints."""
    points: list[float] = field(default_factory=list)
    """From where MediaPipe's points lie on the rig by the calibration."""
    turned: list[float] = field(default_factory=list)
    """Between a picture and the same turned by a right angle."""
    moved: list[float] = field(default_factory=list)
    """Between a picture and the same moved by a pixel."""


@dataclass
class Agreement:
    pictures: int
    passes: dict[str, Pass]
    apart: list[float]
    """Between the two passes, on the pictures in which both find the hand."""
    same_crop: list[float] = field(default_factory=list)
    """Pixels between the package and our networks looking through the package's crop, likewise."""

    def markdown(self) -> str:
        lines = [
            "| pass | found | off the joints | off the calibrated points | off itself, turned by 90° | off itself, "
            "moved by 1 pixel | off the other pass |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        for name, p in self.passes.items():
            cells = [_middle(values) for values in (p.joints, p.points, p.turned, p.moved, self.apart)]
            lines.append(f"| {name} | {p.found} of {self.pictures} | " + " | ".join(cells) + " |")
        if self.same_crop:
            pixels = torch.tensor(self.same_crop)
            lines.append(
                f"\nThrough the package's crop (turned by {math.degrees(MEDIAPIPE_TURN):.1f} degrees from upright) our "
                f"networks lie {float(pixels.median()):.2f} pixels (median; mean {float(pixels.mean()):.2f}) off the "
                f"package's landmarks, {len(pixels)} pictures."
            )
        return "\n".join(lines)


def _middle(values: list[float]) -> str:
    if not values:
        return "-"
    numbers = torch.tensor(values)
    return f"{float(numbers.mean()):.2f} % (median {float(numbers.median()):.2f} %)"


Look = Callable[[Tensor], Tensor | None]


def measure(count: int, passes: tuple[str, ...] = PASSES) -> Agreement:
    """Look at ``count`` drawn pictures of one hand each with both passes."""
    model = load_open_hand()
    skin = make_skin(model)
    agreement = Agreement(count, {name: Pass() for name in passes}, [])
    detectors = {name: LandmarkDetector(backend=name) for name in passes}
    plain = LandmarkDetector(thoroughness="fast", backend="mediapipe")
    for number in range(count):
        scene = draw_scenes(SEED, torch.tensor([number]), model)
        picture = draw_pictures(scene, model, skin, size=SIZE)[0].permute(1, 2, 0).contiguous()
        joints = scene.joints_2d[0]
        points = scene.project(rig_to_mediapipe(model, scene.posed, scene.shape, scene.left))[0]
        extent = float((joints.amax(dim=0) - joints.amin(dim=0)).max())
        seen = {}
        for name, detector in detectors.items():
            found = _look(detector, picture, joints, extent)
            if found is not None:
                seen[name] = found
                _add(agreement.passes[name], found, joints, points, extent)
                _add_again(agreement.passes[name], detector, picture, found, extent)
        if len(seen) == len(passes) == 2:
            first, second = seen.values()
            agreement.apart.append(_off(first, second, extent))
        # One look at the whole picture by each, since further looks are chosen by what the first one gave.
        theirs = _look(plain, picture, joints, extent)
        if theirs is not None and (through := through_the_packages_crop(picture, theirs)) is not None:
            agreement.same_crop.append(SIZE * float((through - theirs).norm(dim=-1).mean()))
    return agreement


class CroppedInBytes(Pyramid):
    """A picture whose crops are made as OpenCV makes them of 8-bit pictures, which the package has it do: read at the
    nearest 32nd of a pixel, the values rounded to 8 bits."""

    def crops(self, regions: Tensor, size: int, outside: str = "zeros") -> Tensor:
        picture = self.levels[0]
        steps = torch.arange(size) / size - 0.5
        places = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1)
        at = torch.stack([(32 * to_picture(region, places)).round() / 32 for region in regions])
        grid = (2 * at + 1) / torch.tensor([picture.shape[-1], picture.shape[-2]]) - 1
        crops = F.grid_sample(picture.expand(len(grid), -1, -1, -1), grid, padding_mode=outside, align_corners=False)
        return (255 * crops).round() / 255


def through_the_packages_crop(picture: Tensor, theirs: Tensor) -> Tensor | None:
    """[21, 2] normalised: one look of our networks at a square picture [S, S, 3] through the crop that the package
    makes, at the palm that lies nearest to its landmarks [21, 2]; None where our detector finds no palm."""
    pyramid = CroppedInBytes((picture * 255).round() / 255)
    regions, _ = find_palms(pyramid, whole(pyramid.width, pyramid.height), 0.5, MEDIAPIPE_TURN)
    if not len(regions):
        return None
    points = look_at_hands(pyramid, regions).points / pyramid.width
    return points[(points - theirs).norm(dim=-1).mean(-1).argmin()]


def _off(points: Tensor, others: Tensor, extent: float) -> float:
    return 100 * float((points - others).norm(dim=-1).mean()) / extent


def _look(detector: LandmarkDetector, picture: Tensor, near: Tensor, extent: float) -> Tensor | None:
    """[21, 2] the hand that is nearest to these joints, if one is near."""
    found = sorted((hand.points for hand in detector(picture)), key=lambda points: _off(points, near, extent))
    return found[0] if found and _off(found[0], near, extent) < 100 * NEAR else None


def _add(done: Pass, found: Tensor, joints: Tensor, points: Tensor, extent: float) -> None:
    done.found += 1
    done.joints.append(_off(found, joints, extent))
    done.points.append(_off(found, points, extent))


def _add_again(done: Pass, detector: LandmarkDetector, picture: Tensor, found: Tensor, extent: float) -> None:
    # A quarter turn to the left takes (x, y) to (y, 1 - x).
    there = torch.stack([found[:, 1], 1 - found[:, 0]], dim=-1)
    turned = _look(detector, picture.rot90(1, dims=(0, 1)).contiguous(), there, extent)
    if turned is not None:
        done.turned.append(_off(turned, there, extent))
    there = found + torch.tensor([1 / SIZE, 0.0])
    moved = _look(detector, torch.cat([picture[:, :1], picture[:, :-1]], dim=1), there, extent)
    if moved is not None:
        done.moved.append(_off(moved, there, extent))
