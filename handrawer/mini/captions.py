"""What a synthetic picture is called: the small model's whole language.

A caption names gesture, side, view, skin tone, sleeve, nails, background and light. Parts are left out at random in
training, so that a short prompt works too.
"""

from __future__ import annotations

from dataclasses import dataclass

GESTURE_PHRASES: dict[str, str] = {
    "open": "open palm",
    "fist": "fist",
    "point": "pointing",
    "peace": "peace sign",
    "ok": "ok sign",
    "thumbs_up": "thumbs up",
    "pinch": "pinch",
    "relaxed": "relaxed",
    "three": "three fingers",
    "four": "four fingers",
    "call": "call me sign",
    "rock": "rock sign",
    "spread": "spread fingers",
    "flat": "flat hand",
    "claw": "claw",
    "gun": "finger gun",
}
SIDES = ("left", "right")
VIEWS = ("palm", "back", "side")
SKINS = ("pale", "light", "tan", "brown", "dark")
SLEEVES = ("bare arm", "blue sleeve", "red sleeve", "black sleeve", "white sleeve", "green sleeve")
NAILS = ("natural nails", "red nails", "dark nails")
BACKGROUNDS = ("grey", "blue", "green", "beige", "white", "dark")
LIGHTS = ("soft", "left", "right", "warm", "cool")

# Words beyond the captions' own, so that a user's plain prompt is mostly known words.
EXTRA_WORDS = (
    *("photo", "picture", "image", "of", "the", "person's", "human", "one", "finger", "fingers", "thumb"),
    *("showing", "gesture", "good", "bad", "blurry"),
)


@dataclass(frozen=True)
class Caption:
    """The attributes of one picture, by name; `gesture` is None for a pose that has no name."""

    gesture: str | None
    side: str
    view: str
    skin: str
    sleeve: str
    nails: str
    background: str
    light: str

    def parts(self) -> list[str]:
        """The caption's parts in order; the first, the side, is always said."""
        named = [] if self.gesture is None else [GESTURE_PHRASES.get(self.gesture, self.gesture.replace("_", " "))]
        return [
            f"a {self.side} hand",
            *named,
            f"{self.view} view",
            f"{self.skin} skin",
            self.sleeve,
            *([] if self.nails == NAILS[0] else [self.nails]),
            f"{self.background} background",
            f"{self.light} light",
        ]

    def text(self, keep: list[bool] | None = None) -> str:
        """The caption as a prompt.

        Args:
            keep: whether to say each part after the first (cyclic, so any length serves); None says all.
        """
        first, *rest = self.parts()
        if keep is not None:
            rest = [part for i, part in enumerate(rest) if keep[i % len(keep)]]
        return ", ".join([first, *rest])


def words() -> list[str]:
    """Every word of the small model's language, sorted."""
    said = [*GESTURE_PHRASES.values(), *SIDES, *VIEWS, *SKINS, *SLEEVES, *NAILS, *BACKGROUNDS, *LIGHTS]
    said += ["a hand view skin background light ,", *EXTRA_WORDS]
    return sorted({word for phrase in said for word in phrase.replace(",", " , ").split()})
