"""`python -m handrawer mano`."""

import pickle
from pathlib import Path

from handrawer.cli import main
from handrawer.hand.mano_files import read_mano
from tests.hand.mano_like import write_official


def test_a_mano_file_is_kept_as_safetensors(tmp_path: Path, capsys):
    path = write_official(tmp_path / "MANO_LEFT.pkl", "left")
    assert main(["mano", str(path)]) == 0
    said = capsys.readouterr().out
    assert "a left hand of 778 vertices" in said and "non-commercial" in said
    assert read_mano(tmp_path / "MANO_LEFT.safetensors").side == "left"
    assert main(["mano", str(path)]) == 2 and "is there already" in capsys.readouterr().err
    assert main(["mano", str(path), "--overwrite"]) == 0
    assert main(["mano", str(path), str(tmp_path / "other.safetensors")]) == 0
    assert read_mano(tmp_path / "other.safetensors").side == "left"


def test_wrong_files_are_refused_and_nothing_is_written(tmp_path: Path, capsys):
    (tmp_path / "text.pkl").write_text("hello")
    (tmp_path / "other.pkl").write_bytes(pickle.dumps({"a": print}))
    for name, words in {"text.pkl": "cannot be read", "other.pkl": "'builtins.print'", "gone.pkl": "not there"}.items():
        assert main(["mano", str(tmp_path / name)]) == 2
        error = capsys.readouterr().err.strip()
        assert words in error and error.count("\n") == 0 and error.endswith(".")
    assert not list(tmp_path.glob("*.safetensors"))
