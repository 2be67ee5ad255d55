"""Unpickling that can build NumPy arrays and scalars and nothing else.

The official axion files are object arrays, which NumPy can only store as pickles, and a stranger's pickle may call
any function when it is loaded. Here a pickle is first read without being executed, and only the few opcodes that
NumPy's own files consist of are let through. Then it is executed with stand-ins for NumPy's constructors, which record
what they were given: not even NumPy's own code sees a value before it has been checked.
"""

import io
import math
import pickle
import pickletools
from typing import Any, Literal

import numpy as np


__all__ = ["load_restricted_pickle"]

# What `np.save` writes for object arrays at pickle protocols 3 and 4.
# fmt: off
_OPCODES = {
    "PROTO", "FRAME", "STOP", "MARK", "MEMOIZE", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET",
    "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD",
    "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS",
    "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
    "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "SHORT_BINUNICODE", "BINUNICODE",
}
# fmt: on


def load_restricted_pickle(data: bytes) -> Any:
    """Loads a pickle made of NumPy arrays, NumPy scalars and Python numbers.

    Args:
        data: The pickle.

    Returns:
        The object; of an object array, an array of dtype object whose items are numbers and numeric arrays.

    Raises:
        ValueError: If the pickle is damaged, asks for anything else or claims sizes that it does not hold.
    """
    try:
        _check_opcodes(data)
        return _built(_StandInUnpickler(io.BytesIO(data)).load())
    except Exception as error:  # a hostile pickle can make the unpickler raise anything
        raise ValueError(f"refused its pickle, which is not only arrays and numbers: {error}") from error


def _check_opcodes(data: bytes) -> None:
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name not in _OPCODES:
            raise ValueError(f"it uses the opcode {opcode.name}")
        # The memo grows to the largest index, so an absurd one would fill the memory.
        if opcode.name == "LONG_BINPUT" and isinstance(argument, int) and argument > len(data):
            raise ValueError(f"it claims {argument} memo entries in {len(data)} bytes")


class _PendingDtype:
    """Stands in for `numpy.dtype`: a kind and size such as `f8`, and a byte order."""

    def __init__(self, code: str, align: bool = False, copy: bool = True):
        if code != "O8" and (not isinstance(code, str) or code[:1] not in "biuf" or not code[1:].isdecimal()):
            raise ValueError(f"dtype {code!r} is neither numeric nor object")
        self.is_object = code == "O8"
        self.code = code
        self.byte_order = "|"

    def __setstate__(self, state: tuple) -> None:
        _, byte_order, *structure, _, _, _ = state
        if byte_order not in ("<", ">", "|", "=") or any(part is not None for part in structure):
            raise ValueError("a dtype with fields, subarrays or an unknown byte order")
        self.byte_order = byte_order

    def build(self) -> np.dtype:
        return np.dtype(self.byte_order + self.code)


class _PendingScalar:
    """Stands in for NumPy's scalar constructor."""

    def __init__(self, dtype: _PendingDtype, data: bytes):
        self.dtype = dtype
        self.data = data

    def __setstate__(self, state: Any) -> None:
        raise ValueError("a scalar with a state")

    def build(self) -> Any:
        return _numbers(self.data, (), self.dtype)[()]


class _PendingArray:
    """Stands in for NumPy's array constructor; shape, dtype and content come with the state."""

    def __init__(self, subtype: str, shape: tuple, typecode: bytes):
        self.state: tuple | None = None

    def __setstate__(self, state: tuple) -> None:
        self.state = state

    def build(self) -> np.ndarray:
        if self.state is None:
            raise ValueError("an array without content")
        _, shape, dtype, is_fortran, content = self.state
        if not isinstance(shape, tuple) or len(shape) > 32 or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"array shape {shape!r}")
        if dtype.is_object:
            return _objects(content, shape)
        return _numbers(content, shape, dtype, order="F" if is_fortran else "C")


class _StandInUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise ValueError(f"it asks for {module}.{name}") from None


# Each is a class whose instances define `__setstate__`, or a plain string, so that the pickle cannot change the state
# of anything that outlives the call. NumPy renamed its core from `numpy.core` to `numpy._core` in 2.0.
_STAND_INS = {
    ("numpy", "dtype"): _PendingDtype,
    ("numpy", "ndarray"): "numpy.ndarray",
    ("numpy.core.multiarray", "_reconstruct"): _PendingArray,
    ("numpy._core.multiarray", "_reconstruct"): _PendingArray,
    ("numpy.core.multiarray", "scalar"): _PendingScalar,
    ("numpy._core.multiarray", "scalar"): _PendingScalar,
}


def _built(item: Any) -> Any:
    if isinstance(item, _PendingArray | _PendingScalar):
        return item.build()
    if isinstance(item, bool | int | float):
        return item
    raise ValueError(f"it holds a {type(item).__name__}")


def _numbers(data: bytes, shape: tuple[int, ...], dtype: _PendingDtype, order: Literal["C", "F"] = "C") -> np.ndarray:
    numeric = dtype.build()
    if dtype.is_object or not isinstance(data, bytes):
        raise ValueError("an array or scalar of objects where numbers belong")
    if math.prod(shape) * numeric.itemsize != len(data):
        raise ValueError(f"shape {shape} of {numeric} does not fit its {len(data)} bytes")
    return np.ndarray(shape, numeric, buffer=data, order=order)


def _objects(items: list, shape: tuple[int, ...]) -> np.ndarray:
    if not isinstance(items, list) or math.prod(shape) != len(items):
        raise ValueError(f"object array of shape {shape} does not fit its content")
    array = np.empty(len(items), dtype=object)
    for index, item in enumerate(items):
        # Only one level: an object array within an object array may contain itself.
        if isinstance(item, _PendingArray) and item.state is not None and item.state[2].is_object:
            raise ValueError("object arrays within an object array")
        array[index] = _built(item)
    return array.reshape(shape)
