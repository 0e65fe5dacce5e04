"""What `demo` and `estimate` share: hands of a picture file, and the pictures of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import Refusal
from .progress import progress_bar, without_chatter

if TYPE_CHECKING:
    from torch import Tensor

    from ..hand.hands import Hand, Hands


def find_hands(picture: Tensor, arguments: argparse.Namespace) -> Hands:
    """The hands of one picture, largest possible number and detector's confidence as the user asked.

    Args:
        picture: [1, H, W, 3] float in [0, 1].
        arguments: with `max_hands`, `min_confidence` and `thoroughness`.
    """
    from ..estimate import estimate_hands

    with without_chatter(), progress_bar("Finding hands") as progress:
        try:
            return estimate_hands(
                picture,
                max_hands=arguments.max_hands,
                min_confidence=arguments.min_confidence,
                thoroughness=arguments.thoroughness,
                progress=progress,
            )
        except FileNotFoundError as error:  # the landmark networks
            raise Refusal(str(error)) from None


def describe_hands(hands: tuple[Hand, ...], width: int, height: int) -> str:
    """A small table of hands, numbered from 0 as in the overlay: side, detector's confidence, size in pixels; notes."""
    lines = ["hand  side   confidence  size"]
    for number, hand in enumerate(hands):
        x0, y0, x1, y1 = (float(edge) for edge in hand.box)
        size = f"{(x1 - x0) * width:.0f} x {(y1 - y0) * height:.0f} px"
        lines.append(f"{number:4d}  {hand.side:5s}  {hand.confidence:10.2f}  {size}")
        lines += [f"      {note}" for note in hand.notes]
    return "\n".join(lines)


def write_maps(folder: Path, picture: Tensor, hands: Hands, names: tuple[str, ...]) -> None:
    """Write pictures of all hands at the picture's own size, each as NAME.png.

    Args:
        folder: an existing folder.
        picture: [1, H, W, 3] float in [0, 1], the picture that the hands belong to.
        hands: one frame; without hands the maps are black and the overlay is the picture.
        names: of "overlay", "skeleton" and the layers of `render.maps`.
    """
    from ..render.maps import render_layers
    from ..render.overlay import draw_overlay
    from ..render.pictures import save_picture
    from ..render.skeleton import draw_skeleton

    drawers = {"overlay": lambda: draw_overlay(picture, hands), "skeleton": lambda: draw_skeleton(hands)}
    layers = render_layers(hands, [name for name in names if name not in drawers])
    for name in names:
        drawn = drawers[name]() if name in drawers else layers[name]
        save_picture(folder / f"{name}.png", drawn[0])


def write_json(path: Path, hands: Hands) -> None:
    """Write hands as JSON, the form that the canvas reads too."""
    path.write_text(hands.to_json(), encoding="utf-8")
