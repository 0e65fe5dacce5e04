import numpy as np
import pytest
import torch
from PIL import Image

from handrawer.hand.hands import hand_from_gesture
from handrawer.render.pictures import ALPHA_GREY, load_picture, place_picture, save_picture, sheet


def test_a_saved_picture_comes_back(tmp_path, generator):
    picture = torch.rand(1, 7, 5, 3, generator=generator)
    back = load_picture(save_picture(tmp_path / "new" / "a.png", picture))
    assert back.shape == (1, 7, 5, 3) and back.dtype == torch.float32
    assert (back - picture).abs().max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 1), (1, 7, 5), (1, 7, 5, 1), (1, 5, 3, 1), (1, 1, 1, 3), (3, 4, 3)])
def test_one_channel_and_leading_one_are_understood(tmp_path, shape):
    picture = torch.linspace(0, 1, int(np.prod(shape))).reshape(shape)
    back = load_picture(save_picture(tmp_path / "a.png", picture))
    sides = [side for side in shape if side not in (1,)] if shape != (1, 1, 1, 3) else [1, 1]
    assert list(back.shape[1:3]) == (sides[:2] if len(sides) >= 2 else [1, 1])
    assert float(back.max()) == 1


def test_values_outside_are_clamped(tmp_path):
    picture = torch.tensor([[-1.0, 2.0, float("nan")]])[..., None]
    assert load_picture(save_picture(tmp_path / "a.png", picture))[0, 0, :, 0].tolist() == [0, 1, 0]


@pytest.mark.parametrize("shape", [(2, 4, 4, 3), (4, 4, 2), (4,), (4, 4, 4)])
def test_what_is_no_picture_is_not_saved(tmp_path, shape):
    with pytest.raises(ValueError, match="a picture must be"):
        save_picture(tmp_path / "a.png", torch.zeros(shape))


def test_exif_turns_the_picture_upright(tmp_path):
    image = Image.fromarray(np.zeros((4, 6, 3), np.uint8))
    image.putpixel((0, 0), (255, 0, 0))
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was held so that the upper left corner is the upper right one
    image.save(tmp_path / "a.png", exif=exif)
    picture = load_picture(tmp_path / "a.png")
    assert picture.shape == (1, 6, 4, 3)
    assert picture[0, 0, 3].tolist() == [1, 0, 0]


def test_alpha_is_laid_over_grey(tmp_path):
    image = Image.fromarray(np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [255, 255, 255, 51]]], np.uint8))
    image.save(tmp_path / "a.png")
    got = load_picture(tmp_path / "a.png")[0, 0]
    assert torch.allclose(got[0], torch.tensor([1.0, 0, 0]))
    assert torch.allclose(got[1], torch.full((3,), ALPHA_GREY))
    assert torch.allclose(got[2], torch.full((3,), 0.2 + 0.8 * ALPHA_GREY))


def test_grey_palette_and_16_bit(tmp_path):
    Image.fromarray(np.array([[0, 51, 255]], np.uint8)).save(tmp_path / "grey.png")
    assert torch.allclose(load_picture(tmp_path / "grey.png")[0, 0, :, 1], torch.tensor([0, 0.2, 1]))
    Image.fromarray(np.array([[0, 13107, 65535]], np.uint16)).save(tmp_path / "deep.png")
    deep = load_picture(tmp_path / "deep.png")
    assert deep.shape == (1, 1, 3, 3)
    assert torch.allclose(deep[0, 0, :, 2], torch.tensor([0, 0.2, 1]), atol=1e-4)
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.save(tmp_path / "palette.png", transparency=1)
    got = load_picture(tmp_path / "palette.png")[0, 0]
    assert got[0].tolist() == [1, 0, 0] and got[1].tolist() == [ALPHA_GREY] * 3


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n broken"])
def test_what_is_no_picture_gets_a_sentence(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.png is not a picture"):
        load_picture(tmp_path / "a.png")


def test_a_cut_off_file_gets_a_sentence(tmp_path, generator):
    path = save_picture(tmp_path / "a.png", torch.rand(64, 64, 3, generator=generator))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"a\.png is not a picture"):
        load_picture(path)


def test_a_missing_file_gets_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file"):
        load_picture(tmp_path / "none.png")
    with pytest.raises(FileNotFoundError, match="There is no file"):
        load_picture(tmp_path)


def test_a_sheet_holds_every_picture_and_label():
    colours = [torch.tensor(c).expand(40, 60, 3) for c in ([1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0])]
    bare = sheet(colours, 2)
    assert bare.shape == (1, 2 * 40 + 3 * 8, 2 * 60 + 3 * 8, 3)
    for colour in ([1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]):
        assert int((bare == torch.tensor(colour)).all(-1).sum()) == 40 * 60
    labelled = sheet(colours, 2, ["one", "two", "a longer label that must be broken into lines"], title="All")
    assert labelled.shape[1] > bare.shape[1]
    dark = (labelled[0] < 0.3).all(-1)
    assert dark[:, : labelled.shape[2] // 2].any() and dark[:, labelled.shape[2] // 2 :].any()


def test_a_sheet_keeps_the_shape_of_pictures():
    got = sheet([torch.zeros(20, 80, 3), torch.zeros(80, 20)], 2, cell=40)
    black = (got[0] == 0).all(-1)
    assert int(black.sum()) == 40 * 10 + 10 * 40


def test_a_sheet_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="at least one picture"):
        sheet([], 2)
    with pytest.raises(ValueError, match="as many labels"):
        sheet([torch.zeros(4, 4)], 2, ["a", "b"])


@pytest.mark.parametrize("mode", ["contain", "cover", "crop"])
@pytest.mark.parametrize("size", [(300, 200), (256, 256), (77, 131), (900, 500)])
def test_a_picture_moves_like_its_hands(mode, size):
    """A dot is found again where the placement puts a point of the hands."""
    width, height = size
    frame = hand_from_gesture("open", "right", 300, 200, centre=(0.48, 0.45), size=0.5)
    point = torch.tensor([0.47, 0.44])
    x, y = torch.meshgrid(torch.arange(300) + 0.5, torch.arange(200) + 0.5, indexing="xy")
    dot = torch.exp(-((x - point[0] * 300) ** 2 + (y - point[1] * 200) ** 2) / (2 * 4.0**2))
    placement = frame.placement(width, height, mode)
    moved = place_picture(dot[None, :, :, None].expand(1, -1, -1, 3), placement)[0, ..., 0]
    assert moved.shape == (height, width)
    x, y = torch.meshgrid(torch.arange(width) + 0.5, torch.arange(height) + 0.5, indexing="xy")
    found = torch.stack([(moved * x).sum() / moved.sum() / width, (moved * y).sum() / moved.sum() / height])
    assert (found - placement.points(point)).abs().max() * max(size) < 0.25  # pixels


@pytest.mark.parametrize("background", [0.0, 0.5])
def test_outside_the_picture_is_background(background):
    frame = hand_from_gesture("open", "right", 300, 200)
    moved = place_picture(torch.ones(2, 200, 300, 3), frame.placement(300, 300), background)
    assert torch.equal(moved[:, :49], torch.full((2, 49, 300, 3), background))
    assert torch.equal(moved[:, 51:249], torch.ones(2, 198, 300, 3))
    assert torch.equal(moved[:, 251:], torch.full((2, 49, 300, 3), background))
