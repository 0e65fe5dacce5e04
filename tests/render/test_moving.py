"""Pictures moved like their hands."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handrawer.hand import transform
from handrawer.hand.hands import Frame, hand_from_gesture
from handrawer.render.maps import render_layers
from handrawer.render.moving import transform_picture

PICTURE = torch.rand(2, 20, 30, 3, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize(
    ("move", "expected"),
    [
        (transform.identity(30, 20), lambda p: p),
        (transform.crop(30, 20, 5, 3, 10, 12), lambda p: p[:, 3:15, 5:15]),
        (transform.flip(30, 20), lambda p: p.flip(2)),
        (transform.flip(30, 20, False, True), lambda p: p.flip(1)),
        (transform.flip(30, 20, True, True), lambda p: p.flip(1, 2)),
        (transform.rotate(30, 20, 90), lambda p: torch.rot90(p, 1, (2, 1))),
        (transform.rotate(30, 20, 180), lambda p: torch.rot90(p, 2, (2, 1))),
        (transform.rotate(30, 20, 270), lambda p: torch.rot90(p, 3, (2, 1))),
        (transform.pad(30, 20, 1, 2, 3, 4), lambda p: torch.nn.functional.pad(p, (0, 0, 1, 3, 2, 4), value=0.25)),
        (transform.crop(30, 20, 100, 0, 4, 4), lambda p: torch.full((2, 4, 4, 3), 0.25)),
        (transform.crop(30, 20, -2, 18, 4, 4).then(transform.flip(4, 4)),
         lambda p: torch.nn.functional.pad(p[:, 18:, :2], (0, 0, 2, 0, 0, 2), value=0.25).flip(2)),
    ],
)  # fmt: skip
def test_whole_pixels_are_copied(move, expected):
    """As the host's Image Crop, Image Flip, Image Rotate and Pad Image do it."""
    assert torch.equal(transform_picture(PICTURE, move, background=0.25), expected(PICTURE))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 3), st.booleans(), st.integers(-9, 9), st.integers(-9, 9))
def test_copies_and_samples_agree(quarters, mirrored, x, y):
    from handrawer.render import moving

    turned = transform.rotate(30, 20, 90 * quarters)
    whole = transform.flip(30, 20, mirrored).then(turned)
    whole = whole.then(transform.crop(whole.target_width, whole.target_height, x, y, 17, 23))
    copied = moving._copied(PICTURE, whole, 0.0)
    assert torch.allclose(copied, moving._sampled(PICTURE, whole, 0.0), atol=1e-5)


def test_without_a_background_the_edge_goes_on():
    padded = transform.pad(30, 20, 3, 2, 4, 5)
    expected = torch.nn.functional.pad(PICTURE.permute(0, 3, 1, 2), (3, 4, 2, 5), mode="replicate").permute(0, 2, 3, 1)
    assert torch.equal(transform_picture(PICTURE, padded, background=None), expected)
    larger = transform_picture(PICTURE, padded.then(transform.resize(37, 27, 74, 54)), background=None)
    assert torch.allclose(larger[:, :4, 6:66], larger[:, 4:5, 6:66].expand(-1, 4, -1, -1)), "rows above are the first"
    assert torch.allclose(larger[:, 4:44, :6], larger[:, 4:44, 6:7].expand(-1, -1, 6, -1))


def test_masks_and_sizes():
    assert transform_picture(torch.ones(1, 20, 30, 1), transform.rotate(30, 20, 90)).shape == (1, 30, 20, 1)
    with pytest.raises(ValueError, match="30 x 20 pixels, these have 20 x 30"):
        transform_picture(torch.ones(1, 30, 20, 3), transform.identity(30, 20))


@pytest.mark.parametrize(
    "move",
    [
        transform.crop(160, 120, 30, 10, 96, 96),
        transform.flip(160, 120),
        transform.rotate(160, 120, 270),
        transform.rotate(160, 120, -33),
        transform.resize(160, 120, 240, 180),
        transform.resize(160, 120, 80, 80),
        transform.flip(160, 120, False, True).then(transform.rotate(160, 120, 20, False)),
    ],
    ids=["crop", "flip", "quarter", "turn", "grow", "shrink", "all"],
)
def test_the_render_of_moved_hands_is_the_moved_render(move):
    """Up to the edges' antialiasing."""
    frame = hand_from_gesture("peace", "right", 160, 120, centre=(0.55, 0.5), size=0.8, orientation=(30, 10, 20))
    mask = render_layers(frame, ("mask",), antialias=4)["mask"]
    expected = transform_picture(mask[..., None], move)[..., 0]
    found = render_layers(move.frame(frame), ("mask",), antialias=4)["mask"]
    assert found.shape == expected.shape
    difference = (found - expected).abs()
    assert float(difference.mean()) < 0.004
    solid = torch.nn.functional.avg_pool2d(expected[None], 5, 1, 2)[0]
    assert float(difference[(solid > 1 - 1e-6) | (solid < 1e-6)].max()) < 1e-3, "only edges differ"


@pytest.mark.parametrize(
    "move",
    [transform.flip(160, 120), transform.rotate(160, 120, 90), transform.flip(160, 120, False, True),
     transform.rotate(160, 120, 180), transform.pad(160, 120, 8, 4, 2, 6), transform.rotate(160, 120, 41)],
    ids=["flip", "quarter", "upside down", "half", "pad", "turn"],
)  # fmt: skip
def test_depth_moves_along(move):
    """Two hands, one before the other: the same depths, for nothing comes nearer in the camera."""
    near = hand_from_gesture("peace", "right", 160, 120, centre=(0.6, 0.5), size=0.8, orientation=(30, 10, 20))
    far = hand_from_gesture("open", "left", 160, 120, centre=(0.4, 0.5), size=0.6)
    frame = Frame(160, 120, near.hands + far.hands)
    expected = transform_picture(render_layers(frame, ("depth",))["depth"][..., None], move)[..., 0]
    found = render_layers(move.frame(frame), ("depth",))["depth"]
    assert float((found - expected).abs().mean()) < (1e-6 if move.right_angled else 0.01)
