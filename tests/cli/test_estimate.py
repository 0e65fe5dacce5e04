import pytest
import torch
from PIL import Image

from handrawer.cli import main
from handrawer.cli.demo import shipped_picture
from handrawer.cli.estimate import MAPS
from handrawer.cli.files import read_picture
from handrawer.estimate.landmarks import THOROUGHNESS, LandmarkDetector
from handrawer.hand.hands import Hands


def read_results(folder):
    pictures = {name: read_picture(folder / f"{name}.png")[0] for name in MAPS}
    (frame,) = Hands.from_json((folder / "hands.json").read_text(encoding="utf-8")).frames
    return frame, pictures


def test_the_shipped_picture(tmp_path, capsys):
    assert main(["estimate", str(shipped_picture()), "--out", str(tmp_path / "out")]) == 0
    frame, pictures = read_results(tmp_path / "out")
    assert (frame.width, frame.height) == (768, 512)
    assert [hand.side for hand in frame.hands] == ["right", "left"], "a rock sign with the right, the left one open"
    assert all(picture.shape == (512, 768, 3) for picture in pictures.values())
    covered = pictures["mask"][..., 0] > 0.5
    assert 0.05 < covered.float().mean() < 0.4
    assert ((pictures["depth"][..., 0] > 0) == (pictures["mask"][..., 0] > 0)).float().mean() > 0.99
    given = read_picture(shipped_picture())[0]
    changed = (pictures["overlay"] - given).abs().amax(-1) > 0.1
    assert (changed & covered).sum() > 0.5 * covered.sum() and not changed[:10].any()
    text = capsys.readouterr().out
    assert "right" in text and "left" in text and str(tmp_path / "out") in text


@pytest.mark.parametrize("size", [(1, 1), (200, 120)])
def test_no_hand_is_no_error(tmp_path, capsys, size):
    Image.new("RGB", size, (90, 120, 90)).save(tmp_path / "empty.png")
    assert main(["estimate", str(tmp_path / "empty.png"), "--out", str(tmp_path / "out")]) == 0
    frame, pictures = read_results(tmp_path / "out")
    assert not frame.hands and (frame.width, frame.height) == size
    assert all(not pictures[name].any() for name in ("depth", "parts", "skeleton", "mask"))
    torch.testing.assert_close(pictures["overlay"], read_picture(tmp_path / "empty.png")[0])
    assert "No hand was found" in capsys.readouterr().out


def test_results_of_an_earlier_run_stay(tmp_path, capsys):
    Image.new("RGB", (64, 48)).save(tmp_path / "empty.png")
    for name in ("out", "out_2"):
        assert main(["estimate", str(tmp_path / "empty.png"), "--out", str(tmp_path / "out")]) == 0
        assert f"Written to {tmp_path / name}:" in capsys.readouterr().out
        (tmp_path / name / "hands.json").write_text("mine")
    assert (tmp_path / "out" / "hands.json").read_text() == "mine"


@pytest.mark.parametrize("level", THOROUGHNESS)
def test_every_level_is_a_choice_and_reaches_the_detector(tmp_path, monkeypatch, level):
    asked = []

    class Detector(LandmarkDetector):
        def __init__(self, *arguments, **named):
            super().__init__(*arguments, **named)
            asked.append(self.thoroughness)

    monkeypatch.setattr("handrawer.estimate.estimate.LandmarkDetector", Detector)
    Image.new("RGB", (64, 48)).save(tmp_path / "empty.png")
    given = ["estimate", str(tmp_path / "empty.png"), "--out", str(tmp_path / "out"), "--thoroughness", level]
    assert main(given) == 0 and asked == [level]
