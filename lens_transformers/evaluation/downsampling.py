"""From sharp images back to blurred ones: whether a super-resolved image agrees with the one it was made of."""

import numpy as np
import torch
from torch.nn import functional as F

from .least_squares import solve_normal_equations
from .upsampling import upscale_of


__all__ = ["LeastSquaresDownsampler"]

_BATCH = 32


class LeastSquaresDownsampler:
    """The point-spread function, pixels included, that makes low- of high-resolution images, fitted to pairs.

    Every low-resolution pixel is a weighted sum of the high-resolution pixels of the `size` × `size` low-resolution
    pixels around its place; every band has weights of its own. They are the ones with the least squared error on the
    pairs, so that noise in the low-resolution images averages out.

    Args:
        size: Width of the kernel in low-resolution pixels, odd.
        upscale: Ratio of high- to low-resolution size.

    Raises:
        ValueError: If `size` is not odd and positive.
    """

    def __init__(self, size: int = 5, upscale: int = 2):
        if size < 1 or size % 2 == 0:
            raise ValueError(f"size must be odd and positive, so that a kernel has a centre, got {size}.")
        self.size = size
        self.upscale = upscale
        self.kernels: torch.Tensor | None = None

    def fit(self, low: np.ndarray, high: np.ndarray) -> "LeastSquaresDownsampler":
        """Fits the kernels by the normal equations, accumulated over batches in float64.

        Args:
            low: Low-resolution images `(batch, bands, height, width)`.
            high: High-resolution images `(batch, bands, height * upscale, width * upscale)`.

        Returns:
            The downsampler itself.

        Raises:
            ValueError: If the images do not fit each other or `upscale`, or are smaller than the kernel.
        """
        if (ratio := upscale_of(low, high)) != self.upscale:
            raise ValueError(f"The pairs have a ratio of {ratio}, the downsampler {self.upscale}.")
        if min(low.shape[2:]) < self.size:
            raise ValueError(
                f"The low-resolution images {low.shape} must be at least as wide and high as the kernel, {self.size}."
            )
        bands, width = low.shape[1], self.size * self.upscale
        normal = torch.zeros(bands, width**2, width**2, dtype=torch.float64)
        right = torch.zeros(bands, width**2, dtype=torch.float64)
        for first in range(0, len(low), _BATCH):
            sharp, blurred = (
                torch.from_numpy(np.asarray(images[first : first + _BATCH], dtype=np.float64)).transpose(0, 1)
                for images in (high, low)
            )
            for band in range(bands):
                patches = F.unfold(sharp[band][:, None], width, stride=self.upscale).mT.flatten(0, 1)
                normal[band] += patches.T @ patches
                right[band] += patches.T @ self.interior(blurred[band]).flatten()
        self.kernels = solve_normal_equations(normal, right).reshape(bands, 1, width, width)
        return self

    def __call__(self, high: torch.Tensor) -> torch.Tensor:
        """Blurs and bins images; gradients pass.

        Args:
            high: `(batch, bands, height * upscale, width * upscale)`.

        Returns:
            `(batch, bands, height - size + 1, width - size + 1)`: the pixels whose kernel lies within the image, which
            `interior` cuts out of the low-resolution images as well.

        Raises:
            RuntimeError: If the kernels have not been fitted.
        """
        if self.kernels is None:
            raise RuntimeError("Fit the downsampler on pairs before applying it.")
        return F.conv2d(high, self.kernels.to(high), stride=self.upscale, groups=len(self.kernels))

    def interior(self, low: torch.Tensor) -> torch.Tensor:
        """The pixels of low-resolution images `(..., height, width)` that are not next to the border."""
        margin = self.size // 2
        return low[..., margin : low.shape[-2] - margin, margin : low.shape[-1] - margin]
