"""HanDrawer among the other nodes of a real ComfyUI server: whole graphs, files, and what goes wrong in them."""

import importlib
import pickle
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.host.server import Server
from tests.host.test_host import draw, picture_of, with_file
from tests.host.workflows import gesture_to_picture, node, sampler, without_handrawer


def mini_weights(host: Server):
    return host.base / "custom_nodes" / "HanDrawer" / "handrawer" / "mini" / "weights"


@pytest.fixture(scope="module")
def ours(plugin):
    """`ours("adapter")` is the module nodes/adapter.py in this process."""
    return lambda name: importlib.import_module(f"{plugin.__name__}.nodes.{name}")


@pytest.fixture(scope="module")
def mini(ours, host: Server):
    """The small model of the server's pack in this process: MODEL, CLIP, VAE."""
    with torch.inference_mode():
        return ours("mini_model").load_mini(mini_weights(host))


def with_neighbours(host: Server, mini, **settings) -> dict:
    """LoRA, ControlNet and HanDrawer in one graph, with files made for the small model."""
    from tests.nodes.random_extras import write_controlnet, write_lora

    for folder in ("loras", "controlnet"):
        (host.base / "models" / folder).mkdir(exist_ok=True)
    lora, control = host.base / "models/loras/random.safetensors", host.base / "models/controlnet/random.safetensors"
    if not lora.exists():
        write_lora(lora, mini[0])
        config = mini[0].model.model_config.unet_config
        heads = {"num_heads": -1, "num_head_channels": 64}  # what the host takes for a ControlNet that it does not know
        write_controlnet(control, {**config, **heads})
    workflow = gesture_to_picture(**settings)
    workflow["20"] = node("LoraLoaderModelOnly", model=["6", 0], lora_name="random.safetensors", strength_model=1.0)
    workflow["21"] = node("ControlNetLoader", control_net_name="random.safetensors")
    workflow["22"] = node("HanDrawerExamplePicture", picture="hands.png")
    workflow["23"] = node(
        "ControlNetApplyAdvanced", positive=["8", 0], negative=["9", 0], control_net=["21", 0], image=["22", 0],
        strength=0.5, start_percent=0.0, end_percent=1.0,
    )  # fmt: skip
    workflow["10"]["inputs"].update(model=["20", 0], positive=["23", 0], negative=["23", 1])
    return workflow


def test_a_lora_a_controlnet_and_handrawer_in_one_graph(host: Server, mini):
    everything = with_neighbours(host, mini, seed=101)
    with_all = draw(host, everything)
    without = draw(host, without_handrawer(everything))
    alone = draw(host, gesture_to_picture(seed=101))
    assert np.abs(with_all.astype(int) - without).mean() > 1 and np.abs(with_all.astype(int) - alone).mean() > 1
    assert np.array_equal(draw(host, with_neighbours(host, mini, seed=101, strength=0.0)), without)
    # LoRA behind HanDrawer, and the prompts through HanDrawer first
    turned = with_neighbours(host, mini, seed=101)
    turned["10"]["inputs"].update(model=["6", 0], positive=["8", 0], negative=["9", 0])
    turned["20"]["inputs"]["model"] = ["10", 0]
    turned["23"]["inputs"].update(positive=["10", 1], negative=["10", 2])
    turned["12"]["inputs"].update(model=["20", 0], positive=["23", 0], negative=["23", 1])
    assert np.array_equal(draw(host, turned), with_all)


def advanced(seed: int, **changes) -> dict:
    workflow = gesture_to_picture(seed=seed)
    workflow["10"]["class_type"] = "HanDrawerApplyAdvanced"
    levels = ("full_resolution", "half_resolution", "quarter_resolution", "eighth_resolution")
    workflow["10"]["inputs"] |= dict.fromkeys(levels, 1.0) | {"hand_weights": ""}
    workflow["10"]["inputs"] |= dict.fromkeys(("crop_x", "crop_y", "crop_width", "crop_height"), 0) | changes
    return workflow


def test_the_advanced_node(host: Server):
    """Left as it is it draws what the small node draws; nothing of it encodes the hands again."""
    plain = draw(host, gesture_to_picture(seed=111))
    before = host.counters()
    assert np.array_equal(draw(host, advanced(111)), plain)
    for changes in ({"half_resolution": 0.3}, {"strength": 0.5}, {"end_percent": 0.5}):
        assert not np.array_equal(draw(host, advanced(111, **changes)), plain), changes
    assert host.counters() == before, "levels, strength and range make nothing again"
    for changes in ({"hand_weights": "0.5"}, {"crop_x": 64, "crop_y": 64, "crop_width": 128, "crop_height": 128}):
        assert not np.array_equal(draw(host, advanced(111, **changes)), plain), changes
    after = host.counters()
    assert after["encode"] == before["encode"] and after["fusion"] == before["fusion"] + 4, "two prompts each"


def test_a_batch_of_four(host: Server):
    """Each picture is steered; two lists of hands serve the four in turn, and a part of the batch is the same part."""
    workflow = gesture_to_picture(seed=121)
    workflow["11"]["inputs"]["batch_size"] = 4
    workflow["20"] = node("HanDrawerGesture", gesture="fist", side="right", x=0.4, y=0.5, size=0.6, yaw=0.0, pitch=0.0,
                          roll=0.0, width=256, height=256)  # fmt: skip
    workflow["21"] = node("HanDrawerJoinHands", hands=["3", 0], more=["20", 0], mode="one after another", repeat=1)
    workflow["7"]["inputs"]["hands"] = ["21", 0]

    def pictures(flow: dict) -> list[np.ndarray]:
        images = host.succeed(flow)["14"]["images"]
        return [picture_of(host, {"14": {"images": [image]}}, "14").astype(int) for image in images]

    steered, base = pictures(workflow), pictures(without_handrawer(workflow))
    assert len(steered) == len(base) == 4
    assert all(np.abs(a - b).mean() > 1 for a, b in zip(steered, base, strict=True))
    workflow["22"] = node("LatentFromBatch", samples=["11", 0], batch_index=1, length=2)
    workflow["23"] = node("HanDrawerHandsFromBatch", hands=["21", 0], batch_index=0, length=1, latent=["22", 0])
    workflow["7"]["inputs"]["hands"] = ["23", 0]
    workflow["12"]["inputs"]["latent_image"] = ["22", 0]
    part = pictures(workflow)
    assert len(part) == 2
    assert all(np.abs(a - b).mean() < 0.5 for a, b in zip(part, pictures_at(steered, 1, 2), strict=True))


def pictures_at(pictures: list, *places: int) -> list:
    return [pictures[place] for place in places]


def test_unloading_and_another_process_give_the_same_picture(host: Server, ours, mini, host_modules):
    """The server before and after its memory is freed, and this process: the same picture to the last bit."""
    expected = draw(host, gesture_to_picture(seed=131))
    before = host.counters()["encode"]
    host.post("/free", {"unload_models": True, "free_memory": True})
    for _ in range(2):  # the host may free its memory only after the next run
        assert np.array_equal(draw(host, gesture_to_picture(seed=131)), expected)
    assert host.counters()["encode"] == before + 1, "everything was made again"

    values = {name: entry["inputs"] for name, entry in gesture_to_picture(seed=131).items()}
    model, clip, vae = mini
    with torch.inference_mode():
        hands = ours("hands").HanDrawerGesture.execute(**values["3"]).args[0]
        file = mini_weights(host) / "handrawer.safetensors"
        features = ours("network").encode(ours("network").load_network(file), hands)
        prompts = [host_modules.CLIPTextEncode().encode(clip, values[name]["text"])[0] for name in ("8", "9")]
        apply = type("Apply", (ours("adapter").HanDrawerApply,), {"hidden": SimpleNamespace(unique_id="10")})
        steered = apply.execute(model, features, 1.0, 0.0, 1.0, *prompts).args
        (latent,) = host_modules.EmptyLatentImage().generate(256, 256, 1)
        values["12"] |= {"model": steered[0], "positive": steered[1], "negative": steered[2], "latent_image": latent}
        (drawn,) = host_modules.KSampler().sample(**values["12"])
        picture = vae.decode(drawn["samples"])[0]
    here = (picture.cpu().numpy() * 255.0).clip(0, 255).astype(np.uint8)
    assert np.array_equal(here, expected)


@pytest.fixture(scope="module")
def host_modules(plugin):
    """The host's module of core nodes, in this process."""
    return importlib.import_module("nodes")


def test_a_folder_of_extra_model_paths(host: Server):
    """A file that lies in a folder named in extra_model_paths.yaml is listed, shown and used like any other."""
    for name in ("HanDrawerLoad", "HanDrawerFileCard"):
        listed = host.get(f"/object_info/{name}")[name]["input"]["required"]["handrawer_name"]
        options = listed[0] if isinstance(listed[0], list) else listed[1]["options"]
        assert {"from_yaml.safetensors", "mine.safetensors"} <= set(options), name
    outputs = host.succeed({"1": node("HanDrawerFileCard", handrawer_name="from_yaml.safetensors")})
    assert "format version: 1" in outputs["1"]["text"][0]
    workflow = gesture_to_picture(seed=141)
    expected = draw(host, workflow)
    with_file("from_yaml.safetensors")(workflow)
    assert np.array_equal(draw(host, workflow), expected)


def spoil(host: Server, mini) -> None:
    """Files that cannot work, in the server's folders."""
    from safetensors.torch import save_file

    from tests.nodes.small_bases import make_unet, write_adapter

    folder = host.base / "models" / "handrawer"
    good = (folder / "mine.safetensors").read_bytes()
    (folder / "truncated.safetensors").write_bytes(good[: len(good) // 2])
    (folder / "pickle.safetensors").write_bytes(pickle.dumps({"weights": [1.0, 2.0]}))
    save_file({"weight": torch.zeros(2)}, folder / "other.safetensors")
    if not (folder / "sd15.safetensors").exists():
        with torch.inference_mode(False):
            write_adapter(folder / "sd15.safetensors", make_unet("sd15"))
    latent = {"latent_tensor": torch.ones(1, 16, 32, 32), "latent_format_version_0": torch.tensor([])}
    save_file(latent, host.base / "input" / "sixteen.latent")
    shutil.copy(folder / "pickle.safetensors", host.base / "models" / "diffusion_models" / "pickle.safetensors")


def with_a_latent_of_16_channels(workflow: dict) -> None:
    workflow["11"] = node("LoadLatent", latent="sixteen.latent")


def with_three_masks(workflow: dict) -> None:
    """And hands of two pictures."""
    workflow["20"] = node("EmptyImage", width=64, height=64, batch_size=3, color=0xFFFFFF)
    workflow["21"] = node("ImageToMask", image=["20", 0], channel="red")
    workflow["22"] = node("HanDrawerJoinHands", hands=["3", 0], mode="one after another", repeat=2)
    workflow["7"]["inputs"]["hands"] = ["22", 0]
    workflow["10"]["inputs"]["mask"] = ["21", 0]


def with_a_pickled_unet(workflow: dict) -> None:
    workflow["10"] = node(
        "HanDrawerUNetLoader", unet_name="pickle.safetensors", features=["7", 0], strength=1.0, start_percent=0.0,
        end_percent=1.0,
    )  # fmt: skip
    workflow["12"]["inputs"].update(positive=["8", 0], negative=["9", 0])


def with_hands_of_another_shape(workflow: dict) -> None:
    workflow["3"]["inputs"].update(width=512)


def with_advanced(**changes):
    return lambda workflow: workflow.update({"10": advanced(1, **changes)["10"]})


WRONG = {
    "truncated file": (with_file("truncated.safetensors"), r"^handrawer_name: truncated.safetensors is damaged"),
    "renamed pickle": (with_file("pickle.safetensors"), r"^handrawer_name: pickle.safetensors is a pickle"),
    "no HanDrawer file": (with_file("other.safetensors"), r"^handrawer_name: other.safetensors is no HanDrawer file"),
    "another base": (with_file("sd15.safetensors"), r"^model: sd15.safetensors was made for .*small model"),
    "another latent": (with_a_latent_of_16_channels, r"^latent_image: it has 16 channels, but this model draws in"),
    "masks of another number": (with_three_masks, r"^mask: there are 3 masks, but hands of 2 pictures"),
    "pickled UNet": (with_a_pickled_unet, r"^unet_name: ComfyUI cannot load pickle.safetensors"),
    "another shape": (with_hands_of_another_shape, r"^features: .*Place Hands"),
    "weights that are words": (with_advanced(hand_weights="one"), r"^hand_weights: 'one' is not understood"),
    "half a crop": (with_advanced(crop_width=5), r"^crop_width: .*leave all four 0"),
    "crop of another shape": (with_advanced(crop_width=64, crop_height=8), r"^crop_width: the part .*64 x 8 pixels"),
}


def test_wrong_files_and_graphs_are_a_sentence_and_the_next_queue_works(host: Server, mini):
    expected = draw(host, gesture_to_picture(seed=151))
    spoil(host, mini)
    for name, (change, sentence) in WRONG.items():
        workflow = gesture_to_picture(seed=151)
        change(workflow)
        said = host.fail(workflow).strip()
        assert re.search(sentence, said), (name, said)
        assert "\n" not in said and len(said) < 400, (name, said)
    assert np.array_equal(draw(host, gesture_to_picture(seed=151)), expected)


def test_a_second_pass_over_a_crop(host: Server):
    """A part of the picture, drawn again at twice its size with the hands of that part, as detailers do it."""
    workflow = advanced(161)
    workflow["20"] = node("LatentCrop", samples=["12", 0], width=128, height=128, x=64, y=64)
    workflow["21"] = node("LatentUpscaleBy", samples=["20", 0], upscale_method="bilinear", scale_by=2.0)
    crop = {"crop_x": 64, "crop_y": 64, "crop_width": 128, "crop_height": 128}
    workflow["22"] = advanced(161, **crop)["10"]
    second = sampler(["22", 0], ["22", 1], ["22", 2], ["21", 0], seed=161)
    second["inputs"]["denoise"] = 0.6
    workflow["23"] = second
    workflow["13"]["inputs"]["samples"] = ["23", 0]
    placed = draw(host, workflow)
    assert placed.shape == (256, 256, 3)
    whole = {**workflow, "22": advanced(161)["10"]}
    assert not np.array_equal(draw(host, whole), placed)
