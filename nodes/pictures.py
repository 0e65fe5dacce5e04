"""Conversions at the door: the host's IMAGE and MASK are float [B, H, W, C] and [B, H, W] in 0..1."""

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from ..handrawer.hand.camera import Placement


def read_picture(path) -> Tensor:
    """A picture file as IMAGE [1, H, W, 3], upright and without alpha.

    Raises:
        ValueError: the file is no picture.
    """
    try:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture).convert("RGB")
    except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError for some damaged files
        raise ValueError(f"picture: {path} cannot be read as a picture ({error}).") from error
    return torch.from_numpy(np.asarray(upright, dtype=np.float32) / 255)[None]


def check_image(image: Tensor, name: str) -> Tensor:
    """An IMAGE as float32 [B, H, W, 3]; alpha is dropped, grey is repeated.

    Raises:
        ValueError: naming the input, if it is no IMAGE.
    """
    if not isinstance(image, Tensor) or image.ndim != 4 or image.shape[-1] not in (1, 3, 4) or 0 in image.shape:
        shape = list(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise ValueError(f"{name}: this is no picture ({shape}); connect an IMAGE of shape [batch, height, width, 3].")
    return image[..., :3].float().expand(*image.shape[:3], 3)


def check_mask(mask: Tensor, name: str) -> Tensor:
    """A MASK as float32 [B, H, W] in 0..1; a single one may come without the batch's axis.

    Raises:
        ValueError: naming the input, if it is no MASK.
    """
    if not isinstance(mask, Tensor) or mask.ndim not in (2, 3) or 0 in mask.shape:
        shape = list(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"{name}: this is no mask ({shape}); connect a MASK of shape [batch, height, width].")
    return mask.reshape(-1, *mask.shape[-2:]).float().clamp(0, 1)


def place_picture(image: Tensor, placement: Placement, width: int, height: int) -> Tensor:
    """A picture moved like its hands.

    Args:
        image: [B, H, W, C].
        placement: from its pixels to those of the new picture.
        width, height: of the new picture.

    Returns:
        [B, height, width, C]; black where the old picture does not reach.
    """
    scale = placement.scale
    pixels = image.movedim(-1, 1).float()
    if scale < 1:  # shrinking averages over the pixels that it merges; sampling alone would drop them
        size = [max(1, round(side * scale)) for side in pixels.shape[-2:]]
        pixels = interpolate(pixels, size=size, mode="bilinear", antialias=True, align_corners=False)
    # Places in the old picture, -1..1 from edge to edge, whatever its size has become by now.
    x = ((torch.arange(width, device=image.device) + 0.5 - placement.offset_x) / (scale * image.shape[2])) * 2 - 1
    y = ((torch.arange(height, device=image.device) + 0.5 - placement.offset_y) / (scale * image.shape[1])) * 2 - 1
    grid = torch.stack([x[None].expand(height, -1), y[:, None].expand(-1, width)], dim=-1)
    grid = grid[None].expand(len(image), -1, -1, -1)
    moved = grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    inside = (x.abs() <= 1)[None, :] & (y.abs() <= 1)[:, None]
    return (moved * inside).movedim(1, -1)
