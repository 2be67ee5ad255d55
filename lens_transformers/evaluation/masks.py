"""Pixel masks: true where a pixel was hidden from the network."""

from collections.abc import Sequence

import numpy as np


__all__ = ["check_masks"]


def check_masks(masks: np.ndarray, image_shape: Sequence[int]) -> np.ndarray:
    """Makes masks boolean and checks that they fit a batch of images.

    Args:
        masks: `(batch, height, width)`, booleans or zeros and ones.
        image_shape: `(batch, bands, height, width)` of the images.

    Returns:
        The masks as booleans.

    Raises:
        ValueError: If the shapes differ or a value is neither zero nor one.
    """
    expected = (image_shape[0], *image_shape[2:])
    if masks.shape != expected:
        raise ValueError(f"masks must be (batch, height, width) {expected} for these images, got {masks.shape}.")
    if not np.isin(masks, (0, 1)).all():
        raise ValueError("masks must be true (1) where a pixel is hidden and false (0) elsewhere; other values found.")
    return masks.astype(bool)
