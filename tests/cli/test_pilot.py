import json
from pathlib import Path

import pytest
from PIL import Image, ImageEnhance

import handrawer
from handrawer.cli import main


@pytest.fixture
def pictures(tmp_path):
    """Three pictures of two hands, unlike enough not to be taken for copies."""
    image = Image.open(Path(handrawer.__file__).parent / "examples" / "hands.png").convert("RGB").resize((256, 192))
    folder = tmp_path / "pictures"
    folder.mkdir()
    image.save(folder / "a.png")
    image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "b.png")
    ImageEnhance.Color(image.transpose(Image.Transpose.ROTATE_180)).enhance(0.5).save(folder / "c.png")
    return folder


def test_a_pilot_goes_all_the_way_and_writes_one_report(pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("handrawer.evaluate.pilot.step_operations", lambda base, size: 1e12)
    out = tmp_path / "pilot"
    command = ["pilot", str(pictures), "--out", str(out), "--steps", "1", "--batch", "1", "--held-out", "1"]
    assert main([*command, "--sampling-steps", "1", "--workers", "1", "--device", "cpu"]) == 0
    words = (out / "report.md").read_text()
    assert "3 pictures, base `mini`, on cpu" in words and "mini draws synthetic hands" in words
    told = json.loads((out / "report.json").read_text())
    assert told["steps"] == 1 and Path(told["adapter_file"]).is_file() and (out / "data" / "index.html").is_file()
    assert "Written to" in capsys.readouterr().out


def test_a_base_that_is_not_there_is_refused(pictures, capsys):
    assert main(["pilot", str(pictures), "--base", "no/model.safetensors"]) == 2
    assert "there is no base model" in capsys.readouterr().err
