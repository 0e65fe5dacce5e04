"""Synthetic pictures of hands whose pose and side are known."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from handrawer.hand.model import load_open_hand
from handrawer.mini.picture import draw_pictures, make_skin
from handrawer.mini.scene import Scene, draw_scenes
from handrawer.render.pictures import load_picture

EXAMPLE = Path(__file__).resolve().parents[2] / "handrawer" / "examples" / "hands.png"


@dataclass(frozen=True)
class Drawn:
    scene: Scene
    pictures: Tensor  # [N, 256, 256, 3]


@pytest.fixture(scope="session")
def drawn() -> Drawn:
    """16 pictures of both sides, palm and back, many gestures."""
    model = load_open_hand()
    scene = draw_scenes(4711, torch.arange(16), model)
    pictures = draw_pictures(scene, model, make_skin(model), size=256)
    return Drawn(scene, pictures.permute(0, 2, 3, 1).contiguous())


@pytest.fixture(scope="session")
def example() -> Tensor:
    """[1, H, W, 3] the picture that ships: an open left hand on the left, a right hand on the right."""
    picture = load_picture(EXAMPLE)
    return picture if picture.dim() == 4 else picture[None]
