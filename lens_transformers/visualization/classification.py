"""Figures of a classifier's answers: ROC curves, the confusion matrix, calibration."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import auc, confusion_matrix, roc_curve

from ..evaluation.binning import wilson_interval
from ..evaluation.calibration import expected_calibration_error
from ..evaluation.classification import check_probabilities
from ..evaluation.metric import as_array
from .style import INK, MUTED, axes_for, colours_of, figure_of, frame


def plot_roc(
    labels, probabilities, class_names: Sequence[str], train: tuple[Any, Any] | None = None, ax: Axes | None = None
) -> Figure:
    """ROC curve of each class against the rest, with its area.

    A class without a test image, or with nothing else, has no curve; the legend says so.

    Args:
        labels: Class ids (batch,).
        probabilities: Array (batch, classes), rows that sum to one.
        class_names: Names in the order of the ids.
        train: Labels and probabilities of training images, to be drawn as thin dashed lines: what lies between a pair
            of lines was learnt by heart.
        ax: Where to draw; a new figure by default.

    Raises:
        ValueError: If lengths differ, an id is out of range, or a row is no probability.
    """
    labels, probabilities = _checked(labels, probabilities, class_names)
    ax = axes_for(ax, 5.2, 5.0)
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 4)), label="chance (0.500)")
    colours = dict(zip(class_names, colours_of(len(class_names)), strict=True))
    train_areas = {}
    if train is not None:
        for name, curve in _roc_curves(*_checked(*train, class_names), class_names).items():
            if curve is not None:
                ax.plot(*curve, color=colours[name], linewidth=1, linestyle=(0, (3, 2)))
                train_areas[name] = f", training {auc(*curve):.3f}"
    for class_id, (name, curve) in enumerate(_roc_curves(labels, probabilities, class_names).items()):
        colour = colours[name]
        if curve is None:
            count = np.count_nonzero(labels == class_id)
            ax.plot([], [], color=colour, label=f"{name} (undefined: {count} of {len(labels)} images)")
        else:
            label = f"{name} ({auc(*curve):.3f}{train_areas.get(name, '')})"
            ax.plot(*curve, color=colour, linewidth=2, label=label)
    frame(ax, "false positive rate", "true positive rate")
    ax.set_title("each class against the rest", fontsize=11, loc="left")
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    ax.legend(title="class (area under curve)", loc="lower right", frameon=False, alignment="left")
    return figure_of(ax)


def plot_confusion(labels, predictions, class_names: Sequence[str], ax: Axes | None = None) -> Figure:
    """Confusion matrix: images counted by true and predicted class, coloured by the fraction of the true class.

    Args:
        labels: True class ids (batch,).
        predictions: Predicted class ids (batch,).
        class_names: Names in the order of the ids.
        ax: Where to draw; a new figure by default.

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
    ax = axes_for(ax, size, size)
    ax.imshow(fractions, cmap=mpl.colormaps["Blues"], vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        fraction = fractions[row, column]
        ink = "white" if fraction > 0.55 else INK
        ax.text(column, row, f"{count:,}\n{fraction:.1%}", ha="center", va="center", fontsize=10, color=ink)
    ids = range(len(class_names))
    ax.set_xticks(ids, class_names)
    ax.set_yticks(ids, class_names)
    ax.set_xlabel("predicted class")
    ax.set_ylabel("true class")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title(f"accuracy {np.mean(labels == predictions):.3f} of {len(labels):,} images", fontsize=11, loc="left")
    return figure_of(ax)


def plot_calibration(
    labels,
    probabilities: Any | Mapping[str, Any],
    class_names: Sequence[str],
    num_bins: int = 15,
    ax: Axes | None = None,
) -> Figure:
    """Reliability diagram: how often the predicted class is right, against the probability that it was given.

    Bars around each point are 95% intervals (Wilson 1927) of so many images. Points below the diagonal are
    overconfident. The steps at the foot are the share of images in each bin, of the first set.

    Args:
        labels: Class ids (batch,).
        probabilities: Array (batch, classes), rows that sum to one, or several by name: before and after temperature
            scaling, for example.
        class_names: Names in the order of the ids.
        num_bins: Number of equal bins of probability.
        ax: Where to draw; a new figure by default.

    Raises:
        ValueError: If lengths differ, an id is out of range, or a row is no probability.
    """
    named = probabilities if isinstance(probabilities, Mapping) else {"": probabilities}
    ax = axes_for(ax, 5.2, 5.0)
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
    edges = np.linspace(0, 1, num_bins + 1)
    for index, ((name, rows), colour) in enumerate(zip(named.items(), colours_of(len(named)), strict=True)):
        ids, rows = _checked(labels, rows, class_names)
        confidence, is_right = rows.max(axis=1), rows.argmax(axis=1) == ids
        # Each bin without its lower edge, as for the calibration error.
        bins = np.searchsorted(edges[1:-1], confidence)
        counts = np.bincount(bins, minlength=num_bins)
        filled = np.flatnonzero(counts)
        right = np.bincount(bins, weights=is_right, minlength=num_bins)[filled]
        mean_confidence = np.bincount(bins, weights=confidence, minlength=num_bins)[filled] / counts[filled]
        accuracy = right / counts[filled]
        low, high = wilson_interval(right, counts[filled])
        error = expected_calibration_error(rows, ids, num_bins)
        ax.errorbar(
            mean_confidence,
            accuracy,
            yerr=(accuracy - low, high - accuracy),
            color=colour,
            marker="o",
            markersize=4.5,
            linewidth=1.6,
            elinewidth=1,
            label=f"{name} (ECE {error:.3f})".lstrip(),
        )
        if index == 0:
            ax.stairs(0.15 * counts / counts.max(), edges, fill=True, color=MUTED, alpha=0.25, zorder=0)
    frame(ax, "probability of the predicted class", "fraction that is right")
    ax.set_title("calibration", fontsize=11, loc="left")
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    ax.legend(loc="upper left", frameon=False)
    return figure_of(ax)


def _checked(labels, probabilities, class_names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    labels = _class_ids(labels, class_names, "labels")
    probabilities = as_array("probabilities", probabilities).astype(float)
    if probabilities.shape != (len(labels), len(class_names)):
        raise ValueError(
            f"probabilities has shape {probabilities.shape}; {len(labels)} labels of {len(class_names)} classes "
            f"need {(len(labels), len(class_names))}."
        )
    check_probabilities("probabilities", probabilities)
    return labels, probabilities


def _roc_curves(
    labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]
) -> dict[str, tuple[np.ndarray, np.ndarray] | None]:
    """False and true positive rates by class, `None` where one of them is undefined."""
    curves: dict[str, tuple[np.ndarray, np.ndarray] | None] = {}
    for class_id, name in enumerate(class_names):
        is_class = labels == class_id
        undefined = is_class.all() or not is_class.any()
        curves[name] = None if undefined else roc_curve(is_class, probabilities[:, class_id])[:2]
    return curves


def _class_ids(values, class_names: Sequence[str], name: str) -> np.ndarray:
    ids = as_array(name, values)
    if ids.ndim != 1 or ids.size == 0 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"{name} has shape {ids.shape} and type {ids.dtype}; it must be a list of integer class ids.")
    wrong = np.flatnonzero((ids < 0) | (ids >= len(class_names)))
    if wrong.size:
        raise ValueError(
            f"{name}: entry {wrong[0]} is {ids[wrong[0]]}; class ids of {list(class_names)} are 0 to "
            f"{len(class_names) - 1}."
        )
    return ids
