"""What a run says: one JSON line each to `log.jsonl`, the same as text to the logger, curves to TensorBoard."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

log = logging.getLogger("handrawer")


class Records:
    """The records of one run; only the first process writes.

    Args:
        folder: of the run.
        active: whether anything is written at all.
    """

    def __init__(self, folder: Path, active: bool = True) -> None:
        self.active = active
        self.path = folder / "log.jsonl"
        self.board: Any = self._open_board(folder / "tensorboard") if active else None

    @staticmethod
    def _open_board(folder: Path) -> Any:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:  # tensorboard is not installed; the JSON lines hold the same numbers
            return None
        try:
            return SummaryWriter(str(folder))
        except OSError as error:
            log.warning("%s cannot be written (%s): there are no curves, training goes on.", folder, error)
            return None

    def say(self, text: str, **values: Any) -> None:
        """A line of text, with values for machines beside it."""
        if not self.active:
            return
        log.info(text)
        self._write({"text": text, **values})

    def numbers(self, step: int, values: dict[str, float], group: str = "train") -> None:
        """Numbers of a step: to the log, the logger and TensorBoard."""
        if not self.active:
            return
        shown = " ".join(f"{name} {value:.4g}" for name, value in values.items())
        log.info("%s step %d %s", group, step, shown)
        self._write({"kind": group, "step": step, **values})
        self._curves({f"{group}/{name}": value for name, value in values.items()}, step)

    def _curves(self, values: dict[str, float], step: int) -> None:
        if self.board is None:
            return
        try:
            for name, value in values.items():
                self.board.add_scalar(name, value, step)
        except OSError as error:  # a full disk must not end the run
            log.warning("TensorBoard's curves end at step %d (%s): log.jsonl and this log go on.", step, error)
            self.board = None

    def _write(self, line: dict[str, Any]) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:  # a full disk must not end the run
            log.warning("%s cannot be written (%s): the line is in this log alone.", self.path, error)

    def close(self) -> None:
        if self.board is None:
            return
        try:
            self.board.close()
        except OSError as error:
            log.warning("TensorBoard's last curves cannot be written (%s).", error)


def read_records(folder: Path, kind: str = "train") -> list[dict[str, Any]]:
    """The lines of a kind of a run's `log.jsonl`, in order; of a step that was run again the last one counts."""
    path = folder / "log.jsonl"
    rows: dict[int, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row.get("kind") == kind:
            rows[row["step"]] = row
    return [rows[step] for step in sorted(rows)]
