import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handrawer.adapter.grid import cell_edges, level_cells
from handrawer.adapter.ppzp import (
    box_in_cells,
    covered_cells,
    footprint,
    full_window,
    shares,
    silhouette_share,
)

boxes = st.tuples(st.floats(-0.5, 1.2), st.floats(-0.5, 1.2), st.floats(1e-3, 1), st.floats(1e-3, 1)).map(
    lambda v: torch.tensor([[v[0], v[1], v[0] + v[2], v[1] + v[3]]])
)
sides = st.integers(5, 41)


@settings(deadline=None)
@given(boxes, sides, sides, st.integers(0, 3))
def test_footprint_counts_by_area(box, height, width, level):
    weight = footprint(box, level, height, width)[0]
    assert weight.shape == (level_cells(level, height), level_cells(level, width))
    assert float(weight.min()) >= 0 and float(weight.max()) <= 1 + 1e-5
    x0, y0, x1, y1 = box_in_cells(box, height, width)[0].tolist()
    expected = 1.0
    for low, high, cells in ((x0, x1, weight.shape[1]), (y0, y1, weight.shape[0])):
        edges = cell_edges(level, cells)
        expected *= max(0.0, min(high, float(edges[-1])) - max(low, float(edges[0])))
    assert abs(float(weight.sum()) * 4.0**level - expected) < 1e-3 * max(1.0, expected)


def test_a_hand_smaller_than_a_cell_counts_by_its_area():
    """A quarter of a cell wide and half a cell high, within one cell of level 2."""
    cell = torch.tensor([[10.6, 14.6, 11.6, 16.6]]) / 32
    weight = footprint(cell, 2, 32, 32)[0]
    assert torch.allclose(weight[4, 3], torch.tensor(0.125))
    assert int((weight > 0).sum()) == 1


@settings(deadline=None)
@given(boxes, sides, sides, st.integers(0, 3))
def test_covered_cells_hold_the_whole_footprint(box, height, width, level):
    weight = footprint(box, level, height, width)[0]
    part = covered_cells(box_in_cells(box, height, width), full_window(level, height, width))
    if part is None:
        assert not bool(weight.any())
        return
    inside = weight[part.top : part.top + part.height, part.left : part.left + part.width]
    assert bool((inside > 0).all())
    outside = weight.clone()
    outside[part.top : part.top + part.height, part.left : part.left + part.width] = 0
    assert not bool(outside.any())


def test_silhouettes_are_area_averages():
    """A hand that fills the left half of its box: the box covers 2 x 1 cells of level 0, shifted by half a cell."""
    visible = torch.zeros(1, 8, 8)
    visible[..., :4] = 1
    box = torch.tensor([[1.5, 1.0, 3.5, 2.0]])
    share = silhouette_share(visible, box, full_window(0, 3, 5))[0]
    assert torch.allclose(share[1], torch.tensor([0, 0.5, 0.5, 0, 0]), atol=1e-6)
    assert not bool(share[[0, 2]].any())


def _maps(*rows):
    return torch.tensor(rows, dtype=torch.float32)[:, None, :]


def test_alone_a_hand_gets_exactly_one():
    generator = torch.Generator().manual_seed(0)
    coverage = torch.rand(1, 40, 40, generator=generator)
    silhouette = torch.rand(1, 40, 40, generator=generator) * coverage
    share = shares(coverage, silhouette, torch.zeros(1, dtype=torch.int64), 1)
    assert torch.equal(share, torch.ones_like(share))


def test_what_no_hand_covers_goes_to_the_boxes():
    coverage = _maps([1.0, 1, 0, 0.5], [1.0, 0, 0, 1])
    silhouette = _maps([0.75, 0.25, 0, 0], [0.25, 0, 0, 0])
    share = shares(coverage, silhouette, torch.zeros(2, dtype=torch.int64), 1)
    expected = _maps([0.75, 1, 0, 1 / 3], [0.25, 0, 0, 2 / 3])
    assert torch.allclose(share, expected)
    background = shares(coverage, silhouette * 0.5, torch.zeros(2, dtype=torch.int64), 1)
    # Half of the first cell is silhouettes (3/8 and 1/8), the other half is shared by the boxes.
    assert torch.allclose(background[:, 0, 0], torch.tensor([0.625, 0.375]))


def test_overlapping_silhouettes_are_shared():
    share = shares(_maps([1.0], [1.0]), _maps([1.0], [0.5]), torch.zeros(2, dtype=torch.int64), 1)
    assert torch.allclose(share.flatten(), torch.tensor([2 / 3, 1 / 3]))


def test_pictures_do_not_mix():
    coverage, silhouette = _maps([1.0], [0.5], [0.5]), _maps([0.5], [0.5], [0.25])
    share = shares(coverage, silhouette, torch.tensor([1, 0, 0]), 2)
    assert float(share[0]) == 1
    assert torch.allclose(share[1] + share[2], torch.ones(1))
