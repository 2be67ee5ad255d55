"""Anomalies: how well a score singles out images of a kind that was not trained on, and one score to do it by."""

import warnings
from collections.abc import Callable
from typing import Any

import datasets
import numpy as np

from .bootstrap import compute_with_intervals, rank_once
from .metric import InMemoryMetric, as_array
from .representation import nearest_neighbours


__all__ = ["AnomalyMetric", "neighbour_distance"]


class AnomalyMetric(InMemoryMetric):
    """Quality of anomaly scores, such as errors of reconstruction or distances of embeddings.

    `predictions` are scores `(batch,)`, the higher the stranger, and `references` say which images are anomalies
    `(batch,)`. `compute` returns `auc`, the area under the ROC curve; `precision_at_1_percent`, the share of anomalies
    among the hundredth of all images (rounded up) that scores highest, where of images with the same score any may be
    among them; and `intervals`, `[low, high]` of both. Where every image is an anomaly, or none is, the AUC is
    undefined: it is NaN, with a warning.
    """

    def add_batch(self, *, predictions=None, references=None) -> None:
        """Adds a batch.

        Args:
            predictions: Scores `(batch,)`.
            references: Whether each image is an anomaly `(batch,)`, booleans or zeros and ones.

        Raises:
            ValueError: If there is not one score and one truth an image, or a score is NaN or infinite.
        """
        scores = as_array("predictions", predictions).astype(np.float64)
        is_anomaly = as_array("references", references)
        if scores.ndim != 1 or scores.shape != is_anomaly.shape:
            raise ValueError(
                f"predictions and references must both be (batch,), got {scores.shape} and {is_anomaly.shape}."
            )
        if not np.isfinite(scores).all():
            raise ValueError(
                f"predictions: {np.count_nonzero(~np.isfinite(scores))} of {len(scores)} scores are NaN or infinite, "
                f"first score {np.argmin(np.isfinite(scores))}."
            )
        if not np.isin(is_anomaly, (0, 1)).all():
            raise ValueError("references must be true (1) of an anomaly and false (0) elsewhere; other values found.")
        super().add_batch(predictions=scores, references=is_anomaly.astype(bool))

    def _columns(self) -> dict[str, Any]:
        return {"predictions": datasets.Value("float64"), "references": datasets.Value("bool")}

    def _compute(
        self, *, predictions=None, references=None, confidence_level: float = 0.95, seed: int = 0
    ) -> dict[str, Any]:
        scores, is_anomaly = np.asarray(predictions), np.asarray(references)
        if is_anomaly.all() or not is_anomaly.any():
            count = "every" if is_anomaly.all() else "no"
            warnings.warn(f"AUC is undefined: {count} image is an anomaly.", stacklevel=4)
        area, precision = rank_once(scores, is_anomaly), _precision_at_top(scores, is_anomaly, -(-len(scores) // 100))

        def statistics(weights: np.ndarray) -> dict[str, np.ndarray]:
            return {"auc": area(weights), "precision_at_1_percent": precision(weights)}

        return compute_with_intervals(statistics, len(scores), confidence_level, seed)


def neighbour_distance(embeddings: Any, reference: Any, num_neighbours: int = 10) -> np.ndarray:
    """Distance to the k-th nearest embedding of known images, an anomaly score (Ramaswamy et al. 2000).

    Args:
        embeddings: Those to score, `(images, features)`.
        reference: Those of known images, `(known images, features)`, none of which is among the first.
        num_neighbours: k.

    Returns:
        `(images,)`, the larger the stranger.

    Raises:
        ValueError: As `nearest_neighbours`.
    """
    return nearest_neighbours(reference, embeddings, num_neighbours)[0][:, -1]


def _precision_at_top(scores: np.ndarray, is_anomaly: np.ndarray, num_top: int) -> Callable[[np.ndarray], np.ndarray]:
    """Makes a function of weights `(images, resamples)` that gives the share of anomalies among the highest scores."""
    order = np.argsort(-scores)
    starts_of_ties = np.flatnonzero(np.diff(scores[order], prepend=np.inf))

    def precision(weights: np.ndarray) -> np.ndarray:
        drawn = weights[order]
        tied = np.add.reduceat(drawn, starts_of_ties, axis=0)
        anomalies = np.add.reduceat(drawn * is_anomaly[order, None], starts_of_ties, axis=0)
        taken = np.clip(num_top - (np.cumsum(tied, axis=0) - tied), 0, tied)
        return (taken * anomalies / np.maximum(tied, 1)).sum(axis=0) / num_top

    return precision
