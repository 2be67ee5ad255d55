"""The one schema of every dataset of lens images, and how arrays become a dataset in it."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from datasets import Array3D, ClassLabel, Dataset, Features, Value, concatenate_datasets


__all__ = ["LABEL_NAMES", "ROWS_PER_CHUNK", "dataset_from_chunks", "lens_features"]

LABEL_NAMES = ("no_sub", "cdm", "axion")

# Arrow counts the pixels of one chunk in 32 bits; a thousand rows stay far below that limit at any image size in use.
ROWS_PER_CHUNK = 1000


def lens_features(
    image_shape: Sequence[int],
    *,
    target_shape: Sequence[int] | None = None,
    label: bool = True,
    parameters: Mapping[str, str] | None = None,
) -> Features:
    """Describes the columns of a dataset of lens images.

    Args:
        image_shape: `(bands, height, width)` of `image`, a float32 column of surface brightness as its source has it.
        target_shape: `(bands, height, width)` of `target`, the high-resolution image of a super-resolution pair, or
            `None` where there is none.
        label: Whether there is a `label` column, a class of `LABEL_NAMES`.
        parameters: Further scalar columns, each name (with its unit, as in `einstein_radius_arcsec`) with its dtype.

    Returns:
        The features, in the order `image`, `target`, `label`, parameters.

    Raises:
        ValueError: If a shape does not have three axes.
    """
    features: dict[str, Array3D | ClassLabel | Value] = {"image": _image_feature("image_shape", image_shape)}
    if target_shape is not None:
        features["target"] = _image_feature("target_shape", target_shape)
    if label:
        features["label"] = ClassLabel(names=list(LABEL_NAMES))
    for name, dtype in (parameters or {}).items():
        features[name] = Value(dtype)
    return Features(features)


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


def _image_feature(argument: str, shape: Sequence[int]) -> Array3D:
    if len(shape) != 3:
        raise ValueError(f"{argument} must be (bands, height, width), got {tuple(shape)}.")
    return Array3D(shape=tuple(int(size) for size in shape), dtype="float32")
