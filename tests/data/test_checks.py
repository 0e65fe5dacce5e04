import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from handrawer.data.checks import Check, check_picture
from handrawer.data.duplicates import Duplicates
from handrawer.data.pictures import rgb, usable


def scene(seed, size=(200, 160)):
    """A smooth picture with a few shapes, unlike those of other seeds."""
    chance = np.random.default_rng(seed)
    small = Image.fromarray(chance.integers(30, 220, (6, 8, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def file_of(image, form="JPEG", **settings):
    file = io.BytesIO()
    image.save(file, form, **settings)
    return file.getvalue()


def deep(seed):
    """The same with 16 bits a pixel."""
    return Image.fromarray(np.asarray(scene(seed).convert("L"), np.uint16) * 257)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (None, "missing"),
        (b"", "unreadable"),
        (b"<html>gone</html>", "unreadable"),
        (file_of(scene(1))[:-800], "unreadable"),
        (file_of(scene(1), "PNG")[:3000], "unreadable"),
        (file_of(scene(1, (300, 63))), "tiny"),
        (file_of(Image.new("RGB", (90, 90), (3, 4, 5))), "blank"),
        (file_of(scene(1)), ""),
        (file_of(scene(1), "PNG"), ""),
        (file_of(scene(1).convert("L"), "WEBP"), ""),
        (file_of(deep(1), "PNG"), ""),
        (file_of(Image.fromarray(np.asarray(deep(1), np.float32) / 65535), "TIFF"), ""),
    ],
)
def test_certain_faults(data, fault):
    check = check_picture("k", data)
    assert check.fault == fault and bool(check.detail) == bool(fault)
    assert Check(**check.to_dict()) == check


def test_words_on_a_fault_are_the_same_every_time():
    one, two = (check_picture("k", b"no picture") for _ in range(2))
    assert one.detail == two.detail and "0x" not in one.detail


def test_a_turned_picture_is_as_large_as_it_is_seen():
    exif = Image.Exif()
    exif[0x0112] = 6
    check = check_picture("k", file_of(scene(1, (200, 100)), exif=exif))
    assert (check.width, check.height) == (100, 200)
    image, ending, data = usable(file_of(scene(1, (200, 100)), exif=exif))
    assert image.size == (100, 200) and ending == "jpg" and Image.open(io.BytesIO(data)).size == (100, 200)


def test_copies_are_found_and_others_are_not():
    seen = Duplicates()
    pictures = {f"p{n}": scene(n) for n in range(60)}
    for key, image in pictures.items():
        assert seen.first_of(check_picture(key, file_of(image, quality=92))) is None
    image = pictures["p7"]
    copies = [
        file_of(image, quality=92),
        file_of(image, quality=40),
        file_of(image, "PNG"),
        file_of(image.resize((130, 104))),
        file_of(ImageEnhance.Brightness(image).enhance(1.1)),
    ]
    for data in copies:
        assert seen.first_of(check_picture("copy", data)) == "p7"
    assert seen.first_of(check_picture("mirrored", file_of(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))) is None
    assert seen.first_of(check_picture("cropped", file_of(image.crop((40, 30, 200, 158))))) is None


def test_own_bytes_stay_where_they_can():
    for form, ending in (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")):
        data = file_of(scene(3), form)
        assert usable(data)[1:] == (ending, data)
    large = usable(file_of(scene(3)), longest=100)
    assert large[0].size == (100, 80) and large[2] != file_of(scene(3))
    assert usable(file_of(scene(3), "BMP"))[1] == "png"


def test_pictures_of_odd_kinds_become_rgb():
    values = np.full((4, 4), 0.5, np.float32)
    values[0, 0] = np.nan
    assert np.asarray(rgb(Image.fromarray(values)))[..., 0].tolist()[0][:2] == [0, 128]
    deep = np.full((4, 4), 65535, np.uint16)
    assert np.asarray(rgb(Image.fromarray(deep))).min() == 255
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert np.asarray(rgb(clear)).tolist()[0][0] == [128, 128, 128]
