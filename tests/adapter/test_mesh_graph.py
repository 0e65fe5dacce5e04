import dataclasses

import pytest
import torch

from handrawer.adapter.mesh_graph import build_graph, joint_regressor, mesh_constants, topology_hash
from handrawer.hand.skinning import axis_angle_to_matrix, pose_hand


@pytest.fixture(scope="module")
def graph(model):
    return build_graph(model)


def connected(edges, nodes):
    label = torch.arange(nodes)
    a, b = edges.long()
    while True:
        low = torch.minimum(label[a], label[b])
        new = label.scatter_reduce(0, a, low, "amin").scatter_reduce(0, b, low, "amin")
        if torch.equal(new, label):
            return not bool(label.any())
        label = new


def test_every_graph_hangs_together(graph):
    """Nails are loose pieces of the mesh; the graph ties them on."""
    assert graph.sizes == (len(graph.rest), 256, 64)
    for edges, nodes in zip(graph.edges, graph.sizes, strict=True):
        assert bool((edges[0] < edges[1]).all()) and int(edges.max()) == nodes - 1
        assert connected(edges, nodes)


def test_every_cluster_has_members(graph):
    for cluster, count in zip(graph.clusters, graph.sizes[1:], strict=True):
        assert torch.equal(torch.unique(cluster), torch.arange(count, dtype=torch.int32))


def test_clusters_follow_the_surface(model, graph):
    """Clusters never join two fingers beyond the webs between them, although fingers lie close in space."""
    beyond = (model.parts > 0) & ((model.parts - 1) % 3 > 0)  # second and third bone of each finger
    fingers = (model.parts + 2) // 3  # 1 thumb ... 5 little finger
    last = graph.clusters[1].long()[graph.clusters[0].long()]
    assert all(len(torch.unique(fingers[beyond & (last == k)])) <= 1 for k in range(64))
    spread = [torch.cdist(graph.rest[last == k], graph.rest[last == k]).max() for k in range(64)]
    assert float(torch.stack(spread).max()) < 1.0


def test_graphs_are_the_same_every_time(model, graph):
    again = build_graph(dataclasses.replace(model))
    for a, b in zip((*graph.edges, *graph.clusters), (*again.edges, *again.clusters), strict=True):
        assert torch.equal(a, b)


def test_too_many_clusters_are_refused(model):
    with pytest.raises(ValueError, match="ask for fewer"):
        build_graph(model, (5000, 64))


def test_topology_hash_tells_meshes_apart(model):
    assert topology_hash(model) == topology_hash(model.to(dtype=torch.float64))
    assert topology_hash(dataclasses.replace(model, faces=model.faces[1:])) != topology_hash(model)


def test_regressor_finds_the_joints_of_posed_and_shaped_hands(model):
    generator = torch.Generator().manual_seed(0)

    def turns(*shape):
        return axis_angle_to_matrix(torch.randn(*shape, 3, generator=generator) * 0.5)

    left = torch.tensor([False, True] * 4)
    shape = torch.randn(8, model.shape_count, generator=generator).clamp(-2, 2)
    posed = pose_hand(model, turns(8, 15), shape, turns(8) @ turns(8), torch.randn(8, 3, generator=generator), left)
    found = torch.einsum("kv,nvc->nkc", joint_regressor(model), posed.vertices)
    bone = (posed.joints[:, 9] - posed.joints[:, 0]).norm(dim=1)
    error = (found - posed.joints[:, [0, 9]]).norm(dim=-1) / bone[:, None]
    assert float(error.max()) < 0.1
    unshaped = pose_hand(model, turns(8, 15), shape * 0, turns(8), torch.randn(8, 3, generator=generator), left)
    found = torch.einsum("kv,nvc->nkc", joint_regressor(model), unshaped.vertices)
    assert float((found - unshaped.joints[:, [0, 9]]).norm(dim=-1).max()) < 0.005


def test_constants_are_made_once(model):
    assert mesh_constants(model) is mesh_constants(model)
    assert mesh_constants(dataclasses.replace(model)) is not mesh_constants(model)
