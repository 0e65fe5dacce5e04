import json

import pytest

from handrawer.train.config import make_config, read_train_config


def test_defaults_and_a_base_by_its_path_alone():
    config = make_config({"out": "o", "base": "a.safetensors", "losses": {"hand": 2}, "control": {}})
    assert config.base.path == "a.safetensors" and config.losses.hand == 2.0 and config.control is not None
    assert make_config({"out": "o"}).control is None


@pytest.mark.parametrize(
    "values, said",
    [
        ([], "is a JSON object"),
        ({}, "add the key 'out'"),
        ({"out": "o", "stpes": 3}, "Unknown key 'stpes'"),
        ({"out": "o", "data": {"sise": 3}}, "Unknown key 'data.sise'"),
        ({"out": "o", "data": 3}, "'data' is 3: it must be an object"),
        ({"out": "o", "steps": "3"}, "'steps' is \"3\": it must be int"),
        ({"out": "o", "steps": True}, "'steps' is true: it must be int"),
        ({"out": "o", "steps": 0}, "must be at least 1"),
        ({"out": "o", "precision": "fp8"}, "choose one of fp32, bf16, fp16"),
        ({"out": "o", "data": {"size": 100}}, "multiple of 64"),
        ({"out": "o", "data": {"kind": "folder"}}, "no 'data.path'"),
        ({"out": "o", "drop": {"text": 1.5}}, "from 0 to 1"),
        ({"out": "o", "drop": {"hand": 1}}, "nothing would be learned"),
        ({"out": "o", "optimiser": {"ema": 1}}, "below 1"),
    ],
)
def test_what_is_wrong_is_said(values, said):
    with pytest.raises(ValueError, match=said):
        make_config(values)


def test_files_that_cannot_be_read_get_a_sentence(tmp_path):
    path = tmp_path / "c.json"
    with pytest.raises(ValueError, match="There is no configuration"):
        read_train_config(path)
    path.write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        read_train_config(path)
    path.write_text(json.dumps({"out": "o", "x": 1}))
    with pytest.raises(ValueError, match=r"c\.json: Unknown key 'x'"):
        read_train_config(path)
