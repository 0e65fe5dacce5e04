"""Every device that is there computes what the CPU computes, and nothing needs what Metal lacks: 64-bit floats."""

import dataclasses

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from handrawer.adapter.controls import controlled
from handrawer.adapter.handrawer import hand_inputs
from handrawer.hand.hands import Frame, Hands, hand_from_gesture

from . import device_checks


class NoDouble(TorchDispatchMode):
    """Stops at the first operation that makes or takes a float64."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for value in tree_leaves((args, found)):
            if isinstance(value, torch.Tensor) and value.dtype in (torch.float64, torch.complex128):
                raise AssertionError(f"{func} uses float64")
        return found


def test_the_guard_sees_float64():
    with pytest.raises(AssertionError, match="float64"), NoDouble():
        torch.ones(2).double()


def test_hands_to_maps_without_float64(adapter, model, description):
    left = hand_from_gesture("peace", "left", 256, 256, centre=(0.6, 0.45), size=0.6).hands[0]
    right = hand_from_gesture("ok", "right", 256, 256, centre=(0.4, 0.5), size=0.5).hands[0]
    as_floats = [dataclasses.replace(hand, vertices=hand.vertices.float()) for hand in (left, right)]
    hands = Hands((Frame(256, 256, tuple(as_floats)),))
    hand_inputs(hands, model, 48)  # a model's constants are worked out once, on the CPU, in float64
    text = torch.ones(1, 5, description.context_width)
    with torch.no_grad(), NoDouble():
        tokens = adapter.encode(hand_inputs(hands, model, 48))
        maps = adapter.residuals(tokens.weighted([1.0, 0.5]), 33, 41, text)
        found = controlled(maps, description, 33, 41, strength=0.5, mask=torch.ones(20, 20))
    assert all(values.any() and values.dtype == torch.float32 for values in found.values())


def test_a_part_of_the_picture_without_float64():
    """What the canvas does in a step, between the cells of a map, too."""
    windows = device_checks.canvas_windows()
    rows = device_checks.rows_at(windows, 3, 5, 16, 24, torch.device("cpu"))
    maps, h = torch.rand(2, 8, 13, 19), torch.zeros(2, 8, 8, 12)
    with NoDouble():
        part = windows.rows_of([windows.mask_map(maps, torch.rand(1, 30, 40), 1, *device_checks.LATENT)], rows, 1, h)
        found = windows.add_all(h, [(part, 0.5), (part, 0.25)])
    assert found.any() and found.dtype == torch.float32


def test_hands_are_drawn_on_the_cpu_for_metal(model, monkeypatch):
    """Its GPUs got the minimum of 64-bit integers late, and the rasteriser rests on it. "meta" stands in for "mps"."""
    from handrawer.adapter import inputs

    assert inputs.drawing_device("mps") == torch.device("cpu") and inputs.drawing_device("cuda:1").type == "cuda"
    monkeypatch.setattr(inputs, "WITHOUT_WIDE_MINIMUM", ("meta",))
    hands = hand_from_gesture("ok", "right", 256, 256)
    found = hand_inputs(Hands((hands,)), model, 48, "meta")
    assert {t.device.type for t in (found.geometry, found.box, found.picture, found.sizes)} == {"meta"}


ACCELERATORS = [
    name
    for name, there in {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}.items()
    if there
]
CPU = ("inputs", "sd15 effect", "sd15 windows")  # of the CPU against itself: the canvas' arithmetic against the hooks
CASES = [("cpu", name) for name in CPU]
CASES += [(device, name) for device in ACCELERATORS for name, _ in device_checks.checks(torch.device(device))]


@pytest.mark.parametrize(("device", "name"), CASES)
def test_the_same_as_on_the_cpu(device: str, name: str):
    with device_checks.exact_products():
        found = dict(device_checks.checks(torch.device(device)))[name]()
    assert found and all(check.good for check in found), found
