"""Where in a picture to look: square, turned regions in pixels, and what is seen in them.

A region is (x, y, side, angle): its middle and side in pixels, and how far it is turned, in radians clockwise as seen.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

PALM_JOINTS = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)  # what MediaPipe follows a hand by: no finger tips
# The mediapipe package (1.2.2) does not show its hands upright: they stand 26.6 degrees off, as if the 90 degrees that
# are meant were taken for radians. Found by fitting the crop to its landmarks: with this turn both passes agree.
MEDIAPIPE_TURN = 90 % (2 * math.pi) - math.pi / 2
SHARED = 1 / 3  # of their side that neighbouring parts of a picture share
LEAST_LEVEL = 8  # pixels; smaller levels of the pyramid are not made


class Pyramid:
    """A picture in powers of a half of its size, so that no look at a large region skips pixels.

    Args:
        picture: [H, W, 3] float32 in [0, 1], on the device on which the networks are to run.
    """

    def __init__(self, picture: Tensor):
        level = picture.permute(2, 0, 1)[None].contiguous()
        self.levels = [level]
        while min(level.shape[-2:]) >= 2 * LEAST_LEVEL:
            level = F.avg_pool2d(level, 2)
            self.levels.append(level)

    @property
    def device(self) -> torch.device:
        return self.levels[0].device

    @property
    def width(self) -> int:
        return self.levels[0].shape[-1]

    @property
    def height(self) -> int:
        return self.levels[0].shape[-2]

    def crops(self, regions: Tensor, size: int, outside: str = "zeros") -> Tensor:
        """What is seen in regions [N, 4]: [N, 3, size, size] on the picture's device.

        The upper left pixel's middle lies on the region's corner, as MediaPipe has it: its networks expect that.

        Args:
            outside: what is seen outside of the picture: ``zeros`` is black, as MediaPipe shows it to the palm
                detector; ``border`` goes on as the picture ends, as it shows it to the landmark network.
        """
        # Up to one and a half pixels a sample the picture is read as it is, as MediaPipe reads it.
        levels = (regions[:, 2] / size / 1.5).clamp_min(1).log2().ceil().long().clamp_max(len(self.levels) - 1)
        steps = torch.arange(size, device=self.device) / size - 0.5
        crops = torch.empty(len(regions), 3, size, size, device=self.device)
        for i, (level, region) in enumerate(zip(levels.tolist(), regions.to(self.device), strict=True)):
            picture = self.levels[level]
            x, y = to_picture(region, torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1)).unbind(-1)
            scale = 2.0**level
            grid = torch.stack(
                [2 * (x + 0.5) / (picture.shape[-1] * scale) - 1, 2 * (y + 0.5) / (picture.shape[-2] * scale) - 1], -1
            )
            crops[i] = F.grid_sample(picture, grid[None], padding_mode=outside, align_corners=False)[0]
        return crops


def to_picture(regions: Tensor, places: Tensor) -> Tensor:
    """Places [..., 2] in regions [..., 4] (broadcast), -0.5 to 0.5 across each, as pixels of the picture."""
    x, y, side, angle = regions.unbind(-1)
    while x.dim() < places.dim() - 1:
        x, y, side, angle = (part[..., None] for part in (x, y, side, angle))
    u, v = places.unbind(-1)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([x + side * (cos * u - sin * v), y + side * (sin * u + cos * v)], dim=-1)


def region_of_palm(boxes: Tensor, wrist: Tensor, middle: Tensor, turn: float = 0.0) -> Tensor:
    """The regions [N, 4] in which the hands of detected palms stand upright.

    Args:
        boxes: [N, 4] x, y (middle), width and height of the palms.
        wrist, middle: [N, 2] the wrist and the middle finger's base.
        turn: radians by which they are turned on from there; `MEDIAPIPE_TURN` is what the mediapipe package does.

    MediaPipe's own: 2.6 times the palm's longer side, its middle moved by half its height to the finger tips.
    """
    angle = _upright(middle - wrist) + turn
    width, height = boxes[:, 2], boxes[:, 3]
    x = boxes[:, 0] + 0.5 * height * angle.sin()
    y = boxes[:, 1] - 0.5 * height * angle.cos()
    return torch.stack([x, y, 2.6 * torch.maximum(width, height), angle], dim=-1)


def region_of_hand(points: Tensor) -> Tensor:
    """The regions [N, 4] in which hands with these joints [N, 21, 2] (pixels) stand upright, as MediaPipe follows them
    from one picture of a video to the next: twice the box round the palm and the fingers' bases."""
    knuckles = (points[:, 5] + points[:, 13]) / 4 + points[:, 9] / 2
    angle = _upright(knuckles - points[:, 0])
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    palm = points[:, PALM_JOINTS]
    x, y = palm.unbind(-1)
    u, v = cos * x + sin * y, -sin * x + cos * y
    low, high = torch.stack([u, v], -1).amin(1), torch.stack([u, v], -1).amax(1)
    size, middle = high - low, (low + high) / 2
    middle[:, 1] -= 0.1 * size[:, 1]
    cos, sin = cos[:, 0], sin[:, 0]
    return torch.stack(
        [
            cos * middle[:, 0] - sin * middle[:, 1],
            sin * middle[:, 0] + cos * middle[:, 1],
            2 * size.amax(dim=-1),
            angle,
        ],
        dim=-1,
    )


def _upright(direction: Tensor) -> Tensor:
    """How far a hand that points in these directions [N, 2] is turned away from up."""
    return torch.atan2(direction[:, 0], -direction[:, 1])


def whole(width: int, height: int) -> Tensor:
    """[1, 4] the square round the whole picture."""
    return torch.tensor([[width / 2, height / 2, float(max(width, height)), 0.0]])


def parts(width: int, height: int, divisors: tuple[float, ...], least: int) -> Tensor:
    """[N, 4] overlapping squares over the picture: its longer side over each divisor, none under ``least`` pixels.

    Neighbours share a third, so that every hand up to a third of a square's side lies wholly in one of them.
    """
    found = []
    for divisor in divisors:
        side = round(max(width, height) / divisor)
        if side >= least:
            found += [
                (x + side / 2, y + side / 2, float(side), 0.0)
                for y in _starts(height, side)
                for x in _starts(width, side)
            ]
    return torch.tensor(found).reshape(-1, 4)


def turned(regions: Tensor, quarters: tuple[int, ...]) -> Tensor:
    """The regions, turned by each number of right angles: [len(quarters) * N, 4]."""
    turns = torch.tensor(quarters) * (math.pi / 2)
    return torch.cat([torch.cat([regions[:, :3], (regions[:, 3:] + turn)], dim=1) for turn in turns])


def shifted(regions: Tensor, dx: float, dy: float, scale: float, angle: float) -> Tensor:
    """The regions moved by shares of their own side, scaled and turned."""
    middle = to_picture(regions, torch.tensor([dx, dy]).expand(len(regions), 2))
    return torch.stack([middle[:, 0], middle[:, 1], regions[:, 2] * scale, regions[:, 3] + angle], dim=-1)


def _starts(length: int, side: int) -> list[float]:
    """Where squares begin along one edge, so that neighbours share enough; one alone lies in the middle."""
    room = length - side
    if room <= 0:
        return [room / 2]
    steps = math.ceil(room / (side * (1 - SHARED)))
    return [room * i / steps for i in range(steps + 1)]
