"""Small adapters with random, non-zero weights, a small diffusers UNet, and posed hands."""

import pytest
import torch

from handrawer.adapter.handrawer import HanDrawer, hand_inputs_from_tensors
from handrawer.adapter.inputs import HandInputs, join_inputs
from handrawer.adapter.unet import describe_diffusers
from handrawer.hand.model import load_open_hand

torch.set_num_threads(1)  # the networks are so small that threads only wait for each other
TINY = {"width": 32, "heads": 2, "graph_widths": (8, 16, 32), "raster": 48, "frequencies": 4}


def make_unet(channels=(32, 32, 64), context=128, layers=1, seed=0):
    """A diffusers UNet of the small model's block layout with random weights and norms at 1."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(seed)
    attention = ("DownBlock2D",) * (len(channels) - 1) + ("CrossAttnDownBlock2D",)
    return UNet2DConditionModel(
        in_channels=4,
        out_channels=4,
        layers_per_block=layers,
        block_out_channels=channels,
        down_block_types=attention,
        up_block_types=("CrossAttnUpBlock2D",) + ("UpBlock2D",) * (len(channels) - 1),
        cross_attention_dim=context,
        attention_head_dim=8,
        norm_num_groups=8,
    ).eval()


def randomise_projections(adapter: HanDrawer, seed: int = 0) -> HanDrawer:
    """Give the zero-initialised projections random weights, so that nothing is zero by chance of initialisation."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for fusion in adapter.fusions.values():
            for projection in fusion.sites.values():  # pyright: ignore
                weight = projection.weight  # pyright: ignore
                weight.copy_(torch.randn(weight.shape, generator=generator))  # pyright: ignore
    return adapter


@pytest.fixture(scope="session")
def model():
    return load_open_hand()


@pytest.fixture(scope="session")
def unet():
    return make_unet()


@pytest.fixture(scope="session")
def description(unet):
    return describe_diffusers(unet, "v_prediction")


@pytest.fixture
def adapter(model, description):
    """In eval mode, random projections."""
    torch.manual_seed(1)
    return randomise_projections(HanDrawer.create(description, model, **TINY)).eval()


@pytest.fixture(scope="session")
def place(model):
    """place(x, y, z, left=False, width=256, height=256): inputs of the rest pose at a point of the camera frame."""

    def make(*places, left=None, width=256, height=256, raster=48) -> HandInputs:
        at = torch.tensor(places, dtype=torch.float32)
        left = torch.zeros(len(at), dtype=torch.bool) if left is None else torch.tensor(left)
        mirror = torch.where(left, -1.0, 1.0)[:, None, None] * torch.tensor([1.0, 0, 0]) + torch.tensor([0.0, 1, 1])
        vertices = model.template * mirror + at[:, None]
        half = torch.full((1,), 0.5)
        # One by one, as hand_inputs does, so that a hand is the same to the last bit beside others.
        parts = [
            hand_inputs_from_tensors(v[None], half * 3, half, half, width, height, side[None], model, raster)
            for v, side in zip(vertices, left, strict=True)
        ]
        return join_inputs(parts, torch.arange(len(at)), torch.tensor([[width, height]]).expand(len(at), 2))

    return make


@pytest.fixture(scope="session")
def together():
    """together(inputs): the same hands, all in one picture."""
    import dataclasses

    def make(inputs: HandInputs) -> HandInputs:
        return dataclasses.replace(
            inputs, picture=torch.zeros_like(inputs.picture), sizes=inputs.sizes[:1], alone=len(inputs) < 2
        )

    return make
