"""Finds pictures that show the same thing as one before: copies, and copies encoded, resized or brightened anew.

Two steps, so that a million pictures take minutes and little memory: a perceptual hash finds candidates (equal in one
of its bands), and the correlation of small grey pictures decides. No library is used for it: `imagehash` needs scipy
and PyWavelets for what are ten lines here, and leaves the search among a million to the caller.
"""

from __future__ import annotations

import base64

import numpy as np

from .checks import THUMB, Check

BAND = 16  # bits
MOST_DIFFERENT = 24  # bits of the hash; two copies differ by fewer
SAME = 0.996  # least correlation of the small grey pictures of two copies
ASPECT = 0.02  # copies agree in width over height to this share


class Duplicates:
    """Pictures are shown to it one by one, always in the same order; it tells of which earlier one each is a copy."""

    def __init__(self) -> None:
        self._bands: list[dict[int, list[int]]] = []
        self._keys: list[str] = []
        self._hashes: list[np.ndarray] = []
        self._thumbs: list[np.ndarray] = []
        self._aspects: list[float] = []

    def first_of(self, check: Check) -> str | None:
        """The key of an earlier picture that this one is a copy of; None: it is new, and is remembered."""
        bits = np.frombuffer(bytes.fromhex(check.bits), np.uint8)
        bands = bits.view(np.uint16).tolist()
        thumb = _normalised(np.frombuffer(base64.b64decode(check.thumb), np.uint8))
        aspect = check.width / check.height
        self._bands = self._bands or [{} for _ in bands]
        near = {place for band, table in zip(bands, self._bands, strict=True) for place in table.get(band, ())}
        for place in sorted(near):
            if abs(aspect / self._aspects[place] - 1) > ASPECT:
                continue
            different = int(np.unpackbits(bits ^ self._hashes[place]).sum())
            if different <= MOST_DIFFERENT and float(thumb @ self._thumbs[place].astype(np.float32)) >= SAME:
                return self._keys[place]
        for band, table in zip(bands, self._bands, strict=True):
            table.setdefault(band, []).append(len(self._keys))
        self._keys.append(check.key)
        self._hashes.append(bits)
        self._thumbs.append(thumb.astype(np.float16))
        self._aspects.append(aspect)
        return None


def _normalised(grey: np.ndarray) -> np.ndarray:
    """[THUMB^2 / 4] float32 of length 1 without its mean: brightness and contrast do not count."""
    small = grey.reshape(THUMB // 2, 2, THUMB // 2, 2).mean(axis=(1, 3), dtype=np.float32).ravel()
    small = small - small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-6)
