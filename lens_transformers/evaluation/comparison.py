"""Two networks on the same images: whether one is better, image by image."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, t

from .metric import as_array


__all__ = ["PairedDifference", "paired_difference"]


@dataclass(frozen=True)
class PairedDifference:
    """The mean difference of two networks' scores, first minus second.

    Attributes:
        difference: The difference.
        low: Lower end of its 95% interval.
        high: Upper end.
        p_value: How often a difference so large or larger would come about if the networks did not differ.
        num_images: Number of images.
    """

    difference: float
    low: float
    high: float
    p_value: float
    num_images: int


def paired_difference(first, second) -> PairedDifference:
    """Compares the scores of two networks on the same images.

    The interval is that of the mean of the differences, by Student's t. The test is McNemar's exact one for booleans,
    which counts the images that one network gets right and the other wrong, and the paired t test for other scores.

    Args:
        first: Scores `(images,)` of the first network: booleans, such as right or wrong, or numbers, such as a PSNR.
        second: Scores of the second, of the same images in the same order.

    Raises:
        ValueError: If there is not one finite score of each network an image, or there are fewer than two images.
    """
    first, second = as_array("first", first), as_array("second", second)
    if first.ndim != 1 or first.shape != second.shape or len(first) < 2:
        raise ValueError(
            f"first and second must be scores of the same images, two or more; got shapes {first.shape} and "
            f"{second.shape}."
        )
    differences = first.astype(np.float64) - second.astype(np.float64)
    if not np.isfinite(differences).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(differences))} scores are NaN or infinite.")
    count = len(differences)
    mean, error = differences.mean(), differences.std(ddof=1) / np.sqrt(count)
    half = t.ppf(0.975, count - 1) * error
    if first.dtype == bool and second.dtype == bool:
        disagreeing = np.count_nonzero(differences)
        p_value = binomtest(np.count_nonzero(differences > 0), disagreeing).pvalue if disagreeing else 1.0
    elif error == 0:
        p_value = 1.0 if mean == 0 else 0.0
    else:
        p_value = 2 * t.sf(abs(mean) / error, count - 1)
    return PairedDifference(float(mean), float(mean - half), float(mean + half), float(p_value), count)
