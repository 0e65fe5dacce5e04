"""Arrays come out of pickles of every protocol; whatever else a pickle asks for is refused, and nothing of it runs."""

import io
import os
import pickle
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handrawer.hand import pickle_reader
from handrawer.hand.pickle_arrays import node_array
from handrawer.hand.pickle_reader import Node, PickleRefused, read_pickle
from tests.hand import mano_like

DTYPES = ("f4", "f8", ">f8", "i1", "i4", "u4", "i8", "?", "f2")


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found = {dtype: (rng.normal(size=(3, 4, 2)) * 50).astype(dtype) for dtype in DTYPES}
    found["fortran"] = np.asfortranarray(rng.normal(size=(5, 3)))
    found["empty"] = np.zeros((0, 3))
    found["single"] = np.array(2.5)
    return found


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol(protocol: int):
    wanted = arrays()
    content = read_pickle(pickle.dumps({**wanted, "scalar": np.float64(1.25), "text": "lbs", "n": [1, None]}, protocol))
    for name, array in wanted.items():
        found = node_array(content[name])
        assert found is not None and np.array_equal(found, array) and found.shape == array.shape, name
        assert found.dtype.isnative and found.dtype.kind == array.dtype.kind and found.flags.writeable
    assert node_array(content["scalar"]) == 1.25
    assert content["text"] == "lbs" and content["n"] == [1, None] and node_array(content["text"]) is None


@pytest.mark.parametrize("kind", ["csc_matrix", "csr_matrix", "coo_matrix", "csc_array", "csr_array", "coo_array"])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_sparse_matrices_come_dense(kind: str, protocol: int):
    sparse = pytest.importorskip("scipy.sparse", reason="scipy makes the matrices that are read")
    dense = np.random.default_rng(1).normal(size=(6, 4)) * (np.random.default_rng(2).random((6, 4)) < 0.4)
    found = node_array(read_pickle(pickle.dumps(getattr(sparse, kind)(dense), protocol)))
    assert found is not None and np.array_equal(found, dense)


def test_strings_of_python_2():
    """BINSTRING, SHORT_BINSTRING and STRING are bytes; latin-1 keeps each."""
    every = bytes(range(256))
    for written in (b"T" + struct.pack("<i", 256) + every, b"U\xff" + every[:255], b"S" + repr(every)[1:].encode()):
        text = read_pickle(written + (b"\n." if written[:1] == b"S" else b"."))
        assert text.encode("latin-1") == every[: len(text)] and len(text) >= 255


class Call:
    """Pickled as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def evil(folder: Path) -> dict[str, bytes]:
    """Pickles that would leave the file "done" in a folder, were they unpickled."""
    target = folder / "done"
    code = f"open({str(target)!r}, 'w').write('x')"
    # Python's own write, in as many ways as pickle has of calling.
    name, argument = b"cbuiltins\nexec\n", b"X" + struct.pack("<I", len(code)) + code.encode()
    return {
        "system": pickle.dumps(Call(os.system, f"touch {target}")),
        "exec": pickle.dumps(Call(exec, code)),
        "protocol 0": pickle.dumps(Call(exec, code), 0),
        "nested": pickle.dumps({"v_template": [np.zeros(3), {"a": (Call(exec, code),)}]}),
        "in an array's state": pickle.dumps(np.array([Call(exec, code)], dtype=object)),
        "OBJ": b"(" + name + argument + b"o.",
        "INST": b"(" + argument + b"ibuiltins\nexec\n.",
        "NEWOBJ": name + argument + b"\x85\x81.",
        "NEWOBJ_EX": name + argument + b"\x85}\x92.",
        "STACK_GLOBAL": b"\x8c\x08builtins\x8c\x04exec\x93" + argument + b"\x85R.",
        "memo": b"\x8c\x08builtinsq\x000\x8c\x04execq\x010h\x00h\x01\x93" + argument + b"\x85R.",
        "before a good one": name + argument + b"\x85R0" + pickle.dumps({"a": 1})[2:],
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93.",
        "module of numpy": b"cnumpy\nload\nX\x01\x00\x00\x00a\x85R.",
        "numpy's own exec": b"cnumpy.testing\nrundocs\n(tR.",
        "attributes": b"cbuiltins\ngetattr\ncnumpy\nndarray\nX\x01\x00\x00\x00a\x86R.",
        "setstate of a module": b"cnumpy\ncore\n}X\x01\x00\x00\x00ac__builtin__\neval\nsb.",
        "persistent": b"Pabc\n.",
        "extension": b"\x82\x01.",
        "out of band": b"\x80\x05\x97.",
        "chumpy's lambda": b"cchumpy.ch\nChLambda\n)R}b.",
    }


NAMES = sorted(evil(Path()))


@pytest.mark.parametrize("name", NAMES)
def test_what_would_run_code_is_refused_and_runs_nothing(name: str, tmp_path: Path):
    with pytest.raises(PickleRefused) as caught:
        read_pickle(evil(tmp_path)[name])
    assert not list(tmp_path.iterdir())
    assert str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["system", "exec", "protocol 0", "nested", "OBJ", "INST", "STACK_GLOBAL", "memo"])
def test_those_pickles_do_write_where_they_are_unpickled(name: str, tmp_path: Path):
    """Else the test above would show nothing."""
    try:
        pickle.loads(evil(tmp_path)[name])
    finally:
        assert (tmp_path / "done").exists()


@pytest.fixture
def events() -> Iterator[list[str]]:
    """What Python reports of itself to auditors while a test runs: imports, files, processes, code."""
    heard: list[str] = []
    listening = [True]
    # A hook cannot be taken off again; it falls silent.
    sys.addaudithook(lambda event, _: heard.append(event) if listening[0] else None)
    yield heard
    listening[0] = False


def test_nothing_is_imported_opened_or_run(events: list[str], tmp_path: Path):
    """Nor for what is on the list: names are noted and never looked up, calls noted and never made."""
    pickles = [*evil(tmp_path).values(), b"cchumpy.ch\nCh\n)\x81}X\x01\x00\x00\x00xK\x07sb.", b"S'abc'\n."]
    events.clear()
    found = []
    for data in pickles:
        try:
            found.append(read_pickle(data))
        except PickleRefused:
            continue
    seen = {event for event in events if event not in ("compile", "object.__getattr__")}
    node, text = found
    assert node.name == "chumpy.ch.Ch" and node.state == {"x": 7} and text == "abc"
    assert not seen  # "compile" is literal_eval's parser


def test_the_reader_has_no_unpickler():
    source = Path(pickle_reader.__file__).read_text(encoding="utf-8")
    for word in ("import pickle\n", "Unpickler", "import_module", "__import__", "getattr", "eval(", "exec("):
        assert word not in source.replace("literal_eval(", ""), word


def damaged() -> dict[str, bytes]:
    array = pickle.dumps(np.arange(6.0), 2)
    return {
        "nothing": b"",
        "text": b"hello, this is no pickle",
        "cut off": array[: len(array) // 2],
        "no stop": array[:-1],
        "memo that is not there": b"h\x05.",
        "empty stack": b"0.",
        "no mark": b"t.",
        "call of a number": b"K\x01)R.",
        "state of a number": b"K\x01}b.",
        "list as a key": b"}]K\x01s.",
        "append to a number": b"K\x01K\x02a.",
        "a string without its quotes": b"Sabc\n.",
        "a length beyond the end": b"T\xff\xff\xff\x7fabc.",
        "a negative length": b"T\xff\xff\xff\xffabc.",
    }


@pytest.mark.parametrize("name", sorted(damaged()))
def test_damaged_pickles_are_one_sentence(name: str):
    with pytest.raises(PickleRefused):
        read_pickle(damaged()[name])


def node(name: str, state, *arguments) -> Node:
    made = Node(name, arguments)
    made.state = state
    return made


def test_damaged_arrays_are_one_sentence():
    good = pickle.dumps(np.arange(6.0).reshape(2, 3), 2)
    objects = read_pickle(pickle.dumps(np.array([1, None], dtype=object)))
    large = read_pickle(good)
    large.state = (1, (10**6, 10**6), *large.state[2:])
    records = read_pickle(pickle.dumps(np.zeros(2, dtype=[("a", "f4")])))
    ring = node("chumpy.ch.Ch", {})
    ring.state = {"x": ring}
    numbers = read_pickle(pickle.dumps(np.arange(3), 2))
    far = node("scipy.sparse.csc_matrix", {"_shape": (10**6, 10**6), "data": numbers, "indices": numbers,
                                           "indptr": read_pickle(pickle.dumps(np.array([0, 3]), 2))})  # fmt: skip
    bomb = node("scipy.sparse.csc_matrix", {"_shape": (4, 4), "data": numbers, "indices": numbers,
                                            "indptr": read_pickle(pickle.dumps(np.array([0, 10**12]), 2))})  # fmt: skip
    select = node("chumpy.reordering.Select", {"a": numbers, "idxs": read_pickle(pickle.dumps(np.array([9]), 2))})
    for value in (objects, large, records, ring, far, bomb, select, node("chumpy.ch.Ch", {}), node("chumpy.ch.Ch", 3)):
        with pytest.raises(PickleRefused):
            node_array(value)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_bytes_end_in_a_value_or_a_refusal(data: st.DataObject):
    good = pickle.dumps({"a": np.arange(4.0), "b": ["x", (1, 2.5)]}, data.draw(st.sampled_from([0, 2, 4])))
    bytes_ = bytearray(good)
    for _ in range(data.draw(st.integers(1, 6))):
        bytes_[data.draw(st.integers(0, len(bytes_) - 1))] = data.draw(st.integers(0, 255))
    try:
        content = read_pickle(bytes(bytes_))
        for value in content.values() if isinstance(content, dict) else [content]:
            node_array(value)
    except PickleRefused:
        pass


def test_chumpy_objects_of_python_2(tmp_path: Path):
    for protocol in (0, 2):
        path = mano_like.write_official(tmp_path / f"{protocol}.pkl", protocol=protocol)
        content = read_pickle(path.read_bytes())
        assert content["shapedirs"].type_name == "chumpy.reordering.Select"
        assert content["J_regressor"].type_name == "scipy.sparse.csc_matrix"
        for name, wanted in mano_like.mano_arrays().items():
            found = node_array(content[name])
            assert found is not None and np.array_equal(found, wanted), name
        assert content["bs_style"] == "lbs"


def test_official_files_are_real_pickles(tmp_path: Path):
    """What the tests take for an official file is one that Python's unpickler reads, were chumpy there."""
    path = mano_like.write_official(tmp_path / "MANO_RIGHT.pkl")

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str):
            if module.startswith(("chumpy", "scipy")):
                return type(name, (), {})
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)

    content = Unpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    assert np.array_equal(content["v_template"], mano_like.mano_arrays()["v_template"])
    assert content["shapedirs"].a.x.shape == (778, 3, 20) and content["J_regressor"]._shape == (16, 778)
