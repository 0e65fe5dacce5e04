"""Which fragment of each pixel is nearest, found with scatter-minimums: no order of execution can change the result."""

from __future__ import annotations

import torch
from torch import Tensor

_DEPTH_BITS = 31  # a positive float32 has its sign bit clear, and its bits then sort as an integer
_NOTHING = torch.iinfo(torch.int64).max


def make_buffer(pixels: int, faces: int, rank: Tensor | None, device: torch.device) -> PackedBuffer | SeparateBuffer:
    """An empty buffer of `pixels`; rank [faces] int64 from 0, or None: a face of lower rank lies in front.

    Some back ends (Metal) have no 64-bit integer scatter-minimum and get the slower buffer.
    """
    if device.type in ("cpu", "cuda"):
        return PackedBuffer(pixels, faces, rank, device)
    return SeparateBuffer(pixels, faces, rank, device)


class PackedBuffer:
    """Nearest fragment of each pixel through one 64-bit key: rank, bits of the depth, index of the face."""

    def __init__(self, pixels: int, faces: int, rank: Tensor | None, device: torch.device) -> None:
        self._face_bits = max(faces - 1, 1).bit_length()
        self._rank = rank
        ranks = int(rank.max()) + 1 if rank is not None and rank.numel() else 1
        if (ranks - 1).bit_length() + _DEPTH_BITS + self._face_bits > 63:
            raise ValueError(f"{ranks} different orders over {faces} faces do not fit; draw fewer hands at once")
        self._key = torch.full((pixels,), _NOTHING, dtype=torch.int64, device=device)

    def add(self, pixel: Tensor, face: Tensor, depth: Tensor, inside: Tensor) -> None:
        """Fragments: flat pixel [M] int64, face [M] int64, depth [M] float32, above 0, and [M] bool which count."""
        key = depth.view(torch.int32).to(torch.int64)
        if self._rank is not None:
            key |= self._rank.index_select(0, face) << _DEPTH_BITS
        key = (key << self._face_bits).bitwise_or_(face)
        # All ones but the sign for those that do not count: on the CPU five times as quick as taking them out.
        key.bitwise_or_(inside.to(torch.int64).sub_(1)).bitwise_and_(_NOTHING)
        self._key.scatter_reduce_(0, pixel, key, "amin")

    def nearest(self) -> tuple[Tensor, Tensor, Tensor]:
        """The drawn pixels [M] int64, ascending, their faces [M] int64 and depths [M] float32, as they were added."""
        pixels = torch.nonzero(self._key != _NOTHING).squeeze(1)
        key = self._key.index_select(0, pixels)
        depth = ((key >> self._face_bits) & ((1 << _DEPTH_BITS) - 1)).to(torch.int32).view(torch.float32)
        return pixels, key & ((1 << self._face_bits) - 1), depth


class SeparateBuffer:
    """The same result through one scatter-minimum each for rank, depth and face, in 32 bits."""

    def __init__(self, pixels: int, faces: int, rank: Tensor | None, device: torch.device) -> None:
        self._none = 2**31 - 1
        if faces >= self._none:
            raise ValueError(f"{faces} faces are too many; draw fewer hands at once")
        self._rank = rank
        self._best_rank = torch.full((pixels,), torch.inf, device=device)
        self._best_depth = torch.full((pixels,), torch.inf, device=device)
        self._best_face = torch.full((pixels,), self._none, dtype=torch.int32, device=device)

    def add(self, pixel: Tensor, face: Tensor, depth: Tensor, inside: Tensor) -> None:
        """As PackedBuffer.add."""
        pixel, face, depth = _where(inside, pixel, face, depth)
        if self._rank is not None:
            rank = self._rank[face].to(torch.float32)
            before = self._best_rank.clone()
            self._best_rank.scatter_reduce_(0, pixel, rank, "amin")
            # What a lower rank covers is forgotten, as if it had never been drawn.
            beaten = self._best_rank < before
            self._best_depth[beaten] = torch.inf
            self._best_face[beaten] = self._none
            pixel, face, depth = _where(rank == self._best_rank[pixel], pixel, face, depth)
        before = self._best_depth.clone()
        self._best_depth.scatter_reduce_(0, pixel, depth, "amin")
        self._best_face[self._best_depth < before] = self._none
        pixel, face = _where(depth == self._best_depth[pixel], pixel, face)
        self._best_face.scatter_reduce_(0, pixel, face.to(torch.int32), "amin")

    def nearest(self) -> tuple[Tensor, Tensor, Tensor]:
        """As PackedBuffer.nearest."""
        pixels = torch.nonzero(self._best_face != self._none).squeeze(1)
        return pixels, self._best_face[pixels].to(torch.int64), self._best_depth[pixels]


def _where(chosen: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
    places = torch.nonzero(chosen).squeeze(1)
    return tuple(value[places] for value in values)
