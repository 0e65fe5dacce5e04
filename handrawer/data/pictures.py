"""Picture files as they go into shards: their own bytes where those can stay, encoded anew where not."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
GREY = 128  # behind transparent pictures
QUALITY = 95
ORIENTATION = 0x0112  # EXIF


def usable(data: bytes, longest: int = 0) -> tuple[Image, str, bytes]:
    """A picture, upright, RGB: the image, the ending for the shard, and the bytes for it.

    The file's own bytes stay where every reader would see the same picture: JPEG, PNG or WebP, RGB of 8 bits or grey,
    not turned by EXIF, not larger than wanted.

    Args:
        longest: pixels; a longer side is reduced to it. 0 leaves every size.

    Raises:
        ValueError, OSError, SyntaxError: it cannot be decoded.
    """
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(data)) as file:
        ending = ENDINGS.get(file.format or "", "")
        turned = file.getexif().get(ORIENTATION, 1) != 1
        plain = file.mode in ("RGB", "L") and getattr(file, "n_frames", 1) == 1
        image = rgb(ImageOps.exif_transpose(file))
    scale = longest / max(image.size) if longest else 1.0
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    elif ending and plain and not turned:
        return image, ending, data
    ending = "jpg" if ending == "jpg" else "png"
    return image, ending, encoded(image, ending)


def rgb(image: Image) -> Image:
    """8-bit RGB of a picture in any mode: 16 bits are reduced, NaN is black, transparency lies on grey."""
    from PIL import Image

    if image.mode in ("I", "I;16", "I;16B", "I;16L", "F"):
        values = np.nan_to_num(np.asarray(image).astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        scale = 255.0 if image.mode == "F" else 255.0 / 65535.0
        grey = Image.fromarray(np.clip(values * scale, 0, 255).round().astype(np.uint8))
        return grey.convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        behind = Image.new("RGBA", image.size, (GREY, GREY, GREY, 255))
        return Image.alpha_composite(behind, image).convert("RGB")
    return image.convert("RGB")


def to_tensor(image: Image) -> Tensor:
    """[H, W, 3] float32 in [0, 1]."""
    return torch.from_numpy(np.array(image)).float() / 255


def encoded(image: Image, ending: str) -> bytes:
    """The bytes of a picture file; the same picture gives the same bytes."""
    file = io.BytesIO()
    if ending == "jpg":
        image.save(file, "JPEG", quality=QUALITY)
    else:
        image.save(file, ending.upper())
    return file.getvalue()


def png8(values: Tensor) -> bytes:
    """[H, W] or [H, W, 3] float in [0, 1] as an 8-bit PNG."""
    from PIL import Image

    return encoded(Image.fromarray((values.clamp(0, 1) * 255).round().to(torch.uint8).numpy()), "png")


def png16(values: Tensor) -> bytes:
    """[H, W] float in [0, 1] as a 16-bit grey PNG."""
    from PIL import Image

    return encoded(Image.fromarray((values.clamp(0, 1) * 65535).round().numpy().astype(np.uint16)), "png")
