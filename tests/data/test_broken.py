"""Broken data in preparation: a sentence, or a skip that is told; never a lost run."""

import errno
import io
import json
import os

import numpy as np
import pytest
from PIL import Image

from handrawer.data import label
from handrawer.data.label import Options
from handrawer.data.prepare import prepare
from handrawer.data.shards import open_index, write_shard


def picture(seed, form="JPEG"):
    chance = np.random.default_rng(seed)
    small = Image.fromarray(chance.integers(30, 220, (6, 8, 3), dtype=np.uint8))
    file = io.BytesIO()
    small.resize((96, 80), Image.Resampling.BICUBIC).save(file, form)
    return file.getvalue()


def rows_of(out):
    return {row["key"]: row for row in map(json.loads, (out / "decisions.jsonl").read_text("utf-8").splitlines())}


def test_a_folder_with_everything_broken_is_prepared(tmp_path, caplog):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for number in range(3):
        (source / f"good{number}.jpg").write_bytes(picture(number))
    (source / "cut.jpg").write_bytes(picture(7)[:-300])
    (source / "good0.txt").write_bytes("une main élégante".encode("cp1252"))
    (source / "good1.txt").write_bytes("eine schöne Hand".encode("utf-16"))
    (source / "good2.txt").write_bytes(bytes(range(256)))
    values = np.linspace(0, 1, 96 * 80, dtype=np.float32).reshape(80, 96)
    values[10:40, 10:40] = np.nan
    Image.fromarray(values).save(source / "nan.tif")
    lines = [{"file_name": "nan.tif", "text": "x", "bboxes": [[float("nan"), 0.1, 0.5, 0.5]], "labels": ["ok"]}]
    (source / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    prepared = prepare(source, out, Options(search="fast"))
    rows = rows_of(out)
    assert prepared.pictures == 5 and rows["cut"]["decision"] == "drop" and rows["cut"]["reasons"] == ["unreadable"]
    assert all(rows[key]["decision"] != "drop" for key in ("good0", "good1", "good2", "nan"))
    assert "annotation" in rows["nan"]["reasons"] and "not usable" in " ".join(rows["nan"]["text"])
    assert "annotation" in rows["good0"]["reasons"] and "Windows-1252" in " ".join(rows["good0"]["text"])
    captions = {entry.key: entry for entry in open_index(out)}
    assert set(captions) == {"good0", "good1", "good2", "nan"}
    written = next((out / "shards").glob("*.tar")).read_bytes()
    assert "élégante".encode() in written and "schöne".encode() in written


def test_empty_and_broken_shards_of_a_source_are_told_and_passed_over(tmp_path, caplog):
    source = tmp_path / "in"
    members = {"full_rgb.png": picture(1, "PNG"), "hand_bbox.json": b'{"bbox": [NaN, 10, 60, 70]}', "json": b"{}"}
    write_shard(source / "1.tar", [("one", members)])
    (source / "0.tar").write_bytes(b"")
    (source / "2.tar").write_bytes(b"this is no tar file" * 90)
    prepared = prepare(source, tmp_path / "out")
    assert prepared.pictures == 1 and prepared.dropped == 0
    assert "0.tar is empty" in caplog.text and "2.tar is damaged" in caplog.text
    (source / "1.tar").write_bytes(b"")
    (source / "2.tar").unlink()
    with pytest.raises(ValueError, match="There are no pictures"):
        prepare(source, tmp_path / "other")


@pytest.mark.parametrize("after", [1, 5])
def test_a_disk_that_fills_up_anywhere_ends_in_a_sentence_and_costs_nothing(tmp_path, monkeypatch, after):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for number in range(3):
        (source / f"good{number}.jpg").write_bytes(picture(number))
    # The source says that there is no hand, so that nobody looks for one thoroughly.
    rows = [{"file_name": f"good{number}.jpg", "bboxes": [], "labels": []} for number in range(3)]
    (source / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    real, left = os.fsync, [after]

    def fsync(number):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(number)

    monkeypatch.setattr("handrawer.data.atomic.os.fsync", fsync)
    options = Options(shard_size=2)
    with pytest.raises(OSError, match="is full; make room and run the same command again"):
        prepare(source, out, options)
    assert not list(out.rglob("*.part"))
    monkeypatch.setattr("handrawer.data.atomic.os.fsync", real)
    assert prepare(source, out, options).pictures == 3 and len(open_index(out)) == 3


def test_a_picture_on_which_labelling_fails_is_left_out_with_its_reason(tmp_path, monkeypatch, caplog):
    source = tmp_path / "in"
    source.mkdir()
    for number in range(2):
        (source / f"good{number}.jpg").write_bytes(picture(number))
    real = label.relabel

    def relabel(pixels, item, search):
        if item.key == "good0":
            raise ValueError("A hand's joints have numbers that are not finite.")
        return real(pixels, item, search)

    monkeypatch.setattr(label, "relabel", relabel)
    prepare(source, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert rows["good0"]["reasons"] == ["failed"] and "not finite" in rows["good0"]["text"][0]
    assert rows["good1"]["decision"] != "drop" and "good0.jpg is left out" in caplog.text
