"""Representation: what embeddings know of the classes without any fine-tuning, and the images most like an image."""

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_samples
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .bootstrap import average_with_intervals
from .metric import as_array


__all__ = ["nearest_neighbours", "score_representation"]


def score_representation(
    train_embeddings: Any,
    train_labels: Any,
    test_embeddings: Any,
    test_labels: Any,
    *,
    num_neighbours: int = 20,
    confidence_level: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """Scores the embeddings that a frozen network gives.

    Args:
        train_embeddings: `(train images, features)`.
        train_labels: Class ids `(train images,)`.
        test_embeddings: `(test images, features)`.
        test_labels: Class ids `(test images,)`.
        num_neighbours: Number of training images that vote on the class of a test image.
        confidence_level: That of the intervals.
        seed: Draws the resamples of test images that the intervals come from.

    Returns:
        `knn_accuracy`, of the vote of the nearest training images by Euclidean distance; `linear_probe_accuracy`, of a
        logistic regression on standardised features; `silhouette` of the test images (Rousseeuw 1987): 1 where classes
        lie far apart, 0 where they overlap; and `intervals`, `[low, high]` of each, for which nothing is fitted and no
        silhouette measured anew.

    Raises:
        ValueError: If embeddings and labels do not fit each other, a feature is NaN or infinite, there are fewer
            training images than neighbours, fewer than two classes, or as many of them as test images.
    """
    train, train_ids = _embeddings_and_labels("train", train_embeddings, train_labels)
    test, test_ids = _embeddings_and_labels("test", test_embeddings, test_labels)
    _check_neighbours(train, test, num_neighbours)
    if len(np.unique(train_ids)) < 2:
        raise ValueError("train_labels have images of one class alone: there is nothing to tell apart.")
    if not 2 <= len(np.unique(test_ids)) < len(test):
        raise ValueError("test_labels must have at least two classes, and one of them more than one image.")

    classifiers = {
        "knn_accuracy": KNeighborsClassifier(num_neighbours),
        "linear_probe_accuracy": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    }
    scores = {name: model.fit(train, train_ids).predict(test) == test_ids for name, model in classifiers.items()}
    scores["silhouette"] = silhouette_samples(test, test_ids)
    return average_with_intervals(scores, confidence_level, seed)


def nearest_neighbours(embeddings: Any, queries: Any, num_neighbours: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Finds the images most like others: those whose embeddings are nearest by Euclidean distance.

    Args:
        embeddings: Those to search, `(images, features)`.
        queries: Those to find neighbours of, `(queries, features)`. One that is among `embeddings` finds itself first.
        num_neighbours: Number of neighbours of each.

    Returns:
        Distances and rows of `embeddings`, both `(queries, num_neighbours)`, nearest first.

    Raises:
        ValueError: If the numbers of features differ, a feature is NaN or infinite, or there are fewer images than
            neighbours.
    """
    searched, sought = _as_embeddings("embeddings", embeddings), _as_embeddings("queries", queries)
    _check_neighbours(searched, sought, num_neighbours)
    return NearestNeighbors(n_neighbors=num_neighbours).fit(searched).kneighbors(sought)


def _as_embeddings(name: str, values: Any) -> np.ndarray:
    array = as_array(name, values)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} must be (images, features), got an array {array.shape}.")
    undefined = ~np.isfinite(array).all(axis=1, keepdims=True)
    if undefined.any():
        raise ValueError(
            f"{name}: {undefined.sum()} of {len(array)} rows have a feature that is NaN or infinite, first row "
            f"{np.argmax(undefined)}."
        )
    return array.astype(np.result_type(array.dtype, np.float32), copy=False)


def _embeddings_and_labels(split: str, embeddings: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    array, ids = _as_embeddings(f"{split}_embeddings", embeddings), as_array(f"{split}_labels", labels)
    if ids.shape != array.shape[:1] or ids.dtype.kind not in "iu":
        raise ValueError(
            f"{split}_labels must be class ids, one for each of {len(array)} images, got an array {ids.shape} of "
            f"{ids.dtype}."
        )
    return array, ids


def _check_neighbours(searched: np.ndarray, sought: np.ndarray, num_neighbours: int) -> None:
    if searched.shape[1] != sought.shape[1]:
        raise ValueError(f"Embeddings to search have {searched.shape[1]} features, those to find {sought.shape[1]}.")
    if not 1 <= num_neighbours <= len(searched):
        raise ValueError(
            f"num_neighbours must be from 1 to {len(searched)}, the images to search, got {num_neighbours}."
        )
