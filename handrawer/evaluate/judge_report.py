"""The report of the judge: how well it tells malformed hands from sound ones, of kinds that it has learned and not.

    python -m handrawer.evaluate.judge_report MEASURED.safetensors OUT [--again MEASURED ...] [--pictures FOLDER]
                                              [--blind FOLDER]

MEASURED comes from ``judge_fit measure`` and ``look``, which may have asked other networks beside the one that ships:
one by the name "learned", which has learned the test's four kinds as well, and one by the name of each kind, which has
learned the three others. ``--again`` are tests with other seeds. ``--blind`` is the folder of ``judge_blind``, whose
pictures' labels lie in OUT/labels.json. ``--pictures`` also judges pictures of a folder.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .judge import judge_model, judge_pictures
from .judge_fit import KINDS, OTHER, SOUND, Measured, auc, fit, load_measured, qualities
from .judge_network import about_network
from .judge_scenes import TRAINING_KINDS

BAR = 0.85
RESAMPLES = 1000
LEARNED = "learned"  # name of a network that has learned the four kinds as well
CAUTION = (
    "The judge was fitted to synthetic hands alone. Compare qualities of pictures of one kind with each other, and "
    "choose the bar by eye."
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


def area(good: Tensor, bad: Tensor) -> str:
    """An area under the curve with its interval."""
    low, high = interval(good, bad)
    return f"{auc(good, bad):.3f} ({low:.3f} to {high:.3f})"


def _split(quality: Tensor, test: Measured, *kinds: str) -> tuple[Tensor, Tensor]:
    return quality[test.rows(SOUND)], quality[test.rows(*kinds)]


def rows_of_kinds(train: Measured, test: Measured, network: str = "") -> list[str]:
    """Lines of the table of the four kinds together and each apart: the judge, and its two parts alone.

    Args:
        network: by the name that ``judge_fit look`` was given; "" is the one that ships.
    """
    whole = qualities(fit(train, (OTHER,), network), test, network)
    without = qualities(fit(train, (OTHER,), None), test, None)
    alone = torch.where(test.found, test.sound[network].sigmoid(), 0.0)
    lines = []
    for name, kinds in (
        ("**all four**", KINDS),
        *((kind, (kind,)) for kind in KINDS),
        ("those it was fitted to", (OTHER,)),
    ):
        if not len(test.rows(*kinds)):
            continue
        good, bad = _split(whole, test, *kinds)
        cells = [name, f"{len(good)} + {len(bad)}"]
        cells += [area(*_split(quality, test, *kinds)) for quality in (whole, alone, without)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def mean_area(pairs: Sequence[tuple[Tensor, Tensor]], seed: int = 0) -> str:
    """The mean of several areas, each of sound and malformed hands as another judge sees them, with its interval.

    The sound hands are the same in all, so that they are drawn again together.
    """
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(RESAMPLES):
        rows = torch.randint(len(pairs[0][0]), (len(pairs[0][0]),), generator=generator)
        few = [bad[torch.randint(len(bad), (len(bad),), generator=generator)] for _, bad in pairs]
        found.append(sum(auc(good[rows], bad) for (good, _), bad in zip(pairs, few, strict=True)) / len(pairs))
    low, high = torch.tensor(found, dtype=torch.float64).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    return f"{sum(auc(good, bad) for good, bad in pairs) / len(pairs):.3f} ({float(low):.3f} to {float(high):.3f})"


def rows_left_out(train: Measured, test: Measured) -> list[str]:
    """Lines of the table where the network was shown three of the four kinds."""
    lines, pairs = [], []
    for kind in KINDS:
        if kind in test.sound and kind in train.sound:
            quality = qualities(fit(train, (OTHER,), kind), test, kind)
            others = tuple(other for other in KINDS if other != kind)
            pairs.append(_split(quality, test, kind))
            lines.append(f"| {kind} | {area(*pairs[-1])} | {area(*_split(quality, test, *others))} |")
    if len(pairs) == len(KINDS):
        lines.append(f"| **mean of the four** | {mean_area(pairs)} | |")
    return lines


def blind_lines(quality: Tensor, labels_file: Path) -> list[str]:
    """What the judge says of the small model's pictures, against labels given by eye."""
    from .judge_blind import read_labels, with_handrawer

    labels = read_labels(labels_file, len(quality))
    who = json.loads(labels_file.read_text(encoding="utf-8"))["labelled by"]
    rows = {label: torch.tensor([n for n in range(len(quality)) if labels[n] == label]).long() for label in
            ("sound", "malformed", "unclear")}  # fmt: skip
    good, bad, unclear = (quality[rows[label]] for label in ("sound", "malformed", "unclear"))
    lines = [
        f"{len(good)} were labelled sound, {len(bad)} malformed, {len(unclear)} unclear, by {who}.", "",
        "| pictures | sound + malformed | area (95 %) |", "| --- | --- | --- |",
        f"| all | {len(good)} + {len(bad)} | {area(good, bad)} |",
        f"| all, unclear ones taken for malformed | {len(good)} + {len(bad) + len(unclear)} | "
        f"{area(good, torch.cat([bad, unclear]))} |",
    ]  # fmt: skip
    for helped, name in ((True, "with HanDrawer"), (False, "text alone")):
        some = [quality[[n for n in rows[label].tolist() if with_handrawer(n) == helped]] for label in
                ("sound", "malformed")]  # fmt: skip
        if min(len(part) for part in some) >= 3:
            lines.append(f"| {name} | {len(some[0])} + {len(some[1])} | {area(*some)} |")
        else:
            lines.append(f"| {name} | {len(some[0])} + {len(some[1])} | too few |")
    return lines


def rows_of_pictures(paths: Sequence[Path]) -> list[str]:
    """Lines of the table of single pictures."""
    from ..render.pictures import load_picture

    lines = []
    for path in paths:
        (judged,) = judge_pictures(load_picture(path))
        hands = "; ".join(f"{hand.hand.side} {hand.quality:.2f}" for hand in judged.hands) or "none found"
        said = "; ".join(", ".join(hand.reasons) for hand in judged.hands if hand.reasons)
        lines.append(f"| {path.stem} | {judged.quality:.2f} | {hands} | {said} |")
    return lines


def _kinds_of(about: dict[str, Any]) -> set[str]:
    """All kinds that a network has seen, in the trainings before its last one too."""
    return set(about["kinds"]) | (_kinds_of(about["before"]) if "before" in about else set())


def report(
    parts: dict[str, Measured],
    pictures: Sequence[Path] = (),
    blind: tuple[Tensor, Path] | None = None,
    again: Sequence[Measured] = (),
) -> str:
    """The report as Markdown.

    Args:
        parts: "train" and "test" of ``judge_fit.load_measured``.
        again: tests with other seeds.
    """
    train, test = parts["train"], parts["test"]
    found = ", ".join(f"{kind} {float(test.found[test.rows(kind)].float().mean()):.0%}" for kind in (SOUND, *KINDS))
    head = [
        "| kind | sound + malformed | the judge (95 %) | its network alone | without the network |",
        "| --- | --- | --- | --- | --- |",
    ]
    shown, every = _kinds_of(about_network()), (*TRAINING_KINDS, *KINDS)
    unseen = [kind for kind in KINDS if kind not in shown]
    lines = [
        "# The judge of hands", "",
        "Made by `python -m handrawer.evaluate.judge_report`. The network that ships has learned hands that are "
        f"malformed in {len(shown)} ways: {', '.join(kind for kind in every if kind in shown)}. The logistic model was "
        f"fitted to {', '.join(TRAINING_KINDS)}. The test's hands are {', '.join(KINDS)}, with other poses and seeds.",
        "", f"The bar is an area under the ROC curve of {BAR} on kinds that were not used. {len(train.kind)} hands for "
        f"the logistic fit, {len(test.kind)} for the test.", "",
        f"Hands that were found at all: {found}. A hand that is not found has the quality 0.",
        "", "## The judge that ships, on pictures of kinds that it has " + ("not seen" if unseen else "seen"), "",
        *head, *rows_of_kinds(train, test),
    ]  # fmt: skip
    for number, other in enumerate(again, start=2):
        lines += ["", f"## The same, test number {number}, with another seed", "", *head, *rows_of_kinds(train, other)]
    if LEARNED in test.sound:
        lines += ["", "## After learning the four kinds too", "", *head, *rows_of_kinds(train, test, LEARNED)]
    left_out = rows_left_out(train, test)
    if left_out:
        lines += ["", "## Leave one kind out", "", "The network was shown the other three as well.", "",
                  "| left out | that kind | the three that were shown |", "| --- | --- | --- |", *left_out]  # fmt: skip
    if blind is not None:
        lines += ["", "## Pictures of the small model, labelled blind", "", *blind_lines(*blind)]
    if pictures:
        lines += ["", "## Single pictures, none of them synthetic", "", CAUTION, ""]
        lines += [
            "| picture | quality | hands | what is said |",
            "| --- | --- | --- | --- |",
            *rows_of_pictures(pictures),
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured")
    parser.add_argument("out", help="folder of the report, with labels.json")
    parser.add_argument("--again", nargs="+", default=[], help="tests with other seeds, as MEASURED")
    parser.add_argument("--blind", help="a folder of judge_blind")
    parser.add_argument("--pictures", help="a folder of pictures to judge too")
    arguments = parser.parse_args()
    folder = Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    names = (".jpg", ".png")
    pictures = (
        [p for p in sorted(Path(arguments.pictures).iterdir()) if p.suffix in names] if arguments.pictures else []
    )
    blind = None
    if arguments.blind:
        measured = load_measured(str(Path(arguments.blind) / "measured.safetensors"))["mini"]
        blind = qualities(judge_model(), measured), folder / "labels.json"
    again = [load_measured(path)["test"] for path in arguments.again]
    text = report(load_measured(arguments.measured), pictures, blind, again)
    (folder / "report.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
