import subprocess
import sys

import pytest

from handrawer import __version__
from handrawer.cli import main


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0 and __version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required"),
        (["dmeo"], "invalid choice"),
        (["demo", "--hand", "-1"], "'-1' is not a whole number from 0 to 99"),
        (["demo", "--max-hands", "0"], "'0' is not a whole number from 1 to 100"),
        (["demo", "--seed", "x"], "'x' is not a whole number from 0"),
        (["demo", "--strength", "3"], "'3' is not a number from 0 to 2"),
        (["demo", "--min-confidence", "nan"], "'nan' is not a number from 0 to 1"),
        (["estimate"], "required"),
        (["estimate", "x.png", "--thoroughness", "much"], "choose from"),
        (["train"], "required"),
    ],
)
def test_wrong_arguments(arguments, words, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2 and words in capsys.readouterr().err


def test_refusals_are_one_sentence_and_exit_code_2(tmp_path, capsys):
    for arguments in (
        ["estimate", str(tmp_path / "none.png"), "--out", str(tmp_path / "out")],
        ["demo", "--image", str(tmp_path / "none.png"), "--out", str(tmp_path / "out")],
        ["train", str(tmp_path / "none.toml")],
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err.strip()
        assert error.count("\n") == 0 and "none." in error and error.endswith(".")
    assert not (tmp_path / "out").exists(), "nothing is made before the input is known to be good"


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom handrawer.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'numpy', 'PIL', 'mediapipe', 'diffusers', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]") and "estimate" in done.stdout
