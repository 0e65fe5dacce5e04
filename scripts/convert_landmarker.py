"""Make `handrawer/estimate/hand_landmarker.safetensors` again, byte for byte, from `hand_landmarker.task` beside it.

The task file holds MediaPipe's two hand networks (Apache-2.0) as TensorFlow Lite flatbuffers. This reads them without
TensorFlow and without mediapipe, keeps their 16-bit weights as they are in torch's layout, and writes the layers, in
the order in which they run, as JSON into the file's metadata. `handrawer/estimate/networks.py` runs them.

    python scripts/convert_landmarker.py            # write
    python scripts/convert_landmarker.py --check    # only compare with the file that is there
"""

from __future__ import annotations

import argparse
import hashlib
import json
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

FOLDER = Path(__file__).resolve().parent.parent / "handrawer" / "estimate"
NETWORKS = {"palm": "hand_detector.tflite", "hand": "hand_landmarks_detector.tflite"}
TYPES = {0: np.float32, 1: np.float16, 2: np.int32}  # TensorFlow Lite's TensorType
OPERATORS = {
    0: "add", 2: "concatenate", 3: "conv", 4: "depthwise", 6: "dequantize", 9: "linear", 14: "sigmoid", 17: "max_pool",
    22: "reshape", 23: "resize", 34: "pad", 40: "mean", 54: "prelu",
}  # fmt: skip
SAME, RELU6 = 0, 3


class Table:
    """One table of a flatbuffer: fields by the number that the schema (tensorflow/lite/schema.fbs) gives them."""

    def __init__(self, data: bytes, position: int):
        self.data, self.position = data, position

    @classmethod
    def root(cls, data: bytes) -> Table:
        return cls(data, struct.unpack_from("<I", data)[0])

    def _field(self, number: int) -> int | None:
        """Where the field's value lies, or None where it has its default."""
        table = self.position - struct.unpack_from("<i", self.data, self.position)[0]
        entry = 4 + 2 * number
        if entry >= struct.unpack_from("<H", self.data, table)[0]:
            return None
        offset = struct.unpack_from("<H", self.data, table + entry)[0]
        return self.position + offset if offset else None

    def _target(self, at: int) -> int:
        return at + struct.unpack_from("<I", self.data, at)[0]

    def number(self, field: int, kind: str = "i", default: int = 0) -> int:
        at = self._field(field)
        return default if at is None else struct.unpack_from("<" + kind, self.data, at)[0]

    def array(self, field: int, dtype: Any) -> np.ndarray:
        at = self._field(field)
        if at is None:
            return np.zeros(0, dtype)
        start = self._target(at)
        return np.frombuffer(self.data, dtype, struct.unpack_from("<I", self.data, start)[0], start + 4)

    def tables(self, field: int) -> list[Table]:
        at = self._field(field)
        if at is None:
            return []
        start = self._target(at)
        count = struct.unpack_from("<I", self.data, start)[0]
        return [Table(self.data, self._target(start + 4 + 4 * i)) for i in range(count)]

    def table(self, field: int) -> Table:
        at = self._field(field)
        if at is None:
            raise ValueError("the network's file has an operator without its options")
        return Table(self.data, self._target(at))


class Reader:
    """One network: its layers as plain dictionaries, and its weights."""

    def __init__(self, data: bytes, name: str):
        model = Table.root(data)
        codes = [max(code.number(0, "b"), code.number(3)) for code in model.tables(1)]
        (self.graph,) = model.tables(2)
        self.name = name
        self.tensors = self.graph.tables(0)
        self.buffers = model.tables(4)
        self.same = {}  # a dequantized weight's number: the number of the weight as it is stored
        self.weights: dict[str, torch.Tensor] = {}
        self.layers: list[dict[str, Any]] = []
        for operator in self.graph.tables(3):
            code = codes[operator.number(0, "I")]
            if code not in OPERATORS:
                raise ValueError(f"{name}: the network has an operator {code} that is not known here.")
            self._layer(OPERATORS[code], operator)

    def description(self) -> dict[str, Any]:
        inputs, outputs = ([int(i) for i in self.graph.array(field, np.int32)] for field in (1, 2))
        return {"input": inputs[0], "outputs": outputs, "layers": self.layers}

    def _constant(self, number: int) -> np.ndarray:
        number = self.same.get(number, number)
        tensor = self.tensors[number]
        raw = self.buffers[tensor.number(2, "I")].array(0, np.uint8).tobytes()
        return np.frombuffer(raw, TYPES[tensor.number(1, "b")]).reshape(self._shape(number))

    def _shape(self, number: int) -> tuple[int, ...]:
        return tuple(int(n) for n in self.tensors[number].array(0, np.int32))

    def _keep(self, number: int, axes: tuple[int, ...] | None = None) -> str:
        """The name under which a constant is kept, its axes brought into torch's order."""
        key = f"{self.name}.{self.same.get(number, number)}"
        value = torch.from_numpy(self._constant(number).copy())
        self.weights[key] = (value if axes is None else value.permute(axes)).contiguous()
        return key

    def _layer(self, kind: str, operator: Table) -> None:
        inputs = [int(i) for i in operator.array(1, np.int32)]
        (output,) = (int(i) for i in operator.array(2, np.int32))
        layer: dict[str, Any] = {"kind": kind, "in": inputs[:1], "out": output}
        if kind == "dequantize":
            self.same[output] = inputs[0]
            return
        if kind in ("conv", "depthwise"):
            options = operator.table(4)
            layer["weight"] = self._keep(inputs[1], (0, 3, 1, 2) if kind == "conv" else (3, 0, 1, 2))
            layer["bias"] = self._keep(inputs[2])
            layer["stride"] = options.number(1)
            layer["same"] = options.number(0, "b") == SAME
            layer["relu6"] = options.number(3 if kind == "conv" else 4, "b") == RELU6
        elif kind == "linear":
            layer["weight"], layer["bias"] = self._keep(inputs[1]), self._keep(inputs[2])
        elif kind == "prelu":
            layer["weight"] = self._keep(inputs[1], (2, 0, 1))
        elif kind in ("add", "concatenate"):
            layer["in"] = inputs
        elif kind == "pad":
            before, after = self._constant(inputs[1])[3].tolist()
            layer["channels"] = [before, after]
        elif kind == "resize":
            layer["size"] = self._constant(inputs[1]).tolist()
        elif kind == "reshape":
            layer["width"] = self._shape(output)[-1]
        self.layers.append(layer)


def convert(task: Path) -> bytes:
    """The bytes of the safetensors file with both networks of the `.task` bundle at `task`."""
    weights: dict[str, torch.Tensor] = {}
    graphs = {}
    with zipfile.ZipFile(task) as bundle:
        for name, entry in NETWORKS.items():
            network = Reader(bundle.read(entry), name)
            weights.update(network.weights)
            graphs[name] = network.description()
    metadata = {
        "networks": json.dumps(graphs, separators=(",", ":"), sort_keys=True),
        "source": f"hand_landmarker.task, SHA-256 {hashlib.sha256(task.read_bytes()).hexdigest()}",
        "licence": "Apache-2.0, MediaPipe's palm detector (full) and hand landmark network (full)",
    }
    return _in_order(save(weights, metadata))


def _in_order(data: bytes) -> bytes:
    """The same file with its header's keys sorted: safetensors writes the metadata in an order that changes."""
    length = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(dict(sorted(header.items())), separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--task", type=Path, default=FOLDER / "hand_landmarker.task")
    parser.add_argument("--out", type=Path, default=FOLDER / "hand_landmarker.safetensors")
    parser.add_argument("--check", action="store_true", help="only compare with the file that is there")
    options = parser.parse_args(arguments)
    try:
        data = convert(options.task)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    digest = hashlib.sha256(data).hexdigest()
    if options.check:
        same = options.out.is_file() and options.out.read_bytes() == data
        print(f"{options.out}: {'identical' if same else 'DIFFERENT'}, SHA-256 of the conversion {digest}")
        return 0 if same else 1
    options.out.write_bytes(data)
    print(f"wrote {options.out} ({len(data):,} bytes, SHA-256 {digest})")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
