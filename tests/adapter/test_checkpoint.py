import copy
import dataclasses
import json
import os
import pickle
import stat

import pytest
import torch
from safetensors.torch import load_file, save_file

from handrawer.adapter import checkpoint
from handrawer.adapter.checkpoint import CheckpointError, check_fits, load, read_metadata, save
from handrawer.adapter.config import AdapterMetadata
from handrawer.adapter.unet import BASES, STRANGERS, describe_blocks

SUMMARY = {"samples": 12345, "data": "synthetic"}


@pytest.fixture
def file(adapter, tmp_path):
    path = tmp_path / "hand.safetensors"
    save(path, adapter, training=SUMMARY)
    return path


def rewrite(path, tensors=None, **changes):
    """The file with other tensors, or with some of its metadata changed or (None) taken out."""
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as opened:
        metadata = dict(opened.metadata())
    metadata = {k: v for k, v in {**metadata, **changes}.items() if v is not None}
    tensors = load_file(path) if tensors is None else tensors
    # Beside it first: what was loaded may still be mapped from the very file that is replaced here.
    save_file(tensors, path.with_suffix(".new"), metadata)
    path.with_suffix(".new").replace(path)


def residuals(adapter, inputs):
    with torch.no_grad():
        return adapter.residuals(adapter.encode(inputs), 32, 32, torch.ones(1, 7, 128))


def test_round_trip(adapter, file, place):
    again = load(file)
    assert again.config == adapter.config and not again.training
    assert again.metadata is not None and again.metadata.training == SUMMARY
    assert read_metadata(file) == again.metadata
    for name, tensor in adapter.state_dict().items():
        assert torch.allclose(again.state_dict()[name].float(), tensor.float(), rtol=1e-3, atol=1e-6), name
    expected, found = residuals(adapter, place((0.0, 0.05, 0.5))), residuals(again, place((0.0, 0.05, 0.5)))
    assert all(float((found[b] - m).norm() / m.norm()) < 0.02 for b, m in expected.items())


def test_float32_is_kept_exactly(adapter, tmp_path, place):
    save(tmp_path / "x.safetensors", adapter, dtype=torch.float32)
    again, inputs = load(tmp_path / "x.safetensors"), place((0.0, 0.05, 0.5))
    found = residuals(again, inputs)
    assert all(torch.equal(found[b], m) for b, m in residuals(adapter, inputs).items())


def test_the_graphs_travel_in_the_file(adapter, file):
    tensors = load_file(file)
    for name in ("rest", "regressor", "edges_0", "edges_1", "edges_2", "cluster_0", "cluster_1"):
        assert torch.equal(tensors[f"encoder.{name}"], adapter.encoder.get_buffer(name))
    assert tensors["text.weight"].dtype == torch.float16


def test_metadata_for_readers_of_the_header(adapter, file):
    from safetensors import safe_open

    with safe_open(str(file), framework="pt") as opened:
        strings = opened.metadata()
    assert strings["format"] == "handrawer" and strings["format_version"] == "1"
    assert strings["base"] == "mini" and strings["hand_model"] == "open" and strings["negative_hand"] == "same"
    assert strings["topology"] == adapter.config.topology


def test_a_known_base_is_written_as_the_first_release_reads_it(adapter):
    written = json.loads(adapter.config.to_json())["unet"]
    assert set(written) == {"name", "latent_channels", "context_width", "prediction", "sites", "blocks"}


def test_negative_rule_travels(adapter, tmp_path):
    adapter.config = dataclasses.replace(adapter.config, negative_hand="none")
    save(tmp_path / "x.safetensors", adapter)
    assert load(tmp_path / "x.safetensors").negative_hand == "none"


def test_an_existing_file_is_kept_unless_told(adapter, file):
    before = file.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save(file, adapter)
    assert file.read_bytes() == before
    save(file, adapter, training={"samples": 1}, overwrite=True)
    assert read_metadata(file).training == {"samples": 1}


def test_a_failed_save_leaves_the_old_file_and_nothing_else(adapter, file, monkeypatch):
    before = file.read_bytes()

    def broken(*_args):
        raise OSError("disk full")

    monkeypatch.setattr(checkpoint.os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        save(file, adapter, overwrite=True)
    assert file.read_bytes() == before and [p.name for p in file.parent.iterdir()] == [file.name]


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_others_may_read_the_file(file):
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~mask


def test_infinite_weights_are_not_saved(adapter, tmp_path):
    with torch.no_grad():
        adapter.text.weight[0, 0] = 1e6  # beyond float16
    with pytest.raises(ValueError, match="not finite"):
        save(tmp_path / "x.safetensors", adapter)
    assert not list(tmp_path.iterdir())


def refused(path, words):
    for read in (load, read_metadata):
        with pytest.raises(CheckpointError, match=words) as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_missing_file(tmp_path):
    refused(tmp_path / "no.safetensors", "There is no HanDrawer file")


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\xff" * 100])
def test_no_safetensors_file(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    refused(path, "damaged, incomplete or no safetensors file")


@pytest.mark.parametrize("archive", [True, False])
def test_renamed_pickles_are_never_opened(tmp_path, archive):
    path = tmp_path / "x.safetensors"
    torch.save({"a": torch.zeros(1)}, path, _use_new_zipfile_serialization=archive)
    refused(path, "is a pickle .* choose a .safetensors file")


class Harm:
    """A pickle that shows whether it was opened."""

    def __reduce__(self):
        return (print, ("opened",))


def test_what_a_pickle_would_run_is_not_run(tmp_path, capsys):
    path = tmp_path / "x.safetensors"
    path.write_bytes(pickle.dumps(Harm()))
    refused(path, "is a pickle")
    assert "opened" not in capsys.readouterr().out


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float8_e5m2])
def test_weights_that_are_not_finite_are_refused(file, value, dtype):
    tensors = load_file(file)
    broken = torch.zeros(tensors["text.weight"].shape)
    broken[3, 5] = value
    rewrite(file, {**tensors, "text.weight": broken.to(dtype)})
    with pytest.raises(CheckpointError, match=r"weights 'text.weight' in hand.safetensors are not finite"):
        load(file)


@pytest.mark.parametrize("dtype", [torch.float8_e5m2, torch.float8_e4m3fn])
def test_files_in_eight_bits(tmp_path, file, adapter, dtype):
    path = tmp_path / "small.safetensors"
    save(path, adapter, dtype=dtype)
    assert path.stat().st_size < 0.75 * file.stat().st_size
    for kept in (torch.float32, dtype):
        found = load(path, dtype=kept)
        for name, value in adapter.named_parameters():
            assert torch.equal(found.get_parameter(name).float(), value.detach().to(dtype).float()), name
    broken = copy.deepcopy(adapter)
    with torch.no_grad():
        broken.text.weight[0, 0] = float("inf")
    with pytest.raises(ValueError, match="not finite"):
        save(tmp_path / "broken.safetensors", broken, dtype=dtype)


def test_weights_of_another_kind_are_refused(file):
    tensors = load_file(file)
    rewrite(file, {**tensors, "text.weight": tensors["text.weight"].to(torch.int8)})
    with pytest.raises(CheckpointError, match=r"'text.weight' as torch.int8"):
        load(file)


@pytest.mark.parametrize("change", [{"heads": 0}, {"width": -32, "graph_widths": [8, 16, -32]}, {"frequencies": "4"}])
def test_a_configuration_that_makes_no_network(file, adapter, change):
    rewrite(file, config=json.dumps({**json.loads(adapter.config.to_json()), **change}))
    with pytest.raises(CheckpointError, match="configuration") as caught:
        load(file)
    assert "\n" not in str(caught.value)


def test_a_configuration_of_a_giant_takes_no_memory(file, adapter):
    """The numbers come from the file: shapes are compared before anything is made."""
    changed = {**json.loads(adapter.config.to_json()), "width": 2**20, "graph_widths": [8, 16, 2**20]}
    rewrite(file, config=json.dumps(changed))
    with pytest.raises(CheckpointError, match="does not match its own configuration"):
        load(file)


def test_training_that_is_no_summary(file):
    rewrite(file, training="[1]")
    refused(file, "configuration")


def test_cut_off_file(file):
    file.write_bytes(file.read_bytes()[:-1000])
    refused(file, "damaged, incomplete")


def test_a_file_of_something_else(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors")
    refused(tmp_path / "x.safetensors", "is no HanDrawer file")


def test_newer_format(file):
    rewrite(file, format_version="2")
    refused(file, "update HanDrawer")


@pytest.mark.parametrize("version", ["0", "one", None])
def test_impossible_format(file, version):
    rewrite(file, format_version=version)
    refused(file, "does not exist")


@pytest.mark.parametrize("config", ["{", "[]", "{}", None])
def test_broken_configuration(file, config):
    rewrite(file, config=config)
    refused(file, "configuration")


def test_configuration_with_an_unknown_field(file, adapter):
    values = json.loads(adapter.config.to_json())
    rewrite(file, config=json.dumps({**values, "moved": 1}))
    refused(file, "configuration")


def test_missing_and_surplus_tensors(file):
    tensors = load_file(file)
    taken = tensors.pop("text.weight")
    rewrite(file, tensors)
    with pytest.raises(CheckpointError, match="lacks 'text"):
        load(file)
    rewrite(file, {**tensors, "text.weight": taken, "text.extra": taken.clone()})
    with pytest.raises(CheckpointError, match="extra' too many"):
        load(file)


def test_wrong_shape(file):
    rewrite(file, {**load_file(file), "text.weight": torch.zeros(3, 3)})
    with pytest.raises(CheckpointError, match=r"'text.weight' is \[3, 3\], expected \[32, 128\]"):
        load(file)


def test_fit_names_both(file, description):
    metadata = read_metadata(file)
    check_fits(metadata, description)
    other = dataclasses.replace(description, name="sd15", context_width=768)
    with pytest.raises(CheckpointError, match=r"hand.safetensors was made for the small model.*Stable Diffusion 1"):
        check_fits(metadata, other, "hand.safetensors")


@pytest.mark.parametrize("name", sorted(STRANGERS))
def test_strangers_are_refused_with_what_works_instead(file, name):
    base = STRANGERS[name]
    modules = tuple("" for _ in base.blocks)
    stranger = describe_blocks(base.blocks, modules, 4, base.context_width, depths=base.depths)
    with pytest.raises(CheckpointError) as caught:
        check_fits(read_metadata(file), stranger, "hand.safetensors")
    said = str(caught.value)
    assert base.title in said and "the depth and the mask" in said and "ControlNet" in said and "\n" not in said


def test_an_sdxl_adapter_on_ssd_1b(adapter):
    """The same blocks and text, other transformers between them."""
    xl = BASES["sdxl"]
    modules = tuple("" for _ in xl.blocks)
    own = describe_blocks(xl.blocks, modules, 4, 2048, depths=xl.depths)
    metadata = AdapterMetadata(dataclasses.replace(adapter.config, unet=own))
    check_fits(metadata, dataclasses.replace(own, prediction="v_prediction", input_channels=9))
    other = describe_blocks(xl.blocks, modules, 4, 2048, depths=STRANGERS["ssd1b"].depths)
    with pytest.raises(CheckpointError, match="was made for SDXL, but the model is SSD-1B"):
        check_fits(metadata, other)


def test_operations_are_used(file):
    class Operations:
        class Linear(torch.nn.Linear):
            pass

        class Conv2d(torch.nn.Conv2d):
            pass

        LayerNorm = torch.nn.LayerNorm
        Embedding = torch.nn.Embedding

    adapter = load(file, operations=Operations)
    layers = [m for m in adapter.modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))]
    assert layers and all(isinstance(m, (Operations.Linear, Operations.Conv2d)) for m in layers)
