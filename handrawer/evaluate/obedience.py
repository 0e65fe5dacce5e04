"""Whether the small model draws what its prompt names.

`python -m handrawer.evaluate.obedience --out reports/obedience` draws captions of held-out scenes on text alone and
with the scene's hand, at several guidances, and reads off every picture which background, skin, light, side and
gesture it shows. The hand detector says where the hand is and which side it sees; all else is read by ridge
classifiers that were fitted to renders of other scenes: colours on the hand and at the picture's border, how
brightness runs over the hand, and the shape of the 21 points. The scenes' own renders are read as well: what the
readers can tell at all.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
from pathlib import Path

import torch
from torch import Tensor

from ..estimate.landmarks import LandmarkDetector
from ..hand.model import HandModel, load_open_hand
from ..mini.captions import BACKGROUNDS, LIGHTS, NAILS, SIDES, SKINS, SLEEVES, Caption
from ..mini.picture import draw_pictures, make_skin
from ..mini.pipeline import WEIGHTS, MiniPipeline, load_mini
from ..mini.scene import GESTURE_NAMES, Scene, draw_scenes, scene_hands
from .drawn import Drawn

log = logging.getLogger("handrawer")
SEED, READER_SEED = 2000, 3000  # of the scenes that are asked for, and of those that the readers learn from
READER_SCENES = 768
BORDER = 12  # pixels
GUIDANCES = (2.0, 4.0, 7.0)
STEPS = 10
PAIRED = 9  # what colours and slopes mean depends on each other
PALM = (5, 9, 13, 17)  # the knuckles; the palm lies between them and the wrist
QUESTIONS: dict[str, tuple[str, ...]] = {
    "background": BACKGROUNDS,
    "skin": SKINS,
    "light": LIGHTS,
    "side": SIDES,
    "gesture": GESTURE_NAMES,
}


def shape_vector(points: Tensor) -> Tensor:
    """Distances between 21 points [21, 3], scaled to length 1, [210]: what is left of a hand without place and turn."""
    distances = torch.pdist(points.float())
    return distances / distances.norm()


def border_colour(picture: Tensor, hand: Tensor) -> Tensor:
    """Median colour [3] of the half of a picture's border [H, W, 3] that is least like a hand's colour [3]."""
    edge = torch.ones(picture.shape[:2], dtype=torch.bool)
    edge[BORDER:-BORDER, BORDER:-BORDER] = False
    pixels = picture[edge]
    far = (pixels - hand).norm(dim=-1).argsort(descending=True)[: len(pixels) // 2]
    return pixels[far].median(0).values


def colour_features(picture: Tensor, points: Tensor, side: str) -> Tensor:
    """What a picture [H, W, 3] says of skin, light and background, given its hand's 21 points [21, 2] normalised.

    The logarithms of the palm's and the border's colour, how the logarithm of brightness runs across and down the
    hand, how much the palm faces the camera (1) or turns away (-1), and each joint's brightness beside the palm's;
    [PAIRED + 21].
    """
    height, width = picture.shape[:2]
    way = torch.linspace(0.2, 0.9, 8)[:, None, None]
    palm = (points[0] + way * (points[list(PALM)] - points[0])).reshape(-1, 2)
    where = torch.cat([points, palm])
    x = (where[:, 0] * width).long().clamp(0, width - 1)
    y = (where[:, 1] * height).long().clamp(0, height - 1)
    smooth = torch.nn.functional.avg_pool2d(picture.permute(2, 0, 1), 5, 1, 2).permute(1, 2, 0)
    colours = smooth[y, x]
    skin = colours[21:].median(0).values
    bright = colours.mean(-1).clamp_min(0.02).log()
    centred = where - where.mean(0)
    centred = centred / centred.norm(dim=-1).mean().clamp_min(1e-6)
    slope = torch.linalg.lstsq(torch.cat([centred, torch.ones(len(where), 1)], 1), bright[:, None]).solution[:2, 0]
    back = border_colour(picture, skin)
    relative = bright[:21] - skin.mean().clamp_min(0.02).log()
    index, little = points[PALM[0]] - points[0], points[PALM[-1]] - points[0]
    facing = (index[0] * little[1] - index[1] * little[0]) / (index.norm() * little.norm()).clamp_min(1e-6)
    facing = facing if side == "right" else -facing
    return torch.cat([skin.clamp_min(0.02).log(), back.clamp_min(0.02).log(), slope, facing[None], relative])


class Reader:
    """A ridge classifier on standardised features and on the products of the first ones with each other."""

    def __init__(self, features: Tensor, labels: Tensor, classes: int, paired: int = 0, ridge: float = 5.0) -> None:
        """features [N, F], the first `paired` of which are multiplied with each other; labels [N] int64."""
        self.paired = paired
        self.mean, self.deviation = features.mean(0), features.std(0).clamp_min(1e-4)
        x = self._prepare(features).double()
        y = torch.nn.functional.one_hot(labels, classes).double()
        self.weights = torch.linalg.solve(x.T @ x + ridge * torch.eye(x.shape[1], dtype=torch.float64), x.T @ y)

    def _prepare(self, features: Tensor) -> Tensor:
        z = ((features - self.mean) / self.deviation).clamp(-4, 4)
        first = z[:, : self.paired]
        products = (first[:, :, None] * first[:, None, :]).flatten(1)
        return torch.cat([torch.ones(len(z), 1), z, products], 1)

    def __call__(self, features: Tensor) -> int:
        """The class of one picture's features [F]."""
        return int((self._prepare(features[None]).double() @ self.weights).argmax())


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
    """Asks what pictures show; learns to read from renders."""

    def __init__(self, truth: Tensor, captions: list[Caption]) -> None:
        """truth [N, H, W, 3] float 0..1: renders of the captions' scenes."""
        self.detector = LandmarkDetector(max_hands=1, backend="mediapipe")
        looks, kept = [], []
        for picture, caption in zip(truth, captions, strict=True):
            if (look := self._look(picture)) is not None:
                looks.append(look)
                kept.append(caption)
        self.readers: dict[str, Reader] = {}
        for question in ("background", "skin", "light", "gesture"):
            names = QUESTIONS[question]
            # Named poses only: a caption without a gesture names none.
            rows = [i for i, caption in enumerate(kept) if getattr(caption, question) in names]
            labels = torch.tensor([names.index(getattr(kept[i], question)) for i in rows])
            features = torch.stack([looks[i][0 if question != "gesture" else 1] for i in rows])
            self.readers[question] = Reader(features, labels, len(names), paired=PAIRED if question != "gesture" else 0)

    def _look(self, picture: Tensor) -> tuple[Tensor, Tensor, str] | None:
        """Colour features, shape and side of the hand that is seen, if one is."""
        found = self.detector(picture)
        if not found or found[0].world is None:
            return None
        hand = found[0]
        return colour_features(picture, hand.points.float(), hand.side), shape_vector(hand.world), hand.side

    def examine(self, pictures: Tensor, captions: list[Caption]) -> Answers:
        """Whether pictures [N, H, W, 3] show what their captions name; asked of those where a hand is found."""
        answers = Answers()
        for picture, caption in zip(pictures, captions, strict=True):
            look = self._look(picture)
            answers.add("found", look is not None)
            if look is None:
                continue
            answers.add("side", look[2] == caption.side)
            for question, reader in self.readers.items():
                shown = QUESTIONS[question][reader(look[1] if question == "gesture" else look[0])]
                answers.add(question, shown == getattr(caption, question))
                if question == "skin":  # neighbours on the scale look alike in another light
                    answers.add("skin or next", abs(SKINS.index(shown) - SKINS.index(caption.skin)) <= 1)
        return answers


def plain_scenes(count: int, model: HandModel, seed: int = SEED) -> Scene:
    """Held-out scenes of named gestures with bare arms and natural nails, palm or back to the camera."""
    scene = draw_scenes(seed, torch.arange(6 * count), model)
    keep = torch.nonzero((scene.gesture < len(GESTURE_NAMES)) & (scene.view < 2))[:count, 0]
    scene = draw_scenes(seed, scene.index[keep], model)
    plain = {"sleeve": SLEEVES.index("bare arm"), "nails": NAILS.index("natural nails")}
    return dataclasses.replace(scene, **{k: torch.full_like(scene.skin, v) for k, v in plain.items()})


def renders(scene: Scene, model: HandModel, seed: int, size: int = 256) -> Tensor:
    """The scenes' own pictures, [N, size, size, 3] float32 0..1."""
    skin = make_skin(model)
    rows = [draw_scenes(seed, index, model) for index in scene.index.split(16)]
    drawn = []
    for start, part in zip(range(0, len(scene.index), 16), rows, strict=True):
        same = {k: getattr(scene, k)[start : start + 16] for k in ("sleeve", "nails")}
        drawn.append(draw_pictures(dataclasses.replace(part, **same), model, skin, size=size, seed=seed))
    return torch.cat(drawn).permute(0, 2, 3, 1)


def draw_prompts(pipe: MiniPipeline, count: int, model: HandModel) -> dict[str, Tensor]:
    """Latents of the scenes' prompts, on text alone and with the hand, by guidance and kind as a name."""
    scene = plain_scenes(count, model)
    hands, prompts = scene_hands(scene, model), [caption.text() for caption in scene.captions()]
    kinds = (("text alone", None), ("text and hand", hands))
    with torch.autocast(pipe.device.type, torch.bfloat16):
        return {
            f"{guidance:g} {name}": pipe.sample(
                prompts, given, list(range(count)), steps=STEPS, guidance=guidance, as_latents=True
            )
            for guidance in GUIDANCES
            for name, given in kinds
        }


def obedience(count: int, weights: Path, learn: int = READER_SCENES, drawn: Drawn | None = None) -> str:
    """The report's text; `drawn` are pictures that `--draw` left, which are drawn here otherwise."""
    model, pipe = load_open_hand(), load_mini(weights)
    pipe.unet.to(memory_format=torch.channels_last)
    others = plain_scenes(learn, model, READER_SEED)
    examiner = Examiner(renders(others, model, READER_SEED), others.captions())
    log.info("the readers have learned")
    scene = plain_scenes(count, model)
    captions = scene.captions()
    columns = ("found", *QUESTIONS, "skin or next")
    rows = [["the scenes' own renders", "", *examiner.examine(renders(scene, model, SEED), captions).cells(columns)]]
    log.info(" | ".join(rows[-1]))
    latents = drawn.latents if drawn else draw_prompts(pipe, count, model)
    for key, values in latents.items():
        guidance, name = key.split(" ", 1)
        with torch.autocast("cpu", torch.bfloat16):
            pictures = torch.cat([pipe.decode(part) for part in values.split(16)])
        rows.append([name, guidance, *examiner.examine(pictures, captions).cells(columns)])
        log.info(" | ".join(rows[-1]))
    machine = drawn.machine if drawn else f"a CPU, torch {torch.__version__}"
    tones = len(SKINS)
    chance = ["chance", "", "", *(f"{1 / len(names):.2f}" for names in QUESTIONS.values())]
    chance.append(f"{(3 * tones - 2) / tones**2:.2f}")
    head = ["pictures", "guidance", *columns]
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), chance, *rows)]
    return (
        "# Does the small model draw what its prompt names?\n\n"
        f"Made by `python -m handrawer.evaluate.obedience`: {count} held-out scenes (seed {SEED}), named gestures, "
        f"palm or back to the camera, {STEPS} steps, drawn on {machine}; the readers learned from "
        f"{learn} renders of other scenes (seed {READER_SEED}). Share of pictures that show what was named, of how "
        "many could be asked: those in which the detector finds a hand.\n\n" + "\n".join(lines) + "\n"
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("reports/obedience"))
    parser.add_argument("--count", type=int, default=96)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--draw", type=Path, default=None, help="draw alone, and keep the latents in this file")
    parser.add_argument("--drawn", type=Path, default=None, help="examine the latents of such a file")
    parser.add_argument("--device", default="cpu", help="what draws with --draw: cpu, cuda")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if arguments.draw:
        pipe = load_mini(arguments.weights, arguments.device)
        Drawn.write(arguments.draw, draw_prompts(pipe, arguments.count, load_open_hand()), pipe.device)
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    drawn = Drawn.read(arguments.drawn) if arguments.drawn else None
    text = obedience(arguments.count, arguments.weights, drawn=drawn)
    (arguments.out / "report.md").write_text(text)
    log.info(text)


if __name__ == "__main__":
    main()
