"""The mathematics of a format version never changes: what a frozen adapter makes of two hands, kept as numbers."""

import pytest
import torch
from safetensors.torch import load_file

from handrawer.adapter.checkpoint import load, read_metadata
from handrawer.adapter.config import FORMAT_VERSION

from .golden_cases import adapter_file, kept, outputs, outputs_file, some_hands, with_vertices

TOLERANCE = 2e-5  # of a result's largest value: processors sum in different orders


@pytest.fixture(scope="module")
def golden():
    return load_file(outputs_file(1))


@pytest.fixture(scope="module")
def found(golden):
    return outputs(load(adapter_file(1)), with_vertices(some_hands(), golden["vertices"]))


def test_every_format_version_has_its_numbers():
    for version in range(1, FORMAT_VERSION + 1):
        assert outputs_file(version).is_file() and read_metadata(adapter_file(version)).format_version == version


def test_version_1_gives_what_it_always_gave(golden, found):
    assert set(found) == set(golden) - {"vertices"} and len(found) == 42
    for name, values in found.items():
        expected = golden[name]
        difference = float((kept(values) - expected).abs().max())
        assert float(expected[:-1].abs().max()) > 0.02, f"{name} says nothing"
        assert difference <= TOLERANCE * float(expected.abs().max()), name


def test_the_numbers_would_show_a_change(golden, found):
    """A geometry raster one pixel off, a hand slightly elsewhere: far more than the tolerance."""
    moved = golden["vertices"] + torch.tensor([0.002, 0.0, 0.0])
    changed = outputs(load(adapter_file(1)), with_vertices(some_hands(), moved))
    for name in ("one.text.0", "one.null text.3", "two.odd grid.5"):
        difference = float((kept(changed[name]) - golden[name]).abs().max())
        assert difference > 100 * TOLERANCE * float(golden[name].abs().max()), name
