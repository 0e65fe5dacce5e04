import numpy as np
import pytest
from PIL import Image

from handrawer.cli.errors import Refusal
from handrawer.cli.files import new_folder, read_picture


def test_a_picture_is_read(tmp_path):
    levels = (np.arange(5 * 7 * 3) * 2).astype(np.uint8).reshape(5, 7, 3)
    Image.fromarray(levels).save(tmp_path / "a.png")
    np.testing.assert_array_equal((read_picture(tmp_path / "a.png")[0].numpy() * 255).round(), levels)


def test_refusals_name_the_file(tmp_path):
    (tmp_path / "text.png").write_text("this is not a picture")
    Image.effect_noise((200, 200), 50).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "folder.png").mkdir()
    for name, words in [
        ("missing.png", "no file"),
        ("text.png", "not a picture"),
        ("cut.png", "not a picture"),
        ("folder.png", "no file"),
    ]:
        with pytest.raises(Refusal, match=words) as refusal:
            read_picture(tmp_path / name)
        assert name in str(refusal.value) and "\n" not in str(refusal.value)


def test_output_folders_are_never_written_over(tmp_path):
    wanted = tmp_path / "deep" / "out"
    first = new_folder(wanted)
    assert first == wanted and first.is_dir()
    assert new_folder(wanted) == wanted, "an empty folder is used"
    (first / "mine.txt").write_text("keep")
    second = new_folder(wanted)
    assert second == tmp_path / "deep" / "out_2"
    (second / "mine.txt").write_text("keep")
    assert new_folder(wanted) == tmp_path / "deep" / "out_3"
    assert (first / "mine.txt").read_text() == "keep"


def test_a_file_in_the_way_of_the_output_folder(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(Refusal, match="is a file"):
        new_folder(tmp_path / "out")
    with pytest.raises(Refusal, match="cannot be made"):
        new_folder(tmp_path / "out" / "below")
