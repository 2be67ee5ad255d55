"""Noise, as a function of the expected image and of standard normal numbers drawn beforehand.

No random number is drawn here, so an image's noise depends neither on the batch nor on the device it is computed on.
"""

from collections.abc import Callable

import torch

from .grid import pad_to_row
from .instruments import Detector


__all__ = ["detect", "expose", "poisson_expansion", "poisson_quantile"]

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
    expansion: Callable | None = None,
) -> torch.Tensor:
    """Adds Poisson noise of image and sky, and Gaussian noise; subtracts the sky's mean.

    Args:
        image: Expected brightness in padded flat rows `(batch, pixels)`, not negative.
        photon_normals: Standard normal numbers of the same shape.
        background_normals: Likewise.
        peak_counts: Photons at brightness 1, `(batch, 1)`.
        sky_counts: Photons of the sky in a pixel, `(batch, 1)`.
        background_rms: Standard deviation of the Gaussian noise in units of brightness, `(batch, 1)`.
        expansion: A compiled form of the Poisson noise's expansion.

    Returns:
        The noisy brightness.
    """
    counts = poisson_quantile(image * peak_counts + sky_counts, photon_normals, expansion)
    return (counts - sky_counts) / peak_counts + background_rms * background_normals


def detect(
    rate: torch.Tensor,
    exposure_time: torch.Tensor,
    normals: torch.Tensor | None,
    detector: Detector,
    sky_rate: float,
    expansion: Callable | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a detector makes of an expected image.

    Args:
        rate: Expected electrons per second in padded flat rows `(batch, pixels)`.
        exposure_time: Duration of one exposure in seconds, `(batch, 1)`.
        normals: Standard normal numbers `(draws, batch, pixels)`: for the photons, for the readout and, with
            `"poisson_twice"`, for the second photons; `None` where the detector adds no noise.
        detector: The detector.
        sky_rate: Electrons per second of the sky in a pixel.
        expansion: A compiled form of the Poisson noise's expansion.

    Returns:
        The image, and the image without noise, in the detector's unit.
    """
    total_time = exposure_time * detector.num_exposures
    expected = rate.clamp(min=0) * total_time
    electrons = expected
    if normals is not None:
        sky = sky_rate * total_time
        readout = (
            detector.num_exposures * detector.read_noise_e**2 + (detector.background_rms_e_per_s * total_time) ** 2
        )
        electrons = poisson_quantile(expected + sky, normals[0], expansion) - sky + readout.sqrt() * normals[1]
        if detector.noise == "poisson_twice":
            electrons = poisson_quantile(electrons.clamp(min=0), normals[2], expansion)
    if detector.model_twice:
        electrons, expected = electrons + expected, expected + expected
    if detector.unit == "electrons_per_s":
        return electrons / total_time, expected / total_time
    gain = detector.gain_e_per_adu if detector.unit == "adu" else 1.0
    return electrons / gain, expected / gain


def poisson_quantile(mean: torch.Tensor, normal: torch.Tensor, expansion: Callable | None = None) -> torch.Tensor:
    """The count at the quantile of a standard normal number: Poisson noise by inversion.

    Above a mean of 10 this is the expansion of Giles (2016), Algorithm 955, equation 7 with the next term, whose
    distribution function is within 5e-5; below, the distribution function is added up.

    Args:
        mean: Means, not negative.
        normal: Standard normal numbers of the same shape.
        expansion: A compiled form of that expansion.

    Returns:
        Whole numbers, as floats.
    """
    counts = (expansion or poisson_expansion)(mean, normal)
    small = (mean < _EXPANSION_MEAN).flatten().nonzero()[:, 0]
    if len(small):
        small = pad_to_row(small)
        counts.view(-1)[small] = _small_counts(mean.flatten()[small], normal.flatten()[small])
    return counts


def poisson_expansion(mean: torch.Tensor, normal: torch.Tensor) -> torch.Tensor:
    """The part of `poisson_quantile` that holds above a mean of 10."""
    z, z2, root = normal, normal * normal, mean.clamp(min=1.0).sqrt()
    tail = (-8 / 405 + z2 * (7 / 810) + z2 * z2 / 270) / root - z * (1 / 36 + z2 / 72)
    return torch.floor(mean + root * z + 1 / 3 + z2 / 6 + tail / root).clamp_(min=0)


def _small_counts(mean: torch.Tensor, normal: torch.Tensor) -> torch.Tensor:
    counts = torch.zeros_like(mean)
    tail = 0.5 * torch.erfc(normal.abs() * 0.5**0.5)
    # The probability of a photon or more is at most the mean: most faint pixels are dark, and nothing is left to do.
    above = torch.where(normal > 0, tail, 1 - tail)
    left = torch.nonzero(above < 1.001 * mean)[:, 0]
    if not len(left):
        return counts
    number, left = len(left), pad_to_row(left)
    # Only the smaller tail keeps its digits in float32; the sums need float64, where the levels of rare high numbers
    # do not round to 1, which would never be reached.
    mean, tail = mean[left].double(), tail[left].double()
    level, probability = torch.where(normal[left] > 0, 1 - tail, tail), torch.exp(-mean)
    # What follows is adding and multiplying, which rounds alike wherever in an array a value stands.
    left, mean, level, probability = (values[:number] for values in (left, mean, level, probability))
    cumulative, still = probability, torch.nonzero(probability < level)[:, 0]
    for count in range(1, _LARGEST_SMALL_COUNT):
        if not len(still):
            break
        left, mean, level = left[still], mean[still], level[still]
        counts[left] = count
        probability = probability[still] * mean / count
        cumulative = cumulative[still] + probability
        still = torch.nonzero(cumulative < level)[:, 0]
    return counts
