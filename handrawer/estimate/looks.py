"""Single looks: palms in regions of a picture, and the landmarks of one hand in a region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from . import regions as places
from .merge import SAME_HAND, apart
from .networks import HAND_SIDE, PALM_SIDE, hand_network, palm_network
from .regions import Pyramid

# Regions that go through a network at once: on the processor few, which stay in its caches.
BATCH, BATCH_GPU = 4, 64
FLAT = 0.03  # between the darkest and the brightest of a region, under which there is nothing to be seen in it
AGREEING = 3  # so many views must agree on a hand that was looked for from all directions
SAME_PALM = 0.3  # intersection over union from where two boxes in one region are one palm


@dataclass(frozen=True, eq=False)
class Looks:
    """What the landmark network says of N regions."""

    points: Tensor
    """[N, 21, 2] pixels of the picture."""
    world: Tensor
    """[N, 21, 3] metres, x right, y down, z away from the camera, as the picture stands."""
    presence: Tensor
    """[N] 0 to 1: how sure it is of seeing a hand."""
    right: Tensor
    """[N] 0 to 1: how sure it is that the hand is the person's right one."""

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, chosen: Tensor | slice) -> Looks:
        return Looks(self.points[chosen], self.world[chosen], self.presence[chosen], self.right[chosen])

    def put(self, rows: Tensor, other: Looks) -> None:
        """Write the regions of ``other`` over the rows [M] int64, in place."""
        for name in ("points", "world", "presence", "right"):
            getattr(self, name)[rows] = getattr(other, name)

    def replaced(self, number: int, other: Looks) -> Looks:
        """The same, but for one region, which looks as the only one of ``other``."""
        return Looks.joined([self[:number], other, self[number + 1 :]])

    @staticmethod
    def joined(parts: Sequence[Looks]) -> Looks:
        """The regions of all parts, one after the other."""
        names = ("points", "world", "presence", "right")
        return Looks(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


@torch.inference_mode()
def find_palms(pyramid: Pyramid, regions: Tensor, threshold: float, turn: float = 0.0) -> tuple[Tensor, Tensor]:
    """Palms in regions [N, 4] of a picture; ``turn`` as in `region_of_palm`.

    Returns:
        [M, 4] the regions in which their hands stand upright, and [M] scores of at least ``threshold``. A palm that
        several of the regions show comes several times.
    """
    found, scores = [torch.zeros(0, 4)], [torch.zeros(0)]
    for batch in regions.split(_batch(pyramid)):
        crops = pyramid.crops(batch, PALM_SIDE)
        worth = (crops.amax(dim=(1, 2, 3)) - crops.amin(dim=(1, 2, 3)) >= FLAT).cpu()
        if not bool(worth.any()):
            continue
        batch = batch[worth]
        boxes, logits = (out.cpu() for out in palm_network(pyramid.device)(crops[worth.to(crops.device)]))
        certainty = logits[..., 0].clamp(-100, 100).sigmoid()
        for region, box, score in zip(batch, boxes, certainty, strict=True):
            chosen = score >= threshold
            box, score = _merged(_decoded(box[chosen], _anchors()[chosen]), score[chosen])
            found.append(_hand_regions(region, box, turn))
            scores.append(score)
    return torch.cat(found).clone(), torch.cat(scores).clone()


def _batch(pyramid: Pyramid) -> int:
    return BATCH if pyramid.device.type == "cpu" else BATCH_GPU


@cache
def _anchors() -> Tensor:
    """[2016, 2] where the detector's cells lie: two boxes for each of 24 x 24 cells, six for each of 12 x 12."""
    found = []
    for cells, boxes in ((24, 2), (12, 6)):
        middles = (torch.arange(cells) + 0.5) / cells
        y, x = torch.meshgrid(middles, middles, indexing="ij")
        found.append(torch.stack([x, y], dim=-1).reshape(-1, 1, 2).expand(-1, boxes, 2).reshape(-1, 2))
    return torch.cat(found)


def _decoded(raw: Tensor, anchors: Tensor) -> Tensor:
    """[N, 9, 2] in [0, 1] of the region: the box's middle, its size, and the palm's seven points."""
    values = raw.reshape(-1, 9, 2) / PALM_SIDE
    offsets = anchors[:, None].expand(-1, 9, 2).clone()
    offsets[:, 1] = 0
    return values + offsets


def _merged(palms: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """One palm of each heap of overlapping ones, their average weighted by score, as MediaPipe does."""
    order = scores.argsort(descending=True, stable=True)
    palms, scores = palms[order], scores[order]
    low, high = palms[:, 0] - palms[:, 1] / 2, palms[:, 0] + palms[:, 1] / 2
    common = (torch.minimum(high[:, None], high[None]) - torch.maximum(low[:, None], low[None])).clamp_min(0).prod(-1)
    area = (high - low).clamp_min(0).prod(-1)
    overlap = common / (area[:, None] + area[None] - common).clamp_min(1e-9)
    free = torch.ones(len(palms), dtype=torch.bool)
    kept, certainty = [], []
    for i in range(len(palms)):
        if free[i]:
            heap = free & (overlap[i] > SAME_PALM)
            heap[i] = True
            weights = scores[heap, None, None]
            kept.append((palms[heap] * weights).sum(0) / weights.sum())
            certainty.append(scores[i])
            free &= ~heap
    return (torch.stack(kept), torch.stack(certainty)) if kept else (palms, scores)


def _hand_regions(region: Tensor, palms: Tensor, turn: float) -> Tensor:
    """[N, 4] the upright hands' regions in the picture of palms [N, 9, 2] in one region."""
    points = places.to_picture(region, palms[:, 2:] - 0.5)
    middle = places.to_picture(region, palms[:, 0] - 0.5)
    boxes = torch.cat([middle, palms[:, 1] * region[2]], dim=-1)
    # The box is square with its own region, so its height counts as seen there: the same for the nearly square palms.
    return places.region_of_palm(boxes, points[:, 0], points[:, 2], turn)


@torch.inference_mode()
def look_at_hands(pyramid: Pyramid, regions: Tensor, mirrored: bool = False) -> Looks:
    """The landmarks of the hands in regions [N, 4] where they stand upright; ``mirrored`` shows them in a mirror."""
    outputs = [[torch.zeros(0, n) for n in (63, 1, 1, 63)]]
    for batch in regions.split(_batch(pyramid)):
        crops = pyramid.crops(batch, HAND_SIDE, "border")
        seen = hand_network(pyramid.device)(crops.flip(-1) if mirrored else crops)
        outputs.append([out.cpu() for out in seen])
    points, presence, right, world = (torch.cat(parts).clone() for parts in zip(*outputs, strict=True))
    points = points.reshape(-1, 21, 3)[..., :2] / HAND_SIDE
    world = world.reshape(-1, 21, 3)
    if mirrored:
        # A crop's first pixel lies on the region's corner, so mirroring moves it by one pixel.
        points = torch.stack([1 - 1 / HAND_SIDE - points[..., 0], points[..., 1]], dim=-1)
        world = world * torch.tensor([-1.0, 1.0, 1.0])
        right = 1 - right
    angle = regions[:, 3]
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    x, y, z = world.unbind(-1)
    world = torch.stack([cos * x - sin * y, sin * x + cos * y, z], dim=-1)
    return Looks(places.to_picture(regions, points - 0.5), world, presence[:, 0], right[:, 0])


def agreed_view(views: Looks) -> Looks | None:
    """The hand that most of N looks agree on, as one look; None where too few agree."""
    if len(views) < AGREEING:
        return None
    near = apart(views.points, views.points) <= SAME_HAND
    chosen = near[int((near.float() @ views.presence).argmax())]
    if int(chosen.sum()) < AGREEING:
        return None
    views = views[chosen]
    weight = views.presence / views.presence.sum()
    mean = [torch.einsum("n,n...->...", weight, values)[None] for values in (views.points, views.world, views.right)]
    return Looks(mean[0], mean[1], views.presence.mean()[None], mean[2])
