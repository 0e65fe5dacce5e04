"""The table of the machine part, from what `python -m benchmarks.beyond collect` kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ablation.statistics import interval

STORE = Path("reports/beyond/machine.json")


def machine_rows(part: dict[str, Any]) -> list[list[str]]:
    """What, overlap with the wanted silhouette and with another sample's, error of a jaw's angle in degrees.

    part: `machine_part` of a run's results.
    """
    found = part["found"]
    groups = {"the wanted pictures through the VAE: the ceiling": ["ceiling"]}
    for name, note in part["trained"].items():
        title = f"adapter: {note['title']} ({note['parameters'] / 1e6:.2f} M, {note['steps']} steps)"
        groups[title] = [seed for seed in found if seed.startswith(f"{name}.")]
    groups["text alone"] = ["text"]
    rows = []
    for title, names in groups.items():
        cells = [interval(np.array([found[n][key] for n in names])) for key in ("overlap", "overlap with another")]
        degrees = interval(np.array([np.mean(found[n]["degrees"], axis=1) for n in names]))
        rows.append([title, *map(str, cells), f"{degrees.mean:.1f} [{degrees.low:.1f}, {degrees.high:.1f}]"])
    return rows


def read_rows(path: Path = STORE) -> list[list[str]]:
    """The rows of the kept figures; none where there are none."""
    return machine_rows(json.loads(path.read_text(encoding="utf-8"))["machine_part"]) if path.exists() else []
