"""What a preparation did: decisions.jsonl, report.json, report.md and the contact sheet index.html."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from .atomic import atomic_file, write_text
from .flags import REASONS
from .label import FAILED, PERSON
from .layout import Layout
from .sheet import Card, write_sheet

FAULTS = {
    "missing": "the annotations name it, but there is no such file",
    "unreadable": "the file is damaged or no picture",
    "duplicate": "it shows the same as an earlier one",
    "tiny": "too few pixels to show a hand",
    "blank": "it shows one even colour",
    FAILED: "it could not be labelled",
    PERSON: "a person took it out",
}
"""Reasons why a picture is dropped."""

EXAMPLES = 8  # names of pictures of each reason in report.md; all are in decisions.jsonl
SIDES_DISAGREE = 0.5  # share of side flags from where the source is suspected to be mirrored
LEAST_SIDES = 20  # hands with a side, below which nothing is suspected


def rows_of(layout: Layout) -> Iterator[dict[str, Any]]:
    """Every decision in the source's order, chunk by chunk."""
    for file in sorted((layout.work / "decisions").glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


def write_report(layout: Layout) -> Counter[str]:
    """Write all four files; how many pictures were kept, flagged and dropped."""
    with atomic_file(layout.out / "decisions.jsonl") as file:
        for row in rows_of(layout):
            file.write((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8"))
    state = json.loads(layout.state.read_text(encoding="utf-8"))
    report = summary(rows_of(layout)) | {"source": state["source"], "options": state["options"]}
    write_text(layout.out / "report.json", json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    write_text(layout.out / "report.md", _markdown(report))
    write_sheet(layout, report["counts"], _cards(layout))
    return Counter(report["counts"])


def summary(rows: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """Counts of decisions, reasons, labels, and how hands were found."""
    counts: Counter[str] = Counter({"keep": 0, "flag": 0, "drop": 0})
    reasons: Counter[str] = Counter()
    found: Counter[str] = Counter()
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    examples: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        counts[row["decision"]] += 1
        of = labels[row["label"] or "(no label)"]
        of["pictures"] += 1
        of[row["decision"]] += 1
        found.update(row["found"])
        for reason in row["reasons"] if row["decision"] != "keep" else ():  # what a person confirmed is no doubt
            reasons[reason] += 1
            of[reason] += 1
            if len(examples[reason]) < EXAMPLES:
                examples[reason].append(row["key"])
    return {
        "pictures": sum(counts.values()),
        "counts": dict(counts),
        "reasons": dict(sorted(reasons.items())),
        "hands": dict(sorted(found.items())),
        "labels": {label: dict(sorted(of.items())) for label, of in sorted(labels.items())},
        "examples": dict(sorted(examples.items())),
    }


def _markdown(report: dict[str, Any]) -> str:
    counts, reasons = report["counts"], report["reasons"]
    flagged = [name for name in REASONS if reasons.get(name)]
    lines = [
        "# Prepared pictures",
        "",
        f"From `{report['source']}` ({report['options']['kind']}): {report['pictures']} pictures, of which "
        f"{counts['keep']} were kept, {counts['flag']} kept and flagged, {counts['drop']} dropped. Every decision with "
        "its reason is in `decisions.jsonl`; open `index.html` to look at them and to overrule them.",
        "",
        "| dropped because | pictures | for instance |",
        "| --- | --- | --- |",
        *(f"| {text} (`{name}`) | {reasons.get(name, 0)} | {_some(report, name)} |" for name, text in FAULTS.items()
          if reasons.get(name)),
        "",
        "| flagged because | pictures | for instance |",
        "| --- | --- | --- |",
        *(f"| {REASONS[name]} (`{name}`) | {reasons[name]} | {_some(report, name)} |" for name in flagged),
        "",
        f"Hands: {_hands(report['hands'])}.",
        "",
        "| gesture | pictures | kept | flagged | dropped | " + " | ".join(f"`{name}`" for name in flagged) + " |",
        "| --- | --- | --- | --- | --- |" + " --- |" * len(flagged),
    ]  # fmt: skip
    for label, of in report["labels"].items():
        cells = [of.get(name, 0) for name in ("pictures", "keep", "flag", "drop", *flagged)]
        lines.append(f"| {label} | " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join([*lines, *_advice(report)]) + "\n"


def _some(report: dict[str, Any], reason: str) -> str:
    return ", ".join(f"`{key}`" for key in report["examples"].get(reason, [])[:3])


def _hands(found: dict[str, int]) -> str:
    words = {
        "picture": "found in the whole picture",
        "box": "found in the source's box",
        "landmarks": "fitted to the source's landmarks",
    }
    return ", ".join(f"{number} {words[how]}" for how, number in found.items()) or "none"


def _advice(report: dict[str, Any]) -> list[str]:
    """What the numbers as a whole say about the source."""
    side, hands = report["reasons"].get("side", 0), sum(report["hands"].values())
    if hands < LEAST_SIDES or side < SIDES_DISAGREE * report["pictures"]:
        return []
    return ["", f"**{side} of {report['pictures']} pictures disagree about left and right: the source's sides may be "
            "those of a mirror. `--exchange-sides` reads them so.**"]  # fmt: skip


def _cards(layout: Layout) -> Iterator[Card]:
    for row in rows_of(layout):
        thumb = layout.thumb(row["key"])
        if row["decision"] == "keep" and not thumb.is_file():
            continue
        yield Card(
            key=row["key"],
            decision=row["decision"],
            reasons=tuple(row["reasons"]),
            text=" ".join(row["text"]),
            label=row["label"] or "",
            thumb=thumb.relative_to(layout.out).as_posix() if thumb.is_file() else "",
        )
