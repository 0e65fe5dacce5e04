"""Thumbnails of workflows: square, as the host's template browser shows them (at about 240 pixels)."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw, ImageFont

SIDE = 512  # pixels, for screens of double density
LARGEST = 60_000  # bytes of a thumbnail
LINE, SMALL_LINE = 44, 30  # pixels of a caption, of an inset's
INSET, EDGE = 168, 10
DARK = (24, 24, 24)

Panels = dict[tuple[str, int], str]


def thumbnail(pictures: dict[tuple[str, int], Image.Image], panels: Panels, inset: str = "lower left") -> Image.Image:
    """One picture fills it; of two the last does, and the first lies in a corner of it; four share it.

    Args:
        pictures: what a run gave.
        panels: which of them are shown, with their captions.
        inset: where the first of two lies: "lower left", "upper left", "lower right" or "upper right".
    """
    page = Image.new("RGB", (SIDE, SIDE), DARK)
    entries = [(pictures[key], caption) for key, caption in panels.items()]
    if len(entries) > 2:
        half = SIDE // 2
        for place, (picture, caption) in enumerate(entries):
            page.paste(cell(picture, caption, half, SMALL_LINE), (place % 2 * half, place // 2 * half))
        return page
    picture, caption = entries[-1]
    page.paste(cell(picture, caption, SIDE, LINE))
    if len(entries) == 2:
        small = cell(*entries[0], INSET, SMALL_LINE, over=False)
        framed = Image.new("RGB", (small.width + 4, small.height + 4), "white")
        framed.paste(small, (2, 2))
        upper, left = inset.startswith("upper"), inset.endswith("left")
        x, y = SIDE - framed.width - EDGE, SIDE - framed.height - LINE - EDGE
        page.paste(framed, (EDGE if left else x, EDGE if upper else y))
    return page


def cell(picture: Image.Image, caption: str, side: int, line: int, *, over: bool = True) -> Image.Image:
    """A picture in a square, its caption over its lower edge (``over``) or below it."""
    page = Image.new("RGB", (side, side if over else side + line), DARK)
    factor = side / max(picture.size)
    size = tuple(max(1, round(length * factor)) for length in picture.size)
    shown = picture.resize((size[0], size[1]), Image.Resampling.LANCZOS)
    page.paste(shown, ((side - shown.width) // 2, (side - shown.height) // 2))
    band = Image.new("RGB", (side, line), DARK)
    page.paste(band, (0, page.height - line), Image.new("L", band.size, 176 if over else 255))
    draw = ImageDraw.Draw(page)
    size_of_text = round(line * 0.62)
    while draw.textlength(caption, ImageFont.load_default(size_of_text)) > side - 8:
        size_of_text -= 1
    draw.text((side // 2, page.height - line // 2), caption, "white", ImageFont.load_default(size_of_text), "mm")
    return page


def save_small(picture: Image.Image, path: str) -> None:
    """As JPEG of at most ``LARGEST`` bytes."""
    for quality in range(90, 20, -4):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= LARGEST:
            break
    with open(path, "wb") as file:
        file.write(buffer.getvalue())
