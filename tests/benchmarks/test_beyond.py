"""What is beyond hands, and lighter: the gripper, the probe, the distillation's arithmetic."""

import pytest
import torch

from benchmarks.ablation.variants import make_adapter
from benchmarks.beyond import gripper
from benchmarks.beyond.machine import overlap, read_angles
from benchmarks.beyond.probe import fit_probe
from benchmarks.beyond.table import machine_rows
from benchmarks.beyond.zero_shot import steering
from benchmarks.lighter.distill import STEPS, SUBSTEPS, ddim, landing_velocity, trailing_times
from benchmarks.lighter.lowrank import LowRank
from handrawer.adapter.handrawer import HanDrawer
from handrawer.adapter.unet import describe_diffusers
from handrawer.mini.modules import make_unet


def test_the_grippers_faces_point_outward():
    model = gripper.make_gripper()
    a, b, c = model.template[model.faces].unbind(1)
    volume = float((a * torch.linalg.cross(b, c)).sum() / 6)
    exact = sum(8 * h[0] * h[1] * h[2] for _, h, _, _ in gripper.PARTS.values())
    assert volume == pytest.approx(exact, rel=1e-3)


def test_the_jaws_open_and_their_angles_are_read_from_the_silhouette():
    model = gripper.make_gripper()
    scene = gripper.draw_scenes(1, torch.arange(3), model)
    rest = gripper.pose_gripper(model, torch.tensor([[0.0] * 4, [0.8, 0, 0.8, 0]]), torch.eye(3).expand(2, 3, 3),
                                torch.zeros(2, 3)).vertices  # fmt: skip
    torch.testing.assert_close(rest[0], model.template, atol=1e-6, rtol=0)
    width = rest[..., 0].amax(1) - rest[..., 0].amin(1)
    assert width[1] > 1.5 * width[0]
    masks = gripper.coverage(scene, scene.posed.vertices, model.faces)
    assert bool((overlap(masks, masks) == 1).all())
    error = (read_angles(scene, masks, model) - scene.angles).abs().rad2deg()
    assert float(error.median()) < 8  # half a step of the grid is 4 degrees


def test_the_adapter_takes_the_gripper_as_it_takes_a_hand():
    model = gripper.make_gripper()
    adapter = make_adapter(HanDrawer, describe_diffusers(make_unet(), "v_prediction"), model, gripper.CLUSTERS).eval()
    scene = gripper.draw_scenes(2, torch.arange(2), model)
    inputs = gripper.scene_inputs(scene, model)
    found = adapter.residuals(adapter.encode(inputs), 32, 32)
    assert found[0].shape == (2, 64, 32, 32) and adapter.config.hand_model == "gripper"
    covered = inputs.geometry[:, 0].flatten(1).mean(1)
    assert bool((covered > 0.05).all())


def test_a_linear_relation_is_found_and_steered_to():
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(64, 4, 8, 8, generator=generator)
    kernel = torch.randn(2, 4, 3, 3, generator=generator) / 4
    maps = torch.nn.functional.conv2d(latents, kernel, padding=1) + 0.3
    probe = fit_probe(latents, maps + 0.05 * torch.randn(maps.shape, generator=generator))
    torch.testing.assert_close(probe.weight, kernel, atol=0.02, rtol=0)
    assert float(probe.share.min()) > 0.95
    other = latents.roll(1, 0)
    steered = steering(probe, maps, 3.0)(other, slice(0, 64), 1.0)
    before, after = ((probe(x) - maps).square().mean() for x in (other, steered))
    assert after < 0.2 * before


def test_landing_velocity_is_the_step_read_backwards():
    generator = torch.Generator().manual_seed(1)
    x, v = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    angle = torch.tensor([1.2, 0.7], dtype=torch.float64)
    (a, a_next), (s, s_next) = angle.cos(), angle.sin()
    landed = ddim(x, v, a, s, a_next, s_next)
    torch.testing.assert_close(landing_velocity(x, landed, a, s, a_next, s_next), v)
    assert trailing_times(STEPS) == trailing_times(STEPS * SUBSTEPS)[::SUBSTEPS] == [999, 749, 499, 249]


def test_low_rank_changes_are_nothing_at_first_and_merge():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(4, 8, 3), torch.nn.Flatten(), torch.nn.Linear(8 * 4, 3))
    change = LowRank(network, 2)
    x = torch.randn(2, 4, 4, 4)
    merged = change.merged(network, torch.float32)
    torch.testing.assert_close(merged(x), network(x))
    for up in change.up:
        torch.nn.init.normal_(up)
    called = torch.func.functional_call(network, change.weights(network, torch.float32), (x,))
    torch.testing.assert_close(change.merged(network, torch.float32)(x), called)
    assert not torch.allclose(called, network(x))
    assert set(change.tensors()) == {f"{k}.{s}" for k in ("0.weight", "2.weight") for s in ("up", "down")}


def test_the_machine_parts_table_means_over_seeds_and_poses():
    def one(overlap: float, degrees: float):
        return {"overlap": [overlap] * 3, "overlap with another": [0.1] * 3, "degrees": [[degrees] * 4] * 3}

    trained = {"adapter": {"title": "all", "parameters": 1_590_000, "steps": 300}}
    found = {"ceiling": one(0.9, 2.0), "text": one(0.1, 25.0), "adapter.21": one(0.5, 6.0), "adapter.22": one(0.7, 8.0)}
    rows = machine_rows({"trained": trained, "found": found})
    assert [row[0] for row in rows][1:] == ["adapter: all (1.59 M, 300 steps)", "text alone"]
    assert rows[0][1] == "0.900 [0.900, 0.900]" and rows[1][1].startswith("0.600 [0.5") and rows[1][3].startswith("7.0")
