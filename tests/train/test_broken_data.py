"""Broken data in training: a sentence, or a skip that is told; never a lost run."""

import errno
import io
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from handrawer.data.shards import write_shard
from handrawer.hand.hands import Hands, hand_from_gesture
from handrawer.train import sources, validation
from handrawer.train.__main__ import main
from handrawer.train.adapter import AdapterTrainer, TrainingStopped, train_adapter
from handrawer.train.batches import Batch
from handrawer.train.config import DataConfig, make_config
from handrawer.train.records import Records
from handrawer.train.sources import FolderSource
from tests.train.conftest import SMALL


def full_disk(*_arguments, **_more):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def config(out: Path, path: Path, kind: str, **changes):
    data = {"kind": kind, "path": str(path), "size": 64}
    return make_config({"out": str(out), **SMALL, "data": data, "steps": 3, "batch": 2, "save_every": 2, **changes})


def jpeg(number: int) -> bytes:
    pixels = torch.rand(8, 10, 3, generator=torch.Generator().manual_seed(number)).mul(255).byte().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).resize((80, 64)).save(file, "JPEG")
    return file.getvalue()


def sample(number: int) -> dict[str, bytes]:
    frame = hand_from_gesture("open", "left", 80, 64, size=0.7)
    meta = {"width": 80, "height": 64, "hands": [{}], "caption": f"a left hand, number {number}", "flags": []}
    return {"jpg": jpeg(number), "json": json.dumps(meta).encode(), "hands.json": Hands((frame,)).to_json().encode()}


def test_shards_with_broken_samples_and_an_empty_shard_are_learned_from(tmp_path, mini_base, caplog):
    """A truncated JPEG, NaN among the hands, words in another encoding, an empty shard and one that is cut."""
    nan = sample(2)
    hands = json.loads(nan["hands.json"])
    text = json.dumps(hands).replace(str(hands["frames"][0]["hands"][0]["translation"][2]), "NaN", 1)
    latin = json.dumps({"width": 80, "height": 64, "hands": [{}], "caption": "élégante"}, ensure_ascii=False)
    broken = [
        ("cut", sample(1) | {"jpg": sample(1)["jpg"][:-200]}),
        ("nan", nan | {"hands.json": text.encode()}),
        ("latin", sample(3) | {"json": latin.encode("latin-1")}),
    ]
    folder = tmp_path / "data"
    write_shard(folder / "0.tar", [*broken, *((f"good{n}", sample(n)) for n in range(4))])
    (folder / "1.tar").write_bytes(b"")
    write_shard(folder / "2.tar", [("more", sample(9)), ("lost", sample(10))])
    (folder / "2.tar").write_bytes((folder / "2.tar").read_bytes()[:-6000])
    result = train_adapter(config(tmp_path / "run", folder, "shards", steps=4), base=mini_base)
    assert result.step == 4 and result.skipped >= 1
    assert "1.tar is empty" in caplog.text and "latin is skipped" in caplog.text
    assert any(f"Sample {key}" in caplog.text for key in ("cut", "nan")) and "It is skipped" in caplog.text


def test_nothing_but_empty_shards_is_one_sentence(tmp_path, mini_base):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "0.tar").write_bytes(b"")
    with pytest.raises(ValueError, match="hold no picture with a hand"):
        train_adapter(config(tmp_path / "run", tmp_path / "data", "shards"), base=mini_base)


def test_a_folder_with_a_cut_jpeg_and_foreign_captions_is_learned_from(tmp_path, folder, mini_base, caplog):
    broken = tmp_path / "pictures"
    shutil.copytree(folder, broken)
    names = json.loads((broken / "hands.json").read_text())
    for number in (0, 1):
        names["pictures"][f"{number}.jpg"] = names["pictures"].pop(f"{number}.png")
        (broken / f"{number}.png").unlink()
        (broken / f"{number}.jpg").write_bytes(jpeg(number)[: -100 if number == 0 else None])
    (broken / "hands.json").write_text(json.dumps(names))
    (broken / "1.txt").write_bytes("une main élégante".encode("cp1252"))
    (broken / "2.txt").write_bytes("eine schöne Hand".encode("utf-16"))
    source = FolderSource(broken, DataConfig("folder", str(broken)), tmp_path)
    said = {source.load(place).caption for place in range(len(source.files)) for _ in range(2)}
    assert {"une main élégante", "eine schöne Hand"} <= said
    assert caplog.text.count("1.txt is not UTF-8") == 1
    result = train_adapter(config(tmp_path / "run", broken, "folder"), base=mini_base)
    assert result.step == 3 and result.skipped >= 1 and "It is skipped" in caplog.text


def test_nan_among_a_folders_hands_is_one_sentence(tmp_path, folder, mini_base):
    broken = tmp_path / "pictures"
    shutil.copytree(folder, broken)
    values = json.loads((broken / "hands.json").read_text())
    values["pictures"]["0.png"]["frames"][0]["hands"][0]["translation"][0] = float("nan")
    (broken / "hands.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"hands\.json holds no hands of pictures .*: delete it"):
        train_adapter(config(tmp_path / "run", broken, "folder"), base=mini_base)


def test_a_full_disk_in_the_middle_costs_no_step(tmp_path, folder, mini_base, monkeypatch, caplog):
    """States, curves, the log and the pictures of validation cannot be written: the run goes on to its end."""
    changes = {"validation": {"every": 2, "count": 1, "steps": 1}}
    trainer = AdapterTrainer(config(tmp_path, folder, "folder", **changes), base=mini_base)

    class Board:
        add_scalar = close = staticmethod(full_disk)

    trainer.records.board = Board()
    monkeypatch.setattr("handrawer.train.adapter.save_state", full_disk)
    monkeypatch.setattr(validation, "save_picture", full_disk)
    real = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, *a, **k: full_disk() if self.name == "log.jsonl" else real(self, *a, **k)
    )
    result = trainer.run()
    trainer.close()
    assert result.step == 3 and result.adapter_file.is_file()
    for words in ("The state after step 2", "curves end at step", "log.jsonl cannot be written", "pictures of step 2"):
        assert words in caplog.text, words


def test_hands_that_were_estimated_are_used_where_they_cannot_be_kept(tmp_path, folder, monkeypatch):
    plain = tmp_path / "pictures"
    shutil.copytree(folder, plain)
    frames = sources.read_frames(plain / "hands.json")
    (plain / "hands.json").unlink()
    monkeypatch.setattr(sources, "estimate_folder", lambda path, files, progress: frames)
    monkeypatch.setattr(sources, "write_frames", full_disk)
    told: list[str] = []
    source = FolderSource(plain, DataConfig("folder", str(plain)), tmp_path / "out", told.append)
    assert len(source.sizes) == 6 and any("cannot be written" in line for line in told)


def test_numbers_that_are_not_finite_are_told_even_if_the_batch_cannot_be_kept(
    tmp_path, mini_base, monkeypatch, caplog
):
    made = make_config({"out": str(tmp_path), **SMALL, "data": {"size": 64}, "batch": 1})
    trainer = AdapterTrainer(made, base=mini_base)
    with torch.no_grad():
        for name, parameter in trainer.adapter.named_parameters():
            if ".sites." in name:
                parameter.fill_(float("nan"))
    monkeypatch.setattr(Batch, "save", full_disk)
    with pytest.raises(TrainingStopped, match="the batch could not be saved"):
        trainer.train_step()
    trainer.close()
    assert "No space left" in caplog.text


def test_a_disk_that_is_full_from_the_start_is_one_sentence(tmp_path, monkeypatch, caplog):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"out": str(tmp_path / "run"), **SMALL, "data": {"size": 64}, "steps": 1, "batch": 1}))
    monkeypatch.setattr("handrawer.train.adapter.save", full_disk)
    assert main([str(file)]) == 2
    assert "No space left on device" in caplog.text and "goes on from the last state" in caplog.text


def test_curves_that_cannot_be_begun_are_left_out(tmp_path, monkeypatch, caplog):
    pytest.importorskip("torch.utils.tensorboard", reason="tensorboard is not installed")
    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter", full_disk)
    assert Records(tmp_path).board is None and "training goes on" in caplog.text
