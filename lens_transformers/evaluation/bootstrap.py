"""Bootstrap: how far a metric would move with other images, told by drawing from the ones at hand again and again.

A resample is kept as weights, how often each image was drawn, so that metrics are computed of many at once.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np


__all__ = ["average_with_intervals", "compute_with_intervals", "draw_weights", "rank_once"]

NUM_RESAMPLES = 1000
# Bounds the memory: so many weights, of a few resamples of many images, are looked at together.
_WEIGHTS_AT_ONCE = 2**17


def compute_with_intervals(
    statistics: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    num_images: int,
    confidence_level: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """Computes metrics of all images, and the percentile intervals that resampling gives them (Efron 1979).

    Args:
        statistics: Makes of weights `(images, resamples)` the metrics of each resample, `(resamples,)` by name.
        num_images: Number of images.
        confidence_level: Share of the resamples whose metric lies within the interval.
        seed: Draws the resamples.

    Returns:
        Each metric as a number, and `intervals`: `[low, high]` by name. Resamples in which a metric is not finite, say
        because a class is absent, do not count for it; where it is finite in none, the interval is NaN.

    Raises:
        ValueError: If `confidence_level` is not between 0 and 1.
    """
    if not 0 < confidence_level < 1:
        raise ValueError(f"confidence_level must be between 0 and 1, such as 0.95, got {confidence_level}.")
    with np.errstate(invalid="ignore", divide="ignore"):
        values = statistics(np.ones((num_images, 1)))
        resampled = [statistics(weights) for weights in draw_weights(num_images, seed)]
    tails = np.array([1 - confidence_level, 1 + confidence_level]) / 2
    intervals = {name: _quantiles(np.concatenate([part[name] for part in resampled]), tails) for name in values}
    return {**{name: float(value.item()) for name, value in values.items()}, "intervals": intervals}


def average_with_intervals(
    numbers: Mapping[str, np.ndarray], confidence_level: float = 0.95, seed: int = 0
) -> dict[str, Any]:
    """Means over images, and their intervals.

    Args:
        numbers: Of each image, `(images,)` by name.
        confidence_level: As of `compute_with_intervals`.
        seed: As of `compute_with_intervals`.

    Returns:
        As `compute_with_intervals`.

    Raises:
        ValueError: As `compute_with_intervals`.
    """
    num_images = len(next(iter(numbers.values())))

    def means(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {name: values @ weights / num_images for name, values in numbers.items()}

    return compute_with_intervals(means, num_images, confidence_level, seed)


def draw_weights(num_images: int, seed: int) -> Iterator[np.ndarray]:
    """Draws resamples, each of as many images as there are, with replacement.

    Args:
        num_images: Number of images.
        seed: Draws the resamples.

    Yields:
        Weights `(images, resamples)` of a few of the `NUM_RESAMPLES` resamples.
    """
    rng = np.random.default_rng(seed)
    num_at_once = max(_WEIGHTS_AT_ONCE // num_images, 1)
    for first in range(0, NUM_RESAMPLES, num_at_once):
        num_resamples = min(num_at_once, NUM_RESAMPLES - first)
        drawn = rng.integers(num_images, size=(num_resamples, num_images))
        drawn += num_images * np.arange(num_resamples)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
        # Each resample lies in one piece of memory.
        yield counts.astype(np.float64).T


def rank_once(
    scores: np.ndarray, is_positive: np.ndarray, images: np.ndarray | None = None
) -> Callable[[np.ndarray], np.ndarray]:
    """Makes a function of weights that gives the area under the ROC curve, without sorting again for each resample.

    The area is the share of pairs of a positive and a negative in which the positive has the higher score, ties
    counted half (Hanley & McNeil 1982).

    Args:
        scores: `(scores,)`.
        is_positive: `(scores,)`, true or false.
        images: Image that each score belongs to, `(scores,)`; by default there is one score an image.

    Returns:
        The function: of weights `(images, resamples)`, areas `(resamples,)`, NaN without positives or negatives.
    """
    images = np.arange(len(scores)) if images is None else images
    order = np.argsort(scores)
    positives, negatives = order[is_positive[order]], order[~is_positive[order]]
    below = np.searchsorted(scores[negatives], scores[positives], side="left")
    not_above = np.searchsorted(scores[negatives], scores[positives], side="right")
    has_ties = bool((below != not_above).any())

    def area(weights: np.ndarray) -> np.ndarray:
        resamples = weights.T
        of_positives = resamples.take(images[positives], axis=1)
        of_negatives = np.zeros((len(resamples), len(negatives) + 1))
        np.cumsum(resamples.take(images[negatives], axis=1), axis=1, out=of_negatives[:, 1:])
        lower = of_negatives.take(below, axis=1)
        if has_ties:
            lower = (lower + of_negatives.take(not_above, axis=1)) / 2
        pairs = np.einsum("ij,ij->i", of_positives, lower)
        return pairs / (of_positives.sum(axis=1) * of_negatives[:, -1])

    return area


def _quantiles(values: np.ndarray, tails: np.ndarray) -> list[float]:
    finite = values[np.isfinite(values)]
    return np.quantile(finite, tails).tolist() if len(finite) else [float("nan")] * len(tails)
