"""Pictures from and to files, and contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..hand.camera import Placement

ALPHA_GREY = 0.5
"""Transparent pixels are laid over this grey: it shows neither a white nor a black cut-out as a bright or dark hand."""


def load_picture(path: str | Path) -> Tensor:
    """Read a picture file as float32 [1, H, W, 3], 0..1, turned upright by its EXIF orientation.

    Grey pictures get three equal channels, 16-bit ones keep their range, and transparency is composited over
    ALPHA_GREY and dropped. Of an animation the first frame is taken.
    Raises FileNotFoundError, and ValueError if the file is not a picture that Pillow can read.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}: give the path of a picture.")
    try:
        with Image.open(path) as file:
            picture = ImageOps.exif_transpose(file)
            return _to_tensor(picture)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        # Pillow reports a broken PNG as SyntaxError.
        raise ValueError(
            f"{path.name} is not a picture that can be read ({error}): give a PNG, JPEG or WebP."
        ) from error


def _to_tensor(picture: Image) -> Tensor:
    import numpy as np

    if picture.mode in ("I", "I;16", "I;16B", "I;16L", "F"):
        grey = torch.from_numpy(np.asarray(picture).astype(np.float32))
        # Pillow keeps 16-bit files in these modes; their range is 0..65535 whatever the container.
        scale = 1.0 if picture.mode == "F" else 65535.0
        return (grey / scale).clamp(0, 1)[None, ..., None].expand(-1, -1, -1, 3).contiguous()
    has_alpha = "A" in picture.getbands() or "transparency" in picture.info
    values = torch.from_numpy(np.array(picture.convert("RGBA" if has_alpha else "RGB"))).to(torch.float32) / 255
    if has_alpha:
        values = values[..., :3] * values[..., 3:] + ALPHA_GREY * (1 - values[..., 3:])
    return values[None]


def save_picture(path: str | Path, picture: Tensor) -> Path:
    """Write one picture, [H, W, 3], [H, W, 1], [H, W] or with a leading 1, float 0..1, as an 8-bit file.

    The ending of the path chooses the format (PNG is lossless). Missing folders are made. Values are clamped and
    rounded to the nearest step. Returns the path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    to_pil(picture).save(path)
    return path


def to_pil(picture: Tensor) -> Image:
    """One picture (shapes as in save_picture) as an 8-bit RGB image of Pillow; grey becomes RGB."""
    from PIL import Image

    if picture.shape[:1] == (1,) and (picture.ndim == 4 or picture.shape[-1] not in (1, 3)):
        picture = picture[0]
    if picture.ndim == 2:
        picture = picture[..., None]
    if picture.ndim != 3 or picture.shape[-1] not in (1, 3):
        raise ValueError(f"a picture must be [H, W, 3], [H, W, 1] or [H, W], not {list(picture.shape)}")
    values = picture.detach().to("cpu", torch.float32).nan_to_num().clamp(0, 1).expand(-1, -1, 3)
    return Image.fromarray((values * 255).round().to(torch.uint8).numpy())


def place_picture(pictures: Tensor, placement: Placement, background: float = 0.0) -> Tensor:
    """Pictures moved as their hands are: [B, H, W, C] -> [B, target height, target width, C], float32 0..1.

    placement   from the pictures' pixels to those of the new ones
    background  where the old pictures do not reach

    Pixels are averaged where the pictures shrink, and interpolated where they grow.
    """
    scale, device = placement.scale, pictures.device
    pixels = rearrange(pictures.to(torch.float32), "b h w c -> b c h w")
    if scale < 1:  # sampling alone would drop the pixels that shrinking merges
        size = [max(1, round(side * scale)) for side in pixels.shape[-2:]]
        pixels = F.interpolate(pixels, size=size, mode="bilinear", antialias=True, align_corners=False)
    # Places in the old pictures, -1..1 from edge to edge, whatever their size has become by now.
    width, height = scale * placement.source_width, scale * placement.source_height
    x = (torch.arange(placement.target_width, device=device) + 0.5 - placement.offset_x) / width * 2 - 1
    y = (torch.arange(placement.target_height, device=device) + 0.5 - placement.offset_y) / height * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    moved = F.grid_sample(pixels, grid.expand(len(pixels), -1, -1, -1), padding_mode="border", align_corners=False)
    inside = (x.abs() <= 1)[None, :] & (y.abs() <= 1)[:, None]
    return rearrange(torch.where(inside, moved, background), "b c h w -> b h w c")


def sheet(
    pictures: Sequence[Tensor],
    columns: int,
    labels: Sequence[str] | None = None,
    *,
    cell: int | None = None,
    title: str | None = None,
    gap: int = 8,
) -> Tensor:
    """Lay pictures out in a grid with a label under each, for a person to look at: [1, H, W, 3] float32.

    pictures  each [H, W, 3], [H, W] or with a leading 1, float 0..1; sizes may differ
    columns   pictures in a row
    labels    one text per picture (lines are cut where the cell ends), or None
    cell      pixels that the longer side of each picture is brought to; None takes the longest side of all pictures
    title     a line on top of the sheet
    """
    from PIL import Image, ImageDraw

    if not pictures or columns < 1:
        raise ValueError("a sheet needs at least one picture and one column")
    if labels is not None and len(labels) != len(pictures):
        raise ValueError(f"a sheet of {len(pictures)} pictures needs as many labels, not {len(labels)}")
    images = [to_pil(picture) for picture in pictures]
    columns = min(columns, len(images))
    side = cell or max(max(image.size) for image in images)
    # Small cells are drawn larger, or no label could be read under them.
    wide = max(side, 96) if labels else side
    size = max(12, min(28, wide // 14))
    images = [_fitted(image, side) for image in images]
    text = [_wrap(label, font(size), wide) for label in labels] if labels else []
    strip = (max(label.count("\n") + 1 for label in text) * (size + 4) + 6) if text else 0
    top = gap + ((2 * size + gap) if title else 0)
    rows = [images[start : start + columns] for start in range(0, len(images), columns)]
    tall = [max(image.height for image in row) for row in rows]
    page = Image.new(
        "RGB", (columns * (wide + gap) + gap, top + sum(tall) + len(rows) * (strip + gap)), (250, 250, 250)
    )
    draw = ImageDraw.Draw(page)
    if title:
        draw.text((gap, gap), title, fill=(20, 20, 20), font=font(int(size * 1.4)))
    for place, image in enumerate(images):
        row, column = divmod(place, columns)
        x, y = gap + column * (wide + gap), top + sum(tall[:row]) + row * (strip + gap)
        page.paste(image, (x + (wide - image.width) // 2, y))
        if text:
            draw.multiline_text((x, y + tall[row] + 2), text[place], fill=(20, 20, 20), font=font(size), spacing=4)
    return _to_tensor(page)


def _fitted(image: Image, side: int) -> Image:
    """The picture with its longer side at `side` pixels."""
    from PIL.Image import Resampling

    ratio = side / max(image.size)
    if ratio == 1:
        return image
    size = (max(1, round(image.width * ratio)), max(1, round(image.height * ratio)))
    return image.resize(size, Resampling.LANCZOS if ratio < 1 else Resampling.BICUBIC)


def font(size: int):
    """The font of all labels: the one that comes with Pillow, at `size` pixels."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _wrap(label: str, font, width: int) -> str:
    """Break a label at spaces so that each line fits `width` pixels; a longer word is cut."""
    lines: list[str] = []
    for paragraph in label.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            while word and font.getlength(word) > width:
                word = word[:-1]
            longer = f"{line} {word}".strip()
            if line and font.getlength(longer) > width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return "\n".join(lines)
