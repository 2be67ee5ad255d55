"""How a run draws its test images: its results record it, so that a report evaluates the same ones."""

import numpy as np


def draw_rows(num_rows: int, count: int, seed: int) -> np.ndarray:
    """Draws rows of a dataset, the same for one seed, and sorts them.

    Args:
        num_rows: Length of the dataset.
        count: How many to draw; all of them where there are fewer.
        seed: Draws others.
    """
    # Not the first: files come sorted by class.
    return np.sort(np.random.default_rng(seed).permutation(num_rows)[:count])
