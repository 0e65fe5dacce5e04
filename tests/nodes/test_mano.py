"""Hand models of the user's own on the canvas: loaded, kept, and hands carried over to them."""

import importlib
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.hand.mano_like import write_npz, write_official


@pytest.fixture
def folder(plugin: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """models/hand_models of the host, empty; and no model known but the open hand."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", dict(folder_paths.folder_names_and_paths))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    folder_paths.folder_names_and_paths.pop("hand_models", None)
    monkeypatch.setattr(importlib.import_module(f"{plugin.__name__}.handrawer.hand.model"), "_REGISTERED", {})
    (tmp_path / "hand_models").mkdir()
    return tmp_path / "hand_models"


@pytest.fixture
def mano(nodes: Callable[[str], ModuleType], folder: Path) -> ModuleType:
    return nodes("mano")


@pytest.fixture
def inference() -> Iterator[None]:
    """As the host runs nodes."""
    with torch.inference_mode():
        yield


def load(mano: ModuleType, file: str, keep: bool = False, mend_left: bool = True):
    model, note = mano.HanDrawerLoadHandModel.execute(file=file, keep=keep, mend_left=mend_left).args
    return model, note


def gesture(plugin: ModuleType, name: str = "peace", side: str = "left"):
    hands = importlib.import_module(f"{plugin.__name__}.handrawer.hand.hands")
    return hands.Hands((hands.hand_from_gesture(name, side, 320, 240),))


def test_files_are_listed_and_loaded(mano: ModuleType, folder: Path, inference: None):
    write_official(folder / "MANO_RIGHT.pkl")
    write_npz(folder / "MANO_LEFT.npz", "left")
    (folder / "notes.txt").write_text("no model")
    combo = mano.HanDrawerLoadHandModel.define_schema().inputs[0]
    assert combo.options == [mano.OPEN, "MANO_LEFT.npz", "MANO_RIGHT.pkl"]
    right, note = load(mano, "MANO_RIGHT.pkl")
    left, _ = load(mano, "MANO_LEFT.npz")
    assert right.name == "mano" and note == "" and not right.template.is_inference()
    assert torch.allclose(right.shape_dirs, left.shape_dirs, atol=1e-7)
    as_it_is, _ = load(mano, "MANO_LEFT.npz", mend_left=False)
    assert not torch.allclose(right.shape_dirs, as_it_is.shape_dirs, atol=1e-3)
    assert load(mano, mano.OPEN)[0].name == "open"


def test_kept_as_safetensors_and_never_overwritten(mano: ModuleType, folder: Path, inference: None):
    write_official(folder / "MANO_RIGHT.pkl")
    first, note = load(mano, "MANO_RIGHT.pkl", keep=True)
    assert note == "Kept as MANO_RIGHT.safetensors."
    kept = folder / "MANO_RIGHT.safetensors"
    before = kept.read_bytes()
    again, note = load(mano, "MANO_RIGHT.safetensors")
    assert torch.equal(first.template, again.template) and note == ""
    assert (
        load(mano, "MANO_RIGHT.pkl", keep=True)[1] == "MANO_RIGHT.safetensors is there already and was left as it is."
    )
    assert kept.read_bytes() == before


def test_an_edited_file_is_read_again(mano: ModuleType, folder: Path):
    path = write_npz(folder / "a.npz")
    stamp = mano.HanDrawerLoadHandModel.fingerprint_inputs
    before = stamp(file="a.npz", keep=False, mend_left=True)
    assert before == stamp(file="a.npz", keep=False, mend_left=True)
    assert before != stamp(file="a.npz", keep=False, mend_left=False)
    path.write_bytes(path.read_bytes() + b" ")
    assert before != stamp(file="a.npz", keep=False, mend_left=True)
    assert stamp(file="gone.npz", keep=False, mend_left=True) == "gone.npz"


class Evil:
    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return exec, (f"open({str(self.target)!r}, 'w').write('x')",)


def test_wrong_files_are_sentences_and_run_nothing(mano: ModuleType, folder: Path, inference: None):
    (folder / "evil.pkl").write_bytes(pickle.dumps({"v_template": Evil(folder / "done")}))
    (folder / "text.npz").write_text("hello")
    for file, words in {
        "evil.pkl": r"^file: evil\.pkl cannot be read as a hand model: it asks for 'builtins\.exec'",
        "text.npz": r"^file: text\.npz cannot be read",
        "gone.pkl": r"^file: gone\.pkl is not in models/hand_models any more",
    }.items():
        with pytest.raises(ValueError, match=words):
            load(mano, file)
    assert not (folder / "done").exists()


def test_hands_are_carried_over_and_back(plugin: ModuleType, mano: ModuleType, folder: Path, inference: None):
    write_official(folder / "MANO_RIGHT.pkl")
    model, _ = load(mano, "MANO_RIGHT.pkl")
    with torch.inference_mode(False):
        hands = gesture(plugin)
    there, note = mano.HanDrawerConvertHands.execute(hands=hands, hand_model=model).args
    assert note == "1 hand of the model open brought over to mano."
    assert there.frames[0].hands[0].model == "mano" and there.frames[0].hands[0].side == "left"
    open_hand, _ = load(mano, mano.OPEN)
    back, _ = mano.HanDrawerConvertHands.execute(hands=there, hand_model=open_hand).args
    away = back.frames[0].hands[0].joints - hands.frames[0].hands[0].joints
    assert float(away.norm(dim=-1).max()) < 0.004
    same, note = mano.HanDrawerConvertHands.execute(hands=hands, hand_model=open_hand).args
    assert note == "" and same is hands


def test_the_one_file_is_found_where_the_model_is_needed(mano: ModuleType, folder: Path, inference: None):
    assert mano.found_model("mano") is None and mano.found_model("open").name == "open"
    write_npz(folder / "MANO_RIGHT.npz")
    found = mano.found_model("mano")
    assert found.name == "mano" and not found.template.is_inference() and mano.found_model("mano") is found
    assert mano.found_model("other") is None


def test_which_of_two_files_is_asked_for(mano: ModuleType, folder: Path, inference: None):
    write_npz(folder / "a.npz")
    write_npz(folder / "b.npz")
    assert mano.found_model("mano") is None


@pytest.fixture
def mano_network(nodes: Callable[[str], ModuleType], mano: ModuleType, folder: Path, mini_folder: Path, tmp_path: Path):
    """An adapter of the random small model that was made for the hand model in models/hand_models."""
    from diffusers import UNet2DConditionModel

    from handrawer.adapter.checkpoint import save
    from handrawer.adapter.handrawer import HanDrawer
    from handrawer.adapter.unet import describe_diffusers
    from handrawer.hand.mano import load_mano

    model = load_mano(write_npz(folder / "MANO_RIGHT.npz"), register=False)
    base = describe_diffusers(UNet2DConditionModel.from_pretrained(mini_folder / "unet"))
    save(tmp_path / "adapter.safetensors", HanDrawer.create(base, model), training={})
    return nodes("network").load_network(tmp_path / "adapter.safetensors")


def test_an_adapter_of_mano_takes_hands_of_the_open_model(plugin: ModuleType, nodes, mano_network, folder: Path):
    """Encode Hands finds the model, and carries the hands over."""
    hands = gesture(plugin)
    with torch.inference_mode():
        features, note = nodes("adapter").HanDrawerEncodeHands.execute(handrawer=mano_network, hands=hands).args
    assert note == "1 hand of the model open brought over to mano."
    assert features.hands == 1 and bool(torch.isfinite(features.tokens.tokens).all())


def test_an_adapter_of_mano_without_the_file(plugin: ModuleType, nodes, mano_network, folder: Path):
    (folder / "MANO_RIGHT.npz").unlink()
    with pytest.raises(ValueError, match=r"^handrawer: .*'mano', which is not at hand; put its file into models/hand_"):
        nodes("adapter").HanDrawerEncodeHands.execute(handrawer=mano_network, hands=gesture(plugin))
