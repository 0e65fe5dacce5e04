"""The benchmark of UNets runs, in few channels, and its page grows section by section."""

import json

import pytest
import torch

from benchmarks import unet, unet_report
from benchmarks.full_size import Setting


def setting(base: str) -> Setting:
    return Setting(base, torch.device("cpu"), torch.float32, rows=1, rounds=1, sizes=(64,))


@pytest.mark.parametrize("base", ["sd15_tiny", "sdxl_tiny"])
def test_every_section_of_a_base_runs(base: str, tmp_path):
    sections = ["check", "steps", "sizes", "operations"]
    assert unet.measure(setting(base), tmp_path, sections)
    part = json.loads((tmp_path / f"{base}_cpu_float32.json").read_text())
    found = {name: part["sections"][name]["figures"] for name in sections}
    assert found["check"]["finite"] and found["check"]["share"] > 0.01, "the patch changes the output"
    assert 0 < found["steps"]["share"] < 1
    assert found["operations"]["flops"]["ControlNet: a step"] > 0
    page = (tmp_path / unet_report.PAGE).read_text()
    assert "### A step at 64 × 64, 1 row" in page and "not measured" in page
    # a section again takes its place, the others stay
    assert unet.measure(setting(base), tmp_path, ["operations"])
    again = json.loads((tmp_path / f"{base}_cpu_float32.json").read_text())["sections"]
    assert again["steps"] == part["sections"]["steps"]


def test_a_section_that_fails_is_told_and_not_hidden(tmp_path, monkeypatch):
    def fail(self):
        raise RuntimeError("no room")

    monkeypatch.setattr(unet.Bench, "check", fail)
    assert not unet.measure(setting("sd15_tiny"), tmp_path, ["check"])
    assert "check: failed" in (tmp_path / unet_report.PAGE).read_text()


def test_what_is_above_its_bar_is_marked():
    assert unet_report.judged(0.019, 0.02) == "1.90 %"
    assert "above the bar" in unet_report.judged(0.021, 0.02)
