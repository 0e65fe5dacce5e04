"""How often the expensive steps have run in this process, so that caching can be seen to work.

Changing only the seed or only the strength of a picture must run none of them again.
"""

import logging
from collections import Counter
from threading import Lock

logger = logging.getLogger("handrawer")


class Counters:
    """A few named counts, safe to raise from any thread."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = Lock()

    def count(self, step: str) -> None:
        """Raise the count of ``step`` ("estimate", "encode", "fusion") by one and say so at debug level."""
        with self._lock:
            self._counts[step] += 1
            times = self._counts[step]
        logger.debug("%s has run %d times", step, times)

    def as_dict(self) -> dict[str, int]:
        """The counts so far; a step which never ran is 0."""
        with self._lock:
            return {step: self._counts[step] for step in ("estimate", "encode", "fusion")}


counters = Counters()
