"""Representation: what embeddings know of the classes without any fine-tuning, and the images most like an image."""

from typing import Any

import datasets
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_samples
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .bootstrap import average_with_intervals
from .metric import InMemoryMetric, as_array


__all__ = ["RepresentationMetric", "nearest_neighbours"]


class RepresentationMetric(InMemoryMetric):
    """What the embeddings that a frozen network gives know of the classes.

    `predictions` are embeddings of test images `(batch, features)` and `references` their class ids `(batch,)`.
    `compute` returns `knn_accuracy`, of the vote of the nearest training images by Euclidean distance;
    `linear_probe_accuracy`, of a logistic regression on standardised features of the training images; `silhouette` of
    the test images (Rousseeuw 1987): 1 where classes lie far apart, 0 where they overlap; and `intervals`,
    `[low, high]` of each, for which nothing is fitted and no silhouette measured anew.

    Args:
        train_embeddings: Embeddings of training images `(train images, features)`.
        train_labels: Their class ids `(train images,)`.
        num_neighbours: Number of training images that vote on the class of a test image.

    Raises:
        ValueError: If embeddings and labels do not fit each other, a feature is NaN or infinite, or there are fewer
            training images than neighbours or fewer than two classes of them.
    """

    def __init__(self, train_embeddings: Any, train_labels: Any, num_neighbours: int = 20):
        train = _embeddings_and_labels("train_embeddings", train_embeddings, "train_labels", train_labels)
        _check_neighbours(train[0], train[0], num_neighbours)
        if len(np.unique(train[1])) < 2:
            raise ValueError("train_labels have images of one class alone: there is nothing to tell apart.")
        self.train = train
        self.num_neighbours = num_neighbours
        super().__init__()

    def add_batch(self, *, predictions=None, references=None) -> None:
        """Adds a batch.

        Args:
            predictions: Embeddings of test images `(batch, features)`.
            references: Class ids `(batch,)`.

        Raises:
            ValueError: If they do not fit each other or the training images, or a feature is NaN or infinite.
        """
        embeddings, labels = _embeddings_and_labels("predictions", predictions, "references", references)
        _check_neighbours(self.train[0], embeddings, self.num_neighbours)
        super().add_batch(predictions=embeddings, references=labels)

    def _columns(self) -> dict[str, Any]:
        return {"predictions": datasets.List(datasets.Value("float64")), "references": datasets.Value("int64")}

    def _compute(
        self, *, predictions=None, references=None, confidence_level: float = 0.95, seed: int = 0
    ) -> dict[str, Any]:
        embeddings, labels = np.asarray(predictions), np.asarray(references)
        if not 2 <= len(np.unique(labels)) < len(labels):
            raise ValueError("references must have at least two classes, and one of them more than one image.")
        classifiers = {
            "knn_accuracy": KNeighborsClassifier(self.num_neighbours),
            "linear_probe_accuracy": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        }
        scores = {name: model.fit(*self.train).predict(embeddings) == labels for name, model in classifiers.items()}
        scores["silhouette"] = silhouette_samples(embeddings, labels)
        return average_with_intervals(scores, confidence_level, seed)


def nearest_neighbours(embeddings: Any, queries: Any, num_neighbours: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Finds the images most like others: those whose embeddings are nearest by Euclidean distance.

    It compares exactly, in memory, by scikit-learn. For millions of images keep the embeddings as a column of a
    `datasets.Dataset`, and search them by its `add_faiss_index`.

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


def _embeddings_and_labels(
    name: str, embeddings: Any, name_of_labels: str, labels: Any
) -> tuple[np.ndarray, np.ndarray]:
    array, ids = _as_embeddings(name, embeddings), as_array(name_of_labels, labels)
    if ids.shape != array.shape[:1] or ids.dtype.kind not in "iu":
        raise ValueError(
            f"{name_of_labels} must be class ids, one for each of {len(array)} images, got an array {ids.shape} of "
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
