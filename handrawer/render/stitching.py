"""Hands cut out to be drawn anew, and put back so that nothing else of the picture changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..hand import transform
from ..hand.boxes import longer_side
from ..hand.hands import Frame, Hand, Hands
from ..hand.transform import Transform
from .hand_masks import hand_masks
from .masks import blur
from .moving import transform_picture

LEAST_SIDE = 16  # pixels of the smallest crop
LEAST_RING = 64  # pixels round the mask from which colours are matched
MOST_GAIN = 1.6  # of a channel's contrast


@dataclass(frozen=True, eq=False)
class Piece:
    """One crop and where it belongs."""

    picture: int
    """The number of its picture."""
    move: Transform
    """From the picture to the crop."""
    mask: Tensor
    """[height, width] of the crop: what may change, 0 to 1; 0 everywhere where there is no hand."""
    frame: Frame
    """The hands in the crop; first the one that it was cut for."""


def cut_pieces(
    hands: Hands,
    chosen: Sequence[Sequence[int]],
    size: int,
    *,
    margin: float = 0.6,
    shape: str = "hull",
    padding: float = 0.15,
    feather: float = 0.08,
) -> list[Piece]:
    """A square crop round each chosen hand.

    Args:
        hands: frames of the pictures.
        chosen: for each frame the numbers of the hands that are cut out; a picture without any gets one crop of its
            middle whose mask is empty, so that a batch stays a batch.
        size: side of the crops in pixels.
        margin: what is shown round the hand's box, in shares of its longer side.
        shape, padding, feather: of the masks, see ``hand_masks``.
    """
    pieces = []
    for number, (frame, places) in enumerate(zip(hands.frames, chosen, strict=True)):
        for place in places:
            x, y, side = _square(frame.hands[place], frame, margin)
            move = transform.crop(frame.width, frame.height, x, y, side, side)
            move = move.then(transform.resize(side, side, size, size))
            others = [hand for n, hand in enumerate(frame.hands) if n != place]
            moved = move.frame(Frame(frame.width, frame.height, (frame.hands[place], *others)))
            alone = Frame(size, size, (moved.hands[0].replace(enabled=True),))
            mask = hand_masks(alone, shape=shape, padding=padding, feather=feather)[0]
            pieces.append(Piece(number, move, mask, moved))
    if not pieces and hands.frames:
        frame = hands.frames[0]
        side = min(frame.width, frame.height)
        move = transform.crop(
            frame.width, frame.height, (frame.width - side) // 2, (frame.height - side) // 2, side, side
        )
        move = move.then(transform.resize(side, side, size, size))
        pieces.append(Piece(0, move, torch.zeros(size, size), Frame(size, size, (), "No hand is to be redrawn.")))
    return pieces


def _square(hand: Hand, frame: Frame, margin: float) -> tuple[int, int, int]:
    """Left, top and side in whole pixels, moved into the picture where it fits."""
    box = hand.box.double()
    size = torch.tensor([frame.width, frame.height], dtype=torch.float64)
    side = max(LEAST_SIDE, round(float(longer_side(box, frame.width, frame.height)) * (1 + 2 * margin)))
    middle = (box[:2] + box[2:]) / 2 * size
    corner = []
    for centre, length in zip(middle.tolist(), (frame.width, frame.height), strict=True):
        start = round(centre - side / 2)
        corner.append(min(max(start, 0), length - side) if side <= length else (length - side) // 2)
    return corner[0], corner[1], side


def crops(pictures: Tensor, pieces: Sequence[Piece]) -> Tensor:
    """[P, size, size, 3] what the pieces show; pictures beyond the last start again at the first.

    Beyond a picture its edge goes on: black there would be seen by whoever draws the crop anew, and bleed into it.
    """
    return torch.cat([_cut(pictures[[p.picture % len(pictures)]], p) for p in pieces])


def _cut(picture: Tensor, piece: Piece) -> Tensor:
    return transform_picture(picture, piece.move, background=None)


def stitch(
    pictures: Tensor, redrawn: Tensor, pieces: Sequence[Piece], *, match_colours: bool = True, feather: float = 0.05
) -> tuple[Tensor, Tensor]:
    """Put redrawn crops back.

    Args:
        pictures: [B, H, W, 3] the whole pictures.
        redrawn: [P, h, w, 3] one for each piece, of the crops' size or any other square one; fewer repeat in turn.
        match_colours: brings each channel's mean and contrast to the picture's, by what lies in the crop round the
            mask and should not have changed.
        feather: further softness of the mask's edge, a share of the crop's side; it reaches inwards, never farther out
            than the crop.

    Returns:
        Pictures and masks [B, H, W] of what has changed. Where a mask is 0 the picture is the old one bit for bit.
    """
    found = pictures.to(torch.float32).clone()
    changed = torch.zeros(pictures.shape[:3])
    for number, piece in enumerate(pieces):
        new = redrawn[[number % len(redrawn)]].to("cpu", torch.float32)
        if new.shape[1] != new.shape[2]:
            raise ValueError(f"The crops were square, this picture has {new.shape[2]} x {new.shape[1]} pixels.")
        mask = piece.mask
        side = mask.shape[0]
        if feather * side >= 1:
            mask = blur(mask[None], feather * side / 2)[0]
        mask = mask * _border(side)
        resized = transform.resize(new.shape[2], new.shape[1], side, side)
        place = piece.picture % len(found)
        if match_colours:
            at_crop = transform_picture(new, resized)[0]
            gain, shift = _colours(at_crop, _cut(found[[place]].cpu(), piece)[0], mask)
            new = (new * gain + shift).clamp(0, 1)
        back = resized.then(piece.move.inverse())
        there = transform_picture(new, back)[0]
        alpha = transform_picture(mask[None, ..., None], piece.move.inverse())[0, ..., 0].clamp(0, 1)
        below = found[place].cpu()
        mixed = torch.lerp(below, there, alpha[..., None])
        found[place] = torch.where(alpha[..., None] > 0, mixed, below).to(found.device)
        changed[place] = torch.maximum(changed[place], alpha)
    return found, changed


def _border(side: int) -> Tensor:
    """[side, side] 0 at the crop's edge, 1 from a fiftieth of it inwards."""
    ramp = ((torch.arange(side) + 0.5).minimum(side - 0.5 - torch.arange(side)) / max(side / 50, 1) - 0.5).clamp(0, 1)
    return torch.minimum(ramp[:, None], ramp[None])


def _colours(new: Tensor, old: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Gain and shift [3] that bring the new crop's surroundings of the mask to the old one's."""
    ring = mask < 0.02
    if int(ring.sum()) < LEAST_RING:
        ring = mask < 0.5
    if int(ring.sum()) < LEAST_RING:
        return torch.ones(3), torch.zeros(3)
    first, second = new[ring], old[ring]
    spread = second.std(dim=0) / first.std(dim=0).clamp_min(1e-3)
    gain = spread.clamp(1 / MOST_GAIN, MOST_GAIN)
    return gain, second.mean(dim=0) - gain * first.mean(dim=0)
