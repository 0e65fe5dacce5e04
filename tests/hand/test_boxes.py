"""Boxes: around, together, clipped, how much of them is inside."""

import pytest
import torch

from handrawer.hand.boxes import box_area, box_around, clip_box, inside_share, longer_side, union_box


def test_around_and_union():
    points = torch.tensor([[0.2, 0.9], [0.5, -0.1], [0.3, 0.4]])
    assert box_around(points).tolist() == pytest.approx([0.2, -0.1, 0.5, 0.9])
    assert box_around(points.expand(4, 3, 2)).shape == (4, 4)
    both = union_box([torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0.0, 0.3, 0.2, 0.9])])
    assert both.tolist() == pytest.approx([0.0, 0.2, 0.3, 0.9])
    with pytest.raises(ValueError, match="no box"):
        union_box([])


def test_clipping_and_shares():
    box = torch.tensor([-0.5, 0.25, 0.5, 0.75])
    assert clip_box(box).tolist() == pytest.approx([0, 0.25, 0.5, 0.75])
    assert float(inside_share(box)) == pytest.approx(0.5)
    outside = torch.tensor([1.2, 0.0, 1.5, 1.0])
    assert float(box_area(clip_box(outside))) == 0
    assert float(inside_share(outside)) == 0
    assert float(inside_share(torch.tensor([0.1, 0.1, 0.1, 0.2]))) == 0, "an empty box is nowhere"


def test_longer_side_is_in_pixels():
    assert float(longer_side(torch.tensor([0.0, 0.0, 0.5, 0.6]), 200, 100)) == pytest.approx(100)
