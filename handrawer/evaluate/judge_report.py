"""The report of the judge: how well it tells malformed hands from sound ones of kinds that it was not fitted to.

    python -m handrawer.evaluate.judge_report MEASURED.safetensors OUT [--pictures FOLDER]

MEASURED comes from ``judge_fit measure``. ``--pictures`` also judges pictures of a folder, told apart in the report.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from .judge import judge_pictures
from .judge_fit import KINDS, SOUND, SPLITS, Measured, auc, fit, load_measured, qualities

BAR = 0.85
RESAMPLES = 1000
CAUTION = (
    "The judge was fitted to synthetic hands alone: on photos it is too strict. Compare qualities of pictures of one "
    "kind with each other, and choose the bar by eye."
)


def interval(good: Tensor, bad: Tensor, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of an area under the curve, by a bootstrap over pictures of both kinds."""
    generator = torch.Generator().manual_seed(seed)
    found = [
        auc(
            good[torch.randint(len(good), (len(good),), generator=generator)],
            bad[torch.randint(len(bad), (len(bad),), generator=generator)],
        )
        for _ in range(RESAMPLES)
    ]
    low, high = torch.tensor(found, dtype=torch.float64).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    return float(low), float(high)


def rows_of_splits(train: Measured, test: Measured) -> list[str]:
    """Lines of the table: fitted to some kinds, tested on the others."""
    splits = [*SPLITS, *((tuple(k for k in KINDS if k != kind), (kind,)) for kind in KINDS)]
    lines = []
    for tuned, others in splits:
        quality = qualities(fit(train, tuned), test)
        good, bad = quality[test.rows(SOUND)], quality[test.rows(*others)]
        low, high = interval(good, bad)
        area = auc(good, bad)
        cells = [
            ", ".join(tuned), ", ".join(others), f"{len(good)} + {len(bad)}", f"{area:.3f} ({low:.3f} to {high:.3f})",
            "yes" if area >= BAR else "no",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def rows_of_pictures(paths: Sequence[Path]) -> list[str]:
    """Lines of the table of single pictures."""
    from ..render.pictures import load_picture

    lines = []
    for path in paths:
        (judged,) = judge_pictures(load_picture(path))
        hands = "; ".join(f"{hand.hand.side} {hand.quality:.2f}" for hand in judged.hands) or "none found"
        lines.append(f"| {path.stem} | {judged.quality:.2f} | {hands} |")
    return lines


def report(parts: dict[str, Measured], pictures: Sequence[Path] = ()) -> str:
    """The report as Markdown."""
    train, test = parts["train"], parts["test"]
    found = ", ".join(f"{kind} {float(test.found[test.rows(kind)].float().mean()):.0%}" for kind in (SOUND, *KINDS))
    lines = [
        "# The judge of hands",
        "",
        "Made by `python -m handrawer.evaluate.judge_report`. Sound and malformed synthetic hands "
        "(`handrawer/evaluate/malformed.py`); the kinds of malformation of the test were not fitted to. "
        f"{len(train.kind)} hands for the fit, {len(test.kind)} for the test.",
        "",
        f"The bar is an area under the ROC curve of {BAR}.",
        "",
        "| fitted to | tested on | pictures | area (95 %) | bar met |",
        "| --- | --- | --- | --- | --- |",
        *rows_of_splits(train, test),
        "",
        f"Hands that were found at all: {found}. A hand that is not found has the quality 0.",
    ]
    if pictures:
        lines += ["", "Single pictures, none of them synthetic. " + CAUTION, ""]
        lines += ["| picture | quality | hands |", "| --- | --- | --- |", *rows_of_pictures(pictures)]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured")
    parser.add_argument("out", help="folder of the report")
    parser.add_argument("--pictures", help="a folder of pictures to judge too")
    arguments = parser.parse_args()
    folder = Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    names = (".jpg", ".png")
    pictures = (
        [p for p in sorted(Path(arguments.pictures).iterdir()) if p.suffix in names] if arguments.pictures else []
    )
    (folder / "report.md").write_text(report(load_measured(arguments.measured), pictures), encoding="utf-8")


if __name__ == "__main__":
    main()
