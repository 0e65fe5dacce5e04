"""A real ComfyUI server with this project in it, on the CPU, spoken to through its HTTP API."""

import compileall
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACK = "HanDrawer"
PARTS = ("__init__.py", "handrawer", "locales", "nodes", "web", "workflows", "pyproject.toml")
START_LIMIT = 240  # seconds; 8 to 15 on an idle machine
RUN_LIMIT = 300


class HostError(Exception):
    """The server could not be started; the message holds the end of its log."""


def python() -> str:
    """The Python that runs the host."""
    return os.environ.get("COMFYUI_PYTHON") or sys.executable


def install(base: Path) -> Path:
    """A base folder for the host with a copy of this project among its custom nodes."""
    for name in ("models", "input", "output", "temp", "user", "custom_nodes"):
        (base / name).mkdir(parents=True)
    pack = base / "custom_nodes" / PACK
    pack.mkdir()
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, pack / part, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, pack / part)
    # As after any first start: Python keeps the bytecode, unless the environment forbids it.
    compileall.compile_dir(pack, quiet=1)
    return pack


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A running host.

    Attributes:
        base: its base folder.
        log: the file that it logs to.
    """

    def __init__(self, checkout: Path, base: Path, *arguments: str) -> None:
        self.base, self.log, self.checkout = base, base / "log.txt", checkout
        self.address = f"127.0.0.1:{free_port()}"
        command = [
            python(), "-u", str(Path(__file__).with_name("start_host.py")), str(checkout),
            "--cpu", "--port", self.address.split(":")[1], "--base-directory", str(base),
            "--disable-api-nodes", "--database-url", "sqlite:///:memory:", "--verbose", "DEBUG", *arguments,
        ]  # fmt: skip
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise HostError(f"the host ended with {self.process.returncode}:\n{self.tail()}")
            try:
                self.get("/system_stats")
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.25)
        raise HostError(f"the host was not ready after {START_LIMIT} seconds:\n{self.tail()}")

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.text().splitlines()[-lines:])

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def start_again(self) -> str:
        """Start a second host with the same base folder, which ends once it has loaded everything: its log.

        The seconds in it are the processor's.
        """
        command = [
            python(), str(Path(__file__).with_name("start_host.py")), str(self.checkout), "--cpu",
            "--quick-test-for-ci", "--base-directory", str(self.base), "--disable-api-nodes",
            "--database-url", "sqlite:///:memory:",
        ]  # fmt: skip
        found = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=START_LIMIT,
            env={**os.environ, "HANDRAWER_PROCESSOR_TIME": "1"},
        )  # fmt: skip
        return found.stdout + found.stderr

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def get(self, path: str):
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=30) as answer:
            return json.loads(answer.read())

    def post(self, path: str, body: dict) -> None:
        request = urllib.request.Request(
            f"http://{self.address}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=30).close()

    def read(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=30) as answer:
            return answer.read()

    def queue(self, prompt: dict) -> tuple[int, dict]:
        """Post a workflow in API format: (HTTP status, answer)."""
        body = json.dumps({"prompt": prompt, "client_id": "tests"}).encode()
        request = urllib.request.Request(
            f"http://{self.address}/prompt", data=body, headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def run(self, prompt: dict) -> dict:
        """Run a workflow to its end: its entry of the host's history."""
        status, answer = self.queue(prompt)
        assert status == 200 and not answer.get("node_errors"), answer
        deadline = time.monotonic() + RUN_LIMIT
        while time.monotonic() < deadline:
            history = self.get(f"/history/{answer['prompt_id']}")
            if history:
                return history[answer["prompt_id"]]
            assert self.process.poll() is None, self.tail()
            time.sleep(0.1)
        raise AssertionError(f"the workflow did not end in {RUN_LIMIT} seconds:\n{self.tail()}")

    def succeed(self, prompt: dict) -> dict:
        """Run a workflow that must succeed: its outputs by node."""
        entry = self.run(prompt)
        assert entry["status"]["status_str"] == "success", entry["status"]
        return entry["outputs"]

    def fail(self, prompt: dict) -> str:
        """Run a workflow that must fail in a node: the sentence that the user sees."""
        entry = self.run(prompt)
        assert entry["status"]["status_str"] == "error", entry["status"]
        (message,) = [m for kind, m in entry["status"]["messages"] if kind == "execution_error"]
        return message["exception_message"]

    def picture(self, image: dict) -> bytes:
        """The file of a picture that a workflow has saved or previewed."""
        return self.read(f"/view?filename={image['filename']}&subfolder={image['subfolder']}&type={image['type']}")

    def counters(self) -> dict[str, int]:
        return self.get("/handrawer/counters")
