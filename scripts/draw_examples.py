"""Draws the pictures that ship with the project for people to try things on: handrawer/examples/.

    python scripts/draw_examples.py

They are synthetic, made by the project's own generator from the open hand, so nobody's photo is passed on. The result
depends on nothing but this file and the generator.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from handrawer.evaluate.malformed import _extra, workshop  # noqa: E402
from handrawer.hand.gestures import gesture_angles  # noqa: E402
from handrawer.hand.hands import hand_from_gesture  # noqa: E402
from handrawer.hand.model import HandModel, load_open_hand  # noqa: E402
from handrawer.hand.skinning import axis_angle_to_matrix, pose_hand  # noqa: E402
from handrawer.mini import captions  # noqa: E402
from handrawer.mini.picture import Skin, draw_pictures, make_skin  # noqa: E402
from handrawer.mini.scene import GESTURE_NAMES, Scene, draw_scenes  # noqa: E402
from handrawer.render.pictures import save_picture  # noqa: E402

SIDE = 512  # pixels of the square that one hand is drawn in
WIDTH = 768  # of the picture: two squares, overlapping by a third
BLEND = 80  # pixels over which one square fades into the other, between the hands
MALFORMED = (101, 55)  # seed and number of a scene with an open hand, which gets a sixth finger
FARTHER = 2.1  # times as far away as in that scene, so that the hand is a part of the picture and not all of it
ASIDE = (0.04, 0.05)  # shares of the picture by which the wrist is moved then, right and down


@dataclass(frozen=True)
class Look:
    """One hand: gesture and side, where (middle, share of the square), how turned (degrees), and what it looks like."""

    gesture: str
    side: str
    centre: tuple[float, float]
    size: float
    orientation: tuple[float, float, float]
    skin: str
    sleeve: str


LEFT_OF_PICTURE = Look("open", "left", (0.34, 0.56), 0.52, (14.0, 4.0, -10.0), "light", "green sleeve")
RIGHT_OF_PICTURE = Look("rock", "right", (0.6, 0.47), 0.8, (10.0, 4.0, -6.0), "tan", "blue sleeve")


def scene_of(look: Look, model: HandModel) -> Scene:
    """The scene of one square, as the generator would have drawn it."""
    (hand,) = hand_from_gesture(
        look.gesture, look.side, SIDE, SIDE, centre=look.centre, size=look.size, orientation=look.orientation
    ).hands
    rotation = axis_angle_to_matrix(hand.orientation)[None]
    left = torch.tensor([hand.left])

    def choice(names: tuple[str, ...], name: str) -> Tensor:
        return torch.tensor([names.index(name)])

    return Scene(
        index=torch.tensor([0]),
        gesture=choice(GESTURE_NAMES, look.gesture),
        side=choice(captions.SIDES, look.side),
        view=choice(captions.VIEWS, "palm"),
        skin=choice(captions.SKINS, look.skin),
        sleeve=choice(captions.SLEEVES, look.sleeve),
        nails=choice(captions.NAILS, "natural nails"),
        background=choice(captions.BACKGROUNDS, "beige"),
        light=choice(captions.LIGHTS, "soft"),
        angles=gesture_angles(look.gesture)[None],
        shape=hand.shape[None],
        orientation=rotation,
        translation=hand.translation[None],
        focal=torch.tensor([hand.camera.focal]),
        posed=pose_hand(model, hand.rotations()[None], hand.shape[None], rotation, hand.translation[None], left),
    )


def two_hands(model: HandModel, skin: Skin) -> Tensor:
    """[SIDE, WIDTH, 3] float in [0, 1]."""
    squares = [
        draw_pictures(scene_of(look, model), model, skin, size=SIDE, seed=3)[0]
        for look in (LEFT_OF_PICTURE, RIGHT_OF_PICTURE)
    ]
    first, second = (square.permute(1, 2, 0) for square in squares)
    x = torch.arange(WIDTH) + 0.5
    share = ((x - WIDTH / 2) / BLEND + 0.5).clamp(0, 1)[None, :, None]
    gap = torch.zeros(SIDE, WIDTH - SIDE, 3)
    return torch.cat([first, gap], 1) * (1 - share) + torch.cat([gap, second], 1) * share


def malformed_hand() -> Tensor:
    """[SIDE, SIDE, 3] a hand of six fingers that leaves room around it, for what finds and repairs such."""
    seed, number = MALFORMED
    model = workshop()[0]
    scene = draw_scenes(seed, torch.tensor([number]), load_open_hand())
    place = scene.translation * torch.tensor([1.0, 1.0, FARTHER])
    place[:, :2] += torch.tensor(ASIDE) * place[:, 2:] / scene.focal
    scene = replace(scene, translation=place)
    scene = replace(scene, posed=_extra(scene, 0, 1, torch.full((4,), 0.5)))  # a second index finger
    (picture,) = draw_pictures(scene, model, make_skin(model), size=SIDE, seed=seed)
    return picture.permute(1, 2, 0)


def main() -> None:
    model, folder = load_open_hand(), ROOT / "handrawer" / "examples"
    for name, picture in (("hands", two_hands(model, make_skin(model))), ("malformed_hand", malformed_hand())):
        path = save_picture(folder / f"{name}.png", picture)
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
