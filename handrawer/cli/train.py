"""`python -m handrawer train CONFIG`."""

from __future__ import annotations

import argparse
import logging

from .errors import Refusal
from .progress import import_libraries


def run(arguments: argparse.Namespace) -> int:
    """Train as the configuration file says; a run that was stopped goes on. See docs/training.md."""
    if not arguments.config.is_file():
        raise Refusal(f"there is no configuration file {arguments.config}; docs/training.md says what goes into one.")
    import_libraries("torch", "transformers", "diffusers")
    from ..train import run as training

    try:
        config = training.read_config(arguments.config)
    except ValueError as error:
        raise Refusal(str(error)) from None
    # The journal of a run goes to its log file and, through this logger, to the terminal.
    logging.getLogger("handrawer").setLevel(logging.INFO)
    training.run(config)
    return 0
