"""The small bases themselves: what the host makes of their weights is the same network as in diffusers."""

import pytest
import torch

from handrawer.adapter.unet import describe_comfy, describe_diffusers
from tests.nodes.small_bases import LAYOUTS, call, make_model, make_unet


@pytest.mark.parametrize("base", LAYOUTS)
def test_the_host_s_network_is_that_of_diffusers_and_described_alike(nodes, base):
    layout = LAYOUTS[base]
    unet = make_unet(base)
    model = make_model(unet, base)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, layout.input_channels, 17, 26, generator=generator)
    text = torch.randn(2, 77, layout.context, generator=generator)
    pooled = torch.randn(2, 1280, generator=generator)
    time = torch.tensor([700, 30])
    with torch.no_grad():
        expected = call(unet, base, x, time, text, pooled)
        extra = {}
        if layout.sdxl:
            tell = {"device": "cpu", "width": 8 * 26, "height": 8 * 17}
            extra = {"y": torch.cat([model.model.encode_adm(pooled_output=p[None], **tell) for p in pooled])}
        found = model.model.diffusion_model(x, time.float(), context=text, **extra)
    assert float(expected.std()) > 0.1 and not torch.allclose(expected[0], expected[1])
    assert float((found - expected).norm() / expected.norm()) < 1e-5
    assert model.model.model_type.name == {"epsilon": "EPS", "v_prediction": "V_PREDICTION"}[layout.prediction]
    assert len(model.model.concat_keys) == (2 if layout.input_channels == 9 else 0)
    described = describe_comfy(model.model.diffusion_model, 4, layout.context, layout.prediction)
    assert described == describe_diffusers(unet, layout.prediction)
    assert described.input_channels == layout.input_channels
