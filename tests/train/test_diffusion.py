import dataclasses

import pytest
import torch

from handrawer.adapter.hooks import apply_residuals
from handrawer.hand.model import load_open_hand
from handrawer.mini.captions import NAILS
from handrawer.mini.modules import make_tokenizer, tokenize
from handrawer.mini.random_table import uniforms
from handrawer.mini.scene import NAMELESS, draw_scenes
from handrawer.train.data import KEEP, WORDINGS, Samples, batch_at, caption_tokens, keep_drawn
from handrawer.train.diffusion import DiffusionConfig, Trainer, denoise, draw_chances, kept_hands
from handrawer.train.state import Clock, learning_rate, load_state, save_state

CONFIG = DiffusionConfig(batch=2, steps=4, warmup=1, control=False)


@pytest.fixture(scope="module")
def model():
    return load_open_hand()


@pytest.fixture(scope="module")
def samples(model):
    scene = draw_scenes(1, torch.arange(6), model)
    latents = torch.randn(6, 4, 16, 16, generator=torch.Generator().manual_seed(0)).half()
    return Samples(1, latents, caption_tokens(scene, 1), torch.nonzero(scene.gesture < NAMELESS)[:, 0])


def test_tokens_put_together_are_those_of_the_tokenizer(model):
    scene = draw_scenes(5, torch.arange(200), model)
    keep = uniforms(9, scene.index, 7 * WORDINGS, stream=21).reshape(-1, WORDINGS, 7) < KEEP
    keep[:, 0] = True
    texts = []
    for caption, rows in zip(scene.captions(), keep.tolist(), strict=True):
        side, *rest = caption.parts()
        slots = iter(rest)
        present = [caption.gesture is not None, True, True, True, caption.nails != NAILS[0], True, True]
        said = [next(slots) if there else None for there in present]
        texts += [", ".join([side, *(p for p, kept in zip(said, row, strict=True) if kept and p)]) for row in rows]
    wanted = tokenize(make_tokenizer(), texts).reshape(-1, WORDINGS, 77)
    assert torch.equal(caption_tokens(scene, 9).long(), wanted)


def test_denoise_is_the_hooked_unet(model):
    trainer = Trainer(CONFIG, model)
    generator = torch.Generator().manual_seed(2)
    noisy, text = torch.randn(2, 4, 15, 17, generator=generator), torch.randn(2, 77, 128, generator=generator)
    time = torch.tensor([3, 700])
    sizes = {0: (15, 17), 1: (8, 9), 2: (4, 5)}
    residuals = {
        site.block: torch.randn(2, site.channels, *sizes[site.level], generator=generator)
        for site in trainer.description.sites
    }
    unet = trainer.guided.unet.eval()
    with torch.no_grad(), apply_residuals(unet, trainer.description, residuals):
        hooked = unet(noisy, time, text, return_dict=False)[0]
    with torch.no_grad():
        bare = unet(noisy, time, text, return_dict=False)[0]
        assert torch.allclose(denoise(unet, noisy, time, text, residuals), hooked, atol=1e-5)
        assert torch.allclose(denoise(unet, noisy, time, text, {}), bare, atol=1e-5)
    assert float((hooked - bare).abs().mean()) > 0.1


def test_hands_are_dropped_in_the_configured_share():
    config = DiffusionConfig(batch=400)
    assert kept_hands(config) == 200
    chances = draw_chances(config, (400, 4, 8, 8), 200, torch.Generator().manual_seed(1))
    assert chances["box_only"].shape == (200,) and chances["noise"].shape == (400, 4, 8, 8)
    assert 0.05 < float(chances["drop_text"].float().mean()) < 0.16
    assert int(chances["time"].min()) < 50 and 950 < int(chances["time"].max()) < 1000


def test_hands_that_are_kept_are_those_that_are_drawn_for_a_batch(model, samples):
    kept = keep_drawn(samples, model, 32, chunk=4)
    for step in range(3):
        one, other = (batch_at(s, step, 6, 4, model, 7, 32) for s in (samples, kept))
        assert one.kept == other.kept == 4 and len(one.latents) == 6
        assert torch.equal(one.latents, other.latents) and torch.equal(one.tokens, other.tokens)
        assert torch.equal(one.drawn.inputs.picture, torch.arange(4))
        for name in ("vertices", "points", "side", "box", "geometry", "weight", "sizes", "picture"):
            a, b = (getattr(batch.drawn.inputs, name).float() for batch in (one, other))
            assert torch.allclose(a, b, atol=2e-3), name
        assert torch.allclose(one.drawn.mask, other.drawn.mask, atol=1e-3) and float(one.drawn.mask.max()) == 1


def test_samples_without_a_hand_have_names(model):
    scene = draw_scenes(1, torch.arange(64), model)
    named = torch.nonzero(scene.gesture < NAMELESS)[:, 0]
    latents = torch.arange(64.0)[:, None, None, None].expand(64, 4, 4, 4).half()
    samples = Samples(1, latents, caption_tokens(scene, 1), named)
    batch = batch_at(samples, 0, 40, 10, model, 3, 16)
    numbers = batch.latents[:, 0, 0, 0].long()
    assert bool(torch.isin(numbers[10:], named).all()) and not bool(torch.isin(numbers[:10], named).all())


def test_a_resumed_run_is_the_run_that_was_not_stopped(model, samples, tmp_path):
    lines: list[str] = []

    def trained(steps: list[int]):
        for k, limit in enumerate(steps):
            trainer = Trainer(dataclasses.replace(CONFIG, steps=4), model)
            if k:
                assert trainer.resume(tmp_path / "diffusion.pt")
            while trainer.step < limit:
                trainer.train_step(trainer.batch(samples))
            trainer.save(tmp_path / "diffusion.pt")
        return trainer

    torch.set_num_threads(1)
    whole, parts = trained([2]), trained([1, 2])
    assert lines == [] and whole.step == parts.step == 2
    for name in ("guided", "adapter"):
        for key, value in whole.arms[name].state_dict().items():
            assert torch.equal(value, parts.arms[name].state_dict()[key]), key
        for key, value in whole.averages[name].values.items():
            assert torch.equal(value, parts.averages[name].values[key]), key


def test_all_of_both_networks_learns(model, samples):
    trainer = Trainer(dataclasses.replace(CONFIG, drop_hand=0.0, box_only=0.0, drop_text=0.0), model)
    before = {k: v.clone() for arm in trainer.arms.values() for k, v in arm.named_parameters()}
    for _ in range(2):  # the zero-initialised projections let the rest learn from the second step on
        trainer.train_step(trainer.batch(samples))
    after = {k: v for arm in trainer.arms.values() for k, v in arm.named_parameters()}
    still = [k for k in before if torch.equal(before[k], after[k])]
    # What is only looked up when something is dropped.
    assert all("no_text" in k or "no_hand" in k or "null" in k for k in still), still


def test_the_clock_and_the_learning_rate():
    assert Clock(10, None).progress(5) == 0.5
    assert Clock(None, 1e9).progress(5) < 1e-3
    assert learning_rate(1.0, 0, 0.0, 10) == pytest.approx(0.1)
    assert learning_rate(1.0, 100, 0.0, 10) == pytest.approx(1.0)
    assert learning_rate(1.0, 100, 1.0, 10) == pytest.approx(0.01)


def test_state_files(tmp_path):
    assert load_state(tmp_path / "none.pt", "cpu") is None
    save_state(tmp_path / "a.pt", {"x": torch.ones(2), "step": 3})
    state = load_state(tmp_path / "a.pt", "cpu")
    assert state is not None and state["step"] == 3 and torch.equal(state["x"], torch.ones(2))


def test_a_frozen_base_stays_as_it_is_and_its_adapter_learns(model, samples):
    config = dataclasses.replace(CONFIG, freeze=True, drop_hand=0.0, warmup=1, rate=1e-3)
    trainer = Trainer(config, model)
    before = {name: {k: v.clone() for k, v in arm.state_dict().items()} for name, arm in trainer.arms.items()}
    for _ in range(2):
        trainer.train_step(trainer.batch(samples))
    after = {name: arm.state_dict() for name, arm in trainer.arms.items()}
    assert all(torch.equal(before["guided"][k], v) for k, v in after["guided"].items())
    assert all(torch.equal(before["guided"][k], v) for k, v in trainer.averages["guided"].values.items())
    assert any(not torch.equal(before["adapter"][k], v) for k, v in after["adapter"].items())
    learned = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert learned == {id(p) for p in trainer.adapter.parameters()}


def test_an_earlier_generation_is_where_training_starts(model):
    trainer = Trainer(CONFIG, model)
    weights = {k: torch.full_like(v, 0.25) for k, v in trainer.guided.named_parameters()}
    trainer.start_from({"guided": weights})
    assert all(bool((p == 0.25).all()) for p in trainer.guided.parameters())
    assert all(bool((trainer.averages["guided"].values[k] == 0.25).all()) for k in weights)
    assert not all(bool((p == 0.25).all()) for p in trainer.adapter.parameters())
