"""Which arrays are lens images, and what is wrong with those that are not."""

from collections.abc import Sequence

import numpy as np


__all__ = [
    "as_image",
    "check_pair",
    "check_real",
    "check_shape",
    "fill_missing",
    "flux_of_white",
    "median_peak",
    "pixel_problems",
]


def as_image(array: np.ndarray) -> np.ndarray:
    """Gives an array as an image: float32 in the machine's byte order, bands first.

    Args:
        array: Real numbers of shape `(height, width)` or `(bands, height, width)`.

    Returns:
        The image, `(bands, height, width)`.

    Raises:
        ValueError: If the array is no such image.
    """
    check_real(array.dtype)
    check_shape(array.shape)
    with np.errstate(over="ignore"):  # what overflows becomes infinite, which is looked for later
        return np.ascontiguousarray(array, dtype=np.float32).reshape(-1, *array.shape[-2:])


def check_shape(shape: Sequence[int]) -> None:
    """Raises ValueError if arrays of this shape are no images."""
    if len(shape) not in (2, 3):
        raise ValueError(
            f"an image has shape (height, width) or (bands, height, width), got {tuple(shape)}; "
            "a single row of pixels or a stack of images is not one."
        )
    bands, height, width = shape if len(shape) == 3 else (1, *shape)
    if min(bands, height, width) == 0 or min(height, width) == 1 or bands > min(height, width):
        raise ValueError(
            f"shape {tuple(shape)} is no image of (height, width) or (bands, height, width); bands come first."
        )


def check_real(dtype: np.dtype) -> None:
    """Raises ValueError if pixels of this dtype are not real numbers."""
    if dtype.kind not in "iuf":
        raise ValueError(f"pixels must be real numbers, got dtype {dtype}.")


def check_pair(image_shape: Sequence[int], target_shape: Sequence[int]) -> None:
    """Raises ValueError if images of these shapes are no pair for super-resolution."""
    bands, height, width = image_shape
    scale = target_shape[1] // height
    if scale < 2 or tuple(target_shape) != (bands, height * scale, width * scale):
        raise ValueError(
            f"its image is {tuple(image_shape)} and its target {tuple(target_shape)}: the high-resolution image must "
            "have the same bands and a whole multiple, two or more, of the low-resolution height and width."
        )


def pixel_problems(images: np.ndarray) -> dict[int, str]:
    """Finds the images of a batch that no network can learn from.

    Args:
        images: Images `(batch, bands, height, width)`.

    Returns:
        For each bad one, its index in the batch and what is wrong.
    """
    pixels = images.reshape(len(images), -1)
    # A NaN or an infinity anywhere shows in the extremes, which also tell a constant image.
    low, high = pixels.min(axis=1), pixels.max(axis=1)
    problems = {}
    finite = np.isfinite(low) & np.isfinite(high)
    for index in np.flatnonzero(~finite):
        bad = int(np.count_nonzero(~np.isfinite(pixels[index])))
        problems[int(index)] = f"{bad} pixels are NaN or infinite in float32; `nan_fill` would replace them."
    for index in np.flatnonzero(finite & (low == high)):
        problems[int(index)] = f"the image is constant: every pixel is {low[index]:g}."
    return problems


def median_peak(images: np.ndarray) -> float | None:
    """The flux of the brightest pixel, the median of images `(batch, bands, height, width)`; `None` if not above 0."""
    peak = float(np.median(images.max(axis=(1, 2, 3))))
    return peak if peak > 0 else None


def flux_of_white(images: np.ndarray) -> float | None:
    """The flux that white stands for in pictures of such images `(batch, bands, height, width)`.

    That of the median peak, for pictures usually go from black to white whatever the flux was; 255 of images that are
    such pictures' grey levels themselves.
    """
    highest = images.max()
    are_levels = 1 < highest <= 255 and images.min() >= 0 and bool((images == np.round(images)).all())
    return 255.0 if are_levels else median_peak(images)


def fill_missing(images: np.ndarray, flux: float) -> dict[int, int]:
    """Replaces NaN and infinite pixels, in place.

    Args:
        images: Images `(batch, bands, height, width)`.
        flux: What to put there.

    Returns:
        For each image that had such pixels, its index in the batch and their number.
    """
    missing = ~np.isfinite(images)
    counts = np.count_nonzero(missing, axis=(1, 2, 3))
    images[missing] = flux
    return {int(index): int(counts[index]) for index in np.flatnonzero(counts)}
