"""What HanDrawer costs on full-size UNets: `python benchmarks/unet.py`, from the repository.

SD1.5 and SDXL with random weights, beside a ControlNet and a T2I-Adapter of the same base (diffusers' own classes,
random weights too). Everything is measured in one run, the variants in turn so that a busy machine slows all alike, and
given as medians. On the CPU only SD1.5 by default, in float32 with one row a step; on a GPU both bases with the two
rows of guidance: `python benchmarks/unet.py --device cuda --dtype float16 --out DIR`. Nothing is downloaded.

What is measured again takes its place in DIR/report.md, and the rest of that page stays: `--only memory`.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__" and not __package__:
    sys.path[0] = str(ROOT)  # started as a file: find the repository's packages, not this folder's files

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from benchmarks.full_size import (  # noqa: E402
    MIB,
    SIZES,
    UNETS,
    VARIANTS,
    Setting,
    added,
    build_controlnet,
    build_handrawer,
    build_t2i,
    build_unet,
    bytes_of,
    encode,
    hint,
    in_turn,
    inputs,
    make,
    make_maps,
    run_variant,
    share_of,
    some_hands,
)
from benchmarks.unet_report import Report, machine, ms, percent  # noqa: E402
from handrawer.adapter.handrawer import HanDrawer, hand_inputs  # noqa: E402
from handrawer.adapter.unet import describe_diffusers  # noqa: E402
from handrawer.hand.model import load_open_hand  # noqa: E402

CHOICES = ("check", "steps", "before", "hands", "sizes", "operations", "memory")


class Bench:
    """One base on one device; every section can fail alone."""

    def __init__(self, setting: Setting, report: Report) -> None:
        self.setting, self.report = setting, report
        torch.manual_seed(0)
        self.unet = make(lambda: build_unet(setting.base), setting)
        self.description = describe_diffusers(self.unet)
        self.adapter = build_handrawer(self.description, setting)
        self.hands = some_hands(1, setting.usual)

    def prepare(self, size: int, everything: bool = True) -> tuple[dict[str, Any], dict[str, Any]]:
        """Networks and what they make before the first step, and the UNet's call."""
        call = inputs(self.setting, size)
        hands = some_hands(1, size)
        names: dict[str, Any] = {"unet": self.unet, "description": self.description}
        names["maps"] = make_maps(self.adapter, encode(self.adapter, hands, self.setting), call)
        if everything:
            names["ControlNet"], names["T2I"] = self.controlnet, self.t2i
            names["hint"] = hint(hands, size, self.setting)
            with torch.no_grad():
                names["features"] = self.t2i(names["hint"])
        return names, call

    @property
    def warm(self) -> bool:
        """Whether steps are warmed up: a GPU's first ones are slower by far, a CPU's take long enough as they are."""
        return self.setting.device.type == "cuda"

    def add_others(self) -> None:
        self.controlnet = make(lambda: build_controlnet(self.setting.base), self.setting, 1)
        self.t2i = make(lambda: build_t2i(self.setting.base), self.setting, 2)

    def remove_others(self) -> None:
        del self.controlnet, self.t2i
        empty(self.setting)

    def check(self) -> None:
        """The code path is run, changes the output, and stays finite."""
        names, call = self.prepare(self.setting.usual, everything=False)
        with torch.no_grad():
            bare = run_variant(names, call, "bare", self.setting)()
            patched = run_variant(names, call, "HanDrawer", self.setting)()
        assert isinstance(bare, Tensor) and isinstance(patched, Tensor)
        finite = bool(torch.isfinite(patched).all()) and bool(torch.isfinite(bare).all())
        share = float((patched - bare).float().norm() / bare.float().norm())
        self.report.say(f"Effect of the patch on the output: {share:.3f} of its norm; finite: {finite}.", "")
        self.report.keep(size=self.setting.usual, share=share, finite=finite)

    def steps(self) -> None:
        """Time of a step."""
        setting, size = self.setting, self.setting.usual
        names, call = self.prepare(size)
        hooks: list[float] = []
        steps = {v: run_variant(names, call, v, setting, hooks) for v in VARIANTS}
        taken = in_turn(steps, setting, warm=self.warm)
        own = list(zip(hooks[-setting.rounds :], taken["HanDrawer"], strict=True))
        shares = [part / (whole - part) for part, whole in own]
        median = {name: statistics.median(times) for name, times in taken.items()}
        bare = median["bare"]
        rows = [
            [name, ms(value), ms(min(taken[name])), percent(value - bare, bare) if name != "bare" else ""]
            for name, value in median.items()
        ]
        self.report.say(f"### A step at {size} × {size}, {setting.batch}")
        self.report.table(["", "median ms", "fastest ms", "more than bare (whole steps)"], rows)
        self.report.say(
            f"HanDrawer's own work in a step (its hooks, timed inside the running UNet, {len(own)} steps): median "
            f"{ms(statistics.median(part for part, _ in own))} ms, **{100 * share_of(own):.2f} %** of the rest of the "
            f"same step, {100 * min(shares):.2f} to {100 * max(shares):.2f} %.",
            "",
        )
        self.report.keep(size=size, rows=setting.rows, seconds=taken, own=own, share=share_of(own))

    def before(self) -> None:
        """Time before the first step, rendering included."""
        setting, size = self.setting, self.setting.usual
        call, adapter = inputs(setting, size), self.adapter
        tokens = encode(adapter, self.hands, setting)
        drawn = hint(self.hands, size, setting)
        functions: dict[str, Callable[[], object]] = {
            "HanDrawer, all of it": lambda: make_maps(adapter, encode(adapter, self.hands, setting), call),
            "– rasters of the hand": lambda: hand_inputs(
                self.hands, load_open_hand(), adapter.config.raster, setting.device
            ),
            "– graph network": lambda: adapter.encode(tokens.inputs),
            f"– maps for {setting.batch}": lambda: make_maps(adapter, tokens, call),
            "ControlNet: depth picture": lambda: hint(self.hands, size, setting),
            "T2I-Adapter: depth picture and network": lambda: self.t2i(hint(self.hands, size, setting)),
            "– network alone": lambda: self.t2i(drawn),
        }
        taken = in_turn(functions, setting, max(setting.rounds, 3))
        self.report.say(f"### Before the first step at {size} × {size}, one hand")
        self.report.table(["", "median ms"], [[name, ms(statistics.median(t))] for name, t in taken.items()])
        self.report.keep(size=size, rows=setting.rows, seconds=taken)

    def many_hands(self) -> None:
        """Time against the number of hands."""
        setting, size = self.setting, self.setting.usual
        call, adapter = inputs(setting, size), self.adapter
        functions: dict[str, Callable[[], object]] = {}
        for count in (1, 2, 4, 8):
            hands = some_hands(count, size)
            tokens = encode(adapter, hands, setting)
            functions[f"encode {count}"] = lambda h=hands: encode(adapter, h, setting)
            functions[f"maps {count}"] = lambda t=tokens: make_maps(adapter, t, call)
        taken = in_turn(functions, setting, max(setting.rounds, 3))
        rows = [
            [str(n), *(ms(statistics.median(taken[f"{what} {n}"])) for what in ("encode", "maps"))]
            for n in (1, 2, 4, 8)
        ]
        self.report.say(f"### Number of hands, {size} × {size}")
        self.report.table(["hands", "rasters and graph network, ms", f"maps for {setting.batch}, ms"], rows)
        self.report.keep(size=size, rows=setting.rows, seconds=taken)

    def picture_sizes(self) -> None:
        """Cost against the size of the picture."""
        setting, rows, found = self.setting, [], {}
        for size in setting.sizes:
            names, call = self.prepare(size, everything=False)
            tokens = encode(self.adapter, some_hands(1, size), setting)
            hooks: list[float] = []
            functions = {v: run_variant(names, call, v, setting, hooks) for v in ("bare", "HanDrawer")}
            functions["maps"] = lambda t=tokens, c=call: make_maps(self.adapter, t, c)
            rounds = max(1, setting.rounds // 2)
            taken = in_turn(functions, setting, rounds, self.warm)
            timed = list(zip(hooks[-rounds:], taken["HanDrawer"], strict=True))
            own = statistics.median(part for part, _ in timed)
            bare = statistics.median(taken["bare"])
            maps = sum(m.numel() * m.element_size() for m in names["maps"].values()) / MIB
            cells = [ms(statistics.median(taken["maps"])), f"{maps:.1f}"]
            rows.append([f"{size} × {size}", ms(bare), ms(own), f"{100 * share_of(timed):.2f} %", *cells])
            found[str(size)] = {"seconds": taken, "own": timed, "share": share_of(timed), "maps_mib": maps}
            del names, call, functions
            empty(setting)
        self.report.say("### Size of the picture, one hand")
        heads = ["picture", "bare step ms", "HanDrawer's own ms", "share", "maps made in ms", "maps MiB"]
        self.report.table(heads, rows)
        self.report.keep(rows=setting.rows, **found)

    def memory(self) -> None:
        """Peak memory of a step; the weights of what is not measured are not on the device."""
        setting = self.setting
        weights = {
            "bare": 0,
            "HanDrawer": bytes_of(self.adapter),
            "ControlNet": meta_bytes(lambda: build_controlnet(setting.base), setting.dtype),
            "T2I-Adapter": meta_bytes(lambda: build_t2i(setting.base), setting.dtype),
        }
        if setting.device.type == "cuda":
            peaks = self.peaks_on_gpu()
        else:
            del self.unet  # the processes need the room
            gc.collect()
            peaks = peaks_of_processes(setting)
        bare = peaks["bare"]
        rows = []
        for name in VARIANTS:
            more = peaks[name] - bare
            cells = [f"{peaks[name] / MIB:.0f}", f"{more / MIB:+.0f}", f"{weights[name] / MIB:.0f}"]
            rows.append([name, *cells, percent(more - weights[name], bare)])
        of = "the device's allocations" if setting.device.type == "cuda" else "the whole process"
        self.report.say(f"### Peak memory of {of}, {setting.usual} × {setting.usual}, {setting.batch}")
        heads = ["", "peak MiB", "more than bare", "own weights MiB", "beyond its weights, of the bare peak"]
        self.report.table(heads, rows)
        self.report.keep(size=setting.usual, rows=setting.rows, peaks=peaks, weights=weights)

    def peaks_on_gpu(self) -> dict[str, int]:
        """Each variant's networks alone beside the UNet, from making the features to the end of a step."""
        setting, size = self.setting, self.setting.usual
        self.adapter.to("cpu")
        found = {}
        for variant in VARIANTS:
            empty(setting)
            names: dict[str, Any] = {"unet": self.unet, "description": self.description}
            torch.cuda.reset_peak_memory_stats(setting.device)
            peak_run(variant, names, setting, size, self.adapter)
            found[variant] = torch.cuda.max_memory_allocated(setting.device)
            self.adapter.to("cpu")
            del names
        self.adapter.to(setting.device)
        empty(setting)
        return found

    def operations(self) -> None:
        """Floating point operations."""
        setting, size = self.setting, self.setting.usual
        call, adapter = inputs(setting, size), self.adapter
        tokens = encode(adapter, self.hands, setting)
        found = {"HanDrawer: graph network": flops(lambda: adapter.encode(tokens.inputs))}
        name = f"HanDrawer: maps for {setting.batch}"
        found[name] = flops(lambda: make_maps(adapter, tokens, call))
        found["HanDrawer: additions in a step"] = sum(m.numel() for m in make_maps(adapter, tokens, call).values())
        on_meta = inputs(setting, size, torch.device("meta"))
        picture = torch.zeros(setting.rows, 3, size, size, device="meta", dtype=setting.dtype)
        with torch.device("meta"):
            unet, control, t2i = (f(setting.base).to(setting.dtype) for f in (build_unet, build_controlnet, build_t2i))
        found["ControlNet: a step"] = flops(lambda: control(**on_meta, controlnet_cond=picture, return_dict=False))
        found["T2I-Adapter: once"] = flops(lambda: t2i(picture))
        found["bare UNet: a step"] = flops(lambda: unet(**on_meta, return_dict=False))
        bare = found["bare UNet: a step"]
        rows = [[what, f"{count / 1e9:.3f}", f"{100 * count / bare:.3f} %"] for what, count in found.items()]
        self.report.say(f"### Floating point operations, {size} × {size}, {setting.batch}, one hand")
        self.report.table(["", "GFLOP", "of a bare step"], rows)
        self.report.keep(size=size, rows=setting.rows, flops=found)


@torch.no_grad()
def flops(function: Callable[[], object]) -> int:
    """As torch.utils.flop_counter counts: matrix products, convolutions and attention, two a multiply-add."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def meta_bytes(build: Callable[[], nn.Module], dtype: torch.dtype) -> int:
    with torch.device("meta"):
        return bytes_of(build().to(dtype))


@torch.no_grad()
def peak_run(variant: str, names: dict[str, Any], setting: Setting, size: int, adapter: HanDrawer | None) -> None:
    """All that a variant does for a picture's first step, with only its own networks beside the UNet."""
    call, hands = inputs(setting, size), some_hands(1, size)
    if variant == "HanDrawer":
        adapter = build_handrawer(names["description"], setting) if adapter is None else adapter.to(setting.device)
        names["maps"] = make_maps(adapter, encode(adapter, hands, setting), call)
    elif variant == "ControlNet":
        names["ControlNet"] = make(lambda: build_controlnet(setting.base), setting, 1)
        names["hint"] = hint(hands, size, setting)
    elif variant == "T2I-Adapter":
        names["T2I"] = make(lambda: build_t2i(setting.base), setting, 2)
        names["features"] = names["T2I"](hint(hands, size, setting))
    with added(names, call, variant) as step:
        step()
    setting.wait()


def peaks_of_processes(setting: Setting) -> dict[str, int]:
    """On the CPU each variant in a process of its own: the most memory that it ever held."""
    found = {}
    dtype = str(setting.dtype).removeprefix("torch.")
    for variant in VARIANTS:
        command = [sys.executable, str(Path(__file__).resolve()), "--peak", variant, "--base", setting.base]
        command += ["--rows", str(setting.rows), "--dtype", dtype, "--sizes", str(setting.usual)]
        command += ["--threads", str(torch.get_num_threads())]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        if done.returncode:
            raise RuntimeError(f"The process for {variant} failed:\n{done.stderr[-2000:]}")
        found[variant] = int(done.stdout.split()[-1])
    return found


def empty(setting: Setting) -> None:
    gc.collect()
    if setting.device.type == "cuda":
        torch.cuda.empty_cache()


def section(report: Report, name: str, function: Callable[[], None], where: str) -> bool:
    """Run a section; if it fails, its traceback takes its place and the others go on."""
    start = time.perf_counter()
    report.begin(name, where)
    try:
        function()
    except Exception:  # noqa: BLE001 - the report says what failed, and the exit status too
        report.say(f"### {name}: failed", "", "```", traceback.format_exc().rstrip(), "```", "")
        return False
    print(f"({name}: {time.perf_counter() - start:.1f} s)", file=sys.stderr, flush=True)
    return True


def measure(setting: Setting, out: Path | None, only: list[str] | None = None) -> bool:
    """The sections of a base, all or those named; the report is written after each. True if none failed."""
    report = Report(setting.base, setting.device.type, str(setting.dtype).removeprefix("torch."), out)
    where = machine(setting.device)
    held: list[Bench] = []
    if not section(report, "networks", lambda: held.append(Bench(setting, report)), where):
        return False
    bench = held[0]
    parts = {
        "check": bench.check,
        "others": bench.add_others,
        "steps": bench.steps,
        "before": bench.before,
        "hands": bench.many_hands,
        "alone": bench.remove_others,
        "sizes": bench.picture_sizes,
        "operations": bench.operations,
        "memory": bench.memory,  # the last: on the CPU it lets the UNet go
    }
    if only is not None:
        with_others = {"others", "alone"} if {"steps", "before"} & set(only) else set()
        parts = {name: function for name, function in parts.items() if name in {*only, *with_others}}
    good = True
    for name, function in parts.items():
        good = section(report, name, function, where) and good
        report.write()
    held.clear()
    del bench, parts
    empty(setting)
    return good


def settings(arguments: argparse.Namespace) -> list[Setting]:
    gpu = arguments.device.startswith("cuda")
    bases = [arguments.base] if arguments.base != "auto" else ["sd15", "sdxl"] if gpu else ["sd15"]
    return [
        Setting(
            base=base,
            device=torch.device(arguments.device),
            dtype=getattr(torch, arguments.dtype),
            rows=arguments.rows or (2 if gpu else 1),
            rounds=arguments.rounds or (15 if gpu else 3),
            sizes=tuple(arguments.sizes or (SIZES[base][1] if gpu else SIZES[base][1][:2])),
        )
        for base in bases
    ]


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--base", default="auto", choices=("auto", *UNETS), help="auto: both large ones on a GPU")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float16", "bfloat16"))
    parser.add_argument("--rows", type=int, help="rows of the UNet's batch (default: 2 on a GPU, else 1)")
    parser.add_argument("--rounds", type=int, help="how often each variant is timed (default: 15 on a GPU, else 3)")
    parser.add_argument("--sizes", type=int, nargs="+", help="pixels along the sides of the pictures")
    parser.add_argument("--threads", type=int, help="CPU threads (default: as torch chooses)")
    parser.add_argument("--only", nargs="+", choices=CHOICES, help="some of the sections")
    parser.add_argument("--out", type=Path, help="folder for the page and its figures")
    parser.add_argument("--peak", choices=VARIANTS, help=argparse.SUPPRESS)
    return parser.parse_args(words)


def peak_process(arguments: argparse.Namespace) -> None:
    """One variant in this process; prints the most memory that it held, in bytes."""
    (setting,) = settings(arguments)
    unet = make(lambda: build_unet(setting.base), setting)
    names: dict[str, Any] = {"unet": unet, "description": describe_diffusers(unet)}
    peak_run(arguments.peak, names, setting, setting.usual, None)
    print(most_memory())


def most_memory() -> int:
    """Bytes of the most memory that this process ever held."""
    status = Path("/proc/self/status")
    if status.exists():  # the other way counts what the parent held, too, on Linux
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> int:
    arguments = parse()
    from diffusers.utils import logging

    logging.set_verbosity_error()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.peak:
        peak_process(arguments)
        return 0
    good = [measure(setting, arguments.out, arguments.only) for setting in settings(arguments)]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
