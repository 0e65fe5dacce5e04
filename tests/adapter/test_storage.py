import pytest
import torch

from handrawer.adapter.checkpoint import load, save
from handrawer.adapter.storage import CastingLayers, store_as


@pytest.fixture
def file(adapter, tmp_path):
    path = tmp_path / "hand.safetensors"
    save(path, adapter, dtype=torch.float32)
    return path


def maps(adapter, inputs, autocast=False):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        text = torch.sin(torch.arange(7.0 * 128)).reshape(1, 7, 128)
        return adapter.residuals(adapter.encode(inputs), 32, 32, text)


def difference(found, expected) -> float:
    return max(float((found[b].float() - m).norm() / m.norm()) for b, m in expected.items())


@pytest.mark.parametrize(
    "dtype, least, most",
    [
        (torch.float16, 0, 2e-3),
        (torch.bfloat16, 1e-4, 1.5e-2),
        (torch.float8_e4m3fn, 1e-3, 0.12),
        (torch.float8_e5m2, 1e-3, 0.25),
    ],
    ids=str,
)
def test_weights_in_fewer_bits_give_nearly_the_same_maps(file, place, dtype, least, most):
    inputs = place((0.0, 0.05, 0.5))
    expected, small = maps(load(file), inputs), load(file, dtype=dtype)
    stored = {name: p.dtype for name, p in small.named_parameters()}
    assert stored["text.weight"] == dtype and stored["text.bias"] == torch.float32
    assert small.encoder.get_buffer("rest").dtype == torch.float32, "the mesh is not rounded"
    found = maps(small, inputs)
    assert all(m.dtype == torch.float32 for m in found.values())
    assert least <= difference(found, expected) < most
    assert difference(maps(small, inputs, autocast=True), expected) < most + 0.03


def test_casting_layers_change_nothing_in_float32(file, place):
    inputs = place((0.0, 0.05, 0.5))
    expected, found = maps(load(file), inputs), maps(load(file, operations=CastingLayers), inputs)
    assert all(torch.equal(found[block], values) for block, values in expected.items())


def test_computing_in_bfloat16_keeps_the_outside_zero(file, place):
    inputs = place((0.0, 0.05, 0.9))
    expected, found = maps(load(file), inputs), maps(load(file), inputs, autocast=True)
    assert difference(found, expected) < 0.03
    for block, values in expected.items():
        assert torch.equal(found[block] == 0, values == 0)


def test_what_cannot_be_stored_so_is_refused(file):
    with pytest.raises(ValueError, match="computes in the type of its weights"):
        store_as(load(file), torch.float16)
    with pytest.raises(ValueError, match=r"kept as torch.int8"):
        load(file, dtype=torch.int8)


def test_an_adapter_kept_small_can_be_saved_again(file, tmp_path):
    save(tmp_path / "again.safetensors", load(file, dtype=torch.float8_e4m3fn))
    assert load(tmp_path / "again.safetensors").config == load(file).config
