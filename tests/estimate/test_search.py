"""Every hand and nothing else: crowds, overlaps, edges, odd pictures; and the geometry of looking."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handrawer.estimate import estimate_hands, merge, regions
from handrawer.estimate.erase import without_hands
from handrawer.estimate.estimate import NO_HAND
from handrawer.estimate.find import resized
from handrawer.estimate.landmarks import LandmarkDetector
from handrawer.estimate.looks import look_at_hands
from handrawer.estimate.regions import Pyramid

BALANCED = LandmarkDetector(100, thorough=True)


def test_forty_hands(example):
    """The picture that ships, in five rows of four: forty hands of 50 to 80 pixels; no other, and each of its side."""
    picture = resized(example[0], 192).repeat(5, 4, 1)
    found = BALANCED(picture)
    middles = torch.stack([hand.points.mean(dim=0) for hand in found]) * torch.tensor([8.0, 5.0])
    cells = {(int(x), int(y)) for x, y in middles.floor().long().tolist()}
    assert len(cells) == len(found) and 36 <= len(found) <= 40
    right = [
        hand.side == ("right" if int(middle[0]) % 2 else "left") for hand, middle in zip(found, middles, strict=True)
    ]
    assert sum(right) >= 0.9 * len(found)


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_turned_pictures_have_the_same_hands(example, quarter):
    picture = resized(example[0], 384)
    found = BALANCED(picture.rot90(quarter, dims=(0, 1)))
    assert sorted(hand.side for hand in found) == ["left", "right"]


def test_a_hand_across_the_edge(example):
    """Cut off at the wrist and through the fingers: found, with joints outside the picture."""
    picture = resized(example[0, :, 384:], 384)
    for cut in (picture[:, 60:], picture[: picture.shape[0] - 60]):
        (hand,) = BALANCED(cut)
        assert hand.side == "right"


def test_faint_looks_invent_nothing():
    """Noise, waves and skin-coloured blobs at a confidence at which a single look invents hands."""
    generator = torch.Generator().manual_seed(3)
    t = torch.linspace(0, 1, 256)
    y, x = torch.meshgrid(t, t, indexing="ij")
    blob = torch.exp(-20 * ((x - 0.5) ** 2 + 2 * (y - 0.4) ** 2))[..., None] * torch.tensor([0.9, 0.7, 0.6])
    pictures = [
        torch.rand(256, 256, 3, generator=generator),
        (torch.sin(60 * x * y)[..., None] / 2 + 0.5).expand(-1, -1, 3),
        blob,
    ]
    detector = LandmarkDetector(9, 0.3, thorough=True)
    assert [len(detector(picture)) for picture in pictures] == [0, 0, 0]


def test_boxes_alone_are_looked_at(example):
    right = torch.tensor([[0.55, 0.0, 0.95, 0.8]])
    (hand,) = BALANCED(example[0], right)
    assert hand.side == "right"
    assert BALANCED(example[0], torch.zeros(0, 4)) == []
    assert BALANCED(example[0], torch.tensor([[0.0, 0.9, 0.05, 1.0]])) == []


@settings(max_examples=8, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    channels=st.sampled_from([1, 3, 4]),
    odd=st.sampled_from([0.0, math.nan, math.inf, -3.0]),
    batch=st.integers(1, 3),
)
def test_any_picture_flows_through(height, width, channels, odd, batch):
    pictures = torch.full((batch, height, width, channels), 0.5)
    pictures[:, height // 2 :] = odd
    found = estimate_hands(pictures, thoroughness="fast")
    assert [(frame.width, frame.height) for frame in found.frames] == [(width, height)] * batch
    assert all(frame.note == NO_HAND and not frame.hands for frame in found.frames)


def test_a_very_wide_picture(example):
    wide = torch.full((500, 8192, 3), 0.4)
    one = resized(example[0], 690)
    wide[40 : 40 + one.shape[0], 5000 : 5000 + one.shape[1]] = one
    found = LandmarkDetector(9, thorough=True)(wide)
    assert sorted(hand.side for hand in found) == ["left", "right"]
    assert all(5000 < float(hand.points[:, 0].mean()) * 8192 < 5690 for hand in found)


def test_a_batch_of_sixteen_is_sixteen_pictures(example):
    small = resized(example[0], 256)[None]
    pictures = torch.cat([small, torch.zeros_like(small)] * 8)
    found = estimate_hands(pictures, thoroughness="fast")
    counts = [len(frame.hands) for frame in found.frames]
    assert len(counts) == 16 and len(set(counts[::2])) == 1 and counts[0] >= 1 and set(counts[1::2]) == {0}


def test_thorough_asks_more_looks_and_agrees(example):
    picture = resized(example[0], 384)
    thorough = LandmarkDetector(thoroughness="thorough")(picture)
    assert sorted(hand.side for hand in thorough) == ["left", "right"]


# merging


def hand_at(x: float, y: float, size: float, seed: int = 1) -> torch.Tensor:
    shape = torch.rand(21, 2, generator=torch.Generator().manual_seed(seed))
    return shape * size + torch.tensor([x, y])


def test_one_hand_found_twice_is_one_and_two_in_one_box_are_two():
    points = torch.stack([hand_at(0, 0, 100), hand_at(4, 3, 100), hand_at(0, 0, 100, seed=2)])
    assert merge.distinct(points, torch.tensor([0.8, 0.9, 0.7])) == [1, 2]


def test_a_finger_in_a_hand_is_no_hand_unless_sure():
    points = torch.stack([hand_at(0, 0, 100), hand_at(40, 40, 20)])
    assert merge.fragments(points, torch.tensor([0.9, 0.9]), 0.95).tolist() == [False, True]
    assert merge.fragments(points, torch.tensor([0.9, 0.96]), 0.95).tolist() == [False, False]
    assert (
        merge.fragments(points + torch.tensor([[[0.0]], [[90.0]]]), torch.ones(2) * 0.9, 0.95).tolist() == [False] * 2
    )


# regions


@given(st.integers(8, 3000), st.integers(8, 3000), st.sampled_from([1.4, 2.0, 2.8, 3.0, 4.0]))
def test_parts_cover_the_picture(width, height, divisor):
    squares = regions.parts(width, height, (divisor,), 1)
    low, high = squares[:, :2] - squares[:, 2:3] / 2, squares[:, :2] + squares[:, 2:3] / 2
    for axis, length in enumerate((width, height)):
        starts, ends = low[:, axis].unique(), high[:, axis].unique()
        assert float(starts[0]) <= 1e-3 and float(ends[-1]) >= length - 1e-3
        if len(starts) > 1:
            assert float((ends[:-1] - starts[1:]).min()) >= float(squares[0, 2]) * (regions.SHARED - 0.01)


@given(st.floats(-4, 4), st.floats(0.5, 2))
def test_a_hand_stands_upright_in_its_region(angle, size):
    """Turning and scaling a hand turns and scales its region, and nothing else."""
    points = hand_at(-50, -50, 100)
    turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    (before,) = regions.region_of_hand(points[None])
    (after,) = regions.region_of_hand((points @ turn * size)[None])
    assert torch.allclose(after[:2], before[:2] @ turn * size, atol=1e-2)
    assert float(after[2]) == pytest.approx(float(before[2]) * size, rel=1e-4)
    apart = (float(after[3] - before[3]) - angle + math.pi) % (2 * math.pi) - math.pi
    assert apart == pytest.approx(0, abs=1e-3)


def test_crops_show_what_lies_in_the_region():
    ramp = torch.stack(torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij"), dim=-1) / 100
    picture = torch.cat([ramp, torch.zeros(64, 96, 1)], dim=-1)  # y and x in hundredths of a pixel
    region = torch.tensor([[48.0, 32.0, 16.0, math.pi / 2]])
    (crop,) = Pyramid(picture).crops(region, 16)
    assert float(crop[1, 8, 8]) == pytest.approx(0.48) and float(crop[0, 8, 8]) == pytest.approx(0.32)
    assert float(crop[0, 8, 12]) == pytest.approx(0.36, abs=1e-4)  # to the right in the crop is down in the picture
    outside = Pyramid(picture).crops(torch.tensor([[-100.0, 0.0, 20.0, 0.0]]), 8)
    assert float(outside.abs().max()) == 0
    beside = torch.tensor([[105.0, 20.0, 16.0, 0.0]])
    (edge,) = Pyramid(picture).crops(beside, 16, "border")
    assert torch.allclose(edge[1], torch.tensor(0.95)) and float(edge[0, 8, 3]) == pytest.approx(0.2)


def test_mirrored_looks_see_the_same(example):
    pyramid = Pyramid(example[0])
    (hand,) = LandmarkDetector(1)(example[0])
    region = regions.region_of_hand((hand.points * torch.tensor([768.0, 512.0]))[None])
    plain, mirrored = look_at_hands(pyramid, region), look_at_hands(pyramid, region, mirrored=True)
    assert float(merge.apart(plain.points, mirrored.points)) < 0.04
    assert (plain.right > 0.5).equal(mirrored.right > 0.5)
    assert float((plain.world - mirrored.world).norm(dim=-1).mean()) < 0.015


def test_a_painted_hand_is_gone(example):
    size = torch.tensor([768.0, 512.0])
    points = torch.stack([hand.points for hand in LandmarkDetector()(example[0])]) * size
    pyramid, local = without_hands(Pyramid(example[0]), points, 0)
    assert torch.allclose(local(torch.tensor([280.0, 280.0])), (points[0].amax(0) + points[0].amin(0)) / 2, atol=0.1)
    picture = pyramid.levels[0][0].permute(1, 2, 0)
    assert [hand for hand in LandmarkDetector()(picture) if float(hand.points.sub(0.5).abs().mean()) < 0.2] == []
