"""From a finely rendered scene to the pixels of an instrument."""

import math
from functools import lru_cache

import numpy as np
import torch

from .grid import crop, padded_length


__all__ = ["observe", "pixel_response"]

_FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))


def observe(scene: torch.Tensor, response: torch.Tensor) -> torch.Tensor:
    """Blurs and bins scenes by a separable response.

    Args:
        scene: Surface brightness in padded flat rows `(batch, padded fine pixels)`.
        response: `(pixels, fine pixels)`, from `pixel_response`.

    Returns:
        The images in padded flat rows `(batch, padded pixels)`; the padding is 0.
    """
    num_pixels, num_fine = response.shape
    images = scene.new_zeros(len(scene), padded_length(num_pixels))
    # One by one: a product over the whole batch may choose its kernel, and so its rounding, by the batch's size.
    for fine, image in zip(crop(scene, num_fine), crop(images, num_pixels), strict=True):
        image.copy_(response @ fine @ response.T)
    return images


@lru_cache(maxsize=32)
def _response(num_pixels: int, oversampling: int, sigma: float, truncation: float) -> np.ndarray:
    radius = int(truncation * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2) if sigma > 0 else np.ones(1)
    kernel /= kernel.sum()
    num_fine = num_pixels * oversampling
    response = np.zeros((num_pixels, num_fine))
    for offset, weight in zip(offsets, kernel, strict=True):
        # The scene goes on beyond the edge with the brightness it has there.
        column = np.clip(np.arange(num_fine) + offset, 0, num_fine - 1)
        np.add.at(response, (np.arange(num_fine) // oversampling, column), weight / oversampling)
    return response


def pixel_response(
    num_pixels: int,
    oversampling: int,
    pixel_scale: float,
    psf_fwhm: float,
    psf_truncation: float,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """One axis of a Gaussian point-spread function followed by the mean over each pixel.

    Args:
        num_pixels: Pixels of the image along the axis.
        oversampling: Rendered points across a pixel.
        pixel_scale: Width of a pixel in arcsec.
        psf_fwhm: Full width at half maximum in arcsec; 0 for none.
        psf_truncation: Where the Gaussian is cut, in standard deviations.
        device: Where to put it.

    Returns:
        The matrix `(num_pixels, num_pixels * oversampling)`, whose rows add up to 1.
    """
    sigma = psf_fwhm / _FWHM_PER_SIGMA / pixel_scale * oversampling
    response = _response(num_pixels, oversampling, sigma, psf_truncation)
    return torch.from_numpy(response).to(torch.float32).to(device)
