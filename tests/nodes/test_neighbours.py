"""HanDrawer beside the other nodes that change a MODEL: whatever they do, what it adds stays the same."""

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.nodes.canvas import Canvas, one_hand, relative
from tests.nodes.random_extras import make_controlnet, write_lora
from tests.nodes.small_bases import host_config

SIZE = (16, 24)


def run_node(module: str, name: str, *args: Any) -> Any:
    """The first result of a node of the host, of either kind."""
    node = getattr(importlib.import_module(f"comfy_extras.{module}"), name)
    if hasattr(node, "define_schema"):
        found = node.execute(*args)
        return getattr(found, "args", found)[0]
    return getattr(node(), node.FUNCTION)(*args)[0]


OTHERS: dict[str, Callable] = {
    "FreeU": lambda m: run_node("nodes_freelunch", "FreeU_V2", m, 1.3, 1.4, 0.9, 0.2),
    "perturbed attention": lambda m: run_node("nodes_pag", "PerturbedAttentionGuidance", m, 3.0),
    "self-attention guidance": lambda m: run_node("nodes_sag", "SelfAttentionGuidance", m, 0.5, 2.0),
    "HyperTile": lambda m: run_node("nodes_hypertile", "HyperTile", m, 64, 1, 0, False),
    "token merging": lambda m: run_node("nodes_tomesd", "TomePatchModel", m, 0.3),
    "rescaled guidance": lambda m: run_node("nodes_model_advanced", "RescaleCFG", m, 0.7),
    "another schedule": lambda m: run_node("nodes_model_advanced", "ModelSamplingDiscrete", m, "v_prediction", True),
    "attention output": lambda m: attention_patch(m),
    "block patch": lambda m: block_patch(m),
}


def attention_patch(model):
    """What adapters of reference pictures do: something is added behind the attention to the text."""
    model = model.clone()
    model.set_model_attn2_output_patch(lambda n, options: n * 1.2)
    return model


def block_patch(model):
    model = model.clone()
    model.set_model_input_block_patch(lambda h, options: h * 1.05)
    return model


@pytest.fixture(scope="module")
def pair(sd15: Canvas):
    return sd15.tagged(sd15.text(1)), sd15.tagged(sd15.text(2), "negative")


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_beside_other_nodes(sd15: Canvas, pair, change):
    """In front of HanDrawer or behind it is the same, and strength 0 is the other node alone to the last bit."""
    features = sd15.features(one_hand(192, 128))
    settings: dict[str, Any] = {"cfg": 4.0, "size": SIZE}

    def sample(model):
        torch.manual_seed(0)  # token merging draws numbers
        return sd15.sample(model, *pair, **settings)

    alone, _ = sample(change(sd15.model))
    behind, calls = sample(sd15.patched(features, change(sd15.model)))
    before, _ = sample(change(sd15.patched(features)))
    nothing, _ = sample(sd15.patched(features, change(sd15.model), strength=0.0))
    assert torch.equal(nothing, alone)
    assert relative(behind, alone) > 1e-3
    assert relative(before, behind) < 1e-5
    if change is not OTHERS["block patch"]:  # it adds something itself
        for call in calls:
            for row, text in enumerate(call.context):
                for block, expected in sd15.residuals([one_hand(192, 128)], *SIZE, text).items():
                    assert relative(call.added[block][row], expected) < 1e-4


def test_with_a_lora_and_a_controlnet(sd15: Canvas, pair, host_nodes, tmp_path):
    """A ControlNet makes its own features for each row, and a LoRA changes the weights: what is added is the same."""
    import comfy.controlnet
    import comfy.sd
    import comfy.utils

    control = comfy.controlnet.ControlNet(
        make_controlnet(host_config("sd15")), load_device=torch.device("cpu"), manual_cast_dtype=None
    )
    lora = comfy.utils.load_torch_file(str(write_lora(tmp_path / "lora.safetensors", sd15.model)), safe_load=True)
    image = torch.rand(1, 128, 192, 3, generator=torch.Generator().manual_seed(0))
    features = sd15.features(one_hand(192, 128))
    settings: dict[str, Any] = {"cfg": 4.0, "size": SIZE}

    def with_lora(model):
        return comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0.0)[0]

    def controlled(conditions):
        return host_nodes.ControlNetApplyAdvanced().apply_controlnet(*conditions, control, image, 0.5, 0.0, 1.0)

    bare, _ = sd15.sample(sd15.model, *pair, **settings)
    both, _ = sd15.sample(with_lora(sd15.model), *controlled(pair), **settings)
    all_three, calls = sd15.sample(with_lora(sd15.patched(features)), *controlled(pair), **settings)
    swapped, _ = sd15.sample(sd15.patched(features, with_lora(sd15.model)), *controlled(pair), **settings)
    assert relative(both, bare) > 0.05 and relative(all_three, both) > 0.05
    assert torch.equal(all_three, swapped)
    for call in calls:
        for row, text in enumerate(call.context):
            for block, expected in sd15.residuals([one_hand(192, 128)], *SIZE, text).items():
                assert relative(call.added[block][row], expected) < 1e-4
    after, _ = sd15.sample(sd15.model, *pair, **settings)
    assert torch.equal(after, bare), "the MODEL that the others came from is as it was"
