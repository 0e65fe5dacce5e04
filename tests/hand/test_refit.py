"""The fit to joints and surface in 3D: exact derivatives, exact recovery, and what belongs together of two models."""

from pathlib import Path

import pytest
import torch

from handrawer.hand import refit as refit_module
from handrawer.hand.anatomy import angles_to_rotations, sample_angles
from handrawer.hand.correspondence import FARTHEST, correspond, finger_of, nearest, posed, rest_state, spread
from handrawer.hand.mano import mano_model
from handrawer.hand.mano_files import read_mano
from handrawer.hand.model import HandModel, load_open_hand
from handrawer.hand.refit import RefitState, Wanted, reduced, refit
from handrawer.hand.skinning import axis_angle_to_matrix, pose_hand
from tests.hand.mano_like import write_npz


@pytest.fixture(scope="module")
def mano(tmp_path_factory: pytest.TempPathFactory) -> HandModel:
    path: Path = write_npz(tmp_path_factory.mktemp("mano") / "MANO_RIGHT.npz")
    return mano_model(read_mano(path))


@pytest.fixture(params=["open", "mano"])
def model(request: pytest.FixtureRequest, mano: HandModel) -> HandModel:
    return mano if request.param == "mano" else load_open_hand()


def random_state(model: HandModel, n: int, seed: int = 0) -> RefitState:
    generator = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64)

    rotations = angles_to_rotations(model.to(dtype=torch.float64), sample_angles(n, generator).double())
    return RefitState(rotations, normal(n, model.shape_count), axis_angle_to_matrix(normal(n, 3)), normal(n, 3))


def test_a_reduced_model_poses_as_the_whole_one(model: HandModel):
    chosen = torch.arange(0, 700, 37)
    small, state = reduced(model, chosen), random_state(model, 4)
    right = torch.zeros(4, dtype=torch.bool)
    whole = pose_hand(model.to(dtype=torch.float64), state.rotations, state.shape, state.orientation,
                      state.translation, right)  # fmt: skip
    part = refit_module._pose(small, state, torch.zeros(21, 3, dtype=torch.float64))
    assert torch.allclose(part.joints, whole.joints, atol=3e-7)  # float32's weights
    assert torch.allclose(part.vertices[:, 5:], whole.vertices[:, chosen], atol=3e-7)


def test_the_derivatives_are_exact(model: HandModel):
    """Against central differences: turns, shift and shape, with pose correctives, offsets and priors."""
    small = reduced(model, torch.arange(0, 700, 90))
    state, start = random_state(model, 2, 1), random_state(model, 2, 2)
    generator = torch.Generator().manual_seed(3)
    joints, surface = torch.randn(2, 21, 3, generator=generator), torch.randn(2, 8, 3, generator=generator)
    wanted = Wanted(joints.double(), surface.double(), 0.002, 0.003)
    offsets = 0.01 * torch.randn(21, 3, generator=generator).double()
    found = refit_module._jacobian(small, refit_module._pose(small, state, offsets), state, wanted)

    def residuals(step: torch.Tensor) -> torch.Tensor:
        moved = state.moved(step.expand(2, -1))
        return refit_module._residuals(refit_module._pose(small, moved, offsets), moved, start, wanted)

    steps = 1e-6 * torch.eye(found.shape[2], dtype=torch.float64)
    numeric = torch.stack([(residuals(step) - residuals(-step)) / 2e-6 for step in steps], dim=2)
    assert torch.allclose(found, numeric, atol=1e-3 * float(numeric.abs().max()) * 1e-3)


def test_a_hand_of_the_same_model_is_found_again(model: HandModel, monkeypatch: pytest.MonkeyPatch):
    """From the flat hand at its place, given joints and surface: all that the points can tell."""
    monkeypatch.setattr(refit_module, "SHAPE_SIGMA", 1e3)
    monkeypatch.setattr(refit_module, "_TURN_SCALE", 1e3)
    chosen = spread(model.to(dtype=torch.float64), 120)
    small, state = reduced(model, chosen), random_state(model, 5, 4)
    there = refit_module._pose(small, state, torch.zeros(21, 3, dtype=torch.float64))
    eye = torch.eye(3, dtype=torch.float64)
    start = RefitState(eye.expand(5, 15, 3, 3), torch.zeros_like(state.shape), state.orientation, state.translation)
    found = refit(small, start, Wanted(there.joints, there.vertices[:, 5:], 0.002, 0.002))
    again = refit_module._pose(small, found, torch.zeros(21, 3, dtype=torch.float64))
    assert (again.joints - there.joints).norm(dim=-1).max() < 1e-4
    assert (again.vertices - there.vertices).norm(dim=-1).max() < 1e-4


def test_offsets_shift_the_joints_with_their_bones(mano: HandModel):
    small, state = reduced(mano, torch.zeros(0, dtype=torch.int64)), random_state(mano, 3, 5)
    offsets = torch.zeros(21, 3, dtype=torch.float64)
    offsets[6] = torch.tensor([0.0, 0.0, 0.01])
    plain = refit_module._pose(small, state, torch.zeros_like(offsets)).joints
    moved = refit_module._pose(small, state, offsets).joints - plain
    assert torch.allclose(moved[:, 6].norm(dim=1), torch.full((3,), 0.01, dtype=torch.float64))
    assert float(moved[:, [i for i in range(21) if i != 6]].abs().max()) == 0


def test_places_lie_on_the_same_finger_near_and_facing_alike(mano: HandModel):
    source, target = load_open_hand().to(dtype=torch.float64), mano.to(dtype=torch.float64)
    matched = correspond(load_open_hand(), mano)
    assert matched is correspond(load_open_hand(), mano), "found once"
    assert len(matched.vertices) > 100 and matched.target.template.shape == (len(matched.vertices) + 5, 3)
    assert torch.allclose(matched.shares.sum(dim=1), torch.ones(len(matched.shares)).double())
    assert float(matched.shares.min()) > -1e-9
    own, theirs = finger_of(target.parts)[matched.vertices], finger_of(source.parts)[matched.corners]
    assert bool((own[:, None] == theirs).any(dim=1).all())
    # The file's hand is the open hand, smaller: its vertices are the open hand's, its joints are shifted by 2 mm.
    places = (source.template[matched.corners] * matched.shares[..., None]).sum(dim=1)
    from tests.hand.mano_like import _decimated

    kept = torch.from_numpy(_decimated()[0])[matched.vertices]
    away = (places - source.template[kept]).norm(dim=1)
    assert float(away.mean()) < 0.003 and float(away.max()) < FARTHEST
    assert 0.001 < float(matched.offsets[[5, 9, 13, 17]].norm(dim=1).mean()) < 0.004


def test_nearest_places_of_a_model_on_itself():
    """A vertex that is moved along its normal comes back to where it was."""
    model = load_open_hand().to(dtype=torch.float64)
    at_rest = posed(model, rest_state(model, torch.zeros(21))).vertices[0]
    some = spread(model, 60)
    corners, shares, close = nearest(model, at_rest, model, at_rest, some)
    places = (at_rest[corners] * shares[..., None]).sum(dim=1)
    assert bool(close.all()) and float((places - at_rest[some]).norm(dim=1).max()) < 1e-9


def test_the_forearm_has_no_place():
    model = load_open_hand()
    assert not set(spread(model, 200).tolist()) & set(model.regions["forearm"].tolist())
