import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handrawer.hand.boxes import longer_side
from handrawer.hand.hands import Frame, Hand, Hands, hand_from_gesture
from handrawer.hand.transform import pad, transform_hands
from handrawer.render import hand_masks as module
from handrawer.render.hand_masks import SHAPES, convex_hull, hand_masks, padded_boxes
from handrawer.render.maps import render_layers
from handrawer.render.masks import box_mask, dilate


def one(gesture="open", width=120, height=90, **options) -> Frame:
    return hand_from_gesture(gesture, width=width, height=height, **options)


def size_of(frame: Frame) -> float:
    return float(longer_side(frame.hands[0].box, frame.width, frame.height))


def silhouette(frame: Frame) -> torch.Tensor:
    return render_layers(frame, ["mask"])["mask"][0]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gesture", ["open", "fist", "peace"])
def test_a_mask_holds_the_whole_hand(shape, gesture):
    frame = one(gesture, orientation=(20, 10, 35))
    mask = hand_masks(frame, shape=shape)
    assert mask.shape == (1, 90, 120) and mask.dtype == torch.float32
    assert mask.min() >= 0 and mask.max() == 1
    assert (mask[0][silhouette(frame) > 0] == 1).all()
    # Padded by default: the hand's neighbours are masked too.
    assert (mask[0][dilate(silhouette(frame), 4) > 0] == 1).all()
    bare = hand_masks(frame, shape=shape, padding=0, feather=0)[0]
    assert (bare[silhouette(frame) == 1] > 0.4).all()
    assert 1.1 * float(bare.sum()) < float(mask.sum())


def test_from_box_to_silhouette_masks_become_tighter():
    frame = one(orientation=(0, 0, 40))
    area = {shape: float(hand_masks(frame, shape=shape, padding=0, feather=0).sum()) for shape in SHAPES}
    assert area["silhouette"] < 0.9 * area["hull"] < 0.9 * area["box"]
    assert area["hull"] < area["ellipse"]


def test_a_tight_sharp_silhouette_is_the_mask_layer():
    frame = Frame(120, 90, one().hands + one("fist", centre=(0.3, 0.5)).hands)
    assert torch.equal(hand_masks(frame, shape="silhouette", padding=0, feather=0)[0] > 0, silhouette(frame) > 0)
    apart = hand_masks(frame, shape="silhouette", padding=0, feather=0, each=True)
    visible = render_layers(frame, ["visible"])["visible"][0]
    assert torch.equal(apart, visible)


def test_a_box_is_the_box_mask():
    frame = one()
    expected = box_mask(frame, padding=0.2, feather=0.1 * size_of(frame))
    assert torch.allclose(hand_masks(frame, padding=0.2, feather=0.1), expected, atol=1e-5)


@pytest.mark.parametrize("shape", ["hull", "silhouette"])
@pytest.mark.parametrize("size", [90, 700])
def test_padding_and_feather_are_distances(shape, size):
    """Against a disc that grows: exact up to a pixel, and a little where large pictures are worked out smaller."""
    frame = one(width=size, height=size, size=0.5, orientation=(0, 0, 20))
    tight = hand_masks(frame, shape=shape, padding=0, feather=0)[0]
    hand, tolerance = size_of(frame), 1.5 if size == 90 else 4.0
    grown = hand_masks(frame, shape=shape, padding=0.2, feather=0)[0]
    assert (grown[dilate((tight > 0.5).float(), 0.2 * hand - tolerance) > 0] == 1).all()
    assert (grown[dilate((tight > 0).float(), 0.2 * hand + tolerance) == 0] == 0).all()
    soft = hand_masks(frame, shape=shape, padding=0.1, feather=0.1)[0]
    assert (soft[dilate((tight > 0.5).float(), 0.1 * hand - tolerance) > 0] > 0.97).all()
    assert (soft[dilate((tight > 0).float(), 0.2 * hand + tolerance) == 0] == 0).all()
    half, beyond = (dilate((tight > 0.5).float(), 0.15 * hand + more) for more in (0, 1))
    assert abs(float(soft[(beyond - half) > 0].mean()) - 0.5) < 0.1


@pytest.mark.parametrize("shape", ["ellipse", "hull"])
def test_large_masks_are_worked_out_smaller(shape, monkeypatch):
    frame = one(width=400, height=300, orientation=(0, 0, 20))
    exact = hand_masks(frame, shape=shape)
    monkeypatch.setattr(module, "_SHAPE_FIELD", 90)
    difference = (hand_masks(frame, shape=shape) - exact).abs()
    assert float(difference.max()) < 0.2 and float(difference.mean()) < 2e-3  # a pixel in a soft edge of ten


@pytest.mark.parametrize("shape", SHAPES)
def test_over_the_edge_masks_are_cut_not_dropped(shape):
    frame = one(centre=(0.02, 0.95))
    mask = hand_masks(frame, shape=shape)[0]
    assert float(mask[-1, 0]) == 1 and float(mask[0, -1]) == 0
    wide = transform_hands(Hands((frame,)), [pad(120, 90, 120, 90, 120, 90)])
    around = hand_masks(wide, shape=shape)[0][90:180, 120:240]
    assert torch.allclose(mask, around, atol=2e-3)
    beside = one(centre=(4.0, 4.0))
    assert hand_masks(beside, shape=shape).sum() == 0 and hand_masks(beside, shape=shape).shape == (1, 90, 120)


@pytest.mark.parametrize("shape", SHAPES)
def test_one_for_each_hand_or_one_for_each_picture(shape):
    first, second = one(centre=(0.3, 0.5)), one("fist", centre=(0.7, 0.5))
    off = second.hands[0].replace(enabled=False)
    hands = Hands((Frame(120, 90, first.hands + second.hands), Frame(120, 90), Frame(120, 90, (*second.hands, off))))
    each, joined = hand_masks(hands, shape=shape, each=True), hand_masks(hands, shape=shape)
    assert each.shape == (3, 90, 120) and joined.shape == (3, 90, 120)
    assert torch.equal(joined[0], torch.maximum(each[0], each[1]))
    assert joined[1].sum() == 0 and torch.equal(joined[2], each[2])
    assert hand_masks(Frame(7, 5), shape=shape, each=True).shape == (0, 5, 7)
    assert hand_masks(Frame(7, 5), 9, 6, shape=shape).shape == (1, 6, 9)
    assert hand_masks(Hands(())).shape == (0, 1, 1)


def test_boxes_in_whole_pixels():
    hand = one(width=40, height=30).hands[0].replace(box=torch.tensor([0.5, 0.5, 0.75, 0.7]))  # 20..30 x 15..21
    outside, off = hand.replace(box=torch.tensor([1.5, 0.2, 1.8, 0.4])), hand.replace(enabled=False)
    frame = Frame(40, 30, (hand, outside, off))
    assert padded_boxes(frame, padding=0) == [[(20, 15, 10, 6), (40, 6, 0, 6)]]
    assert padded_boxes(frame, padding=0.25)[0][0] == (17, 12, 16, 12)  # grown by 2.5, outward to whole pixels
    assert padded_boxes(Frame(40, 30, (hand,)), padding=3)[0] == [(0, 0, 40, 30)]
    assert padded_boxes(Hands((Frame(40, 30), Frame(40, 30)))) == [[], []]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=30))
def test_a_hull_holds_its_points_and_turns_one_way(points):
    hull = convex_hull([[float(x), float(y)] for x, y in points])
    assert all((int(x), int(y)) in points for x, y in hull)
    for k in range(len(hull)):
        (ax, ay), (bx, by) = hull[k - 1], hull[k]
        assert all((bx - ax) * (y - ay) - (by - ay) * (x - ax) >= 0 for x, y in points)
    area = sum(a[0] * b[1] - a[1] * b[0] for a, b in zip(hull, hull[1:] + hull[:1], strict=True))
    assert area >= 0


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(SHAPES), st.integers(1, 40), st.integers(1, 40), st.floats(-1, 2), st.floats(0.01, 3),
    st.floats(0, 2), st.floats(0, 2),
)  # fmt: skip
def test_every_mask_is_one(shape, width, height, at, size, padding, feather):
    frame = one(width=64, height=64, centre=(at, 0.5), size=size)
    mask = hand_masks(frame, width, height, shape=shape, padding=padding, feather=feather)
    assert mask.shape == (1, height, width) and mask.isfinite().all()
    assert float(mask.min()) >= 0 and float(mask.max()) <= 1
    wider = hand_masks(frame, width, height, shape=shape, padding=padding + 0.5, feather=feather)
    assert float((mask - wider).max()) < 0.3  # never smaller, but for half a pixel of an edge


def test_a_hand_seen_as_a_line_has_masks():
    frame = one()
    hand: Hand = frame.hands[0]
    flat = hand.replace(vertices=torch.stack([torch.linspace(-0.1, 0.1, len(hand.vertices)),
                                              torch.zeros(len(hand.vertices)),
                                              torch.ones(len(hand.vertices))], 1))  # fmt: skip
    for shape in ("ellipse", "hull"):
        mask = hand_masks(Frame(120, 90, (flat,)), shape=shape, padding=0.05, feather=0)
        assert mask.isfinite().all() and mask.sum() > 10
    assert math.isclose(float(hand_masks(Frame(120, 90, (flat,)), shape="silhouette").sum()), 0)


@pytest.mark.parametrize(("options", "said"), [({"shape": "disc"}, "no mask shape"), ({"padding": -1}, "at least 0")])
def test_what_does_not_fit_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        hand_masks(one(), **options)
