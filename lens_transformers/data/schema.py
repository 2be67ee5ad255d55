"""The one schema of every dataset of lens images, and how arrays become a dataset in it."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
from datasets import Array3D, ClassLabel, Dataset, Features, Value, concatenate_datasets


__all__ = [
    "CLASS_OF_SPELLING",
    "IMAGE_COLUMNS",
    "LABEL_NAMES",
    "ROWS_PER_CHUNK",
    "arrow_array",
    "class_of",
    "dataset_from_chunks",
    "is_known",
    "lens_features",
]

LABEL_NAMES = ("no_sub", "cdm", "axion")

# Columns that hold arrays (bands, height, width).
IMAGE_COLUMNS = ("image", "target", "imprint", "noise_map", "psf")

# Arrow counts the pixels of one chunk in 32 bits; a thousand rows stay far below that limit at any image size in use.
ROWS_PER_CHUNK = 1000

# Two simulators stand behind the official sets and name the same three classes differently.
CLASS_OF_SPELLING = {
    "no_sub": "no_sub",
    "nosub": "no_sub",
    "no": "no_sub",
    "cdm": "cdm",
    "sphere": "cdm",
    "axion": "axion",
    "vort": "axion",
}


def lens_features(
    image_shape: Sequence[int],
    *,
    target_shape: Sequence[int] | None = None,
    imprint_shape: Sequence[int] | None = None,
    noise_map_shape: Sequence[int] | None = None,
    psf_shape: Sequence[int] | None = None,
    label: bool = True,
    parameters: Mapping[str, str] | None = None,
) -> Features:
    """Describes the columns of a dataset of lens images.

    Args:
        image_shape: `(bands, height, width)` of `image`, a float32 column of surface brightness as its source has it.
        target_shape: `(bands, height, width)` of `target`, the high-resolution image of a super-resolution pair, or
            `None` where there is none.
        imprint_shape: Shape of `imprint`, what substructure changes in the image without its noise, or `None`.
        noise_map_shape: Shape of `noise_map`, the standard deviation of every pixel of the image, or `None`.
        psf_shape: Shape of `psf`, the point spread function of every band, or `None`.
        label: Whether there is a `label` column, a class of `LABEL_NAMES`.
        parameters: Further scalar columns, each name (with its unit, as in `einstein_radius_arcsec`) with its dtype.

    Returns:
        The features, in the order `image`, `target`, `imprint`, `noise_map`, `psf`, `label`, parameters.

    Raises:
        ValueError: If a shape does not have three axes.
    """
    features: dict[str, Array3D | ClassLabel | Value] = {"image": _image_feature("image_shape", image_shape)}
    others = {
        "target": target_shape,
        "imprint": imprint_shape,
        "noise_map": noise_map_shape,
        "psf": psf_shape,
    }
    for name, shape in others.items():
        if shape is not None:
            features[name] = _image_feature(f"{name}_shape", shape)
    if label:
        features["label"] = ClassLabel(names=list(LABEL_NAMES))
    for name, dtype in (parameters or {}).items():
        features[name] = Value(dtype)
    return Features(features)


def class_of(spelling: object) -> str:
    """The class of `LABEL_NAMES` that a label names, in either official spelling or as its number, whole as a float.

    Raises:
        ValueError: If it names none.
    """
    if isinstance(spelling, bytes):
        spelling = spelling.decode(errors="replace")
    if isinstance(spelling, str) and spelling.strip().lower() in CLASS_OF_SPELLING:
        return CLASS_OF_SPELLING[spelling.strip().lower()]
    if isinstance(spelling, float | np.floating) and float(spelling).is_integer():
        spelling = int(spelling)
    is_number = isinstance(spelling, int | np.integer) or (isinstance(spelling, str) and spelling.strip().isdecimal())
    if is_number and 0 <= int(spelling) < len(LABEL_NAMES):  # type: ignore[call-overload]
        return LABEL_NAMES[int(spelling)]  # type: ignore[call-overload]
    raise ValueError(
        f"label {spelling!r} is none of {', '.join(LABEL_NAMES)} (or no, sphere, vort), nor their number 0, 1 or 2."
    )


def is_known(spelling: object) -> bool:
    """Whether a label names a class."""
    try:
        class_of(spelling)
    except ValueError:
        return False
    return True


def dataset_from_chunks(chunks: Iterable[Mapping[str, np.ndarray]], features: Features) -> Dataset:
    """Joins chunks of columns into one dataset in memory, whose rows are numpy arrays.

    Args:
        chunks: Columns by name, each at most `ROWS_PER_CHUNK` rows long; images are `(rows, bands, height, width)`.
        features: The columns' features and order, from `lens_features`.

    Returns:
        The dataset in numpy format, so that pixels never pass through Python lists.
    """
    pieces = [Dataset.from_dict({name: chunk[name] for name in features}, features=features) for chunk in chunks]
    return concatenate_datasets(pieces).with_format("numpy")


def arrow_array(column: np.ndarray, kind: pa.DataType) -> pa.Array:
    """A column of numbers, or of images without copying their pixels."""
    if column.ndim == 1:
        return pa.array(column, kind)
    array = pa.array(column.reshape(-1))
    for axis in range(column.ndim - 1, 0, -1):
        count = len(array) // column.shape[axis]
        array = pa.ListArray.from_arrays(np.arange(count + 1, dtype=np.int32) * column.shape[axis], array)
    return pa.ExtensionArray.from_storage(kind, array)


def _image_feature(argument: str, shape: Sequence[int]) -> Array3D:
    if len(shape) != 3:
        raise ValueError(f"{argument} must be (bands, height, width), got {tuple(shape)}.")
    return Array3D(shape=tuple(int(size) for size in shape), dtype="float32")
