"""The figure of a training run: losses, a metric, the learning rate."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from .style import PALETTE, figure_of, frame, new_figure


def plot_training_curves(
    log_history: Sequence[Mapping[str, float]], metric: str | None = None, figure: FigureBase | None = None
) -> Figure:
    """Training and evaluation loss by step, with the learning rate and, if asked for, one evaluation metric.

    Args:
        log_history: `trainer.state.log_history`, or the same list out of `trainer_state.json`.
        metric: Name of an evaluation metric to draw as well, `"accuracy"` for the logged `eval_accuracy`.
        figure: What to fill, a `Figure` of `layout="constrained"` or a `SubFigure` of one; a new figure by default.

    Raises:
        ValueError: If nothing was logged, or `metric` was not.
    """
    train_loss, eval_loss = _series(log_history, "loss"), _series(log_history, "eval_loss")
    if not train_loss and not eval_loss:
        raise ValueError("log_history holds neither `loss` nor `eval_loss`; pass trainer.state.log_history of a run.")
    values = _series(log_history, f"eval_{metric}")
    if metric is not None and not values:
        keys = {key for entry in log_history for key in entry if key.startswith("eval_")}
        logged = [key.removeprefix("eval_") for key in sorted(keys)]
        raise ValueError(f"log_history holds no eval_{metric}; logged evaluation metrics are {logged}.")
    rate = _series(log_history, "learning_rate")

    num_panels = 1 + bool(values) + bool(rate)
    figure = new_figure(4.2 * num_panels, 3.2) if figure is None else figure
    loss_ax, *other = figure.subplots(1, num_panels, sharex=True, squeeze=False)[0]
    _draw(loss_ax, train_loss, PALETTE[0], label="training")
    _draw(loss_ax, eval_loss, PALETTE[1], label="evaluation", marked=True)
    frame(loss_ax, "step", "loss")
    losses = [value for series in (train_loss, eval_loss) for _, value in series]
    if min(losses) > 0 and max(losses) > 20 * min(losses):
        loss_ax.set_yscale("log")
    loss_ax.legend(frameon=False)
    if values:
        ax = other.pop(0)
        _draw(ax, values, PALETTE[1], marked=True)
        frame(ax, "step", f"evaluation {metric}")
    if rate:
        ax = other.pop(0)
        _draw(ax, rate, PALETTE[2])
        frame(ax, "step", "learning rate")
        ax.yaxis.set_major_formatter("{x:g}")
        ax.set_ylim(bottom=0)
    return figure_of(loss_ax)


def _series(log_history: Sequence[Mapping[str, float]], key: str) -> list[tuple[float, float]]:
    """(step, value) of every log entry that has `key`."""
    return [(entry["step"], entry[key]) for entry in log_history if key in entry]


def _draw(ax: Axes, series: list[tuple[float, float]], colour: str, label: str = "", marked: bool = False) -> None:
    if not series:
        return
    steps, values = zip(*series, strict=True)
    # A single evaluation is a point, which a line alone would not show.
    marker = "o" if marked or len(series) == 1 else ""
    ax.plot(steps, values, color=colour, linewidth=1.8, marker=marker, markersize=4, label=label)
