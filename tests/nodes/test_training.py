"""Training on the canvas, in process: the host's own small models, VAE and text encoder."""

import importlib
from types import SimpleNamespace

import pytest
import torch

from handrawer.hand.hands import Hands, hand_from_gesture
from tests.nodes.small_bases import make_model, make_unet


@pytest.fixture(scope="module")
def training(nodes_package, nodes):
    return nodes("training")


@pytest.fixture(scope="module")
def own(nodes):
    """Hands as the plugin knows them."""
    package = nodes("network").__package__.removesuffix(".nodes")
    cls = importlib.import_module(f"{package}.handrawer.hand.hands").Hands

    def make(*gestures: str, width: int = 64, height: int = 64):
        frames = tuple(hand_from_gesture(name, "left", width, height, size=0.8) for name in gestures)
        return cls.from_json(Hands(frames).to_json())

    return make


@pytest.fixture
def run(training):
    """Runs the node as the host does: lists in, inference mode on."""

    def execute(**given):
        usual = {"steps": 3, "batch": 2, "learning_rate": 0.01, "seed": 1, "captions": "a hand"}
        given = {name: [value] if not isinstance(value, list) else value for name, value in {**usual, **given}.items()}
        node = training.HanDrawerTrain
        clone = type(node.__name__, (node,), {"hidden": SimpleNamespace(unique_id="7")})
        with torch.inference_mode():
            return clone.execute(**given).args

    return execute


def pictures(count: int = 2, width: int = 64, height: int = 64):
    with torch.inference_mode():
        return torch.rand(count, height, width, 3, generator=torch.Generator().manual_seed(0))


def state(model):
    return {name: tensor.clone() for name, tensor in model.model.state_dict().items()}


def test_an_adapter_is_trained_and_the_model_stays_as_it_was(run, mini, own, nodes):
    model, clip, vae = mini
    before, wanted = state(model), [p.requires_grad for p in model.model.parameters()]
    trained, note = run(model=model, clip=clip, vae=vae, images=pictures(), hands=own("open", "fist"))
    after = state(model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [p.requires_grad for p in model.model.parameters()] == wanted and not model.model_options.get("patches")
    assert "3 steps on 2 pictures" in note
    told = trained.metadata.training
    assert told["steps"] == 3 and told["samples"] == 6 and told["prediction"] == "v_prediction"
    projections = [p for name, p in trained.adapter.named_parameters() if ".sites." in name]
    assert any(float(p.abs().max()) > 0 for p in projections)  # they start at zero
    network = nodes("network")
    with torch.inference_mode():
        features = network.encode(trained, own("open"))
        assert max(float(m.abs().max()) for m in features.maps(8, 8, None).blocks.values()) > 1e-4


def test_it_goes_on_with_an_adapter(run, mini, own):
    model, clip, vae = mini
    given = {"model": model, "clip": clip, "vae": vae, "images": pictures(), "hands": own("open", "fist")}
    first, _ = run(**given)
    second, _ = run(**given, handrawer=first, learning_rate=0.000001, steps=1)
    for (name, a), (_, b) in zip(first.adapter.named_parameters(), second.adapter.named_parameters(), strict=True):
        assert torch.allclose(a.float(), b.float(), atol=2e-3), name


def test_what_does_not_fit_is_said(run, mini, own):
    model, clip, vae = mini
    base = {"model": model, "clip": clip, "vae": vae}
    with pytest.raises(ValueError, match="images: connect pictures"):
        run(**base)
    with pytest.raises(ValueError, match="hands of 3 pictures, but 2"):
        run(**base, images=pictures(), hands=own("open", "open", "open"))
    with pytest.raises(ValueError, match="captions: there are 3 of them for 2"):
        run(**base, images=pictures(), hands=own("open", "fist"), captions="a\nb\nc")
    with pytest.raises(ValueError, match="folder: There are no shards"):
        run(**base, folder="/nowhere")


@pytest.mark.parametrize("name", ["sd15", "sdxl_v"])
def test_the_step_is_that_of_diffusers(name, nodes, training):
    """The canvas's model gives the same clean latent, and the same gradients of the maps, as diffusers' UNet."""
    from handrawer.adapter.hooks import apply_residuals
    from handrawer.adapter.unet import describe_diffusers
    from tests.nodes.small_bases import LAYOUTS, call

    unet = make_unet(name)
    with torch.inference_mode():
        patcher = make_model(unet, name)
    canvas = nodes("training_model").CanvasModel(patcher)
    layout, generator = LAYOUTS[name], torch.Generator().manual_seed(3)
    assert canvas.description.prediction == layout.prediction
    a, s = canvas.levels
    clean, noise = torch.randn(2, 2, 4, 8, 12, generator=generator).unbind(0)
    time = torch.tensor([40, 800])
    context, pooled = torch.randn(1, 77, layout.context, generator=generator), torch.randn(1, 1280, generator=generator)
    noisy = a[time][:, None, None, None] * clean + s[time][:, None, None, None] * noise
    text = canvas.text([context, {"pooled_output": pooled}])
    text = type(text).join([text, text])
    description = describe_diffusers(unet, layout.prediction)
    levels = {0: (8, 12), 1: (4, 6), 2: (2, 3), 3: (1, 2)}
    maps = {
        site.block: torch.randn(2, site.channels, *levels[site.level], generator=generator).requires_grad_()
        for site in description.sites
    }
    with canvas.loaded(), canvas.adding(maps):
        found = canvas.predict(noisy, time, text, None)
        found.square().mean().backward()
    ours = {block: gradient(residual).clone() for block, residual in maps.items()}
    for residual in maps.values():
        residual.grad = None
    with apply_residuals(unet, description, maps):
        output = call(unet, name, noisy, time, context.expand(2, -1, -1), pooled.expand(2, -1))
    scale, other = a[time][:, None, None, None], s[time][:, None, None, None]
    if layout.prediction == "epsilon":
        wanted = (noisy - other * output) / scale
    else:
        wanted = scale * noisy - other * output
    wanted.square().mean().backward()
    assert torch.allclose(found, wanted, atol=1e-3, rtol=1e-3)
    for block, residual in maps.items():
        wanted = gradient(residual)
        assert torch.allclose(ours[block], wanted, rtol=2e-2, atol=float(wanted.abs().max()) * 2e-3)


def gradient(tensor: torch.Tensor) -> torch.Tensor:
    assert tensor.grad is not None
    return tensor.grad


def test_save_never_overwrites_and_loads_again(training, load_adapter, tmp_path, monkeypatch, nodes):
    import folder_paths

    network = load_adapter(trained=True)
    monkeypatch.setattr(folder_paths, "get_output_directory", lambda: str(tmp_path))
    names = [training.HanDrawerSave.execute(network, "mine", "output").args[0] for _ in range(2)]
    assert len(set(names)) == 2 and all(name.startswith(str(tmp_path)) for name in names)
    again = nodes("network").load_network(names[0])
    for (name, a), (_, b) in zip(network.adapter.named_parameters(), again.adapter.named_parameters(), strict=True):
        assert torch.allclose(a, b, rtol=2e-3, atol=1e-6), name
    with pytest.raises(ValueError, match="filename_prefix"):
        training.HanDrawerSave.execute(network, "../out", "output")
    with pytest.raises(ValueError, match="name is empty"):
        training.HanDrawerSave.execute(network, " ", "output")


@pytest.mark.parametrize("how", ["interrupted", "not finite"])
def test_what_does_not_come_to_its_end_is_kept(how, run, mini, own, training, tmp_path, monkeypatch):
    import comfy.model_management as mm
    import comfy.utils
    import folder_paths

    model, clip, vae = mini
    monkeypatch.setattr(folder_paths, "get_folder_paths", lambda name: [str(tmp_path)])

    error = mm.InterruptProcessingException() if how == "interrupted" else FloatingPointError("The loss of step 3")

    class Cancelled(comfy.utils.ProgressBar):
        def update_absolute(self, value, total=None, preview=None):
            if value == 2:
                raise error

    monkeypatch.setattr(comfy.utils, "ProgressBar", Cancelled)
    with pytest.raises(type(error)):
        run(model=model, clip=clip, vae=vae, images=pictures(), hands=own("open", "fist"), steps=50)
    (file,) = tmp_path.glob("*.safetensors")
    card = importlib.import_module(f"{training.__package__.removesuffix('.nodes')}.handrawer.adapter.card")
    assert card.card_values(file)["training"]["steps"] == 2
