import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from lens_transformers.evaluation.calibration import expected_calibration_error, fit_temperature


RANDOM = np.random.default_rng(0)


def softmax(logits):
    return torch.from_numpy(logits).softmax(1).numpy()


def drawn_labels(probabilities):
    return (probabilities.cumsum(axis=1) < RANDOM.random((len(probabilities), 1))).sum(axis=1)


def test_the_temperature_is_that_of_a_logistic_regression_of_two_classes():
    logits = RANDOM.normal(scale=2.0, size=(500, 2))
    labels = drawn_labels(softmax(logits / 3.0))
    difference = logits[:, 1:] - logits[:, :1]
    oracle = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-8).fit(difference, labels)
    assert fit_temperature(logits, labels) == pytest.approx(1 / oracle.coef_.item(), rel=1e-4)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 4.0])
def test_the_temperature_of_overconfident_and_timid_logits_is_found(temperature):
    honest = RANDOM.normal(size=(4000, 3))
    labels = drawn_labels(softmax(honest))
    fitted = fit_temperature(temperature * honest, labels)
    assert fitted == pytest.approx(temperature, rel=0.1)
    assert fit_temperature(torch.from_numpy(temperature * honest).bfloat16(), labels) == pytest.approx(
        fitted, rel=0.01
    )


def test_a_network_that_is_always_right_gets_a_finite_temperature():
    labels = np.arange(30) % 3
    assert fit_temperature(np.eye(3)[labels], labels) == pytest.approx(0.01, rel=1e-3)
    assert fit_temperature(-np.eye(3)[labels], labels) == pytest.approx(100.0, rel=1e-3)


@pytest.mark.parametrize("num_bins", [1, 10, 15])
def test_the_calibration_error_is_that_of_scikit_learns_bins(num_bins):
    # A step of 0.05 puts confidences on the edges of the bins, where the two must agree as well.
    positive = np.concatenate([RANDOM.random(500), np.arange(11, 21) / 20])
    confidence = np.maximum(positive, 1 - positive)
    labels = (RANDOM.random(len(positive)) < positive**2).astype(int)
    is_right = (positive > 0.5) == labels
    accuracies, confidences = calibration_curve(is_right, confidence, n_bins=num_bins)
    counts = np.histogram(np.searchsorted(np.linspace(0, 1, num_bins + 1)[1:-1], confidence), np.arange(num_bins + 1))
    expected = np.average(np.abs(accuracies - confidences), weights=counts[0][counts[0] > 0])
    probabilities = np.stack([1 - positive, positive], axis=1)
    assert expected_calibration_error(probabilities, labels, num_bins) == pytest.approx(expected, rel=1e-9)


def test_the_extremes_of_the_calibration_error():
    labels = np.arange(30) % 3
    assert expected_calibration_error(np.eye(3)[labels], labels) == 0.0
    assert expected_calibration_error(np.eye(3)[(labels + 1) % 3], labels) == 1.0


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (np.zeros((5, 3)), [0, 1], r"labels has the shape \(2,\) for 5 images"),
        (np.zeros((2, 3)), [0, 3], "class ids from 0 to 2, got"),
        (np.zeros((2, 3)), [0.5, 1.0], "class ids from 0 to 2, got"),
        (np.full((2, 3), np.nan), [0, 1], "must be finite numbers"),
        (np.zeros(3), [0, 1, 2], "must be finite numbers"),
    ],
)
def test_what_does_not_fit_is_refused(scores, labels, message):
    for function in (fit_temperature, expected_calibration_error):
        with pytest.raises(ValueError, match=message):
            function(scores, labels)
