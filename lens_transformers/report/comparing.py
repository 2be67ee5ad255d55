"""Checkpoints against each other on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..evaluation.comparison import PairedDifference, paired_difference
from .evaluated import Evaluation


@dataclass(frozen=True)
class Comparison:
    """Two checkpoints, and the test of their difference, first minus second."""

    first: Evaluation
    second: Evaluation
    result: PairedDifference


def compare_group(group: Sequence[Evaluation]) -> list[Comparison]:
    """The first checkpoint of a group against each of the others that was evaluated on as many images, two or more."""
    first, *others = group
    return [
        Comparison(first, other, paired_difference(first.scores, other.scores))
        for other in others
        if len(other.scores) == len(first.scores) > 1
    ]
