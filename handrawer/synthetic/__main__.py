"""`python -m handrawer.synthetic OUT`: pictures of the generator as files, to look at or to train on as a folder."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
from pathlib import Path

import torch
from torch import Tensor

from ..hand.model import load_open_hand
from ..render.pictures import save_picture, sheet
from .generator import Generator
from .options import PRESETS, SyntheticOptions

log = logging.getLogger("handrawer")
CELL = 256  # pixels of a picture in the sheet
COLUMNS = 5


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m handrawer.synthetic",
        description="Draws synthetic pictures with captions (.txt) and hands (hands.json), or a sheet of every option.",
    )
    made.add_argument("out", type=Path, metavar="OUT", help="a folder; or the sheet, a .jpg or .png, with --each")
    made.add_argument(
        "--options", default="full", help='"full", "plain", or JSON such as {"people": 1} (default: full)'
    )
    made.add_argument("--count", type=int, default=16)
    made.add_argument("--first", type=int, default=0, help="number of the first picture")
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--size", type=int, default=512, help="pixels of a side, a multiple of 64")
    made.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    made.add_argument("--each", action="store_true", help="one picture with each option, in a sheet")
    return made


def read_options(text: str) -> SyntheticOptions:
    """Options by a preset's name or as JSON; ValueError with a sentence."""
    if text in PRESETS:
        return PRESETS[text]
    try:
        values = json.loads(text)
        return SyntheticOptions(**{name: float(share) for name, share in values.items()})
    except (json.JSONDecodeError, AttributeError, TypeError) as error:
        names = ", ".join(field.name for field in dataclasses.fields(SyntheticOptions))
        raise ValueError(f'--options {text}: give "full", "plain", or JSON with shares of {names} ({error}).') from None


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, or 2 after one sentence."""
    arguments = parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    try:
        if arguments.size < 64 or arguments.size % 64 or arguments.count < 1:
            raise ValueError("Give a --size that is a multiple of 64, and a --count of at least 1.")
        if arguments.each:
            draw_each(arguments.out, arguments.seed, arguments.first, arguments.size, torch.device(arguments.device))
        else:
            draw_folder(arguments, read_options(arguments.options))
    except (ValueError, OSError) as error:
        log.error(" ".join(str(error).split()))
        return 2
    return 0


def draw_folder(arguments: argparse.Namespace, options: SyntheticOptions) -> None:
    """Pictures, captions and hands.json, as `data.kind` "folder" reads them."""
    from ..train.sources import write_frames

    if options.distortion:
        # A file of hands holds their pose, from which no lens bends them.
        options = dataclasses.replace(options, distortion=0.0)
        log.warning("Without the lens's distortion, which hands.json cannot hold; training draws it.")
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    drawn = Generator.create(
        arguments.seed, arguments.size, load_open_hand().to(torch.device(arguments.device)), options
    )
    frames = {}
    for number in range(arguments.first, arguments.first + arguments.count):
        scene = drawn.scene([number])
        name = f"{number:06d}"
        save_picture(out / f"{name}.png", drawn.pictures(scene)[0].permute(1, 2, 0).cpu())
        (out / f"{name}.txt").write_text(drawn.captions(scene)[0] + "\n", encoding="utf-8")
        frames[f"{name}.png"] = drawn.hands(scene).frames[0]
    write_frames(out / "hands.json", frames)
    size = arguments.size
    log.info("%d pictures of %d x %d pixels are in %s.", arguments.count, size, size, out)


def each_option() -> dict[str, SyntheticOptions]:
    """What the sheet shows, by its label."""
    one = {name: SyntheticOptions(**{name: 1.0}) for name in ("occluder", "edge", "far", "people", "clutter")}
    camera = ("defocus", "motion_blur", "noise", "jpeg", "vignette", "white_balance", "exposure", "distortion")
    return {
        "two hands": SyntheticOptions(two_hands=1.0, crossing=0.0),
        "two hands, crossing": SyntheticOptions(two_hands=1.0, crossing=1.0),
        **{f"holding ({k})": SyntheticOptions(holding=1.0) for k in range(1, 5)},
        **one,
        **{name.replace("_", " "): SyntheticOptions(**{name: 1.0}) for name in camera},
        "full": PRESETS["full"],
    }


def draw_each(out: Path, seed: int, first: int, size: int, device: torch.device) -> None:
    """A sheet of every option."""
    model = load_open_hand().to(device)
    pictures: list[Tensor] = []
    labels = list(each_option())
    for place, options in enumerate(each_option().values()):
        drawn = Generator.create(seed, size, model, options)
        pictures.append(drawn.pictures(drawn.scene([first + place]))[0].permute(1, 2, 0).cpu())
    save_picture(out, sheet(pictures, COLUMNS, labels, cell=CELL))
    log.info("%d pictures are in %s.", len(pictures), out)


if __name__ == "__main__":
    sys.exit(main())
