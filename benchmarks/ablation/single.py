"""One stage as a command of its own, with the workshop of the ablation: `python -m benchmarks.lighter distill` and
`python -m benchmarks.beyond machine`."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .config import AblationConfig, read_config
from .workshop import Workshop

log = logging.getLogger("handrawer")
LAST = 8.0  # seconds for the detector to come to its end


def parser(program: str, commands: tuple[str, ...], out: str) -> argparse.ArgumentParser:
    """The arguments that all such commands have."""
    made = argparse.ArgumentParser(prog=f"python -m {program}")
    made.add_argument("command", choices=commands)
    made.add_argument("--config", default="gpu", help="a JSON file, or a name in benchmarks/ablation/configs")
    made.add_argument("--smoke", action="store_true", help="a toy size, on the CPU")
    made.add_argument("--out", type=Path, default=Path(out))
    made.add_argument("--seconds", type=float, default=None, help="of the whole call; training takes what is left")
    made.add_argument("--device", default="auto")
    made.add_argument("--started", type=float, default=None, help="when the clock began, seconds since 1970")
    made.add_argument("--store", type=Path, default=None, help="the file of the scores")
    return made


def settings(given: argparse.Namespace, **changes: Any) -> AblationConfig:
    """The configuration that the arguments name, changed."""
    config = read_config("smoke" if given.smoke else given.config)
    if given.smoke:
        changes = {}
    if given.seconds:
        changes["seconds"] = given.seconds
    return dataclasses.replace(config, **changes)


def run_stage(given: argparse.Namespace, config: AblationConfig, name: str, stage: Callable[[Workshop], Any]) -> bool:
    """Open the workshop, run one stage, write everything that it found; whether it came to its end (a stage that has
    not returns False, and the next call goes on)."""
    from .run import open_workshop

    started = given.started or time.time()
    given.out.mkdir(parents=True, exist_ok=True)
    handlers = [logging.StreamHandler(), logging.FileHandler(given.out / "log.txt")]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", handlers=handlers)
    shop = open_workshop(config, given.out, started, "cpu" if given.smoke else given.device)
    try:
        returned: list[Any] = []
        shop.attempt(name, lambda: returned.append(stage(shop)))
        if returned == [False]:
            shop.results["stages"].pop(name)
        missing = shop.judge.gather(given.out / "detections.npz", max(LAST, shop.left()), last=True)
        if missing:
            log.warning("the detector did not come to the end of %d names", missing)
        shop.write_latents()
        shop.write()
    finally:
        shop.judge.close()
    log.info("done, %.0f s on the clock", time.time() - started)
    return name in shop.results.get("stages", {}) and not missing
