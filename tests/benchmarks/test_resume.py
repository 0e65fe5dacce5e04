"""The ablation in several calls, and its tables."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.ablation import resume
from benchmarks.ablation.collect import pack, unpack
from benchmarks.ablation.config import AblationConfig
from benchmarks.ablation.judging import KEPT, VALUES, Judge
from benchmarks.ablation.report import filled
from benchmarks.ablation.statistics import difference, interval
from benchmarks.ablation.workshop import Workshop


@pytest.fixture
def shop(tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "fingerprint", lambda: "0123")
    base: Any = SimpleNamespace(device=torch.device("cpu"))
    nothing: Any = None
    return lambda **changes: Workshop(AblationConfig(**changes), base, Judge(0), nothing, nothing, tmp_path, 0.0)


def draws(shop, name):
    def work():
        shop.look(name, torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
        shop.kept[f"full.{name}"] = torch.zeros(1, 4, 2, 2)

    return work


def test_a_second_call_does_what_is_left(shop, monkeypatch):
    first = shop(seconds=1e12)
    resume.take_over(first)
    first.stage("one", draws(first, "a"), 0)
    first.stage("two", draws(first, "b"), 0)
    first.stage("broken", lambda: 1 / 0, 0)
    first.stage("long", draws(first, "c"), 1e13)
    assert first.results["left"] == ["long"] and "ZeroDivisionError" in first.results["failed"]["broken"]
    found = dict(np.load(first.out / "detections.npz"))
    assert set(found) == {"a", "b"} and found["a"].shape == (1, KEPT, VALUES)
    np.savez(first.out / "detections.npz", a=found["a"])  # as if the detector had not come to b

    second = shop(seconds=1e12, arms=("full",))
    resume.take_over(second)
    assert second.done("one") and not second.done("two") and not second.done("broken")
    assert set(second.kept) == {"full.a", "full.b"}
    again = []
    second.stage("one", lambda: again.append("one"), 0)
    second.stage("two", lambda: again.append("two"), 0)
    second.stage("broken", lambda: again.append("broken"), 0)
    assert again == ["two", "broken"] and not second.results["failed"]


def test_another_base_or_other_settings_are_refused(shop, monkeypatch):
    first = shop()
    resume.take_over(first)
    first.note(stages={})
    np.savez(first.out / "detections.npz")
    with pytest.raises(ValueError, match="another batch"):
        resume.take_over(shop(batch=7))
    monkeypatch.setattr(resume, "fingerprint", lambda: "4567")
    with pytest.raises(ValueError, match="another small model"):
        resume.take_over(shop())


def test_files_of_an_earlier_call_are_brought_once(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "results.json").write_text("{}")
    resume.bring(tmp_path / "a", tmp_path / "b")
    (tmp_path / "a" / "results.json").write_text("[]")
    resume.bring(tmp_path / "a", tmp_path / "b")
    assert json.loads((tmp_path / "b" / "results.json").read_text()) == {}


def test_packed_scores_come_back():
    rows = {"joints": [0, 21, 7], "found": [0, 1, 1], "side": [0, 1, 0], "error": [-1, 12, 5000]}
    found = unpack(pack(rows))
    np.testing.assert_allclose(found["pck"], [0, 1, 7 / 21])
    assert found["found"].tolist() == [False, True, True] and found["side"].tolist() == [False, True, False]
    np.testing.assert_allclose(found["error"], [np.nan, 0.012, 1.295])


def test_intervals_cover_poses_and_seeds():
    generator = np.random.default_rng(3)
    poses = generator.normal(0.5, 0.2, 400)
    alike = interval(np.stack([poses] * 3))
    assert alike.mean == pytest.approx(poses.mean())
    assert alike.high - alike.low == pytest.approx(2 * 1.96 * 0.2 / 20, rel=0.15)
    apart = interval(np.stack([poses - 0.1, poses, poses + 0.1]))
    assert apart.high - apart.low > 2 * (alike.high - alike.low)
    shifted = difference(np.stack([poses] * 3) + 0.02, np.stack([poses] * 3))
    assert shifted.low == pytest.approx(0.02) and shifted.high == pytest.approx(0.02)  # paired by pose


def test_tables_are_filled_into_their_places():
    page = "a\n<!-- table: x -->\nold\n<!-- end -->\nb\n<!-- table: y -->\n<!-- end -->\n"
    text = filled(page, {"x": "X", "y": "Y"})
    assert text == "a\n<!-- table: x -->\nX\n<!-- end -->\nb\n<!-- table: y -->\nY\n<!-- end -->\n"
    with pytest.raises(ValueError, match="no place for the table 'z'"):
        filled(page, {"z": "Z"})
