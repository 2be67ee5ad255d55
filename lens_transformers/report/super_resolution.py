"""A super-resolution network, evaluated: metrics beside linear upsampling, panels, residuals by scale, worst pairs."""

from typing import Any

import numpy as np
from datasets import Dataset

from ..evaluation import SuperResolutionMetric, bicubic_upsample, upsampling_rows
from ..pipelines import LensSuperResolution
from ..visualization import plot_residual_power, plot_super_resolution
from .evaluated import NUM_WORST, Evaluation, parameter_figures, worst_table


_NUM_FILTER_PAIRS = 600
_NUM_SHOWN = 3
_NUM_WORST_SHOWN = 5


def evaluate_super_resolution(
    evaluation: Evaluation, model: Any, image_processor: Any, test: Dataset, train: Dataset | None
) -> None:
    """Fills in an evaluation: its row and, where there are none, those of its baselines; figures and tables.

    Args:
        evaluation: What is filled in.
        model: The network.
        image_processor: Its image processor.
        test: Pairs of `image` and `target`.
        train: The training split of the same source, if it has one.
    """
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
    worst = np.argsort(evaluation.scores, kind="stable")[:NUM_WORST]
    figures = evaluation.figures
    for name, rows in (
        ("super_resolution", np.arange(min(_NUM_SHOWN, len(low)))),
        ("worst", worst[:_NUM_WORST_SHOWN]),
    ):
        figures[name] = plot_super_resolution(
            low[rows], bicubic[rows], sharp[rows], target[rows], pixel_scale=evaluation.pixel_scale
        )
    figures["residual_power"] = plot_residual_power(
        {"network": sharp, "bicubic": bicubic}, target, pixel_scale=evaluation.pixel_scale
    )
    figures |= parameter_figures(test, evaluation.scores, evaluation.score_name)
    evaluation.tables.append(worst_table(test, worst, {"PSNR [dB]": evaluation.scores[worst].tolist()}))
