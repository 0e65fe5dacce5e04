"""The rows of few steps: scores of `python -m benchmarks.lighter distill`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.ablation.report import Scores

ROWS = (  # name, what it is, UNet evaluations a picture, whether it is the student
    ("few.teacher", "base, twelve steps, guided: the teacher", "24", False),
    ("few.base guided", "base, four steps, guided", "8", False),
    ("few.base", "base, four steps, no negative rows", "4", False),
    ("few.student", "four-step student, no negative rows", "4", True),
    ("few.base guided text", "base, four steps, guided, text alone", "8", False),
    ("few.student text", "four-step student, text alone", "4", True),
)


def few_rows(scores: Scores) -> list[list[str]]:
    """What, file, UNet evaluations, how far the latents lie from the teacher's, PCK@0.1, found."""
    note, rows = scores.results.get("distillation", {}), []
    size = f"{note['bytes'] / 2**20:.2f} MiB more" if note else "-"
    for name, title, cost, student in ROWS:
        pck, found = (scores.interval(name, measure) for measure in ("pck", "found"))
        if pck is not None:
            distance = note.get("distance", {}).get(name)
            far = "-" if distance is None or name == "few.teacher" else f"{distance:.2f}"
            rows.append([title, size if student else "-", cost, far, str(pck), str(found)])
    return rows


def said(scores: Scores) -> str:
    """How the student was made."""
    note = scores.results.get("distillation")
    if not note:
        return "No student has been measured yet."
    return (
        f"The student: {note['steps']:,} steps of {note['batch']} pictures in {note['seconds']:.0f} s, "
        f"{note['parameters'] / 1e6:.2f} M numbers of low rank; its loss fell from {note['curve'][0]:.4f} to "
        f"{note['curve'][-1]:.4f} (means over the first and the last tenth)."
    )
