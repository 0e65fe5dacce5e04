"""The benchmark of UNets runs, in few channels, and its page grows section by section."""

import json

import torch

from benchmarks import unet, unet_report
from benchmarks.full_size import VARIANTS, Setting


def setting(base: str) -> Setting:
    return Setting(base, torch.device("cpu"), torch.float32, rows=1, rounds=1, sizes=(64,))


def test_sections_of_sd15_run(tmp_path):
    sections = ["check", "steps"]
    assert unet.measure(setting("sd15_tiny"), tmp_path, sections)
    part = json.loads((tmp_path / "sd15_tiny_cpu_float32.json").read_text())
    found = {name: part["sections"][name]["figures"] for name in sections}
    assert found["check"]["finite"] and found["check"]["share"] > 0.01, "the patch changes the output"
    assert 0 < found["steps"]["share"] < 1 and set(found["steps"]["seconds"]) == set(VARIANTS)
    page = (tmp_path / unet_report.PAGE).read_text()
    assert "### A step at 64 × 64, 1 row" in page and "not measured" in page


def test_a_section_again_takes_its_place_and_the_others_stay(tmp_path):
    (tmp_path / "sdxl_tiny_cpu_float32.json").write_text(
        json.dumps(
            {"sections": {name: {"machine": "old", "lines": [name], "figures": {}} for name in ("check", "before")}}
        )
    )
    assert unet.measure(setting("sdxl_tiny"), tmp_path, ["check"])
    found = json.loads((tmp_path / "sdxl_tiny_cpu_float32.json").read_text())["sections"]
    assert found["before"]["lines"] == ["before"] and found["check"]["figures"]["finite"]


def test_a_section_that_fails_is_told_and_not_hidden(tmp_path, monkeypatch):
    def fail(self):
        raise RuntimeError("no room")

    monkeypatch.setattr(unet.Bench, "check", fail)
    assert not unet.measure(setting("sd15_tiny"), tmp_path, ["check"])
    assert "check: failed" in (tmp_path / unet_report.PAGE).read_text()


def test_what_is_above_its_bar_is_marked():
    assert unet_report.judged(0.019, 0.02) == "1.90 %"
    assert "above the bar" in unet_report.judged(0.021, 0.02)
