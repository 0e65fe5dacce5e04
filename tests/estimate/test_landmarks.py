"""The detector: sides, sizes, parts, reuse."""

import builtins
import threading
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from handrawer.estimate import landmarks
from handrawer.estimate.landmarks import LandmarkDetector, Landmarks, close_landmarkers

PLAIN = LandmarkDetector()


def test_sides_are_the_persons_own(drawn):
    """The side is pinned on renders of known side: a swap of the labels would fail nearly all of them."""
    agree = total = 0
    for picture, left in zip(drawn.pictures, drawn.scene.left.tolist(), strict=True):
        for hand in PLAIN(picture)[:1]:
            total += 1
            agree += hand.side == ("left" if left else "right")
    assert total >= 12
    assert agree >= 0.8 * total


def test_mirrored_picture_has_the_other_side(example):
    left, right = sorted(PLAIN(example[0]), key=lambda hand: float(hand.points[0, 0]))
    assert (left.side, right.side) == ("left", "right")
    was_right, was_left = sorted(PLAIN(example[0].flip(1)), key=lambda hand: float(hand.points[0, 0]))
    assert (was_right.side, was_left.side) == ("left", "right")
    assert torch.allclose(
        was_left.points * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0]), left.points, atol=0.02
    )


def test_points_lie_on_the_drawn_joints(drawn):
    near = 0
    for picture, joints in zip(drawn.pictures, drawn.scene.joints_2d, strict=True):
        extent = (joints.amax(0) - joints.amin(0)).max()
        near += any(float((hand.points - joints).norm(dim=-1).mean()) < 0.1 * extent for hand in PLAIN(picture))
    assert near >= 12


@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1), (3, 3), (17, 5), (64, 48)])
def test_any_size_without_a_hand(size, thorough):
    assert LandmarkDetector(thorough=thorough)(torch.full((*size, 3), 0.5)) == []


def test_small_and_wide_and_tall_pictures(example):
    """The same hands wherever the picture's frame lies: padding moves the points and nothing else."""
    picture = example[0, :, :384]  # the left half: one hand
    (alone,) = PLAIN(picture)
    height, width = picture.shape[:2]
    tall = torch.zeros(2 * height, width, 3)
    tall[height:] = picture
    (found,) = PLAIN(tall)
    assert torch.allclose(found.points * torch.tensor([1.0, 2.0]) - torch.tensor([0.0, 1.0]), alone.points, atol=0.02)
    small = torch.nn.functional.interpolate(picture.permute(2, 0, 1)[None], scale_factor=0.25, mode="area")
    (found,) = PLAIN(small[0].permute(1, 2, 0))
    assert torch.allclose(found.points, alone.points, atol=0.04)


def test_deterministic_from_many_threads(example):
    expected = PLAIN(example[0])
    results = []

    def work():
        results.append(PLAIN(example[0]))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        assert len(result) == len(expected)
        assert all(torch.equal(a.points, b.points) for a, b in zip(result, expected, strict=True))


def test_landmarkers_are_kept_a_few_and_closed(example):
    close_landmarkers()
    small = example[0, ::4, ::4]
    for confidence in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
        LandmarkDetector(min_confidence=confidence)(small)
    assert len(landmarks._LANDMARKERS) == landmarks.KEPT_LANDMARKERS
    close_landmarkers()
    assert not landmarks._LANDMARKERS
    assert len(PLAIN(example[0])) == 2


def test_largest_first_and_max_hands(example):
    both = PLAIN(example[0])
    heights = [float(hand.points[:, 1].max() - hand.points[:, 1].min()) for hand in both]
    assert heights == sorted(heights, reverse=True) and len(both) == 2
    (largest,) = LandmarkDetector(max_hands=1)(example[0])
    assert torch.equal(largest.points, both[0].points)


def test_nan_counts_as_black(example):
    picture = example[0].clone()
    picture[:40, :40] = torch.nan
    black = example[0].clone()
    black[:40, :40] = 0
    for a, b in zip(PLAIN(picture), PLAIN(black), strict=True):
        assert torch.equal(a.points, b.points)


def test_thorough_finds_a_small_hand(example):
    """A hand of a fourteenth of the picture's width, which one look misses, is found in a part, where it is."""
    one_hand = example[:, :, 384:]
    big = torch.full((1100, 1400, 3), 0.6)
    small = torch.nn.functional.interpolate(one_hand.permute(0, 3, 1, 2), scale_factor=0.4, mode="area")
    small = small[0].permute(1, 2, 0)
    big[600 : 600 + small.shape[0], 300 : 300 + small.shape[1]] = small
    assert PLAIN(big) == []
    (found,) = LandmarkDetector(thorough=True)(big)
    (expected,) = PLAIN(one_hand[0])
    assert found.side == expected.side == "right"
    pixels = expected.points * torch.tensor([small.shape[1], small.shape[0]]) + torch.tensor([300.0, 600.0])
    off = (found.points * torch.tensor([1400.0, 1100.0]) - pixels).norm(dim=-1)
    assert float(off.mean()) < 5  # pixels, of a hand of 100


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_parts_cover_the_picture(width, height):
    halves: dict[int, list[tuple[int, int]]] = {}
    for x, y, side in landmarks._parts(width, height):
        assert x >= 0 and y >= 0
        assert x + side <= max(width, side) and y + side <= max(height, side)
        halves.setdefault(side, []).append((x, y))
    assert len(halves) <= 2
    for side, corners in halves.items():
        for length, axis in ((width, 0), (height, 1)):
            starts = sorted({corner[axis] for corner in corners})
            assert starts[0] == 0 and starts[-1] + side >= length
            assert all(b - a <= side // 2 + 1 for a, b in pairwise(starts))


def view(x, y, size, score=0.9, turned=False):
    generator = torch.Generator().manual_seed(1)
    shape = torch.rand(21, 2, generator=generator)
    shape = 1 - shape if turned else shape
    return Landmarks(shape * size + torch.tensor([x, y]), torch.zeros(21, 3), "right", score)


def test_one_hand_found_twice_is_one():
    size = torch.tensor([100.0, 100.0])
    hands = [view(0.1, 0.1, 0.3, 0.7), view(0.11, 0.1, 0.3, 0.9), view(0.5, 0.1, 0.3, 0.8)]
    kept = landmarks._distinct(hands, size)
    assert [hand.score for hand in kept] == [0.9, 0.8]


def test_most_views_outvote_the_first():
    size = torch.tensor([100.0, 100.0])
    views = [view(0.1, 0.1, 0.3, turned=True), view(0.1, 0.1, 0.3), view(0.105, 0.1, 0.3), view(0.11, 0.1, 0.3)]
    assert landmarks._middle_view(views, size) is views[2]
    assert landmarks._middle_view(views[:2], size) is views[0]


@pytest.mark.parametrize(("hands", "confidence"), [(0, 0.5), (1, -0.1), (1, 1.5)])
def test_settings_are_checked(hands, confidence):
    with pytest.raises(ValueError):
        LandmarkDetector(hands, confidence)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (1, 4, 4, 3)])
def test_shape_is_checked(shape):
    with pytest.raises(ValueError, match="height, width, 3"):
        PLAIN(torch.zeros(shape))


def test_without_mediapipe_one_sentence_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "mediapipe":
            raise ModuleNotFoundError("No module named 'mediapipe'", name="mediapipe")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="pip install mediapipe"):
        PLAIN(torch.zeros(64, 64, 3))


def test_a_view_of_two_hands_at_once_is_given_to_neither():
    size = torch.tensor([100.0, 100.0])
    views = [[view(0.1, 0.1, 0.3)], [view(0.2, 0.2, 0.3)]]
    landmarks._add_view(view(0.15, 0.15, 0.3), views, size)
    assert [len(v) for v in views] == [1, 1]
    landmarks._add_view(view(0.11, 0.1, 0.3), views, size)
    landmarks._add_view(view(0.6, 0.6, 0.3), views, size)  # somewhere else altogether
    assert [len(v) for v in views] == [2, 1]


@given(
    width=st.integers(64, 2000),
    height=st.integers(64, 2000),
    x=st.floats(-0.3, 1.2),
    y=st.floats(-0.3, 1.2),
    extent=st.floats(0.02, 1.5),
)
def test_close_ups_lie_in_the_picture(width, height, x, y, extent):
    size = torch.tensor([float(width), float(height)])
    for left, top, side in landmarks._parts_around(view(x, y, extent), size):
        assert 0 <= left < width and 0 <= top < height
        assert 1 <= side <= max(width, height)
        assert left + side <= max(width, side) and top + side <= max(height, side)
