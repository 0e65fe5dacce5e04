"""A made-up HaGRID of 40 pictures with planted faults: `benchmarks/data` does the same with 2,000."""

import hashlib
import io
import json
import shutil

import pytest
from PIL import Image

from benchmarks.data import made_up
from handrawer.data import atomic
from handrawer.data.label import Options
from handrawer.data.prepare import apply_decisions, prepare
from handrawer.data.shards import Reader, open_index, read_samples, write_shard

PICTURES = 40
OPTIONS = Options(shard_size=9)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Source, what was planted in it, and the prepared folder."""
    root = tmp_path_factory.mktemp("world")
    made_up.draw(root / "drawn", 0, 44, sizes=(144, 160))
    made_up.plant(root / "drawn", root / "hagrid", PICTURES)
    truth = [json.loads(line) for line in (root / "truth.jsonl").read_text().splitlines()]
    prepare(root / "hagrid", root / "out", OPTIONS)
    return root, truth


def decisions(out):
    return {row["key"]: row for row in map(json.loads, (out / "decisions.jsonl").read_text().splitlines())}


def result(out):
    """A number for each file of a result; `work` holds only what a stopped run goes on from."""
    files = [path for path in sorted(out.rglob("*")) if path.is_file()]
    assert not [path for path in files if path.suffix == atomic.PART]
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.relative_to(out).parts[0] != "work"
    }


def test_every_certain_fault_is_dropped_and_nothing_good(world):
    root, truth = world
    rows = decisions(root / "out")
    assert len(rows) == len(truth) == PICTURES
    dropped = {key for key, row in rows.items() if row["decision"] == "drop"}
    copies = {row["name"]: row["of"] for row in truth if row["of"]}
    for row in truth:
        if row["planted"] in made_up.CERTAIN and not row["of"]:
            assert row["name"] in dropped, row
    for copy, first in copies.items():
        assert len(dropped & {copy, first}) == 1, (copy, first)
    certain = {row["name"] for row in truth if row["planted"] in made_up.CERTAIN} | set(copies.values())
    assert dropped <= certain


def test_planted_doubts_stay_in_with_their_flag(world):
    root, truth = world
    rows = decisions(root / "out")
    for row in truth:
        if row["planted"] in ("box", "gesture", "side"):
            found = rows[row["name"]]
            assert found["decision"] == "flag" and row["planted"] in found["reasons"], (row, found)
    fists = [row["name"] for row in truth if row["label"] == "fist" and row["planted"] not in made_up.CERTAIN]
    assert all(rows[name]["decision"] != "drop" for name in fists)


def test_samples_are_those_that_were_kept(world):
    root, _ = world
    rows = decisions(root / "out")
    kept = {key for key, row in rows.items() if row["decision"] != "drop"}
    samples = {sample.key: sample for sample in read_samples(root / "out")}
    assert set(samples) == kept == {entry.key for entry in open_index(root / "out")}
    for key, sample in samples.items():
        assert len(sample.hands.hands) == rows[key]["hands"] == len(sample.meta["hands"])
        assert sample.mask is not None and (float(sample.mask.max()) > 0.9) == bool(sample.hands.hands)
        assert sample.caption or not sample.hands.hands
    original = next((root / "hagrid").rglob(f"{next(iter(samples))}.jpg"))
    assert tuple(samples[original.stem].picture.shape[:2]) == Image.open(original).size[::-1]


def test_reports_and_contact_sheet_name_everything(world):
    root, _ = world
    report = json.loads((root / "out" / "report.json").read_text())
    assert report["pictures"] == PICTURES == sum(report["counts"].values())
    words = (root / "out" / "report.md").read_text()
    page = (root / "out" / "index.html").read_text()
    for key, row in decisions(root / "out").items():
        if row["decision"] != "keep":
            assert key in page and all(f"`{reason}`" in words for reason in row["reasons"])


class Stopped(BaseException):
    pass


def test_who_is_stopped_goes_on_to_the_same_result(world, tmp_path, monkeypatch):
    """Stopped while files are looked at, while shards and the report are written; and with fewer pictures first."""
    root, _ = world
    real, out = atomic.os.replace, tmp_path / "out"
    fewer, more = Options(shard_size=9, limit=12), Options(shard_size=9, limit=18)
    for after, options in ((2, fewer), (4, more), (7, more), (4, more)):
        left = [after]

        def replace(*paths, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise Stopped
            real(*paths)

        monkeypatch.setattr(atomic.os, "replace", replace)
        with pytest.raises(Stopped):
            prepare(root / "hagrid", out, options)
        assert not (out / "index.html").exists()
    monkeypatch.setattr(atomic.os, "replace", real)
    (out / "shards" / "00000.tar.1.part").write_bytes(b"left by a killed process")
    prepare(root / "hagrid", out, more)
    now, whole = result(out), result(root / "out")
    same = {name for name, number in now.items() if whole.get(name) == number}
    assert {"shards/00000.tar", "shards/00001.tar", *(name for name in now if name.startswith("thumbs/"))} <= same


def test_a_second_run_changes_nothing_and_another_source_is_refused(world, tmp_path):
    root, _ = world
    before = result(root / "out")
    prepared = prepare(root / "hagrid", root / "out", OPTIONS)
    assert result(root / "out") == before and prepared.pictures == PICTURES
    with pytest.raises(ValueError, match="another least_side"):
        prepare(root / "hagrid", root / "out", Options(shard_size=9, least_side=10))
    shutil.copytree(root / "out", tmp_path / "out")
    with pytest.raises(ValueError, match="another source"):
        prepare(root / "drawn", tmp_path / "out", Options(shard_size=9))
    with pytest.raises(ValueError, match="other files in it"):
        prepare(root / "hagrid", root / "drawn", OPTIONS)
    with pytest.raises(ValueError, match="lies in"):
        prepare(root / "hagrid", root / "hagrid" / "out", OPTIONS)


def test_a_person_overrules(world, tmp_path):
    root, truth = world
    out = tmp_path / "out"
    shutil.copytree(root / "out", out)
    rows = decisions(out)
    flagged = next(key for key, row in rows.items() if row["decision"] == "flag")
    kept = next(key for key, row in rows.items() if row["decision"] == "keep")
    tiny = next(row["name"] for row in truth if row["planted"] == "tiny")
    before = result(out)
    (tmp_path / "d.json").write_text(json.dumps({"decisions": {flagged: "keep", kept: "drop", tiny: "keep"}}))
    apply_decisions(tmp_path / "d.json", out)
    now = decisions(out)
    assert now[kept]["decision"] == "drop" and now[kept]["reasons"] == ["person"]
    assert now[flagged]["decision"] == now[tiny]["decision"] == "keep"
    samples = {sample.key: sample for sample in read_samples(out, without=("side", "gesture", "box", "fit"))}
    assert kept not in samples and samples[flagged].meta["confirmed"] and min(samples[tiny].picture.shape[:2]) == 48
    touched = {rows[flagged]["shard"], rows[kept]["shard"], now[tiny]["shard"]}
    for name, number in result(out).items():
        if name.startswith("shards/0") and name.rpartition("/")[2] not in touched:
            assert before[name] == number, "other shards stay as they are"
    (tmp_path / "d.json").write_text(json.dumps({"decisions": {"nobody": "keep"}}))
    with pytest.raises(ValueError, match="no picture nobody"):
        apply_decisions(tmp_path / "d.json", out)
    (tmp_path / "d.json").write_text("[]")
    with pytest.raises(ValueError, match="no file of decisions"):
        apply_decisions(tmp_path / "d.json", out)


def test_processes_give_the_same_bytes(world, tmp_path):
    root, _ = world
    prepare(root / "hagrid", tmp_path / "out", Options(shard_size=9, limit=9), workers=2)
    first = "shards/00000.tar"
    assert (tmp_path / "out" / first).read_bytes() == (root / "out" / first).read_bytes()


def test_manus_shards_are_prepared(world, tmp_path):
    """Pictures out of tar files; boxes in pixels; depth and vertices are passed on."""
    root, truth = world
    row = next(r for r in truth if r["label"] == "palm" and not r["planted"] and r["hands"] == 1)
    image = Image.open(next((root / "hagrid").rglob(f"{row['name']}.jpg")))
    file = io.BytesIO()
    image.save(file, "PNG")
    annotation = json.loads((root / "hagrid" / "ann_train_val" / "palm.json").read_text())[row["name"]]
    x, y, w, h = annotation["bboxes"][0]
    box = [round(x * image.width), round(y * image.height), round((x + w) * image.width), round((y + h) * image.height)]
    members = {
        "full_rgb.png": file.getvalue(),
        "full_depth.png": file.getvalue(),
        "hand_bbox.json": json.dumps({"bbox": box}).encode(),
        "vertices.json": b"[[0, 0, 0]]",
        "json": json.dumps({"gesture_label": "palm"}).encode(),
    }
    broken = members | {"full_rgb.png": file.getvalue()[:500]}
    write_shard(tmp_path / "in" / "0.tar", [("palm_00000001", members), ("palm_00000002", broken)])
    prepared = prepare(tmp_path / "in", tmp_path / "out", Options())
    assert (prepared.pictures, prepared.dropped) == (2, 1)
    (entry,) = open_index(tmp_path / "out")
    found = Reader().members(entry)
    assert found["source.vertices.json"] == members["vertices.json"] and found["png"] == members["full_rgb.png"]
    (sample,) = read_samples(tmp_path / "out")
    assert "open palm" in sample.caption and sample.meta["flags"] == []
