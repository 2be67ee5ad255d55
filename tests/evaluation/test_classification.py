import json

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    mean_squared_error,
    roc_auc_score,
)

from lens_transformers.evaluation import ClassificationMetric
from lens_transformers.evaluation.bootstrap import draw_weights
from lens_transformers.evaluation.calibration import expected_calibration_error


def _predictions(count=200, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, count, p=[0.2, 0.3, 0.5] if classes == 3 else None)
    logits = rng.standard_normal((count, classes)) + 1.5 * np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return probabilities, labels


def _by_scikit_learn(probabilities, labels):
    predicted = probabilities.argmax(axis=1)
    per_class = roc_auc_score(labels, probabilities, multi_class="ovr", average=None)
    return {
        "accuracy": (predicted == labels).mean(),
        "balanced_accuracy": balanced_accuracy_score(labels, predicted),
        "f1_macro": f1_score(labels, predicted, average="macro"),
        "f1_micro": f1_score(labels, predicted, average="micro"),
        "auc_macro": roc_auc_score(labels, probabilities, multi_class="ovr"),
        "auc_micro": roc_auc_score(labels, probabilities, multi_class="ovr", average="micro"),
        **{f"auc_{name}": auc for name, auc in zip(("no_sub", "cdm", "axion"), per_class, strict=True)},
        "brier": 3 * mean_squared_error(np.eye(3)[labels], probabilities),
        "log_loss": log_loss(labels, probabilities),
        "ece": expected_calibration_error(probabilities, labels),
    }


@pytest.mark.parametrize("decimals", [16, 1])  # of one decimal many scores are tied
def test_every_number_is_scikit_learns(decimals):
    probabilities, labels = _predictions()
    probabilities = probabilities.round(decimals)
    probabilities[:, 2] = 1 - probabilities[:, :2].sum(axis=1)
    probabilities = np.abs(probabilities.round(decimals))
    result = ClassificationMetric().compute(predictions=probabilities, references=labels)
    del result["intervals"]
    assert result.pop("confusion_matrix") == confusion_matrix(labels, probabilities.argmax(axis=1)).tolist()
    assert result == pytest.approx(_by_scikit_learn(probabilities, labels), abs=1e-12)


def test_the_mean_of_f1_is_that_of_the_classes_that_are_there_or_predicted():
    labels = np.array([0, 1, 0, 1])
    with pytest.warns(UserWarning, match="AUC of class axion is undefined"):
        right = ClassificationMetric().compute(predictions=np.eye(3)[labels], references=labels)
        wrong = ClassificationMetric().compute(predictions=np.eye(3)[[0, 1, 0, 2]], references=labels)
    assert right["f1_macro"] == 1 and right["intervals"]["f1_macro"] == [1, 1]
    assert wrong["f1_macro"] == f1_score(labels, [0, 1, 0, 2], average="macro")


def test_intervals_are_those_of_computing_each_resample_anew(monkeypatch):
    monkeypatch.setattr("lens_transformers.evaluation.bootstrap.NUM_RESAMPLES", 60)
    probabilities, labels = _predictions()
    metric = ClassificationMetric()
    result = metric.compute(predictions=probabilities, references=labels, confidence_level=0.8, seed=7)
    resampled = []
    for weights in np.concatenate(list(draw_weights(200, seed=7)), axis=1).T:
        drawn = np.arange(200).repeat(weights.astype(int))
        assert len(drawn) == 200
        resampled.append(_by_scikit_learn(probabilities[drawn], labels[drawn]))
    assert result["intervals"].keys() == resampled[0].keys()
    for name, interval in result["intervals"].items():
        expected = np.quantile([one[name] for one in resampled], [0.1, 0.9])
        assert interval == pytest.approx(expected.tolist(), abs=1e-12)


def test_intervals_are_numbers_that_json_can_keep():
    probabilities, labels = _predictions()
    result = ClassificationMetric().compute(predictions=probabilities, references=labels)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert all(low < result[name] < high for name, (low, high) in result["intervals"].items() if name != "ece")


@pytest.mark.parametrize("is_right", [True, False])
def test_images_that_are_all_right_or_all_wrong_leave_room_for_others(is_right):
    labels = np.arange(30) % 3
    probabilities = np.eye(3)[labels if is_right else (labels + 1) % 3]
    scores = ClassificationMetric().compute(predictions=probabilities, references=labels)
    room = 1.959964**2 / (30 + 1.959964**2)
    expected = [1 - room, 1] if is_right else [0, room]
    assert scores["accuracy"] == is_right
    assert scores["intervals"]["accuracy"] == scores["intervals"]["f1_micro"] == pytest.approx(expected, abs=1e-6)


def test_a_class_of_few_images_has_an_interval_of_the_resamples_that_it_is_in():
    probabilities, labels = _predictions()
    labels[labels == 1], labels[0] = 2, 1
    low, high = ClassificationMetric().compute(predictions=probabilities, references=labels)["intervals"]["auc_cdm"]
    assert 0 <= low < high <= 1


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, lambda array: array.tolist()])
def test_batches_of_any_kind_add_up_to_the_whole(kind):
    probabilities, labels = _predictions()
    whole = ClassificationMetric().compute(predictions=probabilities, references=labels)
    metric = ClassificationMetric()
    for first in range(0, 200, 64):
        batch = slice(first, first + 64)
        metric.add_batch(predictions=kind(probabilities[batch]), references=kind(labels[batch]))
    assert metric.compute() == whole


def test_a_metric_starts_anew_after_computing():
    metric = ClassificationMetric()
    metric.compute(predictions=_predictions(seed=1)[0], references=_predictions(seed=1)[1])
    probabilities, labels = _predictions()
    again = metric.compute(predictions=probabilities, references=labels)
    assert again == ClassificationMetric().compute(predictions=probabilities, references=labels)


def test_one_image_is_checked_as_a_batch_of_one_is():
    metric = ClassificationMetric()
    with pytest.raises(ValueError, match="probabilities that sum to one"):
        metric.add(prediction=[3.0, -1.0, 1.0], reference=0)
    rows = (([0.2, 0.3, 0.5], 2), (torch.tensor([0.6, 0.2, 0.2]), np.int64(1)), (np.array([0.6, 0.2, 0.2]), 0))
    for row, label in rows:
        metric.add(prediction=row, reference=label)
    assert metric.compute()["accuracy"] == pytest.approx(2 / 3)


def test_bfloat16_probabilities_are_taken():
    probabilities, labels = _predictions()
    result = ClassificationMetric().compute(
        predictions=torch.as_tensor(probabilities).bfloat16(), references=torch.as_tensor(labels)
    )
    assert result["accuracy"] == pytest.approx((probabilities.argmax(axis=1) == labels).mean(), abs=0.02)


def test_two_classes_have_names_of_their_own():
    probabilities, labels = _predictions(classes=2)
    result = ClassificationMetric(["smooth", "clumpy"]).compute(predictions=probabilities, references=labels)
    assert result["auc_clumpy"] == pytest.approx(roc_auc_score(labels, probabilities[:, 1]), abs=1e-12)
    assert result["auc_macro"] == pytest.approx(result["auc_smooth"], abs=1e-12)


def test_a_class_absent_from_the_references_leaves_its_auc_undefined_and_the_others_given():
    probabilities, labels = _predictions()
    keep = labels != 1
    with pytest.warns(UserWarning, match="AUC of class cdm is undefined: no reference belongs to it"):
        result = ClassificationMetric().compute(predictions=probabilities[keep], references=labels[keep])
    assert np.isnan(result["auc_cdm"]) and np.isnan(result["auc_macro"])
    assert np.isnan(result["intervals"]["auc_cdm"]).all() and np.isfinite(result["intervals"]["auc_axion"]).all()
    assert result["auc_axion"] == pytest.approx(roc_auc_score(labels[keep] == 2, probabilities[keep, 2]), abs=1e-12)
    assert 0 < result["balanced_accuracy"] <= 1
    assert len(result["confusion_matrix"]) == 3 and result["confusion_matrix"][1] == [0, 0, 0]


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([[0.5, 0.5]], [0], r"predictions must be \(batch, 3\) .* got \(1, 2\)"),
        ([[0.2, 0.3, 0.5]], [0, 1], r"got \(1, 3\) and \(2,\)"),
        ([[2.0, -1.0, 0.0]], [0], r"1 of 1 rows do not, first row 0: .* Apply a softmax"),
        ([[0.2, 0.3, 0.5], [1.0, 2.0, 3.0]], [0, 1], "1 of 2 rows do not, first row 1"),
        ([[0.2, 0.3, 0.5], [np.nan, 0.5, 0.5]], [0, 1], "1 of 2 rows have a probability that is NaN .* first row 1"),
        ([[0.2, 0.3, 0.5]], [3], r"class ids 0 to 2, got \[3\]"),
        ([[0.2, 0.3, 0.5]], [-1], "class ids 0 to 2"),
        ([[0.2, 0.3, 0.5]], [0.0], "class ids 0 to 2"),
        ([[0.2, 0.3, 0.5]], None, "references are missing"),
        ([["a", "b", "c"]], [0], "predictions must be real numbers"),
    ],
)
def test_what_is_no_set_of_probabilities_and_ids_is_refused(predictions, references, message):
    with pytest.raises(ValueError, match=message):
        ClassificationMetric().compute(predictions=predictions, references=references)


def test_nothing_added_is_said():
    with pytest.raises(ValueError, match="ClassificationMetric: no images were added"):
        ClassificationMetric().compute()
