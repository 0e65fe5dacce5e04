"""The hand poser's mathematics in the page, run by Node.js against what the library says. Takes about 3 seconds."""

import os
import subprocess
from pathlib import Path

from tests.browser.cases import write_cases
from tests.browser.tools import node

HERE = Path(__file__).parent


def test_poser_core(tmp_path: Path):
    cases = write_cases(tmp_path / "cases.json")
    done = subprocess.run(
        [node(), "--test", str(HERE / "poser_core.test.mjs")],
        capture_output=True, text=True, timeout=120, env={**os.environ, "HANDRAWER_POSER_CASES": str(cases)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "# pass 1" in done.stdout and "# fail 0" in done.stdout, "the tests were found and run"
