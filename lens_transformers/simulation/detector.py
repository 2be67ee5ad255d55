"""Noise, as a function of the expected image and of standard normal numbers drawn beforehand.

No random number is drawn here, so an image's noise depends neither on the batch nor on the device it is computed on.
"""

import torch

from .grid import pad_to_row


__all__ = ["expose", "poisson_quantile"]

# Above this mean the expansion is within 1e-4 of the Poisson distribution; below, the sum is exact and short.
_EXPANSION_MEAN = 10.0
_LARGEST_SMALL_COUNT = 45


def expose(
    image: torch.Tensor,
    photon_normals: torch.Tensor,
    background_normals: torch.Tensor,
    peak_counts: torch.Tensor,
    sky_counts: torch.Tensor,
    background_rms: torch.Tensor,
) -> torch.Tensor:
    """Adds Poisson noise of image and sky, and Gaussian noise; subtracts the sky's mean.

    Args:
        image: Expected brightness in padded flat rows `(batch, pixels)`, not negative.
        photon_normals: Standard normal numbers of the same shape.
        background_normals: Likewise.
        peak_counts: Photons at brightness 1, `(batch, 1)`.
        sky_counts: Photons of the sky in a pixel, `(batch, 1)`.
        background_rms: Standard deviation of the Gaussian noise in units of brightness, `(batch, 1)`.

    Returns:
        The noisy brightness.
    """
    counts = poisson_quantile(image * peak_counts + sky_counts, photon_normals)
    return (counts - sky_counts) / peak_counts + background_rms * background_normals


def poisson_quantile(mean: torch.Tensor, normal: torch.Tensor) -> torch.Tensor:
    """The count at the quantile of a standard normal number: Poisson noise by inversion.

    Above a mean of 10 this is the expansion of Giles (2016), Algorithm 955, equation 7 with the next term, whose
    distribution function is within 5e-5; below, the distribution function is added up.

    Args:
        mean: Means, not negative.
        normal: Standard normal numbers of the same shape.

    Returns:
        Whole numbers, as floats.
    """
    z, z2, root = normal, normal * normal, mean.clamp(min=1.0).sqrt()
    tail = (-8 / 405 + z2 * (7 / 810) + z2 * z2 / 270) / root - z * (1 / 36 + z2 / 72)
    counts = torch.floor(mean + root * z + 1 / 3 + z2 / 6 + tail / root).clamp_(min=0)
    small = (mean < _EXPANSION_MEAN).flatten().nonzero()[:, 0]
    if len(small):
        small = pad_to_row(small)
        counts.view(-1)[small] = _small_counts(mean.flatten()[small], normal.flatten()[small])
    return counts


def _small_counts(mean: torch.Tensor, normal: torch.Tensor) -> torch.Tensor:
    # In float32 the distribution function of a rare high normal number would round to 1, a level never reached.
    mean = mean.double()
    level, probability = torch.special.ndtr(normal.double()), torch.exp(-mean)
    cumulative, counts = probability.clone(), torch.zeros_like(mean)
    for count in range(1, _LARGEST_SMALL_COUNT):
        above = cumulative < level
        if not above.any():
            break
        counts += above
        probability *= mean / count
        cumulative += probability
    return counts.float()
