"""Scores in bins of a physical parameter, with intervals: from which mass on is a subhalo seen?"""

from dataclasses import dataclass

import numpy as np

from .metric import as_array


__all__ = ["BinnedScore", "bin_scores", "wilson_interval"]

_Z_95 = 1.959964


@dataclass(frozen=True)
class BinnedScore:
    """Mean scores in bins of a parameter; every array is `(bins,)`, and bins without an image are left out.

    Attributes:
        low: Lower edge of each bin, in the parameter's unit.
        high: Its upper edge.
        center: Median of the parameter's values in it.
        count: Number of images.
        score: Their mean score.
        score_low: Lower end of its 95% interval.
        score_high: Upper end.
    """

    low: np.ndarray
    high: np.ndarray
    center: np.ndarray
    count: np.ndarray
    score: np.ndarray
    score_low: np.ndarray
    score_high: np.ndarray


def bin_scores(values, scores, num_bins: int = 8) -> BinnedScore:
    """Averages scores in bins of a parameter that hold about as many images each.

    The interval of a mean of booleans is Wilson's, that of other scores 1.96 standard errors on both sides.

    Args:
        values: The parameter `(images,)`; images where it is not finite, because their class has no such thing, are
            left out.
        scores: `(images,)`: booleans, such as whether the predicted class is right, or numbers, such as a PSNR.
        num_bins: Number of bins; fewer where many values are equal.

    Raises:
        ValueError: If the two differ in length, a score is not finite, or no value is finite.
    """
    values, scores = as_array("values", values).astype(np.float64), as_array("scores", scores)
    if values.ndim != 1 or values.shape != scores.shape:
        raise ValueError(f"values and scores must be lists of one length, got shapes {values.shape}, {scores.shape}.")
    known = np.isfinite(values)
    if not known.any():
        raise ValueError("values: none of them is finite, so there is nothing to bin.")
    values, scores = values[known], scores[known]
    if not np.isfinite(scores).all():
        raise ValueError(f"scores: {np.count_nonzero(~np.isfinite(scores))} of {len(scores)} are NaN or infinite.")
    edges = np.unique(np.quantile(values, np.linspace(0, 1, num_bins + 1)))
    if len(edges) == 1:
        edges = np.repeat(edges, 2)
    bins = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    filled = np.unique(bins)
    groups = [scores[bins == index] for index in filled]
    count = np.array([len(group) for group in groups])
    score = np.array([group.mean() for group in groups])
    if scores.dtype == bool:
        score_low, score_high = wilson_interval(score * count, count)
    else:
        # One image has no spread: its interval is not known.
        spread = np.array([group.std(ddof=1) if len(group) > 1 else np.nan for group in groups])
        half = _Z_95 * spread / np.sqrt(count)
        score_low, score_high = score - half, score + half
    center = np.array([np.median(values[bins == index]) for index in filled])
    return BinnedScore(edges[filled], edges[filled + 1], center, count, score, score_low, score_high)


def wilson_interval(successes, total) -> tuple[np.ndarray, np.ndarray]:
    """The 95% interval of a fraction (Wilson 1927), elementwise.

    Args:
        successes: How often it happened.
        total: Of how many, above zero.
    """
    total = np.asarray(total, dtype=np.float64)
    fraction = np.asarray(successes) / total
    centre = (fraction + _Z_95**2 / (2 * total)) / (1 + _Z_95**2 / total)
    spread = np.sqrt(fraction * (1 - fraction) / total + _Z_95**2 / (4 * total**2))
    half = _Z_95 / (1 + _Z_95**2 / total) * spread
    # Rounding must not put the fraction outside of its interval.
    return np.clip(centre - half, 0, fraction), np.clip(centre + half, fraction, 1)
