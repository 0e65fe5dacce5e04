"""The score of a picture: what a detector that never saw training finds of the wanted hand.

PCK@0.1 is the share of the 21 joints that lie within 0.1 of the longer side of the wanted hand's box from where they
were wanted; a hand that is not found counts as all joints wrong. Joints are compared as MediaPipe marks them: a rig's
joints are converted with the calibrated offsets (``estimate.calibration``) first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..estimate.calibration import mediapipe_points_2d
from ..estimate.landmarks import LandmarkDetector, Landmarks
from ..hand.boxes import box_around
from ..hand.camera import project
from ..hand.hands import Hand, Hands, known_model
from ..hand.model import HandModel

PCK_RADIUS = 0.1
MIN_CONFIDENCE = 0.5  # of the judge
RESAMPLES = 10_000

_JUDGE = LandmarkDetector(max_hands=20, min_confidence=MIN_CONFIDENCE)
MEDIAPIPE_JUDGE = LandmarkDetector(max_hands=20, min_confidence=MIN_CONFIDENCE, backend="mediapipe")
"""The judge of the reports: the mediapipe package itself, which shares no code with this project's own detector."""


@dataclass(frozen=True, eq=False)
class Score:
    """One picture against one wanted hand."""

    found: bool
    """Whether the detector found any hand; the one nearest to the wanted one is scored."""
    confidence: float
    """The detector's, 0 where no hand was found."""
    errors: Tensor
    """[21] distance of each joint over the longer side of the wanted hand's box; infinite where no hand was found."""
    side_match: bool
    """Whether the detector sees the wanted side; False where no hand was found."""

    @property
    def pck(self) -> float:
        """PCK@0.1, 0 to 1."""
        return float((self.errors <= PCK_RADIUS).float().mean())

    @property
    def joint_error(self) -> float:
        """Mean of ``errors``; infinite where no hand was found."""
        return float(self.errors.mean())


@dataclass(frozen=True)
class Summary:
    """A mean over pictures with its 95 % bootstrap interval, and how many pictures it is of.

    All NaN where there is none.
    """

    mean: float
    low: float
    high: float
    count: int


MEASURES: dict[str, Callable[[Score], float]] = {
    "pck": lambda score: score.pck,
    "found": lambda score: float(score.found),
    "confidence": lambda score: score.confidence,
    "side": lambda score: float(score.side_match),
    "joint_error": lambda score: score.joint_error,  # of the pictures in which a hand was found
}


def score_picture(
    picture: Tensor, wanted: Tensor, box: Tensor, side: str, detector: Callable[[Tensor], list[Landmarks]] | None = None
) -> Score:
    """Score one picture.

    Args:
        picture: [H, W, 3] float in [0, 1].
        wanted: [21, 2] MediaPipe's points of the wanted hand, normalised: see ``mediapipe_points_2d``.
        box: [4] the wanted hand's box, normalised, without a forearm: see ``hand_box``.
        side: "left" or "right".
        detector: the judge; MediaPipe's plain look at confidence 0.5 if None.
    """
    if tuple(wanted.shape) != (21, 2) or tuple(box.shape) != (4,):
        raise ValueError(f"A score needs 21 points and a box, got shapes {tuple(wanted.shape)} and {tuple(box.shape)}.")
    size = torch.tensor([picture.shape[1], picture.shape[0]], dtype=torch.float32)
    longer = float(((box[2:] - box[:2]).float() * size).max())
    if not longer > 0:
        raise ValueError(f"The wanted hand's box {box.tolist()} is empty.")
    found = (detector or _JUDGE)(picture)
    if not found:
        return Score(False, 0.0, torch.full((21,), torch.inf), False)
    distances = [((hand.points - wanted.float()) * size).norm(dim=-1) / longer for hand in found]
    best = min(range(len(found)), key=lambda i: float(distances[i].mean()))
    return Score(True, found[best].score, distances[best], found[best].side == side)


def score_pictures(
    pictures: Tensor,
    wanted: Hands,
    *,
    models: Sequence[HandModel] = (),
    detector: Callable[[Tensor], list[Landmarks]] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Score]:
    """Score a batch of pictures, each against the one hand that was wanted in it.

    Args:
        pictures: [B, H, W, 3] float in [0, 1].
        wanted: frames of one hand each; one frame serves all pictures, fewer repeat cyclically.
        models: hand models that do not come with HanDrawer, where the hands are of such.
        detector: see ``score_picture``.
        progress: called as ``progress(pictures done, pictures)``.
    """
    frames = wanted.for_batch(len(pictures))[0].frames
    scores = []
    for picture, frame in zip(pictures, frames, strict=True):
        if len(frame.hands) != 1:
            raise ValueError(f"A picture is scored against one hand, its frame has {len(frame.hands)}.")
        hand, height, width = frame.hands[0], *picture.shape[:2]
        if width * frame.height != height * frame.width:
            raise ValueError(
                f"The picture has {width} x {height} pixels, the wanted hand belongs to one of {frame.width} x "
                f"{frame.height}: place the hand on the picture first (Hands.placed)."
            )
        model = next((m for m in models if m.name == hand.model), None)
        points = mediapipe_points_2d(hand, width, height, model)
        scores.append(score_picture(picture, points, hand_box(hand, width, height, model), hand.side, detector))
        if progress is not None:
            progress(len(scores), len(pictures))
    return scores


def hand_box(hand: Hand, width: int, height: int, model: HandModel | None = None) -> Tensor:
    """[4] the box of the hand without its stub of forearm, normalised, in a picture of width x height pixels."""
    model = model or known_model(hand.model)
    vertices = hand.vertices
    if model is not None and len(model.regions.get("forearm", ())):
        keep = torch.ones(len(vertices), dtype=torch.bool)
        keep[model.regions["forearm"]] = False
        vertices = vertices[keep]
    return box_around(project(vertices, hand.camera, width, height))


def summarise(scores: Sequence[Score], measure: str = "pck", *, seed: int = 0) -> Summary:
    """The mean of a measure over pictures, with its 95 % interval from a bootstrap over pictures (percentiles).

    Args:
        measure: one of ``MEASURES``. Joint errors are taken over the pictures in which a hand was found.
        seed: of the resampling; the same seed gives the same interval.
    """
    if measure not in MEASURES:
        raise ValueError(f"Unknown measure {measure!r}: choose one of {', '.join(MEASURES)}.")
    chosen = [score for score in scores if score.found] if measure == "joint_error" else list(scores)
    if not chosen:
        return Summary(float("nan"), float("nan"), float("nan"), 0)
    values = torch.tensor([MEASURES[measure](score) for score in chosen], dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    means = [values[torch.randint(len(values), (1000, len(values)), generator=generator)].mean(dim=1)
             for _ in range(RESAMPLES // 1000)]  # fmt: skip
    low, high = torch.quantile(torch.cat(means), torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Summary(float(values.mean()), low, high, len(chosen))
