import numpy as np
import torch

from handrawer.cli.sheet import Row, draw_sheet


def find(sheet, colour):
    """Bounding box (left, top, right, bottom) of the pixels of one colour."""
    ys, xs = np.nonzero((np.asarray(sheet) == np.array(colour)).all(-1))
    return xs.min(), ys.min(), xs.max() + 1, ys.max() + 1


def test_pictures_keep_their_size_and_stand_side_by_side():
    red = torch.zeros(40, 30, 3)
    red[..., 0] = 1
    blue = torch.zeros(40, 30, 3)
    blue[..., 2] = 1
    sheet = draw_sheet("title", "note", [Row("one", [red, blue], ["a", "b"]), Row("two", [torch.ones(20, 50)], ["c"])])
    left, top, right, bottom = find(sheet, (255, 0, 0))
    assert (right - left, bottom - top) == (30, 40)
    other = find(sheet, (0, 0, 255))
    assert other[1] == top and other[0] > right
    white = find(sheet, (255, 255, 255))
    assert white[1] > bottom and white[2] <= sheet.width and white[3] <= sheet.height


def test_long_titles_fit():
    sheet = draw_sheet("t" * 200, "n", [Row("r", [torch.zeros(4, 4)], [""])])
    pixels = np.asarray(sheet)
    assert (pixels[:, -6:] == pixels[0, 0]).all(), "nothing is written into the right margin"
