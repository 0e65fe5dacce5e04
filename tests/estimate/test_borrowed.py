"""Hands that lie under others: no fingers of the upper one, and no sureness that comes from them."""

import pytest
import torch

from handrawer.estimate import borrowed
from handrawer.estimate.doubt import SURE
from handrawer.estimate.looks import Looks


def hand_at(x: float, y: float, size: float = 100.0, seed: int = 1) -> torch.Tensor:
    shape = torch.rand(21, 2, generator=torch.Generator().manual_seed(seed))
    return shape * size + torch.tensor([x, y])


def looks(points, presence=(0.99, 0.9), right=(0.98, 0.97)) -> Looks:
    return Looks(torch.stack(points), torch.zeros(len(points), 21, 3), torch.tensor(presence), torch.tensor(right))


def two_fingers_of(upper: torch.Tensor) -> torch.Tensor:
    """Another hand elsewhere, but for two fingers (eight joints) that are the upper hand's."""
    lower = hand_at(70, 40, seed=2)
    lower[5:13] = upper[5:13] + 3
    return lower


def test_the_hand_with_anothers_fingers_is_known_and_the_other_is_not():
    upper = hand_at(0, 0)
    assert borrowed.borrowers(looks([upper, two_fingers_of(upper)])) == {1: 0}
    assert borrowed.borrowers(looks([upper, two_fingers_of(upper)], presence=(0.9, 0.99))) == {0: 1}


@pytest.mark.parametrize("right", [(0.98, 0.02), (0.02, 0.98)])
def test_hands_of_two_sides_may_touch_with_all_fingers(right):
    upper = hand_at(0, 0)
    assert borrowed.borrowers(looks([upper, upper + 4], right=right)) == {}


def test_fingertips_that_touch_are_no_loan():
    one, other = hand_at(0, 0), hand_at(70, 40, seed=2)
    other[[4, 8, 12, 16]] = one[[4, 8, 12, 16]]
    assert borrowed.borrowers(looks([one, other])) == {}
    assert borrowed.borrowers(looks([one], presence=(0.9,), right=(0.9,))) == {}
    assert borrowed.borrowers(Looks(torch.zeros(0, 21, 2), torch.zeros(0, 21, 3), torch.zeros(0), torch.zeros(0))) == {}


def with_views(monkeypatch, views: Looks) -> Looks:
    """What becomes of a right hand that borrowed two fingers, where these are the views of its surroundings."""
    monkeypatch.setattr(borrowed, "look_at_hands", lambda pyramid, regions, mirrored: views if not mirrored else none)
    none = views[:0]
    upper = hand_at(0, 0)
    return borrowed.with_own_views(None, looks([upper, two_fingers_of(upper)]), 0.5)  # type: ignore[arg-type]


def test_the_view_that_most_looks_agree_on_is_taken_and_those_of_the_upper_hand_are_not(monkeypatch):
    own, upper, odd = hand_at(60, 60, seed=3), hand_at(0, 0), hand_at(150, 0, seed=4)
    shown = looks([own, own + 2, own - 2, upper, upper, upper, upper, odd], (0.8,) * 8, (0.1, 0.2, 0.3, *(0.99,) * 5))
    seen = with_views(monkeypatch, shown)
    assert torch.allclose(seen.points[1], own, atol=1e-3) and torch.equal(seen.points[0], upper)
    assert float(seen.right[0]) == pytest.approx(0.98) and float(seen.presence[1]) == pytest.approx(0.8)
    # Seen as a left hand with 0.8, and on a right one, where it is likelier to be a left one.
    assert float(1 - seen.right[1]) == pytest.approx(0.8 * 0.75 / (0.8 * 0.75 + 0.2 * 0.25))


def test_without_a_view_of_its_own_a_hand_stays_and_its_side_is_in_doubt(monkeypatch):
    seen = with_views(monkeypatch, looks([hand_at(0, 0)], (0.9,), (0.99,)))
    assert torch.equal(seen.points[1], two_fingers_of(hand_at(0, 0)))
    assert 0.5 < float(1 - seen.right[1]) < SURE
