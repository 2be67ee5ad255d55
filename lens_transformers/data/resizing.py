"""Images of another source in the size that a network knows."""

import logging
from collections.abc import Iterable

import numpy as np
from datasets import Dataset

from ..models.lens_mae.image_processing_lens_mae import LensMAEImageProcessor


__all__ = ["resize_arrays", "resize_images"]

logger = logging.getLogger(__name__)


def resize_images(dataset: Dataset, size: tuple[int, int]) -> Dataset:
    """Resizes the images of a dataset in float, as those of another source have to be for a network.

    Args:
        dataset: With a column `image`, `(bands, height, width)`.
        size: Height and width.

    Returns:
        The dataset in numpy format; the same one if its images have that size.
    """
    own = dataset.features["image"]
    if own.shape[1:] == size:
        return dataset
    logger.info("Images of %dx%d pixels are resized to %dx%d.", *own.shape[1:], *size)
    features = dataset.features.copy()
    features["image"] = type(own)(shape=(own.shape[0], *size), dtype=own.dtype)
    resized = dataset.map(
        lambda rows: {"image": list(resize_arrays(rows["image"], size))},
        batched=True,
        features=features,
    )
    return resized.with_format("numpy")


def resize_arrays(images: Iterable[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Resizes images `(images, bands, height, width)` in float to a height and width, as `resize_images` does."""
    resize = LensMAEImageProcessor(normalization="none", do_resize=True, size=size)
    return resize(list(images), return_tensors="np").pixel_values
