"""The command line: `python -m handrawer demo`, `estimate`, `train`, `data`, ... as COMMANDS lists.

Only the parser lives here; each command's module, and with it torch and the rest, is imported when it is chosen, so
that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from .. import __version__
from .errors import Refusal

COMMANDS = {
    "demo": "a picture of a hand steers the small model: overlay, depth, mask and a sheet without and with HanDrawer",
    "estimate": "the hands in a picture: a JSON file and pictures of them",
    "train": "train as a configuration file says",
    "data": "pictures of hands, cleansed and relabelled, as shards for training",
    "evaluate": "how good the hands in a folder of pictures are; blind comparisons by people",
    "pilot": "some of your pictures through preparation, a short training and evaluation: one report",
    "mano": "keep a MANO file of yours as safetensors; nothing in the file is run",
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="python -m handrawer", description="HanDrawer: hands drawn as hands are built."
    )
    parser.add_argument("--version", action="version", version=f"handrawer {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    added = {name: commands.add_parser(name, help=text, description=text) for name, text in COMMANDS.items()}
    _add_demo(added["demo"])
    _add_estimate(added["estimate"])
    _add_train(added["train"])
    _add_data(added["data"])
    _add_evaluate(added["evaluate"])
    _add_pilot(added["pilot"])
    _add_mano(added["mano"])
    return parser


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image", type=Path, metavar="FILE", help="picture with a hand (default: one that is shipped)")
    parser.add_argument("--hand", type=_place, metavar="N", help="which hand, from 0 (default: the largest)")
    parser.add_argument("--out", type=Path, default=Path("handrawer_demo"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="first of the seeds (default: %(default)s)")
    parser.add_argument("--prompt", metavar="TEXT", help="default: a prompt that describes the hand that was taken")
    parser.add_argument("--strength", type=_strength, default=1.0, help="of HanDrawer, 0 to 2 (default: %(default)s)")
    parser.add_argument("--steps", type=_steps, default=20, metavar="N", help="of sampling (default: %(default)s)")
    _add_detection(parser)


def _add_estimate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", type=Path, metavar="IMAGE")
    parser.add_argument("--out", type=Path, default=Path("handrawer_hands"), metavar="DIR", help="default: %(default)s")
    _add_detection(parser)


def _add_detection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--max-hands", type=_hand_count, default=10, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--min-confidence",
        type=_share,
        default=0.5,
        metavar="P",
        help="of the hand detector, 0 to 1; lower finds more hands and more mistakes (default: %(default)s)",
    )
    parser.add_argument(
        "--thoroughness",
        choices=("fast", "balanced", "thorough"),  # estimate.find.THOROUGHNESS, which would import torch
        default="balanced",
        help="thorough finds more hands, small and covered ones too, and takes seconds (default: %(default)s)",
    )


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help="configuration file, see docs/training.md")


def _add_data(parser: argparse.ArgumentParser) -> None:
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    text = "drop certain faults, flag doubtful pictures, fit hands, write shards; a stopped run goes on"
    prepare = steps.add_parser("prepare", help=text, description=text)
    prepare.add_argument("source", type=Path, nargs="?", metavar="SOURCE", help="HaGRID, a folder, or MANUS shards")
    prepare.add_argument("out", type=Path, nargs="?", metavar="OUT", help="folder to write into")
    prepare.add_argument("--apply", type=Path, metavar="FILE", help="take the decisions of OUT's contact sheet")
    prepare.add_argument("--workers", type=_workers, default=0, metavar="N", help="processes (default: half the cores)")
    prepare.add_argument("--limit", type=_count, default=0, metavar="N", help="only the first N pictures")
    prepare.add_argument("--kind", choices=("auto", "hagrid", "folder", "manus"), default="auto", help="of SOURCE")
    prepare.add_argument("--shard-size", type=_shard, default=500, metavar="N", help="pictures (default: %(default)s)")
    prepare.add_argument("--longest", type=_count, default=0, metavar="PIXELS", help="reduce larger pictures to this")
    prepare.add_argument("--least-side", type=_count, default=64, metavar="PIXELS", help="smaller pictures are tiny")
    prepare.add_argument(
        "--search",
        choices=("fast", "balanced", "thorough"),
        default="fast",
        help="first look at whole pictures; boxes and empty ones are looked at more closely (default: %(default)s)",
    )
    prepare.add_argument("--exchange-sides", action="store_true", help="the source's left and right are a mirror's")
    text = "synthetic pictures with captions and hands.json, as files; training draws them on the spot"
    draw = steps.add_parser("draw", help=text, description=text)
    draw.add_argument("out", type=Path, metavar="OUT", help="folder to write into; with --each a .jpg or .png")
    draw.add_argument("--options", default="full", help='full, plain, or JSON: {"people": 1} (default: %(default)s)')
    draw.add_argument("--each", action="store_true", help="a sheet with one picture for each option")
    draw.add_argument("--count", type=_count, default=16, metavar="N", help="pictures (default: %(default)s)")
    draw.add_argument("--first", type=_count, default=0, metavar="N", help="number of the first one")
    draw.add_argument("--seed", type=_seed, default=1, metavar="N", help="default: %(default)s")
    draw.add_argument("--size", type=_count, default=512, metavar="PIXELS", help="of a side (default: %(default)s)")
    draw.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda")


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    words = "FOLDER of pictures; or `blind A B` for a page that asks people; or `answers FILE...` for what they said"
    parser.add_argument("what", nargs="+", metavar="FOLDER", help=words)
    parser.add_argument("--wanted", type=Path, metavar="HANDS", help="JSON of hands, a folder of it, or prepared data")
    parser.add_argument("--reference", type=Path, metavar="FOLDER", help="real pictures to compare with: FID and KID")
    parser.add_argument(
        "--features",
        choices=("auto", "inception", "clip", "landmarks"),
        default="auto",
        help="of FID and KID; auto is Inception where its weights are on this machine, else what ships",
    )
    parser.add_argument("--clip", type=Path, metavar="FOLDER", help="a CLIP model of transformers: CLIP scores")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: handrawer_evaluation; of blind: a .html file")
    parser.add_argument("--key", type=Path, metavar="FILE", help="of answers: the page's .key.json")
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="of a blind page (default: %(default)s)")
    parser.add_argument("--limit", type=_count, default=0, metavar="N", help="pairs on a blind page (default: all)")
    parser.add_argument("--question", metavar="TEXT", help="on a blind page")


def _add_pilot(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pictures", type=Path, metavar="PICTURES", help="folder; captions beside them as .txt help")
    parser.add_argument("--out", type=Path, default=Path("handrawer_pilot"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--base", default="mini", metavar="MODEL", help="diffusers folder or .safetensors file")
    parser.add_argument("--steps", type=_positive, default=200, metavar="N", help="of training (default: %(default)s)")
    parser.add_argument("--batch", type=_positive, default=4, metavar="N", help="default: %(default)s")
    parser.add_argument("--size", type=_count, default=512, metavar="PIXELS", help="a multiple of 64; mini takes 256")
    parser.add_argument("--held-out", type=_positive, default=8, metavar="N", help="pictures scored, never trained on")
    parser.add_argument("--sampling-steps", type=_steps, default=20, metavar="N", help="of scored pictures")
    parser.add_argument("--limit", type=_count, default=0, metavar="N", help="only the first N pictures")
    parser.add_argument("--workers", type=_workers, default=0, metavar="N", help="processes of preparation")
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda")


def _add_mano(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="MANO_RIGHT.pkl or MANO_LEFT.pkl, or one re-saved")
    parser.add_argument("out", type=Path, nargs="?", metavar="OUT", help="default: beside it, as .safetensors")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")


def _whole(text: str, low: int, high: int) -> int:
    # isascii: int() would take digits of any script, underscores and blanks.
    value = int(text) if text.isascii() and text.isdigit() else -1
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from {low} to {high}")
    return value


def _real(text: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from {low:g} to {high:g}")
    return value


def _hand_count(text: str) -> int:
    return _whole(text, 1, 100)


def _workers(text: str) -> int:
    return _whole(text, 1, 256)


def _positive(text: str) -> int:
    return _whole(text, 1, 2**31 - 1)


def _count(text: str) -> int:
    return _whole(text, 0, 2**31 - 1)


def _shard(text: str) -> int:
    return _whole(text, 1, 100_000)


def _place(text: str) -> int:
    return _whole(text, 0, 99)


def _steps(text: str) -> int:
    return _whole(text, 1, 1000)


def _seed(text: str) -> int:
    return _whole(text, 0, 2**32 - 1)


def _share(text: str) -> float:
    return _real(text, 0, 1)


def _strength(text: str) -> float:
    return _real(text, 0, 2)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments after the program's name; those of the process where None.

    Returns:
        Exit code: 0 done (also where no hand was found), 2 a refusal (one sentence on stderr), 130 stopped by Ctrl-C.
        Wrong arguments end the process with code 2, as argparse does.
    """
    arguments = build_parser().parse_args(argv)
    # Threads of torch that wait should sleep, not spin: beside another busy program spinning made the demo five times
    # slower on two cores. Read when torch is loaded, so it is said before; who has set it already knows better.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    try:
        command = import_module(f".{arguments.command}", __package__)
        return command.run(arguments)
    except Refusal as refusal:
        # One line, also where a library's own words in it have several.
        print(f"handrawer {arguments.command}: {' '.join(str(refusal).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"handrawer {arguments.command}: stopped.", file=sys.stderr)
        return 130
