"""HanDrawer's life on the host: clones, memory, interrupts and errors, number types."""

import copy
import gc
import importlib
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from handrawer.hand.hands import Hands
from tests.nodes.canvas import Canvas, one_hand, other_hand, relative
from tests.nodes.random_extras import write_lora
from tests.nodes.test_neighbours import OTHERS

SMALL: dict[str, Any] = {"size": (9, 14)}


@pytest.fixture
def features(sd15: Canvas):
    return sd15.features(one_hand(112, 72))


@pytest.fixture(scope="module")
def text(sd15: Canvas):
    return sd15.tagged(sd15.text(1))


def test_clones_copy_nothing(sd15: Canvas, nodes, features, tmp_path, monkeypatch):
    """Every later node clones the MODEL: no tensor, network or hand is copied with it."""
    import comfy.sd
    import comfy.utils

    lora = comfy.utils.load_torch_file(str(write_lora(tmp_path / "lora.safetensors", sd15.model)), safe_load=True)
    model = sd15.patched(features, mask=torch.ones(1, 8, 8))

    def refuse(self, memo):
        raise AssertionError(f"a {type(self).__name__} was copied")

    for kind in (torch.Tensor, torch.nn.Module, nodes("network").Features, nodes("network").Network):
        monkeypatch.setattr(kind, "__deepcopy__", refuse, raising=False)
    with pytest.raises(AssertionError, match="Tensor was copied"):
        copy.deepcopy(torch.zeros(1))
    clone = comfy.sd.load_lora_for_models(OTHERS["FreeU"](model).clone(), None, lora, 1.0, 0.0)[0]
    (mine,), (theirs,) = (m.get_additional_models_with_key("handrawer_1") for m in (model, clone))
    assert mine.model is theirs.model is features.network.adapter
    assert len(clone.wrappers["calc_cond_batch"]["handrawer_1"]) == 1


def test_maps_live_for_one_run_and_features_keep_what_they_may(sd15: Canvas, nodes, features, text, monkeypatch):
    sampling = nodes("sampling")
    runs = []
    monkeypatch.setattr(sampling, "Run", lambda *args, kind=sampling.Run: runs.append(kind(*args)) or runs[-1])
    sd15.sample(sd15.patched(features), text, **SMALL)
    (run,) = (run for run in runs if run.maps)
    moved = weakref.ref(next(iter(run.moved.values())))
    del run
    runs.clear()
    gc.collect()
    kept = {id(tensor) for maps in features._maps.values() for tensor in maps.blocks.values()}
    assert moved() is None or id(moved()) in kept, "what a run has moved to the UNet's device goes with the run"
    network = nodes("network")
    size = next(iter(features._maps.values())).bytes
    monkeypatch.setattr(network, "KEPT_BYTES", 2 * size)
    texts = [torch.randn(1, 77, 768) for _ in range(3)]
    made = [features.maps(9, 14, text) for text in texts]
    assert len(features._maps) == 2
    assert features.maps(9, 14, texts[2]) is made[2] and features.maps(9, 14, texts[0]) is not made[0]


def test_a_long_run_forgets_texts_that_are_cut_anew_for_every_call(nodes):
    run = nodes("sampling").Run("1")
    for i in range(200):
        batch = torch.full((2, 3, 4), float(i))
        assert [run.text_key(text)[0] for text in run.rows(batch)] == [(1, 3, 4)] * 2
    assert len(run.texts) <= 64 and len(run.split) <= 64
    kept = torch.zeros(1, 3, 4)
    assert run.text_key(kept) == run.text_key(kept) != run.text_key(kept + 1)


def test_an_interrupt_and_an_error_leave_the_model_clean(sd15: Canvas, features, text):
    import comfy.model_management as mm

    model = sd15.patched(features)
    settings: dict[str, Any] = {"steps": 3, **SMALL}
    expected, _ = sd15.sample(model, text, **settings)

    def stop(step, *_args):
        if step == 1:
            raise mm.InterruptProcessingException

    with pytest.raises(mm.InterruptProcessingException):
        sd15.sample(model, text, callback=stop, **settings)
    with pytest.raises(ValueError, match="Place Hands"):
        sd15.sample(model, text, size=(9, 30))
    assert not any("handrawer" in name for name in model.model_options.get("transformer_options", {}))
    assert torch.equal(sd15.sample(model, text, **settings)[0], expected)


def test_unloading_changes_nothing(sd15: Canvas, features, text):
    """What the host does for 'unload models' and where memory runs out."""
    import comfy.model_management as mm

    model = sd15.patched(features)
    expected, _ = sd15.sample(model, text, **SMALL)
    loaded = {id(entry.model.model) for entry in mm.current_loaded_models if entry.model is not None}
    assert id(features.network.adapter) in loaded, "the adapter is loaded with the UNet"
    mm.unload_all_models()
    mm.soft_empty_cache()
    assert torch.equal(sd15.sample(model, text, **SMALL)[0], expected)
    mm.unload_all_models()
    again = sd15.features(one_hand(112, 72))
    assert torch.equal(sd15.sample(sd15.patched(again), text, **SMALL)[0], expected)


def test_a_latent_of_another_kind_of_model_is_refused(sd15: Canvas, features, text):
    with pytest.raises(ValueError, match=r"^latent_image: it has 16 channels, but this model draws in latents of 4;"):
        sd15.sample(sd15.patched(features), text, latent=torch.ones(1, 16, 9, 14))


TYPES = [
    (torch.bfloat16, None, 0.1),
    (torch.float16, None, 0.02),
    (torch.float16, torch.float32, 0.005),
    (torch.float8_e4m3fn, torch.float32, 0.3),
]


@pytest.mark.parametrize(("weights", "compute", "tolerance"), TYPES, ids=str)
def test_models_of_other_number_types(sd15: Canvas, features, text, weights, compute, tolerance):
    """Half precision all through, or only where the weights are kept; the hands are made in float32 all the same."""
    model = of_type(sd15.model, weights, compute)
    _, (bare,) = sd15.sample(model, text, **SMALL)
    _, (steered,) = sd15.sample(sd15.patched(features, model), text, **SMALL)
    assert all(added.dtype == (compute or weights) for added in steered.added.values())
    assert torch.isfinite(steered.output).all()
    _, (plain,) = sd15.sample(sd15.model, text, **SMALL)
    _, (full,) = sd15.sample(sd15.patched(features), text, **SMALL)
    assert relative(steered.output.float() - bare.output.float(), full.output - plain.output) < tolerance


def of_type(model, weights: torch.dtype, compute: torch.dtype | None):
    """The MODEL with its weights kept in one type and computed in another, as the host builds it for a file."""
    import comfy.model_patcher

    old = model.model
    config = type(old.model_config)(copy.deepcopy(old.model_config.unet_config))
    config.set_inference_dtype(weights, compute)
    new = config.get_model({}, device=torch.device("cpu"))
    new.diffusion_model.load_state_dict(old.diffusion_model.state_dict())
    new.diffusion_model.to(weights)
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(new.eval(), load_device=cpu, offload_device=cpu)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_adapters_stored_in_half_precision(sd15: Canvas, nodes, tmp_path, text, dtype):
    from handrawer.adapter.checkpoint import load, save

    save(tmp_path / "half.safetensors", load(sd15.file), dtype=dtype)
    half = nodes("network").load_network(tmp_path / "half.safetensors")
    assert {p.dtype for p in half.adapter.parameters()} == {torch.float32}
    _, (exact,) = sd15.sample(sd15.patched(sd15.features(one_hand(112, 72))), text, **SMALL)
    _, (found,) = sd15.sample(sd15.patched(sd15.features(one_hand(112, 72), network=half)), text, **SMALL)
    for block in sd15.network.levels:
        assert relative(found.added[block], exact.added[block]) < 0.05


def test_adapter_weights_the_host_keeps_in_half_precision(sd15: Canvas, nodes, text):
    """Hosts may cast what does not fit; the layers are the host's, so they compute in the input's type."""
    network = nodes("network").load_network(sd15.file)
    for layer in network.adapter.modules():
        if type(layer).__module__ == "comfy.ops":
            layer.to(torch.float16)
    assert {p.dtype for p in network.adapter.parameters()} == {torch.float16}
    features = sd15.features(one_hand(112, 72), other_hand(112, 72), network=network)
    _, (found,) = sd15.sample(sd15.patched(features), text, **SMALL)
    _, (exact,) = sd15.sample(sd15.patched(sd15.features(one_hand(112, 72))), text, **SMALL)
    for block in sd15.network.levels:
        assert relative(found.added[block], exact.added[block]) < 0.05


def test_every_wrong_base_is_refused_with_what_works_instead(sd15: Canvas, sdxl: Canvas, nodes, features):
    steering = nodes("steering")

    def said(model, of=features) -> str:
        with pytest.raises(ValueError, match=r"^model: ") as caught:
            steering.steer(model, of, "1", 1.0, 0.0, 1.0)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "for_sd15.safetensors" in said(sdxl.model) and "SDXL" in said(sdxl.model)
    assert "SDXL" in said(sd15.model, sdxl.features(one_hand()))

    def like(kind: str, unet, config: dict):
        return SimpleNamespace(
            model=SimpleNamespace(
                diffusion_model=unet,
                model_config=type(kind, (), {"unet_config": config})(),
                latent_format=SimpleNamespace(latent_channels=16),
            )
        )

    for kind in ("Flux", "SD3", "QwenImage", "ZImage", "WAN21_T2V"):
        sentence = said(like(kind, torch.nn.Linear(2, 2), {"image_model": kind}))
        assert kind in sentence and "SDXL" in sentence and "ControlNet" in sentence and "depth" in sentence
    unet, config = sd15.model.model.diffusion_model, sd15.model.model.model_config.unet_config
    assert "of another kind" in said(like("SVD_img2vid", unet, {**config, "use_temporal_attention": True}))


def test_what_is_typed_wrong_is_a_sentence(nodes, sd15: Canvas, features):
    advanced, steering = nodes("advanced"), nodes("steering")
    assert advanced.parse_weights("") == advanced.parse_weights("  \n") == ()
    assert advanced.parse_weights("1, 0.5") == ((1.0, 0.5),)
    assert advanced.parse_weights("1,.5\n\n2;3") == ((1.0, 0.5), (), (2.0,), (3.0,))
    for wrong in ("one", "1; two", "-1", "nan", "1 2"):
        with pytest.raises(ValueError, match=r"^hand_weights: .*'1, 0.5'"):
            advanced.parse_weights(wrong)
    assert advanced.parse_crop(0, 0, 0, 0) is None and advanced.parse_crop(-3, 4, 5, 6) == (-3, 4, 5, 6)
    for wrong in ((1, 0, 0, 0), (0, 0, 5, 0), (0, -1, 0, 5)):
        with pytest.raises(ValueError, match=r"^crop_width: .*leave all four 0"):
            advanced.parse_crop(*wrong)
    with pytest.raises(ValueError, match=r"^mask: there are 3 masks, but hands of 2 pictures"):
        steering.check_count(3, 2)
    for fits in ((1, 2), (2, 1), (2, 2)):
        steering.check_count(*fits)
    with pytest.raises(ValueError, match=r"^mask: this is no mask"):
        steering.steer(sd15.model, features, "1", 1.0, 0.0, 1.0, mask=torch.zeros(1, 4, 4, 3))


def test_the_small_node_is_the_advanced_one_left_as_it_is(sd15: Canvas, nodes, features, text):
    adapter, advanced = nodes("adapter"), nodes("advanced")
    schema = advanced.HanDrawerApplyAdvanced.define_schema()
    defaults = {i.id: i.default for i in schema.inputs if getattr(i, "default", None) is not None}
    defaults |= {"model": sd15.model, "features": features, "positive": sd15.text(1), "negative": sd15.text(2)}
    names = [i.id for i in adapter.HanDrawerApply.define_schema().inputs]

    def run(node, inputs: dict):
        clone = type(node.__name__, (node,), {"hidden": SimpleNamespace(unique_id="5")})
        model, positive, negative = clone.execute(**inputs).args
        return sd15.sample(model, positive, negative, cfg=4.0, **SMALL)[0]

    small = run(adapter.HanDrawerApply, {name: defaults[name] for name in names if name in defaults})
    large = run(advanced.HanDrawerApplyAdvanced, defaults)
    assert torch.equal(small, large) and set(names) <= {i.id for i in schema.inputs}


def test_the_card_of_a_file(nodes_package, nodes, sd15: Canvas, tmp_path, monkeypatch):
    import folder_paths

    folder = importlib.import_module("folder_paths").folder_names_and_paths["handrawer"]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "handrawer", ([str(tmp_path)], folder[1]))
    folder_paths.filename_list_cache.pop("handrawer", None)
    (tmp_path / "mine.safetensors").write_bytes(sd15.file.read_bytes())
    card = nodes("card").HanDrawerFileCard
    options = card.define_schema().inputs[0].options
    assert options == [nodes("folders").MINI, "mine.safetensors"]
    found = card.execute("mine.safetensors")
    assert "made for: a UNet of 12 encoder blocks" in found.args[0] and found.ui.as_dict()["text"][0] == found.args[0]
    before = card.fingerprint_inputs(handrawer_name="mine.safetensors", other=None)
    assert before == nodes("load").HanDrawerLoad.fingerprint_inputs(handrawer_name="mine.safetensors")
    (tmp_path / "mine.safetensors").write_bytes(b"another")
    assert card.fingerprint_inputs(handrawer_name="mine.safetensors") != before, "the host reads it again"
    with pytest.raises(ValueError, match=r"^handrawer_name: mine\.safetensors is damaged"):
        card.execute("mine.safetensors")
    with pytest.raises(ValueError, match=r"^handrawer_name: gone\.safetensors is not in models/handrawer any more"):
        card.execute("gone.safetensors")
    folder_paths.filename_list_cache.pop("handrawer", None)


def test_hands_of_another_hand_model_are_brought_over(sd15: Canvas, nodes, features):
    """An adapter knows one mesh. Hands of an unknown model are refitted by their joints, and the node says so."""
    network, hands = nodes("network"), sd15.hands.from_json(Hands((one_hand(112, 72),)).to_json())
    same, note = network.refitted(sd15.network, hands)
    assert same is hands and note == ""
    (foreign,) = (frame for frame in hands.map(lambda hand: hand.replace(model="another")).frames)
    brought, note = network.refitted(sd15.network, sd15.hands((foreign,)))
    assert "1 hand of the model another brought over to open" in note and "joints alone" in note
    (hand,) = brought.frames[0].hands
    assert hand.model == "open"
    assert float((hand.joints - hands.frames[0].hands[0].joints).norm(dim=-1).mean()) < 0.003, "metres"
    nobody, note = network.refitted(sd15.network, sd15.hands((foreign.__class__(112, 72),)))
    assert nobody.count == 0 and note.startswith("No hand")
    unknown = copy.copy(sd15.network.adapter.config)
    object.__setattr__(unknown, "hand_model", "mano")
    other = type(sd15.network)("for_mano.safetensors", SimpleNamespace(config=unknown), None, None)
    with pytest.raises(ValueError, match=r"^handrawer: .*'mano', which is not at hand"):
        network.refitted(other, hands)
