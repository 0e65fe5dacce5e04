"""The estimate nodes: where to look, told by masks, boxes, segments and detectors; and without mediapipe."""

import builtins
import importlib
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handrawer.render.pictures import load_picture

EXAMPLE = Path(__file__).resolve().parents[2] / "handrawer" / "examples" / "hands.png"

# A stand-in with the shape that the Impact Pack's segments have.
SEG = namedtuple("SEG", ["cropped_image", "cropped_mask", "confidence", "crop_region", "bbox", "label"])


def segs(*boxes, size=(512, 768)):
    return size, [SEG(None, None, 0.9, box, box, "hand") for box in boxes]


class Detector:
    """A stand-in for a BBOX_DETECTOR: finds one box in every picture, and remembers how it was asked."""

    def __init__(self, box):
        self.box, self.asked = box, []

    def detect(self, image, threshold, dilation, crop_factor, drop_size=1, detailer_hook=None):
        assert image.shape[0] == 1
        self.asked.append((tuple(image.shape), threshold))
        return segs(self.box, size=tuple(image.shape[1:3]))


@pytest.fixture(scope="module")
def example():
    return load_picture(EXAMPLE)


@pytest.fixture(scope="module")
def where(nodes):
    return nodes("where")


@pytest.fixture(scope="module")
def advanced(nodes):
    def run(image, **options):
        given = {
            "thoroughness": "fast",
            "max_hands": 9,
            "hand_confidence": 0.5,
            "palm_confidence": 0.5,
            "side": "auto",
        } | options
        with torch.inference_mode():
            return nodes("estimate").HanDrawerEstimateHandsAdvanced.execute(image.clone(), **given).args

    return run


def sides(hands):
    return [[hand.side for hand in frame.hands] for frame in hands.frames]


def test_small_node_keeps_what_old_workflows_hold(nodes, example):
    node = nodes("estimate").HanDrawerEstimateHands
    assert [i.id for i in node.define_schema().inputs][:3] == ["image", "max_hands", "min_confidence"]
    with torch.inference_mode():
        hands, overlay, note = node.execute(example.clone(), 4, 0.5).args  # as saved before thoroughness came
    assert sides(hands) == [["right", "left"]] and note == ""
    assert overlay.shape == example.shape and not torch.equal(overlay, example)


def test_a_mask_a_box_segments_and_a_detector_say_where(advanced, example):
    left_half = torch.zeros(1, 64, 96)
    left_half[:, :, :48] = 1
    detector = Detector((0, 0, 384, 512))
    for source in (
        {"mask": left_half},
        {"boxes": [[0, 0, 384, 512]]},
        {"boxes": {"x": 0, "y": 0, "width": 384, "height": 512}},
        {"boxes": [0, 0, 384, 512], "box_numbers": "corner and size"},
        {"segs": segs((0, 0, 384, 512))},
        {"bbox_detector": detector, "detector_threshold": 0.4},
    ):
        hands, _, note = advanced(example, **source)
        assert sides(hands) == [["left"]], source
        assert note == "", source
    assert detector.asked == [((1, 512, 768, 3), 0.4)]
    both = advanced(example, mask=left_half, segs=segs((384, 0, 768, 512)))[0]
    assert sorted(sides(both)[0]) == ["left", "right"]


def test_nowhere_to_look_flows_on_and_says_so(advanced, example):
    hands, overlay, note = advanced(example, mask=torch.zeros(1, 64, 64))
    assert sides(hands) == [[]] and torch.equal(overlay, example)
    assert "nowhere to look" in note and "No hand was found" in note
    hands, _, note = advanced(example, segs=segs((350, 400, 420, 500)))  # a place without a hand
    assert sides(hands) == [[]] and note == "No hand was found where it was to look."


def test_a_box_a_picture(advanced, example):
    hands, _, _ = advanced(example.repeat(2, 1, 1, 1), boxes=[[[0, 0, 384, 512]], [[384, 0, 768, 512]]])
    assert sides(hands) == [["left"], ["right"]]


def test_the_side_can_be_told(advanced, example):
    hands, _, _ = advanced(example, side="left")
    assert sides(hands) == [["left", "left"]]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ({"boxes": "here"}, r"^boxes: these are no boxes; connect"),
        ({"boxes": [[1, 2, 3]]}, r"^boxes: these are no boxes; connect"),
        ({"segs": [1, 2]}, r"^segs: these are no segments of the Impact Pack; connect SEGS"),
        ({"bbox_detector": "yolo"}, r"^bbox_detector: this is no BBOX_DETECTOR; connect"),
        ({"mask": torch.zeros(1, 2, 3, 4)}, r"^mask: this is no mask"),
    ],
)
def test_what_is_no_place_is_refused(advanced, example, source, sentence):
    with pytest.raises(ValueError, match=sentence):
        advanced(example, **source)


def test_spots_of_a_mask(where):
    mask = torch.zeros(2, 300, 400)
    mask[0, 30:90, 40:120] = 1
    mask[0, 200:280, 300:400] = 0.9
    mask[0, 0, 0] = 0.3  # grey says nothing
    first, second = where.of_mask(mask)
    assert len(first) == 2 and len(second) == 0
    expected = torch.tensor([[0.75, 0.667, 1.0, 0.933], [0.1, 0.1, 0.3, 0.3]])
    assert torch.allclose(first, expected, atol=0.02)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_spots_hold_every_white_cell(where, data):
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    mask = torch.rand(1, height, width, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99)))).round()
    (boxes,) = where.of_mask(mask)
    y, x = mask[0].nonzero().unbind(1)
    points = torch.stack([(x + 0.5) / width, (y + 0.5) / height], dim=1)[:, None]
    if len(boxes) < where.MOST_SPOTS:
        assert ((points > boxes[:, :2]) & (points < boxes[:, 2:])).all(-1).any(-1).all()


def test_odd_boxes(where):
    found = where.of_boxes(
        [torch.tensor([10.0, 20, 30, 60]), [5, 5, 5, 9], [float("nan"), 0, 1, 1]], "corners", 100, 200
    )
    assert [box.tolist() for box in found] == [[pytest.approx([0.1, 0.1, 0.3, 0.3])]]
    assert [len(each) for each in where.of_boxes([[], [[0, 0, 9, 9]]], "corners", 10, 10)] == [0, 1]


def test_without_mediapipe_the_pack_loads_and_finds_hands(monkeypatch, plugin, nodes, example):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "mediapipe":
            raise ModuleNotFoundError("No module named 'mediapipe'", name="mediapipe")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    package = importlib.reload(nodes("estimate"))
    with torch.inference_mode():
        hands = package.HanDrawerEstimateHands.execute(example.clone(), 4, 0.5, "fast").args[0]
    assert sides(hands) == [["right", "left"]]
