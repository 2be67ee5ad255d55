"""Surface brightness of galaxies: Sersic profiles and images."""

import math
import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from caustics.light.func import brightness_sersic, k_lenstronomy


__all__ = ["image_brightness", "load_source_images", "sersic_brightness", "sersic_flux"]

# The part of an image's width that makes the corner which shows only sky.
_CORNER = 5


def sersic_brightness(
    x: torch.Tensor,
    y: torch.Tensor,
    effective_radius: torch.Tensor,
    sersic_index: torch.Tensor,
    axis_ratio: torch.Tensor,
) -> torch.Tensor:
    """Brightness of a Sersic profile at the origin with its major axis along x, 1 at the effective radius.

    Args:
        x: Coordinates `(batch, points)` in arcsec.
        y: Likewise.
        effective_radius: Half-light radius along the major axis `(batch, 1)` in arcsec.
        sersic_index: Sersic index `(batch, 1)`.
        axis_ratio: Minor over major axis `(batch, 1)`.

    Returns:
        The brightness `(batch, points)`.
    """
    k = k_lenstronomy(sersic_index)
    return brightness_sersic(0.0, 0.0, axis_ratio, None, sersic_index, effective_radius, 1.0, x, y, k)


def sersic_flux(effective_radius: float, sersic_index: float, axis_ratio: float) -> float:
    """Total flux of a Sersic profile of brightness 1 at the effective radius, in arcsec^2.

    Graham & Driver 2005 (astro-ph/0503176), equation 4, for an ellipse.
    """
    k = k_lenstronomy(sersic_index)
    flux = 2 * math.pi * sersic_index * math.exp(k) * k ** (-2 * sersic_index) * math.gamma(2 * sersic_index)
    return flux * effective_radius**2 * axis_ratio


def image_brightness(images: torch.Tensor, x: torch.Tensor, y: torch.Tensor, pixel_scale: float) -> torch.Tensor:
    """Brightness of images centred on the origin, between whose pixels it is linear; outside it is 0.

    Args:
        images: `(batch, bands, height, width)`; rows count upwards, like y.
        x: Coordinates `(batch, points)` in arcsec.
        y: Likewise.
        pixel_scale: Width of an image's pixel in arcsec.

    Returns:
        The brightness `(batch, bands, points)`.
    """
    height, width = images.shape[-2:]
    # grid_sample counts from -1 to 1 across the whole image.
    grid = torch.stack([2 * x / (pixel_scale * width), 2 * y / (pixel_scale * height)], dim=-1)[:, None]
    sampled = torch.nn.functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled[:, :, 0]


def load_source_images(path: str, bands: int, subtract_corner: bool) -> np.ndarray:
    """Reads the images that may take a source's place.

    Args:
        path: A `.npy` file `(images, bands, height, width)` or `(images, height, width)`.
        bands: Bands that the images must have.
        subtract_corner: Whether to subtract from every band the median of its upper left corner.

    Returns:
        float32 images `(images, bands, height, width)`, not negative, whose brightest pixel is 1.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it does not hold such images.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"source_images.path: there is no file {path}.")
    return _load(path, os.stat(path).st_mtime_ns, bands, subtract_corner)


@lru_cache(maxsize=2)
def _load(path: str, modified: int, bands: int, subtract_corner: bool) -> np.ndarray:
    images = np.load(path, allow_pickle=False)
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or images.shape[1] != bands or 0 in images.shape:
        raise ValueError(
            f"source_images.path: {path} must hold images (images, {bands}, height, width) for {bands} band(s), "
            f"got {images.shape}."
        )
    images = images.astype(np.float32)
    if not np.isfinite(images).all():
        raise ValueError(f"source_images.path: {path} holds values that are not finite.")
    if subtract_corner:
        height, width = (max(1, size // _CORNER) for size in images.shape[2:])
        images = images - np.median(images[:, :, :height, :width], axis=(2, 3), keepdims=True)
    images = images.clip(min=0)
    peak = images.max(axis=(1, 2, 3), keepdims=True)
    if not peak.all():
        raise ValueError(f"source_images.path: image {int(peak.argmin())} of {path} is empty.")
    return images / peak
