"""Calibration: whether probabilities are as often right as they say."""

import numpy as np


__all__ = ["expected_calibration_error"]


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, num_bins: int = 15) -> float:
    """The mean distance of accuracy from confidence, over bins of confidence (Guo et al. 2017, arXiv:1706.04599).

    Args:
        probabilities: `(images, classes)`, rows that sum to one.
        labels: Class ids `(images,)`.
        num_bins: Number of bins, half open on the left.
    """
    confidence, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    gaps = np.bincount(bins, weights=is_right - confidence, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(labels))
