import torch

from handrawer.train import cache as module
from handrawer.train.cache import Cache, name_of


def test_what_was_kept_is_found_again_by_another_process(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_ENTRIES", 3)
    first, second = Cache(tmp_path, "0"), Cache(tmp_path, "1")
    values = {name_of("a", k): {"x": torch.full((2, 2), float(k)), "y": torch.arange(k + 1)} for k in range(5)}
    for name, tensors in values.items():
        first.put(name, tensors)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1 and len(first) == 5
    assert second.get(name_of("a", 0)) is None
    first.flush()
    second.look()
    for name, tensors in values.items():
        for cache in (first, second, Cache(tmp_path)):
            found = cache.get(name)
            assert found is not None and set(found) == {"x", "y"}
            assert all(torch.equal(found[key], tensors[key]) for key in tensors)


def test_a_damaged_shard_is_left_out(tmp_path, caplog):
    (tmp_path / "x.safetensors").write_bytes(b"broken")
    assert len(Cache(tmp_path)) == 0 and "damaged and left out" in caplog.text


def test_a_full_disk_does_not_end_a_run(tmp_path, monkeypatch, caplog):
    import safetensors.torch

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    cache = Cache(tmp_path)
    cache.put("a", {"x": torch.ones(1)})
    monkeypatch.setattr(safetensors.torch, "save_file", full)
    cache.flush()
    cache.put("b", {"x": torch.ones(1)})
    cache.flush()
    assert "No space left" in caplog.text and not list(tmp_path.iterdir()) and cache.get("a") is None
