"""HanDrawer in diffusers' pipelines: small ones with random weights, called as anybody would call them."""

import dataclasses

import pytest
import torch

from handrawer.adapter.handrawer import hand_inputs
from handrawer.adapter.hooks import apply_residuals
from handrawer.adapter.pipelines import attach
from handrawer.adapter.unet import describe_diffusers
from handrawer.hand.hands import Frame, Hands, hand_from_gesture

from .small_pipelines import draw, make_pipeline
from .small_unets import make_adapter

WIDTH, HEIGHT = 136, 104
SIZE = {"width": WIDTH, "height": HEIGHT}


def frame(gesture="peace", side="left", width=WIDTH, height=HEIGHT, **options) -> Frame:
    return hand_from_gesture(gesture, side, width, height, **{"centre": (0.6, 0.45), "size": 0.6, **options})


class Kit:
    def __init__(self, base: str, kind: str = "") -> None:
        self.pipeline = make_pipeline(base, kind)
        self.adapter = make_adapter(self.pipeline.unet)
        self.calls: list[dict] = []

    def draw(self, *args, **options) -> torch.Tensor:
        return draw(self.pipeline, *args, **{**SIZE, **options})

    def hands(self, *args, **options):
        return attach(self.pipeline, self.adapter, *args, **options)


@pytest.fixture(scope="module")
def sd15():
    return Kit("sd15")


@pytest.fixture(scope="module")
def sdxl():
    return Kit("sdxl")


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


def unet_calls(pipeline, run) -> list[tuple]:
    """(sample, timestep, text, added conditions, output) of every call of the UNet."""
    calls = []

    def look(_unet, args, kwargs, output):
        calls.append((args[0], args[1], kwargs["encoder_hidden_states"], kwargs.get("added_cond_kwargs"), output[0]))

    handle = pipeline.unet.register_forward_hook(look, with_kwargs=True)
    try:
        run()
    finally:
        handle.remove()
    return calls


@pytest.mark.parametrize("base, size", [("sd15", (136, 104)), ("sdxl", (136, 104)), ("sdxl", (96, 128))], ids=str)
def test_each_row_gets_the_maps_of_its_own_text(request, base, size, model):
    """The pipeline's first call against maps made by hand, at two sizes, with guidance."""
    kit, (width, height) = request.getfixturevalue(base), size
    hands, cells = frame(width=width, height=height), (height // 8, width // 8)
    with kit.hands(hands):
        calls = unet_calls(
            kit.pipeline, lambda: kit.draw(width=width, height=height, negative_prompt="blurry", steps=1)
        )
    sample, time, text, added, output = calls[0]
    assert sample.shape == (2, 4, *cells) and not torch.equal(text[0], text[1])
    with torch.no_grad():
        tokens = kit.adapter.encode(hand_inputs(Hands((hands,)), model, kit.adapter.config.raster))
        maps = [kit.adapter.residuals(tokens, *cells, text[i : i + 1]) for i in (0, 1)]
        residuals = {block: torch.cat([m[block] for m in maps]) for block in maps[0]}
        options = {"encoder_hidden_states": text, "added_cond_kwargs": added, "return_dict": False}
        bare = kit.pipeline.unet(sample, time, **options)[0]
        with apply_residuals(kit.pipeline.unet, describe_diffusers(kit.pipeline.unet), residuals):
            expected = kit.pipeline.unet(sample, time, **options)[0]
    assert float((expected - bare).norm() / bare.norm()) > 0.1
    assert relative(output - bare, expected - bare) < 1e-5


@pytest.mark.parametrize("base, guidance", [("sd15", 1.0), ("sd15", 4.0), ("sdxl", 4.0)])
def test_nothing_is_changed_to_the_last_bit(request, base, guidance):
    kit = request.getfixturevalue(base)
    bare = kit.draw(guidance_scale=guidance, steps=1)
    white, black = torch.ones(50, 70), torch.zeros(64, 64)
    for name, options in {
        "strength": {"strength": 0.0},
        "levels": {"levels": {0: 0.0, 1: 0.0, 2: 0.0, **({3: 0.0} if base == "sd15" else {})}},
        "mask": {"mask": black},
        "range": {"start": 0.5, "end": 0.5},
    }.items():
        with kit.hands(frame(), **options):
            assert torch.equal(kit.draw(guidance_scale=guidance, steps=1), bare), name
    with kit.hands(Frame(WIDTH, HEIGHT, ())):
        assert torch.equal(kit.draw(guidance_scale=guidance, steps=1), bare)
    with kit.hands(frame()):
        steered = kit.draw(guidance_scale=guidance, steps=1)
    assert relative(steered, bare) > 1e-3
    with kit.hands(frame(), mask=white):
        assert torch.equal(kit.draw(guidance_scale=guidance, steps=1), steered)
    assert torch.equal(kit.draw(guidance_scale=guidance, steps=1), bare), "the pipeline is as it was"


def test_leaving_by_an_exception_leaves_nothing_behind(sd15):
    unet = sd15.pipeline.unet
    bare = sd15.draw()
    with pytest.raises(RuntimeError, match="stop"), sd15.hands(frame()):
        raise RuntimeError("stop")
    with pytest.raises(ValueError, match="place them first"), sd15.hands(frame(width=512, height=512)):
        sd15.draw()
    assert torch.equal(sd15.draw(), bare)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in unet.modules())
    assert "encode_prompt" not in sd15.pipeline.__dict__


def test_an_error_inside_the_unet_does_not_leave_maps_for_the_next_call(sd15):
    unet = sd15.pipeline.unet
    text = torch.zeros(1, 77, 768)

    def fail(*_args):
        raise RuntimeError("out of memory")

    with sd15.hands(frame()) as attachment:
        sd15.draw()
        handle = unet.conv_out.register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            unet(torch.zeros(1, 4, HEIGHT // 8, WIDTH // 8), 1, text)
        handle.remove()
        assert not attachment._additions


def test_range_of_the_sampling(sd15):
    """Of four steps (timesteps 751, 501, 251, 1) the hands steer those inside."""
    calls = {"bare": unet_calls(sd15.pipeline, lambda: sd15.draw(steps=4))}
    for name, options in {"late": {"start": 0.6}, "early": {"end": 0.3}}.items():
        with sd15.hands(frame(), **options):
            calls[name] = unet_calls(sd15.pipeline, lambda: sd15.draw(steps=4))
    assert [int(call[1]) for call in calls["bare"]] == [751, 501, 251, 1]
    assert [torch.equal(a[4], b[4]) for a, b in zip(calls["bare"], calls["late"], strict=True)] == [
        True,
        True,
        False,
        False,
    ]
    assert not torch.equal(calls["early"][0][4], calls["bare"][0][4])
    sample, time, text, _, output = calls["early"][1]
    with torch.no_grad():
        assert torch.equal(sd15.pipeline.unet(sample, time, text, return_dict=False)[0], output)


def test_pictures_of_a_batch_get_their_own_hands(sd15):
    """Two prompts with a frame each, one of them without hands."""
    prompts = ["a left hand", "a right hand"]
    bare = sd15.draw(prompts)
    with sd15.hands(Hands((frame(), Frame(WIDTH, HEIGHT, ())))):
        found = sd15.draw(prompts)
    assert relative(found[0], bare[0]) > 0.02 and torch.allclose(found[1], bare[1], atol=1e-5)
    with sd15.hands(frame()):
        alone = sd15.draw(prompts)
    assert relative(found[0], alone[0]) < 1e-5 and relative(alone[1], bare[1]) > 0.02


def test_frames_follow_prompts_whatever_num_images_per_prompt_is(sd15, caplog):
    """Two prompts, two pictures each: diffusers puts the pictures of a prompt beside each other."""
    prompts, none = ["a left hand", "a right hand"], Frame(WIDTH, HEIGHT, ())
    options = {"num_images_per_prompt": 2, "steps": 1}
    bare = sd15.draw(prompts, **options)

    def changed(*frames) -> list[bool]:
        with sd15.hands(Hands(frames)):
            found = sd15.draw(prompts, **options)
        return [relative(a, b) > 1e-3 for a, b in zip(found, bare, strict=True)]

    assert changed(frame(), none) == [True, True, False, False]
    assert changed(none, frame(), none, none) == [False, True, False, False]
    assert not caplog.records
    assert changed(frame(), none, none) == [True, False, False, True]
    assert [r.message for r in caplog.records] == ["Hands of 3 pictures serve 4 pictures: they repeat in turn."]


@pytest.mark.parametrize("rule", ["same", "none"])
def test_negative_rows_follow_the_rule(sd15, rule):
    bare = unet_calls(sd15.pipeline, lambda: sd15.draw(negative_prompt="blurry", steps=1))[0]
    with sd15.hands(frame(), negative_hand=rule):
        found = unet_calls(sd15.pipeline, lambda: sd15.draw(negative_prompt="blurry", steps=1))[0]
    changed = [relative(found[4][i], bare[4][i]) > 1e-3 for i in (0, 1)]
    assert changed == [rule == "same", True]


def test_maps_are_made_once_for_all_steps(sd15, monkeypatch):
    made = []
    residuals = sd15.adapter.residuals
    monkeypatch.setattr(
        sd15.adapter, "residuals", lambda *args, **kw: made.append(args[3].shape) or residuals(*args, **kw)
    )
    with sd15.hands(frame()):
        sd15.draw(["a hand", "a hand", "a fist"], negative_prompt="blurry", steps=3)
        assert made == [(3, 77, 768)], "one for each text: blurry, a hand, a fist"
        sd15.draw("a hand", steps=2)
        assert len(made) == 2


def test_stacked_adapters_add_up(sd15):
    with sd15.hands(frame()):
        once = unet_calls(sd15.pipeline, lambda: sd15.draw(steps=1))[0][4]
    with sd15.hands(frame(), strength=0.5), sd15.hands(frame(), strength=0.5):
        halves = unet_calls(sd15.pipeline, lambda: sd15.draw(steps=1))[0][4]
    bare = unet_calls(sd15.pipeline, lambda: sd15.draw(steps=1))[0][4]
    assert relative(halves - bare, once - bare) < 1e-5 and relative(halves, once) < 1e-6


def test_levels_and_weights_of_hands(sd15):
    two = Frame(WIDTH, HEIGHT, frame().hands + frame("fist", "right", centre=(0.2, 0.6), size=0.4).hands)
    with sd15.hands(two, weights=[1.0, 0.0]):
        first = sd15.draw(steps=1)
    with sd15.hands(Frame(WIDTH, HEIGHT, (two.hands[0], dataclasses.replace(two.hands[1], weight=0.0)))):
        assert torch.equal(sd15.draw(steps=1), first)
    with sd15.hands(two):
        assert relative(sd15.draw(steps=1), first) > 1e-4
    with sd15.hands(two, levels={1: 0.0, 2: 0.0, 3: 0.0}):
        fine = sd15.draw(steps=1)
    with sd15.hands(two, levels={0: 0.0}):
        assert relative(sd15.draw(steps=1), fine) > 1e-3
    with pytest.raises(ValueError, match="3 factors do not fit 2 hands"), sd15.hands(two, weights=[1, 1, 1]):
        pass


def test_half_precision(sdxl):
    """UNet and text in bfloat16, the adapter in float32."""
    pipeline = make_pipeline("sdxl").to(torch.bfloat16)
    (bare,) = unet_calls(pipeline, lambda: draw(pipeline, steps=1, **SIZE))
    with attach(pipeline, sdxl.adapter, frame()):
        (found,) = unet_calls(pipeline, lambda: draw(pipeline, steps=1, **SIZE))
    assert found[4].dtype == torch.bfloat16 and relative(found[4].float(), bare[4].float()) > 0.1


@pytest.mark.parametrize("base, kind", [("sd15_inpaint", "Inpaint"), ("sdxl", "Img2Img")])
def test_pictures_made_from_pictures(base, kind):
    kit = Kit(base, kind)
    options = {"image": torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(2)), "strength": 0.9}
    if kind == "Inpaint":
        options |= {"mask_image": torch.ones(1, 1, HEIGHT, WIDTH), **SIZE}
    bare = draw(kit.pipeline, **options)
    with kit.hands(frame()):
        found = draw(kit.pipeline, **options)
    assert relative(found, bare) > 0.01 and torch.isfinite(found).all()
    with kit.hands(frame(), strength=0.0):
        assert torch.equal(draw(kit.pipeline, **options), bare)


def test_what_does_not_fit_is_refused_with_a_sentence(sd15, sdxl, model):
    refusals = {
        "was made for a UNet of 12 encoder blocks": lambda: attach(sdxl.pipeline, sd15.adapter, frame()),
        "has no UNet": lambda: attach(object(), sd15.adapter, frame()),
        "no injection site": lambda: sd15.hands(frame(), levels={7: 1.0}),
        "values from 0": lambda: sd15.hands(frame(), mask=torch.full((8, 8), 255.0)),
        "A mask is": lambda: sd15.hands(frame(), mask=torch.ones(8)),
        "start <= end": lambda: sd15.hands(frame(), start=0.7, end=0.2),
        '"same" or "none"': lambda: sd15.hands(frame(), negative_hand="some"),
        "at least one frame": lambda: sd15.hands(Hands(())),
    }
    for words, make in refusals.items():
        with pytest.raises(ValueError, match=words) as caught, make():
            pass
        assert "\n" not in str(caught.value)


def test_a_scheduler_without_training_timesteps(sd15):
    from diffusers import EDMEulerScheduler

    before, sd15.pipeline.scheduler = sd15.pipeline.scheduler, EDMEulerScheduler()
    try:
        with pytest.raises(ValueError, match="EDMEulerScheduler does not have"), sd15.hands(frame(), end=0.5):
            pass
        with sd15.hands(frame()):
            pass
    finally:
        sd15.pipeline.scheduler = before
