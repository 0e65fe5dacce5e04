"""Whether the small model draws what its prompt names.

`python -m handrawer.evaluate.obedience --out reports/obedience` draws captions of held-out scenes on text alone and
with the scene's hand, at several guidances, and asks of every picture: is the border's colour nearest to the named
background, the hand's colour nearest to the named skin, does the hand detector see the named side, and is the shape
of the 21 points that it finds nearest to the named gesture? The same questions are asked of the scenes' own renders:
what the questions can tell at all.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
from pathlib import Path

import torch
from torch import Tensor

from ..estimate.calibration import mediapipe_points
from ..estimate.landmarks import LandmarkDetector
from ..hand.gestures import GESTURES, gesture_angles
from ..hand.hands import make_hand
from ..hand.model import HandModel, load_open_hand
from ..mini.captions import BACKGROUNDS, LIGHTS, NAILS, SKINS, SLEEVES, Caption
from ..mini.picture import draw_pictures, make_skin
from ..mini.pipeline import load_mini
from ..mini.scene import GESTURE_NAMES, Scene, draw_scenes, scene_hands
from ..render.maps import render_hands

log = logging.getLogger("handrawer")
SEED = 2000
BORDER = 12  # pixels
GUIDANCES = (4.0, 7.0)
STEPS = 10


def shape_vector(points: Tensor) -> Tensor:
    """Distances between 21 points [21, 3], scaled to length 1, [210]: what is left of a hand without place and turn."""
    distances = torch.pdist(points.float())
    return distances / distances.norm()


def gesture_shapes(model: HandModel) -> tuple[tuple[str, ...], Tensor]:
    """Names, and the shape vectors [G, 210] of the named gestures as MediaPipe marks them."""
    names = tuple(GESTURES)
    hands = [make_hand(model, angles=gesture_angles(name), width=256, height=256) for name in names]
    return names, torch.stack([shape_vector(mediapipe_points(hand)) for hand in hands])


def border_colour(picture: Tensor, mask: Tensor) -> Tensor:
    """Median colour [3] of a picture's border where the mask [H, W] of hand and arm leaves it free."""
    edge = torch.ones_like(mask, dtype=torch.bool)
    edge[BORDER:-BORDER, BORDER:-BORDER] = False
    return picture[edge & (mask < 0.5)].median(0).values


def nearest(colour: Tensor, table: Tensor) -> int:
    """Index of the row of a table [K, 3] that is nearest to a colour [3]."""
    return int((table - colour).norm(dim=-1).argmin())


@dataclasses.dataclass
class Answers:
    """How many of how many pictures showed what was named, by question."""

    right: dict[str, int] = dataclasses.field(default_factory=dict)
    asked: dict[str, int] = dataclasses.field(default_factory=dict)

    def add(self, question: str, right: bool) -> None:
        self.right[question] = self.right.get(question, 0) + int(right)
        self.asked[question] = self.asked.get(question, 0) + 1

    def cells(self, questions: tuple[str, ...]) -> list[str]:
        """A table row: share, and of how many."""
        asked = [self.asked.get(question, 0) for question in questions]
        right = [self.right.get(question, 0) for question in questions]
        return [f"{r / n:.2f} of {n}" if n else "not asked" for r, n in zip(right, asked, strict=True)]


class Examiner:
    """Asks the questions of pictures; learns the colours that names stand for from the scenes' own renders."""

    questions = ("background", "skin", "side", "gesture")

    def __init__(self, truth: Tensor, masks: Tensor, captions: list[Caption], model: HandModel) -> None:
        self.masks, self.captions = masks, captions
        self.names, self.shapes = gesture_shapes(model)
        self.detector = LandmarkDetector(max_hands=1)
        self.backgrounds = self._means([border_colour(p, m) for p, m in zip(truth, masks, strict=True)], "background")
        self.skins = self._means([p[m > 0.9].median(0).values for p, m in zip(truth, masks, strict=True)], "skin")

    def _means(self, colours: list[Tensor], attribute: str) -> Tensor:
        names = {"background": BACKGROUNDS, "skin": SKINS}[attribute]
        rows = [[c for c, caption in zip(colours, self.captions, strict=True) if getattr(caption, attribute) == name]
                for name in names]  # fmt: skip
        return torch.stack([torch.stack(row).mean(0) for row in rows])

    def examine(self, pictures: Tensor, placed: bool) -> Answers:
        """Answers for pictures [N, H, W, 3]; `placed` where the hand lies under the mask: its colour can be read."""
        answers = Answers()
        for picture, mask, caption in zip(pictures, self.masks, self.captions, strict=True):
            free = mask if placed else torch.zeros_like(mask)
            colour = border_colour(picture, free)
            answers.add("background", BACKGROUNDS[nearest(colour, self.backgrounds)] == caption.background)
            if placed:
                tone = picture[mask > 0.9].median(0).values
                answers.add("skin", SKINS[nearest(tone, self.skins)] == caption.skin)
            found = self.detector(picture)
            if found and found[0].world is not None:
                answers.add("side", found[0].side == caption.side)
                shape = (self.shapes - shape_vector(found[0].world)).norm(dim=-1)
                answers.add("gesture", self.names[int(shape.argmin())] == caption.gesture)
        return answers


def plain_scenes(count: int, model: HandModel) -> Scene:
    """Held-out scenes of named gestures with bare arms, natural nails and soft light, palm or back to the camera."""
    scene = draw_scenes(SEED, torch.arange(6 * count), model)
    keep = torch.nonzero((scene.gesture < len(GESTURE_NAMES)) & (scene.view < 2))[:count, 0]
    scene = draw_scenes(SEED, scene.index[keep], model)
    plain = {"sleeve": SLEEVES.index("bare arm"), "nails": NAILS.index("natural nails"), "light": LIGHTS.index("soft")}
    return dataclasses.replace(scene, **{k: torch.full_like(scene.skin, v) for k, v in plain.items()})


def obedience(count: int) -> str:
    """The report's text."""
    model, pipe = load_open_hand(), load_mini()
    pipe.unet.to(memory_format=torch.channels_last)
    scene = plain_scenes(count, model)
    truth = draw_pictures(scene, model, make_skin(model), seed=SEED).permute(0, 2, 3, 1)
    hands, captions = scene_hands(scene, model), scene.captions()
    examiner = Examiner(truth, render_hands(hands, 256, 256).mask, captions, model)
    rows = [["the scenes' own renders", "", *examiner.examine(truth, True).cells(Examiner.questions)]]
    prompts, seeds = [caption.text() for caption in captions], list(range(count))
    with torch.autocast("cpu", torch.bfloat16):
        for guidance in GUIDANCES:
            for name, given in (("text alone", None), ("text and hand", hands)):
                drawn = pipe.sample(prompts, given, seeds, steps=STEPS, guidance=guidance)
                answers = examiner.examine(drawn, given is not None)
                rows.append([name, f"{guidance:g}", *answers.cells(Examiner.questions)])
                log.info(" | ".join(rows[-1]))
    head = ["pictures", "guidance", *Examiner.questions]
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return (
        "# Does the small model draw what its prompt names?\n\n"
        f"Made by `python -m handrawer.evaluate.obedience`: {count} held-out scenes (seed {SEED}), named gestures, "
        f"{STEPS} steps, torch {torch.__version__} on a CPU. Share of pictures that show what was named, of how many "
        "could be asked; chance is 1/6 for backgrounds, 1/5 for skins, 1/2 for sides, 1/16 for gestures.\n\n"
        + "\n".join(lines)
        + "\n"
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("reports/obedience"))
    parser.add_argument("--count", type=int, default=48)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = obedience(arguments.count)
    (arguments.out / "report.md").write_text(text)
    log.info(text)


if __name__ == "__main__":
    main()
