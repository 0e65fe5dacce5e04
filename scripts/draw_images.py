"""Draws the pictures of the README and of the registry's page: docs/images/.

    python scripts/draw_images.py [--demo FOLDER]

FOLDER is what `python -m handrawer demo` wrote; its sheet goes into the README. Without it the sheet stays as it is.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from handrawer.estimate import estimate_hands  # noqa: E402
from handrawer.hand.hands import Frame, Hands, hand_from_gesture  # noqa: E402
from handrawer.render.maps import render_layers  # noqa: E402
from handrawer.render.overlay import draw_overlay  # noqa: E402
from handrawer.render.pictures import load_picture, save_picture, sheet  # noqa: E402
from handrawer.render.skeleton import draw_skeleton  # noqa: E402

IMAGES = ROOT / "docs" / "images"
PAPER = torch.tensor([0.10, 0.11, 0.14])
# The registry wants a square icon of at most 400 pixels and a banner of 21:9.
ICON, BANNER = (400, 400), (1260, 540)
BANNER_GESTURES = ("open", "peace", "ok", "rock", "three")


def on_paper(picture: Tensor, mask: Tensor) -> Tensor:
    """[H, W, 3] with the background of [H, W] mask replaced by PAPER."""
    return picture * mask[..., None] + PAPER * (1 - mask[..., None])


def hand_in_style(gesture: str, style: str, width: int, height: int, size: float) -> Tensor:
    """[H, W, 3]: one gesture, drawn as "overlay", "depth", "normals", "parts" or "skeleton"."""
    frame = hand_from_gesture(gesture, "right", width, height, size=size, orientation=(8.0, -4.0, 4.0))
    layers = render_layers(frame, ("depth", "normals", "parts", "mask"))
    mask = layers["mask"][0]
    if style == "overlay":
        return draw_overlay(PAPER.expand(1, height, width, 3), frame, opacity=1.0, badges=False)[0]
    if style == "skeleton":
        return draw_skeleton(frame, pictures=PAPER.expand(1, height, width, 3), scale=3.0)[0]
    drawn = layers[style][0]
    return on_paper(drawn if drawn.ndim == 3 else drawn[..., None].expand(-1, -1, 3), mask)


def banner() -> Tensor:
    """[540, 1260, 3]: five gestures, each seen another way."""
    width = BANNER[0] // len(BANNER_GESTURES)
    styles = ("overlay", "parts", "normals", "depth", "skeleton")
    return torch.cat(
        [hand_in_style(g, s, width, BANNER[1], 1.6) for g, s in zip(BANNER_GESTURES, styles, strict=True)], 1
    )


def strip() -> Tensor:
    """[H, W, 3]: the shipped picture, what was found in it, and two maps of it."""
    picture = load_picture(ROOT / "handrawer" / "examples" / "hands.png")
    hands: Hands = estimate_hands(picture)
    frame: Frame = hands.frames[0]
    layers = render_layers(frame, ("depth", "parts"))
    pictures = [picture[0], draw_overlay(picture, hands)[0], layers["depth"][0], layers["parts"][0]]
    return sheet(pictures, 4, ["picture", "hands found in it", "depth", "parts"], cell=384)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws docs/images/.")
    parser.add_argument("--demo", type=Path, help="folder that the demo wrote")
    arguments = parser.parse_args()
    save_picture(IMAGES / "icon.png", hand_in_style("peace", "parts", *ICON, 0.92))
    save_picture(IMAGES / "banner.png", banner())
    save_picture(IMAGES / "estimate_strip.png", strip())
    if arguments.demo:
        save_picture(IMAGES / "demo_sheet.png", load_picture(arguments.demo / "sheet.png"))


if __name__ == "__main__":
    main()
