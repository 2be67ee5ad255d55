"""From a finely rendered scene to the pixels of an instrument."""

import math
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits

from .grid import crop, padded_length
from .instruments import Instrument


__all__ = ["Optics", "load_psf", "moffat_kernel", "observe", "pixel_response"]

_FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))
_ROWS_PER_BAND = 32
# A point-spread function whose sum is further from 1 changes fluxes by more than photometry would forgive.
_PSF_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Optics:
    """What turns scenes into images: a separable response, and a kernel where the blur is not separable.

    Attributes:
        response: One axis of the mean over each pixel, and of a Gaussian blur before it, from `pixel_response`.
        bands: Rows of the response, and the columns where they are not 0.
        fine_kernel: A kernel that blurs the scene before that, or `None`.
        pixel_kernel: A kernel that blurs the image after that, or `None`.
    """

    response: torch.Tensor
    bands: tuple[tuple[slice, slice], ...]
    fine_kernel: torch.Tensor | None = None
    pixel_kernel: torch.Tensor | None = None

    @classmethod
    def of(cls, instrument: Instrument, device: torch.device | str = "cpu") -> "Optics":
        """The optics of an instrument.

        Raises:
            FileNotFoundError: If its point-spread function is a file that does not exist.
            ValueError: If that file does not hold one that fits.
        """
        separable = instrument.psf_moffat_beta is None and instrument.psf_fits is None
        response = pixel_response(
            instrument.num_pixels,
            instrument.oversampling,
            instrument.pixel_scale_arcsec,
            instrument.psf_fwhm_arcsec if separable else 0.0,
            instrument.psf_truncation_sigma,
            device,
        )
        bands = _bands(response)
        if instrument.psf_fits is not None:
            kernel = load_psf(instrument.psf_fits, instrument.num_pixels)
            return cls(response, bands, pixel_kernel=torch.from_numpy(kernel).float().to(device))
        if instrument.psf_moffat_beta is not None:
            kernel = moffat_kernel(
                instrument.psf_fwhm_arcsec / instrument.pixel_scale_arcsec * instrument.oversampling,
                instrument.psf_moffat_beta,
                instrument.psf_truncation_sigma,
            )
            _check_size(kernel, instrument.num_pixels * instrument.oversampling, "instrument.psf_moffat_beta")
            return cls(response, bands, fine_kernel=torch.from_numpy(kernel).float().to(device))
        return cls(response, bands)


def observe(scene: torch.Tensor, optics: Optics) -> torch.Tensor:
    """Blurs and bins scenes.

    Args:
        scene: Surface brightness in padded flat rows `(batch, padded fine pixels)`.
        optics: What blurs and bins.

    Returns:
        The images in padded flat rows `(batch, padded pixels)`; the padding is 0.
    """
    response = optics.response
    num_pixels, num_fine = response.shape
    images = scene.new_zeros(len(scene), padded_length(num_pixels))
    half = scene.new_empty(num_pixels, num_fine)
    # Along one axis and then the other, in bands: far from its diagonal the response is 0.
    along_y = [(near, response[rows, near], half[rows]) for rows, near in optics.bands]
    along_x = [(rows, half[:, near], response[rows, near].T) for rows, near in optics.bands]
    # One by one: a product over the whole batch may choose its kernel, and so its rounding, by the batch's size.
    for fine, image in zip(crop(scene, num_fine), crop(images, num_pixels), strict=True):
        if optics.fine_kernel is not None:
            fine = _blur(fine, optics.fine_kernel)
        for near, weights, out in along_y:
            torch.mm(weights, fine[near], out=out)
        for rows, part, weights in along_x:
            torch.mm(part, weights, out=image[:, rows])
        if optics.pixel_kernel is not None:
            image.copy_(_blur(image, optics.pixel_kernel))
    return images


def _bands(response: torch.Tensor) -> tuple[tuple[slice, slice], ...]:
    bands = []
    for start in range(0, len(response), _ROWS_PER_BAND):
        rows = slice(start, min(start + _ROWS_PER_BAND, len(response)))
        columns = torch.nonzero(response[rows].any(dim=0))[:, 0]
        bands.append((rows, slice(int(columns[0]), int(columns[-1]) + 1)))
    return tuple(bands)


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


def moffat_kernel(fwhm: float, beta: float, truncation: float) -> np.ndarray:
    """A Moffat profile, sampled at pixel centres and normalised.

    Args:
        fwhm: Full width at half maximum in pixels.
        beta: Exponent of (1 + (r/a)^2)^-beta.
        truncation: Half-width of the kernel in standard deviations of a Gaussian of the same width.

    Returns:
        The kernel, of odd width.
    """
    radius = max(1, round(truncation * fwhm / _FWHM_PER_SIGMA))
    scale = fwhm / (2 * math.sqrt(2 ** (1 / beta) - 1))
    axis = np.arange(-radius, radius + 1)
    kernel = (1 + (axis[:, None] ** 2 + axis**2) / scale**2) ** -beta
    return kernel / kernel.sum()


def load_psf(path: str, num_pixels: int) -> np.ndarray:
    """Reads a point-spread function from the first image of a FITS file.

    Args:
        path: The file.
        num_pixels: Width of the image that it is to blur.

    Returns:
        The kernel in float64, of odd width and with a sum of 1.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it does not hold a normalised point-spread function of odd width that fits into the image.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"instrument.psf_fits: there is no file {path}.")
    kernel = _read_psf(path, os.stat(path).st_mtime_ns)
    _check_size(kernel, num_pixels, f"instrument.psf_fits {path}")
    return kernel


@lru_cache(maxsize=8)
def _read_psf(path: str, modified: int) -> np.ndarray:
    name = f"instrument.psf_fits {path}"
    try:
        with fits.open(path) as units:
            data = next((unit.data for unit in units if unit.is_image and unit.data is not None), None)
            kernel = None if data is None else np.asarray(data, dtype=np.float64)
    except (OSError, ValueError) as error:
        raise ValueError(f"{name} is not a FITS file: {error}.") from error
    if kernel is None or kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or kernel.shape[0] % 2 == 0:
        shape = None if kernel is None else kernel.shape
        raise ValueError(
            f"{name} must hold a square image of odd width, whose middle pixel is the centre, got {shape}."
        )
    if not np.isfinite(kernel).all() or abs(kernel.sum() - 1) > _PSF_SUM_TOLERANCE:
        raise ValueError(f"{name} must be normalised: its pixels add up to {kernel.sum():.6g}, they must to 1.")
    return kernel / kernel.sum()


def _check_size(kernel: np.ndarray, num_pixels: int, name: str) -> None:
    if len(kernel) > num_pixels:
        raise ValueError(
            f"{name}: the point-spread function, {len(kernel)} wide, is larger than the image, {num_pixels}."
        )


def _blur(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Convolves an image, which goes on beyond its edge with the brightness it has there."""
    radius, size = len(kernel) // 2, len(image)
    padded = torch.nn.functional.pad(image[None, None], (radius,) * 4, mode="replicate")[0, 0]
    product = torch.fft.rfft2(padded) * torch.fft.rfft2(kernel, s=padded.shape)
    return torch.fft.irfft2(product, s=padded.shape)[2 * radius :, 2 * radius :][:size, :size]
