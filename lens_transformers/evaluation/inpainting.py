"""What fills masked pixels without any training: the rows beside a masked autoencoder's reconstruction."""

import numpy as np
from scipy.sparse import csc_array
from scipy.sparse.linalg import splu

from .masks import check_masks
from .reconstruction import ReconstructionMetric


__all__ = ["FILLINGS", "interpolate_masked", "mean_patch", "reconstruction_rows"]


def reconstruction_rows(images: np.ndarray, masks: np.ndarray, split: str = "test") -> list[dict]:
    """Scores both fillings on masked images.

    Args:
        images: `(batch, bands, height, width)`.
        masks: `(batch, height, width)`, true where a pixel is hidden.
        split: Name of the split, for the rows.

    Returns:
        One row each for the mean of the visible pixels and for harmonic interpolation, with the metrics of
        `ReconstructionMetric`.

    Raises:
        ValueError: If the masks do not fit the images, or hide none or all of an image's pixels.
    """
    rows = []
    for name, fill in FILLINGS.items():
        metrics = ReconstructionMetric().compute(predictions=fill(images, masks), references=images, masks=masks)
        rows.append({"name": name, "split": split, **metrics})
    return rows


def mean_patch(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Fills every masked pixel with the mean of the visible pixels of its image and band.

    Args:
        images: `(batch, bands, height, width)`; what stands in masked pixels is not looked at.
        masks: `(batch, height, width)`, true where a pixel is hidden.

    Returns:
        The filled images, of floats; visible pixels are unchanged.

    Raises:
        ValueError: If the masks do not fit the images or hide all of one.
    """
    hidden = _checked(images, masks)[:, None]
    means = np.mean(images, axis=(2, 3), keepdims=True, where=~hidden, dtype=np.float64)
    return np.where(hidden, means.astype(np.result_type(images, np.float32)), images)


def interpolate_masked(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Fills masked pixels harmonically: each becomes the mean of its neighbours above, below, left and right.

    This is the solution of Laplace's equation between the visible pixels, with no flux through the image's border: the
    smoothest surface in the sense of the smallest squared differences between neighbours.

    Args:
        images: `(batch, bands, height, width)`; what stands in masked pixels is not looked at.
        masks: `(batch, height, width)`, true where a pixel is hidden.

    Returns:
        The filled images, of floats; visible pixels are unchanged.

    Raises:
        ValueError: If the masks do not fit the images or hide all of one.
    """
    filled = images.astype(np.result_type(images, np.float32))
    for image, hidden in zip(filled, _checked(images, masks), strict=True):
        if hidden.any():
            image[:, hidden] = _harmonic(image, hidden)
    return filled


# By the names that their rows have.
FILLINGS = {"Mean of visible pixels": mean_patch, "Harmonic interpolation": interpolate_masked}


def _checked(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    hidden = check_masks(masks, images.shape)
    if hidden.all(axis=(1, 2)).any():
        image = int(np.argmax(hidden.all(axis=(1, 2))))
        raise ValueError(f"masks: image {image} of the batch has no visible pixel to fill the others from.")
    return hidden


def _harmonic(image: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Solves for the hidden pixels of one image `(bands, height, width)`; returns `(bands, hidden pixels)`."""
    index = np.arange(hidden.size).reshape(hidden.shape)
    pairs = np.concatenate(
        [
            np.stack([index[:, :-1].ravel(), index[:, 1:].ravel()]),
            np.stack([index[:-1].ravel(), index[1:].ravel()]),
        ],
        axis=1,
    )
    here, there = np.concatenate([pairs, pairs[::-1]], axis=1)
    is_hidden = hidden.ravel()
    here, there = here[is_hidden[here]], there[is_hidden[here]]

    num_hidden = int(is_hidden.sum())
    unknown = np.cumsum(is_hidden) - 1  # number of each hidden pixel among the unknowns
    num_neighbours = np.bincount(unknown[here], minlength=num_hidden)
    between = is_hidden[there]
    diagonal = np.arange(num_hidden)
    laplacian = csc_array(
        (
            np.concatenate([num_neighbours, np.full(between.sum(), -1)]).astype(np.float64),
            (
                np.concatenate([diagonal, unknown[here[between]]]),
                np.concatenate([diagonal, unknown[there[between]]]),
            ),
        ),
        shape=(num_hidden, num_hidden),
    )
    boundary = np.zeros((num_hidden, len(image)))
    values = image.reshape(len(image), -1).astype(np.float64)
    np.add.at(boundary, unknown[here[~between]], values[:, there[~between]].T)
    return splu(laplacian).solve(boundary).T.astype(image.dtype)
