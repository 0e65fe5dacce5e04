"""Hands of a video keep their identity, gaps are filled, jitter goes, and nothing happens where none is asked for."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handrawer.estimate.smooth import smooth_hands
from handrawer.estimate.track import assignment, track_hands
from handrawer.hand.anatomy import LIMITS, rotations_to_angles
from handrawer.hand.gestures import gesture_angles
from handrawer.hand.hands import Frame, Hand, Hands, make_hand, orientation_from_degrees
from handrawer.hand.model import load_open_hand

MODEL = load_open_hand()
WIDTH, HEIGHT = 640, 480


def hand_at(x, y, side="right", curl=0.0, roll=0.0, depth=0.7, shape=None, gesture="open", confidence=1.0) -> Hand:
    """A hand with its wrist at (x, y) metres, ``curl`` of the way to a fist."""
    angles = torch.lerp(gesture_angles(gesture), gesture_angles("fist"), curl)
    return make_hand(
        MODEL, angles=angles, side=side, orientation=orientation_from_degrees(10, 5, roll), translation=(x, y, depth),
        shape=shape, width=WIDTH, height=HEIGHT, confidence=confidence,
    )  # fmt: skip


def video(*frames) -> Hands:
    return Hands(tuple(Frame(WIDTH, HEIGHT, tuple(hands)) for hands in frames))


def crossing(count=13, sides=("left", "right"), missing=()) -> tuple[Hands, list[list[int]]]:
    """Two hands that change places, listed in an order that changes; and which is which."""
    frames, names = [], []
    for number in range(count):
        share = number / (count - 1)
        two = [hand_at(-0.2 + 0.4 * share, 0.02, sides[0]), hand_at(0.2 - 0.4 * share, 0.05, sides[1], depth=0.75)]
        order = [0, 1] if number % 3 else [1, 0]
        order = [i for i in order if (number, i) not in missing]
        frames.append([two[i] for i in order])
        names.append(order)
    return video(*frames), names


@pytest.mark.parametrize("sides", [("left", "right"), ("right", "right")])
def test_two_hands_that_cross_keep_their_identity(sides):
    """In the middle they lie on each other, and the list's order changes all the time."""
    hands, names = crossing(sides=sides)
    tracks = track_hands(hands)
    assert len(tracks) == 2
    for track in tracks:
        assert len(track.places) == 13
        assert len({names[number][place] for number, place in track.places.items()}) == 1
    smoothed = smooth_hands(hands, 0.4).hands
    first = [frame.hands[0].translation[0] for frame in smoothed.frames]
    steps = torch.stack(first).diff()
    assert bool((steps > 0).all()) or bool((steps < 0).all()), "number 0 is one hand that goes one way"
    assert all(len(frame.hands) == 2 for frame in smoothed.frames)


def test_a_hand_hidden_by_the_other_comes_back_as_itself():
    missing = {(number, 1) for number in (5, 6, 7)}
    hands, names = crossing(missing=missing)
    tracks = track_hands(hands)
    assert len(tracks) == 2
    for track in tracks:
        assert len({names[number][place] for number, place in track.places.items()}) == 1
    smoothed = smooth_hands(hands, 0.0, fill_gaps=3)
    assert [len(frame.hands) for frame in smoothed.hands.frames] == [2] * 13
    assert smoothed.note == "2 hands through 13 pictures, 3 places filled in."
    filled = [hand for frame in smoothed.hands.frames for hand in frame.hands if hand.notes]
    assert len(filled) == 3
    assert filled[0].notes == ("Not seen in this picture: placed between pictures 4 and 8.",)
    full, _ = crossing()
    truth = full.frames[6].hands[names[0].index(1) if 6 % 3 else 0]
    assert torch.allclose(filled[1].vertices, truth.vertices, atol=3e-3)
    assert filled[1].confidence == pytest.approx(0.5)
    assert [len(frame.hands) for frame in smooth_hands(hands, 0.0, fill_gaps=2).hands.frames] == [2] * 5 + [1] * 3 + [
        2
    ] * 5


def test_a_stranger_is_another_hand():
    hands = video([hand_at(-0.2, 0)], [hand_at(-0.2, 0)], [hand_at(0.2, 0.1)], [hand_at(0.2, 0.1)])
    assert [sorted(track.places) for track in track_hands(hands)] == [[0, 1], [2, 3]]


@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1000))
def test_strength_zero_is_exactly_the_identity(seed):
    generator = torch.Generator().manual_seed(seed)
    frames = [
        [hand_at(*(0.3 * torch.rand(2, generator=generator) - 0.15).tolist(), side=side) for side in ("left", "right")]
        for _ in range(4)
    ]
    hands = video(*frames)
    smoothed = smooth_hands(hands, 0.0, fill_gaps=0).hands
    for before, after in zip(hands.frames, smoothed.frames, strict=True):
        assert {id(hand) for hand in before.hands} == {id(hand) for hand in after.hands}


def jittering(count=24, amount=0.006):
    """A hand that moves evenly and closes, and the same with jitter."""
    generator = torch.Generator().manual_seed(3)

    def noise(scale):
        return (torch.randn(1, generator=generator) * scale).item()

    clean, shaky = [], []
    for number in range(count):
        x, curl, roll = -0.1 + 0.008 * number, 0.2 + 0.02 * number, 2.0 * number
        clean.append([hand_at(x, 0.0, curl=curl, roll=roll)])
        shaky.append([hand_at(x + noise(amount), noise(amount), curl=min(1, max(0, curl + noise(0.06))),
                              roll=roll + noise(4), depth=0.7 + noise(0.03))])  # fmt: skip
    return video(*clean), video(*shaky)


def errors(one: Hands, other: Hands) -> float:
    """Mean distance of the joints in metres."""
    pairs = zip(one.frames, other.frames, strict=True)
    return sum(float((a.hands[0].joints - b.hands[0].joints).norm(dim=-1).mean()) for a, b in pairs) / len(one.frames)


def test_smoothing_takes_jitter_out_and_does_not_lag():
    clean, shaky = jittering()
    found = {strength: errors(smooth_hands(shaky, strength).hands, clean) for strength in (0.0, 0.5, 0.7)}
    assert found[0.0] == pytest.approx(errors(shaky, clean))
    assert found[0.5] < 0.65 * found[0.0] and found[0.7] < 0.5 * found[0.0]
    even = smooth_hands(clean, 0.7).hands
    assert errors(even, clean) < 0.0015, "an even motion is left as it is"


def test_smoothed_hands_stay_possible_and_whole():
    _, shaky = jittering(12)
    for frame in smooth_hands(shaky, 0.8).hands.frames:
        (hand,) = frame.hands
        angles = rotations_to_angles(MODEL, hand.rotations()[None])[0]
        assert bool((angles >= LIMITS[:, 0] - 0.02).all() and (angles <= LIMITS[:, 1] + 0.02).all())
        again = make_hand(
            MODEL, pose=hand.pose, side=hand.side, orientation=hand.orientation, translation=hand.translation,
            shape=hand.shape, width=WIDTH, height=HEIGHT,
        )  # fmt: skip
        assert torch.allclose(again.vertices, hand.vertices, atol=1e-5)
        assert torch.allclose(again.box, hand.box, atol=1e-5)
        assert torch.allclose(again.joints_2d, hand.joints_2d, atol=1e-5)


def test_one_hand_gets_one_shape_and_stays_where_it_is_in_the_picture():
    shapes = torch.randn(9, MODEL.shape_count, generator=torch.Generator().manual_seed(1)) * 0.5
    hands = video(*([hand_at(0, 0, shape=shape)] for shape in shapes))
    smoothed = smooth_hands(hands, 0.3).hands
    found = torch.stack([frame.hands[0].shape for frame in smoothed.frames])
    assert torch.allclose(found, shapes.mean(dim=0).expand_as(found), atol=1e-5)
    for before, after in zip(hands.frames, smoothed.frames, strict=True):
        assert torch.allclose(before.hands[0].joints_2d, after.hands[0].joints_2d, atol=0.03)


def test_a_side_that_slips_is_put_right():
    frames = [[hand_at(0.01 * number, 0, "right")] for number in range(7)]
    slipped = frames[3][0].replace(side="left", unsure=True)
    frames[3] = [slipped]
    smoothed = smooth_hands(video(*frames), 0.3)
    assert {frame.hands[0].side for frame in smoothed.hands.frames} == {"right"}
    assert "1 side put right" in smoothed.note


def test_a_lost_hand_is_held():
    hands = video([hand_at(0, 0)], [hand_at(0.01, 0)], [], [], [])
    smoothed = smooth_hands(hands, 0.0, hold=2).hands
    assert [len(frame.hands) for frame in smoothed.frames] == [1, 1, 1, 1, 0]
    assert torch.equal(smoothed.frames[3].hands[0].vertices, hands.frames[1].hands[0].vertices)
    assert smoothed.frames[3].hands[0].notes == ("Not seen in this picture: held as in picture 1.",)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: smooth_hands(video([]), 1.5), "between 0 and 1"),
        (lambda: smooth_hands(video([]), math.nan), "between 0 and 1"),
        (lambda: smooth_hands(video([]), fill_gaps=-1), "fewer than none"),
        (lambda: smooth_hands(Hands((Frame(8, 8), Frame(9, 8)))), "8 x 8, 9 x 8"),
        (lambda: smooth_hands(video([hand_at(0, 0).replace(model="mine")] * 1)), "'mine' cannot be smoothed"),
    ],
)
def test_wrong_input_gets_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_nothing_comes_of_nothing():
    empty = Hands((Frame(8, 8, (), "Nothing was seen."), Frame(8, 8)))
    smoothed = smooth_hands(empty, 0.5, hold=3)
    assert [frame.note for frame in smoothed.hands.frames] == ["Nothing was seen.", ""]
    assert smoothed.note == "0 hands through 2 pictures."


@given(st.integers(1, 5), st.integers(0, 2), st.randoms(use_true_random=False))
def test_the_assignment_costs_least(rows, more, random):
    costs = [[random.choice([random.random(), random.randint(0, 2)]) for _ in range(rows + more)] for _ in range(rows)]
    chosen = assignment(costs)
    assert len(set(chosen)) == rows
    least = min(
        sum(costs[i][c] for i, c in enumerate(columns)) for columns in itertools.permutations(range(rows + more), rows)
    )
    assert sum(costs[i][c] for i, c in enumerate(chosen)) == pytest.approx(least)
