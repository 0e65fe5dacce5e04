"""A hand model of the user's own in the estimate: MediaPipe's points on it, and the fit of it."""

from pathlib import Path

import pytest
import torch

from handrawer.estimate.calibration import landmark_offsets, mediapipe_points, mediapipe_points_2d, offsets_of
from handrawer.estimate.fit import fit_hands
from handrawer.hand import model as model_module
from handrawer.hand.anatomy import sample_angles
from handrawer.hand.convert import convert_hands
from handrawer.hand.hands import Frame, Hand, Hands, make_hand
from handrawer.hand.mano import load_mano
from handrawer.hand.model import HandModel, load_open_hand
from tests.hand.mano_like import write_npz

COUNT = 24


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> HandModel:
    path: Path = write_npz(tmp_path_factory.mktemp("mano") / "MANO_RIGHT.npz")
    return load_mano(path, register=False)


@pytest.fixture(autouse=True)
def mano(loaded: HandModel, monkeypatch: pytest.MonkeyPatch) -> HandModel:
    monkeypatch.setattr(model_module, "_REGISTERED", {"mano": loaded})
    return loaded


def random_hands(model: HandModel) -> list[Hand]:
    generator = torch.Generator().manual_seed(0)
    return [
        make_hand(
            model,
            angles=angles,
            side=("left", "right")[i % 2],
            orientation=torch.randn(3, generator=generator),
            translation=(0.0, 0.0, 0.6),
            shape=0.5 * torch.randn(model.shape_count, generator=generator),
            width=512,
            height=512,
        )
        for i, angles in enumerate(sample_angles(COUNT, generator))
    ]


def test_the_open_hand_keeps_its_own_offsets():
    assert torch.equal(offsets_of(load_open_hand()), landmark_offsets("open"))


def test_mediapipe_s_points_lie_on_the_same_places_of_another_model(mano: HandModel):
    """Hands of the open model, carried over: their points must stay, although the rig's joints do not."""
    hands = random_hands(load_open_hand())
    over = convert_hands(Hands((Frame(512, 512, tuple(hands)),)), mano).frames[0].hands
    wanted = torch.stack([mediapipe_points(hand) for hand in hands])
    found = torch.stack([mediapipe_points(hand) for hand in over])
    away = (found - wanted).norm(dim=-1) * 1000
    by_joints = (torch.stack([hand.joints for hand in over]) - wanted).norm(dim=-1) * 1000
    assert float(away.mean()) < 1.5 and float(by_joints.mean()) > 4, (away.mean(), by_joints.mean())


def test_another_model_is_fitted_to_landmarks(mano: HandModel):
    """The fit asks a model for nothing that MANO's has not."""
    hands = random_hands(mano)
    points = torch.stack([mediapipe_points_2d(hand, 512, 512) for hand in hands])
    world = torch.stack([mediapipe_points(hand) for hand in hands])
    fitted = fit_hands(mano, points, 512, 512, [hand.side for hand in hands], world - world.mean(dim=1, keepdim=True))
    assert {hand.model for hand in fitted} == {"mano"} and fitted[0].vertices.shape == (778, 3)
    again = torch.stack([mediapipe_points_2d(hand, 512, 512) for hand in fitted])
    assert float((again - points).norm(dim=-1).mean()) * 512 < 1.5
    joints = torch.stack([a.joints - a.joints[0] - b.joints + b.joints[0] for a, b in zip(fitted, hands, strict=True)])
    assert float(joints.norm(dim=-1).mean()) < 0.008
