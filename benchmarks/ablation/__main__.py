"""`python -m benchmarks.ablation` from the repository: the proof on the small model. See docs/ablation.md."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import time
from pathlib import Path

SCORES = Path("reports/ablation/scores.json")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation")
    parser.add_argument("command", nargs="?", default="run", choices=("run", "collect", "check", "sheet", "report"))
    parser.add_argument("--config", default="gpu", help="a JSON file, or a name in benchmarks/ablation/configs")
    parser.add_argument("--smoke", action="store_true", help="the small configuration, on the CPU")
    parser.add_argument("--out", type=Path, default=Path("out/ablation"))
    parser.add_argument("--seconds", type=float, default=None, help="of this call; the next one goes on")
    parser.add_argument("--earlier", type=Path, default=None, help="an earlier call's folder, to go on from")
    parser.add_argument("--store", type=Path, default=None, help="the file of the scores")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--started", type=float, default=None, help="when the clock began, seconds since 1970")
    arguments = parser.parse_args()
    started = arguments.started or time.time()
    arguments.out.mkdir(parents=True, exist_ok=True)
    handlers = [logging.StreamHandler(), logging.FileHandler(arguments.out / "log.txt")]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", handlers=handlers)
    if arguments.command == "run":
        from .config import read_config
        from .resume import bring
        from .run import run

        config = read_config("smoke" if arguments.smoke else arguments.config)
        if arguments.seconds:
            config = dataclasses.replace(config, seconds=arguments.seconds)
        bring(arguments.earlier, arguments.out)
        run(config, arguments.out, started, "cpu" if arguments.smoke else arguments.device)
    if arguments.command == "collect" or arguments.smoke:
        from .collect import collect

        collect(arguments.out, arguments.store)
    if arguments.command == "check":
        from .pictures_at_home import second_judge

        second_judge(arguments.out, arguments.store or SCORES)
    if arguments.command == "sheet":
        from .pictures_at_home import sheets

        sheets(arguments.out)
    if arguments.command == "report":
        from .report import report

        report(arguments.store or SCORES)


if __name__ == "__main__":
    main()
