import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handrawer.hand.hands import Frame, Hands, hand_from_gesture
from handrawer.render.masks import blur, box_mask, dilate


def boxed(box, width=40, height=30, **changes) -> Frame:
    hand = hand_from_gesture("open", width=width, height=height).hands[0]
    return Frame(width, height, (hand.replace(box=torch.tensor(box), **changes),))


def test_a_box_covers_its_area_to_the_sub_pixel():
    frame = boxed((0.21, 0.13, 0.66, 0.88))
    mask = box_mask(frame, padding=0)[0]
    assert mask.shape == (30, 40)
    assert float(mask.sum()) == pytest.approx(0.45 * 40 * 0.75 * 30, rel=1e-5)
    # Its middle is the box's middle.
    x = (mask.sum(0) * (torch.arange(40) + 0.5)).sum() / mask.sum()
    y = (mask.sum(1) * (torch.arange(30) + 0.5)).sum() / mask.sum()
    assert (float(x), float(y)) == pytest.approx((40 * 0.435, 30 * 0.505), abs=0.01)


def test_padding_is_a_share_of_the_longer_side():
    frame = boxed((0.4, 0.4, 0.6, 0.6))  # 8 x 6 pixels
    assert float(box_mask(frame, padding=0.25).sum()) == pytest.approx(12 * 10, rel=1e-5)
    assert float(box_mask(frame, padding=-0.25).sum()) == pytest.approx(4 * 2, rel=1e-5)


def test_feather_lies_outside():
    frame = boxed((0.375, 0.4, 0.625, 0.6))  # pixels 15..25 x 12..18
    mask = box_mask(frame, padding=0, feather=5)[0]
    assert (mask[12:18, 15:25] == 1).all()
    row = mask[15, 25:]
    assert (row[:5].diff() < 0).all() and row[0] > 0.9 and (row[5:] == 0).all()
    assert mask[10, 27] < mask[15, 27]  # round corners


def test_boxes_over_the_edge_disabled_hands_and_no_hands():
    assert box_mask(boxed((-3.0, -2.0, 5.0, 4.0))).min() == 1
    assert box_mask(boxed((2.0, 2.0, 3.0, 3.0))).max() == 0
    assert box_mask(boxed((0.0, 0.0, 1.0, 1.0), enabled=False)).max() == 0
    assert box_mask(Hands((Frame(4, 3), Frame(4, 3)))).shape == (2, 3, 4)
    assert box_mask(boxed((0.0, 0.0, 1.0, 1.0)), 7, 5).shape == (1, 5, 7)


def test_overlapping_boxes_are_a_union():
    one, two = boxed((0.1, 0.1, 0.5, 0.5)), boxed((0.4, 0.4, 0.8, 0.8))
    both = Frame(40, 30, one.hands + two.hands)
    assert torch.equal(box_mask(both), torch.maximum(box_mask(one), box_mask(two)))


def slow_dilation(mask, radius):
    """The greatest value within a disc, one offset at a time."""
    height, width = mask.shape
    out = mask.clone()
    for y in range(height):
        for x in range(width):
            for v in range(height):
                for u in range(width):
                    if (u - x) ** 2 + (v - y) ** 2 <= radius**2:
                        out[y, x] = torch.maximum(out[y, x], mask[v, u])
    return out


@pytest.mark.parametrize("radius", [0, 0.5, 1, 1.5, 2, 2.9, 4, 20])
def test_dilation_is_a_disc(generator, radius):
    mask = torch.rand(7, 9, generator=generator) ** 4
    assert torch.equal(dilate(mask, radius), slow_dilation(mask, radius))
    assert torch.equal(dilate(mask[None, None].expand(2, 3, -1, -1), radius)[1, 2], dilate(mask, radius))


def test_dilation_of_a_point_is_round():
    mask = torch.zeros(101, 101)
    mask[50, 50] = 1
    grown = dilate(mask, 40)
    assert float(grown.sum()) == pytest.approx(math.pi * 40**2, rel=0.01)
    assert torch.equal(grown, grown.T)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 12), st.integers(1, 12), st.floats(0, 6), st.integers(0, 99))
def test_growing_never_loses_and_shrinking_never_adds(height, width, radius, seed):
    mask = torch.rand(height, width, generator=torch.Generator().manual_seed(seed))
    assert (dilate(mask, radius) >= mask).all()
    assert (dilate(mask, -radius) <= mask + 1e-6).all()


def test_shrinking_leaves_the_edge_of_the_picture():
    mask = torch.zeros(9, 9)
    mask[:, :5] = 1
    assert torch.equal(dilate(mask, -2)[4], torch.tensor([1.0, 1, 1, 0, 0, 0, 0, 0, 0]))


def test_blur_keeps_flat_parts_and_the_sum():
    assert torch.allclose(blur(torch.ones(2, 5, 7), 3), torch.ones(2, 5, 7))
    mask = torch.zeros(41, 41)
    mask[20, 20] = 1
    soft = blur(mask, 6)
    assert float(soft.sum()) == pytest.approx(1, abs=1e-5)
    spread = (soft.sum(0) * (torch.arange(41) - 20.0) ** 2).sum().sqrt()
    assert float(spread) == pytest.approx(3, rel=0.15)
    assert torch.equal(blur(mask, 0), mask)
