"""The rig's landmarks are the model's, slopes are those of differences, and the solver goes downhill."""

import dataclasses

import pytest
import torch

from handrawer.estimate.calibration import rig_to_mediapipe
from handrawer.estimate.rig import SHAPE_LIMIT, State, landmark_rig, rotation_of
from handrawer.estimate.solver import Problem, minimise
from handrawer.hand.anatomy import angles_to_rotations, sample_angles
from handrawer.hand.model import load_open_hand
from handrawer.hand.skinning import axis_angle_to_matrix, pose_hand

OPEN = load_open_hand()
STEP = 1e-6


def random_state(rows=3, seed=0, shapes=OPEN.shape_count) -> State:
    generator = torch.Generator().manual_seed(seed)
    form = torch.cat([sample_angles(rows, generator), torch.randn(rows, shapes, generator=generator)], dim=1)
    turn = axis_angle_to_matrix(torch.randn(rows, 3, generator=generator, dtype=torch.float64))
    return State(form.double(), turn, torch.randn(rows, 3, generator=generator, dtype=torch.float64) * 0.3)


def expected(model, state, calibrated):
    """[R, 21, 3] landmarks with the wrist joint at the origin, by skinning the whole mesh."""
    full = model.to(dtype=torch.float64)
    right, still = torch.zeros(len(state.form), dtype=torch.bool), torch.zeros(len(state.form), 3).double()
    posed = pose_hand(full, angles_to_rotations(full, state.angles), state.shape, state.orientation, still, right)
    return rig_to_mediapipe(full, posed, state.shape, right) if calibrated else posed.joints


@pytest.mark.parametrize("calibrated", [True, False])
def test_landmarks_are_those_of_the_model(calibrated):
    state, rig = random_state(), landmark_rig(OPEN, torch.float64, calibrated)
    points, wrist = rig.points(state)
    assert rig.exact
    assert torch.allclose(points - wrist[:, None], expected(OPEN, state, calibrated), atol=1e-12)
    assert torch.allclose(rig.shortfall(state), torch.zeros(3, 21, 3).double(), atol=1e-12)


def blended(model):
    """A model as MANO is: pose correctives, and tips that hang on two bones."""
    weights = model.weights.clone()
    for finger, tip in enumerate(model.tip_vertices.tolist()):
        weights[tip] = 0
        weights[tip, 3 + 3 * finger], weights[tip, 2 + 3 * finger] = 0.8, 0.2
    correctives = torch.randn(len(model.template), 3, 135, generator=torch.Generator().manual_seed(0)) * 3e-4
    return dataclasses.replace(model, name="blended", weights=weights, pose_dirs=correctives)


def test_the_shortfall_of_a_model_with_correctives_is_told():
    model, state = blended(OPEN), random_state()
    rig = landmark_rig(model, torch.float64, False)
    points, wrist = rig.points(state, rig.shortfall(state))
    assert not rig.exact
    assert torch.allclose(points - wrist[:, None], expected(model, state, False), atol=1e-12)


@pytest.mark.parametrize("extra", [None, torch.full((3, 21, 3), 0.01, dtype=torch.float64)])
def test_slopes_are_those_of_differences(extra):
    state, rig = random_state(), landmark_rig(OPEN, torch.float64)
    points, slopes = rig.points_and_slopes(state, extra)
    assert torch.allclose(points, rig.points(state, extra)[0], atol=1e-12)
    for column in range(slopes.shape[-1]):
        step = torch.zeros(3, slopes.shape[-1] + 3, dtype=torch.float64)
        step[:, column] = STEP
        difference = rig.points(state.moved(step), extra)[0] - rig.points(state.moved(-step), extra)[0]
        assert torch.allclose(difference / (2 * STEP), slopes[..., column], atol=1e-8), column


def problem_near(state, rig, world):
    """The problem whose solution is near the state, with a bit of noise."""
    generator = torch.Generator().manual_seed(5)
    points, _ = rig.points(state)
    placed = points + state.middle[:, None]
    flat = placed[..., :2] / placed[..., 2:]
    count = len(state.form)
    return Problem(
        rig=rig,
        flat=flat + 0.01 * torch.randn(flat.shape, generator=generator, dtype=torch.float64),
        world=points + 0.01 * torch.randn(points.shape, generator=generator, dtype=torch.float64) if world else None,
        weight=torch.rand(count, 21, generator=generator, dtype=torch.float64),
        scale=torch.full((count,), 300.0, dtype=torch.float64),
        world_scale=40.0,
        prior_weight=0.7,
        expected=rig.natural.expand(count, -1),
        known=torch.zeros(count, rig.natural.numel(), dtype=torch.bool),
    )


@pytest.mark.parametrize("world", [True, False])
@pytest.mark.parametrize("cauchy", [True, False])
def test_the_gradient_is_that_of_the_loss(world, cauchy):
    state, rig = random_state(), landmark_rig(OPEN, torch.float64)
    problem = problem_near(state, rig, world)
    _, gradient, matrix = problem.normal_equations(state, cauchy)
    assert torch.allclose(matrix, matrix.mT, atol=1e-6)
    assert float(torch.linalg.eigvalsh(matrix).min()) > 0
    for column in range(gradient.shape[1]):
        step = torch.zeros_like(gradient)
        step[:, column] = STEP
        there, back = (problem.normal_equations(state.moved(s), cauchy)[0] for s in (step, -step))
        slope = (there - back) / (4 * STEP)
        assert torch.allclose(slope, gradient[:, column], rtol=1e-5, atol=1e-3), column


def test_the_solver_improves_keeps_the_limits_and_what_is_known():
    rig = landmark_rig(OPEN, torch.float64)
    truth, start = random_state(4, 1), random_state(4, 1)
    start = start.moved(0.2 * torch.ones(4, start.form.shape[1] + 6, dtype=torch.float64))
    problem = problem_near(truth, rig, True)
    known = problem.known.clone()
    known[:, -1] = True
    problem = dataclasses.replace(problem, known=known)
    before = start.form.clone()
    first = problem.normal_equations(rig.within_limits(start), True)[0]
    state, loss = minimise(problem, start, 20, cauchy=True)
    assert torch.equal(start.form, before), "the start is left alone"
    assert bool((loss < 0.5 * first).all())
    assert torch.allclose(problem.normal_equations(state, True)[0], loss)
    assert bool((state.form >= rig.limits[0] - 1e-12).all() and (state.form <= rig.limits[1] + 1e-12).all())
    assert torch.equal(state.shape[:, -1], before[:, -1].clamp(-SHAPE_LIMIT, SHAPE_LIMIT))
    # Each hand is solved for itself.
    alone, _ = minimise(problem[torch.tensor([2])], start[torch.tensor([2])], 20, cauchy=True)
    assert torch.allclose(alone.form, state.form[2:3], atol=1e-6)


def test_small_turns():
    vectors = torch.cat([torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).double(), torch.zeros(1, 3)])
    assert torch.allclose(rotation_of(vectors), axis_angle_to_matrix(vectors), atol=1e-12)
