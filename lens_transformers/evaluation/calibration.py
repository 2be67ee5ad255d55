"""Calibration: whether probabilities are as often right as they say, and the temperature that mends them."""

from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from .metric import as_array


__all__ = ["expected_calibration_error", "fit_temperature"]

# A network that is right about every image, or no better than chance, has its best temperature at 0 or infinity.
_COLDEST, _HOTTEST = 1e-2, 1e2


def fit_temperature(logits: Any, labels: Any) -> float:
    """The temperature T at which softmax(logits / T) is likeliest (Guo et al. 2017, arXiv:1706.04599, equation 9).

    Args:
        logits: `(images, classes)`, of images that the network was neither trained nor is tested on.
        labels: Class ids `(images,)`.

    Returns:
        A number between 0.01 and 100; above 1 where the network is too sure of itself.

    Raises:
        ValueError: If there is not one label an image, a label is no class, or a logit is NaN or infinite.
    """
    scores, targets = _scores_and_labels("logits", logits, labels)
    scores = scores - scores[np.arange(len(scores)), targets][:, None]

    def negative_log_likelihood(log_temperature: float) -> float:
        return float(logsumexp(scores * np.exp(-log_temperature), axis=1).mean())

    # It is convex in 1 / T, so it has one minimum.
    bounds = (np.log(_COLDEST), np.log(_HOTTEST))
    return float(np.exp(minimize_scalar(negative_log_likelihood, bounds=bounds, options={"xatol": 1e-6}).x))


def expected_calibration_error(probabilities: Any, labels: Any, num_bins: int = 15) -> float:
    """The mean distance of accuracy from confidence, over bins of confidence (Guo et al. 2017, arXiv:1706.04599).

    Args:
        probabilities: `(images, classes)`, rows that sum to one.
        labels: Class ids `(images,)`.
        num_bins: Number of bins of equal width, each without its lower edge.

    Raises:
        ValueError: If there is not one label an image, a label is no class, or a probability is NaN or infinite.
    """
    scores, targets = _scores_and_labels("probabilities", probabilities, labels)
    confidence, is_right = scores.max(axis=1), scores.argmax(axis=1) == targets
    bins = np.searchsorted(np.linspace(0.0, 1.0, num_bins + 1)[1:-1], confidence)
    gaps = np.bincount(bins, weights=is_right - confidence, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(targets))


def _scores_and_labels(name: str, scores: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = as_array(name, scores).astype(np.float64), as_array("labels", labels)
    if scores.ndim != 2 or 0 in scores.shape or not np.isfinite(scores).all():
        raise ValueError(f"{name} must be finite numbers (images, classes), got an array {scores.shape}.")
    if labels.shape != scores.shape[:1]:
        raise ValueError(f"labels has the shape {labels.shape} for {len(scores)} images: give one an image.")
    num_classes = scores.shape[1]
    if labels.dtype.kind not in "iu" or (labels < 0).any() or (labels >= num_classes).any():
        raise ValueError(f"labels must be class ids from 0 to {num_classes - 1}, got {np.unique(labels)[:10]}.")
    return scores, labels
