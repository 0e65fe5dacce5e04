"""Pictures moved by the transforms that move their hands."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..hand.transform import Transform


def transform_picture(pictures: Tensor, transform: Transform, background: float | None = 0.0) -> Tensor:
    """Pictures moved as their hands are: [B, H, W, C] -> [B, target height, target width, C], float32.

    Crops, pads, flips and quarter turns by whole pixels copy pixels, bit for bit. Else pixels are averaged where the
    picture shrinks and interpolated where it grows or turns.

    Args:
        pictures: of the transform's source size; masks may come as [B, H, W, 1].
        background: where the old pictures do not reach; None: the nearest pixel of their edge.

    Raises:
        ValueError: pictures of another size.
    """
    if tuple(pictures.shape[1:3]) != (transform.source_height, transform.source_width):
        raise ValueError(
            f"The transform is for pictures of {transform.source_width} x {transform.source_height} pixels, "
            f"these have {pictures.shape[2]} x {pictures.shape[1]}."
        )
    pictures = pictures.to(torch.float32)
    whole = float(transform.offset_x).is_integer() and float(transform.offset_y).is_integer()
    if transform.scale == 1 and transform.right_angled and whole:
        return _copied(pictures, transform, background)
    return _sampled(pictures, transform, background)


def _copied(pictures: Tensor, transform: Transform, background: float | None) -> Tensor:
    moved = pictures.flip(2) if transform.mirrored else pictures
    turns = [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)].index((transform.cosine, transform.sine))
    moved = torch.rot90(moved, turns, dims=(2, 1))  # clockwise
    # Where the turned picture's left top corner comes to lie: the least coordinates of its corners.
    width, height = transform.source_width, transform.source_height
    corners = transform.pixels(torch.tensor([[0, 0], [width, 0], [0, height], [width, height]]))
    left, top = (round(value) for value in corners.amin(dim=0).tolist())
    if background is None:
        rows = (torch.arange(transform.target_height) - top).clamp(0, moved.shape[1] - 1)
        columns = (torch.arange(transform.target_width) - left).clamp(0, moved.shape[2] - 1)
        return moved[:, rows.to(moved.device)][:, :, columns.to(moved.device)]
    size = (len(pictures), transform.target_height, transform.target_width, pictures.shape[-1])
    page = pictures.new_full(size, background)
    here, there = [], []
    for start, old, new in ((top, moved.shape[1], size[1]), (left, moved.shape[2], size[2])):
        first, last = min(max(start, 0), new), min(max(start + old, 0), new)
        there.append(slice(first, last))
        here.append(slice(first - start, last - start))
    page[:, there[0], there[1]] = moved[:, here[0], here[1]]
    return page


def _sampled(pictures: Tensor, transform: Transform, background: float | None) -> Tensor:
    device = pictures.device
    pixels = rearrange(pictures, "b h w c -> b c h w")
    if transform.scale < 1:  # sampling alone would drop the pixels that shrinking merges
        size = [max(1, round(side * transform.scale)) for side in pixels.shape[-2:]]
        pixels = F.interpolate(pixels, size=size, mode="bilinear", antialias=True, align_corners=False)
    # Where each new pixel's centre lies in the old pictures, -1..1 from edge to edge.
    rows = torch.arange(transform.target_height, dtype=torch.float64) + 0.5
    columns = torch.arange(transform.target_width, dtype=torch.float64) + 0.5
    centres = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
    old = transform.inverse().pixels(centres)
    grid = old / torch.tensor([transform.source_width, transform.source_height], dtype=torch.float64) * 2 - 1
    inside = (grid.abs() <= 1 + 1e-9).all(dim=-1)
    grid = grid.to(device, torch.float32).expand(len(pixels), -1, -1, -1)
    moved = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    if background is not None:
        moved = torch.where(inside.to(device), moved, background)
    return rearrange(moved, "b c h w -> b h w c")
