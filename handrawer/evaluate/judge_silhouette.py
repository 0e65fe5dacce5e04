"""What the picture shows beside the fitted hand: skin that no finger explains, and fingers where no skin is.

The fitted hand says which pixels are surely hand and surely not; from these a colour model of this one picture is
learned (two Gaussians), and every pixel round the hand is sorted by it. Fingers are counted on arcs round the palm: the
picture's runs of skin against those of the fitted hand, which always has five. Where hand and background have one
colour, nothing is concluded.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..estimate import regions as places
from ..estimate.regions import Pyramid
from ..hand.camera import project
from ..hand.hands import Hand
from ..hand.joints import JOINT_PARENTS
from ..hand.model import HandModel
from ..render.masks import dilate
from ..render.rasterise import rasterise

SIDE = 176  # pixels of the upright crop that is looked at
MARGIN = 0.22  # of the landmarks' extent, on each side of them
ARCS = tuple(0.8 + 0.1 * step for step in range(13))  # radii in palm lengths, from the palm's middle
STEPS = 540  # places on an arc
WRIST_WEDGE = 55.0  # degrees to each side of the wrist's direction that no finger is counted in
LEAST_RUN, LEAST_GAP = 0.045, 0.012  # in palm lengths; less is no finger, or no gap between two
FAR = 0.17  # palm lengths from any bone, from where skin belongs to none
RELIABLE = 0.9  # share of sure pixels that the colours sort rightly, from where a count is told


@dataclass(frozen=True)
class Silhouette:
    """One hand's picture against its fit."""

    reliable: float
    """0 to 1: how well the colours tell hand from background; 0.5 is chance."""
    unexplained: float
    """Area of skin near the hand that lies far from every bone, over the square of the palm's length."""
    bare: tuple[float, float]
    """Share of the barest finger's bones, and of all four fingers', that lies on no skin."""
    apart: float
    """1 - intersection over union of the skin and the fitted hand."""
    runs: tuple[int, int]
    """The most runs that an arc has of skin, and of the fitted hand."""
    uneven: float
    """Mean difference of the two numbers of runs over all arcs."""

    @property
    def fingers(self) -> int | None:
        """How many fingers the picture seems to show, folded ones as the fit has them; None: colours do not tell."""
        return None if self.reliable < RELIABLE else max(0, 5 + self.runs[0] - self.runs[1])

    def signals(self) -> dict[str, float]:
        """Numbers for the judge, each the greater the worse: nothing where the colours do not tell."""
        trust = max(0.0, min(1.0, (self.reliable - 0.75) / 0.2))
        seen, fitted = self.runs
        values = {
            "unexplained": min(self.unexplained, 0.2) * 5,
            "uncovered_most": self.bare[0],
            "uncovered": self.bare[1],
            "apart": min(self.apart, 0.5),
            "more": min(max(seen - fitted, 0), 2) + (1.0 if seen > 5 else 0.0),
            "fewer": min(max(fitted - seen, 0), 2),
            "uneven": min(self.uneven, 2.0),
        }
        return {name: trust * value for name, value in values.items()}


NOTHING = Silhouette(0.5, 0.0, (0.0, 0.0), 0.0, (0, 0), 0.0)


def compare(pyramid: Pyramid, hand: Hand, points: Tensor, model: HandModel) -> Silhouette:
    """A picture against the hand that was fitted in it.

    Args:
        pyramid: of the picture.
        hand: in a picture of the pyramid's size.
        points: [21, 2] landmarks in pixels.
        model: the hand's.
    """
    region = _region(points)
    crop = pyramid.crops(region[None], SIDE)[0].cpu()
    seen = _inside(pyramid, region)
    fitted = _drawn(hand, model, region, pyramid.width, pyramid.height)
    joints = _into(region, points) * SIDE
    palm = joints[[0, 5, 9, 13, 17]].mean(dim=0)
    # The palm's length is seen shortened from some sides, its width from others.
    length = max(
        float((joints[[5, 9, 13, 17]] - joints[0]).norm(dim=-1).amax()), 1.15 * float((joints[5] - joints[17]).norm())
    )
    if length < 8 or float(fitted.sum()) < 200:
        return NOTHING
    arm = _wedge(palm, joints[0])
    skin, reliable = _skin(crop, fitted, seen, arm, length)
    if skin is None:
        return NOTHING
    near = skin & ~arm & (_distance(palm) < 2.3 * length)
    away = _from_bones(joints) / length
    far = ((away - FAR).clamp_min(0) * near).sum() / (0.1 * length * length)
    known, here = fitted & ~arm & seen, near & (away < 0.6)
    apart = 1 - float((known & here).sum()) / max(float((known | here).sum()), 1.0)
    most, uneven = _arcs(near & seen, fitted & seen, palm, joints[0], length)
    return Silhouette(reliable, float(far), _bare(skin | ~seen, joints), apart, most, uneven)


def _region(points: Tensor) -> Tensor:
    """[4] the upright square round the landmarks."""
    upright = places.region_of_hand(points[None])[0]
    within = _into(torch.cat([upright[:2], torch.ones(1), upright[3:]]), points)
    low, high = within.amin(dim=0), within.amax(dim=0)
    middle = places.to_picture(torch.cat([upright[:2], torch.ones(1), upright[3:]]), (low + high) / 2 - 0.5)
    side = (high - low).amax() * (1 + 2 * MARGIN)
    return torch.cat([middle, side[None], upright[3:]])


_SEGMENTS = tuple((parent, joint) for joint, parent in enumerate(JOINT_PARENTS) if parent >= 0) + (
    (1, 5), (5, 9), (9, 13), (13, 17), (2, 5), (0, 13),
)  # fmt: skip


def _from_bones(joints: Tensor) -> Tensor:
    """[SIDE, SIDE] distance to the nearest bone in pixels; the palm's are thicker."""
    grid, found = _grid(), torch.full((SIDE, SIDE), torch.inf)
    for a, b in _SEGMENTS:
        along = joints[b] - joints[a]
        share = (((grid - joints[a]) @ along) / (along @ along).clamp_min(1e-6)).clamp(0, 1)
        distance = (grid - (joints[a] + share[..., None] * along)).norm(dim=-1)
        finger = b == a + 1 and a > 1
        found = torch.minimum(found, distance if finger else 0.7 * distance)
    return found


def _bare(skin: Tensor, joints: Tensor) -> tuple[float, float]:
    """Share of the barest finger's two outer bones, and of all four fingers', that lies on no skin."""
    share = torch.linspace(0.1, 0.9, 9)[:, None]
    bare = []
    for finger in range(1, 5):
        first, second, tip = joints[2 + 4 * finger], joints[3 + 4 * finger], joints[4 + 4 * finger]
        places_ = torch.cat([torch.lerp(first[None], second[None], share), torch.lerp(second[None], tip[None], share)])
        x, y = places_.round().long().clamp(0, SIDE - 1).unbind(-1)
        bare.append(float((~skin[y, x]).float().mean()))
    return max(bare), sum(bare) / len(bare)


def _into(region: Tensor, points: Tensor) -> Tensor:
    """[P, 2] pixels of the picture as places of a region [4], 0 to 1: the inverse of ``regions.to_picture``."""
    x, y, side, angle = region
    away = points - torch.stack([x, y])
    cos, sin = angle.cos(), angle.sin()
    u = (cos * away[:, 0] + sin * away[:, 1]) / side
    v = (-sin * away[:, 0] + cos * away[:, 1]) / side
    return torch.stack([u, v], dim=-1) + 0.5


def _inside(pyramid: Pyramid, region: Tensor) -> Tensor:
    """[SIDE, SIDE] bool: what of the region lies in the picture."""
    x, y = places.to_picture(region, _grid() / SIDE - 0.5).unbind(-1)
    return (x >= 0) & (y >= 0) & (x < pyramid.width) & (y < pyramid.height)


def _grid() -> Tensor:
    """[SIDE, SIDE, 2] pixel positions."""
    steps = torch.arange(SIDE, dtype=torch.float32)
    return torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1)


def _distance(middle: Tensor) -> Tensor:
    return (_grid() - middle).norm(dim=-1)


def _wedge(palm: Tensor, wrist: Tensor) -> Tensor:
    """[SIDE, SIDE] bool: the forearm's side, as seen from the palm's middle."""
    away = F.normalize(_grid() - palm, dim=-1)
    down = F.normalize(wrist - palm, dim=0)
    return (away @ down) > torch.tensor(WRIST_WEDGE).deg2rad().cos()


def _drawn(hand: Hand, model: HandModel, region: Tensor, width: int, height: int) -> Tensor:
    """[SIDE, SIDE] bool: the fitted hand."""
    flat = project(hand.vertices, hand.camera, width, height) * torch.tensor([width, height])
    points = torch.cat([_into(region, flat.float()) * SIDE, hand.vertices[:, 2:]], dim=1)[None]
    fragments = rasterise(points, model.faces, torch.zeros(1, dtype=torch.long), 1, SIDE, SIDE)
    return fragments.face[0] >= 0


def _skin(crop: Tensor, fitted: Tensor, seen: Tensor, arm: Tensor, length: float) -> tuple[Tensor | None, float]:
    """[SIDE, SIDE] bool: what has the hand's colours, and how reliable that is (0.5 to 1)."""
    sure = (dilate(fitted[None].float(), -0.05 * length)[0] > 0.5) & seen
    far = (dilate(fitted[None].float(), 0.16 * length)[0] < 0.5) & seen & ~arm
    if int(sure.sum()) < 60 or int(far.sum()) < 60:
        return None, 0.5
    values = _colours(crop)
    inner, outer = values[sure], values[far]
    skin = torch.zeros_like(fitted)
    for _ in range(2):  # the second time without what was taken for the other
        skin = _gaussian(values, inner) > _gaussian(values, outer)
        inner, outer = values[sure & skin], values[far & ~skin]
        if min(len(inner), len(outer)) < 60:
            return None, 0.5
    right = (float(skin[sure].float().mean()) + float((~skin)[far].float().mean())) / 2
    return _smooth(skin), right


def _colours(crop: Tensor) -> Tensor:
    """[SIDE, SIDE, 4]: two differences of colours, brightness, and local roughness."""
    red, green, blue = F.avg_pool2d(crop[None], 3, 1, 1)[0]
    bright = (red + green + blue) / 3
    return torch.stack([red - green, blue - green, 0.5 * bright], dim=-1)


def _gaussian(values: Tensor, sample: Tensor) -> Tensor:
    """Log density of every pixel under the Gaussian of a sample [P, C]."""
    mean = sample.mean(dim=0)
    away = sample - mean
    spread = away.T @ away / len(sample) + 4e-4 * torch.eye(sample.shape[1])
    off = values - mean
    return -0.5 * ((off @ torch.linalg.inv(spread)) * off).sum(-1) - 0.5 * torch.logdet(spread)


def _smooth(mask: Tensor) -> Tensor:
    """Without specks: the majority in 3 x 3."""
    return F.avg_pool2d(mask[None, None].float(), 3, 1, 1)[0, 0] > 0.5


def _arcs(skin: Tensor, fitted: Tensor, palm: Tensor, wrist: Tensor, length: float) -> tuple[tuple[int, int], float]:
    """The most runs on an arc of skin and of the fitted hand, and how much the two differ on the mean."""
    down = torch.atan2(wrist[1] - palm[1], wrist[0] - palm[0])
    wedge = torch.tensor(WRIST_WEDGE).deg2rad()
    span = 2 * torch.pi - 2 * wedge
    angles = down + wedge + torch.arange(STEPS) / STEPS * span
    counts = []
    for radius in ARCS:
        at = palm + radius * length * torch.stack([angles.cos(), angles.sin()], dim=-1)
        x, y = at.round().long().unbind(-1)
        inside = (x >= 0) & (y >= 0) & (x < SIDE) & (y < SIDE)
        x, y = x.clamp(0, SIDE - 1), y.clamp(0, SIDE - 1)
        places_a_length = STEPS / (radius * float(span))
        least = (max(1, round(LEAST_RUN * places_a_length)), max(1, round(LEAST_GAP * places_a_length)))
        counts.append((_runs(skin[y, x] & inside, *least), _runs(fitted[y, x] & inside, *least)))
    differences = [abs(a - b) for a, b in counts]
    return (max(a for a, _ in counts), max(b for _, b in counts)), sum(differences) / len(differences)


def _runs(values: Tensor, least_run: int, least_gap: int) -> int:
    """Runs of at least so many places, after gaps of fewer places than a gap's least are closed."""
    change = F.pad(values.int(), (1, 1)).diff()
    starts, ends = torch.nonzero(change == 1)[:, 0].tolist(), torch.nonzero(change == -1)[:, 0].tolist()
    joined: list[list[int]] = []
    for start, end in zip(starts, ends, strict=True):
        if joined and start - joined[-1][1] < least_gap:
            joined[-1][1] = end
        else:
            joined.append([start, end])
    return sum(end - start >= least_run for start, end in joined)
