import numpy as np
import pytest
import torch
from PIL import Image

from handrawer.cli.errors import Refusal
from handrawer.cli.files import new_folder, read_picture, to_image, write_picture


@pytest.fixture
def levels():
    """[5, 7, 3] uint8, every pixel different."""
    return (np.arange(5 * 7 * 3) * 2).astype(np.uint8).reshape(5, 7, 3)


def test_a_png_is_read_exactly(tmp_path, levels):
    Image.fromarray(levels).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    assert picture.shape == (1, 5, 7, 3) and picture.dtype == torch.float32
    np.testing.assert_array_equal((picture[0].numpy() * 255).round().astype(np.uint8), levels)


def test_written_and_read_back(tmp_path):
    picture = torch.rand(6, 4, 3, generator=torch.Generator().manual_seed(0))
    write_picture(tmp_path / "b.png", picture)
    assert (read_picture(tmp_path / "b.png")[0] - picture).abs().max() <= 0.5 / 255 + 1e-6


def test_a_grey_map_becomes_a_picture_and_values_outside_are_clipped():
    image = to_image(torch.tensor([[-1.0, 0.5, 2.0]]))
    assert image.mode == "RGB" and [image.getpixel((x, 0))[0] for x in range(3)] == [0, 128, 255]


def test_exif_orientation_is_followed(tmp_path, levels):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: to be turned clockwise
    Image.fromarray(levels).save(tmp_path / "c.png", exif=exif)
    picture = read_picture(tmp_path / "c.png")[0].numpy()
    np.testing.assert_array_equal((picture * 255).round().astype(np.uint8), np.rot90(levels, -1))


def test_an_alpha_channel_is_dropped(tmp_path, levels):
    alpha = np.full((5, 7, 1), 40, np.uint8)
    Image.fromarray(np.concatenate([levels, alpha], -1)).save(tmp_path / "d.png")
    picture = read_picture(tmp_path / "d.png")[0].numpy()
    np.testing.assert_array_equal((picture * 255).round().astype(np.uint8), levels)


def test_sixteen_bit_greys_keep_their_range(tmp_path):
    grey = np.array([[0, 32768, 65535]], np.uint16)
    Image.fromarray(grey).save(tmp_path / "e.png")
    picture = read_picture(tmp_path / "e.png")[0]
    torch.testing.assert_close(picture[0, :, 0], torch.tensor([0.0, 0.5, 1.0]), atol=0.01, rtol=0)


def test_a_one_pixel_picture_is_a_picture(tmp_path):
    Image.new("RGB", (1, 1), (255, 0, 0)).save(tmp_path / "f.png")
    assert read_picture(tmp_path / "f.png").tolist() == [[[[1.0, 0.0, 0.0]]]]


def test_refusals_name_the_file(tmp_path, levels):
    (tmp_path / "text.png").write_text("this is not a picture")
    Image.fromarray(np.tile(levels, (40, 40, 1))).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    for name, words in [
        ("missing.png", "there is no file"),
        ("text.png", "is not a picture"),
        ("cut.png", "may be damaged"),
        ("", "is a folder"),
    ]:
        path = tmp_path / name
        with pytest.raises(Refusal, match=words) as refusal:
            read_picture(path)
        assert str(path) in str(refusal.value)


def test_an_absurdly_large_picture_is_refused(tmp_path, levels, monkeypatch):
    Image.fromarray(levels).save(tmp_path / "g.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    with pytest.raises(Refusal, match="scale it down"):
        read_picture(tmp_path / "g.png")


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
