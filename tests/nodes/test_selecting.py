"""Hands chosen, switched, weighted, ordered, joined, on the host's canvas."""

import importlib

import pytest
import torch


@pytest.fixture(scope="module")
def hands_module(plugin):
    return importlib.import_module(f"{plugin.__name__}.handrawer.hand.hands")


@pytest.fixture(scope="module")
def three(hands_module):
    """A small left hand, a large right one, a right one of middle size."""
    places = (("left", 0.1, 0.25), ("right", 0.45, 0.8), ("right", 0.85, 0.4))
    hands = [
        hands_module.hand_from_gesture("open", side, 400, 200, centre=(x, 0.5), size=size).hands[0]
        for side, x, size in places
    ]
    return hands_module.Frame(400, 200, tuple(hands))


@pytest.fixture
def select(nodes, hands_module):
    def run(*frames, **changes) -> tuple:
        inputs = {
            "choose": "all", "numbers": "0", "x": 0.5, "y": 0.5, "invert": False, "others": "drop",
            "enabled": "unchanged", "weight": 1.0, "order": "unchanged", "side": "unchanged", **changes,
        }  # fmt: skip
        with torch.inference_mode():
            node = nodes("selecting").HanDrawerSelectHands
            return node.execute(hands=hands_module.Hands(frames), **inputs).result

    return run


def test_numbers_over_a_batch(select, three, hands_module):
    chosen, others, note = select(three, hands_module.Frame(400, 200, (), "Nothing here."), choose="numbers",
                                  numbers="0, 2")  # fmt: skip
    assert [[h.side for h in f.hands] for f in chosen.frames] == [["left", "right"], []]
    assert [h.side for h in others.frames[0].hands] == ["right"] and others.frames[0].hands[0] is three.hands[1]
    assert note == (
        "Picture 0: Chosen: hand 0 (left), hand 2 (right).\nPicture 1: Nothing chosen: there is no hand. Nothing here."
    )
    assert chosen.frames[1].note == "Nothing here."


@pytest.mark.parametrize(
    ("changes", "places"),
    [({"choose": "left"}, [0]), ({"choose": "right"}, [1, 2]), ({"choose": "largest"}, [1]),
     ({"choose": "nearest", "x": 1.0}, [2]), ({"choose": "largest", "invert": True}, [0, 2]), ({}, [0, 1, 2])],
)  # fmt: skip
def test_ways_of_choosing(select, three, changes, places):
    chosen, others, _ = select(three, **changes)
    assert [three.hands.index(hand) if hand in three.hands else None for hand in others.frames[0].hands] == [
        n for n in range(3) if n not in places
    ]
    assert [hand.box.tolist() for hand in chosen.frames[0].hands] == [three.hands[n].box.tolist() for n in places]


def test_no_match_is_no_error(select, three, hands_module):
    right_only = hands_module.Frame(400, 200, three.hands[1:])
    chosen, others, note = select(right_only, choose="left")
    assert chosen.count == 0 and others.count == 2
    assert note == "Nothing chosen of hand 0 (right), hand 1 (right)."
    chosen, _, note = select(hands_module.Frame(4, 4), choose="largest", side="left", order="in front")
    assert chosen.count == 0 and note == "Nothing chosen: there is no hand."


def test_switching_weighing_and_the_others(select, three):
    chosen, _, _ = select(three, choose="largest", others="keep", enabled="off", weight=0.5)
    assert [hand.enabled for hand in chosen.frames[0].hands] == [True, False, True]
    assert [hand.weight for hand in chosen.frames[0].hands] == [1.0, 0.5, 1.0]
    again, _, _ = select(*chosen.frames, choose="numbers", numbers="1", others="switch off", enabled="on", weight=3.0)
    assert [hand.enabled for hand in again.frames[0].hands] == [False, True, False]
    assert [hand.weight for hand in again.frames[0].hands] == [1.0, 1.5, 1.0]
    assert all(hand.enabled and hand.weight == 1 for hand in three.hands), "the input is not changed"


def test_order(select, three):
    front, _, _ = select(three, choose="left", others="keep", order="in front")
    assert [hand.z_order for hand in front.frames[0].hands] == [1, None, None]
    more, _, _ = select(*front.frames, choose="largest", others="keep", order="in front")
    assert [hand.z_order for hand in more.frames[0].hands] == [1, 2, None]
    behind, _, _ = select(*more.frames, choose="left", others="keep", order="behind")
    assert [hand.z_order for hand in behind.frames[0].hands] == [-1, 2, None]
    depth, _, _ = select(*behind.frames, order="by depth")
    assert [hand.z_order for hand in depth.frames[0].hands] == [None, None, None]


@pytest.mark.parametrize(("side", "expected"), [("left", ["left", "left"]), ("the other", ["right", "left"])])
def test_the_side_is_fitted_again(select, three, side, expected):
    chosen, others, _ = select(three, choose="numbers", numbers="0-1", side=side, weight=0.5)
    assert [hand.side for hand in chosen.frames[0].hands] == expected
    assert [hand.weight for hand in chosen.frames[0].hands] == [0.5, 0.5]
    for old, new in zip(three.hands, chosen.frames[0].hands, strict=False):
        far = ((old.joints_2d - new.joints_2d) * torch.tensor([400, 200])).norm(dim=1).mean()
        assert float(far) < 0.05 * 200 and (new.side == old.side) == torch.equal(new.vertices, old.vertices)
    assert [hand.side for hand in others.frames[0].hands] == ["right"]


def test_what_is_no_list_of_numbers_is_a_sentence(select, three, hands_module):
    with pytest.raises(ValueError, match=r"^numbers: 'two' is no number of a hand"):
        select(three, choose="numbers", numbers="two")
    select(three, choose="left", numbers="two")  # not asked for
    stranger = hands_module.Frame(400, 200, (three.hands[0].replace(model="stranger"),))
    with pytest.raises(ValueError, match=r"^side: A hand of the model 'stranger' cannot be fitted again"):
        select(stranger, side="right")


@pytest.fixture
def join(nodes, hands_module):
    def run(first, more=None, mode="same pictures", repeat=1) -> tuple:
        with torch.inference_mode():
            node = nodes("selecting").HanDrawerJoinHands
            second = None if more is None else hands_module.Hands(more)
            return node.execute(hands=hands_module.Hands(first), mode=mode, repeat=repeat, more=second).result

    return run


def test_joining(join, three, hands_module):
    empty, small = hands_module.Frame(400, 200), hands_module.Frame(100, 100, three.hands[:1])
    joined, note = join((three, empty), (empty,))
    assert [len(f.hands) for f in joined.frames] == [3, 0] and note == "Picture 1: No hand."
    joined, note = join((three,), (small, empty), "one after another")
    assert [len(f.hands) for f in joined.frames] == [3, 1, 0]
    assert note.splitlines()[0] == "Hands of pictures of another size were placed on 400 x 200 pixels."
    joined, note = join((three,), (small, empty))
    assert [len(f.hands) for f in joined.frames] == [4, 3] and "400 x 200" in note
    for mode in ("same pictures", "one after another"):
        joined, note = join((three, empty), mode=mode, repeat=2)
        assert [len(f.hands) for f in joined.frames] == [3, 0, 3, 0]
