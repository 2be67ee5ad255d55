"""Checkpoints against each other on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .evaluated import Evaluation


@dataclass(frozen=True)
class PairedDifference:
    """provisional."""

    difference: float
    low: float
    high: float
    p_value: float
    num_images: int


def paired_difference(a: np.ndarray, b: np.ndarray) -> PairedDifference:
    """Provisional."""
    d = a.astype(float) - b.astype(float)
    half = 1.96 * d.std(ddof=1) / len(d) ** 0.5
    from scipy.stats import norm

    p = 2 * norm.sf(abs(d.mean()) / (half / 1.96)) if half > 0 else 1.0
    return PairedDifference(float(d.mean()), float(d.mean() - half), float(d.mean() + half), float(p), len(d))


@dataclass(frozen=True)
class Comparison:
    """Two checkpoints, and the test of their difference, first minus second."""

    first: Evaluation
    second: Evaluation
    result: PairedDifference


def compare_group(group: Sequence[Evaluation]) -> list[Comparison]:
    """The first checkpoint of a group against each of the others that was evaluated on as many images."""
    first, *others = group
    return [
        Comparison(first, other, paired_difference(first.scores, other.scores))
        for other in others
        if len(other.scores) == len(first.scores)
    ]
