"""How a run reads its images and draws some to test on: results record it, so that a report has the same ones."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from datasets import Dataset

from ..data import FitsLayout


# Under `data` in the results, as the scripts' arguments of these names.
READING = ("on_error", "nan_fill", "fits_layout")


def reading_arguments(data: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `load_lensing_dataset` that read and divide images as the `data` of results say.

    Raises:
        ValueError: If `fits_layout` is none.
    """
    names = ("on_error", "nan_fill", "split_fractions", "split_seed")
    arguments = {name: data[name] for name in names if data.get(name) is not None}
    return {**arguments, "layout": make_fits_layout(data.get("fits_layout"))}


def make_fits_layout(settings: Any) -> FitsLayout | None:
    """The layout with these settings, a mapping from JSON; `None` without.

    Raises:
        ValueError: If a setting is unknown or impossible.
    """
    if settings is None:
        return None
    layout: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()
    }
    try:
        return FitsLayout(**layout)
    except (TypeError, ValueError) as error:
        raise ValueError(f"--fits_layout: {error}") from error


def draw_rows(num_rows: int, count: int, seed: int) -> np.ndarray:
    """Draws rows of a dataset, the same for one seed, and sorts them.

    Args:
        num_rows: Length of the dataset.
        count: How many to draw; all of them where there are fewer.
        seed: Draws others.
    """
    # Not the first: files come sorted by class.
    return np.sort(np.random.default_rng(seed).permutation(num_rows)[:count])


def sample(dataset: Dataset, count: int) -> Dataset:
    """At most so many rows, drawn as `draw_rows` does where there are more."""
    return dataset if len(dataset) <= count else dataset.select(draw_rows(len(dataset), count, seed=0))
