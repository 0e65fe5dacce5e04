import torch

from handrawer.adapter.gcn import GraphSizes, MeshEncoder, average
from handrawer.adapter.mesh_graph import build_graph


def encoder(model, clusters=(128, 32)):
    graph = build_graph(model, clusters)
    torch.manual_seed(0)
    made = MeshEncoder(GraphSizes.of(graph), (8, 16, 24), (1, 1, 2))
    made.load_graph(graph)
    return made


def test_neighbour_means_by_hand(model):
    made = encoder(model)
    mean = made._neighbour_mean(0)
    edges = made.get_buffer("edges_0").long()
    node = 700
    around = torch.cat([edges[1][edges[0] == node], edges[0][edges[1] == node]])
    x = torch.randn(2, len(mean), 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(average(x, mean)[:, node], x[:, around].mean(1), atol=1e-6)


def test_pooling_is_the_mean_of_a_cluster(model):
    made = encoder(model)
    members = made.get_buffer("cluster_0") == 17
    x = torch.randn(2, len(members), 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(average(x, made._pooling(0))[:, 17], x[:, members].mean(1), atol=1e-6)


def test_tokens_stand_for_their_part_of_the_hand(model):
    """Moving a fingertip changes the tokens near it and leaves those far from it as they are."""
    made = encoder(model)
    vertices = model.template[None] * 10
    points = vertices[..., :2] * 0.1
    with torch.no_grad():
        before = made(vertices, points, torch.ones(1))
        moved = vertices.clone()
        tip = int(model.tip_vertices[1])
        moved[0, tip] += 1
        changed = (made(moved, points, torch.ones(1)) - before).abs().amax(-1)[0]
    own = made.get_buffer("cluster_1").long()[made.get_buffer("cluster_0").long()[tip]]
    assert before.shape == (1, 32, 24)
    assert int(changed.argmax()) == int(own)
    assert int((changed == 0).sum()) > 16


def test_position_in_the_box_and_side_count(model):
    made = encoder(model)
    vertices = model.template[None] * 10
    points = vertices[..., :2] * 0.1
    with torch.no_grad():
        tokens = made(vertices, points, torch.ones(1))
        assert not torch.allclose(made(vertices, points + 0.1, torch.ones(1)), tokens)
        assert not torch.allclose(made(vertices, points, -torch.ones(1)), tokens)


def test_autocast_does_not_reach_the_graph(model):
    made = encoder(model)
    vertices = model.template[None] * 10
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        inside = made(vertices, vertices[..., :2], torch.ones(1))
    with torch.no_grad():
        assert torch.equal(made(vertices, vertices[..., :2], torch.ones(1)), inside)
