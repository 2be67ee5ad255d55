import numpy as np
import pytest

from lens_transformers.visualization import plot_confusion, plot_roc


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
        (lambda: plot_roc(LABELS, PROBABILITIES * 2, NAMES), "6 rows do not hold probabilities .* row 0: .*softmax"),
        (lambda: plot_roc(LABELS, PROBABILITIES * np.nan, NAMES), "6 rows do not hold probabilities"),
        (lambda: plot_confusion(LABELS, LABELS[:2], NAMES), "labels holds 6 ids and predictions 2"),
        (lambda: plot_confusion([0, 3], [0, 1], NAMES), "labels: entry 1 is 3; class ids of .* are 0 to 2"),
        (lambda: plot_confusion([0.5], [0], NAMES), "labels has shape .* and type float64"),
        (lambda: plot_confusion([], [], NAMES), "it must be a list of integer class ids"),
    ],
)
def test_wrong_answers_are_refused_in_words(plot, message):
    with pytest.raises(ValueError, match=message):
        plot()
