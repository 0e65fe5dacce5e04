"""The bundle of landmark networks: what it holds, and that the script makes the same bytes every time."""

import hashlib
import importlib.util
import io
import zipfile
from pathlib import Path

import pytest

from handrawer.estimate.mediapipe_backend import TASK_FILE, TASK_SHA256, read_task

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "make_landmarker.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_landmarker", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_wheel(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in files.items():
            wheel.writestr(name, data)
    return path


@pytest.fixture
def small(script, monkeypatch, tmp_path):
    """A wheel with two small files instead of the networks, and the script expecting those."""
    files = {name: bytes([i + 1]) * (1000 + 7 * i) for i, (name, _, _) in enumerate(script.NETWORKS)}
    networks = tuple((n, task, hashlib.sha256(files[n]).hexdigest()) for n, task, _ in script.NETWORKS)
    monkeypatch.setattr(script, "NETWORKS", networks)
    return files, make_wheel(tmp_path / "small.whl", files)


def test_shipped_bundle_holds_the_networks_uncompressed(script):
    data = read_task()
    assert len(data) < 8_000_000
    with zipfile.ZipFile(io.BytesIO(data)) as bundle:
        assert [e.filename for e in bundle.infolist()] == [task for _, task, _ in script.NETWORKS]
        for entry, (_, _, expected) in zip(bundle.infolist(), script.NETWORKS, strict=True):
            assert entry.compress_type == zipfile.ZIP_STORED
            assert hashlib.sha256(bundle.read(entry)).hexdigest() == expected


def test_same_wheel_same_bytes_and_aligned(script, small, tmp_path):
    files, wheel = small
    again = make_wheel(tmp_path / "again.whl", dict(reversed(files.items())))
    data = script.bundle(wheel)
    assert data == script.bundle(again)
    for content in files.values():
        assert data.index(content) % script.ALIGNMENT == 0
    with zipfile.ZipFile(io.BytesIO(data)) as bundle:
        assert bundle.testzip() is None


def test_check_tells_identical_from_different(script, small, tmp_path, capsys):
    _, wheel = small
    out = tmp_path / "x.task"
    assert script.main([str(wheel), "--out", str(out)]) == 0
    assert script.main([str(wheel), "--out", str(out), "--check"]) == 0
    out.write_bytes(out.read_bytes()[:-1])
    assert script.main([str(wheel), "--out", str(out), "--check"]) == 1
    assert "DIFFERENT" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, b"another version"])
def test_wrong_wheel_is_refused_and_writes_nothing(script, tmp_path, capsys, content):
    files = {} if content is None else {name: content for name, _, _ in script.NETWORKS}
    wheel = make_wheel(tmp_path / "wrong.whl", files)
    out = tmp_path / "x.task"
    assert script.main([str(wheel), "--out", str(out)]) == 2
    assert "0.10.21" in capsys.readouterr().err
    assert not out.exists()


def test_missing_and_damaged_bundles_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        read_task(tmp_path / "none.task")
    damaged = tmp_path / "damaged.task"
    damaged.write_bytes(TASK_FILE.read_bytes()[:-100])
    with pytest.raises(FileNotFoundError, match="damaged"):
        read_task(damaged)
    assert hashlib.sha256(TASK_FILE.read_bytes()).hexdigest() == TASK_SHA256
