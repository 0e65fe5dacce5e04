import json
from pathlib import Path

import pytest
from PIL import Image

import handrawer
from handrawer.cli import main
from handrawer.data import atomic


@pytest.fixture
def pictures(tmp_path):
    """A plain folder: a picture of a hand with a caption, and a broken one."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    image = Image.open(Path(handrawer.__file__).parent / "examples" / "hands.png").convert("RGB")
    image.resize((image.width // 2, image.height // 2)).save(folder / "hand.jpg", quality=90)
    (folder / "hand.txt").write_text("a test")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def test_prepare_then_apply(pictures, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["data", "prepare", str(pictures), str(out), "--workers", "1"]) == 0
    assert "2 pictures: 1 kept" in capsys.readouterr().out
    (tmp_path / "d.json").write_text(json.dumps({"decisions": {"hand": "drop"}}))
    assert main(["data", "prepare", "--apply", str(tmp_path / "d.json"), str(out)]) == 0
    assert "0 kept, 0 kept and flagged, 2 dropped" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prepare"], "needs a SOURCE and a folder OUT"),
        (["prepare", "nowhere", "out"], "There is no folder"),
        (["prepare", "--apply", "no.json", "out"], "there is no file no.json"),
        (["prepare", "--apply", "no.json"], "needs the prepared folder"),
    ],
)
def test_refusals_are_one_sentence(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["data", *arguments]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("handrawer data: ") and words in last


def test_an_empty_folder_is_refused(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["data", "prepare", str(tmp_path / "empty"), str(tmp_path / "out")]) == 2
    assert "There are no pictures" in capsys.readouterr().err


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_later(pictures, tmp_path, monkeypatch, capsys):
    import errno
    import os

    real = atomic.os.fsync
    calls = [0]

    def fsync(number):
        calls[0] += 1
        if calls[0] > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(number)

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    command = ["data", "prepare", str(pictures), str(tmp_path / "out"), "--workers", "1"]
    assert main(command) == 2
    assert "is full; make room and run the same command again" in capsys.readouterr().err
    monkeypatch.setattr(atomic.os, "fsync", real)
    assert main(command) == 0


def test_pictures_are_drawn_as_a_folder_that_training_reads(tmp_path, capsys):
    from handrawer.train.config import DataConfig
    from handrawer.train.sources import FolderSource

    out = tmp_path / "drawn"
    options = '{"two_hands": 1, "distortion": 1}'
    assert main(["data", "draw", str(out), "--options", options, "--count", "2", "--size", "64", "--first", "3"]) == 0
    said = capsys.readouterr().out
    assert "Without the lens's distortion" in said and "2 pictures of 64 x 64" in said
    source = FolderSource(out, DataConfig("folder", str(out)), tmp_path)
    example = source.load(0)
    assert example.name == "000003.png" and example.caption.startswith("two hands, a ")
    assert len(example.frame.hands) == 2 and tuple(example.picture().shape) == (64, 64, 3)


def test_a_sheet_shows_every_option(tmp_path, capsys):
    assert main(["data", "draw", str(tmp_path / "each.jpg"), "--each", "--size", "64"]) == 0
    assert "20 pictures" in capsys.readouterr().out and Image.open(tmp_path / "each.jpg").width > 1000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--options", '{"dogs": 1}'], "nor JSON with shares of two_hands"),
        (["--options", '{"people": 3}'], "'data.synthetic.people' is 3.0"),
        (["--size", "100"], "--size must be a multiple of 64"),
    ],
)
def test_drawing_refuses_in_a_sentence(arguments, words, tmp_path, capsys):
    assert main(["data", "draw", str(tmp_path / "out"), *arguments]) == 2
    assert words in capsys.readouterr().err
