"""What accelerators do not have: Metal knows no float64, so nothing of an adapter's work may need it."""

import dataclasses

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from handrawer.adapter.controls import controlled
from handrawer.adapter.handrawer import hand_inputs
from handrawer.hand.hands import Frame, Hands, hand_from_gesture


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
