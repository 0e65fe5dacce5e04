import pytest
import torch

from handrawer.adapter.handrawer import HanDrawer
from handrawer.adapter.hooks import apply_residuals

from .conftest import TINY, make_unet

SIZE = (26, 22)


@pytest.fixture
def call(unet):
    generator = torch.Generator().manual_seed(0)
    latent = torch.randn(2, 4, *SIZE, generator=generator)
    text = torch.randn(2, 5, 128, generator=generator)

    def run(rows=slice(None)):
        return unet(latent[rows], torch.tensor([500]), text[rows], return_dict=False)[0]

    return run


def residuals(description, rows=2, scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = [SIZE, (13, 11), (7, 6)]
    return {
        s.block: scale * torch.randn(rows, s.channels, *sizes[s.level], generator=generator) for s in description.sites
    }


def test_the_base_is_not_constant(call):
    """Otherwise every comparison below would hold by itself."""
    with torch.no_grad():
        out = call()
    assert float(out.std()) > 0.05 and not torch.allclose(out[0], out[1])


def test_residuals_reach_output_and_skip(unet, description, call):
    """Every site changes the picture, and what is added is the block's output that the skip carries."""
    with torch.no_grad():
        bare = call()
        for site in description.sites:
            only = {site.block: residuals(description)[site.block]}
            with apply_residuals(unet, description, only):
                assert float((call() - bare).abs().max()) > 1e-3, site


def test_equal_to_diffusers_own_interface(unet, description, call):
    """Deepest site: the T2I-Adapter interface adds at the same place."""
    site = description.sites[-1]
    extra = residuals(description)[site.block]
    with torch.no_grad():
        with apply_residuals(unet, description, {site.block: extra}):
            ours = call()
        theirs = _intrablock(unet, extra)
    assert torch.allclose(ours, theirs, atol=1e-5)


def _intrablock(unet, extra):
    generator = torch.Generator().manual_seed(0)
    latent = torch.randn(2, 4, *SIZE, generator=generator)
    text = torch.randn(2, 5, 128, generator=generator)
    # One entry a down block; for blocks without attention it lands after the downsampler, here with zeros.
    zeros = [torch.zeros(2, 32, 13, 11), torch.zeros(2, 32, 7, 6)]
    given = {"down_intrablock_additional_residuals": [*zeros, extra]}
    return unet(latent, torch.tensor([500]), text, return_dict=False, **given)[0]


def test_nothing_leaves_the_base_bit_identical(model, unet, description, place, call):
    """Zero projections, strength 0, no hand: the code runs and the output is the same to the last bit."""
    torch.manual_seed(0)
    fresh = HanDrawer.create(description, model, **TINY).eval()
    trained = HanDrawer.create(description, model, **TINY).eval()
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(torch.randn(parameter.shape))
    inputs = place((0.0, 0.05, 0.5), (0.02, 0.0, 0.6), width=8 * SIZE[1], height=8 * SIZE[0])
    with torch.no_grad():
        bare = call()
        untrained = fresh.residuals(fresh.encode(inputs), *SIZE)
        real = trained.residuals(trained.encode(inputs), *SIZE)
        none = trained.residuals(trained.encode(inputs.hand(slice(0, 0))), *SIZE)
        for maps, strength in ((untrained, 1.0), (real, 0.0), (none, 1.0)):
            with apply_residuals(unet, description, maps, strength=strength):
                assert torch.equal(call(), bare)
        with apply_residuals(unet, description, real):
            assert not torch.equal(call(), bare)
        assert torch.equal(call(), bare)


def test_hooks_are_removed_after_an_error(unet, description, call):
    with torch.no_grad():
        bare = call()
        with pytest.raises(RuntimeError, match="stop"), apply_residuals(unet, description, residuals(description)):
            raise RuntimeError("stop")
        assert torch.equal(call(), bare)


def test_contexts_add_up_and_reopen(unet, description, call):
    maps = residuals(description, scale=0.5)
    with torch.no_grad():
        with apply_residuals(unet, description, maps):
            once = call()
            with apply_residuals(unet, description, maps):
                twice = call()
            assert torch.equal(call(), once)
        with apply_residuals(unet, description, maps, strength=2.0):
            assert torch.allclose(call(), twice, atol=1e-5)
        with apply_residuals(unet, description, maps):
            assert torch.equal(call(), once)


def test_rows_choose_their_residual(unet, description, call):
    maps = residuals(description)
    with torch.no_grad():
        bare = call()
        with apply_residuals(unet, description, maps):
            both = call()
        with apply_residuals(unet, description, maps, rows=(-1, 1)):
            found = call()
        assert torch.allclose(found[0], bare[0], atol=1e-5) and torch.allclose(found[1], both[1], atol=1e-5)
        with apply_residuals(unet, description, {b: m.flip(0) for b, m in maps.items()}, rows=(1, 0)):
            assert torch.allclose(call(), both, atol=1e-5)
        one = {b: m[:1] for b, m in maps.items()}
        with apply_residuals(unet, description, one):
            broadcast = call()
        with apply_residuals(unet, description, one, rows=(0, 0)):
            assert torch.equal(call(), broadcast)


def test_gradients_flow_into_the_residuals(unet, description, call):
    maps = {block: m.requires_grad_() for block, m in residuals(description).items()}
    with apply_residuals(unet, description, maps):
        call().square().mean().backward()
    assert all(m.grad is not None and bool(m.grad.any()) for m in maps.values())


def test_half_precision_unets_stay_in_half_precision(description):
    half = make_unet().bfloat16()
    latent = torch.zeros(2, 4, *SIZE, dtype=torch.bfloat16)
    with torch.no_grad(), apply_residuals(half, description, residuals(description)):
        out = half(latent, 500, torch.zeros(2, 5, 128, dtype=torch.bfloat16), return_dict=False)[0]
    assert out.dtype == torch.bfloat16


def test_what_does_not_fit_is_refused_with_a_sentence(unet, description, call):
    maps = residuals(description)
    wrong = {
        "make the residuals for this UNet": {3: maps[3][..., :-1]},
        "with `rows` which row": {3: maps[3].repeat(2, 1, 1, 1)},
    }
    for words, given in wrong.items():
        with torch.no_grad(), pytest.raises(ValueError, match=words), apply_residuals(unet, description, given):
            call()
    with pytest.raises(ValueError, match="no injection site"), apply_residuals(unet, description, {2: maps[3]}):
        call()
    for rows, words in (((0,), "give one for each"), ((0, 2), "must be -1 or lie in")):
        with torch.no_grad(), pytest.raises(ValueError, match=words), apply_residuals(unet, description, maps, rows):
            call()
