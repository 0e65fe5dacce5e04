"""What the generator may put into a picture, each with its probability."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class SyntheticOptions:
    """Probabilities, 0 (never) to 1 (always). All 0 draws one hand before a plain background.

    Attributes:
        two_hands: a second hand in the picture, mostly the other one of the same person.
        crossing: of two hands: one lies before the other, instead of beside it.
        holding: a hand holds an object (can, bottle, cup, stick, ball, box, phone, card, pen).
        occluder: an object before the hand hides a part of it.
        edge: the picture's edge cuts the hand.
        far: the hand is small: 0.2 to 0.5 of the picture's side instead of 0.55 to 0.88.
        people: one to three people in the background, out of focus.
        clutter: furniture-like shapes in the background, out of focus.
        defocus, motion_blur: of the whole picture; of the moving hand.
        noise, jpeg: of the sensor; artefacts of compression, quality 25 to 92.
        vignette, white_balance, exposure: of lens and camera.
        distortion: of the lens; moves the hands in the picture and their labels with them.
    """

    two_hands: float = 0.0
    crossing: float = 0.35
    holding: float = 0.0
    occluder: float = 0.0
    edge: float = 0.0
    far: float = 0.0
    people: float = 0.0
    clutter: float = 0.0
    defocus: float = 0.0
    motion_blur: float = 0.0
    noise: float = 0.0
    jpeg: float = 0.0
    vignette: float = 0.0
    white_balance: float = 0.0
    exposure: float = 0.0
    distortion: float = 0.0

    def __post_init__(self) -> None:
        for name, share in dataclasses.asdict(self).items():
            if not 0 <= share <= 1:
                raise ValueError(f"'data.synthetic.{name}' is {share}: it is a share of the pictures, from 0 to 1.")

    @property
    def plain(self) -> bool:
        """Whether nothing is put in."""
        values = dataclasses.asdict(self)
        return not any(share for name, share in values.items() if name != "crossing")


PLAIN = SyntheticOptions()
FULL = SyntheticOptions(
    two_hands=0.35, crossing=0.35, holding=0.3, occluder=0.12, edge=0.12, far=0.25, people=0.4, clutter=0.6,
    defocus=0.15, motion_blur=0.12, noise=0.5, jpeg=0.5, vignette=0.3, white_balance=0.6, exposure=0.5, distortion=0.4,
)  # fmt: skip
PRESETS = {"plain": PLAIN, "full": FULL}
CAMERA = ("defocus", "motion_blur", "noise", "jpeg", "vignette", "white_balance", "exposure")
"""Options that leave everything where it is."""
