import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handrawer.adapter.controls import controlled, mask_cells
from handrawer.adapter.grid import level_cells
from handrawer.adapter.hooks import Addition, apply_residuals

SIZE = (33, 41)


@pytest.fixture
def residuals(description):
    generator = torch.Generator().manual_seed(0)
    return {s.block: torch.randn(2, s.channels, *description.grid(s.level, *SIZE), generator=generator)
            for s in description.sites}  # fmt: skip


sizes = st.tuples(st.integers(1, 70), st.integers(1, 70))


@settings(deadline=None, max_examples=60)
@given(sizes, sizes, st.integers(0, 3), st.integers(0, 2**31))
def test_masks_by_area(pixels, latent, level, seed):
    """White and black to the last bit, whatever the sizes; between them averages that add up to the whole."""
    grid = (level_cells(level, latent[0]), level_cells(level, latent[1]))
    for value in (0.0, 1.0):
        assert torch.equal(mask_cells(torch.full((1, *pixels), value), level, *latent), torch.full((1, *grid), value))
    mask = torch.rand(2, *pixels, generator=torch.Generator().manual_seed(seed))
    found = mask_cells(mask, level, *latent)
    assert found.shape == (2, *grid) and float(found.min()) >= 0 and float(found.max()) <= 1
    assert torch.allclose(found + mask_cells(1 - mask, level, *latent), torch.ones(2, *grid), atol=1e-5)
    if level == 0:
        assert torch.allclose(found.mean((1, 2)), mask.mean((1, 2)), atol=1e-4)


def test_a_mask_lies_at_the_measured_positions():
    """Cell 1 of level 2 is centred on latent cell 4 (4.5) and 4 cells wide: an edge at 4.5 halves it."""
    mask = torch.zeros(1, 1, 16)
    mask[..., :4] = 1
    mask[..., 4] = 0.5
    assert mask_cells(mask, 2, 1, 16)[0, 0].tolist() == [1.0, pytest.approx(0.5 + 0.0), 0.0, 0.0]


def test_white_is_no_mask_and_half_a_mask_changes_its_half_alone(description, residuals):
    same = controlled(residuals, description, *SIZE, mask=torch.ones(50, 70))
    assert all(torch.equal(same[block], values) for block, values in residuals.items())
    half = torch.zeros(33, 41)
    half[:, :21] = 1
    found = controlled(residuals, description, *SIZE, mask=half)
    for site in description.sites:
        values, whole = found[site.block], residuals[site.block]
        centres = description.cell_centres(site.level, SIZE[1])
        inside, outside = centres + 2**site.level / 2 <= 21, centres - 2**site.level / 2 >= 21
        assert torch.equal(values[..., inside], whole[..., inside]) and not values[..., outside].any()
        assert int(inside.sum()) and int(outside.sum()) and int((~inside & ~outside).sum()) <= 1
    black = controlled(residuals, description, *SIZE, mask=torch.zeros(8, 8))
    assert not any(values.any() for values in black.values())


def test_a_mask_for_each_picture(description, residuals):
    found = controlled(residuals, description, *SIZE, mask=torch.stack([torch.ones(4, 4), torch.zeros(4, 4)]))
    for block, values in found.items():
        assert torch.equal(values[0], residuals[block][0]) and not values[1].any()
    with pytest.raises(ValueError, match="3 masks do not fit 2 pictures"):
        controlled(residuals, description, *SIZE, mask=torch.ones(3, 4, 4))


def test_strength_and_levels(description, residuals):
    found = controlled(residuals, description, *SIZE, strength=0.5, levels={1: 0.0, 2: 3.0})
    factors = {0: 0.5, 1: 0.0, 2: 1.5}
    for site in description.sites:
        assert torch.equal(found[site.block], residuals[site.block] * factors[site.level])
    untouched = controlled(residuals, description, *SIZE)
    assert all(untouched[block] is values for block, values in residuals.items())
    with pytest.raises(ValueError, match="Level 5 has no injection site: the levels of this UNet are"):
        controlled(residuals, description, *SIZE, levels={5: 1.0})


def test_hooks_know_levels_too(unet, description, residuals):
    latent, text = torch.ones(2, 4, *SIZE), torch.ones(2, 3, 128)
    outputs = []
    with torch.no_grad():
        for maps, levels in (
            (residuals, {0: 0.0, 2: 2.0}),
            (controlled(residuals, description, *SIZE, levels={0: 0.0, 2: 2.0}), None),
        ):
            with apply_residuals(unet, description, maps, levels=levels):
                outputs.append(unet(latent, 500, text, return_dict=False)[0])
    assert torch.equal(*outputs)
    with pytest.raises(ValueError, match="Level 9"), apply_residuals(unet, description, residuals, levels={9: 1.0}):
        pass


def test_what_is_added_is_worked_out_once(description, residuals):
    """Not for every step: rows, type and device are the same at all of them."""
    site = description.sites[0]
    addition = Addition(site, residuals[site.block], rows=(-1, 1, 0), strength=0.5)
    h = torch.zeros(3, site.channels, *SIZE, dtype=torch.bfloat16)
    first = addition.fitted(h)
    assert first.dtype == torch.bfloat16 and addition.fitted(h + 1) is first
    assert not first[0].any() and torch.equal(first[1], (residuals[site.block][1] * 0.5).bfloat16())
    assert addition.fitted(h.float()) is not first
    shared = Addition(site, residuals[site.block], rows=(1, 1, 1)).fitted(h)
    assert shared.shape[0] == 1, "one row serves all"


def test_weights_of_hands(adapter, place, together):
    inputs = together(place((-0.05, 0.05, 0.6), (0.06, 0.0, 0.6)))
    with torch.no_grad():
        tokens = adapter.encode(inputs)
        whole = adapter.residuals(tokens, 32, 32)
        halved = adapter.residuals(tokens.weighted([0.5, 0.5]), 32, 32)
        again = adapter.residuals(tokens.weighted(torch.tensor([0.5, 1.0])).weighted([0.0, 1.0]), 32, 32)
        first = adapter.residuals(tokens.weighted([1.0, 0.0]), 32, 32)
    for block, values in whole.items():
        assert torch.allclose(halved[block], values / 2, atol=1e-6)
        assert torch.allclose(again[block] + first[block], values, atol=1e-5) and first[block].any()
    with pytest.raises(ValueError, match="give one for each"):
        tokens.weighted([1.0])
