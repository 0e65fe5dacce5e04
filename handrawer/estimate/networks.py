"""MediaPipe's two hand networks in plain torch, so that hands are found without mediapipe.

`hand_landmarker.safetensors` holds their weights in 16 bits and, as JSON in its metadata, the layers in the order in
which they run; `scripts/convert_landmarker.py` makes it from `hand_landmarker.task`. The networks are built once and
kept for the life of the process.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WEIGHTS_FILE = Path(__file__).with_name("hand_landmarker.safetensors")
WEIGHTS_SHA256 = "9b754e86a48b0338715831bc62ed2fda0a6e96586e33f9c8f0088658b7d743f4"
PALM_SIDE = 192  # pixels of the palm detector's input
HAND_SIDE = 224  # pixels of the landmark network's input


class Network(nn.Module):
    """A chain of layers read from a file.

    Args:
        description: {"input": number, "outputs": [numbers], "layers": [{"kind", "in", "out", ...}]}; values are known
            by number, as in the file they come from.
        weights: by the names that the layers use.
    """

    def __init__(self, description: dict[str, Any], weights: dict[str, Tensor]):
        super().__init__()
        self.input: int = description["input"]
        self.outputs: list[int] = description["outputs"]
        self.layers: list[dict[str, Any]] = description["layers"]
        for layer in self.layers:
            for part in ("weight", "bias"):
                if part in layer:
                    value = weights[layer[part]].float()
                    value = value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value
                    self.register_buffer(_buffer(layer[part]), value)
        self._last_use = {number: i for i, layer in enumerate(self.layers) for number in layer["in"]}

    def forward(self, pictures: Tensor, also: tuple[int, ...] = ()) -> list[Tensor]:
        """The outputs for pictures [N, 3, side, side] float32 in [0, 1], then the values with the numbers ``also``."""
        values = {self.input: pictures.contiguous(memory_format=torch.channels_last)}
        for i, layer in enumerate(self.layers):
            values[layer["out"]] = LAYERS[layer["kind"]](self, layer, *(values[number] for number in layer["in"]))
            for number in layer["in"]:
                if self._last_use[number] == i and number not in self.outputs and number not in also:
                    values.pop(number, None)
        return [values[number] for number in (*self.outputs, *also)]

    def output_of(self, kind: str) -> int:
        """The number of the value that the only layer of a kind makes."""
        (found,) = [layer["out"] for layer in self.layers if layer["kind"] == kind]
        return found

    def weight(self, layer: dict[str, Any], part: str = "weight") -> Tensor:
        return self.get_buffer(_buffer(layer[part]))


def _buffer(name: str) -> str:
    return name.replace(".", "_")


def _same(x: Tensor, kernel: int, stride: int) -> tuple[Tensor, int]:
    """TensorFlow's SAME padding, whose odd pixel goes below and to the right; and what is left to the convolution."""
    if stride == 1 and kernel % 2:
        return x, kernel // 2
    size = x.shape[-1]
    padding = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    before, after = padding // 2, padding - padding // 2
    return F.pad(x, (before, after, before, after)), 0


def _convolve(network: Network, layer: dict[str, Any], x: Tensor) -> Tensor:
    weight = network.weight(layer)
    if weight.shape[-1] == 1 and layer["stride"] == 1 and layer["kind"] == "conv":
        # The same sums as one product of matrices, which takes two thirds of a convolution's time on one thread.
        y = F.linear(x.permute(0, 2, 3, 1), weight[:, :, 0, 0], network.weight(layer, "bias")).permute(0, 3, 1, 2)
        return F.relu6(y, inplace=True) if layer["relu6"] else y
    padding = 0
    if layer["same"]:
        x, padding = _same(x, weight.shape[-1], layer["stride"])
    groups = weight.shape[0] if layer["kind"] == "depthwise" else 1
    y = F.conv2d(x, weight, network.weight(layer, "bias"), layer["stride"], padding, groups=groups)
    return F.relu6(y, inplace=True) if layer["relu6"] else y


def _reshape(network: Network, layer: dict[str, Any], x: Tensor) -> Tensor:
    """[N, C, H, W] to [N, H * W * (C / width), width], channels last as in the file."""
    return x.permute(0, 2, 3, 1).reshape(len(x), -1, layer["width"])


LAYERS: dict[str, Callable[..., Tensor]] = {
    "conv": _convolve,
    "depthwise": _convolve,
    "prelu": lambda net, layer, x: F.prelu(x, net.weight(layer).flatten()),
    "add": lambda net, layer, a, b: a + b,
    "pad": lambda net, layer, x: F.pad(x, (0, 0, 0, 0, *layer["channels"])),
    "max_pool": lambda net, layer, x: F.max_pool2d(x, 2),
    "resize": lambda net, layer, x: F.interpolate(x, size=layer["size"], mode="bilinear", align_corners=False),
    "reshape": _reshape,
    "concatenate": lambda net, layer, *xs: torch.cat(xs, dim=1),
    "mean": lambda net, layer, x: x.mean(dim=(2, 3)),
    "linear": lambda net, layer, x: F.linear(x, net.weight(layer), net.weight(layer, "bias")),
    "sigmoid": lambda net, layer, x: x.sigmoid(),
}


_LOCK = threading.Lock()
_NETWORKS: dict[tuple[str, str], Network] = {}


def palm_network(device: torch.device | str = "cpu") -> Network:
    """Pictures [N, 3, 192, 192] in [0, 1] to boxes [N, 2016, 18] about the anchors and their scores [N, 2016, 1]."""
    return _network("palm", device)


def hand_network(device: torch.device | str = "cpu") -> Network:
    """Pictures [N, 3, 224, 224] in [0, 1] of an upright hand to points [N, 63] in pixels of that picture (z in the same
    unit, from the wrist), presence [N, 1], right-handedness [N, 1] and points [N, 63] in metres."""
    return _network("hand", device)


def _network(name: str, device: torch.device | str) -> Network:
    device = torch.device(device)
    with _LOCK:
        if (name, str(device)) not in _NETWORKS:
            with torch.inference_mode(False):
                for known, network in _read(WEIGHTS_FILE).items():
                    _NETWORKS[known, str(device)] = network.to(device)
        return _NETWORKS[name, str(device)]


def forget_networks() -> None:
    """Let go of the networks; the next picture reads them again."""
    with _LOCK:
        _NETWORKS.clear()


def _read(path: Path) -> dict[str, Network]:
    from safetensors.torch import load

    if not path.is_file():
        raise FileNotFoundError(
            f"The landmark networks are missing ({path}): install HanDrawer again, or make the file with "
            "scripts/convert_landmarker.py."
        )
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != WEIGHTS_SHA256:
        raise FileNotFoundError(
            f"The landmark networks' file is damaged ({path}, {len(data):,} bytes): install HanDrawer again, or make "
            "the file with scripts/convert_landmarker.py."
        )
    length = int.from_bytes(data[:8], "little")
    descriptions = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["networks"])
    weights = load(data)
    with torch.inference_mode(False):  # the host calls in inference mode, and the networks outlive this call
        return {name: Network(description, weights).eval() for name, description in descriptions.items()}
