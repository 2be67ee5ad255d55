"""Noise, as a function of the expected image and of standard normal numbers drawn beforehand.

No random number is drawn here, so an image's noise depends neither on the batch nor on the device it is computed on.
"""

import torch

from .grid import pad_to_row
from .instruments import Detector


__all__ = ["detect", "expose", "poisson_quantile"]

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


def detect(
    rate: torch.Tensor,
    exposure_time: torch.Tensor,
    normals: torch.Tensor | None,
    detector: Detector,
    sky_rate: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a detector makes of an expected image.

    Args:
        rate: Expected electrons per second in padded flat rows `(batch, pixels)`.
        exposure_time: Duration of one exposure in seconds, `(batch, 1)`.
        normals: Standard normal numbers `(draws, batch, pixels)`: for the photons, for the readout and, with
            `"poisson_twice"`, for the second photons; `None` where the detector adds no noise.
        detector: The detector.
        sky_rate: Electrons per second of the sky in a pixel.

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
        electrons = poisson_quantile(expected + sky, normals[0]) - sky + readout.sqrt() * normals[1]
        if detector.noise == "poisson_twice":
            electrons = poisson_quantile(electrons.clamp(min=0), normals[2])
    if detector.model_twice:
        electrons, expected = electrons + expected, expected + expected
    if detector.unit == "electrons_per_s":
        return electrons / total_time, expected / total_time
    gain = detector.gain_e_per_adu if detector.unit == "adu" else 1.0
    return electrons / gain, expected / gain


def poisson_quantile(mean: torch.Tensor, normal: torch.Tensor) -> torch.Tensor:
    """The count at the quantile of a standard normal number: Poisson noise by inversion.

    Above a mean of 10 this is `poisson_expansion`, whose distribution function is within 5e-5. Below, where the
    expansion leaves a doubt, the distribution function is added up, so that the count is the exact one.

    Args:
        mean: Means, not negative.
        normal: Standard normal numbers of the same shape.

    Returns:
        Whole numbers, as floats.
    """
    value = poisson_expansion(mean, normal)
    counts = torch.floor(value).clamp(min=0)
    if mean.amin() < _EXPANSION_MEAN:
        # Below a mean of 2 the expansion is of no use; from 2.05 on this is a factor of 1, and up to 2.1 in doubt.
        counts = counts * ((mean - 2) * 20).clamp(0, 1)
        _settle(counts, _doubt(value, mean, normal), mean, normal)
    return counts


def poisson_expansion(mean: torch.Tensor, normal: torch.Tensor) -> torch.Tensor:
    """What Poisson counts are the whole part of, by the expansion of Giles (2016), Algorithm 955.

    It is equation 7 with the next term, ordered by powers of s = normal / sqrt(mean):
    mean (1 + s + s^2 / 6 - s^3 / 72 + s^4 / 270) + 1/3 - s / 36 + 7 s^2 / 810 - 8 / (405 mean).
    """
    per_root = mean.clamp(min=1.0).rsqrt_()
    s = normal * per_root
    value = (s * (1 / 270)).sub_(1 / 72).mul_(s).add_(1 / 6).mul_(s).add_(1.0).mul_(mean)
    value.add_(s, alpha=7 / 810).sub_(1 / 36).mul_(s).add_(mean).add_(1 / 3)
    return value.addcmul_(per_root, per_root, value=-8 / 405)


def _doubt(value: torch.Tensor, mean: torch.Tensor, normal: torch.Tensor) -> torch.Tensor:
    """Negative where the expansion's count may be wrong and the mean is below 10.

    It is arithmetic throughout, which takes a tenth of the time of comparisons and choices.
    """
    # For means of 2 to 10 and up to 2.4 standard deviations, the expansion is nowhere further off than 0.07 / mean.
    doubt = (value - value.round()).abs_().mul_(mean).sub_(0.08)
    doubt = torch.minimum(doubt, 2.4 - normal.abs()).minimum(mean - 2.1)
    # The probability of a photon or more is at most the mean: most faint pixels are dark without a doubt.
    dark = torch.erfc(normal * 0.5**0.5).sub_(mean, alpha=2.002)
    return doubt.maximum(dark).maximum(mean - _EXPANSION_MEAN)


def _settle(counts: torch.Tensor, doubt: torch.Tensor, mean: torch.Tensor, normal: torch.Tensor) -> None:
    """Puts the exact counts where there is a doubt."""
    places = _doubtful_places(doubt)
    if len(places):
        counts.view(-1)[places] = _exact_counts(mean.flatten()[places], normal.flatten()[places])


@torch.compiler.disable
def _doubtful_places(doubt: torch.Tensor) -> torch.Tensor:
    """Indices of the doubts, filled up to a row. Their number, which no compiled code can know, is found here."""
    return pad_to_row((doubt < 0).flatten().nonzero()[:, 0])


def _exact_counts(mean: torch.Tensor, normal: torch.Tensor) -> torch.Tensor:
    # Only the smaller tail keeps its digits in float32; the sums need float64, where the levels of rare high numbers
    # do not round to 1, which would never be reached.
    tail = 0.5 * torch.erfc(normal.abs() * 0.5**0.5).double()
    mean = mean.double()
    level, probability = torch.where(normal > 0, 1 - tail, tail), torch.exp(-mean)
    counts, cumulative = torch.zeros_like(normal), probability.clone()
    for count in range(1, _LARGEST_SMALL_COUNT):
        short = cumulative < level
        # Compiled, all the steps are one pass over the array, which no step can leave.
        if not torch.compiler.is_compiling() and not short.any():
            break
        counts += short
        cumulative += probability.mul_(mean).div_(count)
    return counts
