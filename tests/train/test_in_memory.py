"""Training on pictures that are kept in memory, as the canvas does."""

import dataclasses

import pytest
import torch

from handrawer.adapter.handrawer import HanDrawer
from handrawer.adapter.inputs import hand_inputs
from handrawer.hand.hands import Frame, Hands, hand_from_gesture
from handrawer.hand.model import load_open_hand
from handrawer.train import in_memory
from handrawer.train.batches import latent_mask
from handrawer.train.in_memory import Item, MemoryTrainer, Settings
from handrawer.train.steps import DiffusersDenoiser
from handrawer.train.trees import tensors_of
from tests.train.conftest import SMALL

CPU = torch.device("cpu")


def frames() -> list[Frame]:
    """A hand, two hands one over the other, and a hand."""
    one, other = (
        hand_from_gesture(name, side, 64, 64, centre=(x, 0.5), size=0.5).hands[0]
        for name, side, x in (("open", "left", 0.4), ("fist", "right", 0.6))
    )
    return [Frame(64, 64, hands) for hands in ((one,), (one, other), (other,))]


@pytest.fixture
def make(mini_base):
    def make_trainer(batch: int = 3) -> MemoryTrainer:
        torch.manual_seed(0)
        changes = {k: tuple(v) if isinstance(v, list) else v for k, v in SMALL["adapter"]["changes"].items()}
        model = load_open_hand()
        adapter = HanDrawer.create(mini_base.description, model, **changes)
        text = mini_base.text(["a hand", ""])
        items = [
            Item(torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(k)), text.rows(slice(0, 1)), frame)
            for k, frame in enumerate(frames())
        ]
        return MemoryTrainer(
            DiffusersDenoiser(mini_base, "fp32"), adapter, model, items, text.rows(slice(1, 2)),
            (mini_base.a, mini_base.s), Settings(steps=4, batch=batch), mini_base.networks,
        )  # fmt: skip

    return make_trainer


def test_hands_that_were_drawn_once_are_those_that_are_drawn_together(make):
    trainer = make()
    for _ in range(2):  # the second time they are known
        batch = trainer.batch()
        order = trainer.plan.step(0).places
        hands = Hands(tuple(frames()[place] for place in order))
        wanted = hand_inputs(hands, trainer.model, trainer.adapter.config.raster, CPU)
        first, second = tensors_of(batch.inputs), tensors_of(wanted)
        assert all(torch.equal(first[name], second[name]) for name in second) and not batch.inputs.alone
        assert torch.equal(batch.mask, latent_mask(hands, (64, 64), CPU))
    assert len(trainer._kept) == 3


def test_without_room_they_are_drawn_every_time_and_nothing_changes(make, monkeypatch):
    first = make(1)
    monkeypatch.setattr(in_memory, "KEPT_BYTES", 0)
    second = make(1)
    losses = [[trainer.train_step()["loss"] for _ in range(3)] for trainer in (first, second)]
    assert losses[0] == losses[1] and first._kept and not second._kept


def test_numbers_that_are_not_finite_end_it_before_anything_is_learned(make):
    trainer = make(1)
    trainer.items = [dataclasses.replace(item, latent=item.latent * float("nan")) for item in trainer.items]
    before = {name: p.detach().clone() for name, p in trainer.adapter.named_parameters()}
    with pytest.raises(FloatingPointError, match="loss of step 1 is not a finite number"):
        trainer.train_step()
    assert all(torch.equal(before[name], p) for name, p in trainer.adapter.named_parameters())
