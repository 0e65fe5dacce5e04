import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from handrawer.data import manus
from handrawer.data.items import Keys, fingerprint, hands_of_annotation, read_words
from handrawer.data.shards import write_shard
from handrawer.data.sources import kind_of, open_source

POINTS = [[0.1 + 0.01 * i, 0.2] for i in range(21)]


def picture(path, size=(80, 70)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 80, 70)).save(path)


def told(item):
    assert item.hands is not None
    return item.hands


def items_of(source, kind="auto"):
    return list(open_source(source, kind)[1]())


def test_hagrid_v1_and_v2_are_read(tmp_path):
    picture(tmp_path / "train_val_call" / "aaa.jpg")
    picture(tmp_path / "hagrid_dataset" / "peace" / "bbb.jpeg")
    one = {"bboxes": [[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.1, 0.1]], "labels": ["call", "no_gesture"],
           "leading_hand": "left", "leading_conf": 0.9, "user_id": "u1"}  # fmt: skip
    two = {"bboxes": [[0, 0, 0.5, 0.5], [0.5, 0, 0.5, 0.5]], "labels": ["peace", "peace"],
           "hand_landmarks": [POINTS, []], "united_bbox": None, "united_label": None, "user_id": "u2",
           "meta": {"age": [30.1]}}  # fmt: skip
    for path, rows in [("ann_train_val/call.json", {"aaa": one}),
                       ("annotations/train/peace.json", {"bbb": two, "gone": two})]:  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(json.dumps(rows))
    assert kind_of(tmp_path) == "hagrid"
    call, peace, gone = items_of(tmp_path)
    assert (call.file, call.label) == ("train_val_call/aaa.jpg", "call")
    assert told(call)[0].box == pytest.approx((0.1, 0.2, 0.4, 0.6))
    assert [(hand.label, hand.side) for hand in told(call)] == [("call", "left"), ("no_gesture", None)]
    assert call.extra["leading_conf"] == 0.9 and call.faults == ()
    assert peace.file == "hagrid_dataset/peace/bbb.jpeg" and peace.extra["meta"] == {"age": [30.1]}
    assert len(told(peace)[0].landmarks or ()) == 21 and told(peace)[1].landmarks is None
    assert gone.key == "gone" and gone.hands == peace.hands  # its file is missed when it is looked for


def test_a_flat_subsample_is_found_by_names(tmp_path):
    picture(tmp_path / "pictures" / "x1.jpg")
    (tmp_path / "fist.json").write_text(json.dumps({"x1": {"bboxes": [], "labels": []}}))
    (item,) = items_of(tmp_path)
    assert item.file == "pictures/x1.jpg" and item.hands == ()


def test_a_damaged_annotation_file_is_refused_by_name(tmp_path):
    (tmp_path / "fist.json").write_text('{"a": {"bboxes": [')
    with pytest.raises(ValueError, match=r"fist\.json is damaged"):
        items_of(tmp_path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"bboxes": [[0.1, 0.1, float("nan"), 0.2]], "labels": ["ok"]}, "not usable"),
        ({"bboxes": [[0.1, 0.1, -0.2, 0.2]], "labels": ["ok"]}, "not usable"),
        ({"bboxes": [[100, 100, 50, 50]], "labels": ["ok"]}, "not usable"),
        ({"bboxes": ["no box"], "labels": ["ok"]}, "not usable"),
        ({"bboxes": [[0.1, 0.1, 0.2, 0.2]], "labels": []}, "0 labels for 1 boxes"),
        ({"bboxes": [[0.1, 0.1, 0.2, 0.2]], "labels": ["ok"], "hand_landmarks": [[[1, 2]]]}, "not 21 points"),
        ({"bboxes": None, "labels": ["ok"]}, "1 labels for 0 boxes"),
    ],
)
def test_damaged_annotations_are_told_not_raised(data, words):
    hands, faults = hands_of_annotation(data)
    assert any(words in fault for fault in faults)
    assert all(hand.box is None or len(hand.box) == 4 for hand in hands)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3) | st.integers(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(bboxes=json_values, labels=json_values, points=json_values)
def test_no_annotation_stops_a_run(bboxes, labels, points):
    hands_of_annotation({"bboxes": bboxes, "labels": labels, "hand_landmarks": points, "leading_hand": labels})
    manus.find_boxes({"bbox": bboxes, "other": labels})


@given(st.lists(st.text(max_size=12), max_size=20))
def test_keys_are_safe_and_told_apart(names):
    keys = Keys()
    made = [keys.make(name) for name in names]
    assert len({key.lower() for key in made}) == len(names)
    assert all(re.fullmatch("[A-Za-z0-9_-]+", key) for key in made)


def test_a_plain_folder_and_its_captions(tmp_path, caplog):
    for name in ("a.png", "b.png", "c.png", "in/d.png", "a.jpg"):
        picture(tmp_path / name)
    (tmp_path / "a.txt").write_text("a händ", encoding="utf-8")
    (tmp_path / "b.txt").write_bytes("für".encode("cp1252"))
    (tmp_path / "c.txt").write_bytes("zwölf".encode("utf-16"))
    rows = ['{"file_name": "d.png", "text": "from the table", "bboxes": [[0.1, 0.1, 0.5, 0.5]], "labels": ["ok"]}',
            "{ broken", '{"text": "no name"}', ""]  # fmt: skip
    (tmp_path / "in" / "metadata.jsonl").write_text("\n".join(rows))
    items = {item.file: item for item in items_of(tmp_path)}
    assert list(items) == ["a.jpg", "a.png", "b.png", "c.png", "in/d.png"]
    assert len({item.key for item in items.values()}) == 5
    assert [items[f].caption for f in ("a.png", "b.png", "c.png")] == ["a händ", "für", "zwölf"]
    assert items["a.png"].faults == () and "Windows-1252" in items["b.png"].faults[0]
    assert items["in/d.png"].caption == "from the table" and told(items["in/d.png"])[0].label == "ok"
    assert items["a.png"].hands is None
    assert "line 2 is skipped" in caplog.text and "line 3 is skipped" in caplog.text


def test_captions_of_any_bytes_are_read(tmp_path):
    (tmp_path / "t.txt").write_bytes(bytes(range(256)))
    assert read_words(tmp_path / "t.txt")[1]


def test_manus_shards_are_read_whatever_they_name(tmp_path):
    rgb = tmp_path / "rgb.png"
    picture(rgb, (100, 50))
    data = rgb.read_bytes()
    rgb.unlink()
    write_shard(
        tmp_path / "data" / "hagrid_v1" / "train" / "0.tar",
        [
            ("v2_test_grabbing_00000001", {
                "full_rgb.png": data, "full_depth.png": data, "hand_rgb.png": data,
                "json": json.dumps({"source_image_id": "grabbing_00000001", "split": "test"}).encode(),
                "hand_bbox.json": b'{"x_min": 10, "y_min": 5, "x_max": 50, "y_max": 45}', "vertices.json": b"[[0,0,0]]",
            }),
            ("x2", {"png": data, "json": b'{"gesture_label": "two up"}', "bbox.json": b"[20, 10, 40, 30]"}),
            ("x3", {"rgb.png": data, "json": b"not json", "bbox.json": b'{"bbox_xywh": [20, 10, 40, 30]}'}),
        ],
    )  # fmt: skip
    assert kind_of(tmp_path) == "manus"
    one, two, three = items_of(tmp_path)
    assert one.label == "grabbing" and told(one)[0].box == (10, 5, 50, 45) and one.end > one.start
    assert manus.to_normalised(told(one)[0].box or (0, 0, 0, 0), 100, 50) == pytest.approx((0.1, 0.1, 0.5, 0.9))
    assert two.label == "two up" and told(two)[0].box == (20, 10, 40, 30)
    assert told(three)[0].box == (20, 10, 60, 40) and "json is no JSON" in three.faults[0]


def test_fingerprints_tell_items_apart(tmp_path):
    picture(tmp_path / "a.png")
    (first,) = items_of(tmp_path)
    (tmp_path / "a.txt").write_text("now with words")
    (second,) = items_of(tmp_path)
    assert fingerprint([first]) != fingerprint([second]) and fingerprint([first]) == fingerprint([first])


def test_nothing_there_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        open_source(tmp_path / "gone")
    with pytest.raises(ValueError, match="no kind of source"):
        open_source(tmp_path, "coco")
