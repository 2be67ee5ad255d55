"""Lens images in `.npy` files."""

import functools
import io
import math
import os
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from .images import as_image
from .reading import Item
from .restricted_pickle import load_restricted_pickle


__all__ = ["NpyReader", "read_lens_npy", "read_npy_bytes"]

_READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True)
class NpyReader:
    """Reads an item's `.npy` file, with the axion mass that the official files of that class carry."""

    def __call__(self, item: Item) -> dict[str, Any]:
        """Gives `image` and, where the file has one, `axion_mass_log10_ev`."""
        image, mass = read_lens_npy(item.paths[0])
        return {"image": image} if mass is None else {"image": image, "axion_mass_log10_ev": math.log10(mass)}


def read_lens_npy(path: str) -> tuple[np.ndarray, float | None]:
    """Reads a lens image as the DeepLense sets store it.

    A file holds either the image itself or, in the axion class, an object array `[image, axion_mass_eV]`. Which of the
    two it is shows in the file's dtype alone; an image is never indexed to find out.

    Args:
        path: A `.npy` file with an image of shape `(height, width)` or `(bands, height, width)`.

    Returns:
        The image as float32 `(bands, height, width)`, and the axion mass in eV where the file has one.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If the file is no such image; the message says what is wrong.
    """
    array = read_npy_bytes(_content(path))
    if not array.dtype.hasobject:
        return as_image(array), None
    if array.shape != (2,) or not isinstance(array[0], np.ndarray):
        raise ValueError(f"an object array must be [image, axion_mass_eV], got shape {array.shape}.")
    return as_image(array[0]), _as_mass(array[1])


def read_npy_bytes(content: bytes) -> np.ndarray:
    """Reads the array in the content of a `.npy` file; of an object array, no code is run.

    Raises:
        ValueError: If it is no such content.
    """
    if not content:
        raise ValueError("the file is empty.")
    shape, is_fortran, dtype, start = _header(content)
    if dtype.hasobject:
        array = load_restricted_pickle(content[start:])
        if not isinstance(array, np.ndarray):
            raise ValueError(f"its header promises an array, its content is a {type(array).__name__}.")
        return array
    # Compared before anything is allocated: a damaged or hostile header may claim any size.
    num_bytes = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or num_bytes != len(content) - start:
        raise ValueError(
            f"its header promises shape {shape} of {dtype}, {num_bytes} bytes, but {len(content) - start} follow; "
            "the file is damaged."
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape, order="F" if is_fortran else "C")


def _content(path: str) -> bytes:
    # Four system calls; a file object makes nine, and sets have a hundred thousand files.
    file = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(file).st_size
        content = os.read(file, size + 1)
        while 0 < len(content) < size:  # a call reads at most 2 GiB
            more = os.read(file, size - len(content))
            if not more:
                break
            content += more
        return content
    finally:
        os.close(file)


def _header(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, order, dtype and where the pixels start."""
    # The length of the header stands behind magic string and version: in two bytes in version 1, in four later.
    first = 10 if content[6:7] == b"\x01" else 12
    return _parsed_header(content[: first + int.from_bytes(content[8:first], "little")])


# The images of a set share a header, and parsing it takes as long as reading the file.
@functools.lru_cache(maxsize=64)
def _parsed_header(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    file: BinaryIO = io.BytesIO(content)
    try:
        shape, is_fortran, dtype = _READ_HEADER[np.lib.format.read_magic(file)](file)
    except Exception as error:  # a damaged header can make NumPy's parser raise anything
        raise ValueError(f"named .npy but not a NumPy array file: {error}") from error
    return shape, is_fortran, dtype, file.tell()


def _as_mass(value: object) -> float:
    mass = np.asarray(value)
    if mass.shape != () or mass.dtype.kind not in "iuf" or not 0 < mass < np.inf:
        raise ValueError(f"the axion mass beside the image must be a positive number of eV, got {value!r}.")
    return float(mass)
