"""Figures of scores against what made the images: the mass of a subhalo, the length of a vortex, signal to noise."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, LogLocator

from ..evaluation.binning import bin_scores
from .style import MUTED, PALETTE, axes_for, figure_of, frame


# What a parameter's name ends in → its unit on an axis.
_UNITS = {"arcsec": "arcsec", "msun": "M☉", "rad": "rad", "ev": "eV", "s": "s", "mag": "mag"}
# A parameter that spans more than this factor is drawn logarithmically.
_LOG_FROM = 20


def plot_score_against_parameter(
    values,
    scores,
    parameter: str,
    score_label: str = "accuracy",
    *,
    num_bins: int = 8,
    chance: float | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Mean score of images in bins of a physical parameter, with 95% intervals.

    Bins hold about as many images each; a horizontal bar is as wide as its bin, and the vertical one is Wilson's
    interval for booleans, 1.96 standard errors for other scores.

    Args:
        values: The parameter (images,); images where it is not finite are left out.
        scores: Booleans (images,), such as whether the predicted class is right, or numbers, such as a PSNR in dB.
        parameter: Name of the parameter as the data set has it, with its unit: `"subhalo_mass_msun"`.
        score_label: What the scores are.
        num_bins: Number of bins.
        chance: Score of guessing, drawn as a dashed line.
        ax: Where to draw; a new figure by default.

    Raises:
        ValueError: If the two differ in length, a score is not finite, or no value is finite.
    """
    bins = bin_scores(values, scores, num_bins)
    ax = axes_for(ax, 5.2, 3.8)
    ax.errorbar(
        bins.center,
        bins.score,
        xerr=(bins.center - bins.low, bins.high - bins.center),
        yerr=(bins.score - bins.score_low, bins.score_high - bins.score),
        color=PALETTE[0],
        marker="o",
        markersize=5,
        linestyle="none",
        elinewidth=1.4,
    )
    if chance is not None:
        ax.axhline(chance, color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
        ax.annotate("chance", (1, chance), xycoords=("axes fraction", "data"), ha="right", va="bottom", color=MUTED)
    frame(ax, parameter_label(parameter), score_label)
    spans_decades = bins.high.max() > _LOG_FROM * bins.low.min()
    if bins.low.min() > 0 and (spans_decades or parameter.endswith("_msun")):
        ax.set_xscale("log")
        # Within two decades 2 and 5 are labelled as well; all others would overlap.
        ax.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        ax.xaxis.set_minor_formatter(LogFormatterSciNotation(minor_thresholds=(2, 2)))
    if np.asarray(scores).dtype == bool:
        ax.set_ylim(-0.02, 1.02)
    ax.set_title(
        f"{bins.count.sum():,} images in bins of {bins.count.min():,} to {bins.count.max():,}", fontsize=10, loc="left"
    )
    return figure_of(ax)


def parameter_label(name: str) -> str:
    """A parameter's name in words, with its unit: `einstein_radius_arcsec` → `einstein radius [arcsec]`."""
    if name == "subhalo_mass_msun":
        return "total mass of subhalos [M☉]"  # as the simulation records it: of all of an image
    if name.startswith("num_"):
        return f"number of {name.removeprefix('num_').replace('_', ' ')}"
    words, _, unit = name.rpartition("_")
    if unit not in _UNITS or not words:
        return name.replace("_", " ")
    if words.endswith("_log10"):
        return f"log10 {words.removesuffix('_log10').replace('_', ' ')} [{_UNITS[unit]}]"
    return f"{words.replace('_', ' ')} [{_UNITS[unit]}]"
