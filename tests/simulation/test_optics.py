import numpy as np
import pytest
import torch
from astropy.io import fits
from scipy import ndimage

from lens_transformers.simulation import Instrument
from lens_transformers.simulation.grid import crop, padded_length
from lens_transformers.simulation.optics import Optics, load_psf, moffat_kernel, observe, pixel_response


def rows(images):
    flat = torch.zeros(len(images), padded_length(images.shape[-1]))
    flat[:, : images[0].numel()] = images.flatten(1)
    return flat


def test_a_uniform_sky_stays_as_it_is():
    response = pixel_response(16, 3, 0.1, psf_fwhm=0.25, psf_truncation=4.0)
    torch.testing.assert_close(response.sum(dim=1), torch.ones(16))


@pytest.mark.parametrize("oversampling", [1, 2, 3])
def test_flux_is_conserved_away_from_the_edge(oversampling):
    scene = torch.zeros(1, 32 * oversampling, 32 * oversampling)
    scene[0, 15 * oversampling, 17 * oversampling] = 5.0
    image = observe(rows(scene), Optics.of(Instrument(32, 0.1, 0.3, 4.0, oversampling)))
    assert image.sum().item() * oversampling**2 == pytest.approx(5.0, rel=1e-5)


def test_the_point_spread_function_has_its_width():
    scene = torch.zeros(1, 129, 129)
    scene[0, 64, 64] = 1.0
    profile = crop(observe(rows(scene), Optics.of(Instrument(129, 0.01, 0.2, 5.0))), 129)[0, 64]
    # 0.1 arcsec from the peak, which is half the full width at half maximum.
    assert (profile[74] / profile[64]).item() == pytest.approx(0.5, rel=1e-3)


def test_the_point_spread_function_ends_where_it_is_cut():
    scene = torch.zeros(1, 65, 65)
    scene[0, 32, 32] = 1.0
    profile = crop(observe(rows(scene), Optics.of(Instrument(65, 1.0, 2.3548 * 2, psf_truncation_sigma=3.0))), 65)[
        0, 32
    ]
    assert (torch.nonzero(profile).min().item(), torch.nonzero(profile).max().item()) == (32 - 6, 32 + 6)


def test_without_blur_a_pixel_is_the_mean_of_its_points():
    scene = torch.rand(2, 12, 12, generator=torch.Generator().manual_seed(0))
    image = crop(observe(rows(scene), Optics.of(Instrument(4, 0.1, oversampling=3))), 4)
    torch.testing.assert_close(image, torch.nn.functional.avg_pool2d(scene, 3))


def test_the_blur_is_that_of_scipy():
    scene = torch.rand(1, 20, 20, generator=torch.Generator().manual_seed(0))
    image = crop(observe(rows(scene), Optics.of(Instrument(20, 1.0, 2.354820045 * 1.3, psf_truncation_sigma=4.0))), 20)
    expected = ndimage.gaussian_filter(scene[0].numpy().astype(np.float64), 1.3, mode="nearest", truncate=4.0)
    np.testing.assert_allclose(image[0], expected, atol=1e-6)


def test_a_moffat_profile_has_its_width_and_its_sum():
    kernel = moffat_kernel(fwhm=12.0, beta=3.0, truncation=8.0)
    middle = len(kernel) // 2
    assert kernel.sum() == pytest.approx(1.0)
    assert kernel[middle, middle + 6] / kernel[middle, middle] == pytest.approx(0.5)
    # Its wings: (1 + r^2 / a^2)^-3 with a = 6 / sqrt(2^(1/3) - 1).
    assert kernel[middle, middle + 24] / kernel[middle, middle] == pytest.approx((1 + 16 * (2 ** (1 / 3) - 1)) ** -3)


@pytest.mark.parametrize("oversampling", [1, 2])
def test_a_moffat_blur_is_a_convolution(oversampling):
    instrument = Instrument(24, 0.1, 0.25, psf_truncation_sigma=6.0, oversampling=oversampling, psf_moffat_beta=3.0)
    scene = torch.rand(2, 24 * oversampling, 24 * oversampling, generator=torch.Generator().manual_seed(0))
    image = crop(observe(rows(scene), Optics.of(instrument)), 24)
    kernel = moffat_kernel(2.5 * oversampling, 3.0, 6.0)
    blurred = ndimage.convolve(scene[1].numpy().astype(np.float64), kernel, mode="nearest")
    expected = blurred.reshape(24, oversampling, 24, oversampling).mean(axis=(1, 3))
    np.testing.assert_allclose(image[1], expected, atol=1e-6)


def write_psf(path, kernel):
    # As telescopes' files are: big-endian float64, behind an empty primary unit.
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(kernel.astype(">f8"))]).writeto(path)
    return str(path)


def test_a_fits_kernel_blurs_the_pixels_it_is_sampled_in_and_is_not_mirrored(tmp_path):
    kernel = np.arange(1.0, 26.0).reshape(5, 5)
    path = write_psf(tmp_path / "psf.fits", kernel / kernel.sum())
    scene = torch.zeros(1, 22, 22)
    scene[0, 10:12, 10:12] = 1.0
    image = crop(observe(rows(scene), Optics.of(Instrument(11, 0.1, oversampling=2, psf_fits=path))), 11)
    np.testing.assert_allclose(image[0, 3:8, 3:8], kernel / kernel.sum(), atol=1e-7)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (np.ones((3, 3)), "must be normalised: its pixels add up to 9, they must to 1"),
        (np.full((3, 3), np.nan), "must be normalised"),
        (np.ones((4, 4)) / 16, "square image of odd width"),
        (np.ones((3, 5)) / 15, "square image of odd width"),
        (np.ones((3, 3, 3)) / 27, "square image of odd width"),
        (np.ones((33, 33)) / 1089, "33 wide, is larger than the image, 32"),
    ],
)
def test_a_file_that_holds_no_point_spread_function_is_refused(tmp_path, kernel, message):
    path = write_psf(tmp_path / "psf.fits", kernel)
    with pytest.raises(ValueError, match=message):
        load_psf(path, 32)


def test_a_missing_or_foreign_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file .*psf.fits"):
        load_psf(str(tmp_path / "psf.fits"), 32)
    (tmp_path / "psf.fits").write_text("a letter")
    with pytest.raises(ValueError, match="is not a FITS file"):
        load_psf(str(tmp_path / "psf.fits"), 32)


def test_a_moffat_profile_wider_than_the_image_is_refused():
    with pytest.raises(ValueError, match="larger than the image"):
        Optics.of(Instrument(16, 0.1, 1.0, psf_moffat_beta=3.0))
