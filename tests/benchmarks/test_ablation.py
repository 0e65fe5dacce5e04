"""The ablation's arms: each lacks what it should lack, and copies trained side by side do not touch each other."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.ablation.base import Guide, load_base
from benchmarks.ablation.collect import score
from benchmarks.ablation.judging import KEPT, VALUES
from benchmarks.ablation.pictures import condition_pictures
from benchmarks.ablation.poses import Wanted, held_out
from benchmarks.ablation.training import Recipe, Stack, mask_weight
from benchmarks.ablation.variants import ARMS, learned_parameters, make_guide, snapped
from handrawer.adapter.ppzp import full_window
from handrawer.estimate.landmarks import Landmarks
from handrawer.evaluate.score import score_picture
from handrawer.mini.picture import make_skin
from handrawer.train.data import keep_drawn, make_samples

EQUAL = ("full", "geometry", "gcn", "box", "stretched", "t2i", "whole", "coarse", "silent", "unpadded")


@pytest.fixture(scope="module")
def base():
    return load_base(torch.device("cpu"))


@pytest.fixture(scope="module")
def poses(base):
    return held_out(2, base.model)


@pytest.fixture(scope="module")
def samples(base):
    made = make_samples(1, 6, base.model, make_skin(base.model), base.pipe.vae, 6)
    return keep_drawn(made, base.model, 128, 6)


def maps(name, base, inputs, text, drop=None) -> torch.Tensor:
    """An arm's maps in one row, its projections drawn at random so that there is something to see."""
    torch.manual_seed(5)
    guide = make_guide(name, base).eval()
    for part, weight in guide.named_parameters():
        if ".sites." in part or "projections" in part:
            torch.nn.init.normal_(weight, std=0.1)
    drop = torch.zeros(len(text), dtype=torch.bool) if drop is None else drop
    with torch.no_grad():
        return torch.cat([m.flatten(1) for m in guide.prepare(inputs, text, drop).values()], 1)


def test_equal_parameters(base):
    counts = {name: learned_parameters(make_guide(name, base)) for name in EQUAL}
    assert max(counts.values()) < 1.01 * min(counts.values()), counts


@pytest.mark.parametrize(
    ("arm", "blind"),
    [("geometry", ("vertices",)), ("gcn", ("geometry",)), ("box", ("vertices", "geometry")), ("silent", ("text",))],
)
def test_an_arm_does_not_see_what_it_lacks(base, poses, arm, blind):
    text = base.encode(poses.tokens)
    inputs = poses.inputs
    there = maps(arm, base, inputs, text)
    for name in ("vertices", "geometry", "text"):
        other = text.flip(0) if name == "text" else text
        changed = inputs if name == "text" else dataclasses.replace(inputs, **{name: getattr(inputs, name).flip(0)})
        same = torch.equal(there, maps(arm, base, changed, other))
        assert same == (name in blind), name


def test_padding_arms(base, poses):
    text, inputs = base.encode(poses.tokens), poses.inputs
    small = dataclasses.replace(inputs, box=torch.tensor([[0.26, 0.26, 0.71, 0.74]]).expand(2, 4))
    first = {name: maps(name, base, small, text)[:, : 64 * 1024].reshape(2, 64, 32, 32) for name in
             ("full", "whole", "stretched", "unpadded")}  # fmt: skip
    outside = torch.ones(32, 32, dtype=torch.bool)
    outside[8:24, 8:23] = False
    assert not first["full"][..., outside].any() and first["full"][..., ~outside].all()
    outside[8:24, 22] = False
    assert not first["whole"][..., outside].any()
    for name in ("stretched", "unpadded"):
        assert first[name][..., outside].any()


def test_snapped_boxes_lie_on_cells():
    box = torch.tensor([[3.2, 4.9, 17.4, 20.6], [5.0, 5.0, 5.1, 5.1]])
    for level in range(3):
        window = full_window(level, 32, 32)
        found = snapped(box, window)
        cells = (found - window.columns[0]) / 2**level
        assert torch.equal(cells, cells.round())
        assert bool(((found[:, 2:] - found[:, :2]) >= 2**level).all())
        assert float((found[0] - box[0]).abs().max()) <= 2**level / 2


def test_condition_pictures_show_the_hand_where_it_is(poses):
    shown = condition_pictures(poses.inputs)
    box = poses.inputs.box * 256
    for picture, (x0, y0, x1, y1) in zip(shown, box.tolist(), strict=True):
        rows, columns = (picture[0] > 0.1).nonzero().unbind(1)
        assert rows.min() >= y0 - 1 and rows.max() <= y1 + 1 and columns.min() >= x0 - 1 and columns.max() <= x1 + 1
        assert float(picture[0].max()) == pytest.approx(1, abs=0.1)
        normal = picture[1:, picture[0] > 0.3].norm(dim=0)
        assert float(normal.median()) == pytest.approx(1, abs=0.05)


def test_copies_side_by_side_are_as_alone(base, samples):
    rates = (1e-3, 2e-3)
    both = Stack(base, lambda: make_guide("full", base), Recipe((3, 4), rates, 2, 3, 1))
    alone = Stack(base, lambda: make_guide("full", base), Recipe((4,), rates[1:], 2, 3, 1))
    for _ in range(1):
        together, single = both.train_step(samples), alone.train_step(samples)
        for name in together:
            torch.testing.assert_close(together[name][1:], single[name], rtol=1e-4, atol=1e-6)
    frozen = [p for p in base.pipe.unet.parameters() if p.grad is not None or p.requires_grad]
    assert not frozen
    assert isinstance(alone.guides[0], Guide)


def test_mask_weight_gives_equal_gradients(base, samples):
    torch.manual_seed(0)
    guide = make_guide("full", base)
    recipe = Recipe((3,), (0.0,), 2, 1, 1)
    weight = mask_weight(base, guide, samples, recipe, batches=1)
    norms = []
    for loss in ("hand", "mask"):
        stack = Stack(base, lambda: guide, dataclasses.replace(recipe, loss=loss, mask_weight=weight))
        second = stack.losses(stack.batch(samples, 1_000_000))["second"].sum()
        found = torch.autograd.grad(second, [p for p in guide.parameters() if p.requires_grad], allow_unused=True)
        norms.append(float(torch.stack([g.norm() for g in found if g is not None]).norm()))
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)


def test_scores_are_those_of_the_library():
    generator = torch.Generator().manual_seed(2)
    points, box = torch.rand(21, 2, generator=generator), torch.tensor([0.1, 0.2, 0.8, 0.7])
    near = points + 0.06 * torch.randn(21, 2, generator=generator)
    hands = [Landmarks(near, torch.zeros(21, 3), "left", 0.9), Landmarks(points + 0.5, torch.zeros(21, 3), "right", 1)]
    expected = score_picture(torch.zeros(8, 8, 3), points, box, "left", lambda _: hands)
    found = np.full((2, KEPT, VALUES), np.nan, np.float32)
    for k, hand in enumerate(hands):
        found[0, k] = [*hand.points.flatten().tolist(), float(hand.side == "right"), hand.score, 1]
    wanted = Wanted(points.expand(2, 1, 21, 2), box.expand(2, 1, 4), [["left"], ["left"]])
    got = SimpleNamespace(**score(found, wanted))
    assert got.joints == [round(21 * expected.pck), 0] and got.found == [1, 0] and got.side == [1, 0]
    assert got.error == [pytest.approx(1000 * expected.joint_error, abs=1), -1]


def test_arms_run_under_autocast(base, poses):
    text, drop = base.encode(poses.tokens), torch.zeros(2, dtype=torch.bool)
    for name in ("unpadded", "stretched", "whole"):
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            found = make_guide(name, base).prepare(poses.inputs, text, drop)
        assert set(found) == {0, 1, 3, 5}


def test_every_arm_of_the_configuration_exists():
    from benchmarks.ablation.config import read_config

    for name in ("gpu", "smoke"):
        assert set(read_config(name).arms) == set(ARMS)
