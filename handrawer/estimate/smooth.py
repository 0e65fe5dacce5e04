"""Hands of a video made steady: gaps filled, jitter taken out, one shape for one hand."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..hand.hands import Frame, Hand, Hands
from ..hand.model import HandModel, known_model
from ..hand.skinning import axis_angle_to_matrix, matrix_to_axis_angle
from .build import pose_again
from .calibration import palm_length
from .sides import with_side
from .track import Track, track_hands

WIDEST = 5.0  # pictures, the Gaussian's standard deviation at strength 1
DOUBTFUL = 0.25  # weight of a hand that is unsure, or that was filled in
FILLED = 0.5  # share of the confidence of its neighbours that a filled in hand gets


@dataclass(frozen=True, eq=False)
class Smoothed:
    """The steady hands, and what was done, in a sentence."""

    hands: Hands
    note: str


@dataclass(eq=False)
class _Motion:
    """A hand through consecutive pictures."""

    start: int
    hands: list[Hand]
    filled: list[bool]


def smooth_hands(hands: Hands, strength: float = 0.5, *, fill_gaps: int = 4, hold: int = 0) -> Smoothed:
    """Follow the hands of a video and make their motion steady.

    Every hand is averaged with itself in the pictures before and after by a Gaussian of ``5 * strength ** 2`` pictures
    (rotations as rotations, so that joints stay inside their limits; the place along its ray and in depth). As many
    pictures count on one side as on the other: the motion does not lag, and an even motion is left as it is.

    Args:
        hands: one frame for each picture, all of one size.
        strength: 0 to 1. 0 leaves every hand exactly as it is; above, one hand also has one shape and one side.
        fill_gaps: where a hand is missed in at most so many pictures, it is put there between its neighbours.
        hold: for so many pictures a hand that is lost stays where it was last seen.

    Returns:
        As many frames. Their hands are in the same order in all pictures: by when they come into the video.

    Raises:
        ValueError: pictures of different sizes; a strength outside of [0, 1]; a hand of a model that is not at hand.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"The strength of smoothing is {strength}, it must lie between 0 and 1.")
    if min(fill_gaps, hold) < 0:
        raise ValueError(f"Gaps to fill ({fill_gaps}) and pictures to hold ({hold}) cannot be fewer than none.")
    with torch.inference_mode(False), torch.no_grad():
        tracks = track_hands(hands)
        turned = _one_side(hands, tracks) if strength > 0 else 0
        motions = [_motions(track, hands, fill_gaps, hold) for track in tracks]
        if strength > 0:
            for parts in motions:
                _one_shape(parts, hands)
                for motion in parts:
                    motion.hands = _averaged(motion, WIDEST * strength**2, hands)
    frames = []
    for number, frame in enumerate(hands.frames):
        here = [
            motion.hands[number - motion.start]
            for parts in motions
            for motion in parts
            if 0 <= number - motion.start < len(motion.hands)
        ]
        note = "" if here else frame.note
        frames.append(dataclasses.replace(frame, hands=tuple(here), note=note))
    return Smoothed(Hands(tuple(frames)), _note(tracks, motions, turned, len(frames)))


def _note(tracks: list[Track], motions: list[list[_Motion]], turned: int, pictures: int) -> str:
    filled = sum(sum(motion.filled) for parts in motions for motion in parts)
    said = [f"{len(tracks)} {'hand' if len(tracks) == 1 else 'hands'} through {pictures} pictures"]
    if filled:
        said.append(f"{filled} {'place' if filled == 1 else 'places'} filled in")
    if turned:
        said.append(f"{turned} {'side' if turned == 1 else 'sides'} put right")
    return ", ".join(said) + "."


def _one_side(hands: Hands, tracks: list[Track]) -> int:
    """Hands that one picture shows as of the other side than the rest of their track, fitted again; how many."""
    count = 0
    for track in tracks:
        side = track.side()
        for number, hand in track.hands.items():
            if hand.side != side:
                frame = hands.frames[number]
                alone = Frame(frame.width, frame.height, (hand,))
                track.hands[number] = with_side(alone, [0], side).hands[0].replace(unsure=True)
                count += 1
    return count


def _motions(track: Track, hands: Hands, fill_gaps: int, hold: int) -> list[_Motion]:
    """The track as stretches of consecutive pictures, small gaps filled, each held at its end."""
    parts: list[_Motion] = []
    seen = sorted(track.hands)
    for number in seen:
        if parts and number - (parts[-1].start + len(parts[-1].hands)) <= fill_gaps:
            before = parts[-1].start + len(parts[-1].hands) - 1
            between = _between(track.hands[before], track.hands[number], before, number, hands)
            parts[-1].hands += [*between, track.hands[number]]
            parts[-1].filled += [True] * len(between) + [False]
        else:
            parts.append(_Motion(number, [track.hands[number]], [False]))
    for motion, following in zip(parts, [*parts[1:], None], strict=True):
        end = motion.start + len(motion.hands)
        free = (len(hands.frames) if following is None else following.start) - end
        last = motion.hands[-1]
        note = f"Not seen in this picture: held as in picture {end - 1}."
        held = last.replace(confidence=FILLED * last.confidence, notes=(*last.notes, note))
        count = min(hold, free)
        motion.hands += [held] * count
        motion.filled += [True] * count
    return parts


def _between(one: Hand, other: Hand, before: int, after: int, hands: Hands) -> list[Hand]:
    """The hands of the pictures between two, on the shortest way from one to the other."""
    count = after - before - 1
    if count < 1:
        return []
    share = torch.arange(1, count + 1) / (after - before)
    a, b = _numbers([one]), _numbers([other])
    turn = matrix_to_axis_angle(_matrices(a.turns).mT @ _matrices(b.turns))  # [1, 16, 3]
    rotations = _matrices(a.turns) @ axis_angle_to_matrix(turn * share[:, None, None])
    place, shape = (torch.lerp(x, y, share[:, None]) for x, y in ((a.place, b.place), (a.shape, b.shape)))
    note = f"Not seen in this picture: placed between pictures {before} and {after}."
    confidence = FILLED * min(one.confidence, other.confidence)
    copies = [one.replace(confidence=confidence, notes=(note,), unsure=one.unsure or other.unsure)] * count
    frame = hands.frames[before]
    return pose_again(copies, _model(one), rotations, _translation(place), shape, frame.width, frame.height)


def _one_shape(parts: list[_Motion], hands: Hands) -> None:
    """All hands of a track with its mean shape; larger ones go farther off, so that the picture stays."""
    everyone = [(hand, filled) for motion in parts for hand, filled in zip(motion.hands, motion.filled, strict=True)]
    seen = [hand for hand, filled in everyone if not filled]
    weights = torch.tensor([hand.confidence * (DOUBTFUL if hand.unsure else 1) + 1e-6 for hand in seen])
    shape = (torch.stack([hand.shape for hand in seen]) * weights[:, None]).sum(dim=0) / weights.sum()
    model = _model(seen[0])
    wanted = palm_length(model.to("cpu", torch.float32), shape[None])
    for motion in parts:
        numbers = _numbers(motion.hands)
        frame = hands.frames[motion.start]
        ratio = wanted / palm_length(model.to("cpu", torch.float32), numbers.shape)
        translation = _translation(numbers.place) * ratio[:, None]
        motion.hands = pose_again(motion.hands, model, _matrices(numbers.turns), translation,
                                  shape.expand(len(motion.hands), -1), frame.width, frame.height)  # fmt: skip


def _averaged(motion: _Motion, sigma: float, hands: Hands) -> list[Hand]:
    """Every hand of a motion as the weighted mean of itself and its neighbours."""
    count = len(motion.hands)
    numbers = _numbers(motion.hands)
    trust = torch.tensor([DOUBTFUL if hand.unsure or filled else 1.0
                          for hand, filled in zip(motion.hands, motion.filled, strict=True)])  # fmt: skip
    apart = (torch.arange(count)[:, None] - torch.arange(count)).abs()
    room = torch.minimum(torch.arange(count), torch.arange(count).flip(0))  # as far to both sides
    reach = room.clamp_max(math.ceil(3 * sigma))
    weights = torch.exp(-0.5 * (apart / max(sigma, 1e-6)) ** 2) * trust * (apart <= reach[:, None])
    weights = weights / weights.sum(dim=1, keepdim=True)
    turns = _mean_rotations(numbers.turns, weights)
    place = weights @ numbers.place
    frame = hands.frames[motion.start]
    return pose_again(motion.hands, _model(motion.hands[0]), turns, _translation(place), numbers.shape, frame.width,
                      frame.height)  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Numbers:
    """Poses of N hands that can be averaged."""

    turns: Tensor  # [N, 16, 3] rotation vectors: orientation, then the finger joints
    place: Tensor  # [N, 3] x / z, y / z, log z of the wrist
    shape: Tensor  # [N, S]


def _numbers(hands: list[Hand]) -> _Numbers:
    turns = torch.stack([torch.cat([hand.orientation[None], hand.pose]) for hand in hands])
    place = torch.stack([hand.translation for hand in hands])
    depth = place[:, 2:].clamp_min(1e-3)
    return _Numbers(turns, torch.cat([place[:, :2] / depth, depth.log()], dim=1), torch.stack([h.shape for h in hands]))


def _translation(place: Tensor) -> Tensor:
    depth = place[:, 2:].exp()
    return torch.cat([place[:, :2] * depth, depth], dim=1)


def _matrices(turns: Tensor) -> Tensor:
    return axis_angle_to_matrix(turns)


def _mean_rotations(turns: Tensor, weights: Tensor) -> Tensor:
    """[N, 16, 3, 3] weighted means of rotations [N, 16, 3] by weights [N, N].

    The mean is the one of least squared chordal distance, from the quaternions' outer products, whose sign does not
    matter (Markley et al. 2007, J. Guidance, Control and Dynamics 30).
    """
    angle = turns.norm(dim=-1, keepdim=True)
    quaternion = torch.cat([(angle / 2).cos(), (angle / 2).sin() * turns / angle.clamp_min(1e-9)], dim=-1).double()
    outer = quaternion[..., :, None] * quaternion[..., None, :]  # [N, 16, 4, 4]
    mean = torch.einsum("nm,mjab->njab", weights.double(), outer)
    greatest = torch.linalg.eigh(mean).eigenvectors[..., -1]  # [N, 16, 4]
    real, imaginary = greatest[..., :1], greatest[..., 1:]
    half = torch.atan2(imaginary.norm(dim=-1, keepdim=True), real)
    return axis_angle_to_matrix(2 * half * torch.nn.functional.normalize(imaginary, dim=-1)).float()


def _model(hand: Hand) -> HandModel:
    model = known_model(hand.model)
    if model is None:
        raise ValueError(f"A hand of the model {hand.model!r} cannot be smoothed without that model: load it first.")
    return model
