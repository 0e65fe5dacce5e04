"""The detector: sides, sizes, parts, reuse."""

import threading

import pytest
import torch

from handrawer.estimate.landmarks import LandmarkDetector

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


@pytest.mark.parametrize(("hands", "confidence"), [(0, 0.5), (1, -0.1), (1, 1.5)])
def test_settings_are_checked(hands, confidence):
    with pytest.raises(ValueError):
        LandmarkDetector(hands, confidence)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (1, 4, 4, 3)])
def test_shape_is_checked(shape):
    with pytest.raises(ValueError, match="height, width, 3"):
        PLAIN(torch.zeros(shape))
