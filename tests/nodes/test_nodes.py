"""The nodes' own doings: conversions, choices, sentences."""

import pytest
import torch

from handrawer.hand.hands import Frame, Hands, hand_from_gesture


@pytest.fixture(scope="module")
def hands_of(plugin):
    """The plugin's own Hands (another module of the same source)."""
    import importlib

    module = importlib.import_module(f"{plugin.__name__}.handrawer.hand.hands")
    return lambda *frames: module.Hands.from_json(Hands(frames).to_json())


def two_hands(width=300, height=200) -> Frame:
    left = hand_from_gesture("open", "left", width, height, centre=(0.25, 0.5), size=0.7).hands
    right = hand_from_gesture("fist", "right", width, height, centre=(0.75, 0.5), size=0.5).hands
    return Frame(width, height, left + right)


def test_every_schema_is_valid_for_old_hosts_too(nodes_package):
    """0.3.64 refuses a pack in which an output id equals an input id; older frontends label outputs by their type."""
    for node in nodes_package.NODES:
        schema = node.define_schema()
        inputs, outputs = [i.id for i in schema.inputs], [o.id for o in schema.outputs]
        assert not set(inputs) & set(outputs), schema.node_id
        assert len({*inputs, *outputs}) == len(inputs) + len(outputs), schema.node_id
        assert all(part.tooltip for part in [*schema.inputs, *schema.outputs]), schema.node_id
        assert all(output.display_name for output in schema.outputs), schema.node_id
        assert schema.node_id.startswith("HanDrawer") and schema.category.split("/")[0] == "HanDrawer"


def test_choosing_a_hand(nodes, hands_of):
    placing = nodes("placing")
    hands = hands_of(two_hands(), Frame(300, 200))
    assert [len(f.hands) for f in placing.choose(hands, -1).frames] == [2, 0]
    chosen = placing.choose(hands, 1)
    assert [len(f.hands) for f in chosen.frames] == [1, 0] and chosen.frames[0].hands[0].side == "right"
    with pytest.raises(ValueError, match=r"^hand: there is no hand 2 in picture 0, .*0 to 1"):
        placing.choose(hands, 2)


def test_notes_name_picture_and_hand(nodes, hands_of):
    placing = nodes("placing")
    assert placing.note_of(hands_of(two_hands())) == ""
    assert placing.note_of(hands_of(Frame(8, 8))) == "No hand."
    assert (
        placing.note_of(hands_of(two_hands(), Frame(8, 8, (), "Nothing was seen."))) == "Picture 1: Nothing was seen."
    )


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pictures_lose_alpha_and_gain_colours(nodes, channels):
    image = torch.rand(2, 5, 7, channels)
    found = nodes("pictures").check_image(image, "image")
    assert found.shape == (2, 5, 7, 3) and torch.equal(found[..., 0], image[..., 0])


@pytest.mark.parametrize("wrong", [torch.zeros(4, 4, 3), torch.zeros(1, 4, 4, 2), torch.zeros(1, 0, 4, 3), None])
def test_what_is_no_picture_is_refused(nodes, wrong):
    with pytest.raises(ValueError, match=r"^image: this is no picture"):
        nodes("pictures").check_image(wrong, "image")


def test_masks_are_checked(nodes):
    check = nodes("pictures").check_mask
    assert check(torch.full((4, 6), 2.0), "mask").shape == (1, 4, 6)
    assert float(check(torch.full((2, 4, 6), 2.0), "mask").max()) == 1
    with pytest.raises(ValueError, match=r"^mask: this is no mask"):
        check(torch.zeros(1, 4, 4, 3), "mask")


def test_a_picture_of_another_size_than_the_hands_is_refused(nodes, hands_of):
    with pytest.raises(ValueError, match=r"^image: it has 30 x 20 pixels, .*300 x 200.*Place Hands"):
        nodes("placing").check_sizes(hands_of(two_hands()), torch.zeros(1, 20, 30, 3))


def test_an_unconnected_prompt_says_what_to_connect(nodes):
    blocker = nodes("steering").marked(None, "1", "negative")
    assert "its input 'negative'" in blocker.message
    entry = [torch.zeros(1, 77, 8), {"pooled_output": None, "handrawer": {"other": "positive"}}]
    (marked,) = nodes("steering").marked([entry], "1", "negative")
    assert marked[1]["handrawer"] == {"other": "positive", "1": "negative"}
    assert entry[1]["handrawer"] == {"other": "positive"}, "the input is not changed"


@pytest.mark.parametrize(
    ("size", "latent", "fits"),
    [((848, 565), (106, 70), True), ((848, 565), (424, 280), True), ((256, 256), (32, 32), True),
     ((256, 256), (33, 32), True), ((848, 565), (32, 32), False), ((512, 768), (96, 64), False)],
)  # fmt: skip
def test_latents_of_another_shape_than_the_hands_picture(nodes, size, latent, fits):
    """Sizes as width, height. Sides are rounded to whole cells, which is no stretching."""
    check = nodes("network").check_shape
    if fits:
        check((size,), latent[1], latent[0])
    else:
        with pytest.raises(ValueError, match=r"^features: .*Place Hands"):
            check((size,), latent[1], latent[0])


def test_the_unet_of_a_diffusers_folder_is_described_like_the_host_s(nodes, mini, mini_folder):
    from diffusers import UNet2DConditionModel

    from handrawer.adapter.unet import describe_diffusers

    expected = describe_diffusers(UNet2DConditionModel.from_pretrained(mini_folder / "unet"))
    found = nodes("network").describe_model(mini[0])
    assert (found.name, found.blocks, found.context_width) == (expected.name, expected.blocks, expected.context_width)


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_the_host_s_own_bases_are_known_by_their_shape(nodes, name):
    from types import SimpleNamespace

    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    depth = {"sd15": [1, 1, 1, 1, 1, 1, 0, 0], "sdxl": [0, 0, 2, 2, 10, 10]}[name]
    output = {"sd15": [1] * 9 + [0] * 3, "sdxl": [0, 0, 0, 2, 2, 2, 10, 10, 10]}[name]
    levels = len(depth) // 2
    config = {
        "image_size": 32,
        "in_channels": 9,
        "out_channels": 4,
        "model_channels": 320,
        "num_res_blocks": [2] * levels,
        "channel_mult": [1, 2, 4, 4][:levels],
        "transformer_depth": depth,
        "transformer_depth_output": output,
        "transformer_depth_middle": depth[-1] or 1,
        "context_dim": {"sd15": 768, "sdxl": 2048}[name],
        "use_spatial_transformer": True,
        "legacy": False,
        "num_head_channels": 64,
    }
    unet = UNetModel(**config, device="meta", operations=comfy.ops.disable_weight_init)
    model = SimpleNamespace(
        model=SimpleNamespace(
            diffusion_model=unet,
            model_config=SimpleNamespace(unet_config=config),
            latent_format=SimpleNamespace(latent_channels=4),
        )
    )
    found = nodes("network").describe_model(model)
    assert found.name == name and found.latent_channels == 4, "an inpainting UNet has 9 input channels"
