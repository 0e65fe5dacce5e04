"""Depth and normals as pictures, made from what the adapter is given: what a T2I-Adapter and a ControlNet are shown."""

from __future__ import annotations

import torch
from torch import Tensor

from handrawer.adapter.grid import overlap_matrix, raster_edges
from handrawer.adapter.inputs import HandInputs

CHANNELS = 4  # depth, normal x, y, z


@torch.no_grad()
def over_picture(raster: Tensor, box: Tensor, size: int) -> Tensor:
    """Rasters [N, C, R, R] over boxes [N, 4] (normalised) as pictures [N, C, size, size], by area; zero elsewhere."""
    with torch.autocast(box.device.type, enabled=False):
        ones = torch.ones_like(box[:, 0])
        edges = raster_edges(torch.zeros_like(ones), ones, size)
        rows = overlap_matrix(edges, raster_edges(box[:, 1], box[:, 3], raster.shape[-2]))
        columns = overlap_matrix(edges, raster_edges(box[:, 0], box[:, 2], raster.shape[-1]))
        return rows[:, None] @ raster @ columns.transpose(1, 2)[:, None]


def nearness(geometry: Tensor) -> Tensor:
    """[N, 1, R, R]: 1 at a hand's nearest point, 0.2 at its farthest, 0 where it is not."""
    covered, depth = geometry[:, :1], geometry[:, 1:2]
    far = torch.where(covered > 0, depth, -1e4).amax((2, 3), keepdim=True)
    near = torch.where(covered > 0, depth, 1e4).amin((2, 3), keepdim=True)
    return covered * (1 - 0.8 * (depth - near) / (far - near).clamp_min(1e-4))


@torch.no_grad()
def condition_pictures(inputs: HandInputs, size: int = 256) -> Tensor:
    """[B, 4, size, size] float32: depth (near is bright) and camera-frame normals of every picture's hands.

    Where there are several hands, each gives what is visible of it.
    """
    with torch.autocast(inputs.box.device.type, enabled=False):
        shown = torch.cat([nearness(inputs.geometry), inputs.geometry[:, 2:5]], 1)
        if inputs.alone:
            return over_picture(shown, inputs.box, size)
        shown = torch.cat([shown, inputs.geometry[:, :1]], 1) * inputs.visible[:, None]
        drawn = over_picture(shown, inputs.box, size)
        total = drawn.new_zeros(inputs.pictures, *drawn.shape[1:]).index_add(0, inputs.picture, drawn)
        return total[:, :CHANNELS] / total[:, CHANNELS:].clamp_min(1)
