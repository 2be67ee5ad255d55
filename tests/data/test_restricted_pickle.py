import os
import pickle
import pickletools
import struct
import sys

import numpy as np
import pytest

from lens_transformers.data.npy import read_lens_npy
from lens_transformers.data.restricted_pickle import load_restricted_pickle


class _Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


class _WithState:
    """Pickles as an array whose state is given."""

    def __init__(self, state):
        self.state = state

    def __reduce__(self):
        return np.array(0.0).__reduce__()[0], (np.ndarray, (0,), b"b"), self.state


def _objects(*items):
    array = np.empty(len(items), dtype=object)
    for index, item in enumerate(items):
        array[index] = item
    return array


def _global(module, name):
    return b"c" + f"{module}\n{name}\n".encode()


@pytest.mark.parametrize("protocol", [3, 4])
def test_arrays_and_scalars_come_back_as_they_were(protocol):
    image = np.random.default_rng(0).random((4, 5))
    items = [image, np.asfortranarray(image), image.astype(">f4"), np.float32(0.5), 1e-23, 3, np.arange(3), True]
    loaded = load_restricted_pickle(pickle.dumps(_objects(*items), protocol=protocol))
    assert loaded.dtype == object
    for item, expected in zip(loaded, items, strict=True):
        np.testing.assert_array_equal(item, expected)
        assert np.asarray(item).dtype == np.asarray(expected).dtype


def test_the_core_module_of_numpy_1_is_known():
    data = pickle.dumps(_objects(np.eye(3), 1e-23), protocol=3).replace(b"numpy._core", b"numpy.core")
    np.testing.assert_array_equal(load_restricted_pickle(data)[0], np.eye(3))


_FLOAT64 = np.dtype("f8")
_HOSTILE = {
    "os.system": _Calls(os.system, "echo pwned > {marker}"),
    "eval": _Calls(eval, "open({marker!r}, 'w')"),
    "getattr": _Calls(getattr, "text", "upper"),
    "numpy.load": _Calls(np.load, "{marker}"),
    "numpy internals": _Calls(np.lib.format.open_memmap, "{marker}", "w+"),
    "nested": _objects(np.eye(3), _Calls(os.system, "echo pwned > {marker}")),
    "nested deeper": _objects(np.eye(3), _objects(_Calls(os.system, "echo pwned > {marker}"))),
    "in a shape": _WithState((1, (_Calls(os.system, "echo pwned > {marker}"),), _FLOAT64, False, b"")),
    "bytes as object pointers": _WithState((1, (2,), np.dtype("O"), False, b"A" * 16)),
    "absurd shape": _WithState((1, (10**9, 10**9), _FLOAT64, False, b"")),
    "absurd shape of objects": _WithState((1, (10**12,), np.dtype("O"), False, [])),
    "negative shape": _WithState((1, (-1, -8), _FLOAT64, False, b"A" * 64)),
    "a structure": np.zeros(2, dtype=[("a", "f8"), ("b", "O")]),
    "strings": np.array(["a", "b"]),
    "a dictionary": {"image": np.eye(3)},
    "a class instance": np.random.default_rng(0),
}


def _fill(item, marker):
    if isinstance(item, _Calls):
        function, arguments = item.call
        return _Calls(function, *[a.format(marker=marker) if isinstance(a, str) else a for a in arguments])
    if isinstance(item, _WithState):
        return _WithState(tuple(_fill(part, marker) for part in item.state))
    if isinstance(item, tuple):
        return tuple(_fill(part, marker) for part in item)
    if isinstance(item, np.ndarray) and item.dtype == object:
        return _objects(*[_fill(part, marker) for part in item])
    return item


@pytest.mark.parametrize("kind", _HOSTILE)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_hostile_pickle_is_refused_unrun_and_the_file_is_named(kind, protocol, tmp_path):
    marker = tmp_path / "marker"
    data = pickle.dumps(_fill(_HOSTILE[kind], str(marker)), protocol=protocol)
    with pytest.raises(ValueError, match=r"^refused its pickle"):
        load_restricted_pickle(data)
    assert not marker.exists()


_HOSTILE_OPCODES = {
    # Calls a method of a stand-in on another's behalf.
    "setstate of a class": b"\x80\x03" + _global("numpy", "dtype") + b"}b.",
    "setstate of ndarray": b"\x80\x03" + _global("numpy", "ndarray") + b"}b.",
    "attributes of a stand-in": b"\x80\x03" + _global("numpy", "dtype") + b"X\x08\x00\x00\x00__init__.",
    "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__class__\x93.",
    "private class": b"\x80\x03" + _global("lens_transformers.data.restricted_pickle", "_PendingArray") + b".",
    "instantiation without a constructor": b"\x80\x03" + _global("numpy", "dtype") + b")\x81.",
    "extension registry": b"\x80\x03\x82\x01.",
    "persistent id": b"Pos.system\n.",
    "inst": b"(S'true'\nios\nsystem\n.",
    "absurd memo": b"\x80\x03Nr\xff\xff\xff\xff.",
    "absurd bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.",
    "absurd bytearray": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x.",
    "absurd text": b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"x.",
    "absurd integer": b"\x80\x03\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",
    "array without content": b"\x80\x03"
    + _global("numpy._core.multiarray", "_reconstruct")
    + _global("numpy", "ndarray")
    + b"K\x00\x85C\x01b\x87R.",
    "truncated": pickle.dumps(np.eye(3), protocol=4)[:-20],
    "empty": b"",
    "no pickle": b"hello, world",
}


@pytest.mark.parametrize("kind", _HOSTILE_OPCODES)
def test_hostile_opcodes_are_refused(kind):
    with pytest.raises(ValueError, match=r"^refused its pickle"):
        load_restricted_pickle(_HOSTILE_OPCODES[kind])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("absurd memo", "it claims 4294967295 memo entries in 9 bytes"),
        ("absurd bytearray", "bytes in a bytearray8"),
        ("persistent id", "it uses the opcode PERSID"),
        ("instantiation without a constructor", "it uses the opcode NEWOBJ"),
    ],
)
def test_what_numpy_does_not_write_is_refused_before_anything_is_executed(kind, message):
    with pytest.raises(ValueError, match=message):
        load_restricted_pickle(_HOSTILE_OPCODES[kind])


def test_an_object_array_that_contains_itself_is_refused():
    array = _objects(np.eye(3), None)
    array[1] = array
    with pytest.raises(ValueError, match="refused its pickle"):
        load_restricted_pickle(pickle.dumps(array, protocol=4))


def test_refused_pickles_leave_the_stand_ins_as_they_were():
    good = pickle.dumps(_objects(np.eye(3), 1e-23), protocol=4)
    for data in _HOSTILE_OPCODES.values():
        with pytest.raises(ValueError, match="refused"):
            load_restricted_pickle(data)
    np.testing.assert_array_equal(load_restricted_pickle(good)[0], np.eye(3))


def test_nothing_is_imported_for_a_refused_pickle():
    with pytest.raises(ValueError, match=r"it asks for turtle\.Turtle"):
        load_restricted_pickle(b"\x80\x03" + _global("turtle", "Turtle") + b".")
    assert "turtle" not in sys.modules


def test_numpy_writes_no_opcode_that_is_refused(tmp_path):
    path = tmp_path / "axion_0.npy"
    np.save(path, _objects(np.eye(64), np.float64(1e-23)), allow_pickle=True)
    data = path.read_bytes()
    assert any(opcode.name == "REDUCE" for opcode, _, _ in pickletools.genops(data[128:]))
    image, mass = read_lens_npy(path)
    np.testing.assert_array_equal(image[0], np.eye(64))
    assert mass == 1e-23
