"""Figures of a classifier's answers: ROC curves and the confusion matrix."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import auc, confusion_matrix, roc_curve

from .style import MUTED, PALETTE, frame


def plot_roc(labels, probabilities, class_names: Sequence[str]) -> Figure:
    """ROC curve of each class against the rest, with its area.

    A class without a test image, or with nothing else, has no curve; the legend says so.

    Args:
        labels: Class ids (batch,).
        probabilities: Array (batch, classes), rows that sum to one.
        class_names: Names in the order of the ids.

    Raises:
        ValueError: If lengths differ, an id is out of range, or a row is no probability.
    """
    labels = _class_ids(labels, class_names, "labels")
    probabilities = np.asarray(probabilities, dtype=float)
    if probabilities.shape != (len(labels), len(class_names)):
        raise ValueError(
            f"probabilities has shape {probabilities.shape}; {len(labels)} labels of {len(class_names)} classes "
            f"need {(len(labels), len(class_names))}."
        )
    # NaN fails the comparison too.
    wrong = np.flatnonzero(~(np.abs(probabilities.sum(axis=1) - 1) < 1e-3) | (probabilities < 0).any(axis=1))
    if wrong.size:
        row = int(wrong[0])
        raise ValueError(
            f"probabilities: {wrong.size} rows do not hold probabilities that sum to one, the first is row {row}: "
            f"{probabilities[row].tolist()}. Apply softmax to logits first."
        )

    figure = Figure(figsize=(5.2, 5.0), dpi=120, layout="constrained")
    ax = figure.subplots()
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 4)), label="chance (0.500)")
    for class_id, name in enumerate(class_names):
        colour = PALETTE[class_id % len(PALETTE)]
        is_class = labels == class_id
        if is_class.all() or not is_class.any():
            ax.plot([], [], color=colour, label=f"{name} (undefined: {int(is_class.sum())} of {len(labels)} images)")
            continue
        false_positive, true_positive, _ = roc_curve(is_class, probabilities[:, class_id])
        area = auc(false_positive, true_positive)
        ax.plot(false_positive, true_positive, color=colour, linewidth=2, label=f"{name} ({area:.3f})")
    frame(ax, "false positive rate", "true positive rate")
    ax.set_title("each class against the rest", fontsize=11, loc="left")
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    ax.legend(title="class (area under curve)", loc="lower right", frameon=False, alignment="left")
    return figure


def plot_confusion(labels, predictions, class_names: Sequence[str]) -> Figure:
    """Confusion matrix: images counted by true and predicted class, coloured by the fraction of the true class.

    Args:
        labels: True class ids (batch,).
        predictions: Predicted class ids (batch,).
        class_names: Names in the order of the ids.

    Raises:
        ValueError: If lengths differ or an id is out of range.
    """
    labels = _class_ids(labels, class_names, "labels")
    predictions = _class_ids(predictions, class_names, "predictions")
    if len(labels) != len(predictions):
        raise ValueError(f"labels holds {len(labels)} ids and predictions {len(predictions)}; they must be as many.")
    counts = confusion_matrix(labels, predictions, labels=range(len(class_names)))
    # A class without an image leaves a row of zeros, not of NaN.
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    size = 1.6 + 1.1 * len(class_names)
    figure = Figure(figsize=(size, size), dpi=120, layout="constrained")
    ax = figure.subplots()
    ax.imshow(fractions, cmap=mpl.colormaps["Blues"], vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        fraction = fractions[row, column]
        ink = "white" if fraction > 0.55 else "#1F2933"
        ax.text(column, row, f"{count:,}\n{fraction:.1%}", ha="center", va="center", fontsize=10, color=ink)
    ids = range(len(class_names))
    ax.set_xticks(ids, class_names)
    ax.set_yticks(ids, class_names)
    ax.set_xlabel("predicted class")
    ax.set_ylabel("true class")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title(f"accuracy {np.mean(labels == predictions):.3f} of {len(labels):,} images", fontsize=11, loc="left")
    return figure


def _class_ids(values, class_names: Sequence[str], name: str) -> np.ndarray:
    ids = np.asarray(values)
    if ids.ndim != 1 or ids.size == 0 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"{name} has shape {ids.shape} and type {ids.dtype}; it must be a list of integer class ids.")
    wrong = np.flatnonzero((ids < 0) | (ids >= len(class_names)))
    if wrong.size:
        raise ValueError(
            f"{name}: entry {wrong[0]} is {ids[wrong[0]]}; class ids of {list(class_names)} are 0 to "
            f"{len(class_names) - 1}."
        )
    return ids
