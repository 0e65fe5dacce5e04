import dataclasses

import pytest
import torch

from handrawer.adapter.handrawer import HanDrawer, HanDrawerConfig, HandTokens
from handrawer.adapter.inputs import HandInputs, hand_inputs
from handrawer.adapter.ppzp import footprint
from handrawer.counters import counters
from handrawer.hand.hands import Frame, Hands, make_hand

from .conftest import TINY, randomise_projections

LATENT = (32, 32)


def maps(adapter, inputs, text=None, latent=LATENT, **options):
    with torch.no_grad():
        return adapter.residuals(adapter.encode(inputs), *latent, text, **options)


def words(count, length=77, seed=0):
    return torch.randn(count, length, 128, generator=torch.Generator().manual_seed(seed))


def close(a, b, tolerance=1e-4):
    return all(torch.allclose(a[block], b[block], atol=tolerance * float(b[block].abs().max() + 1e-9)) for block in b)


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[block], b[block]) for block in b)


def permuted(inputs: HandInputs, order) -> HandInputs:
    return inputs.hand(torch.tensor(order))


@pytest.mark.parametrize("latent", [(32, 32), (27, 41), (64, 24)])
@pytest.mark.parametrize("dense", [True, False])
def test_exactly_zero_outside_the_box_with_random_weights(adapter, place, latent, dense):
    height, width = latent
    inputs = place((0.05, 0.0, 0.9), (-0.25, 0.1, 0.8), (0.0, 0.05, 9.0), width=8 * width, height=8 * height)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))  # biases too
    found = maps(adapter, inputs, words(3), latent, dense=dense)
    for site in adapter.config.unet.sites:
        weight = footprint(inputs.box, site.level, height, width)[:, None]
        assert found[site.block].shape[1:] == (site.channels, *weight.shape[2:])
        outside = (weight == 0).expand_as(found[site.block])
        assert bool(outside.any()) and not bool(found[site.block][outside].any())
        assert bool(found[site.block][~outside].any())


def test_an_untrained_adapter_gives_zero_and_its_code_runs(model, description, place):
    torch.manual_seed(0)
    fresh = HanDrawer.create(description, model, **TINY).eval()
    inputs = place((0.0, 0.05, 0.5))
    found = maps(fresh, inputs, words(1))
    assert all(not bool(m.any()) for m in found.values())
    assert any(bool(m.any()) for m in maps(randomise_projections(fresh), inputs, words(1)).values())


def test_no_hand_gives_zeros_for_every_picture(adapter, place):
    none = place((0.0, 0.05, 0.5), (0.0, 0.05, 0.5)).hand(slice(0, 0))
    for dense in (True, False):
        found = maps(adapter, none, words(2), dense=dense)
        assert [m.shape[0] for m in found.values()] == [2] * 4
        assert all(not bool(m.any()) for m in found.values())


def test_a_hand_outside_the_picture_gives_zeros(adapter, place):
    assert all(not bool(m.any()) for m in maps(adapter, place((5.0, 0.0, 0.6))).values())


def test_dense_and_gathered_agree(adapter, place, together):
    alone = place((0.05, 0.0, 0.5), (-0.3, 0.1, 0.8), (0.02, 0.03, 6.0), left=[False, True, False])
    crowd = together(place((0.05, 0.0, 0.5), (-0.02, 0.1, 0.8), left=[False, True]))
    for inputs, text in ((alone, words(3)), (crowd, words(1)), (alone, None)):
        for latent in ((32, 32), (25, 37)):
            dense = maps(adapter, inputs, text, latent, dense=True)
            assert close(maps(adapter, inputs, text, latent, dense=False), dense)


def test_training_and_eval_agree(adapter, place):
    inputs = place((0.05, 0.0, 0.5), (-0.1, 0.1, 0.8))
    evaluated = maps(adapter, inputs, words(2))
    assert close(maps(adapter.train(), inputs, words(2)), evaluated)


def test_the_order_of_the_hands_does_not_matter(adapter, place, together):
    inputs = together(place((0.05, 0.0, 0.5), (-0.02, 0.1, 0.8), (0.1, 0.1, 1.0), left=[False, True, False]))
    first = maps(adapter, inputs, words(1))
    for order in ([2, 0, 1], [1, 0, 2], [2, 1, 0]):
        assert equal(maps(adapter, permuted(inputs, order), words(1)), first)


def test_a_far_hand_changes_nothing(adapter, place, together):
    near, far = (-0.12, 0.0, 0.9), (0.22, 0.1, 1.2)
    one = together(place(near))
    two = together(place(near, far))
    alone, both, other = (maps(adapter, i, words(1)) for i in (one, two, together(place(far))))
    for site in adapter.config.unet.sites:
        weight = footprint(two.box, site.level, *LATENT)
        assert not bool(((weight[0] > 0) & (weight[1] > 0)).any()), "the boxes are to lie apart"
        here = (weight[0] > 0).expand_as(alone[site.block])
        assert torch.equal(both[site.block][here], alone[site.block][here])
        assert torch.equal(both[site.block], alone[site.block] + other[site.block])


def test_hands_alone_at_their_cells_count_like_the_only_hand(adapter, place, together):
    """`alone` skips the shares; they would give the same bits."""
    inputs = together(place((0.03, 0.04, 0.5)))
    assert equal(maps(adapter, dataclasses.replace(inputs, alone=False)), maps(adapter, inputs))


def test_pictures_do_not_mix(adapter, place):
    apart = place((0.05, 0.0, 0.5), (-0.02, 0.1, 0.8))
    both = maps(adapter, apart, words(2))
    for k in range(2):
        single = dataclasses.replace(apart.hand(slice(k, k + 1)), picture=torch.tensor([0]), sizes=apart.sizes[:1])
        for block, found in maps(adapter, single, words(2)[k : k + 1]).items():
            assert torch.equal(both[block][k : k + 1], found)


@pytest.mark.parametrize("length", [77, 154])
def test_texts_of_any_length_count(adapter, place, length):
    inputs = place((0.05, 0.0, 0.5), (-0.02, 0.1, 0.8))
    text = words(2, length)
    found = maps(adapter, inputs, text)
    assert all(bool(torch.isfinite(m).all()) for m in found.values())
    assert not close(maps(adapter, inputs, None), found)
    changed = text.clone()
    changed[:, -1] += 5 * torch.randn(128, generator=torch.Generator().manual_seed(9))
    assert not equal(maps(adapter, inputs, changed), found)
    assert close(maps(adapter, inputs, text * 3), found, 1e-3), "the scale of weighted text is taken out"


def test_one_text_serves_all_pictures(adapter, place):
    inputs = place((0.05, 0.0, 0.5), (-0.02, 0.1, 0.8))
    text = words(1)
    assert equal(maps(adapter, inputs, text), maps(adapter, inputs, text.expand(2, -1, -1)))


def test_masked_tokens_do_not_count(adapter, place):
    inputs = place((0.05, 0.0, 0.5), (-0.02, 0.1, 0.8))
    text = words(2, 154)
    mask = torch.zeros(2, 154, dtype=torch.bool)
    mask[:, :77] = True
    found = maps(adapter, inputs, text, text_mask=mask)
    assert close(found, maps(adapter, inputs, text[:, :77]))
    nothing = maps(adapter, inputs, text, text_mask=torch.zeros(2, 154, dtype=torch.bool))
    assert close(nothing, maps(adapter, inputs, None))


def test_zeroed_text_is_a_text_and_finite(adapter, place):
    inputs = place((0.05, 0.0, 0.5))
    found = maps(adapter, inputs, torch.zeros(1, 77, 128))
    assert all(bool(torch.isfinite(m).all()) for m in found.values())


@pytest.mark.parametrize("dense", [True, False])
def test_dropped_text_is_no_text(adapter, place, dense):
    inputs = place((0.05, 0.0, 0.5), (-0.02, 0.1, 0.8))
    found = maps(adapter, inputs, words(2), drop_text=torch.tensor([True, False]), dense=dense)
    without, with_ = maps(adapter, inputs, None, dense=dense), maps(adapter, inputs, words(2), dense=dense)
    assert close({b: m[:1] for b, m in found.items()}, {b: m[:1] for b, m in without.items()})
    assert close({b: m[1:] for b, m in found.items()}, {b: m[1:] for b, m in with_.items()})


@pytest.mark.parametrize("dense", [True, False])
def test_dropped_hands_give_exactly_zero(adapter, place, dense):
    inputs = place((0.05, 0.0, 0.5), (-0.02, 0.1, 0.8))
    found = maps(adapter, inputs, words(2), drop_hand=torch.tensor([True, False]), dense=dense)
    whole = maps(adapter, inputs, words(2), dense=dense)
    for block, m in found.items():
        assert not bool(m[0].any()) and torch.equal(m[1], whole[block][1])


@pytest.mark.parametrize("dense", [True, False])
def test_box_only_sees_neither_vertices_nor_geometry(adapter, place, dense):
    inputs = place((0.05, 0.0, 0.5))
    other = place((0.05, 0.0, 0.5), left=[True])
    swapped = dataclasses.replace(other, box=inputs.box, geometry=torch.rand_like(other.geometry))
    only = torch.tensor([True])
    found = maps(adapter, inputs, words(1), box_only=only, dense=dense)
    assert equal(maps(adapter, swapped, words(1), box_only=only, dense=dense), found)
    assert not equal(maps(adapter, inputs, words(1), dense=dense), found)
    assert not equal(maps(adapter, inputs, words(1, seed=3), box_only=only, dense=dense), found)
    moved = dataclasses.replace(inputs, box=inputs.box + 0.02)
    assert not equal(maps(adapter, moved, words(1), box_only=only, dense=dense), found)


def test_pose_and_side_count(adapter, place):
    inputs = place((0.05, 0.0, 0.5))
    found = maps(adapter, inputs)
    bent = inputs.vertices.clone()
    bent[..., 2] *= -1
    assert not close(maps(adapter, dataclasses.replace(inputs, vertices=bent)), found)
    assert not close(maps(adapter, dataclasses.replace(inputs, side=-inputs.side)), found)
    assert not close(maps(adapter, dataclasses.replace(inputs, geometry=inputs.geometry * 0.5)), found)


def test_weight_is_a_factor(adapter, place):
    inputs = place((0.05, 0.0, 0.5))
    half = maps(adapter, dataclasses.replace(inputs, weight=torch.tensor([0.5])))
    assert close(half, {b: m / 2 for b, m in maps(adapter, inputs).items()}, 1e-6)


def test_a_hand_smaller_than_a_cell_counts_by_its_area(adapter, place):
    """Two hands of a fraction of a cell, the nearer twice as tall and wide: their weights are as their areas."""
    inputs = place((0.013, 0.013, 30.0), (0.0065, 0.0065, 15.0))
    weight = footprint(inputs.box, 2, *LATENT).flatten(1)
    assert weight[0].max() < 0.05
    assert torch.allclose(weight[1].sum() / weight[0].sum(), torch.tensor(4.0), rtol=0.05)
    assert all(bool(m[0].any()) and bool(m[1].any()) for m in maps(adapter, inputs).values())


def test_gradients_reach_every_parameter(adapter, place):
    adapter.train()
    inputs = place((0.05, 0.0, 0.5), (-0.02, 0.1, 0.8), (0.0, 0.0, 0.7))
    tokens = adapter.encode(inputs)
    found = adapter.residuals(
        tokens, *LATENT, words(3), drop_text=torch.tensor([1, 0, 0]) > 0, box_only=torch.tensor([0, 1, 0]) > 0
    )
    torch.stack([m.square().mean() for m in found.values()]).sum().backward()
    for name, parameter in adapter.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.any()), name
        assert bool(torch.isfinite(parameter.grad).all()), name


def test_a_fresh_adapter_learns_through_its_projections_first(model, description, place):
    torch.manual_seed(0)
    fresh = HanDrawer.create(description, model, **TINY)
    found = fresh.residuals(fresh.encode(place((0.0, 0.05, 0.5))), *LATENT, words(1))
    torch.stack([(m - 1).square().mean() for m in found.values()]).sum().backward()
    learning = {name for name, p in fresh.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert learning == {name for name, _ in fresh.named_parameters() if ".sites." in name}


def test_bfloat16_autocast_stays_close(adapter, place):
    adapter.train()
    inputs = place((0.05, 0.0, 0.5), (-0.02, 0.1, 0.8))
    exact = maps(adapter, inputs, words(2))
    with torch.autocast("cpu", torch.bfloat16):
        found = maps(adapter, inputs, words(2))
    for block, m in exact.items():
        assert float((found[block] - m).norm() / m.norm()) < 0.05


def test_the_same_seed_makes_the_same_adapter_and_maps(model, description, place):
    def made():
        torch.manual_seed(5)
        return randomise_projections(HanDrawer.create(description, model, **TINY)).eval()

    inputs = place((0.05, 0.0, 0.5))
    assert equal(maps(made(), inputs, words(1)), maps(made(), inputs, words(1)))


def test_the_small_models_adapter_stays_within_its_budget(model, description):
    adapter = HanDrawer.create(description, model)
    parameters = sum(p.numel() for p in adapter.parameters())
    assert 1.5e6 < parameters < 2.5e6
    assert 2 * parameters + sum(b.numel() * b.element_size() for b in adapter.buffers()) < 5e6
    assert adapter.encoder.nodes == (len(model.template), 256, 64)


def test_encode_and_fusion_are_counted_outside_training(adapter, place):
    before = counters.as_dict()
    maps(adapter, place((0.05, 0.0, 0.5)))
    after = counters.as_dict()
    assert after["encode"] == before["encode"] + 1 and after["fusion"] == before["fusion"] + 1


def test_hands_of_another_mesh_are_refused(adapter, place):
    inputs = place((0.05, 0.0, 0.5))
    with pytest.raises(ValueError, match="refit"):
        adapter.encode(dataclasses.replace(inputs, vertices=inputs.vertices[:, :778]))


def test_another_mesh_is_told_by_its_topology(adapter, model):
    adapter.check_model(model.to(dtype=torch.float64))
    with pytest.raises(ValueError, match="trained with the hand model 'open'"):
        adapter.check_model(dataclasses.replace(model, faces=model.faces.flip(0)))


def test_the_hand_in_front_steers_where_two_overlap(adapter, model):
    """Where the front hand alone is visible, it gives nearly all; its place in depth can be overridden."""
    near = make_hand(translation=(0.0, 0.05, 0.55), width=256, height=256)
    far = make_hand(side="left", translation=(0.005, 0.05, 0.7), width=256, height=256)

    def found(*hands):
        return maps(adapter, hand_inputs(Hands((Frame(256, 256, hands),)), model, 48))[0]

    alone = {"near": found(near), "far": found(far)}
    middle = (0, slice(None), slice(18, 24), slice(12, 20))  # the palms

    def distance(both, name):
        return float((both[middle] - alone[name][middle]).norm() / alone[name][middle].norm())

    both, lifted = found(near, far), found(near, far.replace(z_order=1))
    assert distance(both, "near") < 0.2 < 0.5 < distance(both, "far")
    assert distance(lifted, "far") < distance(lifted, "near")
    assert torch.equal(both, found(far, near))


def test_text_of_another_base_is_refused(adapter, place):
    tokens = adapter.encode(place((0.05, 0.0, 0.5)))
    for wrong in (torch.zeros(1, 77, 768), torch.zeros(3, 77, 128)):
        with pytest.raises(ValueError, match="text must be"):
            adapter.residuals(tokens, *LATENT, wrong)


def test_tokens_are_taken_apart_by_hand(adapter, place):
    tokens = adapter.encode(place((0.05, 0.0, 0.5), (-0.02, 0.1, 0.8)))
    assert isinstance(tokens, HandTokens) and tokens.tokens.shape == (2, 64, TINY["width"])
    assert torch.equal(tokens.hand(slice(1, 2)).tokens, tokens.tokens[1:])


def test_configuration_keeps_through_json(adapter):
    assert HanDrawerConfig.from_json(adapter.config.to_json()) == adapter.config


def test_configuration_refuses_what_cannot_be(adapter):
    for wrong in ({"width": 48}, {"heads": 5}, {"negative_hand": "other"}):
        with pytest.raises(ValueError):
            dataclasses.replace(adapter.config, **wrong)
