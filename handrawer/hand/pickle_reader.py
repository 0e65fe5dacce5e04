"""Arrays out of a pickle, without running anything that the pickle says.

Python's own unpickler calls what the file names, so opening a pickle means trusting it. This reader does not unpickle.
It walks through the opcodes (``pickletools`` knows how long each one's argument is), keeps a stack as the pickle
machine does, and where the file asks for a class or a call it writes down *that* it asked: a ``Node`` with a name,
arguments and a state. No name is imported, nothing is called, and a name that is not on the short list below ends the
reading. What the nodes mean (numpy's arrays, scipy's sparse matrices, chumpy's wrappers) is worked out afterwards, by
``pickle_arrays.node_array``.
"""

from __future__ import annotations

import ast
import io
import pickletools
import re
from collections.abc import Callable
from typing import Any

MAX_BYTES = 1 << 28
"""Larger files are no hand models (MANO's are 4 MB)."""

_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # Python 2's names
_NUMPY = {"numpy.core": "numpy", "numpy._core": "numpy"}

_ALLOWED = frozenset(
    {
        "builtins.object", "builtins.set", "builtins.frozenset", "builtins.list", "builtins.dict", "builtins.tuple",
        "builtins.bytearray", "builtins.bytes",
        "copyreg._reconstructor", "copyreg.__newobj__", "_codecs.encode",
        "numpy.ndarray", "numpy.dtype", "numpy.multiarray._reconstruct", "numpy.multiarray.scalar",
        "numpy.numeric._frombuffer",
        "scipy.sparse.csc_matrix", "scipy.sparse.csr_matrix", "scipy.sparse.coo_matrix",
        "scipy.sparse.csc_array", "scipy.sparse.csr_array", "scipy.sparse.coo_array",
        "chumpy.ch.Ch", "chumpy.reordering.Select", "chumpy.reordering.Reshape", "chumpy.reordering.transpose",
    }
)  # fmt: skip

_OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
_LITERAL = re.compile(rb"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")
_MARK = object()


class PickleRefused(ValueError):
    """A pickle that is damaged, or that asks for more than arrays; one sentence without the file's name."""


class Node:
    """Something that the pickle wants made: a name, the arguments to call it with (None: not called), and a state."""

    def __init__(self, name: str, arguments: tuple | None = None):
        self.name, self.arguments = name, arguments
        self.state: Any = None

    @property
    def called_with(self) -> tuple[Any, ...]:
        return self.arguments or ()

    @property
    def type_name(self) -> str:
        """The class of the object, also where it is made by one of pickle's helpers."""
        if self.name in ("copyreg._reconstructor", "copyreg.__newobj__") and self.arguments:
            first = self.arguments[0]
            return first.name if isinstance(first, Node) else self.name
        return self.name


def read_pickle(data: bytes) -> Any:
    """What a pickle holds: plain Python values, and ``Node`` objects for the rest. Nothing in it is run.

    Strings of Python 2 are read as latin-1.

    Raises:
        PickleRefused: it is damaged, too large, or asks for a name that no hand model needs.
    """
    if len(data) > MAX_BYTES:
        raise PickleRefused(f"it has {len(data) >> 20} MB, more than any hand model")
    try:
        return _Machine(data).run()
    except PickleRefused:
        raise
    except (ValueError, KeyError, IndexError, TypeError, SyntaxError, OverflowError, EOFError, RecursionError) as error:
        raise PickleRefused(f"it is no pickle, or a damaged one ({type(error).__name__})") from error


class _Machine:
    """Pickle's stack machine, with notes instead of calls."""

    def __init__(self, data: bytes):
        self.stream = io.BytesIO(data)
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        while True:
            code = self.stream.read(1)
            if code not in _OPCODES:
                raise PickleRefused("it is no pickle, or one that was cut off")
            opcode = _OPCODES[code]
            if opcode.name == "STOP":
                return self.stack.pop()
            argument = self._argument(opcode)
            if opcode.name in _SIMPLE:
                self.stack.append(_SIMPLE[opcode.name](argument))
            elif opcode.name in _ACTIONS:
                _ACTIONS[opcode.name](self, argument)
            else:
                raise PickleRefused(f"it uses {opcode.name}, which no hand model needs")

    def _argument(self, opcode: pickletools.OpcodeInfo) -> Any:
        if opcode.name == "STRING":  # bytes of Python 2 as a literal, which pickletools takes for ASCII
            line = self.stream.readline()
            if not line.endswith(b"\n"):
                raise PickleRefused("it was cut off")
            literal = line.strip()
            if not _LITERAL.fullmatch(literal):
                raise PickleRefused("it is damaged")
            return ast.literal_eval("b" + literal.decode("ascii")).decode("latin-1")
        return None if opcode.arg is None else opcode.arg.reader(self.stream)

    def since_mark(self) -> list[Any]:
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                items = self.stack[place + 1 :]
                del self.stack[place:]
                return items
        raise PickleRefused("it is damaged")

    def name(self, module: Any, name: Any) -> None:
        self.stack.append(Node(_allowed(module, name)))

    def call(self, arguments: Any) -> None:
        function = self.stack.pop()
        if not isinstance(function, Node) or function.arguments is not None or not isinstance(arguments, tuple):
            raise PickleRefused("it calls something that is not a name")
        self.stack.append(Node(function.name, arguments))

    def build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], Node):
            raise PickleRefused("it sets the state of a plain value")
        self.stack[-1].state = state

    def extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise PickleRefused("it is damaged")
        self.stack[-1].extend(items)

    def put(self, pairs: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict):
            raise PickleRefused("it is damaged")
        self.stack[-1].update(_pairs(pairs))


def _allowed(module: Any, name: Any) -> str:
    """The name in one spelling, if it is on the list; looked up nowhere."""
    module, name = str(module), str(name)
    full = str(_MODULES.get(module, module))
    for long, short in _NUMPY.items():
        if full == long or full.startswith(long + "."):
            full = short + full[len(long) :]
    if full.startswith("scipy.sparse."):
        full = "scipy.sparse"  # older versions name the file within it
    if f"{full}.{name}" not in _ALLOWED:
        shown = f"{module}.{name}"[:80]
        raise PickleRefused(f"it asks for {shown!r}, which no hand model needs, so nothing of it was run")
    return f"{full}.{name}"


def _pairs(items: list[Any]) -> dict:
    if len(items) % 2 or not all(isinstance(key, (str, bytes, int, float, bool, type(None))) for key in items[::2]):
        raise PickleRefused("it is damaged")
    return dict(zip(items[::2], items[1::2], strict=True))


def _same(value: Any) -> Any:
    return value


# Opcodes that push their argument, or a fresh value.
_SIMPLE: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(
        ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
         "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
         "BINBYTES8", "BYTEARRAY8"),
        _same,
    ),
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_LIST": lambda _: [],
    "EMPTY_SET": lambda _: [],  # sets occur in chumpy's bookkeeping only
    "EMPTY_DICT": lambda _: {},
    "EMPTY_TUPLE": lambda _: (),
    "MARK": lambda _: _MARK,
}  # fmt: skip


def _global(machine: _Machine, argument: Any) -> None:
    machine.name(*argument.split(" ", 1))


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.name(module, name)


def _inst(machine: _Machine, argument: Any) -> None:
    arguments = tuple(machine.since_mark())
    machine.name(*argument.split(" ", 1))
    machine.call(arguments)


def _obj(machine: _Machine, _: Any) -> None:
    function, *arguments = machine.since_mark()
    machine.stack.append(function)
    machine.call(tuple(arguments))


def _new_with_keywords(machine: _Machine, _: Any) -> None:
    keywords = machine.stack.pop()
    if keywords:
        raise PickleRefused("it calls a class with keywords, which no hand model needs")
    machine.call(machine.stack.pop())


def _append(machine: _Machine, _: Any) -> None:
    item = machine.stack.pop()
    machine.extend([item])


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.put([key, value])


def _tuple_of(count: int) -> Callable[[_Machine, Any], None]:
    def make(machine: _Machine, _: Any) -> None:
        if len(machine.stack) < count:
            raise PickleRefused("it is damaged")
        items = tuple(machine.stack[-count:])
        del machine.stack[-count:]
        machine.stack.append(items)

    return make


def _memoise(machine: _Machine, argument: Any) -> None:
    machine.memo[len(machine.memo) if argument is None else argument] = machine.stack[-1]


_ACTIONS: dict[str, Callable[[_Machine, Any], object]] = {
    "PROTO": lambda m, a: None,
    "FRAME": lambda m, a: None,
    "POP": lambda m, a: m.stack.pop(),
    "POP_MARK": lambda m, a: m.since_mark(),
    "DUP": lambda m, a: m.stack.append(m.stack[-1]),
    "LIST": lambda m, a: m.stack.append(m.since_mark()),
    "TUPLE": lambda m, a: m.stack.append(tuple(m.since_mark())),
    "DICT": lambda m, a: m.stack.append(_pairs(m.since_mark())),
    "FROZENSET": lambda m, a: m.stack.append(m.since_mark()),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "APPEND": _append,
    "APPENDS": lambda m, a: m.extend(m.since_mark()),
    "ADDITEMS": lambda m, a: m.extend(m.since_mark()),
    "SETITEM": _set_item,
    "SETITEMS": lambda m, a: m.put(m.since_mark()),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _memoise),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, a: m.stack.append(m.memo[a])),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": lambda m, a: m.call(m.stack.pop()),
    "NEWOBJ": lambda m, a: m.call(m.stack.pop()),
    "NEWOBJ_EX": _new_with_keywords,
    "INST": _inst,
    "OBJ": _obj,
    "BUILD": lambda m, a: m.build(),
}
