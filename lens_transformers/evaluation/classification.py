"""Classification: accuracy, areas under the ROC curve, F1 and confusion, by scikit-learn's definitions."""

import warnings
from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score, roc_auc_score

from ..data.schema import LABEL_NAMES
from .metric import InMemoryMetric, as_array


__all__ = ["ClassificationMetric"]


class ClassificationMetric(InMemoryMetric):
    """Quality of class probabilities, every AUC one class against the rest.

    `predictions` are probabilities `(batch, classes)` and `references` class ids `(batch,)`. `compute` returns
    `accuracy`, `balanced_accuracy` (mean recall of the classes present), `f1_macro`, `auc_macro`, `auc_micro`, one
    `auc_<class>` each, and `confusion_matrix` as nested lists with true classes as rows. The AUC of a class that no
    reference or every reference belongs to is undefined: it and the macro mean are NaN, with a warning.

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
        # Half-precision softmax is off by up to a few 1e-3.
        wrong = ~(np.isclose(probabilities.sum(axis=1), 1.0, atol=1e-2) & (probabilities >= 0).all(axis=1))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                f"predictions must be probabilities that sum to one; {wrong.sum()} of {len(wrong)} rows do not, "
                f"first row {row}: {probabilities[row].tolist()}. Apply a softmax to logits first."
            )
        if labels.dtype.kind not in "iu" or (labels < 0).any() or (labels >= num_classes).any():
            raise ValueError(f"references must be class ids 0 to {num_classes - 1}, got {np.unique(labels)[:10]}.")
        super().add_batch(predictions=probabilities, references=labels)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=type(self).__doc__ or "",
            citation="",
            inputs_description="",
            features=datasets.Features(
                {
                    "predictions": datasets.List(datasets.Value("float64")),
                    "references": datasets.Value("int64"),
                }
            ),
        )

    def _compute(self, *, predictions=None, references=None, **kwargs: Any) -> dict[str, Any]:
        probabilities, labels = np.asarray(predictions), np.asarray(references)
        predicted = probabilities.argmax(axis=1)
        ids = np.arange(len(self.class_names))
        one_hot = labels[:, None] == ids
        auc = [_auc(one_hot[:, i], probabilities[:, i], name) for i, name in enumerate(self.class_names)]
        return {
            "accuracy": float(accuracy_score(labels, predicted)),
            "balanced_accuracy": float(recall_score(labels, predicted, labels=np.unique(labels), average="macro")),
            "f1_macro": float(f1_score(labels, predicted, labels=ids, average="macro", zero_division=0.0)),
            "auc_macro": float(np.mean(auc)),
            "auc_micro": float(roc_auc_score(one_hot.ravel(), probabilities.ravel())),
            **{f"auc_{name}": value for name, value in zip(self.class_names, auc, strict=True)},
            "confusion_matrix": confusion_matrix(labels, predicted, labels=ids).tolist(),
        }


def _auc(is_class: np.ndarray, probability: np.ndarray, name: str) -> float:
    if is_class.all() or not is_class.any():
        count = "every" if is_class.all() else "no"
        warnings.warn(f"AUC of class {name} is undefined: {count} reference belongs to it.", stacklevel=3)
        return float("nan")
    return float(roc_auc_score(is_class, probability))
