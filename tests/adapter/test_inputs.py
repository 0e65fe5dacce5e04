import dataclasses

import pytest
import torch

from handrawer.adapter.inputs import dilate, hand_inputs, hand_inputs_from_tensors, vertex_normals
from handrawer.hand.hands import Frame, Hands, make_hand


def frames(*hands_of_frames, width=256, height=256):
    return Hands(tuple(Frame(width, height, tuple(hands)) for hands in hands_of_frames))


def hand_at(x, z, side="right", width=256, height=256):
    return make_hand(side=side, translation=(x, 0.05, z), width=width, height=height)


def test_the_projected_mesh_lies_inside_the_padded_box(model):
    for width, height in ((256, 256), (512, 256), (300, 500)):
        hand = hand_at(0.02, 0.6, width=width, height=height)
        inputs = hand_inputs(frames([hand], width=width, height=height), model, 64)
        box, tight = inputs.box[0], torch.as_tensor(hand.box)
        pixels = torch.tensor([width, height, width, height])
        margin = (tight - box) * torch.tensor([1, 1, -1, -1]) * pixels
        longer = ((tight[2:] - tight[:2]) * pixels[:2]).max()
        assert torch.allclose(margin, 0.1 * longer.expand(4), rtol=1e-3)
        assert float(inputs.points.min()) > 0 and float(inputs.points.max()) < 1


def test_hands_and_tensors_give_the_same(model):
    hands = [hand_at(0.02, 0.6), hand_at(-0.05, 0.8, "left")]
    by_hands = hand_inputs(frames(*[[h] for h in hands]), model, 64)
    vertices = torch.stack([h.vertices for h in hands]).float()
    focal, cx, cy = torch.tensor([[h.camera.focal, h.camera.cx, h.camera.cy] for h in hands]).unbind(1)
    left = torch.tensor([False, True])
    by_tensors = hand_inputs_from_tensors(vertices, focal, cx, cy, 256, 256, left, model, 64)
    for field in dataclasses.fields(by_hands):
        a, b = getattr(by_hands, field.name), getattr(by_tensors, field.name)
        if isinstance(a, bool):
            assert a == b
        elif field.name in ("geometry", "visible"):
            assert float((a - b).abs().gt(1e-3).float().mean()) < 1e-3
        else:
            assert torch.allclose(a.float(), b.float(), atol=1e-4), field.name


def test_vertices_know_neither_place_nor_size(model):
    near, far = hand_at(0.0, 0.5), hand_at(0.1, 1.5)
    grown = make_hand(translation=(0.0, 0.05, 0.5), width=256, height=256)
    grown = grown.replace(vertices=grown.vertices * 1.3)
    inputs = hand_inputs(frames([near], [far], [grown]), model, 32)
    assert torch.allclose(inputs.vertices[0], inputs.vertices[1], atol=1e-4)
    assert torch.allclose(inputs.vertices[0], inputs.vertices[2], atol=1e-4)
    bone = inputs.vertices[0].norm(dim=-1)
    assert 1.5 < float(bone.max()) < 3, "fingertips are about two bones from the wrist"


def test_a_left_hand_is_the_mirror_image(model):
    """Mirrored about the picture's middle: mirrored rasters, x of normals and depth as they should be."""
    right, left = hand_at(0.0, 0.6), hand_at(0.0, 0.6, "left")
    inputs = hand_inputs(frames([right], [left]), model, 64)
    mirrored = inputs.geometry[1].flip(-1)
    mirrored[2] *= -1  # the normal's x; the rest position names the same point of the hand on both sides
    same = (inputs.geometry[0] - mirrored).abs().amax(0) < 0.05
    assert float(same.float().mean()) > 0.98
    assert inputs.side.tolist() == [1, -1]


def test_geometry_channels(model):
    """Visible normals face the camera, depth is that of the mesh, the rest position that of the vertex drawn there."""
    inputs = hand_inputs(frames([hand_at(0.0, 0.6)], [hand_at(0.0, 0.6, "left")]), model, 128)
    for k in range(2):
        coverage, depth = inputs.geometry[k, 0], inputs.geometry[k, 1]
        normal, rest = inputs.geometry[k, 2:5], inputs.geometry[k, 5:]
        inside = coverage > 0
        assert 0.1 < float(coverage.mean()) < 0.6 and set(coverage.unique().tolist()) == {0, 1}
        assert not bool(inputs.geometry[k, 1:, ~inside].any())
        assert torch.allclose(normal[:, inside].norm(dim=0), torch.ones(int(inside.sum())), atol=1e-3)
        assert float((normal[2][inside] < 0.1).float().mean()) > 0.98
        assert float(depth[inside].min()) >= float(inputs.vertices[k, :, 2].min()) - 1e-3
        tip = int(model.tip_vertices[2])
        x, y = (inputs.points[k, tip] * 128).long().tolist()
        near = rest[:, max(y - 2, 0) : y + 3, x - 2 : x + 3].flatten(1).T
        wanted = model.template[tip] / model.joint_template[7].norm()
        assert float((near - wanted).norm(dim=1).min()) < 0.2


def test_normals_point_outwards_on_both_sides(model):
    vertices = torch.stack([model.template, model.template * torch.tensor([-1.0, 1, 1])])
    normals = vertex_normals(vertices, model.faces, torch.tensor([False, True]))
    grown = vertices + 1e-3 * normals

    def volume(points, sign):
        a, b, c = points[model.faces].unbind(1)
        return float((a * torch.linalg.cross(b, c)).sum()) * sign

    assert volume(grown[0], 1) > volume(vertices[0], 1)
    assert volume(grown[1], -1) > volume(vertices[1], -1)


def test_dilation_grows_by_its_share():
    mask = torch.zeros(1, 100, 100)
    mask[0, 50, 50] = 1
    assert int(dilate(mask).sum()) == 49 and int(dilate(mask, 0.1).sum()) == 21 * 21


def test_disabled_hands_are_left_out(model):
    kept, out = hand_at(0.0, 0.6), hand_at(0.1, 0.6)
    inputs = hand_inputs(frames([kept, out.replace(enabled=False)]), model, 32)
    assert len(inputs) == 1 and inputs.alone


def test_no_hand_at_all(model):
    inputs = hand_inputs(frames([], []), model, 32)
    assert len(inputs) == 0 and inputs.pictures == 2 and inputs.alone


def test_pictures_sizes_and_weights(model):
    hands = Hands((Frame(256, 128, ()), Frame(64, 512, (hand_at(0.0, 0.6).replace(weight=0.3),))))
    inputs = hand_inputs(hands, model, 32)
    assert inputs.sizes.tolist() == [[256, 128], [64, 512]]
    assert inputs.picture.tolist() == [1] and inputs.weight.tolist() == pytest.approx([0.3])


def visible(front, model, **changes):
    """The visible shares of a near and a far hand in one picture, in that order."""
    near, far = hand_at(0.0, 0.55), hand_at(0.03, 0.7, "left")
    near, far = near.replace(**changes.get("near", {})), far.replace(**changes.get("far", {}))
    inputs = hand_inputs(frames([near, far] if front else [far, near]), model, 64)
    shares = inputs.visible.mean((1, 2)) / dilate(inputs.geometry[:, 0]).mean((1, 2))
    return shares if front else shares.flip(0)


def test_the_nearer_hand_hides_the_farther_one(model):
    near, far = visible(True, model).tolist()
    assert near == 1 and far < 0.8
    assert torch.equal(visible(False, model), visible(True, model))


def test_z_order_overrides_depth(model):
    near, far = visible(True, model, far={"z_order": 1}).tolist()
    assert far == 1 and near < 0.8
    near, far = visible(True, model, near={"z_order": 5}, far={"z_order": 5}).tolist()
    assert near == 1 and far < 0.8


def test_hands_of_other_pictures_hide_nothing(model):
    hands = frames([hand_at(0.0, 0.55)], [hand_at(0.03, 0.7, "left"), hand_at(0.9, 0.7)])
    inputs = hand_inputs(hands, model, 64)
    assert not inputs.alone
    assert torch.equal(inputs.visible, dilate(inputs.geometry[:, 0]))


def test_a_hand_is_the_same_beside_others(model):
    one, other = hand_at(0.0, 0.55), hand_at(0.03, 0.7, "left")
    alone, both = hand_inputs(frames([one]), model, 32), hand_inputs(frames([one], [other]), model, 32)
    for name in ("vertices", "points", "box", "geometry", "visible"):
        assert torch.equal(getattr(alone, name)[0], getattr(both, name)[0])


def test_hands_of_another_model_are_refused(model):
    with pytest.raises(ValueError, match="refit"):
        hand_inputs(frames([hand_at(0.0, 0.6)]), dataclasses.replace(model, name="mano"), 32)


def test_hands_behind_the_camera_are_refused(model):
    hand = hand_at(0.0, 0.6)
    vertices = hand.vertices.clone()
    vertices[3, 2] = -0.5
    with pytest.raises(ValueError, match="camera"):
        hand_inputs(frames([hand.replace(vertices=vertices)]), model, 32)


def test_inputs_move_and_are_taken_apart(model):
    inputs = hand_inputs(frames([hand_at(0.0, 0.6)], [hand_at(0.0, 0.7)]), model, 32).to("cpu")
    second = inputs.hand(slice(1, 2))
    assert torch.equal(second.box, inputs.box[1:]) and second.pictures == 2
