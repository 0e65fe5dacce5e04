"""HanDrawer inside the host's sampler: the same function as in diffusers, for every row that the host makes."""

import pytest
import torch
from diffusers import UNet2DConditionModel

from handrawer.adapter.checkpoint import load
from handrawer.adapter.handrawer import hand_inputs
from handrawer.adapter.hooks import apply_residuals
from handrawer.adapter.unet import describe_diffusers
from handrawer.hand.hands import Frame, Hands, hand_from_gesture
from handrawer.hand.model import load_open_hand

SIZE = 256
STEPS = 2


def one_hand(**changes) -> Frame:
    return hand_from_gesture("peace", "left", SIZE, SIZE, centre=(0.6, 0.45), size=0.6, **changes)


@pytest.fixture(scope="module")
def kit(nodes, mini, load_adapter):
    return Kit(nodes, mini, load_adapter())


class Kit:
    """The host's sampler on the random small model, and everything between it and a test."""

    def __init__(self, nodes, mini, network) -> None:
        self.sampling, self.network = nodes("sampling"), nodes("network")
        self.hands_module = __import__(f"{self.sampling.__package__.removesuffix('.nodes')}.handrawer.hand.hands",
                                       fromlist=["Hands"])  # fmt: skip
        self.model, self.clip, _ = mini
        self.adapter = network

    def features(self, *frames: Frame, adapter=None):
        hands = self.hands_module.Hands.from_json(Hands(frames or (one_hand(),)).to_json())
        with torch.inference_mode():
            return self.network.encode(adapter or self.adapter, hands)

    def text(self, prompt: str, **values) -> list:
        with torch.inference_mode():
            return [[self.clip.encode_from_tokens(self.clip.tokenize(prompt)), values]]

    def injection(self, features, key="1", strength=1.0, start=0.0, end=1.0, mask=None):
        return self.sampling.Injection(key, features, strength, start, end, mask)

    def patched(self, features, model=None, **settings):
        return self.sampling.patched(model or self.model, self.injection(features, **settings))

    def tagged(self, conditioning, role="positive", key="1"):
        return self.sampling.tagged(conditioning, key, role)

    def sample(self, model, positive, negative, *, cfg=3.0, batch=1, size=(32, 32), seed=0, steps=STEPS):
        """The host's latents [B, 4, h, w], and what the UNet was called with and gave: (x, t, context, output)."""
        import comfy.sample
        from comfy.patcher_extension import WrappersMP

        calls = []

        def probe(executor, x, t, context, *args, **kwargs):
            found = executor(x, t, context, *args, **kwargs)
            calls.append((x.clone(), t.clone(), context.clone(), found.clone(), args[2]["cond_or_uncond"]))
            return found

        model = model.clone()
        model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "probe", probe)
        with torch.inference_mode():
            latent = torch.zeros(batch, 4, *size)
            noise = comfy.sample.prepare_noise(latent, seed)
            found = comfy.sample.sample(
                model, noise, steps, cfg, "euler", "normal", positive, negative, latent, disable_pbar=True, seed=seed
            )
        return found, calls


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


def test_the_effect_is_that_of_diffusers(kit: Kit, mini_folder, tmp_path):
    """Δ = patched - bare, of the UNet's own output, on the host and in diffusers with the same weights, in float32."""
    from tests.nodes.random_mini import write_adapter

    positive, negative = kit.text("a left hand"), kit.text("blurry")
    _, bare = kit.sample(kit.model, positive, negative)
    patched = kit.patched(kit.features())
    _, steered = kit.sample(patched, kit.tagged(positive), kit.tagged(negative, "negative"))
    (x, t, context, bare_output, order), (x2, _, _, output, order2) = bare[0], steered[0]
    assert torch.equal(x, x2) and order == order2 == [1, 0]

    unet = UNet2DConditionModel.from_pretrained(mini_folder / "unet").eval()
    adapter = load(write_adapter(tmp_path / "same.safetensors", mini_folder))
    with torch.no_grad():
        tokens = adapter.encode(hand_inputs(Hands((one_hand(),)), load_open_hand(), adapter.config.raster))
        rows = [adapter.residuals(tokens, 32, 32, context[i : i + 1].clone()) for i in range(2)]
        residuals = {block: torch.cat([row[block] for row in rows]) for block in rows[0]}
        x, t, context = (v.clone() for v in (x, t, context))
        without = unet(x, t, context, return_dict=False)[0]
        with apply_residuals(unet, describe_diffusers(unet), residuals):
            expected = unet(x, t, context, return_dict=False)[0] - without
    found = output - bare_output
    assert expected.norm() > 0.1 * without.norm()
    error = relative(found, expected)
    print(f"Δ/output {float(expected.norm() / without.norm()):.3f}, relative difference of Δ {error:.2e}")
    assert error < 1e-3


def test_the_effect_of_the_shipped_weights_is_that_of_diffusers(nodes):
    """The same with the trained small model and its trained adapter, through the project's own pipeline's parts."""
    from handrawer.mini.pipeline import WEIGHTS, load_mini

    with torch.inference_mode():
        loaded = nodes("mini_model").load_mini(WEIGHTS)
    shipped = Kit(nodes, loaded, nodes("network").load_network(WEIGHTS / "handrawer.safetensors"))
    pipeline = load_mini(WEIGHTS)
    positive, negative = shipped.text("a left hand, light skin"), shipped.text("")
    assert relative(positive[0][0].clone(), pipeline.encode_text(["a left hand, light skin"])) < 1e-5
    _, bare = shipped.sample(shipped.model, positive, negative, steps=4)
    patched = shipped.patched(shipped.features())
    _, steered = shipped.sample(patched, shipped.tagged(positive), shipped.tagged(negative, "negative"), steps=4)
    x, t, context = (v.clone() for v in bare[0][:3])
    found = steered[0][3] - bare[0][3]
    with torch.no_grad():
        tokens = pipeline.adapter.encode(
            hand_inputs(Hands((one_hand(),)), load_open_hand(), pipeline.adapter.config.raster)
        )
        rows = [pipeline.adapter.residuals(tokens, 32, 32, context[i : i + 1]) for i in range(2)]
        if pipeline.adapter.negative_hand == "none":  # row 0 is the negative's
            rows[0] = {block: torch.zeros_like(tensor) for block, tensor in rows[0].items()}
        residuals = {block: torch.cat([row[block] for row in rows]) for block in rows[0]}
        without = pipeline.unet(x, t, context, return_dict=False)[0]
        with apply_residuals(pipeline.unet, describe_diffusers(pipeline.unet), residuals):
            expected = pipeline.unet(x, t, context, return_dict=False)[0] - without
    error = relative(found, expected)
    print(f"Δ/output {float(expected.norm() / without.norm()):.3f}, relative difference of Δ {error:.2e}")
    assert error < 1e-3


def test_the_effect_lies_where_the_hand_is(kit: Kit):
    """At the first block the difference is inside the hand's footprint only: exact zeros elsewhere."""
    maps = kit.features().maps(32, 32, None)
    touched = maps.blocks[0][0].abs().sum(0) > 0
    box = one_hand().hands[0].box * 32
    cells = torch.arange(32)
    columns = (cells + 1 > box[0] - 3) & (cells < box[2] + 3)  # the footprint is padded by a tenth of the hand
    rows = (cells + 1 > box[1] - 3) & (cells < box[3] + 3)
    assert touched[int(box[1]) + 1 : int(box[3]), int(box[0]) + 1 : int(box[2])].all()
    assert not touched[~rows].any() and not touched[:, ~columns].any()
    assert 0.05 < touched.float().mean() < 0.6


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_no_strength_no_training_and_no_hand_give_the_base_picture_to_the_last_bit(kit: Kit, load_adapter, cfg):
    positive, negative = kit.text("a hand"), kit.text("")
    base, _ = kit.sample(kit.model, positive, negative, cfg=cfg)
    tagged = kit.tagged(positive), kit.tagged(negative, "negative")
    untrained = kit.features(adapter=load_adapter(trained=False))
    models = {
        "strength 0": kit.patched(kit.features(), strength=0.0),
        "untrained": kit.patched(untrained),
        "no hand": kit.patched(kit.features(Frame(SIZE, SIZE))),
    }
    for name, model in models.items():
        found, _ = kit.sample(model, *tagged, cfg=cfg)
        assert torch.equal(found, base), name
    assert untrained._maps, "the untrained adapter's path has not run"
    assert not torch.equal(kit.sample(kit.patched(kit.features()), *tagged, cfg=cfg)[0], base)
    assert torch.equal(kit.sample(kit.model, *tagged, cfg=cfg)[0], base), "a tag alone changes nothing"


def test_range_of_the_sampling(kit: Kit):
    positive, negative = kit.text("a hand"), kit.text("")
    features = kit.features()
    _, bare = kit.sample(kit.model, positive, negative, steps=4)
    _, late = kit.sample(kit.patched(features, start=0.6), positive, negative, steps=4)
    same = [torch.equal(a[3], b[3]) for a, b in zip(bare, late, strict=True)]
    assert same[:2] == [True, True] and not same[-1]
    _, early = kit.sample(kit.patched(features, end=0.2), positive, negative, steps=4)
    _, whole = kit.sample(kit.patched(features), positive, negative, steps=4)
    assert torch.equal(early[0][3], whole[0][3]) and not torch.equal(early[-1][3], whole[-1][3])


def test_a_mask_says_where_the_hands_steer(kit: Kit):
    text = kit.text("a hand")
    features = kit.features()
    base, _ = kit.sample(kit.model, text, text, cfg=1.0)
    plain, _ = kit.sample(kit.patched(features), text, text, cfg=1.0)
    white, _ = kit.sample(kit.patched(features, mask=torch.ones(1, 50, 70)), text, text, cfg=1.0)
    black, _ = kit.sample(kit.patched(features, mask=torch.zeros(1, 64, 64)), text, text, cfg=1.0)
    assert torch.equal(white, plain) and torch.equal(black, base) and not torch.equal(plain, base)
    half = torch.zeros(1, 32, 32)
    half[:, :, :18] = 1
    added = added_by(kit, kit.patched(features, mask=half), text)
    whole = features.maps(32, 32, None).blocks
    assert torch.allclose(added[0][..., :18], whole[0][..., :18], atol=1e-5) and not added[0][..., 18:].any()
    assert whole[0][..., 18:].any(), "there is something to leave out"
    # one mask for each picture of a batch
    _, calls = kit.sample(kit.patched(features, mask=torch.stack([half[0], half[0] * 0])), text, text, cfg=1.0, batch=2)
    _, bare = kit.sample(kit.model, text, text, cfg=1.0, batch=2)
    assert [torch.equal(calls[0][3][i], bare[0][3][i]) for i in (0, 1)] == [False, True]


def test_several_nodes_add_up_and_one_node_counts_once(kit: Kit):
    positive, negative = kit.text("a hand"), kit.text("")
    features = kit.features()
    once, _ = kit.sample(kit.patched(features, strength=1.5), positive, negative)
    halves = kit.patched(features, model=kit.patched(features, strength=0.75, key="a"), strength=0.75, key="b")
    assert relative(kit.sample(halves, positive, negative)[0], once) < 1e-4
    again = kit.patched(features, model=kit.patched(features, strength=0.5), strength=1.5)
    assert torch.equal(kit.sample(again, positive, negative)[0], once)
    assert torch.equal(kit.sample(kit.patched(features, strength=1.5).clone().clone(), positive, negative)[0], once)


def test_each_picture_of_a_batch_gets_its_own_hands(kit: Kit, caplog):
    other = hand_from_gesture("fist", "right", SIZE, SIZE, centre=(0.3, 0.6), size=0.4)
    positive, negative = kit.text("a hand"), kit.text("")
    together = kit.patched(kit.features(one_hand(), other, Frame(SIZE, SIZE)))
    _, calls = kit.sample(together, positive, negative, batch=4)
    _, bare = kit.sample(kit.model, positive, negative, batch=4)
    said = [r.message for r in caplog.records if "serve a batch" in r.message]
    assert said == ["HanDrawer: The hands of 3 pictures serve a batch of 4: they repeat in turn."]
    difference = (calls[0][3] - bare[0][3]).flatten(1).norm(dim=1)
    assert (difference[[0, 1, 3, 4, 5, 7]] > 0.1).all()
    assert difference[2] == difference[6] == 0, "the third picture has no hand"
    # the fourth picture begins again with the first list of hands
    alone = kit.patched(kit.features(one_hand()))
    _, single = kit.sample(alone, positive, negative, batch=4)
    assert relative(single[0][3][[0, 3]], calls[0][3][[0, 3]]) < 1e-5
    assert relative(single[0][3][1], calls[0][3][1]) > 1e-2


def test_every_prompt_gets_features_of_its_own_and_an_unmarked_one_the_null_text(kit: Kit):
    positive, negative = kit.text("a hand, dark skin"), kit.text("blurry")
    features = kit.features()
    model = kit.patched(features)
    _, marked = kit.sample(model, kit.tagged(positive), kit.tagged(negative, "negative"), steps=1)
    keys = {name[2] for name in features._maps}
    assert keys == {kit.network.text_key(positive[0][0]), kit.network.text_key(negative[0][0])}
    _, unmarked = kit.sample(model, positive, negative, steps=1)
    assert None in {name[2] for name in features._maps}
    assert not torch.equal(marked[0][3], unmarked[0][3])
    _, of_another_node = kit.sample(model, kit.tagged(positive, key="9"), negative, steps=1)
    assert torch.equal(of_another_node[0][3], unmarked[0][3])


def test_negative_rows_follow_the_checkpoint(kit: Kit, load_adapter):
    positive, negative = kit.text("a hand"), kit.text("blurry")
    tagged = kit.tagged(positive), kit.tagged(negative, "negative")
    _, bare = kit.sample(kit.model, positive, negative, steps=1)
    for rule, changed in (("same", [True, True]), ("none", [False, True])):
        model = kit.patched(kit.features(adapter=load_adapter(negative_hand=rule)))
        _, calls = kit.sample(model, *tagged, steps=1)
        assert calls[0][4] == [1, 0]
        assert [not torch.equal(calls[0][3][i], bare[0][3][i]) for i in range(2)] == changed, rule


def test_low_memory_changes_nothing(kit: Kit, monkeypatch):
    positive, negative = kit.text("a hand"), kit.text("blurry")
    tagged = kit.tagged(positive), kit.tagged(negative, "negative")
    model = kit.patched(kit.features(one_hand(), hand_from_gesture("ok", "right", SIZE, SIZE)))
    together, _ = kit.sample(model, *tagged, batch=2)
    monkeypatch.setattr(type(model.model), "memory_required", lambda *_args, **_kwargs: 1e30)
    apart, calls = kit.sample(model, *tagged, batch=2)
    assert len(calls) == 2 * STEPS
    assert relative(apart, together) < 1e-4


def test_areas_see_their_own_part_of_the_hand(kit: Kit):
    """Inside an area the first block's residual is the slice of the whole picture's map, at any offset."""
    features = kit.features()
    text = kit.text("a hand")
    whole = features.maps(32, 32, None)
    area = [[text[0][0], {"area": (16, 24, 8, 6), "strength": 1.0}]]  # height, width, y, x in latent cells
    model = kit.patched(features)
    added = added_by(kit, model, area)
    for block, level in ((0, 0), (1, 0), (3, 1)):
        step = 2**level
        expected = whole.blocks[block][0][:, 8 // step : 24 // step, 6 // step : 30 // step]
        assert torch.allclose(added[block][0], expected, atol=1e-5), block


def added_by(kit: Kit, model, positive) -> dict[int, torch.Tensor]:
    """What HanDrawer adds at each block in the first call, seen from around its patch."""
    from comfy.patcher_extension import WrappersMP

    added = {}

    def spy(executor, *args, **kwargs):
        options = args[5]
        patches = options["patches"]["input_block_patch"]

        def watch(h, to, patch=patches[-1]):
            result = patch(h, to)
            added.setdefault(to["block"][1], result - h)
            return result

        options = {**options, "patches": {**options["patches"], "input_block_patch": [*patches[:-1], watch]}}
        return executor(*args[:5], options, *args[6:], **kwargs)

    model = model.clone()
    # added after HanDrawer's wrapper, so called inside it, where its patch is already in the options
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "spy", spy)
    kit.sample(model, positive, positive, cfg=1.0, steps=1)
    return added


def test_the_negative_that_the_host_makes_for_an_area_keeps_its_own_text(kit: Kit):
    """The host copies the positive's entry, tag and all, and puts the negative's text into it."""
    text, other = kit.text("a hand"), kit.text("blurry")
    features = kit.features()
    area = [[text[0][0], {"area": (16, 24, 8, 6), "strength": 1.0}]]
    kit.sample(kit.patched(features), kit.tagged(area), kit.tagged(other, "negative"), steps=1)
    keys = {name[2] for name in features._maps}
    assert keys == {kit.network.text_key(text[0][0]), kit.network.text_key(other[0][0])}


def test_the_latent_may_be_larger_but_not_of_another_shape(kit: Kit):
    positive, negative = kit.text("a hand"), kit.text("")
    model = kit.patched(kit.features())
    found, _ = kit.sample(model, positive, negative, size=(48, 48), steps=1)
    assert torch.isfinite(found).all()
    with pytest.raises(ValueError, match="Place Hands"):
        kit.sample(model, positive, negative, size=(32, 48), steps=1)


def test_maps_are_made_once_for_size_and_text(kit: Kit, monkeypatch):
    positive, negative = kit.text("a hand"), kit.text("blurry")
    tagged = kit.tagged(positive), kit.tagged(negative, "negative")
    features = kit.features()
    runs = []
    adapter = type(features.network.adapter)
    original = adapter.residuals

    def counted(*args, **kwargs):
        runs.append(args)
        return original(*args, **kwargs)

    monkeypatch.setattr(adapter, "residuals", counted)
    kit.sample(kit.patched(features), *tagged)
    kit.sample(kit.patched(features), *tagged, seed=1)
    kit.sample(kit.patched(features, strength=0.4, end=0.9), *tagged)
    assert len(runs) == 2
    kit.sample(kit.patched(features), *tagged, size=(40, 40))
    assert len(runs) == 4


def test_a_model_of_another_base_is_refused_by_name(kit: Kit, nodes, tmp_path):
    import copy

    network = kit.adapter
    config = copy.copy(network.metadata.config)
    unet = copy.copy(config.unet)
    object.__setattr__(unet, "name", "sd15")
    object.__setattr__(unet, "context_width", 768)
    object.__setattr__(config, "unet", unet)
    metadata = copy.copy(network.metadata)
    object.__setattr__(metadata, "config", config)
    other = nodes("network").Network("for_sd15.safetensors", network.adapter, metadata, network.patcher)
    with pytest.raises(ValueError, match=r"for_sd15.*Stable Diffusion 1.*the small model"):
        nodes("network").check_fit(other, kit.model)
    nodes("network").check_fit(network, kit.model)


def test_each_context_window_shows_its_own_pictures(kit: Kit):
    """Windows over a batch: every call holds some of its pictures, and each gets the hands of its own place."""
    windows = pytest.importorskip("comfy.context_windows")
    if not hasattr(windows, "ContextFuseMethods"):
        pytest.skip("this host has no context windows")
    other = hand_from_gesture("fist", "right", SIZE, SIZE, centre=(0.3, 0.6), size=0.4)
    features = kit.features(one_hand(), Frame(SIZE, SIZE), other, Frame(SIZE, SIZE))
    text = kit.text("a hand")

    def windowed(model):
        model = model.clone()
        model.model_options["context_handler"] = windows.IndexListContextHandler(
            context_schedule=windows.get_matching_context_schedule(windows.ContextSchedules.STATIC_STANDARD),
            fuse_method=windows.get_matching_fuse_method(windows.ContextFuseMethods.FLAT),
            context_length=2, context_overlap=0, context_stride=1, closed_loop=False, dim=0,
        )  # fmt: skip
        return model

    try:
        _, bare = kit.sample(windowed(kit.model), text, text, cfg=1.0, batch=4, steps=1)
    except RuntimeError as error:  # 0.3.64 cannot do it on this dimension, with or without HanDrawer
        pytest.skip(f"this host's context windows do not work on batches: {error}")
    _, calls = kit.sample(windowed(kit.patched(features)), text, text, cfg=1.0, batch=4, steps=1)
    changed = [float((a[3][row] - b[3][row]).norm()) > 0.1 for a, b in zip(calls, bare, strict=True) for row in (0, 1)]
    assert len(calls) == 2 and changed == [True, False, True, False]
    _, plain = kit.sample(kit.patched(features), text, text, cfg=1.0, batch=4, steps=1)
    assert relative(torch.cat([call[3] for call in calls]), plain[0][3]) < 1e-5


def test_a_node_that_shrinks_the_features_gets_shrunk_maps(kit: Kit):
    """Deep Shrink halves the features after some block: what is added behind it is halved alike, at its place."""
    from torch.nn.functional import interpolate

    def shrink(h, to):
        return interpolate(h, scale_factor=0.5, mode="area") if to["block"][1] == 2 else h

    text = kit.text("a hand")
    features = kit.features()
    model = kit.patched(features)
    model.set_model_input_block_patch(shrink)
    # the way up meets the unshrunk skips: bring it back, as Deep Shrink does
    model.set_model_output_block_patch(lambda h, hsp, to: (interpolate(h, hsp.shape[-2:]), hsp))
    added = added_by(kit, model, text)
    assert added[3].shape[-2:] == (8, 8)
    expected = interpolate(features.maps(32, 32, None).blocks[3], scale_factor=0.5, mode="area")
    assert relative(added[3], expected) < 0.2
    assert torch.allclose(added[0], features.maps(32, 32, None).blocks[0], atol=1e-5)


def test_a_sampler_behind_the_host_s_back_is_told_once(kit: Kit, caplog):
    model = kit.patched(kit.features())
    wrapper = kit.sampling.diffusion_model_wrapper(kit.injection(kit.features()))
    for _ in range(3):
        assert wrapper(lambda *args, **kwargs: "bare", 1, 2, 3, 4, 5, {}) == "bare"
    assert len([r for r in caplog.records if "behind ComfyUI's back" in r.message]) == 1
    assert model is not kit.model


def test_a_latent_cut_into_tiles_elsewhere_is_left_alone_and_told(kit: Kit, caplog):
    from comfy.patcher_extension import WrappersMP

    text = kit.text("a hand")

    def tile(executor, x, *args, **kwargs):
        found = x.clone()
        found[..., :16] = executor(x[..., :16], *args, **kwargs)
        found[..., 16:] = executor(x[..., 16:], *args, **kwargs)
        return found

    def tiled(model):
        model = model.clone()
        # in front of the others: what other nodes have added is called inside the tiles
        wrappers = model.wrappers[WrappersMP.DIFFUSION_MODEL] = dict(model.wrappers.get(WrappersMP.DIFFUSION_MODEL, {}))
        kept = dict(wrappers)
        wrappers.clear()
        wrappers["tile"] = [tile]
        wrappers.update(kept)
        return model

    found, _ = kit.sample(tiled(kit.patched(kit.features())), text, text, cfg=1.0)
    expected, _ = kit.sample(tiled(kit.model), text, text, cfg=1.0)
    assert torch.equal(found, expected)
    assert len([r for r in caplog.records if "tiles" in r.message]) == 1
