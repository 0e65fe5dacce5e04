"""Where everything lies in a prepared folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """Paths below a prepared folder. `work` holds what a stopped run goes on from; the rest is the result."""

    out: Path

    @property
    def shards(self) -> Path:
        return self.out / "shards"

    @property
    def work(self) -> Path:
        return self.out / "work"

    @property
    def state(self) -> Path:
        """Source and options."""
        return self.work / "state.json"

    @property
    def overrules(self) -> Path:
        """What a person decided, by key."""
        return self.out / "overrules.json"

    @property
    def pending(self) -> Path:
        """Chunks that a person's decisions touch and that are not written again yet."""
        return self.work / "pending.json"

    def shard(self, number: int) -> Path:
        return self.shards / f"{number:05d}.tar"

    def checks(self, number: int) -> Path:
        """The first look at a chunk's files."""
        return self.work / "checks" / f"{number:05d}.jsonl"

    def decisions(self, number: int) -> Path:
        """A chunk's decisions; there once the chunk is done."""
        return self.work / "decisions" / f"{number:05d}.jsonl"

    def thumb(self, key: str) -> Path:
        """In folders of at most some thousands."""
        return self.out / "thumbs" / f"{sum(key.encode()) % 256:02x}" / f"{key}.jpg"
