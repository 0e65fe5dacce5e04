"""Measures `data prepare` on a made-up HaGRID: what is found, what is lost, memory, and kills.

    python benchmarks/data/run.py SOURCE TRUTH OUT --report reports/data/report.md

SOURCE and TRUTH come from `made_up.py`. Prepares SOURCE into OUT (or takes what is there), compares every decision with
what was planted, then prepares a part of it again and kills the whole process group at three random moments.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CERTAIN = ("truncated", "empty_file", "no_picture", "missing", "copied", "encoded_again", "resized", "brightened",
           "tiny", "blank")  # fmt: skip
DOUBTFUL = ("box", "gesture", "side", "fit", "hand_not_found")
KILLED, PIECE = 120, 8  # pictures of the part that is killed, and of each of its shards
MIB = 2**20


def command(source: Path, out: Path, workers: int, *more: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "handrawer",
        "data",
        "prepare",
        str(source),
        str(out),
        "--workers",
        str(workers),
        *more,
    ]


class Memory:
    """The most memory that a process and its children hold together (proportional set size), looked at every 0.2 s."""

    def __init__(self, pid: int):
        self.most = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(pid,), daemon=True)
        self._thread.start()

    def _watch(self, group: int) -> None:
        while not self._end.wait(0.2):
            self.most = max(self.most, sum(_memory(pid) for pid in _group(group)))

    def stop(self) -> int:
        self._end.set()
        self._thread.join()
        return self.most


def _group(group: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group:
                found.append(int(entry.name))
    return found


def _memory(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0


def prepare(source: Path, out: Path, workers: int, *more: str) -> tuple[float, int]:
    """Run the command: seconds, and the most bytes it held."""
    started = time.time()
    process = subprocess.Popen(command(source, out, workers, *more), cwd=ROOT, start_new_session=True)
    memory = Memory(process.pid)
    code = process.wait()
    most = memory.stop()
    if code:
        raise SystemExit(f"data prepare ended with code {code}")
    return time.time() - started, most


def fingerprints(out: Path) -> dict[str, str]:
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.relative_to(out).parts[0] != "work"
    }


def kill_three_times(source: Path, out: Path, workers: int, seed: int = 3) -> list[str]:
    """Prepare a part in one go, and again with three kills -9 of the whole process group; what differs in the end."""
    chance = random.Random(seed)
    part = ("--limit", str(KILLED), "--shard-size", str(PIECE))
    whole, cut = out.with_name(f"{out.name}_whole"), out.with_name(f"{out.name}_killed")
    seconds, _ = prepare(source, whole, workers, *part)
    moments = []
    for _ in range(3):
        process = subprocess.Popen(command(source, cut, workers, *part), cwd=ROOT, start_new_session=True)
        moment = chance.uniform(0.28, 0.48) * seconds
        try:
            code = process.wait(timeout=moment)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            done = len(list((cut / "work" / "decisions").glob("*.jsonl")))
            moments.append(f"after {moment:.0f} s ({done} of {-(-KILLED // PIECE)} shards done)")
        else:
            moments.append(f"none: it ended by itself with code {code} before")
    prepare(source, cut, workers, *part)
    one, two = fingerprints(whole), fingerprints(cut)
    different = sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))
    words = f"Killed {'; '.join(moments)}. Files of the result: {len(one)}; different: {len(different)}"
    return [f"{words}{' (' + ', '.join(different[:5]) + ')' if different else ''}."]


# --- comparing


def load(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} % ({part} of {whole})" if whole else "-"


def certain_faults(truth: list[dict[str, Any]], rows: dict[str, dict[str, Any]]) -> list[str]:
    """The table of certain faults; of two copies one must go, whichever."""
    dropped = {key for key, row in rows.items() if row["decision"] == "drop"}
    counts: Counter[str] = Counter()
    found: Counter[str] = Counter()
    spoiled: set[str] = set()
    for row in truth:
        if row["planted"] in CERTAIN:
            pair = {row["name"], row["of"]} - {""}
            counts[row["planted"]] += 1
            found[row["planted"]] += len(dropped & pair) == 1
            spoiled |= pair
    good = [row["name"] for row in truth if row["name"] not in spoiled]
    lost = [name for name in good if name in dropped]
    lines = ["| planted | pictures | found |", "| --- | --- | --- |"]
    lines += [f"| {fault.replace('_', ' ')} | {counts[fault]} | {share(found[fault], counts[fault])} |"
              for fault in CERTAIN]  # fmt: skip
    lines.append(f"| **all** | {counts.total()} | **{share(found.total(), counts.total())}** (bar: 98 %) |")
    lines += ["", f"Pictures without a certain fault that were dropped: **{share(len(lost), len(good))}** (bar: under "
              f"1 %){': ' + ', '.join(lost[:5]) if lost else ''}."]  # fmt: skip
    fists = [row["name"] for row in truth if row["label"] == "fist" and row["name"] in set(good)]
    lines += ["", f"Fists among them that were dropped: {share(sum(name in dropped for name in fists), len(fists))}."]
    return lines


def flags(truth: list[dict[str, Any]], rows: dict[str, dict[str, Any]]) -> list[str]:
    """Precision and recall of each reason, over the pictures without a certain fault."""
    of = {row["name"]: row for row in truth}
    kept = {key: row for key, row in rows.items() if row["decision"] != "drop"}
    lines = ["| reason | planted | flagged | precision | recall | flagged for any reason |", "| --- |" + " --- |" * 5]
    for reason in DOUBTFUL:
        planted = {key for key in kept if of[key]["planted"] == reason}
        flagged = {key for key, row in kept.items() if reason in row["reasons"]}
        both, any_reason = len(planted & flagged), sum(bool(kept[key]["reasons"]) for key in planted)
        lines.append(f"| `{reason}` | {len(planted)} | {len(flagged)} | {share(both, len(flagged))} | "
                     f"{share(both, len(planted))} | {share(any_reason, len(planted))} |")  # fmt: skip
    clean = [key for key in kept if not of[key]["planted"]]
    doubted = sum(bool(kept[key]["reasons"]) for key in clean)
    return [*lines, "", f"Pictures with nothing planted that are flagged for any reason: {share(doubted, len(clean))}."]


def gestures(truth: list[dict[str, Any]], rows: dict[str, dict[str, Any]]) -> list[str]:
    """By gesture: each reason's precision and recall, and how the hands were found."""
    of = {row["name"]: row for row in truth}
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for key, row in rows.items():
        if row["decision"] == "drop":
            continue
        counts, planted = table[of[key]["label"]], of[key]["planted"]
        counts["pictures"] += 1
        for reason in DOUBTFUL:
            flagged = reason in row["reasons"]
            counts[f"{reason} planted"] += planted == reason
            counts[f"{reason} caught"] += planted == reason and flagged
            counts[f"{reason} flagged"] += flagged
        for how in row["found"]:
            counts[how] += 1
        counts["nothing found"] += not row["found"] and planted != "hand_not_found"
    lines = ["Precision, then recall.", "", "| gesture | pictures | " + " | ".join(f"`{r}`" for r in DOUBTFUL) + " |",
             "| --- | --- |" + " --- |" * len(DOUBTFUL)]  # fmt: skip
    for label, counts in sorted(table.items()):
        cells = [label, str(counts["pictures"])]
        for reason in DOUBTFUL:
            caught, flagged, planted = (counts[f"{reason} {word}"] for word in ("caught", "flagged", "planted"))
            cells.append(f"{share(caught, flagged)}, {share(caught, planted)}" if flagged or planted else "-")
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "How hands were found.", "",
              "| gesture | in the picture | in a box | by landmarks | pictures with a hand, none found |",
              "| --- |" + " --- |" * 4]  # fmt: skip
    for label, counts in sorted(table.items()):
        cells = [str(counts[how]) for how in ("picture", "box", "landmarks", "nothing found")]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--report", type=Path, default=None)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--no-kills", action="store_true")
    parser.add_argument("--first-pass", action="store_true", help="certain faults alone: a minute for thousands")
    arguments = parser.parse_args()
    truth = load(arguments.truth)
    if arguments.first_pass:
        publish(first_pass(arguments, truth), arguments.report)
        return
    measured = arguments.out / "work" / "measured.json"
    if not (arguments.out / "decisions.jsonl").is_file():
        seconds, most = prepare(arguments.source, arguments.out, arguments.workers, "--shard-size", "100")
        measured.write_text(json.dumps([seconds, most]))
    rows = {row["key"]: row for row in load(arguments.out / "decisions.jsonl")}
    lines = ["# Data preparation, measured", "", f"A made-up HaGRID of {len(truth)} pictures (`benchmarks/data`), "
             "drawn by the project's own generator with exact labels; faults of every kind were planted and written "
             "down. The bounds of the flags were set before, on none of these drawings.", "", "## Certain faults",
             ""]  # fmt: skip
    lines += [*certain_faults(truth, rows), "", "## Flags", "", *flags(truth, rows), "", "## By gesture", ""]
    lines += [*gestures(truth, rows), "", "## Memory and kills", ""]
    if measured.is_file():
        seconds, most = json.loads(measured.read_text())
        words = f"Most memory of all processes together ({arguments.workers} workers): **{most / MIB:.0f} MiB** (bar: "
        lines += [words + f"2 GB). {len(truth)} pictures in {seconds:.0f} s on a machine that did other work.", ""]
    if not arguments.no_kills:
        lines += kill_three_times(arguments.source, arguments.out, arguments.workers)
    publish(lines, arguments.report)


def first_pass(arguments: argparse.Namespace, truth: list[dict[str, Any]]) -> list[str]:
    """What the first pass drops; no hand is looked for."""
    sys.path.insert(0, str(ROOT))
    from handrawer.data.prepare import certain_faults as find

    started = time.time()
    drops = find(arguments.source, arguments.out)
    seconds = time.time() - started
    rows = {row["name"]: {"decision": "drop" if row["name"] in drops else "keep"} for row in truth}
    head = (
        f"# Certain faults, measured\n\nA made-up HaGRID of {len(truth)} pictures; the first pass alone, which looks "
    )
    head += f"at every file and drops what is certain: {seconds:.0f} s in one process on a busy machine.\n"
    return [head, *certain_faults(truth, rows)]


def publish(lines: list[str], report: Path | None) -> None:
    """Print a report, and write it where it belongs."""
    text = "\n".join(lines) + "\n"
    print(text)
    if report:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
