"""One picture made of labelled rows: what the demo shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .files import to_image

if TYPE_CHECKING:
    from torch import Tensor

MARGIN = 12  # pixels, as the sizes below
TITLE_SIZE = 18
LABEL_SIZE = 15
INK, FAINT, PAPER = (24, 24, 28), (96, 96, 104), (250, 250, 250)


@dataclass(frozen=True)
class Row:
    """Pictures side by side under one heading.

    Attributes:
        heading: what the row shows.
        pictures: each [H, W] or [H, W, 3], float in [0, 1], all of one size.
        captions: one line below each picture.
    """

    heading: str
    pictures: Sequence[Tensor]
    captions: Sequence[str]


def draw_sheet(title: str, note: str, rows: Sequence[Row]):
    """Put rows of pictures below a title.

    Args:
        title: first line.
        note: second line, smaller.
        rows: from top to bottom; they may differ in length.

    Returns:
        Pillow picture, RGB.
    """
    from PIL import Image, ImageDraw, ImageFont

    title_font, font = (ImageFont.load_default(size=size) for size in (TITLE_SIZE, LABEL_SIZE))
    line = LABEL_SIZE + 7
    images = [[to_image(picture) for picture in row.pictures] for row in rows]
    rows_width = max(sum(image.width + MARGIN for image in row) for row in images) + MARGIN
    text_width = max(title_font.getlength(title), *(font.getlength(t) for t in (note, *(row.heading for row in rows))))
    head = MARGIN + TITLE_SIZE + 8 + line + MARGIN
    height = head + sum(2 * line + row[0].height + MARGIN for row in images)

    sheet = Image.new("RGB", (max(rows_width, int(text_width) + 2 * MARGIN), height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), title, INK, title_font)
    draw.text((MARGIN, MARGIN + TITLE_SIZE + 8), note, FAINT, font)
    top = head
    for row, row_images in zip(rows, images, strict=True):
        draw.text((MARGIN, top), row.heading, INK, font)
        left = MARGIN
        for image, caption in zip(row_images, row.captions, strict=True):
            sheet.paste(image, (left, top + line))
            draw.text((left, top + line + image.height + 2), caption, FAINT, font)
            left += image.width + MARGIN
        top += 2 * line + row_images[0].height + MARGIN
    return sheet
