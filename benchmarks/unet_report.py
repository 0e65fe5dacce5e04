"""What `benchmarks/unet.py` writes: one JSON file a base, device and type, and one page made of all of them.

A section measured again takes the place of what the file had, so that a page may grow over several runs and machines:
`python -m benchmarks.unet_report reports/speed` makes it of the files that lie there. What
`python -m tests.adapter.device_checks` printed goes in at the end, from files called devices_*.md.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

TITLES = {"sd15": "SD1.5", "sdxl": "SDXL", "sd15_tiny": "SD1.5 in few channels", "sdxl_tiny": "SDXL in few channels"}
PAGE = "report.md"
# In the order of the page.
SECTIONS = ("networks", "check", "steps", "before", "hands", "sizes", "operations", "memory")
TIME_BAR, MEMORY_BAR = 0.02, 0.05
INTRODUCTION = f"""# What HanDrawer costs

Full-size UNets with random weights, beside a ControlNet and a T2I-Adapter of the same base (diffusers' classes, random
weights too). Within a table everything was measured in one run, in turn, so that a busy machine slows all alike; times
are medians. Made by `python benchmarks/unet.py --out reports/speed`, a section a run where it takes long.

*Own time of a step*: what HanDrawer's hooks take inside the running UNet, over the rest of the same step; bar
{100 * TIME_BAR:.0f} %. *Memory*: how much the peak grows beyond the weights of what was added, over the bare peak; bar
{100 * MEMORY_BAR:.0f} %."""
DEVICES = (
    "Small UNets in the layouts of the bases, random weights, float32 without TF32 unless it says otherwise; relative "
    "differences between what the device and what the CPU computes."
)


def ms(value: float) -> str:
    return f"{1000 * value:.3f}" if value < 0.01 else f"{1000 * value:.1f}"


def percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.2f} %"


def machine(device: torch.device) -> str:
    """What was measured on, in words."""
    import diffusers

    versions = f"Python {platform.python_version()}, torch {torch.__version__}, diffusers {diffusers.__version__}"
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}; {versions}"
    threads = torch.get_num_threads()
    of = f"{os.cpu_count()} cores, {processor()}, {memory_gib()}"
    return f"CPU, {threads} thread{'s' if threads > 1 else ''} of {of}; {versions}"


def processor() -> str:
    known = Path("/proc/cpuinfo")
    if known.exists():
        names = [line.split(":", 1)[1].strip() for line in known.read_text().splitlines() if line.startswith("model n")]
        return names[0] if names else platform.machine()
    return platform.processor() or platform.machine()


def memory_gib() -> str:
    known = Path("/proc/meminfo")
    if not known.exists():
        return "memory unknown"
    kib = next(int(line.split()[1]) for line in known.read_text().splitlines() if line.startswith("MemTotal"))
    return f"{kib / 2**20:.0f} GiB"


@dataclass
class Report:
    """One base on one device in one type, grown section by section. folder None: only printed."""

    base: str
    device: str
    dtype: str
    folder: Path | None = None
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    section: str = ""

    def __post_init__(self) -> None:
        if self.folder is not None and self.file.exists():
            self.sections = json.loads(self.file.read_text(encoding="utf-8"))["sections"]

    @property
    def file(self) -> Path:
        assert self.folder is not None
        return self.folder / f"{self.base}_{self.device}_{self.dtype}.json"

    def begin(self, section: str, where: str) -> None:
        """Of a section that is measured now; what it said before is dropped."""
        self.section = section
        self.sections[section] = {"machine": where, "lines": [], "figures": {}}

    def say(self, *lines: str) -> None:
        self.sections[self.section]["lines"] += lines
        print("\n".join(lines), flush=True)

    def table(self, heads: list[str], rows: list[list[str]]) -> None:
        self.say("", f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}")
        self.say(*(f"| {' | '.join(row)} |" for row in rows), "")

    def keep(self, **figures: Any) -> None:
        """Figures of this section, as JSON knows them."""
        self.sections[self.section]["figures"] |= figures

    def write(self) -> None:
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        values = {"base": self.base, "device": self.device, "dtype": self.dtype, "sections": self.sections}
        self.file.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        (self.folder / PAGE).write_text(page(self.folder), encoding="utf-8")


def page(folder: Path) -> str:
    """The page of all files in a folder: a table of the bars, then every section."""
    parts = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*_*_*.json"))]
    rows = [row for part in parts for row in [bars(part)] if row]
    heads = ["", "picture", "rows", "own time of a step", "peak memory", "more with HanDrawer", "beyond its weights"]
    lines = [INTRODUCTION, "", *table(heads, rows)]
    for part in parts:
        lines += [f"## {name(part)}", ""]
        said = ""
        for section in (name for name in SECTIONS if part["sections"].get(name, {}).get("lines")):
            found = part["sections"][section]
            if found["machine"] != said:
                said = found["machine"]
                lines += [said, ""]
            lines += found["lines"]
    for file in sorted(folder.glob("devices_*.md")):
        lines += ["## A device against the CPU", "", DEVICES, "", file.read_text(encoding="utf-8").strip(), ""]
    return "\n".join(lines).rstrip() + "\n"


def name(part: dict[str, Any]) -> str:
    return f"{TITLES[part['base']]} on {'a GPU' if part['device'] == 'cuda' else 'a CPU'}, {part['dtype']}"


def table(heads: list[str], rows: list[list[str]]) -> list[str]:
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def bars(part: dict[str, Any]) -> list[str] | None:
    """A row of the first table: what was measured against its bar."""
    found = {section: values["figures"] for section, values in part["sections"].items()}
    step, memory = found.get("steps"), found.get("memory")
    known = step or memory
    if not known:
        return None
    cells = [name(part), f"{known['size']} × {known['size']}", str(known["rows"])]
    cells.append(judged(step["share"], TIME_BAR) if step else "not measured")
    if not memory:
        return [*cells, "not measured", "", ""]
    bare, ours = memory["peaks"]["bare"], memory["peaks"]["HanDrawer"]
    beyond = (ours - bare - memory["weights"]["HanDrawer"]) / bare
    return [*cells, f"{bare / 2**20:.0f} MiB", f"{(ours - bare) / 2**20:+.0f} MiB", judged(beyond, MEMORY_BAR)]


def judged(share: float, bar: float) -> str:
    return f"{100 * share:.2f} %" if share <= bar else f"**{100 * share:.2f} %, above the bar**"


def main() -> None:
    folder = Path(sys.argv[1])
    (folder / PAGE).write_text(page(folder), encoding="utf-8")


if __name__ == "__main__":
    main()
