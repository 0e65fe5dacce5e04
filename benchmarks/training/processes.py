"""Several processes and killed ones, for real: do they end where one process ends that nobody disturbs?

    python -m benchmarks.training.processes --out report.json

On the CPU, on the small model, through the commands that a user types. Two processes of `accelerate launch` with one
sample each against one process with two: the same losses and weights, to rounding; on one machine, and as two machines
of one process each, which here have one address. And a process that gets SIGKILL after its second state, then goes on:
the same weights to the last bit.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from handrawer.train.adapter import ADAPTER_FILE, STATE_FILE
from handrawer.train.records import read_records
from handrawer.train.state import load_state

STEPS = 6
SETTINGS: dict[str, Any] = {
    "base": "mini", "precision": "fp32", "device": "cpu", "log_every": 1, "save_every": 2, "steps": STEPS, "batch": 2,
    "data": {"size": 64}, "optimiser": {"warmup": 1, "rate": 0.001}, "adapter": {"changes": {"raster": 32}},
    "drop": {"text": 0.2, "hand": 0.2, "box_only": 0.2},
}  # fmt: skip


def configured(folder: Path, name: str, **changes: Any) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**SETTINGS, "out": str(folder / name), **changes}))
    return path


def environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}


def launched(config: Path, processes: int, machines: int = 1, rank: int = 0, port: int = 0) -> list[str]:
    """The command of one machine."""
    # `--cpu` would ask for MPI; without a GPU this starts processes on the CPU.
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
    launch += ["--num_machines", str(machines), "--machine_rank", str(rank)]
    if machines > 1:
        launch += ["--main_process_ip", "127.0.0.1", "--main_process_port", str(port), "--rdzv_backend", "static"]
    return [sys.executable, *launch, "--mixed_precision", "no", "--dynamo_backend", "no", "-m", "handrawer.train",
            str(config)]  # fmt: skip


def train(config: Path, processes: int = 1) -> None:
    command = [sys.executable, "-m", "handrawer.train", str(config)]
    if processes > 1:
        command = launched(config, processes)
    subprocess.run(command, env=environment(), check=True, timeout=900)


def train_on_machines(config: Path, machines: int) -> None:
    """One launch for each machine, as each of them would be given."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [
        subprocess.Popen(launched(config, machines, machines, rank, port), env=environment())
        for rank in range(machines)
    ]
    codes = [process.wait(900) for process in started]
    if any(codes):
        raise RuntimeError(f"The machines ended with {codes}.")


def killed(config: Path, out: Path) -> None:
    """Start a training and kill it some time after a state was written."""
    process = subprocess.Popen([sys.executable, "-m", "handrawer.train", str(config)], env=environment())
    while not (out / STATE_FILE).exists():
        if process.poll() is not None:
            raise RuntimeError("The training ended before it could be killed.")
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


def weights(out: Path) -> dict[str, torch.Tensor]:
    state = load_state(out / STATE_FILE, "cpu")
    if state is None or state["step"] != STEPS or not (out / ADAPTER_FILE).exists():
        raise RuntimeError(f"{out} holds no finished training.")
    return state["parts"]["adapter"]


def compare(one: Path, other: Path) -> dict[str, float]:
    """Greatest differences: of the losses, relative; of the weights, over their greatest change in the run."""
    losses = [[row["loss"] for row in read_records(out)] for out in (one, other)]
    a, b = weights(one), weights(other)
    return {
        "greatest relative difference of a step's loss": max(abs(x - y) / x for x, y in zip(*losses, strict=True)),
        "greatest difference of a weight": max(float((a[k].float() - b[k].float()).abs().max()) for k in a),
        "weights equal to the last bit": float(all(torch.equal(a[k], b[k]) for k in a)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train(configured(folder, "one"))
        train(configured(folder, "two", batch=1), processes=2)
        train_on_machines(configured(folder, "machines", batch=1), 2)
        config = configured(folder, "killed")
        killed(config, folder / "killed")
        train(config)
        report = {
            "steps": STEPS,
            "learning rate": SETTINGS["optimiser"]["rate"],
            "losses": [row["loss"] for row in read_records(folder / "one")],
            "two processes": compare(folder / "one", folder / "two"),
            "two machines": compare(folder / "one", folder / "machines"),
            "killed and gone on": compare(folder / "one", folder / "killed"),
        }
    print(json.dumps(report, indent=2))
    if given.out:
        given.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
