import json

from handrawer.cli import main


def write(path, config):
    path.write_text(json.dumps(config), encoding="utf-8")
    return str(path)


def test_wrong_configurations_are_refused_with_a_sentence(tmp_path, capsys):
    (tmp_path / "broken.json").write_text("{")
    for file, words in [
        (str(tmp_path / "broken.json"), "is not JSON"),
        (write(tmp_path / "a.json", {"out": "x", "smaples": 3}), "unknown key 'smaples'"),
        (write(tmp_path / "b.json", {"samples": 3}), "add the key 'out'"),
    ]:
        assert main(["train", file]) == 2
        # A progress bar of loading libraries may stand above it.
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert last.startswith("handrawer train: ") and words in last


def test_a_run_writes_weights_and_its_log(tmp_path, caplog):
    out = tmp_path / "run"
    config = {
        "out": str(out),
        "device": "cpu",
        "samples": 6,
        "autoencoder": {"batch": 2, "crop": 32, "steps": 1},
        "diffusion": {"batch": 2, "steps": 1},
    }
    assert main(["train", write(tmp_path / "tiny.json", config)]) == 0
    assert {path.stem for path in (out / "arms").glob("*.safetensors")} == {"guided", "adapter", "control"}
    assert "vae step 1" in (out / "log.txt").read_text()
    assert "vae step 1" in caplog.text, "the terminal shows what the log says"
