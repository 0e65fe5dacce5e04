"""`python -m handrawer pilot PICTURES`: preparation, a short training and evaluation, one report."""

from __future__ import annotations

import argparse
import json
import logging
import time
from dataclasses import asdict
from pathlib import Path

from .data import Bars, said, worker_count
from .errors import Refusal
from .progress import import_libraries

MOST_JUDGED = 200  # pictures that the judge looks at


def run(arguments: argparse.Namespace) -> int:
    """Everything, one after another; what was done before in the same folder is not done again."""
    import_libraries("torch", "diffusers")
    from ..evaluate.pilot import Pilot, full_config, report, run_training

    if arguments.base != "mini" and not Path(arguments.base).exists():
        raise Refusal(f"there is no base model {arguments.base}: give a diffusers folder or a .safetensors file.")
    out: Path = arguments.out
    with Bars() as bars:
        pilot: Pilot = said(lambda: _prepare(arguments, out, bars))
        pilot.judged = said(lambda: _judge(arguments.pictures, bars))
    config = _config(arguments, out, pilot.device)
    (out / "training.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    logging.getLogger("handrawer").setLevel(logging.INFO)
    with Bars() as bars:
        said(lambda: run_training(pilot, config, bars))
    full = full_config(config, out / "full_run")
    (out / "full_run.json").write_text(json.dumps(full, indent=1) + "\n", encoding="utf-8")
    text = report(pilot)
    (out / "report.md").write_text(text, encoding="utf-8")
    told = asdict(pilot) | {"prepared": {k: str(v) for k, v in asdict(pilot.prepared).items()}}
    (out / "report.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(text)
    print(f"Written to {out}: report.md, full_run.json, data/ (open data/index.html), training/.")
    return 0


def _prepare(arguments: argparse.Namespace, out: Path, bars):
    import torch

    from ..data.label import Options
    from ..data.prepare import prepare
    from ..evaluate.pilot import Pilot

    started = time.monotonic()
    options = Options(longest=arguments.size * 2, limit=arguments.limit)
    prepared = prepare(arguments.pictures, out / "data", options, workers=worker_count(arguments), progress=bars)
    if not prepared.kept + prepared.flagged:
        raise ValueError(f"No picture of {arguments.pictures} can be used; {out / 'data' / 'report.md'} says why.")
    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    pilot = Pilot(prepared, arguments.base, device)
    pilot.minutes["preparation"] = (time.monotonic() - started) / 60
    pilot.reasons = json.loads((out / "data" / "report.json").read_text(encoding="utf-8"))["reasons"]
    pilot.shard_bytes = sum(file.stat().st_size for file in (out / "data" / "shards").glob("*.tar"))
    return pilot


def _judge(folder: Path, bars) -> dict:
    """The judge on the pictures themselves."""
    from itertools import islice

    from ..evaluate.folder_report import summary
    from ..evaluate.folders import measure

    rows = []
    seen = measure(folder, progress=lambda done, total: bars("Judging", done, min(total, MOST_JUDGED)))
    for row, _ in islice(seen, MOST_JUDGED):
        rows.append(row)
    return summary(rows, {})["measures"] if rows else {}


def _config(arguments: argparse.Namespace, out: Path, device: str) -> dict:
    from ..evaluate.pilot import MINI, training_config

    mini = arguments.base == MINI
    shipped = Path(__file__).resolve().parents[1] / "mini" / "weights" / "handrawer.safetensors"
    return training_config(
        out / "training", out / "data", arguments.base, steps=arguments.steps, batch=arguments.batch,
        size=256 if mini else arguments.size, held_out=arguments.held_out, device=device,
        sampling_steps=arguments.sampling_steps, start=str(shipped) if mini else None,
    )  # fmt: skip
