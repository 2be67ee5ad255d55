import matplotlib.pyplot as plt
import pytest

from lens_transformers.visualization import plot_training_curves


LOG = [
    {"loss": 1.0, "learning_rate": 1e-3, "step": 10},
    {"loss": 0.5, "learning_rate": 5e-4, "step": 20},
    {"eval_loss": 0.6, "eval_accuracy": 0.7, "step": 20},
    {"train_runtime": 12.0, "train_loss": 0.7, "step": 20},
]


def labels(figure):
    return [ax.get_ylabel() for ax in figure.axes]


def test_losses_and_the_learning_rate_are_drawn_by_step():
    figure = plot_training_curves(LOG)
    assert labels(figure) == ["loss", "learning rate"]
    training, evaluation = figure.axes[0].get_lines()
    assert (list(training.get_xdata()), list(training.get_ydata())) == ([10, 20], [1.0, 0.5])
    assert (list(evaluation.get_ydata()), evaluation.get_marker()) == ([0.6], "o")


def test_an_evaluation_metric_gets_its_own_panel():
    figure = plot_training_curves(LOG, metric="accuracy")
    assert labels(figure) == ["loss", "evaluation accuracy", "learning rate"]
    assert list(figure.axes[1].get_lines()[0].get_ydata()) == [0.7]


@pytest.mark.parametrize(("last", "scale"), [(0.5, "linear"), (1e-3, "log")])
def test_losses_over_decades_are_drawn_logarithmically(last, scale):
    figure = plot_training_curves([{"loss": 1.0, "step": 1}, {"loss": last, "step": 2}])
    assert figure.axes[0].get_yscale() == scale


def test_a_log_without_losses_is_refused():
    with pytest.raises(ValueError, match="log_history holds neither `loss` nor `eval_loss`"):
        plot_training_curves([{"train_runtime": 12.0, "step": 20}])


def test_a_metric_that_was_not_logged_is_refused_with_those_that_were():
    with pytest.raises(ValueError, match=r"holds no eval_psnr; logged evaluation metrics are \['accuracy', 'loss'\]"):
        plot_training_curves(LOG, metric="psnr")


def test_figures_leave_pyplot_alone():
    plot_training_curves(LOG)
    assert plt.get_fignums() == []
