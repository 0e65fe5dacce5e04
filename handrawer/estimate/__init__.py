"""Pictures to hands: MediaPipe's landmarks, then a fit of the hand model under the joint limits."""

from .estimate import estimate_hands
from .fit import fit_hands
from .landmarks import LandmarkDetector, Landmarks

__all__ = ["LandmarkDetector", "Landmarks", "estimate_hands", "fit_hands"]
