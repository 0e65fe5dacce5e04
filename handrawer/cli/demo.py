"""`python -m handrawer demo`: a picture of a hand steers the small model, seen without and with HanDrawer."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from .errors import Refusal
from .estimate import NO_HAND_ADVICE
from .files import new_folder, read_picture
from .finding import describe_hands, find_hands, write_json, write_maps
from .progress import import_libraries, progress_bar, without_chatter

if TYPE_CHECKING:
    from torch import Tensor

    from ..evaluate.score import Score
    from ..hand.hands import Frame, Hand, Hands
    from ..mini.pipeline import MiniPipeline

SIDE = 256  # pixels, the small model's pictures
FILL = 0.7  # the longer side of the hand's box over the picture's side, as in the small model's training
SEEDS = 4  # columns of the sheet
MAPS = ("overlay", "depth", "mask")
LABEL = "demonstration: small synthetic model"


@dataclass(frozen=True)
class Arm:
    """One row of the comparison: pictures [SEEDS, SIDE, SIDE, 3] and their scores against the wanted hand."""

    name: str
    pictures: Tensor
    scores: list[Score]


def shipped_picture() -> Path:
    """The synthetic picture that the demo takes where the user names none."""
    return Path(__file__).resolve().parents[1] / "examples" / "hands.png"


def run(arguments: argparse.Namespace) -> int:
    """Estimate, choose, draw without and with, score, show. A picture without hands is no error."""
    source = arguments.image or shipped_picture()
    if source.is_file():
        import_libraries("torch")
    picture = read_picture(source)
    hands = find_hands(picture, arguments)
    (frame,) = hands.frames
    number = choose_hand(frame, arguments.hand, source)
    pipe = None if number is None else _load()  # before anything is written: its weights may be missing
    folder = new_folder(arguments.out)
    write_json(folder / "hands.json", hands)
    write_maps(folder, picture, hands, MAPS)
    written = ["hands.json", *(f"{name}.png" for name in MAPS)]
    if number is None or pipe is None:
        print(f"No hand was found in {source}: the depth picture is black, nothing can steer. {NO_HAND_ADVICE}")
    else:
        print(describe_hands(frame.hands, frame.width, frame.height))
        why = "as asked" if arguments.hand is not None else "the largest" if len(frame.hands) > 1 else "the only one"
        print(f"Hand {number} is taken ({why}).")
        written += _compare(arguments, pipe, picture, frame.hands[number], frame, folder)
    print(f"Written to {folder}: {', '.join(written)}.")
    return 0


def choose_hand(frame: Frame, wanted: int | None, source: Path) -> int | None:
    """The number, from 0, of the hand to take: the one asked for, else the one with the largest box; None without."""
    from ..hand.boxes import box_area

    count = len(frame.hands)
    if not count:
        return None
    if wanted is None:
        return max(range(count), key=lambda number: float(box_area(frame.hands[number].box)))
    if wanted >= count:
        found = "one hand was found, number 0" if count == 1 else f"{count} hands were found, numbers 0 to {count - 1}"
        raise Refusal(f"there is no hand {wanted} in {source}: {found}.")
    return wanted


def frame_one_hand(hand: Hand, frame: Frame, picture: Tensor) -> tuple[Hands, Tensor]:
    """Crop to one hand as the small model knows hands: SIDE x SIDE pixels, the hand over FILL of the side.

    Args:
        hand: of the frame.
        frame: its picture's size.
        picture: [1, H, W, 3] float in [0, 1].

    Returns:
        The hand alone in its new frame, and the picture's crop [SIDE, SIDE, 3], grey where the picture ends.
    """
    from ..evaluate.score import hand_box
    from ..hand.camera import crop_around
    from ..hand.hands import Hands
    from ..render.pictures import place_picture

    around = hand_box(hand, frame.width, frame.height)
    placement = crop_around(around, frame.width, frame.height, SIDE, SIDE, margin=(1 / FILL - 1) / 2)
    alone = replace(frame, hands=(hand,)).placed(placement)
    (crop,) = place_picture(picture, placement, background=0.5)
    return Hands((alone,)), crop


def _load() -> MiniPipeline:
    import_libraries("transformers", "diffusers")
    from transformers.utils import logging

    from ..mini.pipeline import load_mini

    logging.disable_progress_bar()  # the weights are read in a blink
    try:
        return load_mini()
    except (OSError, ValueError) as error:
        raise Refusal(str(error)) from None


def _compare(
    arguments: argparse.Namespace, pipe: MiniPipeline, picture: Tensor, hand: Hand, frame: Frame, folder: Path
) -> list[str]:
    """Draw and score both arms; write the sheet, print the table. Names of what was written."""
    from ..render.pictures import save_picture

    wanted, crop = frame_one_hand(hand, frame, picture)
    prompt = arguments.prompt if arguments.prompt is not None else pipe.default_prompt(wanted.frames[0].hands[0])
    seeds = [arguments.seed + column for column in range(SEEDS)]
    print(f'Prompt: "{prompt}"')
    arms = [
        _draw(pipe, "without HanDrawer", None, wanted, prompt, seeds, arguments),
        _draw(pipe, "with HanDrawer", wanted, wanted, prompt, seeds, arguments),
    ]
    print(score_table(arms, seeds))
    save_picture(folder / "sheet.png", compose_sheet(wanted, crop, arms, seeds, prompt))
    return ["sheet.png"]


def score_table(arms: list[Arm], seeds: list[int]) -> str:
    """Text table: for each seed and arm whether the detector found a hand, its joints' error, and the joints right."""
    width = 34
    lines = [" " * 8 + "".join(f"{arm.name:{width}s}" for arm in arms)]
    lines.append("seed    " + f"{'found  joint error  joints right':{width}s}" * len(arms))
    for row, seed in enumerate(seeds):
        lines.append(f"{seed:<8d}" + "".join(f"{_cells([arm.scores[row]]):{width}s}" for arm in arms))
    lines.append("all     " + "".join(f"{_cells(arm.scores):{width}s}" for arm in arms))
    lines.append(
        "Joint error: mean distance to the wanted joints over the longer side of the wanted hand's box, of the"
    )
    lines.append("hands that were found. Joints right: share of all wanted joints with an error under 0.1.")
    return "\n".join(line.rstrip() for line in lines)


def _cells(scores: list[Score]) -> str:
    errors = [score.joint_error for score in scores if score.found]
    found = f"{len(errors)}/{len(scores)}" if len(scores) > 1 else "yes" if errors else "no"
    error = f"{mean(errors):.3f}" if errors else "-"
    return f"{found:5s}  {error:11s}  {100 * mean(score.pck for score in scores):.0f} %"


def compose_sheet(wanted: Hands, crop: Tensor, arms: list[Arm], seeds: list[int], prompt: str) -> Tensor:
    """[1, H, W, 3]: what was given in the first row, then a row for each arm with a column for each seed."""
    from ..render.maps import render_layers
    from ..render.overlay import draw_overlay
    from ..render.pictures import sheet

    maps = render_layers(wanted, ("depth", "parts"))
    overlay = draw_overlay(crop[None], wanted, badges=False)[0]
    pictures = [crop, overlay, maps["depth"][0], maps["parts"][0]]
    labels = ["given", "the hand that was fitted", "its depth", f"its parts\nprompt: {prompt}"]
    for arm in arms:
        for picture, seed, score in zip(arm.pictures, seeds, arm.scores, strict=True):
            pictures.append(picture)
            result = f"joint error {score.joint_error:.3f}" if score.found else "no hand found in it"
            labels.append(f"{arm.name}, seed {seed}\n{result}")
    return sheet(pictures, SEEDS, labels, cell=SIDE, title=LABEL)


def _draw(
    pipe: MiniPipeline,
    name: str,
    steering: Hands | None,
    wanted: Hands,
    prompt: str,
    seeds: list[int],
    arguments: argparse.Namespace,
) -> Arm:
    """One arm: sample with the same seeds, then score against the wanted hand."""
    from ..evaluate.score import score_pictures

    with progress_bar(f"Drawing {name}") as progress:
        pictures = pipe.sample(
            [prompt] * len(seeds),
            steering,
            seeds,
            steps=arguments.steps,
            strength=arguments.strength,
            progress=progress,
        )
    with without_chatter(), progress_bar(f"Scoring {name}") as progress:
        return Arm(name, pictures, score_pictures(pictures, wanted, progress=progress))
