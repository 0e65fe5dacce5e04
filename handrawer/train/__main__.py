"""`python -m handrawer.train CONFIG`, or `accelerate launch -m handrawer.train CONFIG` for several GPUs."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    """Train as a configuration file says. Exit code 0 done, 1 stopped on numbers that are not finite, 2 a refusal
    (one sentence), 130 stopped by Ctrl-C (what was saved last can be gone on from)."""
    parser = argparse.ArgumentParser(prog="python -m handrawer.train", description="Train a HanDrawer for your base.")
    parser.add_argument("config", type=Path, metavar="CONFIG", help="a JSON file, see docs/training.md")
    arguments = parser.parse_args(argv)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("handrawer").setLevel(logging.INFO)

    from .adapter import TrainingStopped, train_adapter
    from .config import read_train_config

    try:
        result = train_adapter(read_train_config(arguments.config))
    except (ValueError, FileNotFoundError, ImportError) as refusal:
        logging.getLogger("handrawer").error(" ".join(str(refusal).split()))
        return 2
    except OSError as error:
        logging.getLogger("handrawer").error(
            "%s: make room or choose another 'out'; the same command goes on from the last state.", error
        )
        return 2
    except TrainingStopped as stopped:
        logging.getLogger("handrawer").error(str(stopped))
        return 1
    except KeyboardInterrupt:
        logging.getLogger("handrawer").error("stopped: the same command goes on from the last state")
        return 130
    logging.getLogger("handrawer").info("the adapter is %s", result.adapter_file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
