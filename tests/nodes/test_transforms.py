"""Hands moved with their pictures and back, on the host's canvas."""

import importlib
from collections import namedtuple

import pytest
import torch

STILL = {
    "crop_x": 0, "crop_y": 0, "crop_width": 0, "crop_height": 0, "flip": "none", "rotate": 0.0, "expand": True,
    "resize_width": 0, "resize_height": 0, "resize_mode": "contain", "pad_left": 0, "pad_top": 0, "pad_right": 0,
    "pad_bottom": 0,
}  # fmt: skip
Seg = namedtuple("Seg", "cropped_image cropped_mask confidence crop_region bbox label control_net_wrapper")


@pytest.fixture(scope="module")
def hands_module(plugin):
    return importlib.import_module(f"{plugin.__name__}.handrawer.hand.hands")


@pytest.fixture(scope="module")
def hands(hands_module):
    frame = hands_module.hand_from_gesture(
        "point", "right", 160, 120, centre=(0.6, 0.5), size=0.7, orientation=(20, 5, 30)
    )
    return hands_module.Hands((frame,))


@pytest.fixture
def move(nodes):
    def run(hands, **changes) -> tuple:
        with torch.inference_mode():
            return nodes("transforms").HanDrawerTransformHands.execute(hands=hands, **{**STILL, **changes}).result

    return run


@pytest.fixture
def back(nodes):
    def run(hands, transform, **changes) -> tuple:
        with torch.inference_mode():
            node = nodes("transforms").HanDrawerPasteHandsBack
            return node.execute(hands=hands, transform=transform, **{"feather": 0, **changes}).result

    return run


def mask_of(plugin, hands):
    maps = importlib.import_module(f"{plugin.__name__}.handrawer.render.maps")
    return maps.render_layers(hands, ("mask",))["mask"]


def test_nothing_set_moves_nothing(move, hands):
    image = torch.rand(2, 120, 160, 3)
    moved, picture, transform, note = move(hands, image=image)
    assert torch.equal(picture, image) and note == "" and len(transform) == 1
    assert torch.equal(moved.frames[0].hands[0].joints_2d, hands.frames[0].hands[0].joints_2d)


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"crop_x": 30, "crop_y": 10, "crop_width": 100, "crop_height": 90}, (100, 90)),
        ({"crop_x": -20, "crop_width": 300}, (300, 120)),
        ({"flip": "horizontally"}, (160, 120)),
        ({"flip": "vertically"}, (160, 120)),
        ({"flip": "both"}, (160, 120)),
        ({"rotate": 90.0}, (120, 160)),
        ({"rotate": 360.0}, (160, 120)),
        ({"rotate": -25.0}, (196, 177)),
        ({"rotate": 25.0, "expand": False}, (160, 120)),
        ({"resize_width": 320}, (320, 240)),
        ({"resize_height": 60}, (80, 60)),
        ({"resize_width": 200, "resize_height": 200}, (200, 200)),
        ({"resize_width": 200, "resize_height": 200, "resize_mode": "cover"}, (200, 200)),
        ({"pad_left": 1, "pad_top": 2, "pad_right": 3, "pad_bottom": 4}, (164, 126)),
        ({"crop_x": 20, "crop_width": 120, "flip": "horizontally", "rotate": 10.0, "resize_width": 300,
          "pad_top": 9}, (300, 309)),
    ],
)  # fmt: skip
def test_hands_and_picture_move_alike(plugin, move, hands, changes, size):
    """The mask of the moved hands is the moved mask, up to the edges' antialiasing."""
    before = mask_of(plugin, hands)
    moved, picture, _, note = move(hands, image=before[..., None].expand(-1, -1, -1, 3), **changes)
    (frame,) = moved.frames
    assert (frame.width, frame.height) == size == (picture.shape[2], picture.shape[1])
    after = mask_of(plugin, moved)
    assert float((after - picture[..., 0]).abs().mean()) < 0.012 and float(after.mean()) > 0.05
    mirrored = changes.get("flip") in ("horizontally", "vertically")
    assert frame.hands[0].side == ("left" if mirrored else "right")
    assert ("another shape" in note) == (changes.get("resize_width") == 200)


def test_without_a_picture_only_its_output_is_blocked(move, hands):
    _, picture, _, _ = move(hands)
    assert "connect the picture that the hands belong to" in picture.message


def test_batches_of_differing_sizes(move, hands, hands_module):
    two = hands_module.Hands((*hands.frames, hands_module.Frame(160, 120)))
    moved, picture, transform, note = move(two, image=torch.rand(3, 120, 160, 3), flip="both")
    assert len(moved.frames) == len(transform) == 2 and len(picture) == 3 and note == "Picture 1: No hand."
    moved, picture, _, _ = move(two, image=torch.rand(1, 120, 160, 3))
    assert len(picture) == 2
    none = hands_module.Hands((hands_module.Frame(160, 120),))
    moved, _, _, note = move(none, rotate=45.0)
    assert moved.count == 0 and note == "No hand."


def test_there_and_back(plugin, move, back, hands):
    image = torch.rand(1, 120, 160, 3)
    moved, picture, transform, _ = move(hands, image=image, crop_x=40, crop_y=12, crop_width=96, crop_height=96,
                                        flip="horizontally", rotate=90.0)  # fmt: skip
    again, pasted, mask, note = back(moved, transform, image=1 - picture, original=image)
    old, new = hands.frames[0].hands[0], again.frames[0].hands[0]
    assert new.side == "right" and note == ""
    assert float(((old.joints_2d - new.joints_2d) * 160).abs().max()) < 1e-3
    assert float((old.vertices - new.vertices).abs().max()) < 1e-6
    region = (slice(None), slice(12, 108), slice(40, 136))
    assert float(mask.sum()) == 96 * 96 and bool((mask[region] == 1).all())
    assert torch.allclose(pasted[region], 1 - image[region], atol=1e-6)
    outside = mask == 0
    assert torch.equal(pasted[outside], image[outside])


def test_back_from_a_scaled_crop_with_a_soft_edge(move, back, hands):
    moved, _, transform, _ = move(hands, crop_x=40, crop_y=12, crop_width=96, crop_height=96)
    larger, _, _, _ = move(moved, resize_width=384)
    again, pasted, mask, _ = back(larger, transform, image=torch.ones(2, 384, 384, 3), feather=16)
    assert (again.frames[0].width, again.frames[0].height) == (160, 120)
    assert torch.allclose(again.frames[0].hands[0].joints_2d, hands.frames[0].hands[0].joints_2d, atol=1e-5)
    assert pasted.shape == (2, 120, 160, 3)
    assert float(mask[0, 60, 88]) == pytest.approx(1) and 0 < float(mask[0, 60, 44]) < 1 and float(mask[0, 60, 39]) == 0
    assert torch.allclose(pasted[0, :, :, 0], mask[0])


def test_back_without_a_picture(move, back, hands):
    moved, _, transform, _ = move(hands, crop_width=96)
    again, picture, mask, _ = back(moved, transform)
    assert again.frames[0].width == 160 and "connect the picture" in picture.message and picture is mask


def stitcher(rows) -> dict:
    """As Inpaint Crop gives it; each row: picture and crop on the canvas (x, y, w, h), size of the output."""
    result: dict = {
        "blend_pixels": 32,
        "cropped_mask_for_blend": [torch.zeros(1, out[1], out[0]) for _, _, out in rows],
    }
    for name, place in (("canvas_to_orig", 0), ("cropped_to_canvas", 1)):
        for i, key in enumerate("xywh"):
            result[f"{name}_{key}"] = [row[place][i] for row in rows]
    return result


def test_a_stitcher_s_crop_and_size(plugin, move, back, hands, hands_module):
    """A picture scaled to twice its size on a canvas with a border, the crop reaching out of it; output 128 x 128."""
    cut = stitcher([((10, 20, 320, 240), (130, 0, 220, 220), (128, 128))])
    moved, _, transform, _ = move(hands, stitcher=cut)
    (frame,) = moved.frames
    assert (frame.width, frame.height) == (128, 128)
    old = hands.frames[0].hands[0].joints_2d * torch.tensor([320, 240]) + torch.tensor([10, 20])
    expected = (old - torch.tensor([130, 0])) * 128 / 220
    assert torch.allclose(frame.hands[0].joints_2d * 128, expected, atol=1e-3)
    again, *_ = back(moved, transform)
    assert torch.allclose(again.frames[0].hands[0].joints_2d, hands.frames[0].hands[0].joints_2d, atol=1e-5)
    both = stitcher([((0, 0, 160, 120), (0, 0, 64, 64), (64, 64)), ((0, 0, 160, 120), (60, 20, 64, 64), (64, 64))])
    moved, picture, _, _ = move(hands_module.Hands(hands.frames * 2), stitcher=both, image=torch.rand(1, 120, 160, 3))
    assert picture.shape == (2, 64, 64, 3)
    first, second = (frame.hands[0].joints_2d for frame in moved.frames)
    assert torch.allclose((first - second) * 64, torch.tensor([60.0, 20.0]).expand(21, 2), atol=1e-3)


def test_segments(move, hands):
    segments = [Seg(None, None, 0.9, (60, 30, 124, 94), (70, 40, 110, 90), "hand", None),
                {"crop_region": [0.0, 0.0, 32.0, 32.0]}]  # fmt: skip
    moved, _, _, _ = move(hands, segs=((120, 160), segments), resize_width=256)
    (frame,) = moved.frames
    expected = (hands.frames[0].hands[0].joints_2d * torch.tensor([160, 120]) - torch.tensor([60, 30])) * 4
    assert torch.allclose(frame.hands[0].joints_2d * 256, expected, atol=1e-3)
    scaled, _, _, _ = move(hands, segs=((240, 320), segments), segment=1)
    assert (scaled.frames[0].width, scaled.frames[0].height) == (32, 32)
    still, _, _, note = move(hands, segs=((120, 160), []))
    assert still.frames[0].width == 160 and note == "There are no segments: nothing was cut."


SEGS = ((120, 160), [Seg(None, None, 0.9, (0, 0, 9, 9), None, "", None)])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"crop_x": 160}, r"^crop_x: a crop from \(160, 0\) leaves nothing of a picture of 160 x 120"),
        ({"image": torch.zeros(1, 9, 9, 3)}, r"^image: it has 9 x 9 pixels, but the hands lie .* 160 x 120"),
        ({"image": torch.zeros(9, 9)}, r"^image: this is no picture"),
        ({"stitcher": {}}, r"^stitcher: This is no stitcher of Inpaint Crop and Stitch"),
        ({"stitcher": 7}, r"^stitcher: This is no stitcher"),
        ({"stitcher": stitcher([((0, 0, 160, 200), (0, 0, 9, 9), (9, 9))])},
         r"^stitcher: It was made of a picture of 160 x 200 pixels, the hands lie in one of 160 x 120"),
        ({"segs": 7}, r"^segs: These are no segments of the Impact Pack"),
        ({"segs": ((120, 160), [7])}, r"^segs: These are no segments"),
        ({"segs": SEGS, "segment": 3}, r"^segs: There is no segment 3, they are numbered 0 to 0"),
        ({"segs": ((160, 160), SEGS[1])}, r"^segs: They belong to a picture of 160 x 160 pixels"),
        ({"segs": SEGS, "stitcher": {}}, r"^segs: the stitcher says already what is cut out"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_a_sentence(move, hands, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        move(hands, **changes)


def test_a_stitcher_of_fewer_pictures_than_hands(move, hands, hands_module):
    two = stitcher([((0, 0, 160, 120), (0, 0, 64, 64), (64, 64))] * 2)
    with pytest.raises(ValueError, match=r"^stitcher: It is of 2 pictures, and there are hands of more"):
        move(hands_module.Hands(hands.frames * 3), stitcher=two)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"image": torch.zeros(1, 96, 120, 3)}, r"^image: the moved picture had 96 x 120 pixels, this has 120 x 96"),
        ({"image": torch.zeros(1, 120, 96, 3), "original": torch.zeros(1, 9, 9, 3)},
         r"^original: it has 9 x 9 pixels, but the hands' picture had 160 x 120"),
    ],
)  # fmt: skip
def test_what_does_not_fit_back_is_a_sentence(move, back, hands, changes, sentence):
    moved, _, transform, _ = move(hands, crop_width=96)
    with pytest.raises(ValueError, match=sentence):
        back(moved, transform, **changes)
    with pytest.raises(ValueError, match=r"^hands: the moved picture had 96 x 120 pixels, this has 160 x 120"):
        back(hands, transform)
