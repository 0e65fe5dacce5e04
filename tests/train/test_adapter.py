"""The training of an adapter for a frozen base: exact, interruptible, honest about what goes wrong."""

import dataclasses
import json
import shutil
import threading
from pathlib import Path

import pytest
import torch

from handrawer.adapter.card import card_values
from handrawer.adapter.checkpoint import load
from handrawer.train import adapter as module
from handrawer.train.adapter import ADAPTER_FILE, STATE_FILE, AdapterTrainer, TrainingStopped, train_adapter
from handrawer.train.config import DropConfig, make_config
from handrawer.train.learner import assert_trainable
from handrawer.train.losses import clean_error, denoising_loss, hand_loss
from handrawer.train.records import read_records
from handrawer.train.state import load_state
from handrawer.train.steps import Noised, losses_of
from tests.train.conftest import SMALL


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def config(out: Path, folder: Path | None = None, **changes):
    data = {"kind": "folder", "path": str(folder), "size": 64} if folder else {"size": 64}
    return make_config({"out": str(out), **SMALL, "data": data, "steps": 4, "batch": 2, "save_every": 2, **changes})


def weights(out: Path):
    state = load_state(out / STATE_FILE, "cpu")
    assert state is not None
    return {**state["parts"]["adapter"], **{f"average {k}": v for k, v in state["averages"]["adapter"].items()}}


def same(a, b) -> bool:
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_that_is_killed_and_goes_on_ends_with_the_same_bits(tmp_path, folder, mini_base):
    before = {k: v.clone() for network in mini_base.networks for k, v in network.state_dict().items()}
    whole = train_adapter(config(tmp_path / "a", folder), base=mini_base)

    def kill(progress):
        if progress.step == 3:  # the last state is the one after step 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_adapter(config(tmp_path / "b", folder), base=mini_base, progress=kill)
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    train_adapter(config(tmp_path / "b", folder), base=mini_base)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    a, b = (load(tmp_path / name / ADAPTER_FILE) for name in "ab")
    assert same(a.state_dict(), b.state_dict()) and a.metadata == b.metadata
    losses = [[row["loss"] for row in read_records(tmp_path / name)] for name in "ab"]
    assert losses[0] == losses[1] and len(losses[0]) == 4
    # Frozen is frozen, and what comes out is a finished file.
    after = {k: v for network in mini_base.networks for k, v in network.state_dict().items()}
    assert same(before, after) and whole.step == 4 and whole.samples == 8
    told = card_values(whole.adapter_file)["training"]
    assert told["steps"] == 4 and told["pictures"] == 6 and told["prediction"] == "v_prediction"
    learned = dict(load(whole.adapter_file).named_parameters())
    assert max(float(p.detach().abs().max()) for name, p in learned.items() if ".sites." in name) > 1e-3


def test_it_goes_on_only_with_what_it_began_with(tmp_path, folder, mini_base):
    result = train_adapter(config(tmp_path, folder), base=mini_base, stop=lambda: True)
    assert result.step == 1
    with pytest.raises(ValueError, match=r"another 'losses'.*choose another 'out'"):
        train_adapter(config(tmp_path, folder, losses={"hand": 0.1}), base=mini_base)
    (tmp_path / STATE_FILE).write_bytes(b"broken")
    with pytest.raises(ValueError, match="is damaged"):
        train_adapter(config(tmp_path, folder), base=mini_base)


class Pretended:
    """Two processes as two threads."""

    def __init__(self, rank: int, barrier: threading.Barrier, shared: dict) -> None:
        self.rank, self.count, self.device, self.first = rank, 2, torch.device("cpu"), rank == 0
        self.barrier, self.shared = barrier, shared

    def wait(self):
        if self.shared.get("running"):
            self.barrier.wait(60)

    def mean(self, tensor):
        self.shared[self.rank] = tensor.clone()
        self.wait()
        found = (self.shared[0] + self.shared[1]) / 2
        self.wait()
        return found

    def mean_gradients(self, parameters):
        for parameter in parameters:
            grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = self.mean(grad)

    def close(self):
        pass


def test_two_processes_and_two_turns_are_one_with_twice_the_batch(tmp_path, folder, mini_base, monkeypatch):
    settings = {"steps": 2, "drop": {"text": 0.3, "hand": 0.3, "box_only": 0.3}}
    train_adapter(config(tmp_path / "one", folder, batch=2, **settings), base=mini_base)
    train_adapter(config(tmp_path / "turns", folder, batch=1, accumulate=2, **settings), base=mini_base)
    barrier, shared = threading.Barrier(2), {}
    ranks = iter((0, 1))
    monkeypatch.setattr(module, "Processes", lambda device: Pretended(next(ranks), barrier, shared))
    made = [AdapterTrainer(config(tmp_path / "two", folder, batch=1, **settings), base=b) for b in _twice(mini_base)]
    shared["running"] = True
    threads = [threading.Thread(target=trainer.run) for trainer in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for trainer in made:
        trainer.close()
    one = weights(tmp_path / "one")
    for name in ("turns", "two"):
        other = weights(tmp_path / name)
        for key, value in one.items():
            assert torch.allclose(value, other[key], atol=2e-4, rtol=2e-3), (name, key)
        for a, b in zip(read_records(tmp_path / "one"), read_records(tmp_path / name), strict=True):
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)


def _twice(base):
    """The same base for two threads: hooks belong to a network."""
    import copy

    return base, dataclasses.replace(base, unet=copy.deepcopy(base.unet))


def test_numbers_that_are_not_finite_stop_it_and_leave_the_batch(tmp_path, mini_base):
    trainer = AdapterTrainer(config(tmp_path), base=mini_base)
    with torch.no_grad():
        for name, parameter in trainer.adapter.named_parameters():
            if ".sites." in name:
                parameter.fill_(float("nan"))
    with pytest.raises(TrainingStopped, match=r"step 1 is not a finite number \(pictures synthetic 0, synthetic 1\)"):
        trainer.train_step()
    trainer.close()
    from safetensors import safe_open

    (file,) = tmp_path.glob("not_finite_step1_*.safetensors")
    with safe_open(str(file), "pt") as saved:
        assert json.loads(saved.metadata()["names"]) == ["synthetic 0", "synthetic 1"]
        assert saved.get_tensor("moments").shape[0] == 2 and "chance_noise" in saved.keys()  # noqa: SIM118
    assert trainer.step == 0


def test_broken_pictures_are_skipped_and_told(tmp_path, folder, mini_base, caplog):
    broken = tmp_path / "pictures"
    shutil.copytree(folder, broken)
    for name in ("0.png", "4.png"):
        (broken / name).write_bytes((folder / name).read_bytes()[:200])
    (broken / "1.txt").write_bytes("une main élégante".encode("latin-1"))
    result = train_adapter(config(tmp_path / "run", broken), base=mini_base)
    assert result.step == 4 and result.skipped >= 2 and "It is skipped" in caplog.text


def test_a_full_disk_does_not_lose_the_run(tmp_path, folder, mini_base, monkeypatch, caplog):
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_state", full)
    result = train_adapter(config(tmp_path, folder), base=mini_base)
    assert result.step == 4 and "No space left" in caplog.text and result.adapter_file.exists()


def test_latents_and_text_of_the_cache_are_those_without(tmp_path, folder, mini_base):
    def trained(name: str, cache: Path | None):
        data = {"kind": "folder", "path": str(folder), "size": 64, "cache": None if cache is None else str(cache)}
        train_adapter(config(tmp_path / name, data=data, steps=2), base=mini_base)
        return weights(tmp_path / name)

    plain = trained("plain", None)
    first, second = (trained(name, tmp_path / "cache") for name in ("first", "second"))
    assert same(first, second)
    for name, value in plain.items():  # without a cache captions are encoded together
        assert torch.allclose(value, first[name], atol=2e-4, rtol=2e-3), name
    assert list((tmp_path / "cache").glob("*.safetensors"))


def test_checkpointing_changes_no_gradient(tmp_path, mini_base):
    def gradients(name: str, checkpointing: bool):
        trainer = AdapterTrainer(config(tmp_path / name, checkpointing=checkpointing, batch=1), base=mini_base)
        with torch.no_grad():
            for key, parameter in trainer.adapter.named_parameters():
                if ".sites." in key:
                    torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(len(key)))
        trainer.forward(trainer.batch(), trainer.learner.backward)
        found = {key: p.grad.clone() for key, p in trainer.adapter.named_parameters() if p.grad is not None}
        trainer.close()
        return found

    plain, again = gradients("a", False), gradients("b", True)
    assert set(plain) == set(again)
    for name, gradient in plain.items():
        assert torch.allclose(gradient, again[name], rtol=1e-3, atol=1e-6), name


def test_a_controlnet_learns_with_it_and_is_saved_apart(tmp_path, mini_base):
    from diffusers import ControlNetModel

    changes = {"control": {"rate": 0.001}, "drop": {"hand": 0.5}, "batch": 1, "steps": 2}
    result = train_adapter(config(tmp_path, **changes), base=mini_base)
    assert result.control_folder is not None
    control = ControlNetModel.from_pretrained(result.control_folder, low_cpu_mem_usage=False)
    fresh = ControlNetModel.from_unet(mini_base.unet)
    moved = [n for n, p in control.named_parameters() if not torch.equal(p, dict(fresh.named_parameters())[n])]
    assert any(name.startswith("controlnet_down_blocks") for name in moved)
    assert card_values(result.adapter_file)["training"]["with depth ControlNet"] is True
    assert not any(p.requires_grad for p in mini_base.unet.parameters())


def test_validation_draws_and_scores(tmp_path, folder, mini_base):
    changes = {"validation": {"every": 2, "count": 1, "steps": 1}, "steps": 2}
    result = train_adapter(config(tmp_path, folder, **changes), base=mini_base)
    assert set(result.scores) >= {"found", "pck", "base_found", "base_pck"}
    assert (tmp_path / "validation" / "step_000002.jpg").stat().st_size > 1000
    assert read_records(tmp_path, "validation")[0]["step"] == 2


def test_what_must_learn_and_what_must_not(mini_base):
    learning, frozen = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2).requires_grad_(False)
    optimizer = torch.optim.AdamW(learning.parameters())
    assert_trainable(optimizer, {"a": learning}, [frozen])
    with pytest.raises(RuntimeError, match="would learn"):
        assert_trainable(optimizer, {"a": learning}, [frozen.requires_grad_(True)])
    with pytest.raises(RuntimeError, match="The optimiser holds 2 parameters, but 4"):
        assert_trainable(optimizer, {"a": learning, "b": torch.nn.Linear(2, 2)}, [])
    with pytest.raises(RuntimeError, match="wants no gradient"):
        assert_trainable(optimizer, {"a": learning.requires_grad_(False)}, [])


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_losses_are_those_of_the_formulas(kind):
    generator = torch.Generator().manual_seed(4)
    clean, noise, prediction = torch.randn(3, 2, 4, 6, 6, generator=generator).unbind(0)
    a = torch.tensor([0.9, 0.4])
    s = (1 - a**2).sqrt()
    noised = Noised.make(clean, noise, torch.tensor([0, 1]), a, s)
    mask = torch.rand(2, 1, 6, 6, generator=generator)
    settings = make_config({"out": "o", "losses": {"denoising": 0.7, "hand": 0.3}}).losses
    found = losses_of(prediction, noised, mask, kind, settings)
    error = clean_error(prediction, clean, noise, a, s, kind)
    assert float(found["denoising"]) == pytest.approx(0.7 * float(denoising_loss(error, a, s)), rel=1e-5)
    assert float(found["hand"]) == pytest.approx(0.3 * float(hand_loss(error, mask, a, s)), rel=1e-5)


def test_chances_follow_the_sample_and_not_its_batch():
    from handrawer.train.batches import draw_chances

    drop = DropConfig(0.5, 0.5, 0.5)
    whole = draw_chances(7, range(10, 16), (4, 3, 5), drop, 1000, "uniform")
    parts = [draw_chances(7, [p], (4, 3, 5), drop, 1000, "uniform") for p in range(10, 16)]
    for field in dataclasses.fields(whole):
        joined = torch.cat([getattr(part, field.name) for part in parts])
        assert torch.equal(getattr(whole, field.name), joined), field.name
    many = draw_chances(7, range(400), (1, 1, 1), DropConfig(0.25, 0, 1), 1000, "uniform")
    assert 0.15 < float(many.drop_text.float().mean()) < 0.35
    assert not many.drop_hand.any() and bool(many.box_only.all())
    cubic = draw_chances(7, range(400), (1, 1, 1), drop, 1000, "cubic")
    assert 450 < float(many.time.float().mean()) < 550 and float(cubic.time.float().mean()) > 700


def test_eight_bits_without_bitsandbytes_are_refused(tmp_path, mini_base, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ValueError, match="bitsandbytes: install it"):
        AdapterTrainer(config(tmp_path, optimiser={"eight_bit": True}), base=mini_base)
