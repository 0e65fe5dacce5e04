"""No GPU is at hand in the tests: that every tensor is made where the hands are is read off how it is made."""

import traceback
from pathlib import Path

import pytest
import torch
from torch.overrides import TorchFunctionMode

from handrawer.hand.hands import Frame, hand_from_gesture
from handrawer.render.maps import LAYERS, render_crops, render_layers

MAKERS = (torch.arange, torch.empty, torch.full, torch.ones, torch.tensor, torch.zeros, torch.linspace)

ON_THE_CPU = {"closed_faces", "mesh_edges", "join_edges", "build_scene"}
"""Functions that work on the CPU and move what they found; they see the hands' models, not pixels."""


class Homeless(TorchFunctionMode):
    """Collects the lines of the renderer that make a tensor without saying where, and those that wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.made: set[str] = set()
        self.read = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (torch.Tensor.item, torch.Tensor.tolist, torch.Tensor.__int__, torch.Tensor.__float__):
            self.read += 1
        if func in MAKERS and kwargs.get("device") is None:
            here = [frame for frame in traceback.extract_stack() if Path(frame.filename).parent.name == "render"]
            here = [frame for frame in here if "handrawer" in frame.filename]
            if here and not ON_THE_CPU & {frame.name for frame in here}:
                self.made.add(f"{Path(here[-1].filename).name}:{here[-1].lineno} {here[-1].line}")
        return func(*args, **kwargs)


def frame(count: int) -> Frame:
    hands = hand_from_gesture("open", "left", 64, 48, centre=(0.4, 0.5)).hands[0]
    return Frame(64, 48, tuple(hands.replace(z_order=k % 2) for k in range(count)))


@pytest.mark.parametrize("depth_range", ["picture", "hand"])
def test_tensors_are_made_where_the_hands_are(depth_range):
    with Homeless() as mode:
        render_layers(frame(2), LAYERS, depth_range=depth_range, device=torch.device("cpu"))
        render_crops(frame(2), ["normals"], device=torch.device("cpu"))
    assert not mode.made, "\n".join(sorted(mode.made))


def test_the_waits_for_a_gpu_do_not_grow_with_the_hands():
    reads = []
    for count in (1, 12):
        render_layers(frame(count), LAYERS, device="cpu")
        with Homeless() as mode:
            render_layers(frame(count), LAYERS, device="cpu")
        reads.append(mode.read)
    assert reads[0] <= reads[1] <= reads[0] + 4, reads
