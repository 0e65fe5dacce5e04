"""Which part of a map a row of a UNet call sees. The host is needed for nothing but importing the package."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

SIDE = 40  # latent cells


def ramp(level: int) -> torch.Tensor:
    """[1, 2, Y, X]: each cell holds its centre's place on the latent, column then row."""
    cells = SIDE
    for _ in range(level):
        cells = (cells + 1) // 2
    places = torch.arange(cells) * 2.0**level
    return torch.stack([places[None].expand(cells, -1), places[:, None].expand(-1, cells)])[None]


def added(windows, level: int, top: int, left: int, height: int, width: int, size=None) -> torch.Tensor:
    place = torch.stack(
        [
            torch.arange(left, left + width)[None].expand(height, -1),
            torch.arange(top, top + height)[:, None].expand(-1, width),
            torch.zeros(height, width),
        ]
    ).int()[None]
    rows = windows.CallRows.read(place, torch.zeros(1, 1, dtype=torch.int32), SIDE, SIDE, 1)
    usual = [windows.level_cells(level, side) for side in (height, width)]
    h = torch.zeros(1, 2, *(size or usual))
    return windows.rows_of([ramp(level)], rows, level, h)[0]


@settings(max_examples=200, deadline=None)
@given(data=st.data(), level=st.integers(0, 3))
def test_any_window_sees_every_cell_where_the_unet_has_it(windows, data, level: int):
    """Cell j of level l of a window from latent cell t is centred on t + 2^l j, whatever t: exact on a ramp."""
    height, width = data.draw(st.integers(4, SIDE)), data.draw(st.integers(4, SIDE))
    top, left = data.draw(st.integers(0, SIDE - height)), data.draw(st.integers(0, SIDE - width))
    found = added(windows, level, top, left, height, width)
    last = float(ramp(level).max())  # beyond the whole map's last cell nothing more is known
    x = (left + torch.arange(found.shape[2]) * 2.0**level).clamp(max=last)
    y = (top + torch.arange(found.shape[1]) * 2.0**level).clamp(max=last)
    assert (found[0] - x).abs().max() < 1e-4
    assert (found[1] - y[:, None]).abs().max() < 1e-4


def test_half_the_size_sees_the_same_extent(windows):
    found = added(windows, 1, 0, 0, SIDE, SIDE, size=(10, 10))
    x = torch.arange(10) * 4.0 + 1.0  # the middle of two cells each
    assert torch.allclose(found[0], x.expand(10, -1), atol=1e-4)


def test_rows_take_their_own_variant_picture_and_nothing(windows):
    maps = torch.arange(2 * 2 * 3 * 3, dtype=torch.float32).reshape(2, 2, 3, 3)
    place = torch.zeros(4, 3, 3, 3, dtype=torch.int32)
    place[:, 0], place[:, 1] = torch.arange(3), torch.arange(3)[:, None]
    place[:, 2] = torch.tensor([0, 1, 2, 0])[:, None, None]
    variant = torch.tensor([[0], [0], [0], [1]])
    rows = windows.CallRows.read(place, variant, 3, 3, 2)
    h = torch.ones(4, 2, 3, 3)
    found = windows.add_all(h, [(windows.rows_of([maps, None], rows, 0, h), 2.0)])
    for row, expected in enumerate([maps[0], maps[1], maps[0], torch.zeros_like(maps[0])]):
        assert torch.equal(found[row], 1 + 2 * expected)
    assert torch.equal(h, torch.ones(4, 2, 3, 3)), "the features are not changed in place"
    assert windows.rows_of([None, None], rows, 0, h) is None
    assert windows.add_all(h, []) is h


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_stay_so(windows, dtype):
    place = torch.zeros(1, 3, 3, 3, dtype=torch.int32)
    rows = windows.CallRows.read(place, torch.zeros(1, 1, dtype=torch.int32), 3, 3, 1)
    maps = torch.rand(1, 2, 3, 3).to(dtype)
    h = torch.zeros(1, 2, 3, 3, dtype=dtype)
    part = windows.rows_of([maps], rows, 0, h)
    assert windows.add_all(h, [(part, 0.5)]).dtype == windows.add_all(h, [(part, 0.5), (part, 0.25)]).dtype == dtype


def test_masks_weigh_cells_by_what_they_cover(windows):
    whole = torch.rand(2, 3, 20, 20)  # level 1 of a latent of 40 cells
    ones, none = torch.ones(1, 7, 5), torch.zeros(1, 64, 64)
    assert torch.equal(windows.mask_map(whole, ones, 1, 40, 40), whole)
    assert not windows.mask_map(whole, none, 1, 40, 40).any()
    left = torch.cat([torch.ones(1, 40, 20), torch.zeros(1, 40, 20)], dim=2)
    found = windows.mask_map(whole, left, 1, 40, 40)
    # cell j is centred on latent position 2 j + 0.5 and two cells wide: cell 10 begins at 19.5, a quarter is white
    assert torch.equal(found[..., :10], whole[..., :10]) and not found[..., 11:].any()
    assert torch.allclose(found[..., 10], whole[..., 10] * 0.25)
    three = torch.rand(3, 8, 8)
    assert windows.mask_map(whole, three, 1, 40, 40).shape == (6, 3, 20, 20)
