"""FID and KID between two sets of pictures by a feature extractor that is named, and CLIP scores.

The published FID uses Inception-v3; its weights are used where they are on this machine already, and never fetched.
Otherwise the features are those of MediaPipe's hand landmark network, which ships with HanDrawer: its trunk has seen a
great many photographs of hands. Such distances tell sets of this project apart; they are not comparable with published
ones, and every report says which extractor was used.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..estimate.networks import HAND_SIDE, hand_network

logger = logging.getLogger("handrawer")

EXTRACTORS = ("auto", "inception", "clip", "landmarks")
INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"  # as torch-fidelity names it
BATCH = 16
SUBSETS, MOST_IN_SUBSET = 100, 1000  # of KID
LEAST = 4  # pictures in each set


@dataclass(frozen=True, eq=False)
class Extractor:
    """Turns pictures into features, and says what it is."""

    name: str
    words: str
    size: int
    call: Callable[[Tensor], Tensor]
    """[N, 3, H, W] float 0..1 to [N, size]."""

    def __call__(self, pictures: Tensor) -> Tensor:
        with torch.inference_mode():
            return self.call(pictures).float()


@dataclass(frozen=True)
class Distance:
    """Between two sets."""

    fid: float
    kid: float
    kid_spread: float
    """Standard deviation over subsets."""
    pictures: int
    references: int
    extractor: str
    note: str = ""


def make_extractor(name: str = "auto", clip: Path | None = None) -> Extractor:
    """The feature extractor of a name.

    Args:
        name: `inception` (FID's own, where its weights are), `clip` (the image tower of a CLIP folder), `landmarks`
            (ships), or `auto`: inception where it can be had, else landmarks.
        clip: a folder with a transformers CLIP model.

    Raises:
        ValueError: it cannot be had; the sentence says what is missing.
    """
    if name not in EXTRACTORS:
        raise ValueError(f"There is no feature extractor {name!r}: choose one of {', '.join(EXTRACTORS)}.")
    if name == "clip":
        return _clip_extractor(clip)
    weights = _inception_weights()
    if name == "inception" and weights is None:
        raise ValueError(
            f"Inception needs torch-fidelity and its weights ({INCEPTION_FILE} in torch's folder hub/checkpoints); "
            "they are not fetched. Use --features landmarks without them."
        )
    if weights is not None and name in ("auto", "inception"):
        return _inception_extractor(weights)
    return _landmark_extractor()


def _inception_weights() -> Path | None:
    file = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE
    return file if file.is_file() and importlib.util.find_spec("torch_fidelity") is not None else None


def _inception_extractor(weights: Path) -> Extractor:
    torchmetrics_image()
    from torchmetrics.image.fid import NoTrainInceptionV3

    network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(weights))
    words = "Inception-v3, 2048 features, as in published FIDs"
    return Extractor("inception", words, 2048, lambda pictures: network((pictures * 255).round().to(torch.uint8)))


def _landmark_extractor() -> Extractor:
    network = hand_network()
    trunk = network.output_of("mean")

    def features(pictures: Tensor) -> Tensor:
        small = F.interpolate(pictures, (HAND_SIDE, HAND_SIDE), mode="bilinear", antialias=True, align_corners=False)
        return network(small, also=(trunk,))[-1].flatten(1)

    size = features(torch.zeros(1, 3, HAND_SIDE, HAND_SIDE)).shape[-1]
    words = (
        f"the trunk of MediaPipe's hand landmark network, {size} features (ships with HanDrawer; not comparable with "
        "published FIDs, which use Inception-v3)"
    )
    return Extractor("landmarks", words, size, features)


def _clip_extractor(folder: Path | None) -> Extractor:
    clip = Clip(folder)
    words = f"the image tower of CLIP in {clip.folder.name}, {clip.size} features (not comparable with published FIDs)"
    return Extractor("clip", words, clip.size, clip.pictures)


def features_of(pictures: Iterable[Tensor], extractor: Extractor) -> Tensor:
    """[N, size] features of pictures [H, W, 3] float 0..1 of any size, one by one in bounded memory."""
    found = [extractor(picture.permute(2, 0, 1)[None]) for picture in pictures]
    return torch.cat(found) if found else torch.zeros(0, extractor.size)


def distance(features: Tensor, reference: Tensor, extractor: Extractor, seed: int = 0) -> Distance | None:
    """FID (Heusel et al. 2017) and KID (Binkowski et al. 2018) between two sets of features, by torchmetrics.

    Args:
        features, reference: [N, size], [M, size].

    Returns:
        None where a set has fewer than LEAST pictures.

    Raises:
        ImportError: without torchmetrics.
    """
    if min(len(features), len(reference)) < LEAST:
        return None
    fid_class, kid_class = torchmetrics_image()
    same = _Same(extractor.size)
    fid = fid_class(feature=same, normalize=True)
    subset = min(MOST_IN_SUBSET, len(features), len(reference))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it keeps the features in memory: they are small
        kid = kid_class(feature=same, normalize=True, subsets=SUBSETS, subset_size=subset)
    for metric in (fid, kid):
        metric.update(reference, real=True)
        metric.update(features, real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # KID draws its subsets from torch's own generator
        mean, spread = kid.compute()
    few = min(len(features), len(reference)) <= extractor.size
    note = (
        f"Few pictures for {extractor.size} features: the FID is biased upwards; compare sets of equal size only."
        if few
        else ""
    )
    value = max(0.0, float(fid.compute()))
    return Distance(value, float(mean), float(spread), len(features), len(reference), extractor.words, note)


class _Same(torch.nn.Module):
    """Takes features for features, so that torchmetrics need not see pictures."""

    def __init__(self, size: int):
        super().__init__()
        self.num_features = size

    def forward(self, features: Tensor) -> Tensor:
        return features


def torchmetrics_image() -> tuple[Any, Any]:
    """torchmetrics' FID and KID.

    Raises:
        ImportError: with a sentence that says what to install.
    """
    # Its import looks for optional packages; none of them may reach for the network.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        from torchmetrics.image.fid import FrechetInceptionDistance
        from torchmetrics.image.kid import KernelInceptionDistance
    except ImportError as error:
        raise ImportError(
            'FID and KID need torchmetrics: install it with `pip install "handrawer[evaluate]"`.'
        ) from error
    return FrechetInceptionDistance, KernelInceptionDistance


class Clip:
    """A CLIP model from a folder of transformers' layout.

    Raises:
        ValueError: the folder holds none.
    """

    def __init__(self, folder: Path | None):
        from transformers import AutoProcessor, CLIPModel

        if folder is None or not folder.is_dir():
            raise ValueError("CLIP needs a folder with a transformers CLIP model: give it with --clip FOLDER.")
        self.folder = folder
        try:
            self.model: Any = CLIPModel.from_pretrained(folder, local_files_only=True).eval()
            self.processor: Any = AutoProcessor.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ValueError(f"{folder} holds no CLIP model that transformers can load ({error}).") from error
        self.size = int(self.model.config.projection_dim)

    def pictures(self, pictures: Tensor) -> Tensor:
        """[N, size] embeddings of length 1 of pictures [N, 3, H, W] float 0..1."""
        arrays = [(picture.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy() for picture in pictures]
        inputs = self.processor(images=arrays, return_tensors="pt")
        return F.normalize(_plain(self.model.get_image_features(pixel_values=inputs["pixel_values"])), dim=-1)

    def score(self, picture: Tensor, caption: str) -> float:
        """100 x the cosine of a picture [H, W, 3] and its caption, at least 0 (Hessel et al. 2021, without its 2.5)."""
        with torch.inference_mode():
            image = self.pictures(picture.permute(2, 0, 1)[None])
            tokens = self.processor(text=[caption], return_tensors="pt", padding=True, truncation=True)
            text = _plain(self.model.get_text_features(**tokens))
            return max(0.0, 100.0 * float((image * F.normalize(text, dim=-1)).sum()))


def _plain(found: Any) -> Tensor:
    """transformers 5 gives a record where 4 gives the tensor."""
    return found if isinstance(found, Tensor) else found.pooler_output
