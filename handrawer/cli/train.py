"""`python -m handrawer train CONFIG`."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from .errors import Refusal
from .progress import import_libraries


def run(arguments: argparse.Namespace) -> int:
    """Train as the configuration file says: the small model, or an adapter for the base that it names; a run that was
    stopped goes on. See docs/training.md."""
    if not arguments.config.is_file():
        raise Refusal(f"there is no configuration file {arguments.config}; docs/training.md says what goes into one.")
    import_libraries("torch", "transformers", "diffusers")
    if _names_a_base(arguments.config):
        from ..train.__main__ import main

        return main([str(arguments.config)])
    from ..train import run as training

    try:
        config = training.read_config(arguments.config)
    except ValueError as error:
        raise Refusal(str(error)) from None
    # The journal of a run goes to its log file and, through this logger, to the terminal.
    logging.getLogger("handrawer").setLevel(logging.INFO)
    training.run(config)
    return 0


def _names_a_base(path: Path) -> bool:
    """Whether a configuration is one of an adapter for a base (`python -m handrawer.train`), not the small model's."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False  # reading it properly says what is wrong
    return isinstance(values, dict) and "base" in values
