"""`python -m handrawer evaluate FOLDER`: how good the hands in a folder of pictures are; and blind comparisons."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import Refusal
from .files import new_folder
from .progress import import_libraries, progress_bar, without_chatter

if TYPE_CHECKING:
    from torch import Tensor

    from ..evaluate.distances import Clip, Distance
    from ..evaluate.folder_report import Gallery
    from ..evaluate.folders import Row

CROP_MARGIN = 0.25  # around a hand, shares of its box, for FID and KID over hands


def run(arguments: argparse.Namespace) -> int:
    """A folder's report; or a blind page, or what its answers say."""
    what, *more = arguments.what
    try:
        if what == "blind":
            return _blind(arguments, more)
        if what == "answers":
            return _answers(arguments, more)
        if more:
            raise Refusal("evaluate takes one folder; the references go behind --reference.")
        import_libraries("torch")
        folder = evaluate(Path(what), arguments)
    except (ValueError, FileNotFoundError, ImportError) as error:
        raise Refusal(str(error)) from error
    print((folder / "report.md").read_text(encoding="utf-8"))
    print(f"Written to {folder}: report.json, report.md, report.html.")
    return 0


def evaluate(source: Path, arguments: argparse.Namespace) -> Path:
    """Measure a folder and write its report.

    Returns:
        The folder of the report.

    Raises:
        ValueError, FileNotFoundError, ImportError: with a sentence.
    """
    from ..evaluate import folder_report
    from ..evaluate.distances import Clip
    from ..evaluate.folders import Wanted, captions_of

    wanted = Wanted(arguments.wanted) if arguments.wanted else None
    clip = Clip(arguments.clip) if arguments.clip else None
    features = _Features(arguments) if arguments.reference else None
    captions = captions_of(source) if clip else {}
    gallery = folder_report.Gallery()
    rows = _measure(source, "Looking for hands", wanted, clip, captions, features, gallery)
    if not rows:
        raise ValueError(f"No picture of {source} can be read.")
    distances: dict[str, Distance | None] = {}
    if features is not None:
        mine = features.take()
        _measure(arguments.reference, "Looking at the reference", None, None, {}, features, None)
        distances = features.distances(mine, features.take())
    result = folder_report.summary(rows, distances)
    folder = new_folder(arguments.out or Path("handrawer_evaluation"))
    told = result | {"folder": str(source), "rows": [row.to_dict() for row in rows]}
    (folder / "report.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(folder_report.markdown(result, str(source)), encoding="utf-8")
    (folder / "report.html").write_text(folder_report.page(result, rows, gallery, str(source)), encoding="utf-8")
    return folder


def _measure(source, title, wanted, clip: Clip | None, captions, features: _Features | None, gallery: Gallery | None):
    from ..evaluate.folders import measure

    rows: list[Row] = []
    score = clip.score if clip else None
    with without_chatter(), progress_bar(title) as progress:
        for row, picture in measure(source, wanted, score=score, captions=captions, progress=progress):
            rows.append(row)
            if features is not None:
                features.add(row, picture)
            if gallery is not None:
                gallery.add(row, picture)
    return rows


class _Features:
    """Features of whole pictures and of the hands in them."""

    def __init__(self, arguments: argparse.Namespace):
        from ..evaluate.distances import make_extractor, torchmetrics_image

        torchmetrics_image()
        self.extractor = make_extractor(arguments.features, arguments.clip)
        self._pictures: list[Tensor] = []
        self._crops: list[Tensor] = []

    def add(self, row: Row, picture: Tensor) -> None:
        from ..evaluate.distances import features_of

        self._pictures.append(features_of([picture], self.extractor))
        self._crops += [features_of([crop], self.extractor) for crop in _crops(row, picture)]

    def take(self) -> tuple[Tensor, Tensor]:
        """Features so far, [N, size] of pictures and [M, size] of hands; begins anew."""
        import torch

        empty = torch.zeros(0, self.extractor.size)
        taken = torch.cat([empty, *self._pictures]), torch.cat([empty, *self._crops])
        self._pictures, self._crops = [], []
        return taken

    def distances(self, mine: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor]) -> dict[str, Distance | None]:
        from ..evaluate.distances import distance

        names = ("pictures", "hand crops")
        return {n: distance(a, b, self.extractor) for n, a, b in zip(names, mine, theirs, strict=True)}


def _crops(row: Row, picture: Tensor) -> list[Tensor]:
    """Square pieces around the hands."""
    from ..hand.camera import crop_around
    from ..render.pictures import place_picture

    crops = []
    for hand in row.frame.hands:
        low, high = hand.joints_2d.amin(0), hand.joints_2d.amax(0)
        box = [*low.tolist(), *high.tolist()]
        placement = crop_around(box, row.width, row.height, 224, 224, CROP_MARGIN)
        crops.append(place_picture(picture[None], placement, 0.5)[0])
    return crops


def _blind(arguments: argparse.Namespace, folders: list[str]) -> int:
    if len(folders) != 2:
        raise Refusal("evaluate blind takes two folders: evaluate blind A B --out page.html.")
    from ..evaluate.blind import QUESTION, write_page

    out = arguments.out or Path("blind.html")
    if out.suffix.lower() not in (".html", ".htm"):
        raise Refusal(f"the page must be a file that ends in .html, not {out}.")
    key, count = write_page(
        Path(folders[0]), Path(folders[1]), out, seed=arguments.seed, question=arguments.question or QUESTION,
        limit=arguments.limit,
    )  # fmt: skip
    print(f"{count} pairs in {out}: send it to raters. Keep {key} for yourself: it tells which is which.")
    return 0


def _answers(arguments: argparse.Namespace, files: list[str]) -> int:
    if not files:
        raise Refusal("evaluate answers takes the raters' files: evaluate answers answers.json --key page.key.json.")
    from ..evaluate.blind import count_answers

    if arguments.key is None:
        raise Refusal("evaluate answers needs the page's key: --key page.key.json, written beside the page.")
    preference = count_answers([Path(file) for file in files], arguments.key)
    print(preference.words())
    if arguments.out:
        told = {"a": preference.a, "b": preference.b, "wins_a": preference.wins_a, "wins_b": preference.wins_b,
                "equal": preference.equal, "raters": preference.raters, "share_a": preference.share,
                "interval": preference.interval}  # fmt: skip
        arguments.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 0
