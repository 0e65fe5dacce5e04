import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrawer.hand.hands import Frame, hand_from_gesture
from handrawer.train.buckets import Plan, bucket_sizes, crop_for, nearest_bucket

SIZES = [(640, 480)] * 5 + [(300, 600)] * 3 + [(512, 512)] * 4


def test_buckets_have_about_the_area_and_whole_sides():
    sizes = bucket_sizes(512)
    assert sizes[0] == (512, 512) and len(set(sizes)) == len(sizes)
    for width, height in sizes:
        assert width % 64 == height % 64 == 0
        assert 0.85 < width * height / 512**2 < 1.15 and 0.5 <= width / height <= 2
    assert nearest_bucket(1024, 1024, sizes) == (512, 512)
    assert nearest_bucket(480, 640, sizes)[0] < nearest_bucket(640, 480, sizes)[0]


@given(st.integers(64, 900), st.integers(64, 900), st.floats(0.1, 0.9), st.floats(0.1, 0.9))
def test_a_crop_fills_its_bucket_uniformly(width, height, x, y):
    frame = hand_from_gesture("open", "left", width, height, centre=(x, y), size=0.3)
    size = nearest_bucket(width, height, bucket_sizes(256))
    transform = crop_for(frame, size)
    left, top = transform.offset_x, transform.offset_y
    assert left <= 1e-6 and left + transform.scale * width >= size[0] - 1e-6
    assert top <= 1e-6 and top + transform.scale * height >= size[1] - 1e-6
    moved = transform.frame(frame)
    assert (moved.width, moved.height) == size
    before, after = (f.hands[0].box * f.hands[0].box.new_tensor([f.width, f.height] * 2) for f in (frame, moved))
    grown = (after[2:] - after[:2]) / (before[2:] - before[:2])
    assert grown.tolist() == pytest.approx([transform.scale] * 2, rel=1e-3)  # uniform: never stretched


def test_a_crop_keeps_the_hand():
    frame = hand_from_gesture("open", "left", 1000, 500, centre=(0.9, 0.5), size=0.3)
    box = crop_for(frame, (256, 256)).frame(frame).hands[0].box
    assert float(box[2]) <= 1.0 and float(box[0]) > 0.3
    assert crop_for(Frame(1000, 500), (256, 256)).offset_x == pytest.approx(-128)


def test_an_epoch_sees_every_picture_and_batches_are_of_one_size():
    plan = Plan(SIZES, bucket_sizes(256), 2, seed=3, left_out=[0])
    assert plan.per_epoch == 2 + 2 + 2
    epoch = [plan.step(step) for step in range(plan.per_epoch)]
    assert {place for planned in epoch for place in planned.places} == set(range(1, len(SIZES)))
    for planned in epoch:
        assert len(planned.places) == 2
        assert {nearest_bucket(*SIZES[place], bucket_sizes(256)) for place in planned.places} == {planned.size}
    again = [plan.step(plan.per_epoch + step) for step in range(plan.per_epoch)]
    assert again != epoch and [plan.step(step) for step in range(plan.per_epoch)] == epoch


def test_what_stands_in_is_of_the_same_bucket():
    plan = Plan(SIZES, bucket_sizes(256), 2, seed=3)
    size = nearest_bucket(*SIZES[6], bucket_sizes(256))
    assert plan.others(size, 6) == [7, 5] and plan.others(size, 7) == [5, 6]


def test_nothing_to_train_on_is_said():
    with pytest.raises(ValueError, match="no picture to train on"):
        Plan([(64, 64)], bucket_sizes(256), 2, seed=0, left_out=[0])
