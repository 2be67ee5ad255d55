"""Noise in the targets of super-resolution: what a perfect network would score, for no network can foresee it."""

import numpy as np
import torch
from torch.nn import functional as F

from .metric import as_array
from .super_resolution import SuperResolutionMetric
from .upsampling import LeastSquaresFilter


__all__ = ["noise_floor_rows"]


def noise_floor_rows(
    noise_free: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    *,
    size: int = 5,
    split: str = "test",
    data_range: float | None = None,
) -> list[dict]:
    """Scores the truth itself on pairs whose input was shrunk bicubically from a noisy target, as the official ones.

    Such an input shows a part of the target's noise, which a network may use. So the ceiling is the noise-free image
    with what the best linear filter makes of that part; the filter is fitted to the very images that it is scored on.

    Args:
        noise_free: The targets as they would be without noise, `(batch, bands, height, width)`.
        low: The inputs, `(batch, bands, height / upscale, width / upscale)`.
        high: The targets.
        size: Width of that filter in low-resolution pixels.
        split: Name of the split, for the rows.
        data_range: As of `SuperResolutionMetric`.

    Returns:
        One row for the noise-free image and one for the ceiling, with the metrics of `SuperResolutionMetric`, and a
        `kind` that tells them from baselines.

    Raises:
        ValueError: If the images do not fit each other, or as `SuperResolutionMetric`.
    """
    noise_free, low, high = as_array("noise_free", noise_free), as_array("low", low), as_array("high", high)
    upscale = high.shape[-1] // low.shape[-1]
    shrunk = F.interpolate(torch.from_numpy(noise_free), scale_factor=1 / upscale, mode="bicubic").numpy()
    seen = low - shrunk
    unseen = high - noise_free
    ceiling = noise_free + LeastSquaresFilter(size, upscale).fit(seen, unseen)(seen)
    rows = []
    for name, images in {"Noise-free image": noise_free, "Noise-free image and the input's noise": ceiling}.items():
        metric = SuperResolutionMetric(data_range)
        metric.add_batch(predictions=images, references=high)
        rows.append({"name": name, "split": split, "kind": "ceiling", **metric.compute()})
    return rows
