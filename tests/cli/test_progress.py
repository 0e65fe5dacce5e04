import re
import subprocess
import sys
from pathlib import Path

from handrawer.cli.progress import progress_bar

ROOT = Path(__file__).resolve().parents[2]

CODE = """
import os, sys
from handrawer.cli.progress import without_chatter
try:
    with without_chatter():
        os.write(2, b"INFO: Created a delegate\\nW0000 00:00:1.2 a.cc:121] Feedback\\n")
        os.write(2, b"WARNING: Logging before InitGoogle() is written to STDERR\\n")
        os.write(2, b"native trouble\\n")
        print("at once", file=sys.stderr)
        if sys.argv[1:]:
            raise SystemExit(3)
finally:
    print("afterwards", file=sys.stderr)
    os.write(2, b"INFO: not held any more\\n")
"""


def test_native_chatter_is_dropped_and_all_else_kept():
    for extra, code in (([], 0), (["raise"], 3)):
        done = subprocess.run([sys.executable, "-c", CODE, *extra], capture_output=True, text=True, check=False)
        assert done.returncode == code
        assert done.stderr.splitlines() == ["at once", "native trouble", "afterwards", "INFO: not held any more"]


def test_a_bar_follows_absolute_counts(capsys):
    with progress_bar("Drawing", delay=0) as progress:
        progress(1, 4)
        progress(4, 4)
    assert "Drawing: 100%" in capsys.readouterr().err


def test_a_command_imports_nothing_that_is_not_required():
    """An extra may not be there: an environment made from requirements.txt alone has to run every command."""
    required = {re.split(r"[<>=]", line)[0] for line in (ROOT / "requirements.txt").read_text().split()}
    called = "".join(path.read_text() for path in (ROOT / "handrawer" / "cli").glob("*.py"))
    names = {name for call in re.findall(r"import_libraries\((\"[^)]*)\)", called) for name in re.findall(r"\w+", call)}
    assert {"torch", "diffusers"} <= names <= required
