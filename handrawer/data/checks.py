"""Certain faults of a picture file, and what tells one picture from another."""

from __future__ import annotations

import base64
import io
import math
import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .pictures import rgb

LEAST_SIDE = 64  # pixels
LEAST_CONTRAST = 2.0  # of 255: standard deviation of the grey picture under which it shows nothing
THUMB = 32  # side of the small grey picture
HASH = 12  # rows and columns of its cosine transform that make the hash: HASH^2 bits


@dataclass(frozen=True)
class Check:
    """What a first look at a picture file found."""

    key: str
    width: int = 0
    height: int = 0
    fault: str = ""
    """`missing`, `unreadable`, `tiny` or `blank`; empty for a picture that can be used."""
    detail: str = ""
    bits: str = ""
    """Perceptual hash, HASH^2 bits in hexadecimal digits."""
    thumb: str = ""
    """THUMB x THUMB grey bytes, base64."""

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value not in ("", 0)}


def check_picture(key: str, data: bytes | None, least_side: int = LEAST_SIDE) -> Check:
    """Look at a picture file once.

    Args:
        data: the file's bytes, or None where there is no file.
        least_side: pixels; a picture whose shorter side is under it is tiny.
    """
    from PIL import Image, ImageOps

    if data is None:
        return Check(key, fault="missing", detail="there is no such file")
    if not data:
        return Check(key, fault="unreadable", detail="the file is empty")
    try:
        with Image.open(io.BytesIO(data)) as image:
            size = ImageOps.exif_transpose(_header(image)).size
            # A JPEG is decoded at a part of its size, but to its end, so that a truncated one is noticed.
            image.draft("RGB", (4 * THUMB, 4 * THUMB))
            image.load()
            # As it will be used: 16 bits a channel and floats are no white, and what is transparent is grey.
            seen = rgb(ImageOps.exif_transpose(image)).convert("L")
            grey = np.asarray(seen.resize((THUMB, THUMB), Image.Resampling.BOX))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        # Pillow reports a broken PNG as SyntaxError.
        return Check(key, fault="unreadable", detail=plain_words(error))
    width, height = size
    if min(size) < least_side:
        return Check(key, width, height, "tiny", f"{width} x {height} pixels; the shorter side must be {least_side}")
    if float(grey.std()) < LEAST_CONTRAST:
        return Check(key, width, height, "blank", "it shows one even colour")
    return Check(key, width, height, bits=_hash(grey), thumb=base64.b64encode(grey.tobytes()).decode())


def plain_words(error: Exception) -> str:
    """What an error says, the same at every run: without addresses in memory."""
    words = re.sub(r"<[^<>]* at 0x[0-9a-fA-F]+>", "it", str(error))
    return words or type(error).__name__


def _header(image: Any) -> Any:
    """A picture of the same size and EXIF turn without its pixels."""
    from PIL import Image

    small = Image.new("1", image.size)
    small.getexif().update({0x0112: image.getexif().get(0x0112, 1)})
    return small


def _hash(grey: np.ndarray) -> str:
    """Signs of the low cosine coefficients against their median (perceptual hash), in hexadecimal digits."""
    place = (2 * np.arange(THUMB) + 1) * math.pi / (2 * THUMB)
    basis = np.cos(np.arange(1, HASH + 1)[:, None] * place)
    low = basis @ grey.astype(np.float64) @ basis.T
    return np.packbits((low > np.median(low)).ravel()).tobytes().hex()
