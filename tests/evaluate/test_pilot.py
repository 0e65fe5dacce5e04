from pathlib import Path

from handrawer.data.prepare import Prepared
from handrawer.evaluate.pilot import (
    FULL_SAMPLES,
    MINI,
    Pilot,
    adapter_parameters,
    full_config,
    report,
    step_operations,
    training_config,
)
from handrawer.train.config import make_config


def test_the_short_training_is_a_training_that_the_trainer_takes(tmp_path):
    for base, start in ((MINI, "file.safetensors"), ("model.safetensors", None)):
        values = training_config(
            tmp_path / "t", tmp_path / "d", base, steps=20, batch=2, size=256, held_out=2, device="cpu",
            sampling_steps=4, start=start,
        )  # fmt: skip
        made = make_config(values)
        assert made.data.kind == "shards" and made.validation.every == made.steps == 20
        assert made.adapter.start == start and made.base.path == base
        full = make_config(full_config(values, tmp_path / "full"))
        assert full.steps * full.batch * full.accumulate == FULL_SAMPLES and full.data.path == made.data.path


def test_operations_of_a_base_are_counted():
    """Twice the forward pass of SD1.5 at 64 x 64, which others count as 0.34 T multiply-adds in its layers alone."""
    assert 1.2e12 < step_operations("sd15", 512) < 1.8e12


def test_an_adapter_is_counted_without_its_base():
    assert adapter_parameters("sd15") == 8_585_600  # as the trainer says of it


def test_the_report_tells_measured_from_arithmetic(monkeypatch):
    monkeypatch.setattr("handrawer.evaluate.pilot.step_operations", lambda base, size: 2e12)
    pilot = Pilot(
        Prepared(Path("data"), 40, 30, 5, 5), MINI, "cpu", {"preparation": 2.0, "training and score after": 3.0},
        {"side": 5, "tiny": 5}, {"base_pck": 0.1, "pck": 0.2}, {"pck": 0.3, "pictures": 4.0},
        {"hand_found": {"mean": 0.9}}, 20, 2, 40, 35_000_000, 1_600_000, 1.5,
    )  # fmt: skip
    words = report(pilot)
    assert "| PCK@0.1 | 0.100 | 0.200 | 0.300 |" in words
    assert "30 kept, 5 kept and flagged, 5 dropped" in words and "side 5, tiny 5" in words
    # 1.5 M samples x 2.2 T / (0.3 x 71 T) s on a 3090; on an H100 no less than 78.5 ms each.
    assert "Arithmetic, not measured" in words and "| 43.0 h | 32.7 h | 32.7 h | 32.7 h |" in words
    assert "about 20 s at 4 s each" in words and "Measured here (cpu, base `mini`): 1.50 s a step of 2" in words
    assert "5.0 h for 24,000 samples" in words and "the HanDrawer that ships with mini" in words
    assert "1.00 MB a picture" in words and "10.0 GB for 10,000" in words
