"""Tensors that are made once and kept on disk: shards of safetensors, found again by their content's name."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

log = logging.getLogger("handrawer")
SHARD_ENTRIES = 128
OPEN_FILES = 16


def name_of(*parts: object) -> str:
    """A name for content: equal parts give equal names."""
    return hashlib.blake2b("\n".join(str(part) for part in parts).encode(), digest_size=16).hexdigest()


class Cache:
    """A folder of named groups of tensors.

    Several processes may use one folder: each writes shards of its own, which appear whole, and sees those of the
    others when it opens the folder or writes a shard.

    Args:
        folder: made if it is not there.
        writer: a word in the names of this process's shards.
    """

    def __init__(self, folder: str | Path, writer: str = "0") -> None:
        self.folder, self.writer = Path(folder), writer
        self.folder.mkdir(parents=True, exist_ok=True)
        self._where: dict[str, Path] = {}
        self._seen: set[Path] = set()
        self._open: OrderedDict[Path, Any] = OrderedDict()
        self._new: dict[str, dict[str, Tensor]] = {}
        self._full = False
        self.look()

    def __len__(self) -> int:
        return len(self._where) + len(self._new)

    def __contains__(self, name: str) -> bool:
        return name in self._new or name in self._where

    def look(self) -> None:
        """Find what other processes have written meanwhile."""
        from safetensors import SafetensorError, safe_open

        for path in sorted(self.folder.glob("*.safetensors")):
            if path in self._seen:
                continue
            self._seen.add(path)
            try:
                with safe_open(str(path), framework="pt") as file:
                    names = {key.partition("/")[0] for key in file.keys()}  # noqa: SIM118 - no dict
            except (SafetensorError, OSError) as error:
                log.warning("%s of the cache is damaged and left out (%s): you may delete it.", path, error)
                continue
            self._where |= dict.fromkeys(names, path)

    def get(self, name: str) -> dict[str, Tensor] | None:
        """The tensors of a name, on the CPU, or None."""
        if name in self._new:
            return self._new[name]
        if name not in self._where:
            return None
        file = self._file(self._where[name])
        keys = [key for key in file.keys() if key.startswith(name + "/")]  # noqa: SIM118 - no dict
        return {key.partition("/")[2]: file.get_tensor(key) for key in keys}

    def put(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors under a name; they are on disk once a shard is full, or after `flush`."""
        if self._full:
            return
        self._new[name] = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        if len(self._new) >= SHARD_ENTRIES:
            self.flush()

    def flush(self) -> None:
        """Write what is new. Where the disk is full, the cache says so once and keeps nothing more."""
        from safetensors.torch import save_file

        if not self._new:
            return
        flat = {f"{name}/{key}": tensor for name, group in self._new.items() for key, tensor in group.items()}
        path = self.folder / f"{name_of(*sorted(self._new))}-{self.writer}.safetensors"
        part = path.with_suffix(".part")
        try:
            save_file(flat, part)
            os.replace(part, path)
        except (OSError, RuntimeError) as error:  # safetensors wraps what the system says
            part.unlink(missing_ok=True)
            self._full = True
            log.warning("The cache cannot be written (%s): training goes on without it.", error)
            self._new = {}
            return
        self._seen.add(path)
        self._where |= dict.fromkeys(self._new, path)
        self._new = {}
        self.look()

    def _file(self, path: Path) -> Any:
        from safetensors import safe_open

        if path not in self._open:
            self._open[path] = safe_open(str(path), framework="pt").__enter__()
            if len(self._open) > OPEN_FILES:
                self._open.popitem(last=False)[1].__exit__(None, None, None)
        self._open.move_to_end(path)
        return self._open[path]
