import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handrawer.adapter.grid import cell_edges, level_cells, overlap_matrix, raster_edges, subdivide, tent_matrix
from handrawer.adapter.unet import describe_diffusers

from .conftest import make_unet
from .small_unets import make_unet as make_small


class Enough(Exception):
    """The encoder has run."""


def encoder_outputs(unet, modules: dict[int, str], latent: torch.Tensor) -> dict[int, torch.Tensor]:
    """What the named modules of a UNet give, each under its key."""
    seen: dict[int, torch.Tensor] = {}

    def look(key):
        return lambda _m, _i, out: seen.__setitem__(key, out if isinstance(out, torch.Tensor) else out[0])

    def stop(_module, _inputs):
        raise Enough

    handles = [unet.get_submodule(name).register_forward_hook(look(key)) for key, name in modules.items()]
    handles.append(unet.mid_block.register_forward_pre_hook(stop))
    added = {"text_embeds": torch.zeros(1, 1280), "time_ids": torch.zeros(1, 6)}
    with pytest.raises(Enough):
        unet(latent, 500, torch.zeros(1, 1, unet.config.cross_attention_dim), added_cond_kwargs=added)
    for handle in handles:
        handle.remove()
    return seen


def place_only(unet):
    """The same grids without what would blur the measurement: attention, which knows no place, and lopsided kernels."""
    for down in unet.down_blocks:
        for attention in getattr(down, "attentions", None) or ():
            attention.transformer_blocks = torch.nn.ModuleList()  # its projections of single cells stay
    with torch.no_grad():
        for module in unet.modules():
            if isinstance(module, torch.nn.Conv2d):
                w = module.weight
                w.copy_((w + w.flip(2) + w.flip(3) + w.flip(2, 3)) / 4)
    return unet


@pytest.mark.parametrize("size", [(121, 124), (112, 129)])
@pytest.mark.parametrize("layout", ["mini", "sd15", "sd21", "sdxl"])
def test_cells_of_a_real_unet_lie_where_its_description_says(layout, size):
    """Impulse responses of every site: which latent cells its cells listen to, by the gradient's energy.

    The input is constant and kernels are symmetric, so that the middle of the energy is the cell's centre and no
    feature of particular weights. A grid that divides the picture evenly would be wrong by 1/4 to 7/16 of a cell.
    """
    unet = place_only(make_unet(channels=(16, 16, 16)) if layout == "mini" else make_small(layout))
    description = describe_diffusers(unet)
    latent = torch.ones(1, 4, *size, requires_grad=True)
    seen = encoder_outputs(unet, {site.block: site.module for site in description.sites}, latent)
    assert len(seen) == len(description.sites) == len(description.levels) + (layout == "mini")
    for site in description.sites:
        level, features = site.level, seen[site.block]
        assert tuple(features.shape[2:]) == description.grid(level, *size)
        cell = [side // 2 for side in features.shape[2:]]
        probe = torch.randn(features.shape[1], generator=torch.Generator().manual_seed(level))
        heard = (features[0, :, cell[0], cell[1]] * probe).sum()
        energy = torch.autograd.grad(heard, latent, retain_graph=True)[0][0].square().sum(0)
        energy = (energy - energy.quantile(0.7)).clamp(min=0)  # the norms listen a little to everything
        for axis in (0, 1):
            along = energy.sum(1 - axis)
            measured = (along * (torch.arange(len(along)) + 0.5)).sum() / along.sum()
            expected = description.cell_centres(level, size[axis])[cell[axis]]
            assert abs(measured - expected) / 2**level < 0.02
            if level:
                assert abs(measured - 2**level * (cell[axis] + 0.5)) / 2**level > 0.2


def test_cells_of_level_zero_are_the_latent_cells():
    assert torch.equal(cell_edges(0, 5), torch.arange(6.0))
    assert torch.equal(cell_edges(2, 3), torch.tensor([-1.5, 2.5, 6.5, 10.5]))


@pytest.mark.parametrize("cells, expected", [(25, [25, 13, 7, 4]), (33, [33, 17, 9, 5]), (64, [64, 32, 16, 8])])
def test_halving_rounds_up(cells, expected):
    assert [level_cells(level, cells) for level in range(4)] == expected


def test_overlaps_by_hand():
    share = overlap_matrix(torch.tensor([0.0, 1, 3]), torch.tensor([-1.0, 0.25, 2.0, 9.0]))
    assert torch.allclose(share, torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.5, 0.5]]))


edges_of = st.builds(
    lambda start, steps: torch.tensor([start, *steps], dtype=torch.float64).cumsum(0),
    st.floats(-5, 5),
    st.lists(st.floats(0.05, 3), min_size=1, max_size=12),
)


@settings(deadline=None)
@given(edges_of, edges_of)
def test_overlaps_keep_area(out, inner):
    share = overlap_matrix(out, inner)
    length = torch.minimum(out[-1], inner[-1]) - torch.maximum(out[0], inner[0])
    assert torch.allclose((share * out.diff()[:, None]).sum(), length.clamp(min=0), atol=1e-9)
    assert float(share.min()) >= 0 and float(share.sum(1).max()) <= 1 + 1e-9


@settings(deadline=None)
@given(st.floats(-3, 3), st.floats(0.1, 2), st.integers(2, 9), edges_of)
def test_tents_are_exact_integrals(start, step, count, inner):
    out = start + step * torch.arange(count + 1, dtype=torch.float64)
    fine = torch.linspace(0, 1, 4001, dtype=torch.float64)
    x = inner[:-1, None] + inner.diff()[:, None] * (fine[1:] + fine[:-1]) / 2
    centre = (out[:-1] + out[1:]) / 2
    tent = (1 - (x[None] - centre[:, None, None]).abs() / step).clamp(min=0) / step
    assert torch.allclose(tent_matrix(out, inner), tent.mean(-1) * inner.diff(), atol=1e-5)


def test_subdivide_and_raster_edges():
    assert torch.allclose(subdivide(torch.tensor([0.5, 2.5, 4.5]), 4), torch.arange(0.5, 5, 0.5))
    low, high = torch.tensor([0.0, -1.0]), torch.tensor([4.0, 1.0])
    assert torch.equal(raster_edges(low, high, 2), torch.tensor([[0.0, 2.0, 4.0], [-1.0, 0.0, 1.0]]))
