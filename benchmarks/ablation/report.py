"""The tables of docs/ablation.md and of reports/, made from the stored scores alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.beyond.table import read_rows
from benchmarks.lighter.table import few_rows, said

from .collect import unpack
from .statistics import Interval, difference, interval
from .variants import ARMS

DOCS = Path("docs/ablation.md")
REPORTS = {"ablation": Path("reports/ablation"), "lighter": Path("reports/lighter"), "beyond": Path("reports/beyond")}
Row = list[str]


class Scores:
    """The stored scores of a run; `longer`: those of the run beside it in which few arms had more steps."""

    def __init__(self, path: Path) -> None:
        kept = json.loads(path.read_text(encoding="utf-8"))
        self.results: dict[str, Any] = kept["results"]
        self.agreement: dict[str, Any] | None = kept.get("agreement")
        self._packed: dict[str, dict[str, str]] = kept["scores"]
        beside = path.with_name("longer.json")
        self.longer = Scores(beside) if path.name != beside.name and beside.exists() else None
        self.subsets = {k: np.array([c == "1" for c in v]) for k, v in kept["subsets"].items()}

    def names(self, prefix: str) -> list[str]:
        """The names that begin so, in the order in which they were drawn."""
        return [name for name in self._packed if name.startswith(prefix)]

    def values(self, name: str, measure: str = "pck", subset: str | None = None) -> np.ndarray | None:
        """[training seeds, poses] of an arm, or of a single name; None where the run has none of it.

        Fists are left out, unless they are asked for: the detector sees few of them even in the ground truth.
        """
        seeds = self.results["config"]["seeds"]
        names = [f"{name}.{seed}" for seed in seeds if f"{name}.{seed}" in self._packed]
        names = names or [name] * (name in self._packed)
        if not names:
            return None
        rows = np.stack([unpack(self._packed[n])[measure] for n in names]).astype(float)
        if rows.shape[1] != len(self.subsets["fist"]):  # pictures of two hands
            return rows
        chosen = self.subsets["fist"] if subset == "fist" else ~self.subsets["fist"]
        if subset not in (None, "fist"):
            chosen = chosen & self.subsets[subset]
        return rows[:, chosen]

    def interval(self, name: str, measure: str = "pck", subset: str | None = None) -> Interval | None:
        found = self.values(name, measure, subset)
        return None if found is None or not found.size else interval(found)


def table(head: Row, rows: list[Row]) -> str:
    """Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _shown(value: Interval | None) -> str:
    return "-" if value is None else str(value)


def _short(value: Interval | None) -> str:
    return "-" if value is None else f"{value.mean:.3f}"


def longer_rows(scores: Scores) -> list[Row]:
    """Arms that were trained for longer than the others, if any: they are compared with no other row."""
    longer, ceiling, rows = scores.longer, scores.interval("ceiling"), []
    if longer is None or ceiling is None:
        return []
    for name, note in longer.results.get("arms", {}).items():
        found = longer.interval(name)
        if found is None:
            continue
        count = len(longer.results["config"]["seeds"])
        title = f"{ARMS[name].title}, {note['steps']} steps, {count} training seed{'s' * (count != 1)}"
        subsets = [_short(longer.interval(name, subset=s)) for s in ("self-occluded", "edge-on")]
        more = [_short(longer.interval(name, measure)) for measure in ("found", "side")]
        millions, share = f"{note['parameters'] / 1e6:.2f} M", f"{found.mean / ceiling.mean:.0%}"
        rows.append([title, millions, str(found), share, "-", *subsets, *more])
    return rows


def ablation_table(scores: Scores) -> str:
    """Every arm: score with interval, its difference to the full adapter, subsets."""
    notes, full = scores.results.get("arms", {}), scores.values("full")
    ceiling = scores.interval("ceiling")
    titles = {
        "render": "the wanted pictures themselves",
        "ceiling": "the same through the VAE: the ceiling",
        "text": "text alone (nothing trained)",
        "shipped": "the adapter that ships: *full*, trained for long",
    }
    rows = []
    for name in (*titles, *ARMS):
        found = scores.interval(name)
        if found is None or ceiling is None:
            continue
        title = titles.get(name) or ARMS[name].title
        values = scores.values(name)
        apart = "-"
        if name in ARMS and name != "full" and full is not None and values is not None:
            gap = difference(values, full)
            apart = f"{gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"
        millions = f"{notes[name]['parameters'] / 1e6:.2f} M" if name in notes else "-"
        subsets = [_short(scores.interval(name, subset=s)) for s in ("self-occluded", "edge-on")]
        more = [_short(scores.interval(name, measure)) for measure in ("found", "side")]
        rows.append([title, millions, str(found), f"{found.mean / ceiling.mean:.0%}", apart, *subsets, *more])
    rows += longer_rows(scores)
    head = ["arm", "learns", "PCK@0.1", "of the ceiling", "against full", "self-occluded", "edge-on", "found", "side"]
    return table(head, rows)


TWO_HANDS = {
    "two.text": "text alone",
    "two.shipped": "the adapter that ships",
    "two.shipped blind": "the same, overlapping boxes simply added",
    "two.full": "full",
    "two.full blind": "full, overlapping boxes simply added",
    "two.geometry": "geometry without the GCN",
    "two.t2i": "T2I-Adapter, depth and normals",
}


def two_hand_table(scores: Scores) -> str:
    """Pictures of two hands."""
    rows = []
    for name, title in TWO_HANDS.items():
        if scores.values(name) is not None:
            rows.append([title, *(_shown(scores.interval(name, m)) for m in ("pck", "found", "side"))])
    return table(["arm", "PCK@0.1 of both hands", "found", "side"], rows)


def repair_table(scores: Scores) -> str:
    """Single stage and repair by what they cost."""
    notes = scores.results.get("repair", {})
    listed: list[tuple[str, str, dict[str, Any]]] = []
    for name, note in notes.items():
        kind, *rest = name.split(".", 2)
        if rest and rest[0] == "control":
            continue  # the arm has learned nothing in its steps: there is nothing to repair with
        if kind == "text":
            title = "text alone, no hand"
        elif kind == "single":
            title = f"single stage, {rest[0]} steps"
        else:
            title = f"text alone, then repair by the {rest[0]}, {float(rest[1]):.0%} of the schedule"
        listed.append((name, title, note))
    rows = []
    for name, title, note in sorted(listed, key=lambda x: x[2]["evaluations"]):
        took = "-" if note["milliseconds"] is None else f"{note['milliseconds']:.1f}"
        rows.append([title, f"{note['evaluations']:g}", took, _shown(scores.interval(name))])
    return table(["way", "UNet evaluations", "ms a picture, batched", "PCK@0.1"], rows)


def lighter_table(scores: Scores) -> str:
    """Stored types, the small adapter, few steps."""
    results, rows = scores.results, []
    for name, note in results.get("stored", {}).items():
        size = f"{note['bytes'] / 2**20:.2f} MiB"
        maps = f"{note['milliseconds']:.1f}"
        rows.append([f"adapter that ships, {name}", size, maps, "20", _shown(scores.interval(f"stored.{name}"))])
    for name in ("full", "small"):
        note = results.get("arms", {}).get(name)
        if note:
            size = f"{note['parameters'] * 2 / 2**20:.2f} MiB (weights, fp16)"
            title = f"trained anew, {note['steps']} steps: {'full' if name == 'full' else 'half'} width"
            rows.append([title, size, "-", "20", _shown(scores.interval(name))])
    return table(["what", "file", "ms for a hand's maps (GPU)", "UNet evaluations", "PCK@0.1"], rows)


def few_steps_table(scores: Scores) -> str:
    """Four steps: the student and the base, of a run of their own."""
    path = REPORTS["lighter"] / "scores.json"
    if not path.exists():
        return "Not measured yet."
    own = Scores(path)
    head = ["what", "file", "UNet evaluations", "away from the teacher", "PCK@0.1", "found"]
    return f"{table(head, few_rows(own))}\n\n{said(own)}"


def zero_shot_table(scores: Scores) -> str:
    """Without a trained adapter."""
    titles = {"text": "text alone", "zero.plain": "the shaded mesh itself, through the VAE"}
    for name in scores.names("zero."):
        kind, _, value = name.removeprefix("zero.").partition(".")
        words = {"start": "started from the shaded mesh at {} of the schedule", "steer": "steered with strength {}",
                 "both": "started at 0.8 and steered with strength {}"}  # fmt: skip
        if kind in words:
            titles[name] = words[kind].format(value)
    titles |= {"box": "box only (trained)", "full": "full (trained)", "shipped": "the adapter that ships"}
    rows = []
    for name, title in titles.items():
        if scores.values(name) is not None:
            rows.append([title, *(_shown(scores.interval(name, m)) for m in ("pck", "found", "side"))])
    return table(["way", "PCK@0.1", "found", "side"], rows)


def machine_table(scores: Scores) -> str:
    """The gripper, of a run of its own."""
    rows = read_rows()
    head = ["what", "overlap (IoU)", "with another sample's", "error of a jaw's angle, degrees"]
    return table(head, rows) if rows else "Not measured yet."


TABLES: dict[str, tuple[str, Callable[[Scores], str]]] = {
    "ablation": ("ablation", ablation_table),
    "two hands": ("ablation", two_hand_table),
    "repair": ("ablation", repair_table),
    "lighter": ("lighter", lighter_table),
    "few steps": ("lighter", few_steps_table),
    "zero-shot": ("beyond", zero_shot_table),
    "machine part": ("beyond", machine_table),
}


def filled(text: str, tables: dict[str, str]) -> str:
    """A page with every `<!-- table: NAME -->` ... `<!-- end -->` filled anew; ValueError where one is missing."""
    for name, content in tables.items():
        start, end = f"<!-- table: {name} -->", "<!-- end -->"
        if start not in text:
            raise ValueError(f"The page has no place for the table {name!r}: write {start} and {end} into it.")
        before, rest = text.split(start, 1)
        _, after = rest.split(end, 1)
        text = f"{before}{start}\n{content}\n{end}{after}"
    return text


def report(path: Path) -> None:
    """Fill the tables of docs/ablation.md and write those of reports/."""
    scores = Scores(path)
    tables = {name: make(scores) for name, (_, make) in TABLES.items()}
    DOCS.write_text(filled(DOCS.read_text(encoding="utf-8"), tables), encoding="utf-8")
    for folder, place in REPORTS.items():
        place.mkdir(parents=True, exist_ok=True)
        about = "What this is and how it was made: [docs/ablation.md](../../docs/ablation.md)."
        parts = [f"# {folder.capitalize()}", f"{about} Made by `python -m benchmarks.ablation report`."]
        parts += [f"## {name.capitalize()}\n\n{tables[name]}" for name, (where, _) in TABLES.items() if where == folder]
        (place / "report.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
