"""The arrays in what ``pickle_reader`` found: numpy's own, scipy's sparse matrices, and chumpy's wrappers of them.

The layout of the values follows numpy's ``ndarray.__reduce__`` and ``dtype.__reduce__``, scipy's ``csc_matrix`` (its
``__dict__``), and chumpy's ``Ch.__getstate__`` and ``reordering.Select``. None of those packages' classes is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from .pickle_reader import MAX_BYTES, Node, PickleRefused

_DTYPE = re.compile(r"[|<>=]?([biuf])(1|2|4|8)")
_DEEPEST = 6  # of nodes within nodes; the official files have two


def node_array(value: Any) -> np.ndarray | None:
    """The array that a value of ``read_pickle`` stands for, or None if it stands for none.

    Sparse matrices come dense. Numbers are bool, integers or floats, in the machine's byte order.

    Raises:
        PickleRefused: the value is an array, but a damaged one or one of Python objects.
    """
    try:
        return _array(value, 0)
    except PickleRefused:
        raise
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
        raise PickleRefused(f"one of its arrays is damaged ({type(error).__name__})") from error


def only_item(value: Any) -> Any:
    """What a numpy array of one Python object holds (so ``np.savez`` wraps a sparse matrix); else the value itself."""
    if isinstance(value, Node) and value.type_name == "numpy.multiarray._reconstruct":
        state = value.state
        if isinstance(state, tuple) and len(state) == 5 and isinstance(state[4], list) and len(state[4]) == 1:
            return state[4][0]
    return value


def _array(value: Any, depth: int) -> np.ndarray | None:
    if depth > _DEEPEST:
        raise PickleRefused("its arrays are wrapped in each other without end")
    if isinstance(value, np.ndarray):
        return value
    if not isinstance(value, Node) or value.arguments is None:
        return None
    maker = _ARRAYS.get(value.type_name)
    return None if maker is None else maker(value, depth + 1)


def _needed(value: Any, depth: int) -> np.ndarray:
    array = _array(value, depth)
    if array is None:
        raise PickleRefused("one of its arrays is made of something that is no array")
    return array


def _dense(node: Node, depth: int) -> np.ndarray:
    """numpy's _reconstruct(ndarray, (0,), 'b') with the state (version, shape, dtype, fortran order, bytes)."""
    _, shape, dtype, fortran, content = node.state
    return _from_bytes(content, _dtype(dtype), shape, "F" if fortran else "C")


def _from_buffer(node: Node, depth: int) -> np.ndarray:
    """numpy's _frombuffer(bytes, dtype, shape, order) of pickle protocol 5."""
    content, dtype, shape, order = node.called_with
    return _from_bytes(content, _dtype(dtype), shape, "F" if order == "F" else "C")


def _scalar(node: Node, depth: int) -> np.ndarray:
    dtype, content = node.called_with
    return _from_bytes(content, _dtype(dtype), (), "C")


def _from_bytes(content: Any, dtype: np.dtype, shape: Any, order: Any) -> np.ndarray:
    array = np.frombuffer(_bytes(content), dtype=dtype)
    sizes = tuple(int(size) for size in shape)
    if any(size < 0 for size in sizes):
        raise PickleRefused("one of its arrays has a negative size")
    return array.reshape(sizes, order=order).astype(dtype.newbyteorder("="))


def _bytes(content: Any) -> bytes:
    """Bytes, also as a string of Python 2, and as Python 3 writes them for Python 2 (text and the name of its code)."""
    if isinstance(content, Node) and content.type_name == "_codecs.encode":
        content = (content.arguments or ("",))[0]
    if isinstance(content, Node) and content.type_name in ("builtins.bytes", "builtins.bytearray"):
        content = (*(content.arguments or ()), b"")[0]
    if isinstance(content, str):
        content = content.encode("latin-1")
    if not isinstance(content, (bytes, bytearray)):
        raise PickleRefused("one of its arrays holds Python objects")
    return bytes(content)


def _dtype(node: Any) -> np.dtype:
    """numpy.dtype('f8', ...) with the state (version, byte order, ...); numbers only."""
    if not isinstance(node, Node) or node.type_name != "numpy.dtype" or not node.arguments:
        raise PickleRefused("one of its arrays has no kind of number")
    found = _DTYPE.fullmatch(str(node.arguments[0]))
    if not found:
        raise PickleRefused("one of its arrays holds something other than numbers")
    order = node.state[1] if isinstance(node.state, tuple) and len(node.state) > 1 else "="
    return np.dtype(found[1] + found[2]).newbyteorder(order if order in ("<", ">") else "=")


def _compressed(node: Node, depth: int) -> np.ndarray:
    """csc: column j holds data[indptr[j]:indptr[j + 1]] in the rows ``indices``; csr the other way round."""
    state = node.state
    data, indices, indptr = (_needed(state[key], depth) for key in ("data", "indices", "indptr"))
    counts = np.diff(indptr)
    if indptr[0] != 0 or indptr[-1] != len(data) or (counts < 0).any():
        raise PickleRefused("one of its sparse matrices is damaged")
    major = np.repeat(np.arange(len(counts)), counts)
    row, column = (indices, major) if "csc" in node.type_name else (major, indices)
    return _spread(state, data, row, column)


def _coordinates(node: Node, depth: int) -> np.ndarray:
    state = node.state
    if "coords" in state:
        row, column = state["coords"]
    else:
        row, column = state["row"], state["col"]
    return _spread(state, _needed(state["data"], depth), _needed(row, depth), _needed(column, depth))


def _spread(state: dict, data: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    rows, columns = (int(size) for size in (state["_shape"] if "_shape" in state else state["shape"]))
    if rows * columns > MAX_BYTES // 8:
        raise PickleRefused("one of its sparse matrices is larger than any hand model's")
    if min(row.min(initial=0), column.min(initial=0)) < 0:
        raise PickleRefused("one of its sparse matrices has entries outside of it")
    dense = np.zeros((rows, columns), dtype=data.dtype)
    np.add.at(dense, (row, column), data)
    return dense


def _chumpy_array(node: Node, depth: int) -> np.ndarray:
    return _needed(node.state["x"], depth)


def _chumpy_select(node: Node, depth: int) -> np.ndarray:
    """Entries of the flattened array, in another shape: how chumpy remembers ``shapedirs[:, :, :10]``."""
    state = node.state
    chosen = _needed(state["a"], depth).ravel()[_needed(state["idxs"], depth).ravel()]
    shape = state.get("preferred_shape")
    return chosen if shape is None else chosen.reshape(tuple(int(size) for size in shape))


def _chumpy_reshape(node: Node, depth: int) -> np.ndarray:
    shape = node.state["newshape"]
    sizes = (int(shape),) if isinstance(shape, int) else tuple(int(size) for size in shape)
    return _needed(node.state["a"], depth).reshape(sizes)


def _chumpy_transpose(node: Node, depth: int) -> np.ndarray:
    axes = node.state.get("axes")
    return _needed(node.state["a"], depth).transpose(None if axes is None else tuple(int(axis) for axis in axes))


_ARRAYS: dict[str, Callable[[Node, int], np.ndarray]] = {
    "numpy.multiarray._reconstruct": _dense,
    "numpy.numeric._frombuffer": _from_buffer,
    "numpy.multiarray.scalar": _scalar,
    **dict.fromkeys((f"scipy.sparse.{kind}_{form}" for kind in ("csc", "csr") for form in ("matrix", "array")),
                    _compressed),
    "scipy.sparse.coo_matrix": _coordinates,
    "scipy.sparse.coo_array": _coordinates,
    "chumpy.ch.Ch": _chumpy_array,
    "chumpy.reordering.Select": _chumpy_select,
    "chumpy.reordering.Reshape": _chumpy_reshape,
    "chumpy.reordering.transpose": _chumpy_transpose,
}  # fmt: skip
