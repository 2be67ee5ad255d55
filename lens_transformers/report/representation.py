"""What the embeddings of a network that was taught no classes know of them, and which images stand out to it."""

from typing import Any

import numpy as np
import torch
from datasets import Dataset

from ..data import LABEL_NAMES
from ..evaluation import (
    AnomalyMetric,
    RepresentationMetric,
    nearest_neighbours,
    neighbour_distance,
    pca_logistic_rows,
)
from ..simulation.scenes import NO_SUB
from ..visualization import plot_lenses
from .evaluated import Evaluation, Measured, Table, embed


_NUM_NEIGHBOURS_SHOWN = 5


def describe_representation(
    evaluation: Evaluation,
    model: Any,
    image_processor: Any,
    train: Dataset,
    test: Dataset,
    embeddings: np.ndarray,
    errors: np.ndarray,
) -> None:
    """Adds the images nearest to some, and tables of what embeddings know of the classes and of anomalies.

    Args:
        evaluation: What it is added to.
        model: A network with a base model.
        image_processor: Its image processor.
        train: Images of every class, among which neighbours are sought.
        test: Others.
        embeddings: Of the test images, `(images, features)`.
        errors: Of each test image, the error of its reconstruction `(images,)`.
    """
    labels, test_labels = np.asarray(train["label"][:]), np.asarray(test["label"][:])
    known = embed(model, image_processor, train)

    # The first test image of each class, then its neighbours.
    queries = np.unique(test_labels, return_index=True)[1]
    neighbours = nearest_neighbours(known, embeddings[queries], _NUM_NEIGHBOURS_SHOWN)[1]
    pictures = [
        np.concatenate([test[[query]]["image"], train[near]["image"]])
        for query, near in zip(queries.tolist(), neighbours.tolist(), strict=True)
    ]
    titles = [
        title
        for query, near in zip(queries, neighbours, strict=True)
        for title in (f"query: {LABEL_NAMES[test_labels[query]]}", *(LABEL_NAMES[label] for label in labels[near]))
    ]
    evaluation.figures["nearest_neighbours"] = plot_lenses(np.concatenate(pictures), titles, evaluation.pixel_scale)

    evaluation.tables += [
        _classes_table(model, image_processor, train, test, known, embeddings),
        _anomalies_table(
            {
                "error of reconstruction": errors,
                "distance from embeddings of no_sub": neighbour_distance(embeddings, known[labels == NO_SUB]),
            },
            test_labels,
        ),
    ]


def _classes_table(
    model: Any, image_processor: Any, train: Dataset, test: Dataset, known: np.ndarray, embeddings: np.ndarray
) -> Table:
    labels, test_labels = train["label"][:], test["label"][:]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        untrained = type(model)(model.config).eval().to(model.device)
    pairs = {
        "embeddings": (known, embeddings),
        "embeddings before training": tuple(embed(untrained, image_processor, part) for part in (train, test)),
    }
    names = ("knn_accuracy", "linear_probe_accuracy", "silhouette")
    rows: list[list[Any]] = []
    for features, (of_train, of_test) in pairs.items():
        scores = RepresentationMetric(of_train, labels).compute(predictions=of_test, references=test_labels)
        rows.append([features, *(Measured.of(scores, name) for name in names)])
    for row in pca_logistic_rows(train["image"][:], labels, test["image"][:], test_labels):
        rows.append([row["name"], "", Measured.of(row, "accuracy"), ""])
    return Table(
        "What the embeddings know of the classes",
        ["features", "20 nearest neighbours", "linear probe", "silhouette"],
        rows,
        f"Accuracy on {len(test):,} test images of what is fitted to {len(train):,} training images, without any "
        "fine-tuning; and how far apart the classes of the test images lie, from 1, apart, to 0, mixed.",
    )


def _anomalies_table(scores: dict[str, np.ndarray], labels: np.ndarray) -> Table:
    rows: list[list[Any]] = []
    for name, values in scores.items():
        for class_id in np.unique(labels[labels != NO_SUB]):
            shown = (labels == NO_SUB) | (labels == class_id)
            result = AnomalyMetric().compute(predictions=values[shown], references=labels[shown] == class_id)
            measured = (Measured.of(result, metric) for metric in ("auc", "precision_at_1_percent"))
            rows.append([name, LABEL_NAMES[class_id], *measured])
    return Table(
        "Does substructure stand out from no_sub?",
        ["score", "class", "AUC", "precision at 1%"],
        rows,
        "Test images of a class among those of no_sub; chance is an AUC of 0.5, and a precision of the class's share "
        "of them. To a network that was trained on all classes none of them is new.",
    )
