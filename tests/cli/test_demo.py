from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from handrawer.cli.demo import FILL, SIDE, Arm, choose_hand, crop_picture, frame_one_hand, score_table, shipped_picture
from handrawer.cli.errors import Refusal
from handrawer.cli.files import read_picture
from handrawer.hand.camera import crop_around
from handrawer.hand.hands import Frame, hand_from_gesture
from handrawer.hand.model import load_open_hand
from handrawer.mini.scene import hand_vertices

WIDTH, HEIGHT = 848, 565


@pytest.fixture(scope="module")
def frame():
    """A 3:2 picture with a small left hand and a larger right one that reaches over the picture's right edge."""
    small = hand_from_gesture("open", "left", WIDTH, HEIGHT, centre=(0.2, 0.5), size=0.3).hands
    large = hand_from_gesture("peace", "right", WIDTH, HEIGHT, centre=(0.92, 0.6), size=0.7, orientation=(10, 5, 20))
    return Frame(WIDTH, HEIGHT, small + large.hands)


def test_the_largest_hand_is_taken_unless_told(frame):
    assert choose_hand(frame, None, Path("a.png")) == 1
    assert choose_hand(replace(frame, hands=frame.hands[::-1]), None, Path("a.png")) == 0
    assert choose_hand(frame, 0, Path("a.png")) == 0
    assert choose_hand(Frame(WIDTH, HEIGHT), None, Path("a.png")) is None
    assert choose_hand(Frame(WIDTH, HEIGHT), 3, Path("a.png")) is None


def test_a_hand_that_is_not_there_is_refused(frame):
    with pytest.raises(Refusal, match=r"no hand 2 in a\.png: 2 hands were found, numbers 0 to 1"):
        choose_hand(frame, 2, Path("a.png"))
    with pytest.raises(Refusal, match="one hand was found, number 0"):
        choose_hand(replace(frame, hands=frame.hands[:1]), 1, Path("a.png"))


@pytest.mark.parametrize("number", [0, 1])
def test_the_hand_fills_its_share_of_the_small_models_frame(frame, number):
    wanted, crop = frame_one_hand(frame.hands[number], frame, torch.zeros(1, HEIGHT, WIDTH, 3))
    (placed,) = wanted.frames
    (hand,) = placed.hands
    assert (placed.width, placed.height) == (SIDE, SIDE) and crop.shape == (SIDE, SIDE, 3)
    # Seen by the placed camera, without the forearm: in the middle, its longer side FILL of the frame.
    points = hand.vertices[hand_vertices(load_open_hand())]
    xy = hand.camera.focal * points[:, :2] / points[:, 2:] + torch.tensor([hand.camera.cx, hand.camera.cy])
    low, high = xy.amin(0), xy.amax(0)
    assert float((high - low).max()) == pytest.approx(FILL, abs=2e-3)
    torch.testing.assert_close((low + high) / 2, torch.tensor([0.5, 0.5]), atol=2e-3, rtol=0)


def test_the_crop_shows_the_hand_where_the_placed_hand_is(frame):
    """A white disc painted on each fingertip must lie on the placed fingertip."""
    hand = frame.hands[1]
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    inside_picture = ((hand.joints_2d > 0.02) & (hand.joints_2d < 0.98)).all(-1)
    tips = [tip for tip in (4, 8, 12, 16, 20) if inside_picture[tip]]
    assert len(tips) >= 3
    for tip in tips:
        at = hand.joints_2d[tip] * torch.tensor([WIDTH, HEIGHT])
        picture = ((x - at[0]) ** 2 + (y - at[1]) ** 2 <= 16).float()[None, ..., None].expand(1, -1, -1, 3)
        wanted, crop = frame_one_hand(hand, frame, picture)
        expected = wanted.frames[0].hands[0].joints_2d[tip] * SIDE
        inside = crop[..., 0] * (crop[..., 0] > 0.75)  # the grey beyond the picture's edge is no disc
        rows, columns = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
        centre = torch.stack([(columns * inside).sum(), (rows * inside).sum()]) / inside.sum()
        torch.testing.assert_close(centre, expected, atol=0.6, rtol=0)


def test_beyond_the_picture_the_crop_is_grey():
    placement = crop_around((0.5, 0.0, 1.5, 1.0), 100, 100, 64, 64, margin=0.0)
    crop = crop_picture(torch.ones(1, 100, 100, 3), placement)
    assert float(crop[:, :30].min()) > 0.95
    torch.testing.assert_close(crop[:, 34:], torch.full((64, 30, 3), 128 / 255), atol=0.01, rtol=0)


def score(found, error):
    return SimpleNamespace(found=found, joint_error=error)


def test_the_table_counts_misses_and_averages_what_was_found():
    without = Arm("without HanDrawer", torch.zeros(2, 1, 1, 3), [score(False, None), score(False, None)])
    steered = Arm("with HanDrawer", torch.zeros(2, 1, 1, 3), [score(True, 0.02), score(True, 0.04)])
    lines = score_table([without, steered], [7, 8]).splitlines()
    assert lines[2].split() == ["7", "no", "-", "yes", "0.020"]
    assert lines[3].split() == ["8", "no", "-", "yes", "0.040"]
    assert lines[4].split() == ["all", "0/2", "-", "2/2", "0.030"]


def test_the_shipped_picture_is_not_square_and_can_be_read():
    picture = read_picture(shipped_picture())
    assert picture.shape == (1, 512, 768, 3)
