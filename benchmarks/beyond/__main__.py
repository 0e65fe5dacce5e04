"""`python -m benchmarks.beyond machine` from the repository: a gripper in the place of the hand. See docs/ablation.md.

python -m benchmarks.beyond machine --out out/machine --seconds 120      # on a GPU; --smoke: a toy size on the CPU
python -m benchmarks.beyond collect --out out/machine                    # its figures into reports/beyond
python -m benchmarks.beyond sheet --out out/machine                      # the pictures, from the kept latents
python -m benchmarks.ablation report                                     # the tables
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.ablation.single import parser, run_stage, settings

from .machine import WAYS, machine_part

STORE = Path("reports/beyond/machine.json")
RESERVE = 35.0  # seconds of a call for drawing and reading what was drawn


def keep(folder: Path, store: Path) -> None:
    """What the run found of the machine part, small enough for the repository."""
    results = json.loads((folder / "results.json").read_text())
    kept = {name: results[name] for name in ("machine", "machine_part", "base", "seconds")}
    store.parent.mkdir(parents=True, exist_ok=True)
    store.write_text(json.dumps(kept, separators=(",", ":")))


def main() -> int:
    """The command line."""
    made = parser("benchmarks.beyond", ("machine", "collect", "sheet"), "out/machine")
    made.add_argument("--way", choices=tuple(WAYS), action="append", help="train this alone; default: all of them")
    given = made.parse_args()
    done = True
    if given.command == "machine":
        # Neither hands nor their detector are wanted here.
        config = settings(given, samples=8, poses=8, workers=0)
        reserve = None if given.smoke or not given.seconds else RESERVE
        ways = tuple(given.way or WAYS)
        done = run_stage(given, config, "machine part", lambda shop: machine_part(shop, reserve, ways))
    if done and (given.command == "collect" or given.smoke):
        keep(given.out, given.store or (given.out / "machine.json" if given.smoke else STORE))
    if given.command == "sheet":
        from .machine_sheet import sheet_of_machines

        sheet_of_machines(given.out, Path("reports/beyond/machine.jpg"))
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
