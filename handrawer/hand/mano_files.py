"""Reading and keeping MANO files.

Read are ``MANO_RIGHT.pkl`` and ``MANO_LEFT.pkl`` as they come (Python 2, with chumpy's objects), re-saved pickles,
``.npz`` and ``.safetensors``. Pickles go through ``pickle_reader``, which runs nothing of what a file says.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .pickle_arrays import node_array, only_item
from .pickle_reader import MAX_BYTES, PickleRefused, read_pickle

FORMAT, VERSION = "handrawer-mano", "1"
FILE_TYPES = (".pkl", ".npz", ".safetensors")

MANO_PARENTS: tuple[int, ...] = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
"""Wrist, index, middle, little, ring, thumb, base to tip."""


class ManoError(ValueError):
    """A file that is no MANO model, in one sentence."""


@dataclass(frozen=True, eq=False)
class ManoFile:
    """What a MANO file holds, in MANO's own frame and joint order; float64."""

    side: str
    """``"left"`` or ``"right"``."""
    v_template: Tensor
    """[V, 3] metres."""
    shapedirs: Tensor
    """[V, 3, S] metres per unit, as in the file."""
    posedirs: Tensor
    """[V, 3, 135] metres per entry of (rotations - identity)."""
    joint_regressor: Tensor
    """[16, V]."""
    weights: Tensor
    """[V, 16]."""
    faces: Tensor
    """[F, 3] int64, in the file's order."""
    hands_mean: Tensor
    """[45] axis-angle of the mean pose."""
    hands_components: Tensor
    """[C, 45] PCA of poses; C is 0 where the file has none."""

    @property
    def left(self) -> bool:
        return self.side == "left"

    def hand_pose(self, coefficients: Tensor, *, flat_hand_mean: bool = False) -> Tensor:
        """[N, 45] rotations from the flat hand, of smplx's ``hand_pose`` [N, C] (PCA) or [N, 45] (axis-angle).

        Args:
            coefficients: 45 columns are axis-angles; fewer are coefficients of the first PCA components.
            flat_hand_mean: whether they count from the flat hand; else from the file's mean pose (smplx's default).
        """
        columns = coefficients.shape[1]
        if columns > len(self.hands_mean) or (columns < 45 and columns > len(self.hands_components)):
            raise ValueError(f"A pose of {columns} numbers does not fit: 45, or at most {len(self.hands_components)}.")
        pose = coefficients if columns == 45 else coefficients @ self.hands_components[:columns].to(coefficients)
        return pose if flat_hand_mean else pose + self.hands_mean.to(pose)


def read_mano(path: str | Path) -> ManoFile:
    """What a MANO file holds. Nothing that a file may say is run.

    Raises:
        ManoError: the file is missing, no MANO model, or a pickle that asks for more than arrays.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ManoError(f"{path.name} is no MANO file: it ends in none of {', '.join(FILE_TYPES)}.")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ManoError(f"{path.name} is larger than any hand model: choose MANO_RIGHT.pkl or MANO_LEFT.pkl.")
        arrays = reader(path)
    except FileNotFoundError as error:
        raise ManoError(f"{path.name} is not there: put the file back or choose another.") from error
    except PickleRefused as error:
        raise ManoError(f"{path.name} cannot be read as a hand model: {error}.") from error
    except OSError as error:
        raise ManoError(f"{path.name} cannot be opened ({error.strerror or type(error).__name__}).") from error
    return _checked(arrays, path.name)


def save_mano(mano: ManoFile, path: str | Path, *, overwrite: bool = False) -> None:
    """Keep what was read as safetensors, which opens at once and can hold nothing but numbers.

    MANO's licence goes with it: the copy is as little to be passed on as the original.

    Raises:
        ManoError: the name does not end in .safetensors, or the file is there and ``overwrite`` is not given.
    """
    from safetensors.torch import save

    path = Path(path)
    if path.suffix.lower() != ".safetensors":
        raise ManoError(f"{path.name}: a MANO file is kept as .safetensors, so give it a name that ends so.")
    tensors = {key: getattr(mano, own).contiguous() for key, own in _FIELDS.items() if key != "kintree_table"}
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "side": mano.side,
        "licence": "MANO, for non-commercial use: https://mano.is.tue.mpg.de/license.html",
    }
    content = save(tensors, metadata)
    try:
        with path.open("wb" if overwrite else "xb") as file:
            file.write(content)
    except FileExistsError as error:
        raise ManoError(
            f"{path.name} is there already: choose another name, or ask for it to be overwritten."
        ) from error
    except OSError as error:
        raise ManoError(f"{path.name} cannot be written ({error.strerror or type(error).__name__}).") from error


def _read_pickle(path: Path) -> dict[str, Any]:
    content = read_pickle(path.read_bytes())
    if not isinstance(content, dict):
        raise PickleRefused("it holds no table of arrays")
    return {key: node_array(value) for key, value in content.items() if key in _FIELDS}


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as file:
            names = [name for name in file.namelist() if name.removesuffix(".npy") in _FIELDS]
            if sum(file.getinfo(name).file_size for name in names) > MAX_BYTES:
                raise PickleRefused("it holds more than any hand model")
            return {name.removesuffix(".npy"): _read_npy(file.read(name)) for name in names}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise PickleRefused("it is no .npz, or a damaged one") from error


def _read_npy(content: bytes) -> np.ndarray | None:
    """numpy's own format. An array of Python objects is a pickle (a sparse matrix, say), and is taken apart as one."""
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        _, _, dtype = read(stream)
        if dtype.hasobject:
            return node_array(only_item(read_pickle(stream.read())))
        return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except PickleRefused:
        raise
    except ValueError as error:
        raise PickleRefused("one of its arrays is damaged") from error


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="np") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") == FORMAT and metadata.get("version") != VERSION:
                raise PickleRefused(f"it has version {metadata.get('version')}, this HanDrawer reads {VERSION}")
            arrays: dict[str, Any] = {key: file.get_tensor(key) for key in set(file.keys()) & set(_FIELDS)}
            return {**arrays, "side": metadata.get("side")}
    except SafetensorError as error:
        raise PickleRefused("it is no .safetensors, or a damaged one") from error


_READERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    ".pkl": _read_pickle,
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
}

# Names in MANO's files, and here.
_FIELDS = {
    "v_template": "v_template",
    "shapedirs": "shapedirs",
    "posedirs": "posedirs",
    "J_regressor": "joint_regressor",
    "weights": "weights",
    "f": "faces",
    "hands_mean": "hands_mean",
    "hands_components": "hands_components",
    "kintree_table": "kintree_table",
}
_REQUIRED = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "f")


def _checked(arrays: dict[str, Any], name: str) -> ManoFile:
    """The arrays as a ``ManoFile``, or a sentence about what does not fit."""
    missing = [key for key in _REQUIRED if not isinstance(arrays.get(key), np.ndarray)]
    if missing:
        raise ManoError(f"{name} is no MANO file: it has no {', '.join(missing)}.")
    joints, vertices, faces = len(arrays["J_regressor"]), len(arrays["v_template"]), len(arrays["f"])
    if joints != 16:
        raise ManoError(f"{name} has {joints} joints, MANO's hand has 16: choose MANO_RIGHT.pkl or MANO_LEFT.pkl.")
    shapes = arrays["shapedirs"].shape[-1] if arrays["shapedirs"].ndim == 3 else 0
    sizes = {"v_template": (vertices, 3), "shapedirs": (vertices, 3, shapes), "posedirs": (vertices, 3, 135),
             "J_regressor": (16, vertices), "weights": (vertices, 16), "f": (faces, 3)}  # fmt: skip
    for key, size in sizes.items():
        if arrays[key].shape != size or (key != "f" and not np.isfinite(arrays[key]).all()):
            raise ManoError(f"{name} is damaged: its {key} is not {' x '.join(map(str, size))} finite numbers.")
    if faces == 0 or arrays["f"].astype(np.int64).min() < 0 or arrays["f"].max() >= vertices:
        raise ManoError(f"{name} is damaged: its faces name vertices that it has not.")
    tree = arrays.get("kintree_table")
    if isinstance(tree, np.ndarray) and tuple(int(parent) for parent in tree[0, 1:]) != MANO_PARENTS[1:]:
        raise ManoError(f"{name} has its joints in another order than MANO's.")

    def tensor(key: str) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(arrays[key], dtype=np.float64))

    mean, components = arrays.get("hands_mean"), arrays.get("hands_components")
    own = {_FIELDS[key]: tensor(key) for key in _REQUIRED if key != "f"}
    own["faces"] = torch.from_numpy(arrays["f"].astype(np.int64))
    own["hands_mean"] = torch.zeros(45).double() if mean is None else tensor("hands_mean").flatten()
    own["hands_components"] = torch.zeros(0, 45).double() if components is None else tensor("hands_components")
    if len(own["hands_mean"]) != 45 or own["hands_components"].shape[1:] != (45,):
        raise ManoError(f"{name} is damaged: its mean pose and its components are not of 45 numbers.")
    side = arrays.get("side")
    if side not in ("left", "right"):
        side = _side(own["joint_regressor"] @ own["v_template"], name)
    return ManoFile(side=side, **own)


def _side(joints: Tensor, name: str) -> str:
    """A right hand's fingers point to -x in MANO's frame, a left hand's to +x."""
    x, y, z = (joints[4] - joints[0]).tolist()  # wrist to the middle finger's base
    if abs(x) < 2 * max(abs(y), abs(z)):
        raise ManoError(f"{name} does not lie in MANO's rest frame (fingers along x): its side cannot be told.")
    return "right" if x < 0 else "left"
