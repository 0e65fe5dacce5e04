"""Pictures of the small model, labelled by eye without knowing how they were made, against the judge.

    python -m handrawer.evaluate.judge_blind draw FOLDER     # 60 pictures and their shuffled sheets, without names
    python -m handrawer.evaluate.judge_blind measure FOLDER  # looks at them, into FOLDER/measured.safetensors
    python -m handrawer.evaluate.judge_fit look FOLDER/measured.safetensors
    python -m handrawer.evaluate.judge_blind pairs LATENTS MEASURED FOLDER    # best of eight: picked beside random

Half of the 60 pictures are drawn with HanDrawer, half from the text alone; seeds decide everything. Whoever labels
sees numbered sheets in random order and writes down ``sound``, ``malformed`` or ``unclear`` for each number, before the
judge has looked (``reports/judge/labels.json``). Of the pairs one picture is the judge's pick of eight and the other
one of the other seven, left or right by chance; whoever answers says which hand is better made
(``reports/judge/answers.json``).
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..hand.model import load_open_hand
from ..mini.pipeline import load_mini
from ..mini.scene import scene_hands
from .best_of import GUIDANCE, STEPS, wanted_scenes

COUNT, SCENES, SEED = 60, 62_000, 70_000
SHUFFLED = 20_261_123  # seed of the order on the sheets
A_SHEET = 12
LABELS = ("sound", "malformed", "unclear")


def order(count: int = COUNT, seed: int = SHUFFLED) -> list[int]:
    """The picture that each place on the sheets shows."""
    places = list(range(count))
    random.Random(seed).shuffle(places)
    return places


def with_handrawer(number: int) -> bool:
    """Whether picture ``number`` (not its place on a sheet) is drawn with HanDrawer."""
    return number % 2 == 0


def draw_pictures(count: int = COUNT, steps: int = STEPS, batch: int = 6) -> Tensor:
    """[count, 256, 256, 3] in 8 bits: even numbers with HanDrawer, odd ones from the text alone."""
    pipe, scene = load_mini(), wanted_scenes(count, SCENES)
    prompts, hands = [caption.text() for caption in scene.captions()], scene_hands(scene, load_open_hand())
    found = torch.zeros(count, 256, 256, 3)
    for helped in (True, False):
        numbers = [number for number in range(count) if with_handrawer(number) == helped]
        for start in range(0, len(numbers), batch):
            part = numbers[start : start + batch]
            frames = type(hands)(tuple(hands.frames[number] for number in part)) if helped else None
            found[part] = pipe.sample(
                [prompts[number] for number in part], frames, [SEED + number for number in part], steps=steps,
                guidance=GUIDANCE,
            )  # fmt: skip
    return (found * 255).round() / 255


def write_sheets(
    pictures: list[Tensor], folder: Path, columns: int = 4, cell: int = 256, labels: Sequence[str] = ("{}",)
) -> list[Path]:
    """Sheets of twelve, numbered in the order in which they are given; ``labels`` come in turn, a number for all."""
    from ..render.pictures import save_picture, sheet

    paths = []
    for start in range(0, len(pictures), A_SHEET):
        part = pictures[start : start + A_SHEET]
        places = range(start, start + len(part))
        texts = [labels[i % len(labels)].format(i // len(labels)) for i in places]
        paths.append(folder / f"sheet_{start // A_SHEET}.png")
        save_picture(paths[-1], sheet(part, columns, texts, cell=cell))
    return paths


def _draw(arguments: argparse.Namespace) -> None:
    from safetensors.torch import save_file

    folder = Path(arguments.folder)
    folder.mkdir(parents=True, exist_ok=True)
    pictures = draw_pictures(arguments.count, arguments.steps)
    save_file({"pictures": (pictures * 255).round().to(torch.uint8)}, folder / "pictures.safetensors")
    write_sheets([pictures[number] for number in order(arguments.count)], folder)


def read_labels(path: Path, count: int = COUNT) -> dict[int, str]:
    """The label of each picture, by the picture's number.

    Raises:
        ValueError: another number of labels, or an unknown one.
    """
    labels = json.loads(path.read_text(encoding="utf-8"))["labels"]
    if len(labels) != count or not set(labels) <= set(LABELS):
        raise ValueError(f"{path} needs {count} labels, each one of {', '.join(LABELS)}.")
    return dict(zip(order(count), labels, strict=True))


def _measure(arguments: argparse.Namespace) -> None:
    from safetensors.torch import load_file

    from .best_of import look_at
    from .judge_fit import save_measured, stack

    folder = Path(arguments.folder)
    pictures = load_file(folder / "pictures.safetensors")["pictures"]
    save_measured(str(folder / "measured.safetensors"), mini=stack(look_at(pictures)))


def pairs_of(quality: Tensor, seed: int = SHUFFLED) -> list[tuple[int, int, bool]]:
    """For each row of qualities [P, E]: the picked one, one of the others, and whether the picked one lies left."""
    chance, found = random.Random(seed), []
    for row in quality:
        picked = int(row.argmax())
        found.append((picked, chance.choice([i for i in range(len(row)) if i != picked]), chance.random() < 0.5))
    return found


def count_answers(answers: list[str], pairs: list[tuple[int, int, bool]]) -> list[int]:
    """For each pair 1 where the picked picture was called the better one, -1 where the other, 0 for no difference.

    Raises:
        ValueError: another number of answers, or an unknown one.
    """
    if len(answers) > len(pairs) or not set(answers) <= {"left", "right", "equal"}:
        raise ValueError(f"{len(pairs)} pairs need as many answers, each left, right or equal.")
    return [
        0 if answer == "equal" else 1 if (answer == "left") == left else -1
        for answer, (_, _, left) in zip(answers, pairs, strict=False)
    ]


def _pairs(arguments: argparse.Namespace) -> None:
    from safetensors import safe_open

    from .best_of import decoded, read_pictures
    from .judge import judge_model
    from .judge_fit import load_measured, qualities

    with safe_open(arguments.latents, framework="pt") as file:
        each, latents = int(file.metadata()["each"]), file.get_tensor("latents")
    quality = qualities(judge_model(), load_measured(arguments.measured)["mini"]).reshape(-1, each)[: arguments.count]
    pairs = pairs_of(quality)
    numbers = []
    for prompt, (picked, other, left) in enumerate(pairs):
        numbers += [prompt * each + n for n in ((picked, other) if left else (other, picked))]
    folder = Path(arguments.folder)
    folder.mkdir(parents=True, exist_ok=True)
    some = arguments.pictures
    pictures = read_pictures(some, quality.numel())[numbers] if some else decoded(latents[numbers], load_mini())
    write_sheets(list(pictures), folder, labels=["{} left", "{} right"])


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = found.add_subparsers(required=True)
    first = commands.add_parser("draw", help="draw the pictures and their sheets; some minutes of a core")
    first.add_argument("folder")
    first.add_argument("--count", type=int, default=COUNT)
    first.add_argument("--steps", type=int, default=STEPS)
    first.set_defaults(call=_draw)
    second = commands.add_parser("measure", help="look at the pictures; a minute of a core")
    second.add_argument("folder")
    second.set_defaults(call=_measure)
    third = commands.add_parser("pairs", help="sheets of pairs: the judge's pick of eight beside another of them")
    third.add_argument("latents")
    third.add_argument("measured")
    third.add_argument("folder")
    third.add_argument("--count", type=int, default=48)
    third.add_argument("--pictures", help="a folder of the pictures; otherwise they are decoded again")
    third.set_defaults(call=_pairs)
    return found


if __name__ == "__main__":
    chosen = parser().parse_args()
    chosen.call(chosen)
