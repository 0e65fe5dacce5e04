"""The generator as the trainer's source."""

import pytest

from handrawer.synthetic.options import FULL
from handrawer.train.adapter import AdapterTrainer, train_adapter
from handrawer.train.config import make_config
from tests.train.conftest import SMALL

RICH = {"two_hands": 1.0, "holding": 0.5, "people": 0.5, "distortion": 1.0, "noise": 1.0, "jpeg": 1.0}


def config(out, synthetic, **changes):
    return make_config({"out": str(out), **SMALL, "data": {"size": 64, "synthetic": synthetic}, "batch": 2, **changes})


def test_pictures_with_two_hands_are_learned_from(tmp_path, mini_base):
    trainer = AdapterTrainer(config(tmp_path / "look", RICH), base=mini_base)
    batch = trainer.batch()
    assert batch.inputs.picture.tolist() == [0, 0, 1, 1] and not batch.inputs.alone
    assert batch.mask.shape == (2, 1, 8, 8) and 0.05 < float(batch.mask.mean()) < 0.9
    assert all("two hands" in text for text in batch.captions)
    trainer.close()
    result = train_adapter(config(tmp_path / "run", RICH, steps=2), base=mini_base)
    assert result.step == 2 and result.adapter_file.is_file()


def test_a_run_that_goes_on_sees_the_same_and_other_options_are_refused(tmp_path, mini_base):
    whole = train_adapter(config(tmp_path / "a", "full", steps=2), base=mini_base)
    train_adapter(config(tmp_path / "b", "full", steps=2), base=mini_base, stop=lambda: True)
    again = train_adapter(config(tmp_path / "b", "full", steps=2), base=mini_base)
    assert again.losses == whole.losses
    with pytest.raises(ValueError, match=r"another 'data'"):
        train_adapter(config(tmp_path / "b", "plain", steps=2), base=mini_base)


def test_presets_and_their_names():
    assert make_config({"out": "o", "data": {"synthetic": "full"}}).data.synthetic == FULL
    assert make_config({"out": "o"}).data.synthetic.plain
    assert make_config({"out": "o", "data": {"synthetic": {"people": 0.5}}}).data.synthetic.people == 0.5
    with pytest.raises(ValueError, match=r"'data.synthetic' is \"rich\": choose"):
        make_config({"out": "o", "data": {"synthetic": "rich"}})
    with pytest.raises(ValueError, match=r"Unknown key 'data.synthetic.dogs'"):
        make_config({"out": "o", "data": {"synthetic": {"dogs": 1.0}}})
    with pytest.raises(ValueError, match=r"'data.synthetic.noise' is 2.0"):
        make_config({"out": "o", "data": {"synthetic": {"noise": 2}}})


def test_a_run_of_a_release_without_options_goes_on(tmp_path, mini_base):
    trainer = AdapterTrainer(config(tmp_path, "plain"), base=mini_base)
    assert "synthetic" not in trainer.binding()["data"]
    trainer.close()
    rich = AdapterTrainer(config(tmp_path / "rich", RICH), base=mini_base)
    assert rich.binding()["data"]["synthetic"]["people"] == 0.5
    rich.close()
