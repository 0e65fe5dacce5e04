"""The small model as a base, and a folder of pictures with hands, for the tests of the adapter's training."""

from pathlib import Path
from typing import Any

import pytest
import torch

from handrawer.hand.hands import hand_from_gesture
from handrawer.render.pictures import save_picture
from handrawer.train.bases import Base, load_base
from handrawer.train.config import BaseConfig
from handrawer.train.sources import write_frames

SMALL: dict[str, Any] = {
    "adapter": {"changes": {"raster": 32, "width": 32, "heads": 2, "graph_widths": [8, 16, 32], "blocks": 1}},
    "precision": "fp32",
    "device": "cpu",
    "log_every": 1,
    "optimiser": {"warmup": 1, "rate": 0.01},
}


@pytest.fixture(scope="package")
def mini_base() -> Base:
    return load_base(BaseConfig("mini"), "fp32")


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures of two shapes, with captions and hands.json."""
    path = tmp_path_factory.mktemp("pictures")
    frames = {}
    for number, (width, height) in enumerate([(80, 64)] * 3 + [(140, 70)] * 3):
        generator = torch.Generator().manual_seed(number)
        save_picture(path / f"{number}.png", torch.rand(height, width, 3, generator=generator))
        (path / f"{number}.txt").write_text(f"a left hand, number {number}")
        frames[f"{number}.png"] = hand_from_gesture("open", "left", width, height, size=0.7)
    write_frames(path / "hands.json", frames)
    return path
