"""The graph convolutional network that turns a hand's vertices into a few dozen tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .mesh_graph import MeshGraph


@dataclass(frozen=True)
class GraphSizes:
    """Shapes of the graphs' buffers: nodes and edges of the three graphs, finest first."""

    nodes: tuple[int, int, int]
    edges: tuple[int, int, int]

    @staticmethod
    def of(graph: MeshGraph) -> GraphSizes:
        a, b, c = graph.edges
        return GraphSizes(graph.sizes, (a.shape[1], b.shape[1], c.shape[1]))


@dataclass(frozen=True)
class GraphMatrices:
    """means: three [V, V], the mean over a node's neighbours; pools: two [K, V], the mean over a cluster's members."""

    means: tuple[Tensor, ...]
    pools: tuple[Tensor, ...]


class GraphConvolution(nn.Module):
    """Residual graph convolution: x + W2 gelu(W1 [n(x), A n(x) - n(x)]), A the mean over the neighbours, n LayerNorm.

    The difference to the neighbours is a Laplacian: it tells bending from position.
    """

    def __init__(self, width: int, operations: Any) -> None:
        super().__init__()
        self.norm = operations.LayerNorm(width)
        self.mix = operations.Linear(2 * width, width)
        self.out = operations.Linear(width, width)

    def forward(self, x: Tensor, mean: Tensor) -> Tensor:
        """x [N, V, C], mean [V, V] -> [N, V, C]."""
        h = self.norm(x)
        h = torch.cat([h, average(h, mean) - h], dim=-1)
        return x + self.out(nn.functional.gelu(self.mix(h)))


def average(x: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums over the nodes: x [N, V, C], weights [U, V] -> [N, U, C], as one matrix product."""
    return torch.matmul(x.transpose(1, 2), weights.to(x).T).transpose(1, 2)


class MeshEncoder(nn.Module):
    """Vertices of a hand -> tokens, by residual graph convolutions on the mesh and on two coarser graphs.

    The graphs are buffers and travel in the checkpoint; `load_graph` fills them when a new adapter is made.
    """

    INPUTS = 9  # position, position in the box (2), rest position, side

    def __init__(
        self, sizes: GraphSizes, widths: tuple[int, int, int], layers: tuple[int, int, int], operations: Any = nn
    ) -> None:
        super().__init__()
        self.register_buffer("rest", torch.zeros(sizes.nodes[0], 3))
        self.register_buffer("regressor", torch.zeros(2, sizes.nodes[0]))
        for i in range(3):
            self.register_buffer(f"edges_{i}", torch.zeros(2, sizes.edges[i], dtype=torch.int32))
        for i in range(2):
            self.register_buffer(f"cluster_{i}", torch.zeros(sizes.nodes[i], dtype=torch.int32))
        self.nodes = sizes.nodes
        # Below the first graph the clusters' mean inputs are seen again beside the pooled features.
        inputs = (self.INPUTS, widths[0] + self.INPUTS, widths[1] + self.INPUTS)
        self.enter = nn.ModuleList(operations.Linear(i, w) for i, w in zip(inputs, widths, strict=True))
        self.levels = nn.ModuleList(
            nn.ModuleList(GraphConvolution(width, operations) for _ in range(count))
            for width, count in zip(widths, layers, strict=True)
        )
        self.norm = operations.LayerNorm(widths[2])

    def load_graph(self, graph: MeshGraph) -> None:
        """Fill the buffers from a mesh's graphs."""
        tensors = {"rest": graph.rest, "regressor": graph.regressor}
        tensors |= {f"edges_{i}": edges for i, edges in enumerate(graph.edges)}
        tensors |= {f"cluster_{i}": cluster for i, cluster in enumerate(graph.clusters)}
        for name, tensor in tensors.items():
            self.get_buffer(name).copy_(tensor)

    def forward(self, vertices: Tensor, points: Tensor, side: Tensor, matrices: GraphMatrices | None = None) -> Tensor:
        """Tokens [N, T, C] of N hands.

        vertices  [N, V, 3], camera frame, relative to the wrist, in bone lengths
        points    [N, V, 2], the vertices' places in the hand's box, 0..1
        side      [N], +1 for right hands, -1 for left hands
        matrices  of this encoder, or None to make them for this call

        Runs in the vertices' own precision, also under autocast: neighbouring vertices differ by less than bfloat16
        can tell.
        """
        with torch.autocast(vertices.device.type, enabled=False):
            return self._encode(vertices, points.to(vertices), side, self.matrices() if matrices is None else matrices)

    def matrices(self) -> GraphMatrices:
        """The averages over neighbours and clusters as matrices, to be made once for several calls."""
        means = tuple(self._neighbour_mean(i) for i in range(3))
        return GraphMatrices(means, tuple(self._pooling(i) for i in range(2)))

    def _encode(self, vertices: Tensor, points: Tensor, side: Tensor, matrices: GraphMatrices) -> Tensor:
        rest = self.get_buffer("rest").to(vertices).expand(len(vertices), -1, -1)
        signs = side.to(vertices)[:, None, None].expand(-1, vertices.shape[1], 1)
        inputs = torch.cat([vertices, 2 * points - 1, rest, signs], dim=-1)
        x = self.enter[0](inputs)
        for i in range(3):
            if i:
                pool = matrices.pools[i - 1].to(inputs)
                inputs = average(inputs, pool)
                x = self.enter[i](torch.cat([average(x, pool), inputs], dim=-1))
            mean = matrices.means[i].to(inputs)
            for convolution in self.levels[i]:  # pyright: ignore[reportGeneralTypeIssues]
                x = convolution(x, mean)
        return self.norm(x)

    def _neighbour_mean(self, level: int) -> Tensor:
        """[V, V] float32, rows are the mean over a node's neighbours."""
        a, b = self.get_buffer(f"edges_{level}").long()
        matrix = torch.zeros(self.nodes[level], self.nodes[level], device=a.device)
        # With ones on the same device: a number would be copied there, which a recorded CUDA graph cannot do.
        ones = torch.ones_like(a, dtype=matrix.dtype)
        matrix.index_put_((a, b), ones)
        matrix.index_put_((b, a), ones)
        return matrix / matrix.sum(1, keepdim=True).clamp(min=1)

    def _pooling(self, level: int) -> Tensor:
        """[K, V] float32, rows are the mean over a cluster's members."""
        cluster = self.get_buffer(f"cluster_{level}").long()
        matrix = torch.zeros(self.nodes[level + 1], len(cluster), device=cluster.device)
        members = torch.arange(len(cluster), device=cluster.device)
        matrix.index_put_((cluster, members), torch.ones_like(cluster, dtype=matrix.dtype))
        return matrix / matrix.sum(1, keepdim=True).clamp(min=1)
