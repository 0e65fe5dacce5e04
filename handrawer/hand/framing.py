"""Where a hand must lie so that its picture fills a box."""

from __future__ import annotations

import torch
from torch import Tensor

from .camera import Camera

NEAREST = 0.05  # metres from the camera to the hand's nearest point, however large a box asks it to be
_STEPS = 60
_HALVINGS = 12


def place_in_box(points: Tensor, box: Tensor, camera: Camera, width: int, height: int) -> Tensor:
    """[3] the translation for which projected points lie in the middle of a box, as large as they fit into it.

    Newton's method in the three coordinates: the projection's middle and the size that fills the box follow from the
    four points that touch its sides. Each step is halved until it helps, because those points may change on the way.

    Args:
        points: [V, 3] metres, about the wrist, in the camera's axes.
        box: [4] (x0, y0, x1, y1) normalised, not empty.
    """
    points = points.double()
    focal = torch.tensor([camera.focal, camera.focal * width / height], dtype=torch.float64)
    centre = torch.tensor([camera.cx, camera.cy], dtype=torch.float64)
    low, high = box[:2].double() - centre, box[2:].double() - centre
    place = _from_afar(points, (low + high) / 2, high - low, focal)
    error, jacobian = _error(points + place, low, high, focal)
    for _ in range(_STEPS):
        if float(error.abs().max()) < 1e-7:
            break
        step = _step(error, jacobian, NEAREST - float((points[:, 2] + place[2]).min()))
        for _ in range(_HALVINGS):
            moved, further = _error(points + place + step, low, high, focal)
            if float((points[:, 2] + place[2] + step[2]).min()) >= NEAREST - 1e-9 and moved.norm() < error.norm():
                break
            step = step / 2
        else:
            break
        place, error, jacobian = place + step, moved, further
    return place


def _from_afar(points: Tensor, middle: Tensor, size: Tensor, focal: Tensor) -> Tensor:
    """Where to start: as if the hand were flat."""
    low, high = points.amin(dim=0), points.amax(dim=0)
    depth = float(((high - low)[:2] * focal / size).max())
    depth = max(depth, NEAREST - float(low[2]) + 0.1)
    return torch.cat([middle / focal * depth - (low + high)[:2] / 2, torch.tensor([depth], dtype=torch.float64)])


def _error(points: Tensor, low: Tensor, high: Tensor, focal: Tensor) -> tuple[Tensor, Tensor]:
    """How far the projection's middle [2] and its size [1] are off, and the derivatives [3, 3] by the translation."""
    projected = points[:, :2] / points[:, 2:].clamp_min(1e-6) * focal
    ends = torch.stack([projected.argmin(dim=0), projected.argmax(dim=0)])  # [2, 2]: low and high, x and y
    at = projected.gather(0, ends)
    depth = points[:, 2][ends]
    size, wanted = at[1] - at[0], high - low
    fills = int((size / wanted).argmax())
    along, deeper = focal / depth, -at / depth  # of each end, by its own coordinate and by depth
    jacobian = torch.zeros(3, 3, dtype=torch.float64)
    jacobian[[0, 1], [0, 1]] = along.mean(dim=0)
    jacobian[:2, 2] = deeper.mean(dim=0)
    jacobian[2, fills] = along[1, fills] - along[0, fills]
    jacobian[2, 2] = deeper[1, fills] - deeper[0, fills]
    return torch.cat([at.mean(dim=0) - (low + high) / 2, (size - wanted)[fills : fills + 1]]), jacobian


def _step(error: Tensor, jacobian: Tensor, least: float) -> Tensor:
    """Newton's step, or, where it would come nearer than the hand may, as near as it may and centred."""
    step = torch.linalg.lstsq(jacobian, -error[:, None]).solution[:, 0]
    if float(step[2]) < least:
        across = torch.linalg.solve(jacobian[:2, :2], -error[:2] - jacobian[:2, 2] * least)
        step = torch.cat([across, torch.tensor([least], dtype=torch.float64)])
    return step
