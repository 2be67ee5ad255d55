"""A super-resolution network, evaluated: metrics beside linear upsampling, panels, residuals by scale, worst pairs."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..evaluation import SuperResolutionMetric, bicubic_upsample, upsampling_rows
from ..pipelines import LensSuperResolution
from ..visualization import plot_residual_power, plot_super_resolution
from .evaluated import NUM_WORST, Evaluation, Images, parameter_figures, worst_table


_NUM_FILTER_PAIRS = 600
_NUM_SHOWN = 3
_NUM_WORST_SHOWN = 5


def evaluate_super_resolution(
    evaluation: Evaluation, model: Any, image_processor: Any, images: Images, *, in_full: bool
) -> None:
    """Fills in an evaluation: its row and, where there are none, those of its baselines; figures and tables.

    Args:
        evaluation: What is filled in.
        model: The network.
        image_processor: Its image processor.
        images: Pairs of `image` and `target`.
        in_full: Whether to look at the worst pairs and at parameters as well.
    """
    test, train = images.test, images.train
    low, target = test["image"][:], test["target"][:]
    sharp = LensSuperResolution(model, image_processor)(low)
    upscale = target.shape[-1] // low.shape[-1]
    split = evaluation.results["data"]["split"]
    metric = SuperResolutionMetric().compute(predictions=sharp, references=target)
    own = {"name": evaluation.results["model"]["name"], "split": split, **metric}
    baselines = evaluation.results["rows"][1:]
    if not baselines and train is not None:
        pairs = train.select(range(min(_NUM_FILTER_PAIRS, len(train))))
        baselines = upsampling_rows(pairs["image"][:], pairs["target"][:], low, target, split=split)
    evaluation.results["rows"] = [own, *baselines]

    errors = ((sharp - target) ** 2).mean(axis=(1, 2, 3), dtype=np.float64)
    # In units of a brightness range of one, as SuperResolutionMetric has it by default.
    evaluation.scores, evaluation.score_name = -10 * np.log10(np.maximum(errors, 1e-20)), "PSNR [dB]"
    bicubic = bicubic_upsample(low, upscale)

    def panels(rows: np.ndarray) -> Figure:
        scale = evaluation.pixel_scale
        return plot_super_resolution(low[rows], bicubic[rows], sharp[rows], target[rows], pixel_scale=scale)

    figures = evaluation.figures
    figures["super_resolution"] = panels(np.arange(min(_NUM_SHOWN, len(low))))
    figures["residual_power"] = plot_residual_power(
        {"network": sharp, "bicubic": bicubic}, target, pixel_scale=evaluation.pixel_scale
    )
    if not in_full:
        return
    figures |= parameter_figures(test, evaluation.scores, evaluation.score_name)
    worst = np.argsort(evaluation.scores, kind="stable")[:NUM_WORST]
    figures["worst"] = panels(worst[:_NUM_WORST_SHOWN])
    evaluation.tables.append(worst_table(test, worst, {"PSNR [dB]": evaluation.scores[worst].tolist()}))
