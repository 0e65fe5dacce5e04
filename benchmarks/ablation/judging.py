"""Hands found in drawn pictures, by the detector's own networks in torch, in processes beside the training."""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

log = logging.getLogger("handrawer")
CHUNK = 16
KEPT = 3  # hands of a picture
VALUES = 21 * 2 + 3  # points, right or left (1, 0), certainty of the side, presence


def _start() -> None:
    torch.set_num_threads(1)


def find_hands(pictures: np.ndarray, backend: str = "torch") -> np.ndarray:
    """The hands of pictures [n, H, W, 3] uint8: [n, KEPT, VALUES] float16, NaN where there is none.

    The plain look at confidence 0.5, as handrawer.evaluate.score.
    """
    from handrawer.estimate.landmarks import LandmarkDetector
    from handrawer.evaluate.score import MIN_CONFIDENCE

    detector = LandmarkDetector(max_hands=KEPT, min_confidence=MIN_CONFIDENCE, backend=backend)
    found = np.full((len(pictures), KEPT, VALUES), np.nan, np.float16)
    for row, picture in zip(found, pictures, strict=True):
        for place, hand in zip(row, detector(torch.from_numpy(picture).float() / 255), strict=False):
            more = [float(hand.side == "right"), hand.score, hand.presence]
            place[:] = np.concatenate([hand.points.flatten().numpy(), more])
    return found


@dataclass
class Judge:
    """Gives pictures to the processes and gathers what they find, by name.

    workers 0 looks in this process (small runs and tests).
    """

    workers: int
    found: dict[str, np.ndarray] = field(default_factory=dict)
    _waiting: dict[str, list[Future]] = field(default_factory=dict)
    _pool: ProcessPoolExecutor | None = None

    def __post_init__(self) -> None:
        if self.workers:
            self._pool = ProcessPoolExecutor(self.workers, get_context("spawn"), _start)
            for _ in range(self.workers):  # so that they start now
                self._pool.submit(_start)

    def look(self, name: str, pictures: torch.Tensor) -> None:
        """Pictures [n, H, W, 3] uint8 under a name; returns at once where there are processes."""
        parts = [part.numpy() for part in pictures.split(CHUNK)]
        if self._pool is None:
            self.found[name] = np.concatenate([find_hands(part) for part in parts])
        else:
            self._waiting[name] = [self._pool.submit(find_hands, part) for part in parts]

    def gather(self, path: Path, seconds: float = 0.0, last: bool = False) -> int:
        """Wait at most so long for what is under way, write everything that is known (`last`: in a smaller file); how
        many names are missing."""
        until = time.monotonic() + seconds
        for name, parts in list(self._waiting.items()):
            while not all(part.done() for part in parts) and time.monotonic() < until:
                time.sleep(0.05)
            if all(part.done() for part in parts):
                del self._waiting[name]
                try:
                    self.found[name] = np.concatenate([part.result() for part in parts])
                except Exception:
                    log.exception("the detector failed on %s", name)
        (np.savez_compressed if last else np.savez)(path, **self.found)  # pyright: ignore[reportArgumentType]
        return len(self._waiting)

    def close(self) -> None:
        """End the processes, whatever they still do."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            for process in list((getattr(self._pool, "_processes", None) or {}).values()):
                process.terminate()
