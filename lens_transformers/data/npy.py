"""Lens images in `.npy` files."""

import io
import math
from pathlib import Path

import numpy as np

from .restricted_pickle import load_restricted_pickle


__all__ = ["npy_files", "read_lens_npy"]

_READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_lens_npy(path: Path) -> tuple[np.ndarray, float | None]:
    """Reads a lens image as the DeepLense sets store it.

    A file holds either the image itself or, in the axion class, an object array `[image, axion_mass_eV]`. Which of the
    two it is shows in the file's dtype alone; an image is never indexed to find out.

    Args:
        path: A `.npy` file with an image of shape `(height, width)` or `(bands, height, width)`.

    Returns:
        The image as float32 `(bands, height, width)`, and the axion mass in eV where the file has one.

    Raises:
        ValueError: If the file is no such image; the message names the file and what is wrong.
    """
    array = _read_array(path)
    if not array.dtype.hasobject:
        return _as_image(array, path), None
    if array.shape != (2,) or not isinstance(array[0], np.ndarray):
        raise ValueError(f"{path}: an object array must be [image, axion_mass_eV], got shape {array.shape}.")
    return _as_image(array[0], path), _as_mass(array[1], path)


def npy_files(folder: Path) -> list[Path]:
    """Lists the `.npy` files directly in a folder, sorted by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".npy" and path.is_file())


def _read_array(path: Path) -> np.ndarray:
    file = io.BytesIO(path.read_bytes())
    if not file.getbuffer():
        raise ValueError(f"{path}: the file is empty.")
    try:
        shape, is_fortran, dtype = _READ_HEADER[np.lib.format.read_magic(file)](file)
    except Exception as error:  # a damaged header can make NumPy's parser raise anything
        raise ValueError(f"{path}: named .npy but not a NumPy array file: {error}") from error
    content = file.read()
    if dtype.hasobject:
        array = load_restricted_pickle(content, str(path))
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{path}: its header promises an array, its content is a {type(array).__name__}.")
        return array
    _check_real(dtype, path)
    # Compared before anything is allocated: a damaged or hostile header may claim any size.
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(
            f"{path}: its header promises shape {shape} of {dtype}, "
            f"{math.prod(shape) * dtype.itemsize} bytes, but {len(content)} follow; the file is damaged."
        )
    return np.frombuffer(content, dtype).reshape(shape, order="F" if is_fortran else "C")


def _check_real(dtype: np.dtype, path: Path) -> None:
    if dtype.kind not in "iuf":
        raise ValueError(f"{path}: pixels must be real numbers, got dtype {dtype}.")


def _as_image(array: np.ndarray, path: Path) -> np.ndarray:
    _check_real(array.dtype, path)
    if array.ndim not in (2, 3):
        raise ValueError(
            f"{path}: an image has shape (height, width) or (bands, height, width), got {array.shape}; "
            "a single row of pixels or a stack of images is not one."
        )
    image = np.ascontiguousarray(array, dtype=np.float32)
    if image.ndim == 2:
        image = image[None]
    bands, height, width = image.shape
    if min(bands, height, width) == 0 or min(height, width) == 1 or bands > min(height, width):
        raise ValueError(
            f"{path}: shape {array.shape} is no image of (height, width) or (bands, height, width); bands come first."
        )
    if not np.isfinite(image).all():
        raise ValueError(f"{path}: {np.count_nonzero(~np.isfinite(image))} pixels are NaN or infinite in float32.")
    return image


def _as_mass(value: object, path: Path) -> float:
    mass = np.asarray(value)
    if mass.shape != () or mass.dtype.kind not in "iuf" or not 0 < mass < np.inf:
        raise ValueError(f"{path}: the axion mass beside the image must be a positive number of eV, got {value!r}.")
    return float(mass)
