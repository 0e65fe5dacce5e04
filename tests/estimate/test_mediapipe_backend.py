"""The other backend: the mediapipe package. Without it, the plugin must not miss it."""

import builtins
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from handrawer.estimate import estimate_hands, mediapipe_backend
from handrawer.estimate.landmarks import LandmarkDetector, Landmarks
from handrawer.estimate.mediapipe_backend import close_landmarkers

PLAIN = LandmarkDetector(backend="mediapipe")


@pytest.fixture
def without_mediapipe(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "mediapipe":
            raise ModuleNotFoundError("No module named 'mediapipe'", name="mediapipe")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)


def test_both_backends_see_the_same_hands(example):
    """The package moves its own points by about a hundredth of the hand when a picture is shifted by one pixel."""
    size = torch.tensor([example.shape[2], example.shape[1]])
    theirs, ours = PLAIN(example[0]), LandmarkDetector(backend="torch")(example[0])
    assert [hand.side for hand in theirs] == [hand.side for hand in ours] and len(ours) == 2
    for a, b in zip(theirs, ours, strict=True):
        extent = float(((a.points.amax(0) - a.points.amin(0)) * size).max())
        assert float(((a.points - b.points) * size).norm(dim=-1).mean()) < 0.025 * extent
        assert float((a.world - b.world).norm(dim=-1).mean()) < 0.012


def test_boxes_say_where_to_look(example):
    left = torch.tensor([[0.0, 0.0, 0.5, 1.0]])
    (found,) = PLAIN(example[0], left)
    assert found.side == "left" and float(found.points[:, 0].mean()) < 0.5
    assert PLAIN(example[0], left[:0]) == []


def test_hands_are_found_without_mediapipe(example, without_mediapipe):
    assert estimate_hands(example, thorough=False).count == 2


def test_landmarkers_are_kept_a_few_and_closed(example):
    close_landmarkers()
    small = example[0, ::4, ::4]
    for confidence in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
        LandmarkDetector(min_confidence=confidence, backend="mediapipe")(small)
    assert len(mediapipe_backend._LANDMARKERS) == mediapipe_backend.KEPT_LANDMARKERS
    close_landmarkers()
    assert not mediapipe_backend._LANDMARKERS
    assert len(PLAIN(example[0])) == 2


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_parts_cover_the_picture(width, height):
    halves: dict[int, list[tuple[int, int]]] = {}
    for x, y, side in mediapipe_backend._parts(width, height):
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
    kept = mediapipe_backend._distinct(hands, size)
    assert [hand.score for hand in kept] == [0.9, 0.8]


def test_most_views_outvote_the_first():
    size = torch.tensor([100.0, 100.0])
    views = [view(0.1, 0.1, 0.3, turned=True), view(0.1, 0.1, 0.3), view(0.105, 0.1, 0.3), view(0.11, 0.1, 0.3)]
    assert mediapipe_backend._middle_view(views, size) is views[2]
    assert mediapipe_backend._middle_view(views[:2], size) is views[0]


def test_without_mediapipe_one_sentence_says_what_to_install(without_mediapipe):
    with pytest.raises(ImportError, match=r"pip install mediapipe.* or choose the backend torch"):
        PLAIN(torch.zeros(64, 64, 3))


def test_a_view_of_two_hands_at_once_is_given_to_neither():
    size = torch.tensor([100.0, 100.0])
    views = [[view(0.1, 0.1, 0.3)], [view(0.2, 0.2, 0.3)]]
    mediapipe_backend._add_view(view(0.15, 0.15, 0.3), views, size)
    assert [len(v) for v in views] == [1, 1]
    mediapipe_backend._add_view(view(0.11, 0.1, 0.3), views, size)
    mediapipe_backend._add_view(view(0.6, 0.6, 0.3), views, size)  # somewhere else altogether
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
    for left, top, side in mediapipe_backend._parts_around(view(x, y, extent), size):
        assert 0 <= left < width and 0 <= top < height
        assert 1 <= side <= max(width, height)
        assert left + side <= max(width, side) and top + side <= max(height, side)
