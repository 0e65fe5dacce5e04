"""What all stages of a run share: the clock, the base, the judge, and the files that results are written to."""

from __future__ import annotations

import gc
import json
import logging
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from handrawer.train.data import Samples

from .base import FrozenBase
from .config import AblationConfig
from .judging import Judge
from .poses import Poses
from .sampling import decode
from .variants import ARMS

log = logging.getLogger("handrawer")


@dataclass
class Workshop:
    """One run.

    Attributes:
        started: time.time() at which the clock began.
        out: `results.json`, `detections.npz`, `latents.safetensors`, `log.txt`.
        poses: the held-out ones; pictures: how many pictures were drawn of each name.
        kept: latents of the first poses by name, fp16.
    """

    config: AblationConfig
    base: FrozenBase
    judge: Judge
    samples: Samples
    poses: Poses
    out: Path
    started: float
    results: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, Tensor] = field(default_factory=dict)
    guides: dict[str, Any] = field(default_factory=dict)
    """Guides that several stages want."""
    _looked: list[str] = field(default_factory=list)

    def left(self) -> float:
        """Seconds until this call's end."""
        return self.config.seconds - (time.time() - self.started)

    def done(self, name: str) -> bool:
        """Whether this stage came to its end, in this call or in an earlier one."""
        return name in self.results.get("stages", {})

    def stage(self, name: str, work: Callable[[], Any], needed: float) -> None:
        """`attempt`, unless it is done already or fewer than the needed seconds are left."""
        if self.done(name):
            return
        if self.left() < needed:
            log.warning("no time for %s: %.0f s are left, it needs %.0f", name, self.left(), needed)
            self.results.setdefault("left", []).append(name)
            return
        self.attempt(name, work)

    def show(self, name: str, latents: Tensor, judged: bool = True) -> None:
        """Decode pictures, give them to the judge, keep the first latents."""
        several = name.split(".")[0] in (*ARMS, "text", "ceiling", "shipped")
        count = self.config.kept if several else self.config.kept // 2
        self.kept[name] = latents[:count].half().cpu()
        if judged:
            self.look(name, decode(self.base, latents))

    def look(self, name: str, pictures: Tensor) -> None:
        """Give pictures [n, H, W, 3] uint8 to the judge."""
        self._looked.append(name)
        self.judge.look(name, pictures)

    def note(self, **values: Any) -> None:
        """Into results.json, at once."""
        self.results.update(values)
        self.write()

    def write(self) -> None:
        """Everything that is known so far."""
        self.results["seconds"] = round(time.time() - self.started, 1)
        (self.out / "results.json").write_text(json.dumps(self.results, indent=1))

    def write_latents(self) -> None:
        """The kept latents of every name, those of the arms and the others in two files."""
        from safetensors.torch import save_file

        for file, arms in (("latents.safetensors", True), ("more_latents.safetensors", False)):
            chosen = {k: v.contiguous() for k, v in self.kept.items() if (k.split(".")[0] in ARMS) == arms}
            if chosen:
                save_file(chosen, self.out / file)

    def tidy(self) -> None:
        """Give back the memory of recorded graphs, which refer to themselves."""
        gc.collect()
        if self.base.device.type == "cuda":
            torch.cuda.empty_cache()

    def attempt(self, name: str, stage: Callable[[], Any]) -> None:
        """Run a stage; what goes wrong in it is logged and noted, and the others go on."""
        began = time.time()
        self._looked = []
        try:
            stage()
        except Exception as error:  # noqa: BLE001, told in the log and in the results
            log.error("%s failed: %s", name, traceback.format_exc())
            self.results.setdefault("failed", {})[name] = f"{type(error).__name__}: {error}"
        else:
            self.results.get("failed", {}).pop(name, None)
            self.results.setdefault("drew", {})[name] = self._looked
            self.results.setdefault("stages", {})[name] = round(time.time() - began, 1)
        self.tidy()
        log.info("%s took %.1f s, %.0f s left", name, time.time() - began, self.left())
        self.write()
        self.write_latents()
        self.judge.gather(self.out / "detections.npz")
