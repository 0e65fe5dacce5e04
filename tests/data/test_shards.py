import errno
import io
import json
import os
import tarfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from handrawer.data import atomic, shards
from handrawer.data.pictures import encoded, png8, png16
from handrawer.hand.hands import Hands, hand_from_gesture


def members(number, reasons=(), confirmed=False, width=20, height=12):
    image = Image.fromarray(np.full((height, width, 3), 10 * number, np.uint8))
    frame = hand_from_gesture("open", width=width, height=height)
    flags = [{"reason": reason, "text": "why"} for reason in reasons]
    meta = {"width": width, "height": height, "hands": [{}], "caption": f"number {number} ü", "flags": flags,
            "confirmed": confirmed}  # fmt: skip
    return {
        "png": encoded(image, "png"),
        "json": json.dumps(meta).encode(),
        "hands.json": Hands((frame,)).to_json().encode(),
        "mask.png": png8(torch.linspace(0, 1, width * height).view(height, width)),
        "depth.png": png16(torch.linspace(0, 1, width * height).view(height, width)),
        "normals.png": png8(torch.ones(height, width, 3) * 0.5),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three shards of 3, 2 and 2 samples, with an index."""
    root = tmp_path_factory.mktemp("prepared")
    for shard, numbers in enumerate([(0, 1, 2), (3, 4), (5, 6)]):
        samples = [(f"s{n}", members(n, ("side",) if n in (1, 4) else (), confirmed=n == 4)) for n in numbers]
        assert shards.write_shard(root / "shards" / f"{shard:05d}.tar", samples) == len(numbers)
    shards.write_index(root / "shards")
    return root


def keys(samples):
    return [sample.key for sample in samples]


def test_a_sample_comes_back_as_it_was_written(folder):
    first = next(shards.read_samples(folder, layers=("mask", "depth", "normals")))
    assert first.key == "s0" and first.caption == "number 0 ü"
    assert first.picture.shape == (12, 20, 3) and first.picture.dtype == torch.uint8
    assert (first.hands.width, first.hands.height, len(first.hands.hands)) == (20, 12, 1)
    ramp = torch.linspace(0, 1, 240).view(12, 20)
    torch.testing.assert_close(first.mask, ramp, atol=0.5 / 255 + 1e-6, rtol=0)
    torch.testing.assert_close(first.depth, ramp, atol=0.5 / 65535 + 1e-6, rtol=0)
    assert first.normals is not None and first.normals.shape == (12, 20, 3)


def test_layers_that_are_not_wanted_are_not_decoded(folder):
    sample = next(shards.read_samples(folder, layers=()))
    assert sample.mask is None and sample.depth is None and sample.normals is None


def test_the_order_depends_on_seed_and_epoch_alone(folder):
    def order(**settings):
        return keys(shards.read_samples(folder, **settings))

    plain = [f"s{n}" for n in range(7)]
    assert order() == plain
    assert order(shuffle_seed=1) == order(shuffle_seed=1) != plain
    assert sorted(order(shuffle_seed=1)) == plain
    assert order(shuffle_seed=1) != order(shuffle_seed=1, epoch=1)
    assert order(shuffle_seed=1) != order(shuffle_seed=2)


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 5), seed=st.one_of(st.none(), st.integers(0, 99)), skip=st.integers(0, 3))
def test_workers_share_the_samples_and_skip_continues(folder, count, seed, skip):
    whole = keys(shards.read_samples(folder, shuffle_seed=seed, layers=()))
    parts = [keys(shards.read_samples(folder, shuffle_seed=seed, worker=(i, count), layers=())) for i in range(count)]
    assert [whole[i::count] for i in range(count)] == parts
    rest = keys(shards.read_samples(folder, shuffle_seed=seed, worker=(0, count), skip=skip, layers=()))
    assert rest == parts[0][skip:]


def test_a_worker_that_does_not_exist_is_refused(folder):
    with pytest.raises(ValueError, match="0 <= index < count"):
        next(shards.read_samples(folder, worker=(2, 2)))


def test_flags_leave_samples_out_unless_confirmed(folder):
    assert keys(shards.read_samples(folder, without=("side",), layers=())) == ["s0", "s2", "s3", "s4", "s5", "s6"]


def test_entries_tell_sizes_without_reading(folder):
    entries = shards.open_index(folder)
    assert [(e.width, e.height, e.hands) for e in entries] == [(20, 12, 1)] * 7
    assert keys(shards.read_samples(entries[3:5])) == ["s3", "s4"]


def test_an_index_is_made_anew_where_a_shard_has_changed(folder, tmp_path):
    for file in (folder / "shards").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    shards.write_shard(tmp_path / "00001.tar", [("t1", members(8)), ("t2", members(9)), ("t3", members(9))])
    assert keys(shards.read_samples(tmp_path)) == ["s0", "s1", "s2", "t1", "t2", "t3", "s5", "s6"]
    (tmp_path / shards.INDEX).write_text("{ not json")
    assert len(shards.open_index(tmp_path)) == 8


def test_the_same_samples_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        shards.write_shard(tmp_path / f"{name}.tar", [("k", members(1))])
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_webdataset_reads_the_shards(folder):
    wds = pytest.importorskip("webdataset")
    read = list(wds.WebDataset(str(folder / "shards" / "00000.tar"), shardshuffle=False))
    assert [sample["__key__"] for sample in read] == ["s0", "s1", "s2"]
    assert {"png", "json", "hands.json", "mask.png", "depth.png", "normals.png"} <= set(read[0])


# --- broken data


def test_broken_samples_are_skipped_and_named(tmp_path, caplog):
    good, cut, wrong, size = members(1), members(2), members(3), members(4)
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (12, 20, 3), dtype=np.uint8)).save(file, "JPEG")
    cut = {name: value for name, value in cut.items() if name != "png"} | {"jpg": file.getvalue()[:-60]}
    wrong["hands.json"] = "{}".encode("utf-16")
    size["mask.png"] = png8(torch.zeros(3, 3))
    nothing = {name: value for name, value in members(5).items() if name != "png"}
    shards.write_shard(
        tmp_path / "0.tar", [("cut", cut), ("wrong", wrong), ("good", good), ("size", size), ("nothing", nothing)]
    )
    assert keys(shards.read_samples(tmp_path)) == ["good"]
    for key in ("cut", "wrong", "size", "nothing"):
        assert f"Sample {key} of 0.tar cannot be read" in caplog.text


def test_a_description_in_another_encoding_is_skipped(tmp_path, caplog):
    bad = members(1) | {"json": '{"caption": "für"}'.encode("utf-16")}
    shards.write_shard(tmp_path / "0.tar", [("bad", bad), ("good", members(2))])
    assert keys(shards.read_samples(tmp_path)) == ["good"]
    assert "sample bad is skipped" in caplog.text


def test_empty_and_truncated_shards_give_what_they_have(tmp_path, caplog):
    (tmp_path / "0.tar").write_bytes(b"")
    shards.write_shard(tmp_path / "1.tar", [(f"k{n}", members(n)) for n in range(4)])
    data = (tmp_path / "1.tar").read_bytes()
    entries = shards.scan_shard(tmp_path / "1.tar")
    (tmp_path / "1.tar").write_bytes(data[: entries[2].start + 700])
    (tmp_path / "2.tar").write_bytes(b"this is no tar file" * 100)
    assert keys(shards.read_samples(tmp_path))[:2] == ["k0", "k1"]
    assert "0.tar is empty" in caplog.text and "1.tar" in caplog.text and "2.tar is damaged" in caplog.text


def test_no_shards_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="data prepare"):
        shards.open_index(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"9\.tar"):
        shards.open_index([tmp_path / "9.tar"])


def test_a_full_disk_leaves_nothing_and_says_so(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match=r"disk with .* is full; make room") as caught:
        shards.write_shard(tmp_path / "0.tar", [("k", members(1))])
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_a_shard_appears_when_it_is_whole(tmp_path):
    def samples():
        yield "k", members(1)
        assert not (tmp_path / "0.tar").exists()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shards.write_shard(tmp_path / "0.tar", samples())
    assert list(tmp_path.iterdir()) == []


def test_keys_keep_members_together(tmp_path):
    shards.write_shard(tmp_path / "0.tar", [("a-b_c", members(1))])
    with tarfile.open(tmp_path / "0.tar") as archive:
        assert {name.split(".", 1)[0] for name in archive.getnames()} == {"a-b_c"}
        assert all(member.mtime == 0 and member.uid == 0 for member in archive.getmembers())
