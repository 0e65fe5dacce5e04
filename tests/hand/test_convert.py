"""Hands carried over from one model to another, and back."""

from pathlib import Path

import pytest
import torch

from handrawer.hand import model as model_module
from handrawer.hand.anatomy import sample_angles
from handrawer.hand.convert import convert_hands, refit_for
from handrawer.hand.hands import Frame, Hand, Hands, make_hand
from handrawer.hand.mano import load_mano
from handrawer.hand.model import HandModel, load_open_hand
from tests.hand.mano_like import _decimated, write_npz

COUNT = 24


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> HandModel:
    path: Path = write_npz(tmp_path_factory.mktemp("mano") / "MANO_RIGHT.npz")
    return load_mano(path, register=False)


@pytest.fixture(autouse=True)
def mano(loaded: HandModel, monkeypatch: pytest.MonkeyPatch) -> HandModel:
    monkeypatch.setattr(model_module, "_REGISTERED", {"mano": loaded})
    return loaded


def random_hands(model: HandModel, shapes: float, seed: int = 0) -> Hands:
    """Plausible poses in any orientation, both sides, one a picture."""
    generator = torch.Generator().manual_seed(seed)
    angles = sample_angles(COUNT, generator)
    made = [
        make_hand(
            model, angles=angles[i], side=("left", "right")[i % 2], orientation=torch.randn(3, generator=generator),
            translation=(0.05, -0.02, 0.6), shape=shapes * torch.randn(model.shape_count, generator=generator),
            width=640, height=480, confidence=0.5, notes=("made",),
        ).replace(weight=0.7, enabled=i % 3 > 0, z_order=i)
        for i in range(COUNT)
    ]  # fmt: skip
    return Hands(tuple(Frame(640, 480, (hand,)) for hand in made))


def all_hands(hands: Hands) -> list[Hand]:
    return [hand for frame in hands.frames for hand in frame.hands]


def millimetres(one: Hands, other: Hands, name: str = "joints") -> torch.Tensor:
    pairs = zip(all_hands(one), all_hands(other), strict=True)
    return torch.stack([(getattr(a, name) - getattr(b, name)).norm(dim=-1) for a, b in pairs]) * 1000


def on_the_same_surface(hands: Hands) -> torch.Tensor:
    """[N, 778, 3] the vertices that the two models share."""
    kept = torch.from_numpy(_decimated()[0])
    return torch.stack([h.vertices[kept] if h.model == "open" else h.vertices for h in all_hands(hands)])


@pytest.mark.parametrize("source, target", [("open", "mano"), ("mano", "open")])
@pytest.mark.parametrize("shapes, joints, surface", [(0.0, 1.2, 1.2), (1.0, 1.6, 2.0)])
def test_there_and_back(source: str, target: str, shapes: float, joints: float, surface: float, mano: HandModel):
    """Mean and greatest errors in millimetres; the models' joints lie 2 mm apart, and their shapes differ."""
    models = {"open": load_open_hand(), "mano": mano}
    hands = random_hands(models[source], shapes)
    there = convert_hands(hands, models[target])
    back = convert_hands(there, models[source])
    assert {hand.model for hand in all_hands(there)} == {target}
    for hand in all_hands(there):
        assert hand.shape.shape == (models[target].shape_count,)
        assert hand.vertices.shape == models[target].template.shape
    assert float(millimetres(hands, there).mean()) < 2.2 and float(millimetres(hands, there).max()) < 6
    skin = (on_the_same_surface(hands) - on_the_same_surface(there)).norm(dim=-1) * 1000
    assert float(skin.mean()) < surface and float(skin.max()) < 8
    assert float(millimetres(hands, back).mean()) < joints and float(millimetres(hands, back).max()) < 5
    assert float(millimetres(hands, back, "vertices").mean()) < joints


def test_everything_else_stays(mano: HandModel):
    hands = random_hands(load_open_hand(), 0.5)
    for before, after in zip(all_hands(hands), all_hands(convert_hands(hands, mano)), strict=True):
        for name in ("side", "camera", "confidence", "weight", "enabled", "z_order", "notes"):
            assert getattr(after, name) == getattr(before, name), name
        # 2D and box follow the new joints and vertices.
        assert float((after.joints_2d - before.joints_2d).norm(dim=-1).max()) < 0.02
        assert float((after.box - before.box)[[0, 1, 2]].abs().max()) < 0.2  # the open hand has a stub of forearm


def test_the_parameters_are_those_of_the_vertices(mano: HandModel):
    """A converted hand is an ordinary one: posed again from its parameters, it is the same."""
    there = convert_hands(random_hands(load_open_hand(), 0.5), mano)
    again = Hands.from_json(there.to_json())
    assert '"vertices"' not in there.to_json()
    assert float(millimetres(there, again, "vertices").max()) == 0


def test_hands_of_the_model_stay_as_they_are(mano: HandModel):
    one, other = random_hands(mano, 0.5).frames[0].hands[0], random_hands(load_open_hand(), 0.5).frames[1].hands[0]
    mixed = Hands((Frame(640, 480, (one, other)), Frame(640, 480, ())))
    converted = convert_hands(mixed, mano)
    assert converted.frames[0].hands[0] is one and converted.frames[0].hands[1].model == "mano"
    assert converted.frames[1].hands == () and len(converted.frames) == 2


def test_one_at_a_time_is_the_same_as_all_at_once(mano: HandModel):
    hands = random_hands(load_open_hand(), 0.5)
    together = convert_hands(hands, mano)
    alone = Hands(tuple(convert_hands(Hands((frame,)), mano).frames[0] for frame in hands.frames))
    assert float(millimetres(together, alone, "vertices").max()) < 0.1


def test_without_the_source_model_the_joints_decide(mano: HandModel, monkeypatch: pytest.MonkeyPatch):
    hands = random_hands(mano, 0.0)
    monkeypatch.setattr(model_module, "_REGISTERED", {})
    there = convert_hands(hands, load_open_hand())
    assert float(millimetres(hands, there).mean()) < 1.5
    skin = (on_the_same_surface(hands) - on_the_same_surface(there)).norm(dim=-1) * 1000
    assert float(skin.mean()) < 4
    # Nor is another file of the same name taken for it.
    monkeypatch.setattr(model_module, "_REGISTERED", {"mano": load_open_hand()})
    assert float(millimetres(there, convert_hands(hands, load_open_hand())).max()) == 0


def test_refit_for_says_what_it_did(mano: HandModel, monkeypatch: pytest.MonkeyPatch):
    hands = random_hands(load_open_hand(), 0.0)
    same, note = refit_for(hands, "open")
    assert same is hands and note == ""
    one = Hands(hands.frames[:1])
    refitted, note = refit_for(one, "mano")
    assert note == "1 hand of the model open brought over to mano." and refitted.frames[0].hands[0].model == "mano"
    _, note = refit_for(Hands(hands.frames[:2]), "mano")
    assert note == "2 hands of the model open brought over to mano."
    monkeypatch.setattr(model_module, "_REGISTERED", {})
    _, note = refit_for(refitted, "open")
    assert note.endswith("brought over to open by the joints alone, since the model they came from is not at hand.")
    with pytest.raises(ValueError, match="needed as mano, which is not at hand: load that hand model first"):
        refit_for(hands, "mano")


def test_in_inference_mode(mano: HandModel):
    """Nodes run in it; what they make can be used outside."""
    with torch.inference_mode():
        there = convert_hands(Hands(random_hands(load_open_hand(), 0.5).frames[:2]), mano)
    assert not there.frames[0].hands[0].vertices.is_inference()


def test_a_hand_before_the_camera_alone(mano: HandModel):
    hand = random_hands(load_open_hand(), 0.0).frames[0].hands[0]
    near = hand.replace(translation=hand.translation - torch.tensor([0.0, 0.0, 0.6]),
                        joints=hand.joints - torch.tensor([0.0, 0.0, 0.6]),
                        vertices=hand.vertices - torch.tensor([0.0, 0.0, 0.6]))  # fmt: skip
    with pytest.raises(ValueError, match="move it away from the camera"):
        convert_hands(Hands((Frame(640, 480, (near,)),)), mano)
