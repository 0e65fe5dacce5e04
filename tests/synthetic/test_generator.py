"""The generator: the same number gives the same picture, and the labels are those of the picture."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handrawer.hand.camera import project
from handrawer.hand.model import load_open_hand
from handrawer.render.maps import render_layers
from handrawer.synthetic.generator import Generator
from handrawer.synthetic.objects import KINDS
from handrawer.synthetic.options import CAMERA, FULL, PLAIN, SyntheticOptions
from handrawer.synthetic.words import captions
from handrawer.train.sources import Plain, open_synthetic

SIZE = 64
NAMES = [field.name for field in dataclasses.fields(SyntheticOptions)]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def generator(size: int = SIZE, **shares: float) -> Generator:
    return Generator.create(3, size, load_open_hand(), SyntheticOptions(**shares))


def test_without_options_it_draws_the_plain_pictures():
    numbers = [0, 5, 11]
    plain, rich = Plain.create(3, SIZE, load_open_hand()), generator()
    one, two = plain.scene(numbers), rich.scene(numbers)
    alone = torch.cat([plain.pictures(plain.scene([number])) for number in numbers])
    assert torch.allclose(rich.pictures(two), alone, atol=1e-5)
    assert rich.captions(two) == plain.captions(one)
    for a, b in zip(plain.hands(one).frames, rich.hands(two).frames, strict=True):
        assert torch.allclose(a.hands[0].joints_2d, b.hands[0].joints_2d, atol=1e-5)
    a, b = plain.mask(one, 8, 8), rich.mask(two, 8, 8)  # the sleeve hides the stub of the forearm in one of them
    assert float((a - b).abs().mean()) < 0.04
    assert isinstance(open_synthetic(3, SIZE, load_open_hand(), PLAIN), Plain)


def test_a_picture_depends_on_its_number_alone():
    drawn = Generator.create(4, SIZE, load_open_hand(), dataclasses.replace(FULL, two_hands=0.6, holding=0.6))
    numbers = [7, 2, 9, 4]
    together = drawn.scene(numbers)
    pictures, masks, said = drawn.pictures(together), drawn.mask(together, 8, 8), drawn.captions(together)
    inputs, hands = drawn.inputs(together, 16), drawn.hands(together)
    for place, number in reversed(list(enumerate(numbers))):
        alone = drawn.scene([number])
        assert torch.equal(drawn.pictures(alone)[0], pictures[place])
        assert torch.equal(drawn.mask(alone, 8, 8)[0], masks[place]) and drawn.captions(alone)[0] == said[place]
        own = inputs.hand(inputs.picture == place)
        other = drawn.inputs(alone, 16)
        for name in ("vertices", "points", "box", "geometry", "visible", "side"):
            assert torch.equal(getattr(own, name), getattr(other, name)), name
        for a, b in zip(hands.frames[place].hands, drawn.hands(alone).frames[0].hands, strict=True):
            assert torch.equal(a.joints_2d, b.joints_2d)
    again = Generator.create(5, SIZE, load_open_hand(), drawn.options)
    assert not torch.equal(again.pictures(again.scene([7])), pictures[:1])


def test_drawn_together_they_are_the_same_but_for_rounding():
    """As a GPU draws them."""
    options = dataclasses.replace(FULL, two_hands=0.5, holding=0.6, occluder=0.4, people=0.6, jpeg=0.0)
    alone = Generator.create(4, SIZE, load_open_hand(), options)
    many = dataclasses.replace(alone, together=5)
    numbers = list(range(20, 32))
    one, two = alone.scene(numbers), many.scene(numbers)
    assert len(two.parts) == 3 and len(two) == len(one) == 12
    away = (alone.pictures(one) - many.pictures(two)).abs()
    assert float(away.mean()) < 2e-4 and float((away > 0.02).float().mean()) < 1e-3
    assert torch.allclose(alone.mask(one, 8, 8), many.mask(two, 8, 8), atol=5e-3)
    assert alone.captions(one) == many.captions(two)
    a, b = alone.inputs(one, 16), many.inputs(two, 16)
    assert torch.equal(a.picture, b.picture) and torch.equal(a.side, b.side) and a.alone == b.alone
    assert torch.allclose(a.vertices, b.vertices, atol=1e-4) and torch.allclose(a.box, b.box, atol=1e-4)
    for x, y in zip(alone.hands(one).frames, many.hands(two).frames, strict=True):
        assert [hand.side for hand in x.hands] == [hand.side for hand in y.hands]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "crossing"])
def test_every_option_alone_changes_the_picture_and_nothing_that_it_should_not(name):
    numbers = [0, 1, 2]
    plain, changed = generator(), generator(SIZE, **{name: 1.0, "crossing": 0.0})
    one, two = plain.scene(numbers), changed.scene(numbers)
    for world in two.parts:
        assert [key for key in NAMES if bool(world.chosen[key].any())] == [name]
    a, b = plain.pictures(one), changed.pictures(two)
    # A weak defocus of 64 pixels is none.
    assert any(float((x - y).abs().mean()) > 2e-5 for x, y in zip(a, b, strict=True))
    before, after = plain.hands(one).frames, changed.hands(two).frames
    still = name in (*CAMERA, "people", "clutter", "occluder")
    for x, y in zip(before, after, strict=True):
        assert len(y.hands) == (2 if name == "two_hands" else 1)
        assert torch.equal(x.hands[0].joints_2d, y.hands[0].joints_2d) == still
    same = torch.equal(plain.mask(one, 8, 8), changed.mask(two, 8, 8))
    assert same == ((name in CAMERA and name != "motion_blur") or name in ("people", "clutter"))
    assert float(b.min()) >= 0 and float(b.max()) <= 1


@pytest.mark.parametrize("shares", [
    {}, {"distortion": 1.0}, {"two_hands": 1.0}, {"two_hands": 1.0, "crossing": 1.0, "distortion": 1.0},
    {"edge": 1.0, "distortion": 1.0}, {"far": 1.0, "people": 1.0},
])  # fmt: skip
def test_mask_and_joints_lie_where_the_picture_shows_the_hands(shares):
    drawn = generator(128, **shares)
    worlds = drawn.scene([0, 1, 2, 3, 4, 5])
    hands, masks = drawn.hands(worlds), drawn.mask(worlds, 128, 128)[:, 0]
    silhouettes = render_layers(hands, ("mask",), 128, 128)["mask"]
    assert float((masks - silhouettes).clamp_min(0).mean()) < 0.002, "a mask reaches beyond the hands"
    for mask, silhouette, frame in zip(masks, silhouettes, hands.frames, strict=True):
        # A sleeve may hide the wrist; all else of the silhouette is seen.
        assert float(mask.sum() / silhouette.sum()) > 0.75
        for hand in frame.hands:
            assert torch.allclose(hand.joints_2d, project(hand.joints, hand.camera, 128, 128), atol=1e-5)
        for x, y in frame.hands[0].joints_2d[[9, 13]].tolist():  # knuckles lie under the skin
            if 0 < x < 1 and 0 < y < 1:
                assert float(silhouette[int(y * 128), int(x * 128)]) > 0.5


def test_inputs_are_those_of_the_hands():
    drawn = generator(two_hands=0.5, crossing=0.5, distortion=1.0)
    worlds = drawn.scene([0, 1, 2, 3])
    inputs, hands = drawn.inputs(worlds, 16), drawn.hands(worlds)
    assert inputs.picture.tolist() == [k for k, frame in enumerate(hands.frames) for _ in frame.hands]
    assert inputs.pictures == 4 and not inputs.alone
    every = [hand for frame in hands.frames for hand in frame.hands]
    for k, hand in enumerate(every):
        low, high = inputs.box[k, :2], inputs.box[k, 2:]
        flat = inputs.points[k] * (high - low) + low
        assert torch.allclose(flat, project(hand.vertices, hand.camera, SIZE, SIZE), atol=1e-4)
        assert (float(inputs.side[k]) < 0) == (hand.side == "left")
    from handrawer.adapter.inputs import hand_inputs

    other = hand_inputs(hands, load_open_hand(), 16)
    assert torch.allclose(inputs.geometry, other.geometry, atol=2e-3)
    assert float((inputs.visible - other.visible).abs().mean()) < 0.01


def test_what_hides_a_hand_is_taken_from_its_mask():
    free, hidden = generator(128), generator(128, occluder=1.0)
    numbers = list(range(6))
    a, b = free.mask(free.scene(numbers), 128, 128), hidden.mask(hidden.scene(numbers), 128, 128)
    shares = b.sum((1, 2, 3)) / a.sum((1, 2, 3))
    assert bool((b <= a + 1e-6).all()) and float(shares.mean()) < 0.93 and float(shares.min()) > 0.1


def test_hands_that_cross_overlap_in_the_picture_and_not_in_space():
    worlds = generator(two_hands=1.0, crossing=1.0).scene(list(range(12)))
    overlaps = 0
    for world in worlds.parts:
        one, two = world.first.posed.vertices[0, :, 2], world.second.posed.vertices[0, :, 2]
        stub = load_open_hand().regions["forearm"]
        own = torch.ones(len(one), dtype=torch.bool)
        own[stub] = False
        assert float(one[own].max()) < float(two[own].min()) or float(two[own].max()) < float(one[own].min())
        boxes = [world.first.project(s.posed.vertices[:, own])[0] for s in (world.first, world.second)]
        low = torch.maximum(boxes[0].amin(0), boxes[1].amin(0))
        high = torch.minimum(boxes[0].amax(0), boxes[1].amax(0))
        overlaps += bool((high > low).all())
    assert overlaps >= 10


def test_an_edge_cuts_a_hand_but_leaves_most_of_it():
    drawn = generator(edge=1.0)
    for frame in drawn.hands(drawn.scene(list(range(12)))).frames:
        (hand,) = frame.hands
        outside = ((hand.joints_2d < 0) | (hand.joints_2d > 1)).any(-1).sum()
        assert float(hand.box.min()) < 0 or float(hand.box.max()) > 1
        assert int(outside) <= 16


def test_shares_are_kept():
    drawn = dataclasses.replace(generator(two_hands=0.3, crossing=0.5, holding=0.4, people=0.2), together=50)
    worlds = drawn.scene(list(range(150)))
    share = {name: sum(int(w.chosen[name].sum()) for w in worlds.parts) / 150 for name in NAMES}
    assert 0.2 < share["two_hands"] < 0.4 and 0.08 < share["crossing"] < 0.24
    assert 0.3 < share["holding"] < 0.5 and 0.12 < share["people"] < 0.29
    held = [int(kind) for w in worlds.parts for kind in w.grasp.flatten().tolist() if kind >= 0]
    assert len(set(held)) >= 8 and len(held) >= 0.3 * 150


def test_captions_name_what_is_seen():
    drawn = generator(two_hands=1.0, crossing=1.0, holding=1.0, occluder=1.0, people=1.0, exposure=1.0)
    holding = 0
    for world in drawn.scene(list(range(8))).parts:
        seen = drawn._drawn(world)[2]
        assert torch.allclose(seen[:, :-1].sum(1), torch.ones(1), atol=1e-4)
        (text,) = captions(world, seen, 3, everything=True)
        assert text.startswith("two hands, a ") and "one hand before the other" in text and " skin" in text
        objects = [
            KINDS[kind] for k, kind in enumerate(world.grasp[0].tolist()) if kind >= 0 and seen[0, 4 + k] > 0.002
        ]
        assert text.count(" holding a ") == len(objects) and all(f"holding a {kind}" in text for kind in objects)
        assert ("partly hidden by a " in text) == (float(seen[0, 3]) > 0.002)
        assert ("in the background" in text) == (float(seen[0, -1]) > 0.002)
        assert ("dark photo" in text) == (float(world.stops) < -0.7)
        holding += len(objects)
    assert holding >= 6
    (text,) = captions(world, torch.zeros_like(seen), 3, everything=True)  # nothing of it is seen
    assert "holding" not in text and "hidden" not in text and "background, " not in text.split(" light")[-1]
    single = generator(holding=1.0, edge=1.0)
    (text,) = captions(single.scene([1]).parts[0], torch.ones(1, 7), 3, everything=True)
    assert " hand holding a " in text and "cut by the edge" in text and "two hands" not in text


@settings(max_examples=10, deadline=None)
@given(
    number=st.integers(0, 2**40), seed=st.integers(0, 10**6),
    shares=st.fixed_dictionaries({name: st.sampled_from([0.0, 0.5, 1.0]) for name in NAMES}),
)  # fmt: skip
def test_any_number_and_any_options_give_a_picture(number, seed, shares):
    drawn = Generator.create(seed, SIZE, load_open_hand(), SyntheticOptions(**shares))
    worlds = drawn.scene([number])
    picture, mask, inputs = drawn.pictures(worlds), drawn.mask(worlds, 8, 8), drawn.inputs(worlds, 8)
    assert picture.shape == (1, 3, SIZE, SIZE) and bool(torch.isfinite(picture).all())
    assert float(picture.min()) >= 0 and float(picture.max()) <= 1 and float(picture.std()) > 0.005
    assert float(mask.min()) >= 0 and float(mask.max()) <= 1 + 1e-6
    assert len(drawn.hands(worlds).frames[0].hands) == len(inputs.picture) in (1, 2)
    assert bool(torch.isfinite(inputs.vertices).all()) and len(drawn.captions(worlds)) == 1


def test_a_share_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"'data.synthetic.holding' is 1.5"):
        SyntheticOptions(holding=1.5)
