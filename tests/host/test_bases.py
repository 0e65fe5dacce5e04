"""The layouts of the larger bases in a real ComfyUI server: whole graphs, from the file to the latent."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.host.server import Server
from tests.host.test_host import draw, picture_of
from tests.host.workflows import gesture_to_picture, node, sampler, without_handrawer
from tests.nodes.small_bases import make_unet, write_adapter

SIDE = 64


@pytest.fixture(scope="module")
def files(host: Server) -> None:
    """Adapters for the small layouts, and one of an unknown hand model."""
    folder = host.base / "models" / "handrawer"
    with torch.inference_mode(False):
        for base in ("sd15", "sdxl"):
            write_adapter(folder / f"small_{base}.safetensors", make_unet(base))
    good = folder / "mine.safetensors"
    with safe_open(str(good), framework="pt") as file:
        metadata = file.metadata()
    name = f'"hand_model": "{metadata["hand_model"]}"'
    assert name in metadata["config"]
    metadata["config"] = metadata["config"].replace(name, '"hand_model": "somebody"')
    save_file(load_file(good), folder / "of_somebody.safetensors", {**metadata, "hand_model": "somebody"})


def on_base(base: str, adapter: str, **changes: Any) -> dict:
    """From a gesture to a latent of a small base, seen through the small model's VAE."""
    workflow = gesture_to_picture(seed=5, cfg=4.0, **changes)
    workflow["3"]["inputs"].update(width=SIDE, height=SIDE)
    workflow["30"] = node("HanDrawerLoad", handrawer_name=adapter)
    workflow["31"] = node("TestSmallModel", base=base)
    workflow["7"]["inputs"]["handrawer"] = ["30", 0]
    workflow["8"] = node("TestSmallText", base=base if base in ("sd15", "sdxl") else "sd15", seed=1)
    workflow["9"] = node("TestSmallText", base=base if base in ("sd15", "sdxl") else "sd15", seed=2)
    workflow["10"]["inputs"]["model"] = ["31", 0]
    workflow["11"]["inputs"].update(width=SIDE, height=SIDE)
    return workflow


def inpainting(workflow: dict) -> dict:
    """The same with a model that reads nine channels: latent, mask, masked picture."""
    workflow["31"]["inputs"]["base"] = "sd15_inpaint"
    workflow["20"] = node("EmptyImage", width=SIDE, height=SIDE, batch_size=1, color=0x406080)
    workflow["21"] = node("SolidMask", value=1.0, width=SIDE, height=SIDE)
    workflow["22"] = node(
        "InpaintModelConditioning", positive=["8", 0], negative=["9", 0], vae=["6", 2], pixels=["20", 0],
        mask=["21", 0], noise_mask=True,
    )  # fmt: skip
    workflow["10"]["inputs"].update(positive=["22", 0], negative=["22", 1])
    workflow["12"]["inputs"]["latent_image"] = ["22", 2]
    return workflow


def test_an_inpainting_model_of_nine_channels(host: Server, files):
    """Before the conditioning node or behind it is the same, and strength 0 is the bare model to the last bit."""
    steered = draw(host, inpainting(on_base("sd15", "small_sd15.safetensors")))
    bare = draw(host, without_handrawer(inpainting(on_base("sd15", "small_sd15.safetensors"))))
    nothing = draw(host, inpainting(on_base("sd15", "small_sd15.safetensors", strength=0.0)))
    assert np.array_equal(nothing, bare) and not np.array_equal(steered, bare)
    turned = inpainting(on_base("sd15", "small_sd15.safetensors"))
    turned["10"]["inputs"].update(positive=["8", 0], negative=["9", 0])
    turned["22"]["inputs"].update(positive=["10", 1], negative=["10", 2])
    turned["12"]["inputs"].update(positive=["22", 0], negative=["22", 1])
    assert np.array_equal(draw(host, turned), steered)


def test_sdxl_with_a_second_pass_and_new_strengths(host: Server, files):
    """A second pass at twice the size; another seed or strength encodes nothing and makes no map again."""

    def flow(seed: int = 5, strength: float = 1.0) -> dict:
        workflow = on_base("sdxl", "small_sdxl.safetensors", strength=strength)
        workflow["12"]["inputs"].update(seed=seed, steps=1)
        workflow["20"] = node("LatentUpscaleBy", samples=["12", 0], upscale_method="bilinear", scale_by=2.0)
        second = sampler(["10", 0], ["10", 1], ["10", 2], ["20", 0], seed=seed, steps=1, cfg=4.0)
        workflow["21"] = second
        workflow["13"]["inputs"]["samples"] = ["21", 0]
        return workflow

    before = host.counters()
    first = draw(host, flow())
    once = host.counters()
    assert first.shape == (2 * SIDE, 2 * SIDE, 3)
    assert once["encode"] - before["encode"] == 1 and once["fusion"] - before["fusion"] == 4, "two texts, two sizes"
    assert not np.array_equal(draw(host, flow(seed=6)), first)
    assert not np.array_equal(draw(host, flow(strength=0.5)), first)
    assert host.counters() == once
    bare = draw(host, without_handrawer(flow()))
    assert np.array_equal(draw(host, flow(strength=0.0)), bare) and not np.array_equal(first, bare)


def test_a_batch_of_four_with_a_hand_for_each(host: Server, files):
    """Each picture of the batch gets its own hand: the same as that picture alone with that hand."""
    workflow = on_base("sd15", "small_sd15.safetensors")
    workflow["12"]["inputs"]["steps"] = 1
    workflow["11"]["inputs"]["batch_size"] = 4
    names = ["3"]
    for number, gesture in enumerate(("fist", "open", "ok")):
        changed = {**workflow["3"]["inputs"], "gesture": gesture, "x": 0.3 + 0.2 * number, "size": 0.5}
        workflow[f"4{number}"] = node("HanDrawerGesture", **changed)
        workflow[f"5{number}"] = node(
            "HanDrawerJoinHands", hands=[names[-1], 0], more=[f"4{number}", 0], mode="one after another", repeat=1
        )
        names.append(f"5{number}")
    workflow["7"]["inputs"]["hands"] = [names[-1], 0]
    images = host.succeed(workflow)["14"]["images"]
    pictures = [picture_of(host, {"14": {"images": [image]}}, "14").astype(int) for image in images]
    assert len(pictures) == 4
    workflow["60"] = node("LatentFromBatch", samples=["11", 0], batch_index=2, length=1)
    workflow["12"]["inputs"]["latent_image"] = ["60", 0]
    for hands, same in (("41", True), ("40", False)):
        workflow["7"]["inputs"]["hands"] = [hands, 0]
        alone = draw(host, workflow).astype(int)
        assert bool(np.abs(alone - pictures[2]).mean() < 0.2) is same, hands


def test_other_kinds_and_unknown_hand_models_are_a_sentence_and_the_next_queue_works(host: Server, files):
    expected = draw(host, on_base("sd15", "small_sd15.safetensors"))
    wrong = {
        "Flux": (on_base("Flux", "small_sd15.safetensors"), r"^model: HanDrawer steers .*\(Flux\).*ControlNet"),
        "SDXL": (on_base("sdxl", "small_sd15.safetensors"), r"^model: small_sd15\.safetensors was made for"),
        "hand model": (
            on_base("sd15", "of_somebody.safetensors"),
            r"^handrawer: this adapter was trained with the hand model 'somebody', which is not at hand",
        ),
    }
    for name, (workflow, sentence) in wrong.items():
        said = host.fail(workflow).strip()
        assert re.search(sentence, said) and "\n" not in said, (name, said)
    assert np.array_equal(draw(host, on_base("sd15", "small_sd15.safetensors")), expected)
