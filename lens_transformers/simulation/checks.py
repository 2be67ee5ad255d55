"""Checks of configured values, whose messages name the field."""

from typing import Any

import numpy as np

from .distributions import support


__all__ = ["NOT_NEGATIVE", "POSITIVE", "check_choice", "check_supports"]

POSITIVE = (np.finfo(float).tiny, np.inf)
NOT_NEGATIVE = (0.0, np.inf)


def check_supports(section: str, config: Any, **limits: tuple[float, float]) -> None:
    """Checks that every value that the named fields can take lies within its limits; `None` always does.

    Raises:
        ValueError: If one can lie outside.
    """
    for name, (low, high) in limits.items():
        value = getattr(config, name)
        if value is None:
            continue
        smallest, largest = support(value)
        if not (low <= smallest and largest <= high and np.isfinite(smallest)):
            raise ValueError(f"{section}.{name} must lie within [{low:.4g}, {high:.4g}], got {value}.")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Checks that a value is one of the choices.

    Raises:
        ValueError: If it is not.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {choices}, got {value!r}.")
