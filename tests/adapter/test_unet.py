import dataclasses
import json
from typing import Any

import pytest
import torch

from handrawer.adapter.unet import (
    BASES,
    STRANGERS,
    UNetDescription,
    describe_blocks,
    describe_comfy,
    describe_diffusers,
)

from .conftest import make_unet
from .small_unets import LAYOUTS
from .small_unets import make_unet as make_small

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


@pytest.mark.parametrize("name", [*BASES, *STRANGERS])
def test_bases_and_strangers_are_found_by_their_blocks(name):
    base = BASES.get(name) or STRANGERS[name]
    names = tuple(f"input_blocks.{i}" for i in range(len(base.blocks)))
    found = describe_blocks(base.blocks, names, 4, base.context_width, depths=base.depths)
    assert found.name == name and found.prediction == base.prediction and found.title == base.title
    assert found.known == (name in BASES)
    assert min(site.level for site in found.sites) == 0


def test_ssd_1b_is_told_from_sdxl_by_its_transformers():
    names = tuple(f"input_blocks.{i}" for i in range(9))
    xl = describe_blocks(tuple(SDXL), names, 4, 2048, depths=BASES["sdxl"].depths)
    ssd = describe_blocks(tuple(SDXL), names, 4, 2048, depths=STRANGERS["ssd1b"].depths)
    assert (xl.name, ssd.name) == ("sdxl", "ssd1b") and not ssd.known
    assert xl.misfit(ssd) == "has 12 transformer layers in its encoder, not 24"
    assert xl.misfit(describe_blocks(tuple(SDXL), names, 4, 2048)) is None, (
        "depths that nobody told are not held against"
    )


@pytest.mark.parametrize("layout, channels", [("sd15_inpaint", 9), ("sdxl_inpaint", 9), ("sd15", 4)])
def test_inpainting_models_take_the_adapters_of_their_base(layout, channels):
    """The mask and the masked picture are read beside the latent, which stays the same."""
    found = describe_diffusers(make_small(layout))
    plain = describe_diffusers(make_small(layout.removesuffix("_inpaint")))
    assert found.input_channels == channels and found.latent_channels == 4
    assert plain.misfit(found) is None and found.misfit(plain) is None
    assert found.sites == plain.sites and found.blocks == plain.blocks
    assert UNetDescription.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@pytest.mark.parametrize("layout", ["sd15", "sd21", "sdxl"])
def test_layouts_have_the_blocks_and_depths_of_their_base(layout):
    found, base = describe_diffusers(make_small(layout)), BASES[layout]
    assert [level for level, _ in found.blocks] == [level for level, _ in base.blocks]
    assert tuple(site.block for site in found.sites) == base.sites
    assert [bool(depth) for depth in found.depths] == [bool(depth) for depth in base.depths]
    assert found.context_width == base.context_width == LAYOUTS[layout].context


def test_networks_of_another_kind_are_refused_with_what_works_instead():
    class FluxTransformer2DModel:
        pass

    class UNetSpatioTemporalConditionModel:
        conv_in = down_blocks = None
        config = type("Config", (), {"cross_attention_dim": 1024})

    for kind in (FluxTransformer2DModel, UNetSpatioTemporalConditionModel):
        with pytest.raises(ValueError, match=rf"{kind.__name__} is of another kind: give this model the depth"):
            describe_diffusers(kind())
        with pytest.raises(ValueError, match="through a ControlNet of its own"):
            describe_comfy(kind(), 4, 768)


def test_grids_and_centres_follow_the_description(description):
    assert description.grid(2, 33, 41) == (9, 11)
    assert description.cell_centres(0, 3).tolist() == [0.5, 1.5, 2.5]
    assert description.cell_centres(2, 9).tolist() == [0.5, 4.5, 8.5]


def test_files_of_known_bases_say_no_more_than_before(description):
    """Readers of the first release know these fields."""
    names = tuple(f"input_blocks.{i}" for i in range(9))
    for found in (description, describe_blocks(tuple(SDXL), names, 4, 2048, depths=BASES["sdxl"].depths)):
        fields = {"name", "latent_channels", "context_width", "prediction", "sites", "blocks"}
        assert set(found.to_dict()) == fields
        assert UNetDescription.from_dict(json.loads(json.dumps(found.to_dict()))) == found


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
