import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from lens_transformers.visualization import plot_calibration, plot_confusion, plot_roc


NAMES = ["no_sub", "cdm", "axion"]
LABELS = np.array([0, 0, 1, 1, 2, 2])
PROBABILITIES = np.array([[0.8, 0.1, 0.1], [0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0, 0, 1], [0, 0, 1]])


def legend(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_each_class_has_a_curve_and_its_area():
    figure = plot_roc(LABELS, PROBABILITIES, NAMES)
    # Of no_sub's eight pairs with the other classes one is in the wrong order, of cdm's one is a tie.
    assert legend(figure) == ["chance (0.500)", "no_sub (0.875)", "cdm (0.938)", "axion (1.000)"]
    ax = figure.axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("false positive rate", "true positive rate")


def test_a_class_without_images_has_no_curve_and_the_others_have():
    figure = plot_roc(LABELS[:4], PROBABILITIES[:4], NAMES)
    assert legend(figure)[1:] == ["no_sub (0.750)", "cdm (0.875)", "axion (undefined: 0 of 4 images)"]


def test_confusion_counts_true_by_predicted_class():
    figure = plot_confusion(LABELS, [0, 1, 1, 1, 2, 0], NAMES)
    ax = figure.axes[0]
    assert [text.get_text().split("\n")[0] for text in ax.texts] == ["1", "1", "0", "0", "2", "0", "1", "0", "1"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == NAMES
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")
    assert ax.get_title(loc="left") == "accuracy 0.667 of 6 images"


def test_a_class_that_never_occurs_is_an_empty_row():
    figure = plot_confusion([0, 0], [0, 1], NAMES)
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), [[0.5, 0.5, 0], [0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize(
    ("plot", "message"),
    [
        (
            lambda: plot_roc(LABELS[:2], PROBABILITIES, NAMES),
            r"probabilities has shape \(6, 3\); 2 labels",
        ),
        (
            lambda: plot_roc(LABELS, PROBABILITIES * 2, NAMES),
            "probabilities must be probabilities that sum to one; 6 of 6 rows do not, first row 0: .*softmax",
        ),
        (
            lambda: plot_roc(LABELS, PROBABILITIES * np.nan, NAMES),
            "probabilities: 6 of 6 rows have a probability that is NaN",
        ),
        (lambda: plot_calibration(LABELS, PROBABILITIES * 2, NAMES), "that sum to one; 6 of 6 rows do not"),
        (lambda: plot_confusion(LABELS, LABELS[:2], NAMES), "labels holds 6 ids and predictions 2"),
        (lambda: plot_confusion([0, 3], [0, 1], NAMES), "labels: entry 1 is 3; class ids of .* are 0 to 2"),
        (lambda: plot_confusion([0.5], [0], NAMES), "labels has shape .* and type float64"),
        (lambda: plot_confusion([], [], NAMES), "it must be a list of integer class ids"),
    ],
)
def test_wrong_answers_are_refused_in_words(plot, message):
    with pytest.raises(ValueError, match=message):
        plot()


def test_training_curves_are_drawn_beside_those_of_the_test():
    perfect = np.eye(3)[LABELS]
    figure = plot_roc(LABELS, PROBABILITIES, NAMES, train=(LABELS, perfect))
    assert legend(figure)[1] == "no_sub (0.875, training 1.000)"
    dashed = [line for line in figure.axes[0].get_lines() if line.get_linestyle() == "--"]
    assert len(dashed) == 1 + 3  # chance, and the training curve of each class


def test_calibration_shows_accuracy_by_confidence_with_intervals():
    confidence = np.repeat([0.9, 0.6], 10)
    probabilities = np.stack([confidence, 1 - confidence, np.zeros(20)], axis=1)
    labels = np.array([0] * 9 + [1] + [0] * 6 + [1] * 4)  # right as often as it says
    ax = plot_calibration(labels, probabilities, NAMES).axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("probability of the predicted class", "fraction that is right")
    points = ax.containers[0].lines[0]
    np.testing.assert_allclose(points.get_xydata(), [[0.6, 0.6], [0.9, 0.9]])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["(ECE 0.000)"]
    (bars,) = ax.containers[0].lines[2]
    low, high = bars.get_segments()[1][:, 1]
    assert (low, high) == pytest.approx((0.596, 0.982), abs=1e-3)  # Wilson's, of nine in ten


def test_calibration_before_and_after_share_an_axes():
    sure = np.eye(3)[LABELS] * 0.7 + 0.1
    ax = plot_calibration(LABELS, {"raw": PROBABILITIES, "scaled": sure}, NAMES).axes[0]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["raw (ECE 0.250)", "scaled (ECE 0.200)"]


def test_probabilities_in_half_precision_are_drawn():
    probabilities = torch.randn(30, 3, generator=torch.Generator().manual_seed(0)).softmax(-1).to(torch.bfloat16)
    assert len(plot_roc(np.arange(30) % 3, probabilities, ("no_sub", "cdm", "axion")).axes) == 1


def test_figures_are_drawn_on_the_axes_that_is_given():
    figure = Figure()
    left, middle, right = figure.subplots(1, 3)
    assert plot_roc(LABELS, PROBABILITIES, NAMES, ax=left) is figure
    assert plot_confusion(LABELS, LABELS, NAMES, ax=middle) is figure
    assert plot_calibration(LABELS, PROBABILITIES, NAMES, ax=right) is figure
    assert [ax.get_xlabel() for ax in (left, middle)] == ["false positive rate", "predicted class"]
