"""The mathematics of a format version never changes: what the shipped weights make of two hands, kept as numbers."""

import pytest
import torch
from safetensors.torch import load_file

from handrawer.adapter.checkpoint import load
from handrawer.adapter.config import FORMAT_VERSION

from .golden_cases import GOLDEN, SHIPPED, kept, outputs, some_hands, with_vertices

TOLERANCE = 2e-5  # of a result's largest value: processors sum in different orders


@pytest.fixture(scope="module")
def golden():
    return load_file(GOLDEN / "version_1.safetensors")


@pytest.fixture(scope="module")
def found(golden):
    return outputs(load(SHIPPED), with_vertices(some_hands(), golden["vertices"]))


def test_every_format_version_has_its_numbers():
    assert {path.stem for path in GOLDEN.glob("*.safetensors")} == {f"version_{k + 1}" for k in range(FORMAT_VERSION)}


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
    changed = outputs(load(SHIPPED), with_vertices(some_hands(), moved))
    for name in ("one.text.0", "one.null text.3", "two.odd grid.5"):
        difference = float((kept(changed[name]) - golden[name]).abs().max())
        assert difference > 100 * TOLERANCE * float(golden[name].abs().max()), name
