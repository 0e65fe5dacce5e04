"""Means with intervals over training seeds and poses together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESAMPLES = 4000


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def resampled(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Means of RESAMPLES resamples of values [training seeds, poses]: seeds are drawn with replacement and, alike for
    all of them, poses, so that neither counts as more evidence than it is. NaN counts as missing.

    The same poses are drawn for every table of equal shape, so that two arms may be compared resample by resample.
    """
    copies, poses = values.shape
    drawn_poses = np.random.default_rng(seed).multinomial(poses, np.full(poses, 1 / poses), RESAMPLES)
    own = np.random.default_rng((seed, int(np.nansum(values) * 1e6) % 2**31))
    drawn_copies = own.multinomial(copies, np.full(copies, 1 / copies), RESAMPLES)
    present = ~np.isnan(values)
    total = ((drawn_poses @ np.where(present, values, 0.0).T) * drawn_copies).sum(1)
    return total / np.maximum(((drawn_poses @ present.T) * drawn_copies).sum(1), 1)


def interval(values: np.ndarray) -> Interval:
    """Of values [training seeds, poses]."""
    low, high = np.quantile(resampled(values), (0.025, 0.975))
    return Interval(float(np.nanmean(values)), float(low), float(high))


def difference(values: np.ndarray, other: np.ndarray) -> Interval:
    """Of the means of two arms over the same poses, paired by pose; their training seeds are drawn apart."""
    low, high = np.quantile(resampled(values) - resampled(other), (0.025, 0.975))
    return Interval(float(np.nanmean(values) - np.nanmean(other)), float(low), float(high))
