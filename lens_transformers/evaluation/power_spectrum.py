"""Power spectra of images and of residuals: at which scales a sharpened image is right."""

import numpy as np

from .metric import as_array


__all__ = ["radial_power_spectrum"]


def radial_power_spectrum(images) -> tuple[np.ndarray, np.ndarray]:
    """Mean power of images in rings of spatial frequency, averaged over images and bands.

    The power is |FFT|² over the number of pixels, so that white noise of variance v has the spectrum v everywhere; the
    rings are as wide as the lowest frequency of the shorter side.

    Args:
        images: `(batch, bands, height, width)`; for residuals, predictions minus targets.

    Returns:
        Frequencies in cycles per pixel, above zero and up to 0.5, and the power at each, in the images' unit squared.

    Raises:
        ValueError: If the shape is another one, or a pixel is not finite.
    """
    images = as_array("images", images).astype(np.float64)
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"images must be (batch, bands, height, width), none of them zero, got {images.shape}.")
    if not np.isfinite(images).all():
        raise ValueError(f"images: {np.count_nonzero(~np.isfinite(images))} pixels are NaN or infinite.")
    height, width = images.shape[2:]
    power = (np.abs(np.fft.fft2(images)) ** 2).mean(axis=(0, 1)) / (height * width)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    num_rings = min(height, width) // 2
    ring = np.round(frequency * min(height, width)).astype(int)
    inside = (ring > 0) & (ring <= num_rings)
    count = np.bincount(ring[inside], minlength=num_rings + 1)[1:]
    sums = [
        np.bincount(ring[inside], weights=values[inside], minlength=num_rings + 1)[1:] for values in (frequency, power)
    ]
    return sums[0] / count, sums[1] / count
