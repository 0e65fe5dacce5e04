"""The judge's network: is the hand in an upright crop sound, and if not, where not.

It reads what the landmark network saw on its way, the maps of a network that was made for photos of real hands, and
compares the crop with the possible hand that explains it best (``judge_drawn``). ``judge_network.safetensors`` holds
its weights in 16 bits; ``judge_train`` makes them, from synthetic hands alone.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..estimate.networks import HAND_SIDE, hand_network
from ..estimate.regions import Pyramid, region_of_hand, shifted
from ..hand.joints import FINGER_NAMES
from .judge_drawn import CHANNELS, drawn_over

WEIGHTS_FILE = Path(__file__).with_name("judge_network.safetensors")
# Values of the landmark network by their numbers in its file: 24 channels of 56 x 56 cells, 40 of 28 x 28, 80 and 112
# of 14 x 14, 192 of 7 x 7.
MAPS = (113, 120, 131, 142, 157)
JOINED = (4 * 24 + 4 * 40 + 80 + 112, 192)  # channels, see `joined`
WIDTH, DRAWN_WIDTH = 48, 24
CELLS = 28  # side of the map of what is wrong
REGION = 0.88  # the judge's region over the landmark network's, which leaves room for a hand that moves on
# Each look at a hand: dx, dy (shares of the side), scale, turn (radians), mirrored.
VIEWS = (
    (0.0, 0.0, 1.0, 0.0, False), (0.0, 0.0, 1.0, 0.0, True), (0.03, -0.03, 1.1, 0.2, False),
    (-0.03, 0.02, 0.94, -0.2, True), (0.02, 0.03, 1.05, -0.3, False),
)  # fmt: skip
UPRIGHT = 2  # the first views, whose maps lie on each other
WRONG = 0.5  # chance from where a cell counts as wrong
LEAST_WRONG = 3.0  # cells that must be wrong for a part of the hand to be named
FAR = 0.2  # of the crop's side, from where a place belongs to no finger


Seen = tuple[Tensor, Tensor, Tensor]
"""What the judge's network is shown of N crops: ``joined`` maps, and [N, CHANNELS, 56, 56] of ``drawn_over``."""


def _convolved(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs))


class Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = _convolved(width, width), _convolved(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.first(x))))


class JudgeNetwork(nn.Module):
    """What is seen in N crops, to

    logits [N] of a sound hand, and logits [N, 28, 28] of cells in which something is wrong.
    """

    def __init__(self):
        super().__init__()
        self.scales = nn.ModuleList([nn.BatchNorm2d(count, affine=False) for count in JOINED])
        self.drop = nn.Dropout2d(0.1)
        self.fine = nn.Conv2d(JOINED[0], WIDTH, 1)
        self.coarse = nn.Conv2d(JOINED[1], WIDTH, 1, bias=False)
        self.compare = nn.Sequential(
            _convolved(CHANNELS, DRAWN_WIDTH, 2), nn.ReLU(), Residual(DRAWN_WIDTH), _convolved(DRAWN_WIDTH, WIDTH, 2)
        )
        self.blocks = nn.Sequential(Residual(WIDTH), Residual(WIDTH))
        self.where = nn.Conv2d(WIDTH, 1, 1)
        self.last = nn.Sequential(nn.Linear(3 * WIDTH + 2, 48), nn.ReLU(), nn.Dropout(0.3), nn.Linear(48, 1))

    def forward(self, seen: Seen) -> tuple[Tensor, Tensor]:
        fine, coarse = (self.drop(scale(value)) for scale, value in zip(self.scales, seen[:2], strict=True))
        coarse = F.interpolate(self.coarse(coarse), scale_factor=2.0)
        x = self.blocks(F.relu(self.fine(fine) + coarse + self.compare(seen[2] - 0.5)))
        where = self.where(x)
        share = where.flatten(1).softmax(dim=1)
        looked = torch.einsum("nc,ndc->nd", share, x.flatten(2))
        most = where.flatten(1).topk(5, dim=1).values
        pooled = torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3)), looked, most.mean(1, True), most[:, :1]], dim=1)
        return self.last(pooled)[:, 0], F.interpolate(where, (CELLS, CELLS), mode="bilinear")[:, 0]


def joined(maps: list[Tensor]) -> tuple[Tensor, Tensor]:
    """``MAPS`` as [N, JOINED[0], 14, 14], the finer ones folded, and [N, JOINED[1], 7, 7]."""
    finest = F.pixel_unshuffle(F.avg_pool2d(maps[0], 2), 2)
    return torch.cat([finest, F.pixel_unshuffle(maps[1], 2), maps[2], maps[3]], dim=1), maps[4]


@torch.no_grad()
def seen_in(crops: Tensor) -> Seen:
    """What the judge's network is shown of crops [N, 3, 224, 224] in 0..1; not differentiable.

    Raises:
        ValueError: for crops of another size.
    """
    if crops.shape[-1] != HAND_SIDE:
        raise ValueError(f"The judge's crops have {HAND_SIDE} pixels a side, not {crops.shape[-1]}.")
    flat, _, right, world, *maps = (value.float() for value in hand_network(crops.device)(crops, MAPS))
    points = flat.unflatten(1, (21, 3))[..., :2] / HAND_SIDE
    return *joined(maps), drawn_over(crops, points, right[:, 0], world.unflatten(1, (21, 3)))


def save_network(network: JudgeNetwork, path: Path, about: dict[str, object]) -> None:
    """Its weights in 16 bits, with what is known of their making as JSON."""
    from safetensors.torch import save_file

    kept = {name: value for name, value in network.state_dict().items() if value.is_floating_point()}
    half = {name: value.detach().to("cpu", torch.float16).contiguous() for name, value in kept.items()}
    save_file(half, path, metadata={"format": "handrawer-judge", "version": "1", "about": json.dumps(about)})


def load_network(path: Path = WEIGHTS_FILE) -> JudgeNetwork:
    """The network in a file, in eval mode and float32.

    Raises:
        FileNotFoundError, ValueError: one sentence, where the file is missing or is none of the judge's.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise FileNotFoundError(
            f"The judge's weights are missing ({path}): install HanDrawer again, or make the file with "
            "python -m handrawer.evaluate.judge_train."
        )
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read ({error}): install HanDrawer again.") from error
    network = JudgeNetwork()
    counters = {name for name in network.state_dict() if name.endswith("num_batches_tracked")}
    missing, unknown = network.load_state_dict({name: value.float() for name, value in weights.items()}, strict=False)
    if set(missing) - counters or unknown:
        raise ValueError(f"{path} holds another network than the judge's: install HanDrawer again.")
    return network.eval()


def about_network(path: Path = WEIGHTS_FILE) -> dict[str, Any]:
    """What a network's file says of its making."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return json.loads((file.metadata() or {})["about"])


@functools.lru_cache(maxsize=1)
def judge_network() -> JudgeNetwork:
    """The network that ships."""
    with torch.inference_mode(False):  # the host calls in inference mode, and the network outlives this call
        return load_network()


def hand_regions(points: Tensor) -> Tensor:
    """[N, 4] where the judge looks at hands with joints [N, 21, 2], in pixels, see ``estimate.regions``."""
    return shifted(region_of_hand(points), 0.0, 0.0, REGION, 0.0)


def hand_views(pyramid: Pyramid, points: Tensor) -> Tensor:
    """[N, VIEWS, 3, 224, 224] what the judge sees of hands with joints [N, 21, 2] in pixels."""
    upright = hand_regions(points)
    seen = []
    for dx, dy, scale, turn, mirrored in VIEWS:
        crop = pyramid.crops(shifted(upright, dx, dy, scale, turn), HAND_SIDE)
        seen.append(crop.flip(-1) if mirrored else crop)
    return torch.stack(seen, dim=1)


def points_in_view(points: Tensor) -> Tensor:
    """[21, 2] joints [21, 2] in pixels as places in the first view, 0 to 1."""
    x, y, side, angle = hand_regions(points[None])[0]
    away = points - torch.stack([x, y])
    cos, sin = angle.cos(), angle.sin()
    turned = torch.stack([cos * away[:, 0] + sin * away[:, 1], -sin * away[:, 0] + cos * away[:, 1]], dim=-1)
    return turned / side + 0.5


@torch.inference_mode()
def look(views: Tensor, network: JudgeNetwork) -> tuple[Tensor, Tensor]:
    """Mean logits [N] of a sound hand over views [N, VIEWS, 3, 224, 224], and chances [N, CELLS, CELLS] that
    something is wrong with what a cell of the first view shows."""
    parts = [network(seen_in(part)) for part in views.flatten(0, 1).split(4 if views.device.type == "cpu" else 64)]
    sound, where = (torch.cat(part).float().unflatten(0, views.shape[:2]) for part in zip(*parts, strict=True))
    maps = [where[:, i].flip(-1) if VIEWS[i][4] else where[:, i] for i in range(UPRIGHT)]
    return sound.mean(dim=1).clone(), torch.stack(maps).mean(dim=0).sigmoid().clone()


def parts_in_doubt(wrong: Tensor, points: Tensor) -> dict[str, float]:
    """How many cells are wrong at each finger and at the palm, the worst first; only those with enough.

    Args:
        wrong: [CELLS, CELLS] chances, of ``look``.
        points: [21, 2] the joints in the crop, 0 to 1.
    """
    cells = torch.nonzero(wrong > WRONG)
    at = (cells.flip(-1) + 0.5) / CELLS
    chains = [points[2 + 4 * k : 5 + 4 * k] if k else points[2:5] for k in range(5)]
    lines = torch.stack([torch.cat([torch.lerp(c[0], c[1], t)[None] for t in _STEPS]
                                   + [torch.lerp(c[1], c[2], t)[None] for t in _STEPS]) for c in chains])  # fmt: skip
    fingers = torch.cdist(at, lines.flatten(0, 1)).unflatten(1, lines.shape[:2]).amin(dim=2)  # [cells, 5]
    palm = torch.cdist(at, points[[0, 1, 5, 9, 13, 17]]).amin(dim=1, keepdim=True)
    distance, nearest = torch.cat([fingers, palm], dim=1).min(dim=1)
    chance = wrong[cells[:, 0], cells[:, 1]] * (distance < FAR)
    doubt = {name: float(chance[nearest == k].sum()) for k, name in enumerate((*FINGER_NAMES, "palm"))}
    return dict(sorted(((n, v) for n, v in doubt.items() if v >= LEAST_WRONG), key=lambda pair: -pair[1]))


_STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
