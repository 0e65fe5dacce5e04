"""HanDrawer on the layouts of Stable Diffusion 1.5 and SDXL, in few channels: what must hold on any canvas."""

import dataclasses
import os
from typing import Any

import pytest
import torch

from handrawer.adapter.checkpoint import load, save
from handrawer.adapter.hooks import apply_residuals
from handrawer.adapter.unet import describe_diffusers
from tests.nodes.canvas import Canvas, one_hand, other_hand, relative
from tests.nodes.small_bases import LAYOUTS, added_conditions

SIZES = {"512x512": (64, 64), "520x776": (97, 65), "odd grids at every level": (33, 49)}  # latent height, width
# Each site alone is asked at the smallest size, and at all of them with this set: that takes minutes.
EVERY = bool(os.environ.get("HANDRAWER_EVERY_SITE"))


@pytest.fixture(scope="module")
def light_canvas(canvas: Canvas):
    """With one attention head a level instead of eight: at full resolution they take most of the time."""
    name = f"{canvas.base}_light"
    LAYOUTS[name] = dataclasses.replace(canvas.layout, heads=(1,) * len(canvas.layout.channels))
    yield Canvas(canvas.nodes, name, canvas.file)
    del LAYOUTS[name]


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_the_effect_is_that_of_diffusers_at_every_site(light_canvas: Canvas, size, monkeypatch):
    """D = patched - bare of the UNet's output: |D_host - D_diffusers| / |D| < 1e-3 in float32, each site and all."""
    import comfy.ldm.modules.attention as attention

    # the host's choice for CPUs saves memory and takes twice as long
    monkeypatch.setattr(attention, "optimized_attention", attention.attention_pytorch)
    canvas, (height, width) = light_canvas, size
    frame = one_hand(8 * width, 8 * height)
    features, text = canvas.features(frame), canvas.tagged(canvas.text(1))
    _, (bare,) = canvas.sample(canvas.model, text, size=size)
    added = {} if bare.y is None else {"added_cond_kwargs": added_of(bare.y, width, height)}
    residuals = {b: r[None] for b, r in canvas.residuals([frame], height, width, bare.context[0]).items()}
    description = describe_diffusers(canvas.unet)

    def diffusers(chosen: dict) -> torch.Tensor:
        with torch.no_grad(), apply_residuals(canvas.unet, description, chosen):
            return canvas.unet(bare.x.clone(), bare.time.clone(), bare.context.clone(), return_dict=False, **added)[0]

    without = diffusers({})
    assert relative(bare.output, without) < 1e-4
    levels = {site.block: site.level for site in description.sites}
    assert len(set(levels.values())) == len(levels), "a level's factor chooses one site"
    alone = tuple(levels) if EVERY or height * width < 2000 else ()
    for block in (None, *alone):
        factors = tuple(float(block is None or level == levels[block]) for level in range(4))
        _, (steered,) = canvas.sample(canvas.patched(features, levels=factors), text, size=size)
        assert torch.equal(steered.x, bare.x) and torch.equal(steered.time, bare.time)
        expected = diffusers(residuals if block is None else {block: residuals[block]}) - without
        effect, error = float(expected.norm() / without.norm()), relative(steered.output - bare.output, expected)
        print(f"{canvas.base} {8 * width}x{8 * height} block {block}: effect {effect:.3f}, difference {error:.1e}")
        assert effect > 0.1 and error < 1e-3


def added_of(y: torch.Tensor, width: int, height: int) -> dict:
    """What the host has told SDXL beside the text, as diffusers wants it."""
    return added_conditions("sdxl", y[:, :1280].clone(), 8 * width, 8 * height) or {}


def test_what_does_nothing_gives_the_bare_picture_to_the_last_bit(canvas: Canvas, tmp_path):
    """On the CPU with the same batching; the path through the patches is run wherever there is one."""
    positive, negative = canvas.text(1), canvas.text(2)
    tagged = canvas.tagged(positive), canvas.tagged(negative, "negative")
    features = canvas.features(one_hand(), other_hand())
    untrained = load_untrained(canvas, tmp_path)
    weightless = canvas.nodes("network").View(weights=((0.0,),))
    models = {
        "strength 0": canvas.patched(features, strength=0.0),
        "no hands": canvas.patched(canvas.features(one_hand().__class__(208, 136))),
        "black mask": canvas.patched(features, mask=torch.zeros(1, 30, 40)),
        "start = end": canvas.patched(features, start=0.3, end=0.3),
        "levels of 0": canvas.patched(features, levels=(0.0,) * 4),
        "weights of 0": canvas.patched(canvas.features(one_hand()), view=weightless),
        "zero projections": canvas.patched(canvas.features(one_hand(), network=untrained)),
    }
    for cfg in {"sd15": (1.0, 7.0), "sdxl": (7.0,)}[canvas.base]:
        settings: dict[str, Any] = {"cfg": cfg, "batch": 2 if cfg == 1.0 else 1, "size": (9, 14)}
        bare, plain = canvas.sample(canvas.model, positive, negative, **settings)
        for name, model in models.items():
            found, calls = canvas.sample(model, *tagged, **settings)
            assert torch.equal(found, bare), (name, cfg)
            assert [call.order for call in calls] == [call.order for call in plain], "the same batching"
        steered, calls = canvas.sample(canvas.patched(features), *tagged, **settings)
        assert not torch.equal(steered, bare) and len(calls) == len(plain)


def load_untrained(canvas: Canvas, folder):
    """The adapter before its training: projections of zero."""
    adapter = load(canvas.file)
    for name, parameter in adapter.named_parameters():
        if ".sites." in name:
            torch.nn.init.zeros_(parameter)
    save(folder / "untrained.safetensors", adapter)
    return canvas.nodes("network").load_network(folder / "untrained.safetensors")


def test_masks(canvas: Canvas):
    """White is none; half a mask changes only its half where the maps are added."""
    features, text = canvas.features(one_hand()), canvas.tagged(canvas.text(1))
    _, (plain,) = canvas.sample(canvas.patched(features), text)
    _, (white,) = canvas.sample(canvas.patched(features, mask=torch.ones(1, 50, 70)), text)
    assert torch.equal(white.output, plain.output)
    half = torch.zeros(1, 17, 26)
    half[..., :13] = 1
    _, (masked,) = canvas.sample(canvas.patched(features, mask=half), text)
    for block, level in canvas.network.levels.items():
        whole, found = plain.added[block], masked.added[block]
        # cell j of level l reaches from 2^l (j - 0.5) + 0.5 to 2^l (j + 0.5) + 0.5
        inside = int((13 - 0.5) / 2**level + 0.5)
        outside = -int(-((13 - 0.5) / 2**level + 0.5) // 1)
        tolerance = 1e-5 * float(whole.abs().max())
        assert torch.allclose(found[..., :inside], whole[..., :inside], atol=tolerance), block
        assert not found[..., outside:].any() and (whole[..., outside:].any() or level == 3), block


def test_two_nodes_of_half_the_strength_are_one(canvas: Canvas):
    features, text = canvas.features(one_hand()), canvas.text(1)
    both = canvas.tagged(canvas.tagged(text, key="a"), key="b")
    once = canvas.patched(features, key="a")
    twice = canvas.patched(features, canvas.patched(features, key="a", strength=0.5), key="b", strength=0.5)
    _, (one,) = canvas.sample(once, both)
    _, (two,) = canvas.sample(twice, both)
    assert relative(two.output, one.output) < 1e-6
    # and two nodes with different hands add what each of them adds
    others = canvas.features(other_hand())
    _, (second,) = canvas.sample(canvas.patched(others, key="b"), both)
    _, (together,) = canvas.sample(canvas.patched(others, once, key="b"), both)
    (block, *_) = canvas.network.levels
    assert relative(together.added[block], one.added[block] + second.added[block]) < 1e-5


def test_a_batch_of_two_with_different_hands_is_the_two_alone(canvas: Canvas):
    text = canvas.tagged(canvas.text(1))
    together = canvas.patched(canvas.features(one_hand(), other_hand()))
    _, (batch,) = canvas.sample(together, text, batch=2, noise_of=[0, 1])
    for row, frame in enumerate((one_hand(), other_hand())):
        alone = canvas.patched(canvas.features(frame))
        _, (single,) = canvas.sample(alone, text, noise_of=[row])
        assert torch.equal(single.x[0], batch.x[row])
        assert relative(single.output[0], batch.output[row]) < 1e-5


def test_levels_weights_and_crops_are_what_they_say(canvas: Canvas):
    text = canvas.tagged(canvas.text(1))
    first, second = one_hand().hands, other_hand().hands
    pair = type(one_hand())(208, 136, first + second)
    features = canvas.features(pair)
    view = canvas.nodes("network").View
    _, (plain,) = canvas.sample(canvas.patched(features), text)
    _, (levels,) = canvas.sample(canvas.patched(features, strength=0.5, levels=(1.0, 0.0, 2.0)), text)
    (finest, middle, *_) = canvas.network.levels
    assert relative(levels.added[finest], plain.added[finest] * 0.5) < 1e-5
    assert not levels.added[middle].any()
    # a weight is that of the hand
    _, (weighted,) = canvas.sample(canvas.patched(features, view=view(weights=((0.5, 2.0),))), text)
    hands = (first[0].replace(weight=0.5), second[0].replace(weight=2.0))
    expected = canvas.residuals([type(pair)(208, 136, hands)], 17, 26, plain.context[0])
    assert relative(weighted.added[finest][0], expected[finest]) < 1e-5
    # a crop is the same as hands placed on the crop
    _, (cropped,) = canvas.sample(canvas.patched(features, view=view(crop=(40, -16, 104, 68))), text)
    placed = placed_on_crop(pair, 40, -16, 104, 68)
    expected = canvas.residuals([placed], 17, 26, plain.context[0])
    assert relative(cropped.added[finest][0], expected[finest]) < 1e-4
    assert relative(plain.added[finest][0], expected[finest]) > 0.1


def placed_on_crop(frame, x: int, y: int, width: int, height: int):
    """The hands in a cut-out, by the library's own placing."""
    from handrawer.hand.camera import Placement

    placement = Placement(1.0, -float(x), -float(y), frame.width, frame.height, width, height)
    return frame.placed(placement)


def test_an_inpainting_model_is_steered_like_its_base(nodes, sd15: Canvas):
    """Nine input channels: latent, masked latent and mask; the adapter is that of the base."""
    canvas = Canvas(nodes, "sd15_inpaint", sd15.file)
    concat: dict[str, Any] = {"concat_latent_image": torch.zeros(1, 4, 17, 26), "concat_mask": torch.ones(1, 1, 17, 26)}
    positive, negative = canvas.text(1, **concat), canvas.text(2, **concat)
    tagged = canvas.tagged(positive), canvas.tagged(negative, "negative")
    _, (bare,) = canvas.sample(canvas.model, positive, negative, cfg=3.0)
    _, (steered,) = canvas.sample(canvas.patched(canvas.features(one_hand())), *tagged, cfg=3.0)
    assert bare.x.shape[1] == 9 and torch.equal(bare.x, steered.x)
    assert relative(steered.output, bare.output) > 0.1
    for row, text in enumerate(steered.context):
        expected = canvas.residuals([one_hand()], 17, 26, text)
        for block, added in steered.added.items():
            if block in expected:
                assert relative(added[row], expected[block]) < 1e-4, (row, block)
