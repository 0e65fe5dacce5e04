"""A linear probe: what a latent says of the hand in its picture, read by one 3 x 3 convolution.

Its weights are the ridge regression of the wanted maps on the training latents, in closed form: nothing is trained by
gradients, and the base is not touched.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.ablation.pictures import nearness, over_picture
from handrawer.adapter.inputs import HandInputs

RIDGE = 1e-3


@torch.no_grad()
def wanted_maps(inputs: HandInputs, cells: int = 32) -> Tensor:
    """[N, 5, cells, cells]: coverage, nearness and the three normals, averaged over each latent cell."""
    geometry = inputs.geometry.float()
    return over_picture(torch.cat([geometry[:, :1], nearness(geometry), geometry[:, 2:5]], 1), inputs.box, cells)


@dataclass(frozen=True)
class Probe:
    """weight [C, 4, 3, 3], bias [C]; precision [C], one over the variance that the probe leaves unexplained; share
    [C] of the variance that it explains; norm: the largest gain of precision-weighted P^T P."""

    weight: Tensor
    bias: Tensor
    precision: Tensor
    share: Tensor
    norm: float

    def __call__(self, latents: Tensor) -> Tensor:
        """Latents [N, 4, h, w] to maps [N, C, h, w]."""
        return F.conv2d(latents, self.weight, self.bias, padding=1)

    def back(self, error: Tensor) -> Tensor:
        """The transposed map, of precision-weighted errors [N, C, h, w] to latents."""
        return F.conv_transpose2d(error * self.precision[:, None, None], self.weight, padding=1)


def _patches(latents: Tensor) -> Tensor:
    """[N, 4, h, w] to [N h w, 37]: 3 x 3 patches and a one."""
    columns = F.unfold(latents, 3, padding=1).transpose(1, 2).flatten(0, 1)
    return torch.cat([columns, torch.ones_like(columns[:, :1])], 1)


@torch.no_grad()
def fit_probe(latents: Tensor, maps: Tensor, chunk: int = 256) -> Probe:
    """The probe that explains maps [N, C, h, w] by latents [N, 4, h, w] best, in double precision."""
    products, targets, squares, sums, count = 0.0, 0.0, 0.0, 0.0, 0
    for x, y in zip(latents.split(chunk), maps.split(chunk), strict=True):
        rows, values = _patches(x.float()).double(), y.permute(0, 2, 3, 1).flatten(0, 2).double()
        products, targets = products + rows.T @ rows, targets + rows.T @ values
        squares, sums, count = squares + (values**2).sum(0), sums + values.sum(0), count + len(rows)
    assert isinstance(products, Tensor) and isinstance(targets, Tensor) and isinstance(squares, Tensor)
    eye = RIDGE * count * torch.eye(len(products), device=products.device, dtype=products.dtype)
    solution = torch.linalg.solve(products + eye, targets)  # [37, C]
    rest = (squares - 2 * (solution * targets).sum(0) + (solution * (products @ solution)).sum(0)) / count
    spread = squares / count - (sums / count) ** 2
    weight = solution[:-1].T.reshape(-1, latents.shape[1], 3, 3).float()
    probe = Probe(weight, solution[-1].float(), (1 / rest).float(), (1 - rest / spread).float(), 0.0)
    return Probe(probe.weight, probe.bias, probe.precision, probe.share, _norm(probe, latents.shape[-1]))


def _norm(probe: Probe, cells: int) -> float:
    """By power iteration."""
    x = torch.randn(1, probe.weight.shape[1], cells, cells, generator=torch.Generator().manual_seed(0))
    x = x.to(probe.weight.device)
    gain = 1.0
    for _ in range(30):
        y = probe.back(F.conv2d(x, probe.weight, padding=1))
        gain = float(y.norm() / x.norm())
        x = y / y.norm()
    return gain
