"""The small bases are fit to show differences: an adapter's effect on them is no small one, at every site."""

import pytest
import torch

from handrawer.adapter.handrawer import hand_inputs
from handrawer.adapter.hooks import apply_residuals
from handrawer.adapter.unet import describe_diffusers
from handrawer.hand.hands import Hands, hand_from_gesture

from .small_unets import LAYOUTS, call, make_adapter, make_unet


@pytest.mark.parametrize("base", ["sd15", "sd21", "sdxl"])
def test_every_site_alone_changes_the_output_by_a_tenth(base, model):
    """On a size whose grids are odd at every level."""
    height, width = 33, 49
    unet, generator = make_unet(base), torch.Generator().manual_seed(1)
    adapter, description = make_adapter(unet), describe_diffusers(unet)
    hands = Hands((hand_from_gesture("peace", "left", 8 * width, 8 * height, centre=(0.6, 0.45), size=0.6),))
    x = torch.randn(1, 4, height, width, generator=generator)
    text = torch.randn(1, 77, LAYOUTS[base].context, generator=generator)
    time = torch.tensor([500])
    with torch.no_grad():
        maps = adapter.residuals(adapter.encode(hand_inputs(hands, model, adapter.config.raster)), height, width, text)
        bare = call(unet, base, x, time, text)
        for block, residual in maps.items():
            with apply_residuals(unet, description, {block: residual}):
                effect = call(unet, base, x, time, text) - bare
            assert float(effect.norm() / bare.norm()) > 0.1, block
