"""Classification: accuracy, areas under the ROC curve, F1, calibration and confusion, as scikit-learn has them."""

import warnings
from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

from ..data.schema import LABEL_NAMES
from .bootstrap import compute_with_intervals, rank_once
from .calibration import confidence_gaps
from .metric import InMemoryMetric, as_array


__all__ = ["ClassificationMetric", "add_calibrated_error", "check_probabilities"]


class ClassificationMetric(InMemoryMetric):
    """Quality of class probabilities, every AUC one class against the rest.

    `predictions` are probabilities `(batch, classes)` and `references` class ids `(batch,)`. `compute` returns
    `accuracy`, `balanced_accuracy` (mean recall of the classes present), `f1_macro`, `f1_micro`, `auc_macro`,
    `auc_micro`, one `auc_<class>` each, `brier` (squared distance from the true class, summed over classes: 0 to 2),
    `log_loss` in nats, `ece` (expected calibration error, 15 bins), `intervals`, `[low, high]` of each of these, and
    `confusion_matrix` as nested lists with true classes as rows.

    The AUC of a class that no reference or every reference belongs to is undefined: it and the macro mean are NaN,
    with a warning. Where every image is right, or none, so is every resample: the interval of `accuracy`, and of
    `f1_micro`, which is the same, is then Wilson's (1927, doi:10.1080/01621459.1927.10502953). Chance alone makes an
    `ece`, and a resample's is larger: the interval of a small one lies above it.

    Args:
        class_names: Names of the classes in the order of their ids.
    """

    def __init__(self, class_names: Sequence[str] = LABEL_NAMES):
        self.class_names = tuple(class_names)
        super().__init__()

    def add_batch(self, *, predictions=None, references=None) -> None:
        """Adds a batch.

        Args:
            predictions: Probabilities `(batch, classes)`.
            references: Class ids `(batch,)`.

        Raises:
            ValueError: If shapes or ids do not fit the classes, or a row is no set of probabilities.
        """
        probabilities = as_array("predictions", predictions).astype(np.float64)
        labels = as_array("references", references)
        num_classes = len(self.class_names)
        if probabilities.ndim != 2 or probabilities.shape[1] != num_classes or labels.shape != probabilities.shape[:1]:
            raise ValueError(
                f"predictions must be (batch, {num_classes}) and references (batch,), "
                f"got {probabilities.shape} and {labels.shape}."
            )
        check_probabilities("predictions", probabilities)
        if labels.dtype.kind not in "iu" or (labels < 0).any() or (labels >= num_classes).any():
            raise ValueError(f"references must be class ids 0 to {num_classes - 1}, got {np.unique(labels)[:10]}.")
        super().add_batch(predictions=probabilities, references=labels)

    def _columns(self) -> dict[str, Any]:
        return {"predictions": datasets.List(datasets.Value("float64")), "references": datasets.Value("int64")}

    def _compute(
        self, *, predictions=None, references=None, confidence_level: float = 0.95, seed: int = 0
    ) -> dict[str, Any]:
        probabilities, labels = np.asarray(predictions), np.asarray(references)
        num_images, ids = len(labels), np.arange(len(self.class_names))
        predicted = probabilities.argmax(axis=1)
        is_true, is_predicted = labels[:, None] == ids, predicted[:, None] == ids
        for name, count in zip(self.class_names, is_true.sum(axis=0), strict=True):
            if count in (0, num_images):
                belonging = "no" if count == 0 else "every"
                warnings.warn(f"AUC of class {name} is undefined: {belonging} reference belongs to it.", stacklevel=4)

        areas = {
            f"auc_{name}": rank_once(probabilities[:, i], is_true[:, i]) for i, name in enumerate(self.class_names)
        }
        area_micro = rank_once(probabilities.ravel(), is_true.ravel(), np.arange(num_images).repeat(len(ids)))
        in_class, in_predicted, in_both = (
            part.astype(float) for part in (is_true, is_predicted, is_true & is_predicted)
        )
        squares = ((probabilities - is_true) ** 2).sum(axis=1)
        surprise = -np.log(np.maximum(probabilities[is_true], np.finfo(np.float64).eps))
        gaps = confidence_gaps(probabilities, labels)

        def statistics(weights: np.ndarray) -> dict[str, np.ndarray]:
            hits, of_class, of_predicted = (part.T @ weights for part in (in_both, in_class, in_predicted))
            # A class that is neither there nor predicted has none, and the mean leaves it out.
            f1 = np.divide(
                2 * hits, of_class + of_predicted, out=np.full_like(hits, np.nan), where=of_class + of_predicted > 0
            )
            accuracy = hits.sum(axis=0) / num_images
            auc = {name: area(weights) for name, area in areas.items()}
            return {
                "accuracy": accuracy,
                "balanced_accuracy": np.nanmean(hits / of_class, axis=0),
                "f1_macro": np.nanmean(f1, axis=0),
                "f1_micro": accuracy,  # with one class an image the two are the same
                "auc_macro": np.mean(list(auc.values()), axis=0),
                "auc_micro": area_micro(weights),
                **auc,
                "brier": squares @ weights / num_images,
                "log_loss": surprise @ weights / num_images,
                "ece": np.abs(gaps.T @ weights).sum(axis=0) / num_images,
            }

        result = compute_with_intervals(statistics, num_images, confidence_level, seed)
        if result["accuracy"] in (0, 1):
            num_right = round(result["accuracy"] * num_images)
            interval = binomtest(num_right, num_images).proportion_ci(confidence_level, method="wilson")
            result["intervals"] |= dict.fromkeys(("accuracy", "f1_micro"), [float(interval.low), float(interval.high)])
        return {**result, "confusion_matrix": confusion_matrix(labels, predicted, labels=ids).tolist()}


def add_calibrated_error(row: dict[str, Any], probabilities: Any, labels: Any) -> None:
    """Adds `ece_calibrated`, the calibration error at a fitted temperature, and its interval to a row of metrics.

    Args:
        row: What `ClassificationMetric` gave of the probabilities as they are.
        probabilities: `(batch, classes)`, calibrated.
        labels: Class ids `(batch,)`.
    """
    calibrated = ClassificationMetric().compute(predictions=probabilities, references=labels)
    row["ece_calibrated"] = calibrated["ece"]
    row["intervals"]["ece_calibrated"] = calibrated["intervals"]["ece"]


def check_probabilities(argument: str, probabilities: np.ndarray) -> None:
    """Refuses what no softmax has made.

    Args:
        argument: Name of the argument, for the error.
        probabilities: Array `(batch, classes)`.

    Raises:
        ValueError: If a row has something else than numbers from 0 on that sum to one.
    """
    undefined = ~np.isfinite(probabilities).all(axis=1)
    if undefined.any():
        raise ValueError(
            f"{argument}: {undefined.sum()} of {len(undefined)} rows have a probability that is NaN or infinite, "
            f"first row {np.argmax(undefined)}. Look for NaN pixels in its image, or a training that diverged."
        )
    # Half-precision softmax is off by up to a few 1e-3.
    wrong = ~(np.isclose(probabilities.sum(axis=1), 1.0, atol=1e-2) & (probabilities >= 0).all(axis=1))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{argument} must be probabilities that sum to one; {wrong.sum()} of {len(wrong)} rows do not, "
            f"first row {row}: {probabilities[row].tolist()}. Apply a softmax to logits first."
        )
