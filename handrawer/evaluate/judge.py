"""How well the hands of a picture are made, without knowing which were wanted; and the match to those if known.

Each hand that is found is looked at several times; what its landmarks, its fit and its colours give away
(``judge_signals``, ``judge_silhouette``), and what a small network says of it (``judge_network``), goes through a
logistic model, whose coefficients were fitted to synthetic malformations (``judge_fit``) and lie in ``judge.json``. Its
quality is the calibrated chance that the hand is
sound, if one of two is. A hand that is so malformed that nothing finds it has no quality: pictures without a hand count
as the worst.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..estimate.calibration import mediapipe_points_2d
from ..estimate.estimate import as_rgb
from ..estimate.find import Landmarks
from ..estimate.landmarks import LandmarkDetector
from ..estimate.regions import Pyramid
from ..hand.hands import Frame, Hand, Hands
from ..hand.model import HandModel, load_open_hand
from .judge_network import hand_views, judge_network, look, parts_in_doubt, points_in_view
from .judge_signals import anatomy, explain, fit_signals, look_again, middle, steadiness
from .judge_silhouette import compare
from .score import Score, hand_box

NETWORK = "network"  # the signal of the judge's network: log odds of a sound hand
MODEL_FILE = Path(__file__).with_name("judge.json")
ANOTHER_HAND = 1.0  # joint error in hand sizes, from where a found hand is none of the wanted ones
GOOD = 0.5  # quality from where a hand counts as sound
# A hand that is badly drawn looks less like one from afar: a palm is believed early, and what is there decides.
PALM_CONFIDENCE, MIN_CONFIDENCE = 0.2, 0.5
FURTHER_LOOKS, LESS_SURE = ("balanced", "thorough"), 0.4  # where nothing was found: at this share of the confidence
_FIELDS = ("names", "mean", "spread", "weights", "bias", "usual", "usual_spread")


@dataclass(frozen=True, eq=False)
class Judgement:
    """One hand of a picture."""

    hand: Hand
    """The possible hand that explains it best."""
    quality: float
    """0 to 1: the chance that it is sound, if one hand of two is."""
    presence: float
    """0 to 1: how sure the landmark network is of a hand, over all looks."""
    fingers: int | None
    """How many fingers the picture seems to show; None where hand and background have too similar colours."""
    residual: float
    """How far the possible hand misses the landmarks, in shares of their box."""
    reasons: tuple[str, ...]
    """What speaks against the hand, the heaviest first, in plain words."""
    signals: dict[str, float]
    """The numbers behind the quality."""
    match: Score | None = None
    """Against the wanted hand that lies nearest, where wanted hands were given."""
    doubtful: tuple[str, ...] = ()
    """Where something seems to be wrong, the worst first: fingers' names and "palm"."""

    @property
    def good(self) -> bool:
        return self.quality >= GOOD


@dataclass(frozen=True, eq=False)
class PictureJudgement:
    """The hands of one picture, the largest first."""

    width: int
    height: int
    hands: tuple[Judgement, ...]
    missing: int = 0
    """How many of the wanted hands have no hand near them."""

    @property
    def quality(self) -> float:
        """Of the worst hand; 0 where none was found or a wanted one is missing."""
        return min((hand.quality for hand in self.hands), default=0.0) if not self.missing else 0.0

    @property
    def frame(self) -> Frame:
        """The hands, for the HANDS socket; their confidence is their quality."""
        note = "" if self.hands else "No hand was found."
        hands = tuple(j.hand.replace(confidence=j.quality, notes=(*j.hand.notes, *j.reasons)) for j in self.hands)
        return Frame(self.width, self.height, hands, note)

    @property
    def match(self) -> float | None:
        """Mean PCK@0.1 over the wanted hands, a missing one counting 0; None where none were given."""
        matches = [hand.match.pck for hand in self.hands if hand.match is not None]
        if not matches and not self.missing:
            return None
        return sum(matches) / (len(matches) + self.missing)


@dataclass(frozen=True, eq=False)
class JudgeModel:
    """A logistic model of a hand's signals."""

    names: tuple[str, ...]
    mean: Tensor
    spread: Tensor
    weights: Tensor
    bias: float
    usual: Tensor
    """[20] mean of ``judge_signals.bone_ratios`` over sound hands, and"""
    usual_spread: Tensor
    """[20] its standard deviation."""

    def contributions(self, signals: dict[str, float]) -> dict[str, float]:
        """What each signal adds to the log odds of a sound hand."""
        values = torch.tensor([signals[name] for name in self.names], dtype=torch.float64)
        parts = self.weights * ((values - self.mean) / self.spread).clamp(-4, 4)
        return dict(zip(self.names, parts.tolist(), strict=True))

    def quality(self, signals: dict[str, float]) -> float:
        return 1 / (1 + math.exp(-(self.bias + sum(self.contributions(signals).values()))))

    def to_json(self) -> str:
        values = {name: getattr(self, name) for name in _FIELDS}
        plain = {k: [round(x, 5) for x in v.tolist()] if isinstance(v, Tensor) else v for k, v in values.items()}
        return json.dumps(plain | {"names": list(self.names), "bias": round(self.bias, 5)}, indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> JudgeModel:
        content = json.loads(text)
        tensors = {
            name: torch.tensor(content[name], dtype=torch.float64)
            for name in ("mean", "spread", "weights", "usual", "usual_spread")
        }
        tensors["usual"], tensors["usual_spread"] = tensors["usual"].float(), tensors["usual_spread"].float()
        return JudgeModel(names=tuple(content["names"]), bias=float(content["bias"]), **tensors)


@functools.lru_cache(maxsize=1)
def judge_model() -> JudgeModel:
    """The model that ships."""
    return JudgeModel.from_json(MODEL_FILE.read_text(encoding="utf-8"))


# What is said of a hand, by the signals that speak against it.
REASONS: dict[str, str] = {
    NETWORK: "it is not drawn like a hand",
    "presence": "it is hardly recognised as a hand",
    "side": "a left and a right hand are mixed up in it",
    "scatter": "its joints are not clear: each look sees them elsewhere",
    "residual": "no possible hand bends like this",
    "bones": "the lengths of its bones are unusual",
    "flat": "its depth does not fit its picture",
    "backwards": "a finger bends the wrong way",
    "sideways": "a finger bends sideways",
    "unexplained": "there is skin that belongs to no finger",
    "uncovered": "fingers seem to be missing",
    "more": "there seem to be too many fingers",
    "fewer": "there seem to be too few fingers",
}
HEAVY = 0.7  # log odds that a group of signals must take to be named
_MOST_REASONS = 3


def reasons_of(contributions: dict[str, float], doubtful: Sequence[str] = ()) -> tuple[str, ...]:
    """Plain words for what takes most from a hand's quality.

    Args:
        doubtful: see ``Judgement``; named where it is the network that speaks against the hand.
    """
    against: dict[str, float] = {}
    for name, value in contributions.items():
        group = next((start for start in REASONS if name.startswith(start)), None)
        if group is not None:
            against[group] = against.get(group, 0.0) + value
    heavy = sorted((value, group) for group, value in against.items() if value < -HEAVY)
    return tuple(_in_words(group, doubtful) for _, group in heavy[:_MOST_REASONS])


def _in_words(group: str, doubtful: Sequence[str]) -> str:
    if group != NETWORK or not doubtful:
        return REASONS[group]
    named = [part if part in ("thumb", "palm") else f"{part} finger" for part in doubtful[:2]]
    return f"its {' and its '.join(named)} {'looks' if len(named) == 1 else 'look'} wrong"


@dataclass(frozen=True, eq=False)
class Measured:
    """What is known of one hand before it is judged."""

    signals: dict[str, float]
    hand: Hand
    fingers: int | None
    residual: float
    doubtful: tuple[str, ...]


def measure(
    pyramid: Pyramid, points: Tensor, model: HandModel | None = None, *, usual: Tensor, usual_spread: Tensor
) -> list[Measured]:
    """The signals of N hands with joints [N, 21, 2] (pixels), their fits and fingers.

    Args:
        usual, usual_spread: [20] see ``JudgeModel``.
    """
    model = model or load_open_hand()
    looked = look_again(pyramid, points)
    flat, world = middle(looked)
    fit, hands = explain(model, looked, pyramid.width, pyramid.height)
    right = torch.tensor([hand.side == "right" for hand in hands])
    sound, wrong = look(hand_views(pyramid, flat), judge_network())
    columns = {
        **steadiness(looked), **anatomy(flat, world, right, usual, usual_spread), **fit_signals(fit), NETWORK: sound,
    }  # fmt: skip
    found = []
    for i, (hand, joints) in enumerate(zip(hands, flat, strict=True)):
        silhouette = compare(pyramid, hand, joints, model)
        signals = {name: float(column[i]) for name, column in columns.items()} | silhouette.signals()
        doubtful = tuple(parts_in_doubt(wrong[i], points_in_view(joints)))
        found.append(Measured(signals, hand, silhouette.fingers, float(fit.residual[i]), doubtful))
    return found


def detector_of_judge(
    max_hands: int, min_confidence: float = MIN_CONFIDENCE, thoroughness: str = "balanced"
) -> LandmarkDetector:
    """Finds the hands that are judged."""
    palm = min(PALM_CONFIDENCE, 0.5 * min_confidence)
    return LandmarkDetector(max_hands, min_confidence, thoroughness=thoroughness, palm_confidence=palm)


def hands_to_judge(picture: Tensor, detector: LandmarkDetector, boxes: Tensor | None = None) -> list[Landmarks]:
    """The hands in a picture [H, W, 3], largest first; where there seems to be none, those of more patient looks.

    The landmark network's first look at a hand, whose place is only guessed, is often less sure than its last. So the
    further looks take in what is less sure, and keep what is in the end as sure as was asked for. ``fast`` detectors
    look once.
    """
    found = detector(picture, boxes)
    further = () if detector.thoroughness == "fast" else FURTHER_LOOKS
    for thoroughness in further:
        if not found:
            patient = detector_of_judge(detector.max_hands, LESS_SURE * detector.min_confidence, thoroughness)
            found = [hand for hand in patient(picture, boxes) if hand.presence >= detector.min_confidence]
    return found


def judge_pictures(
    pictures: Tensor,
    *,
    wanted: Hands | None = None,
    max_hands: int = 10,
    min_confidence: float = MIN_CONFIDENCE,
    thoroughness: str = "balanced",
    boxes: Sequence[Tensor] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[PictureJudgement]:
    """Judge the hands of each picture.

    Args:
        pictures: [B, H, W, C] float in [0, 1], as in ``estimate_hands``.
        wanted: the hands that should be there, in pictures of the same shape; one frame serves all pictures.
        max_hands, min_confidence, thoroughness: of the detector, see ``LandmarkDetector``.
        boxes: for each picture [K, 4] normalised: look there alone.
        progress: called as ``progress(pictures done, pictures)``.

    Raises:
        ValueError: for what is no batch of pictures; for wanted hands in a picture of another shape.
    """
    with torch.inference_mode(False), torch.no_grad():
        pictures = as_rgb(pictures)
        detector = detector_of_judge(max_hands, min_confidence, thoroughness)
        frames = None if wanted is None else wanted.for_batch(len(pictures))[0].frames
        found = []
        for number, picture in enumerate(pictures):
            where = None if boxes is None else boxes[number % len(boxes)]
            found.append(_judge(picture, detector, where, None if frames is None else frames[number]))
            if progress is not None:
                progress(len(found), len(pictures))
    return found


def _judge(picture: Tensor, detector: LandmarkDetector, boxes: Tensor | None, wanted: Frame | None) -> PictureJudgement:
    height, width = picture.shape[:2]
    size = torch.tensor([width, height], dtype=torch.float32)
    landmarks = hands_to_judge(picture, detector, boxes)
    judged: list[Judgement] = []
    if landmarks:
        statistics = judge_model()
        points = torch.stack([hand.points for hand in landmarks]) * size
        found = measure(Pyramid(picture), points, usual=statistics.usual, usual_spread=statistics.usual_spread)
        for one in found:
            signals, reasons = one.signals, reasons_of(statistics.contributions(one.signals), one.doubtful)
            judged.append(
                Judgement(one.hand, statistics.quality(signals), one.hand.confidence, one.fingers, one.residual,
                          reasons, signals, doubtful=one.doubtful)
            )  # fmt: skip
    if wanted is None:
        return PictureJudgement(width, height, tuple(judged))
    return _matched(PictureJudgement(width, height, tuple(judged)), [hand.points for hand in landmarks], wanted)


def _matched(judgement: PictureJudgement, points: list[Tensor], wanted: Frame) -> PictureJudgement:
    """With each wanted hand's score at the found hand that lies nearest to it; no found hand serves two."""
    if judgement.width * wanted.height != judgement.height * wanted.width:
        raise ValueError(
            f"The picture has {judgement.width} x {judgement.height} pixels, the wanted hands belong to one of "
            f"{wanted.width} x {wanted.height}: place them on the picture first."
        )
    free, matches = set(range(len(points))), {}
    for hand in wanted.hands:
        scores = {i: _score(judgement, i, points[i], hand) for i in free}
        best = min(scores, key=lambda i: scores[i].joint_error, default=None)
        if best is not None and scores[best].joint_error < ANOTHER_HAND:
            matches[best] = scores[best]
            free.discard(best)
    hands = tuple(dataclasses.replace(hand, match=matches.get(i)) for i, hand in enumerate(judgement.hands))
    return dataclasses.replace(judgement, hands=hands, missing=len(wanted.hands) - len(matches))


def _score(judgement: PictureJudgement, number: int, points: Tensor, wanted: Hand) -> Score:
    """A found hand against a wanted one, as ``score.score_picture`` does it."""
    width, height = judgement.width, judgement.height
    size = torch.tensor([width, height], dtype=torch.float32)
    box = hand_box(wanted, width, height)
    longer = float(((box[2:] - box[:2]).float() * size).max())
    errors = ((points - mediapipe_points_2d(wanted, width, height).float()) * size).norm(dim=-1) / max(longer, 1e-6)
    found = judgement.hands[number]
    return Score(True, found.presence, errors, found.hand.side == wanted.side)
