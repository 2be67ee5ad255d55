"""Checks of configured values, whose messages name the field."""

import operator
from typing import Any

import numpy as np

from .distributions import PoissonCount, Position, Spread, support


__all__ = [
    "NOT_NEGATIVE",
    "POSITIVE",
    "check_choice",
    "check_position",
    "check_supports",
    "check_whole",
    "whole_number",
]

POSITIVE = (np.finfo(float).tiny, np.inf)
NOT_NEGATIVE = (0.0, np.inf)


def check_supports(section: str, config: Any, **limits: tuple[float, float]) -> None:
    """Checks that every value that the named fields can take lies within its limits; `None` always does.

    Raises:
        ValueError: If one can lie outside, or is neither a number nor a distribution of numbers.
    """
    for name, (low, high) in limits.items():
        value = getattr(config, name)
        if value is None:
            continue
        if not isinstance(value, int | float | PoissonCount | Spread):
            raise ValueError(f"{section}.{name} must be a plain number or a distribution of numbers, got {value!r}.")
        smallest, largest = support(value)
        if not (low <= smallest and largest <= high and np.isfinite(smallest)):
            raise ValueError(f"{section}.{name} must lie within [{low:.4g}, {high:.4g}], got {value}.")


def check_whole(section: str, config: Any, **lowest: int) -> None:
    """Checks that the named fields hold whole numbers of at least so much; `None` always does.

    NumPy's become Python's, which YAML can write.

    Raises:
        ValueError: If one does not.
    """
    for name, low in lowest.items():
        value = getattr(config, name)
        if value is not None:
            object.__setattr__(config, name, whole_number(f"{section}.{name}", value, low))


def whole_number(name: str, value: Any, low: int, end: int | None = None) -> int:
    """Gives a whole number of Python or NumPy as Python's.

    Raises:
        ValueError: If it is none, or not from `low` to below `end`.
    """
    try:
        number = None if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < low or (end is not None and number >= end):
        upper = "" if end is None else f" and below {end}"
        raise ValueError(f"{name} must be a whole number of at least {low}{upper}, got {value!r}.")
    return number


def check_position(section: str, config: Any) -> None:
    """Checks that the field `position` is a distribution of positions.

    Raises:
        ValueError: If it is not.
    """
    if not isinstance(config.position, Position):
        raise ValueError(
            f"{section}.position must be a Square, Disc, Radial or Gaussian2D (Square(0.0) is the centre), "
            f"got {config.position!r}."
        )


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Checks that a value is one of the choices.

    Raises:
        ValueError: If it is not.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {choices}, got {value!r}.")
