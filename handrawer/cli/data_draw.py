"""`python -m handrawer data draw OUT`: pictures of the generator as files, to look at or to train on as a folder."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import Refusal

if TYPE_CHECKING:
    import torch

    from ..synthetic.options import SyntheticOptions

CELL = 256  # pixels of a picture in the sheet
COLUMNS = 5
SIDES = 64  # a picture's side is a multiple of it
CAMERA = ("defocus", "motion_blur", "noise", "jpeg", "vignette", "white_balance", "exposure", "distortion")


def run(arguments: argparse.Namespace) -> int:
    """Draw a folder of pictures, or the sheet of every option."""
    import torch

    if arguments.size < SIDES or arguments.size % SIDES or arguments.count < 1:
        raise Refusal(f"--size must be a multiple of {SIDES}, and --count at least 1.")
    name = "cuda" if arguments.device == "auto" and torch.cuda.is_available() else arguments.device
    device = torch.device("cpu" if name == "auto" else name)
    try:
        if arguments.each:
            draw_each(arguments.out, arguments.seed, arguments.first, arguments.size, device)
        else:
            draw_folder(arguments, read_options(arguments.options), device)
    except (ValueError, OSError) as error:
        raise Refusal(str(error)) from error
    return 0


def read_options(text: str) -> SyntheticOptions:
    """Options by a preset's name or as JSON.

    Raises:
        ValueError: they are neither; with a sentence.
    """
    from ..synthetic.options import PRESETS, SyntheticOptions

    if text in PRESETS:
        return PRESETS[text]
    try:
        return SyntheticOptions(**{name: float(share) for name, share in json.loads(text).items()})
    except (json.JSONDecodeError, AttributeError, TypeError) as error:
        names = ", ".join(field.name for field in dataclasses.fields(SyntheticOptions))
        raise ValueError(f'--options {text} is neither "full", "plain" nor JSON with shares of {names}.') from error


def draw_folder(arguments: argparse.Namespace, options: SyntheticOptions, device: torch.device) -> None:
    """Pictures, captions and hands.json, as a training's `data.kind` "folder" reads them."""
    from ..hand.model import load_open_hand
    from ..render.pictures import save_picture
    from ..synthetic.generator import Generator
    from ..train.sources import write_frames

    if options.distortion:
        # A file of hands holds poses, which a lens does not bend.
        options = dataclasses.replace(options, distortion=0.0)
        print("Without the lens's distortion, which hands.json cannot hold; training draws it.")
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    drawn = Generator.create(arguments.seed, arguments.size, load_open_hand().to(device), options)
    frames = {}
    for number in range(arguments.first, arguments.first + arguments.count):
        scene, name = drawn.scene([number]), f"{number:06d}"
        save_picture(out / f"{name}.png", drawn.pictures(scene)[0].permute(1, 2, 0).cpu())
        (out / f"{name}.txt").write_text(drawn.captions(scene)[0] + "\n", encoding="utf-8")
        frames[f"{name}.png"] = drawn.hands(scene).frames[0]
    write_frames(out / "hands.json", frames)
    print(f"{arguments.count} pictures of {arguments.size} x {arguments.size} pixels are in {out}.")


def each_option() -> dict[str, SyntheticOptions]:
    """What the sheet shows, by its label."""
    from ..synthetic.options import FULL, SyntheticOptions

    def alone(names: tuple[str, ...]) -> dict[str, SyntheticOptions]:
        return {name.replace("_", " "): SyntheticOptions(**{name: 1.0}) for name in names}

    return {
        "two hands": SyntheticOptions(two_hands=1.0, crossing=0.0),
        "two hands, crossing": SyntheticOptions(two_hands=1.0, crossing=1.0),
        **{f"holding ({k})": SyntheticOptions(holding=1.0) for k in range(1, 5)},
        **alone(("occluder", "edge", "far", "people", "clutter")),
        **alone(CAMERA),
        "full": FULL,
    }


def draw_each(out: Path, seed: int, first: int, size: int, device: torch.device) -> None:
    """A sheet of every option: a .jpg or .png."""
    from ..hand.model import load_open_hand
    from ..render.pictures import save_picture, sheet
    from ..synthetic.generator import Generator

    model, pictures, options = load_open_hand().to(device), [], each_option()
    for place, own in enumerate(options.values()):
        drawn = Generator.create(seed, size, model, own)
        pictures.append(drawn.pictures(drawn.scene([first + place]))[0].permute(1, 2, 0).cpu())
    save_picture(out, sheet(pictures, COLUMNS, list(options), cell=CELL))
    print(f"{len(pictures)} pictures are in {out}.")
