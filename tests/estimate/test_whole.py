"""Parts of covered hands that look like hands, and what is painted over the hands that cover them."""

import pytest
import torch

from handrawer.estimate import erase, merge, whole
from handrawer.estimate.looks import Looks
from handrawer.estimate.regions import Pyramid


def hand_at(x: float, y: float, size: float = 100.0, turn: int = 0) -> torch.Tensor:
    """[21, 2] an open hand of so many pixels, its fingers up, turned by right angles about (x, y)."""
    fingers = [[(-30, -10), (-40, -30), (-45, -45), (-50, -55)]]
    fingers += [[(left, -45), (left, -65), (left, -85), (left, -100)] for left in (-20, -7, 7, 20)]
    points = torch.tensor([(0.0, 0.0), *(point for finger in fingers for point in finger)])
    for _ in range(turn):
        points = torch.stack([-points[:, 1], points[:, 0]], dim=-1)
    return points * size / 100 + torch.tensor([x, y])


def looks(points, presence=None, right=None) -> Looks:
    n = len(points)
    presence, right = presence or (0.9,) * n, right or (0.1,) * n
    return Looks(torch.stack(points), torch.zeros(n, 21, 3), torch.tensor(presence), torch.tensor(right))


UPPER = hand_at(240, 300, 150)
LOWER = hand_at(300, 220, 140, turn=3)  # points to the left, behind the upper hand's fingers
FINGER = LOWER.mean(dim=0) + (hand_at(0, 0, 60) - hand_at(0, 0, 60).mean(dim=0))


def test_a_small_find_over_a_large_hand_may_be_a_part_of_another():
    assert whole.parts_below(looks([UPPER, FINGER])) == {1: 0}
    assert whole.parts_below(looks([UPPER, LOWER])) == {}  # of one size
    assert whole.parts_below(looks([UPPER, FINGER + 300])) == {}  # elsewhere
    assert whole.parts_below(looks([UPPER, FINGER, hand_at(220, 320, 200)])) == {1: 2}  # the largest
    assert whole.parts_below(looks([UPPER])) == {}
    assert whole.parts_below(looks([UPPER])[:0]) == {}


def seen_where(monkeypatch, views: list[torch.Tensor], known: list[torch.Tensor], presence: float = 0.9) -> Looks:
    """The known hands once every look into the painted picture sees these views, in pixels of the whole picture."""
    pyramid = Pyramid(torch.full((400, 500, 3), 0.5))
    _, part = erase.without_hands(pyramid, UPPER[None], 0)
    shown = looks([part.inverse(view) for view in views], (presence,) * len(views))
    monkeypatch.setattr(whole, "look_at_hands", lambda pyramid, regions, mirrored=False: shown)
    return whole.with_whole_hands(pyramid, looks(known), 0.5)


def test_the_whole_hand_takes_the_place_of_its_part(monkeypatch):
    part = LOWER[:1] + 0.3 * (LOWER - LOWER[:1])
    seen = seen_where(monkeypatch, [LOWER, LOWER + 2], [UPPER, part])
    assert len(seen) == 2 and torch.equal(seen.points[0], UPPER)
    assert torch.allclose(seen.points[1], LOWER + 1, atol=1.1) and float(seen.presence[1]) == pytest.approx(0.9)


def test_further_parts_of_the_same_hand_go(monkeypatch):
    parts = [LOWER[:1] + share * (LOWER - LOWER[:1]) for share in (0.3, 0.5)]
    seen = seen_where(monkeypatch, [LOWER, LOWER + 2], [UPPER, *parts])
    assert len(seen) == 2 and torch.allclose(seen.points[1], LOWER + 1, atol=1.1)


@pytest.mark.parametrize(
    ("views", "presence"),
    [
        ([UPPER, UPPER + 2], 0.9),  # of the hand that covers it
        ([LOWER, LOWER + 2], 0.4),  # too faint
        ([FINGER, FINGER + 2], 0.9),  # as small as the find itself
        ([LOWER + 150, LOWER + 152], 0.9),  # of a hand elsewhere
        ([LOWER, hand_at(240, 220, 150, turn=2)], 0.9),  # that do not agree: three must
    ],
)
def test_other_views_change_nothing(monkeypatch, views, presence):
    part = LOWER[:1] + 0.3 * (LOWER - LOWER[:1])
    monkeypatch.setattr(whole, "FOLLOWED", (1.0,))
    known = looks([UPPER, part])
    seen = seen_where(monkeypatch, views, [UPPER, part], presence)
    assert torch.equal(seen.points, known.points) and torch.equal(seen.presence, known.presence)


def test_a_part_on_another_hand_is_none_of_its_own_unless_sure():
    small = LOWER[:1] + 0.5 * (LOWER - LOWER[:1])
    points = torch.stack([LOWER, small])
    assert merge.fragments(points, torch.tensor([0.9, 0.9]), 0.95).tolist() == [False, True]
    assert merge.fragments(points, torch.tensor([0.9, 0.96]), 0.95).tolist() == [False, False]
    beside = torch.stack([LOWER, small + torch.tensor([0.0, 60.0])])
    assert merge.fragments(beside, torch.tensor([0.9, 0.9]), 0.95).tolist() == [False, False]


def test_what_is_known_stays_and_the_rest_is_what_surrounds_it():
    picture = torch.rand(50, 70, 3, generator=torch.Generator().manual_seed(1))
    known = torch.ones(50, 70, dtype=torch.bool)
    known[10:30, 20:50] = False
    filled = erase.filled_in(picture, known)
    assert torch.equal(filled[known], picture[known])
    inside = filled[10:30, 20:50]
    assert float(inside.std()) < float(picture.std()) / 2 and 0.3 < float(inside.mean()) < 0.7
    assert torch.allclose(erase.filled_in(torch.full((50, 70, 3), 0.3), known), torch.tensor(0.3), atol=1e-5)
    assert not bool(erase.filled_in(picture, torch.zeros_like(known)).isnan().any())


def test_a_hand_between_two_colours_is_filled_with_both():
    picture = torch.zeros(64, 64, 3)
    picture[:, 32:] = 1
    known = torch.ones(64, 64, dtype=torch.bool)
    known[16:48, 16:48] = False
    filled = erase.filled_in(picture, known)[32, :, 0]
    assert float(filled[18]) < 0.2 and float(filled[45]) > 0.8
    assert bool((filled.diff() >= -0.05).all())


def test_wavering_finds_are_parts_or_nothing(monkeypatch):
    part = LOWER[:1] + 0.3 * (LOWER - LOWER[:1])
    pyramid = Pyramid(torch.full((400, 500, 3), 0.5))
    _, at = erase.without_hands(pyramid, UPPER[None], 0)
    none = looks([UPPER])[:0]
    monkeypatch.setattr(whole, "look_at_hands", lambda pyramid, regions, mirrored=False: none)
    seen = whole.with_whole_hands(pyramid, looks([UPPER]), 0.5, looks([part]))
    assert len(seen) == 1 and torch.equal(seen.points[0], UPPER)
    shown = looks([at.inverse(LOWER), at.inverse(LOWER + 2)])
    monkeypatch.setattr(whole, "look_at_hands", lambda pyramid, regions, mirrored=False: shown)
    seen = whole.with_whole_hands(pyramid, looks([UPPER]), 0.5, looks([part, part + 3]))
    assert len(seen) == 2 and torch.allclose(seen.points[1], LOWER + 1, atol=1.1)


def test_a_part_that_is_found_twice_is_followed_once(monkeypatch):
    """Its second whole hand would be made of what the first one left."""
    part, tried = LOWER[:1] + 0.3 * (LOWER - LOWER[:1]), []
    monkeypatch.setattr(whole, "whole_view", lambda pyramid, others, find, presence: tried.append(find))
    seen = whole.with_whole_hands(Pyramid(torch.zeros(8, 8, 3)), looks([UPPER, part]), 0.5, looks([part + 1, part - 1]))
    assert len(seen) == 2 and len(tried) == 1 and torch.equal(tried[0], part)
    whole.with_whole_hands(Pyramid(torch.zeros(8, 8, 3)), looks([UPPER]), 0.5, looks([part + 1, part - 1, FINGER]))
    assert len(tried) == 3
