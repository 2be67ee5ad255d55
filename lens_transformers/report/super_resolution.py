"""A super-resolution network, evaluated: metrics beside linear upsampling, panels, residuals by scale, worst pairs."""

import logging
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..data.simulated import Simulated
from ..evaluation import (
    SuperResolutionMetric,
    bicubic_upsample,
    noise_floor_rows,
    radial_power_spectrum,
    upsampling_rows,
)
from ..pipelines import LensSuperResolution
from ..simulation import simulate
from ..visualization import plot_residual_power, plot_super_resolution
from .evaluated import NUM_WORST, Evaluation, Images, parameter_figures, worst_table
from .loading import sample


logger = logging.getLogger(__name__)

_NUM_FILTER_PAIRS = 600
_NUM_SHOWN = 3
_NUM_WORST_SHOWN = 5


def evaluate_super_resolution(
    evaluation: Evaluation, model: Any, image_processor: Any, images: Images, *, in_full: bool
) -> None:
    """Fills in an evaluation: its row and, where there are none, those of its baselines; figures and tables.

    Args:
        evaluation: What is filled in; its `data_range`, where it says one, is that of `SuperResolutionMetric`.
        model: The network.
        image_processor: Its image processor.
        images: Pairs of `image` and `target`.
        in_full: Whether to look at the worst pairs and at parameters as well.

    Raises:
        ValueError: As `SuperResolutionMetric`.
    """
    test, train = images.test, images.train
    low, target = test["image"][:], test["target"][:]
    sharp = LensSuperResolution(model, image_processor)(low)
    upscale = target.shape[-1] // low.shape[-1]
    split, data_range = evaluation.split, evaluation.results["data"].get("data_range")
    metric = SuperResolutionMetric(data_range).compute(predictions=sharp, references=target)
    own = {"name": evaluation.results["model"]["name"], "split": split, **metric}
    baselines = evaluation.results["rows"][1:]
    if not baselines:
        pairs = None if train is None else sample(train, _NUM_FILTER_PAIRS)
        train_low, train_high = (None, None) if pairs is None else (pairs["image"][:], pairs["target"][:])
        baselines = upsampling_rows(train_low, train_high, low, target, split=split, data_range=data_range)
    noise_free = _noise_free(images.simulated, target)
    if noise_free is not None:
        baselines += noise_floor_rows(noise_free, low, target, split=split, data_range=data_range)
    evaluation.results["rows"] = [own, *baselines]
    # What the metric has by default.
    peak = evaluation.results["data"]["data_range"] = data_range or 1.0

    errors = ((sharp - target) ** 2).mean(axis=(1, 2, 3), dtype=np.float64)
    evaluation.scores, evaluation.score_name = 10 * np.log10(peak**2 / np.maximum(errors, 1e-20)), "PSNR [dB]"
    bicubic = bicubic_upsample(low, upscale)

    def panels(rows: np.ndarray) -> Figure:
        scale = evaluation.pixel_scale
        return plot_super_resolution(low[rows], bicubic[rows], sharp[rows], target[rows], pixel_scale=scale)

    figures = evaluation.figures
    figures["super_resolution"] = panels(np.arange(min(_NUM_SHOWN, len(low))))
    upsampled = {"network": sharp, "bicubic": bicubic}
    figures["residual_power"] = plot_residual_power(upsampled, target, pixel_scale=evaluation.pixel_scale)
    frequency, power = radial_power_spectrum(target)
    evaluation.results["residual_power"] = {
        "cycles_per_pixel": frequency.tolist(),
        "target": power.tolist(),
        **{name: radial_power_spectrum(images - target)[1].tolist() for name, images in upsampled.items()},
    }
    if not in_full:
        return
    figures |= parameter_figures(test, evaluation.scores, evaluation.score_name)
    worst = np.argsort(evaluation.scores, kind="stable")[:NUM_WORST]
    figures["worst"] = panels(worst[:_NUM_WORST_SHOWN])
    evaluation.tables.append(worst_table(test, worst, {"PSNR [dB]": evaluation.scores[worst].tolist()}))


def _noise_free(simulated: Simulated | None, target: np.ndarray) -> np.ndarray | None:
    """The targets as they would be without noise, if they have any and their simulation makes them again."""
    if simulated is None or simulated.first_sample is None:
        return None
    pair = simulated.config.super_resolution
    if pair is None or pair.method != "bicubic":
        return None  # "telescope" makes targets free of noise
    again = simulate(simulated.config, len(target), simulated.seed, start=simulated.first_sample)
    noise_free = again.noise_free.numpy()
    # As far as rounding goes; another version may draw other noise.
    if again.target is None or not np.allclose(again.target, target, rtol=0, atol=1e-4 * np.ptp(target)):
        logger.warning("The simulation does not make these targets again: there is no row of the noise-free image.")
        return None
    return None if np.array_equal(noise_free, again.target) else noise_free
