"""`python -m benchmarks.lighter distill` from the repository: the small model in four steps. See docs/ablation.md.

python -m benchmarks.lighter distill --out out/lighter --seconds 120     # on a GPU; --smoke: a toy size on the CPU
python -m benchmarks.lighter collect --out out/lighter                   # scores into reports/lighter/scores.json
python -m benchmarks.lighter sheet --out out/lighter                     # the pictures, from the kept latents
python -m benchmarks.ablation report                                     # the tables
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.ablation.single import parser, run_stage, settings

STORE = Path("reports/lighter/scores.json")
RESERVE, WRITING = 40.0, 10.0  # seconds of a call for drawing and judging, and for writing what it has


def main() -> int:
    """The command line."""
    given = parser("benchmarks.lighter", ("distill", "collect", "sheet"), "out/lighter").parse_args()
    done = True
    if given.command == "distill":
        from .distill import distill

        config = settings(given, **({"samples": 8_000} if given.config == "gpu" else {}))
        by_time = given.seconds and not given.smoke
        # What goes on over several calls draws in the last one alone.
        reserve = (WRITING if config.distill_steps else RESERVE) if by_time else None
        done = run_stage(given, config, "distillation", lambda shop: distill(shop, reserve))
    if done and (given.command == "collect" or given.smoke):
        from benchmarks.ablation.collect import collect

        collect(given.out, given.store or (given.out / "scores.json" if given.smoke else STORE))
    if given.command == "sheet":
        from .looks import sheet_of_steps

        sheet_of_steps(given.out, Path("reports/lighter/few_steps.jpg"))
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
