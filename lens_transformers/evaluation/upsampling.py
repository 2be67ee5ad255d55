"""Linear upsampling: the rows beside every super-resolution result.

The official pairs are nearly a linear problem, whose best filter comes within 0.1 dB of published networks.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from .least_squares import solve_normal_equations
from .metric import as_array
from .super_resolution import SuperResolutionMetric


__all__ = [
    "LeastSquaresFilter",
    "bicubic_upsample",
    "bilinear_upsample",
    "nearest_upsample",
    "upsampling_rows",
    "upscale_of",
]

_BATCH = 32


def upsampling_rows(
    train_low: np.ndarray | None,
    train_high: np.ndarray | None,
    test_low: np.ndarray,
    test_high: np.ndarray,
    *,
    size: int = 9,
    split: str = "test",
    data_range: float | None = None,
) -> list[dict]:
    """Scores bicubic, bilinear and nearest upsampling and a least-squares filter that is fitted on training pairs.

    Args:
        train_low: Low-resolution images `(batch, bands, height, width)`; without any there is no filter.
        train_high: Their high-resolution partners `(batch, bands, height * upscale, width * upscale)`.
        test_low: As `train_low`.
        test_high: As `train_high`.
        size: Width of the filter in low-resolution pixels.
        split: Name of the test pairs' split, for the rows.
        data_range: Brightness range of PSNR and SSIM, as of `SuperResolutionMetric`.

    Returns:
        A row for each with the metrics of `SuperResolutionMetric`.

    Raises:
        ValueError: If pairs do not fit each other in number, bands or by one whole ratio, or as
            `SuperResolutionMetric`.
    """
    upscale = upscale_of(test_low, test_high)
    upsamplers: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "Bicubic": lambda low: bicubic_upsample(low, upscale),
        "Bilinear": lambda low: bilinear_upsample(low, upscale),
        "Nearest": lambda low: nearest_upsample(low, upscale),
    }
    if train_low is not None and train_high is not None:
        fitted = LeastSquaresFilter(size=size, upscale=upscale).fit(train_low, train_high)
        upsamplers[f"Least-squares filter {size}×{size}"] = fitted
    rows = []
    for name, upsample in upsamplers.items():
        metric = SuperResolutionMetric(data_range)
        for batch in _batches(len(test_low)):
            metric.add_batch(predictions=upsample(test_low[batch]), references=test_high[batch])
        rows.append({"name": name, "split": split, **metric.compute()})
    return rows


def bicubic_upsample(images: np.ndarray, upscale: int) -> np.ndarray:
    """Upsamples images `(batch, bands, height, width)` bicubically (a = -0.75, corners not aligned)."""
    return _interpolate(images, upscale, "bicubic")


def bilinear_upsample(images: np.ndarray, upscale: int) -> np.ndarray:
    """Upsamples images `(batch, bands, height, width)` bilinearly (corners not aligned)."""
    return _interpolate(images, upscale, "bilinear")


def nearest_upsample(images: np.ndarray, upscale: int) -> np.ndarray:
    """Upsamples images `(batch, bands, height, width)` by repeating every pixel."""
    return as_array("images", images).repeat(upscale, axis=-2).repeat(upscale, axis=-1)


class LeastSquaresFilter:
    """The linear filter that maps low- to high-resolution images with the least squared error on training pairs.

    Every high-resolution pixel is a weighted sum of the `size` × `size` low-resolution pixels around its place. Each
    of the `upscale`² places within a low-resolution pixel has weights of its own; all bands share them. Borders are
    continued by their last pixel.

    Args:
        size: Width of the filter in low-resolution pixels, odd.
        upscale: Ratio of high- to low-resolution size.

    Raises:
        ValueError: If `size` is not odd and positive or `upscale` is less than one.
    """

    def __init__(self, size: int = 9, upscale: int = 2):
        if size < 1 or size % 2 == 0:
            raise ValueError(f"size must be odd and positive, so that a filter has a centre, got {size}.")
        if upscale < 1:
            raise ValueError(f"upscale must be at least 1, got {upscale}.")
        self.size = size
        self.upscale = upscale
        self.weights: torch.Tensor | None = None

    def fit(self, low: np.ndarray, high: np.ndarray) -> "LeastSquaresFilter":
        """Fits the weights by the normal equations, accumulated over batches in float64.

        Args:
            low: Low-resolution images `(batch, bands, height, width)`.
            high: High-resolution images `(batch, bands, height * upscale, width * upscale)`.

        Returns:
            The filter itself.

        Raises:
            ValueError: If the images do not fit each other or `upscale`.
        """
        if upscale_of(low, high) != self.upscale:
            raise ValueError(f"The pairs have a ratio of {upscale_of(low, high)}, the filter {self.upscale}.")
        num_weights = self.size**2
        normal = torch.zeros(num_weights, num_weights, dtype=torch.float64)
        right = torch.zeros(num_weights, self.upscale**2, dtype=torch.float64)
        for batch in _batches(len(low)):
            neighbourhoods = self._neighbourhoods(low[batch]).flatten(0, 1)
            places = F.pixel_unshuffle(_folded(high[batch]), self.upscale).flatten(2).mT.flatten(0, 1)
            normal += neighbourhoods.T @ neighbourhoods
            right += neighbourhoods.T @ places
        self.weights = solve_normal_equations(normal, right)
        return self

    def __call__(self, low: np.ndarray) -> np.ndarray:
        """Upsamples images `(batch, bands, height, width)` by the fitted weights.

        Raises:
            RuntimeError: If the filter has not been fitted.
        """
        if self.weights is None:
            raise RuntimeError("Fit the filter on pairs before applying it.")
        num_images, bands, height, width = low.shape
        high = np.empty(
            (num_images, bands, height * self.upscale, width * self.upscale),
            dtype=np.result_type(low.dtype, np.float32),
        )
        for batch in _batches(num_images):
            places = (self._neighbourhoods(low[batch]) @ self.weights).mT.unflatten(2, (height, width))
            high[batch] = F.pixel_shuffle(places, self.upscale).reshape(high[batch].shape).numpy()
        return high

    def _neighbourhoods(self, low: np.ndarray) -> torch.Tensor:
        """Returns the pixels around every pixel, `(batch * bands, height * width, size²)` in float64."""
        padded = F.pad(_folded(low), (self.size // 2,) * 4, mode="replicate")
        return F.unfold(padded, self.size).mT


def _folded(images: np.ndarray) -> torch.Tensor:
    """Makes images of one band each, `(batch * bands, 1, height, width)` in float64."""
    return torch.from_numpy(np.asarray(images, dtype=np.float64)).flatten(0, 1)[:, None]


def _interpolate(images: np.ndarray, upscale: int, mode: str) -> np.ndarray:
    array = as_array("images", images)
    tensor = torch.from_numpy(array.astype(np.result_type(array.dtype, np.float32), copy=False))
    return F.interpolate(tensor, scale_factor=upscale, mode=mode, align_corners=False).numpy()


def upscale_of(low: np.ndarray, high: np.ndarray) -> int:
    """The ratio of the sizes of pairs of images `(batch, bands, height, width)`.

    Raises:
        ValueError: If they are no pairs of one whole ratio.
    """
    upscale = high.shape[-1] // low.shape[-1]
    num_images, bands, height, width = low.shape
    if upscale < 1 or high.shape != (num_images, bands, height * upscale, width * upscale):
        raise ValueError(
            f"low {low.shape} and high {high.shape} must be (batch, bands, height, width) with the same batch and "
            "bands and one whole ratio of sizes."
        )
    return upscale


def _batches(num_images: int) -> list[slice]:
    return [slice(first, first + _BATCH) for first in range(0, num_images, _BATCH)]
