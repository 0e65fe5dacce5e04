import dataclasses
import json
from typing import Any

import pytest
import torch

from handrawer.adapter.unet import BASES, UNetDescription, describe_blocks, describe_diffusers

from .conftest import make_unet

# Block tables of the bases: level (halvings) and channels of every input block.
SD = [(0, 320)] * 3 + [(1, 320)] + [(1, 640)] * 2 + [(2, 640)] + [(2, 1280)] * 2 + [(3, 1280)] * 3
SDXL = [(0, 320)] * 3 + [(1, 320)] + [(1, 640)] * 2 + [(2, 640)] + [(2, 1280)] * 2


def meta_unet(channels, down, context, transformers, heads: Any = 8):
    from diffusers import UNet2DConditionModel

    up = tuple(name.replace("Down", "Up") for name in reversed(down))
    with torch.device("meta"):
        return UNet2DConditionModel(
            block_out_channels=channels,
            down_block_types=down,
            up_block_types=up,
            cross_attention_dim=context,
            transformer_layers_per_block=transformers,
            attention_head_dim=heads,
        )


CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"


@pytest.mark.parametrize("name, context", [("sd15", 768), ("sd21", 1024)])
def test_stable_diffusion(name, context):
    found = describe_diffusers(meta_unet((320, 640, 1280, 1280), (CROSS, CROSS, CROSS, PLAIN), context, 1))
    assert found.name == name and list(found.blocks) == SD
    assert (found.latent_channels, found.context_width) == (4, context)
    assert [(s.block, s.level, s.channels) for s in found.sites] == [
        (2, 0, 320),
        (5, 1, 640),
        (8, 2, 1280),
        (11, 3, 1280),
    ]
    assert [s.module for s in found.sites] == [
        "down_blocks.0.attentions.1",
        "down_blocks.1.attentions.1",
        "down_blocks.2.attentions.1",
        "down_blocks.3.resnets.1",
    ]


def test_sdxl_has_a_site_at_the_finest_resolution():
    found = describe_diffusers(meta_unet((320, 640, 1280), (PLAIN, CROSS, CROSS), 2048, (1, 2, 10), (5, 10, 20)))
    assert found.name == "sdxl" and list(found.blocks) == SDXL
    assert [(s.block, s.level) for s in found.sites] == [(2, 0), (5, 1), (8, 2)]
    assert found.sites[0].module == "down_blocks.0.resnets.1"


def test_mini(unet):
    found = describe_diffusers(unet, "v_prediction")
    assert found.name == "mini" and found.prediction == "v_prediction"
    assert [(s.block, s.level) for s in found.sites] == [(0, 0), (1, 0), (3, 1), (5, 2)]
    assert [s.module for s in found.sites] == [
        "conv_in",
        "down_blocks.0.resnets.0",
        "down_blocks.1.resnets.0",
        "down_blocks.2.attentions.0",
    ]
    assert [s.comfy_module for s in found.sites] == [f"input_blocks.{i}" for i in (0, 1, 3, 5)]
    assert found.levels == (0, 1, 2)


def test_blocks_are_what_the_unet_stores(unet, description):
    """Channels and sizes of the outputs that a real call makes, block by block, on an odd grid."""
    seen = {}
    modules = ["conv_in", "down_blocks.0.resnets.0", "down_blocks.0.downsamplers.0", "down_blocks.1.resnets.0"]
    modules += ["down_blocks.1.downsamplers.0", "down_blocks.2.attentions.0"]
    handles = [
        unet.get_submodule(name).register_forward_hook(
            lambda _m, _i, out, k=k: seen.__setitem__(k, out[0] if isinstance(out, tuple) else out)
        )
        for k, name in enumerate(modules)
    ]
    with torch.no_grad():
        unet(torch.zeros(1, 4, 13, 18), 0, torch.zeros(1, 1, 128))
    for handle in handles:
        handle.remove()
    for k, (level, channels) in enumerate(description.blocks):
        height, width = [(13, 18), (7, 9), (4, 5)][level]
        assert tuple(seen[k].shape) == (1, channels, height, width)


def test_an_unknown_unet_gets_the_last_block_of_each_level():
    found = describe_diffusers(make_unet(channels=(16, 32), context=96, layers=3))
    assert found.name == "custom" and found.prediction == "epsilon"
    assert [(s.block, s.level, s.channels) for s in found.sites] == [(3, 0, 16), (7, 1, 32)]


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
def test_bases_are_found_by_their_blocks(base):
    names = tuple(f"input_blocks.{i}" for i in range(len(base.blocks)))
    found = describe_blocks(base.blocks, names, 4, base.context_width)
    assert found.name == base.name and found.prediction == base.prediction
    assert min(site.level for site in found.sites) == 0


def test_through_json(description):
    assert UNetDescription.from_dict(json.loads(json.dumps(description.to_dict()))) == description


def test_misfits_are_named(description):
    assert description.misfit(dataclasses.replace(description, prediction="epsilon", name="custom")) is None
    changes = {
        "latent channels": {"latent_channels": 16},
        "text of width 768": {"context_width": 768},
        "encoder blocks": {"blocks": tuple(SD)},
    }
    for words, change in changes.items():
        assert words in (description.misfit(dataclasses.replace(description, **change)) or "")


def test_a_table_without_modules_is_refused():
    with pytest.raises(ValueError, match="one per block"):
        describe_blocks(((0, 32),), (), 4, 128)
