"""Hands to pictures and masks, on the host's own classes."""

import importlib
from types import SimpleNamespace

import pytest
import torch

from handrawer.hand.hands import Frame, Hands, hand_from_gesture


@pytest.fixture(scope="module")
def rendering(nodes_package, nodes):
    return nodes("rendering")


@pytest.fixture(scope="module")
def hands_of(plugin):
    module = importlib.import_module(f"{plugin.__name__}.handrawer.hand.hands")
    return lambda *frames: module.Hands.from_json(Hands(frames).to_json())


@pytest.fixture
def run(rendering):
    def call(name: str, **inputs):
        node = getattr(rendering, name)
        hidden = SimpleNamespace(unique_id="5", prompt=None, extra_pnginfo=None)
        clone = type(node.__name__, (node,), {"hidden": hidden})
        with torch.inference_mode():
            return clone.execute(**inputs)

    return call


def two(width=96, height=64) -> Frame:
    left = hand_from_gesture("open", "left", width, height, centre=(0.3, 0.5)).hands
    right = hand_from_gesture("fist", "right", width, height, centre=(0.75, 0.5), size=0.4).hands
    return Frame(width, height, left + right)


def render(run, hands, **options):
    return run("HanDrawerRenderHands", hands=hands, depth_range="picture", normal_colours="bae", **options)


def test_all_layers_of_a_batch(run, hands_of):
    found = render(run, hands_of(two(), Frame(96, 64)))
    depth, normals, parts, skeleton, mask, overlay, note = found.args
    for picture in (depth, normals, parts, skeleton, overlay):
        assert picture.shape == (2, 64, 96, 3) and picture.dtype == torch.float32
        assert picture[0].std() > 0.02
    assert mask.shape == (2, 64, 96) and mask[0].max() == 1
    assert depth[1].max() == mask[1].max() == parts[1].max() == skeleton[1].max() == overlay[1].max() == 0
    assert note == "Picture 1: There is no hand: the pictures are black and the mask is empty."


def test_what_older_workflows_leave_out_changes_nothing(run, hands_of):
    hands = hands_of(two())
    plain = render(run, hands).args
    full = render(run, hands, depth_curve="inverse", width=0, height=0, antialias=2).args
    assert all(torch.equal(a, b) for a, b in zip(plain[:-1], full[:-1], strict=True)) and plain[-1] == full[-1] == ""


def test_another_size_keeps_the_hands_shape_and_takes_the_picture_along(run, hands_of):
    image = torch.zeros(1, 64, 96, 3)
    image[..., 0] = 1
    found = render(run, hands_of(two()), image=image, width=96, height=96).args
    assert found[0].shape == (1, 96, 96, 3)
    own = render(run, hands_of(two())).args
    assert float((found[4][:, 16:80] - own[4]).abs().mean()) < 1e-3
    assert found[4][:, :16].max() == found[4][:, 80:].max() == 0
    assert found[5][0, :16].max() == 0 and float(found[5][0, 20, 2, 0]) == 1
    with pytest.raises(ValueError, match=r"^width and height: give both"):
        render(run, hands_of(two()), width=96)


def test_depth_options_reach_the_picture(run, hands_of):
    hands = hands_of(two())
    pictures = [render(run, hands).args[0], render(run, hands, depth_curve="linear").args[0],
                render(run, hands, antialias=1).args[0]]  # fmt: skip
    assert all(not torch.equal(a, b) for a, b in zip(pictures, pictures[1:] + pictures[:1], strict=True))


def test_previews(run, hands_of):
    found = render(run, hands_of(*[two()] * 6))
    assert len(found.ui.as_dict()["images"]) == 4, "a long batch does not fill the node"
    found = run(
        "HanDrawerHandMask", hands=hands_of(two()), shape="box", padding=0.1, feather=0.1, masks="one for each hand"
    )
    assert len(found.ui.as_dict()["images"]) == 2


def test_no_picture_and_pictures_of_many_sizes_are_refused(run, hands_of):
    with pytest.raises(ValueError, match=r"^hands: they belong to no picture"):
        render(run, hands_of())
    with pytest.raises(ValueError, match=r"^hands: .*8 x 8, 8 x 9.*Place Hands"):
        render(run, hands_of(Frame(8, 8), Frame(8, 9)))
    assert render(run, hands_of(Frame(8, 8), Frame(8, 9)), width=8, height=8).args[0].shape == (2, 8, 8, 3)


@pytest.mark.parametrize("shape", ["box", "ellipse", "hull", "silhouette"])
def test_masks_for_pictures_and_for_hands(run, hands_of, rendering, shape):
    assert shape in rendering.SHAPES
    hands = hands_of(two(), Frame(96, 64), two())
    options = {"hands": hands, "shape": shape, "padding": 0.1, "feather": 0.05}
    mask, boxes, note = run("HanDrawerHandMask", **options, masks="one for each picture").args
    assert mask.shape == (3, 64, 96) and mask[1].max() == 0 and mask[0].max() == 1
    assert [len(found) for found in boxes] == [2, 0, 2]
    assert all(set(box) == {"x", "y", "width", "height"} for found in boxes for box in found)
    assert note == "Picture 1: There is no hand: the mask is empty."
    each = run("HanDrawerHandMask", **options, masks="one for each hand").args[0]
    assert each.shape == (4, 64, 96) and torch.equal(each[:2].amax(0), mask[0])


def test_the_library_has_the_shapes_that_the_node_offers(rendering):
    from handrawer.render.hand_masks import FEATHER, PADDING, SHAPES

    schema = {part.id: part for part in rendering.HanDrawerHandMask.define_schema().inputs}
    assert list(SHAPES) == schema["shape"].options
    assert (schema["padding"].default, schema["feather"].default) == (PADDING, FEATHER)


def test_masks_of_no_hands_and_of_hands_outside(run, hands_of):
    options = {"shape": "box", "padding": 0.1, "feather": 0.05, "masks": "one for each hand"}
    mask, boxes, note = run("HanDrawerHandMask", hands=hands_of(Frame(9, 7)), **options).args
    assert mask.shape == (1, 7, 9) and mask.max() == 0 and boxes == [[]] and note.startswith("There is no hand")
    beside = hand_from_gesture("open", "left", 96, 64, centre=(4.0, 0.5))
    mask, boxes, note = run("HanDrawerHandMask", hands=hands_of(beside), **options).args
    assert mask.shape == (1, 64, 96) and mask.max() == 0 and boxes == [[]]
    assert note == "Hand 0 (left) lies outside the picture."
    off = Frame(96, 64, tuple(hand.replace(enabled=False) for hand in two().hands))
    note = run("HanDrawerHandMask", hands=hands_of(off), **options).args[-1]
    assert note == "All hands are switched off: the mask is empty."
    edge = hand_from_gesture("open", "left", 96, 64, centre=(0.0, 1.0))
    mask, boxes, note = run("HanDrawerHandMask", hands=hands_of(edge), **options).args
    assert mask[0, -1, 0] == 1 and note == ""
    (box,) = boxes[0]
    assert box["x"] == 0 and box["y"] + box["height"] == 64 and box["width"] > 10
