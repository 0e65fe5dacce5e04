import json

import pytest

from handrawer.mini.pipeline import load_mini
from handrawer.train.publish import publish
from handrawer.train.run import read_config, run


def test_configurations_that_cannot_be_read_get_a_sentence(tmp_path):
    path = tmp_path / "c.json"
    with pytest.raises(ValueError, match="There is no configuration"):
        read_config(path)
    for text, said in (
        ("{", "is not JSON"),
        ("{}", "does not say where to write"),
        ('{"out": "x", "sampels": 3}', "unknown key 'sampels'"),
        ('{"out": "x", "diffusion": {"bach": 3}}', "unknown key 'bach'"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=said):
            read_config(path)


def test_a_whole_run_ends_in_a_model_that_draws(tmp_path):
    path = tmp_path / "c.json"
    settings = {
        "out": str(tmp_path / "run"),
        "samples": 4,
        "keep_drawn": True,
        "autoencoder": {"batch": 2, "crop": 32, "steps": 1},
        "diffusion": {"batch": 2, "steps": 1},
    }
    path.write_text(json.dumps(settings))
    run(read_config(path))
    assert "done" in (tmp_path / "run" / "log.txt").read_text()
    publish(tmp_path / "run", tmp_path / "weights")
    pipe = load_mini(tmp_path / "weights")
    assert pipe.adapter.metadata.training["steps"] == 1
    assert pipe.sample(["a hand"], seeds=[1], steps=1, guidance=1.0, size=(64, 64)).shape == (1, 64, 64, 3)
