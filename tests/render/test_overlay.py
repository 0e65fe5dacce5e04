import pytest
import torch

from handrawer.hand.hands import Frame, Hands, hand_from_gesture
from handrawer.render.maps import render_layers
from handrawer.render.overlay import LIGHT, SIDE_COLOURS, draw_overlay


def two(width=192, height=128) -> Frame:
    right = hand_from_gesture("open", "right", width, height, centre=(0.25, 0.55)).hands
    left = hand_from_gesture("peace", "left", width, height, centre=(0.75, 0.55)).hands
    return Frame(width, height, right + left)


def test_only_what_a_hand_covers_changes():
    frame = two()
    pictures = torch.full((1, 128, 192, 3), 0.5)
    drawn = draw_overlay(pictures, frame, outline=False, badges=False)
    mask = render_layers(frame, ["mask"])["mask"] > 0
    assert torch.equal((drawn != 0.5).any(-1) & ~mask, torch.zeros_like(mask))
    assert float(((drawn != 0.5).any(-1) & mask).sum()) > 0.99 * float(mask.sum())
    assert (pictures == 0.5).all()


def test_sides_have_their_colours():
    drawn = draw_overlay(torch.zeros(1, 128, 192, 3), two(), opacity=1)[0]
    right, left = drawn[:, :96].reshape(-1, 3).mean(0), drawn[:, 96:].reshape(-1, 3).mean(0)
    assert right[2] > 1.5 * right[0] and left[0] > 1.5 * left[2]


def test_outlines_lie_beside_the_hand_and_badges_on_it():
    frame = two()
    pictures = torch.ones(1, 128, 192, 3)
    bare = draw_overlay(pictures, frame, outline=False, badges=False)
    lined = draw_overlay(pictures, frame, badges=False)
    labelled = draw_overlay(pictures, frame, outline=False)
    mask = render_layers(frame, ["mask"])["mask"]
    changed = (bare != lined).any(-1)
    assert changed.any() and not changed[mask == 1].any()
    assert lined[changed].mean() < bare[changed].mean()
    plates = (bare != labelled).any(-1)[0]
    assert plates[:, :96].any() and plates[:, 96:].any()
    # The numbers differ, and so do the plates' pixels.
    swapped = draw_overlay(pictures, Frame(192, 128, frame.hands[::-1]), outline=False)
    assert not torch.equal(swapped, labelled)


def test_badges_do_not_cover_each_other():
    one = hand_from_gesture("open", "right", 256, 256, centre=(0.5, 0.5)).hands[0]
    other = one.replace(side="left")

    def plates(*hands):
        drawn = draw_overlay(torch.zeros(1, 256, 256, 3), Frame(256, 256, hands), opacity=0, outline=False)[0]
        return [int((drawn == torch.tensor(colour)).all(-1).sum()) for colour in SIDE_COLOURS.values()]

    alone = plates(one)[0] + plates(other)[1]
    assert plates(one)[0] > 200 and plates(one)[1] == 0
    # A digit takes a little more or less of a plate than another.
    assert sum(plates(one, other, other, one)) == pytest.approx(2 * alone, rel=0.05)


def test_a_badge_lies_on_what_is_seen_of_its_hand():
    frame = two()
    drawn = draw_overlay(torch.zeros(1, 128, 192, 3), frame, opacity=0, outline=False)[0]
    for hand, colour in zip(frame.hands, SIDE_COLOURS.values(), strict=True):
        plate = torch.nonzero((drawn == torch.tensor(colour)).all(-1)).float().mean(0).flip(0)
        assert (plate - hand.joints_2d[0] * torch.tensor([192, 128])).norm() < 8


def test_shading_comes_from_above():
    frame = hand_from_gesture("fist", width=128, height=128)
    drawn = draw_overlay(torch.zeros(1, 128, 128, 3), frame, opacity=1, outline=False, badges=False)[0].sum(-1)
    normals = 2 * render_layers(frame, ["normals"], normals="opengl")["normals"][0] - 1
    mask = render_layers(frame, ["mask"])["mask"][0] == 1
    assert drawn[mask & (normals[..., 1] > 0.4)].mean() > 1.15 * drawn[mask & (normals[..., 1] < -0.4)].mean()
    assert sum(v * v for v in LIGHT) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels(channels):
    assert draw_overlay(torch.zeros(2, 32, 48, channels), two(48, 32)).shape == (2, 32, 48, 3)


def test_batches_sizes_and_empty_frames():
    frame = two(48, 32)
    pictures = torch.rand(3, 40, 40, 3, generator=torch.Generator().manual_seed(0))
    drawn = draw_overlay(pictures, Hands((frame, Frame(48, 32))))
    assert not torch.equal(drawn[0], pictures[0])
    assert torch.equal(drawn[1], pictures[1])
    assert not torch.equal(drawn[2], pictures[2])
    assert draw_overlay(torch.zeros(1, 1, 1, 3), frame).shape == (1, 1, 1, 3)
    beside = hand_from_gesture("open", "left", 48, 32, centre=(2.5, -2.0))
    assert torch.equal(draw_overlay(pictures, beside, badges=False), pictures)
    off = Frame(48, 32, tuple(hand.replace(enabled=False) for hand in frame.hands))
    assert torch.equal(draw_overlay(pictures, off), pictures)
    with pytest.raises(ValueError, match="must be"):
        draw_overlay(torch.zeros(3, 3, 3), frame)
