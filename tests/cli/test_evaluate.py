import json

import pytest
import torch

from handrawer.cli import main
from handrawer.render.pictures import save_picture


@pytest.fixture
def pictures(tmp_path):
    for name in ("a", "b", "c", "d"):
        save_picture(
            tmp_path / "pictures" / f"{name}.png", torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(1))
        )
    return tmp_path / "pictures"


def test_a_folder_is_evaluated(pictures, tmp_path, capsys):
    out = tmp_path / "report"
    assert (
        main(["evaluate", str(pictures), "--reference", str(pictures), "--features", "landmarks", "--out", str(out)])
        == 0
    )
    printed = capsys.readouterr().out
    assert "4 pictures." in printed and "FID over pictures: 0.00" in printed and "not comparable" in printed
    told = json.loads((out / "report.json").read_text())
    assert len(told["rows"]) == 4 and told["distances"]["hand crops"] is None
    assert (out / "report.html").read_text().startswith("<!doctype html>")


def test_a_blind_page_and_its_answers(pictures, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["evaluate", "blind", str(pictures), str(pictures), "--out", str(page)]) == 0
    key = json.loads((tmp_path / "page.key.json").read_text())
    answers = dict.fromkeys(key["pairs"], "left")
    told = {"format": "handrawer-blind-answers", "page": key["page"], "answers": answers}
    (tmp_path / "answers.json").write_text(json.dumps(told))
    command = ["evaluate", "answers", str(tmp_path / "answers.json"), "--key", str(tmp_path / "page.key.json")]
    assert main([*command, "--out", str(tmp_path / "counted.json")]) == 0
    counted = json.loads((tmp_path / "counted.json").read_text())
    assert counted["wins_a"] + counted["wins_b"] == 4 and "Wilson" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "There is no folder"),
        (["a", "b"], "takes one folder"),
        (["blind", "a"], "takes two folders"),
        (["blind", "a", "b", "--out", "page.pdf"], "ends in .html"),
        (["answers"], "takes the raters' files"),
        (["answers", "a.json"], "needs the page's key"),
        (["answers", "a.json", "--key", "b.json"], "cannot be read"),
        (["pictures", "--wanted", "gone.json"], "no wanted hands"),
        (["pictures", "--clip", "gone"], "CLIP needs a folder"),
    ],
)
def test_refusals_are_one_sentence(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *arguments]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("handrawer evaluate: ") and words in last
