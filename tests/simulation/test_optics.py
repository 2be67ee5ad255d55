import numpy as np
import pytest
import torch

from lens_transformers.simulation.grid import crop, padded_length
from lens_transformers.simulation.optics import observe, pixel_response


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
    image = observe(rows(scene), pixel_response(32, oversampling, 0.1, psf_fwhm=0.3, psf_truncation=4.0))
    assert image.sum().item() * oversampling**2 == pytest.approx(5.0, rel=1e-5)


def test_the_point_spread_function_has_its_width():
    scene = torch.zeros(1, 129, 129)
    scene[0, 64, 64] = 1.0
    profile = crop(observe(rows(scene), pixel_response(129, 1, 0.01, 0.2, 5.0)), 129)[0, 64]
    # 0.1 arcsec from the peak, which is half the full width at half maximum.
    assert (profile[74] / profile[64]).item() == pytest.approx(0.5, rel=1e-3)


def test_the_point_spread_function_ends_where_it_is_cut():
    scene = torch.zeros(1, 65, 65)
    scene[0, 32, 32] = 1.0
    profile = crop(observe(rows(scene), pixel_response(65, 1, 1.0, 2.3548 * 2, psf_truncation=3.0)), 65)[0, 32]
    assert (torch.nonzero(profile).min().item(), torch.nonzero(profile).max().item()) == (32 - 6, 32 + 6)


def test_without_blur_a_pixel_is_the_mean_of_its_points():
    scene = torch.rand(2, 12, 12, generator=torch.Generator().manual_seed(0))
    image = crop(observe(rows(scene), pixel_response(4, 3, 0.1, psf_fwhm=0.0, psf_truncation=5.0)), 4)
    torch.testing.assert_close(image, torch.nn.functional.avg_pool2d(scene, 3))


def test_the_blur_is_that_of_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    scene = torch.rand(1, 20, 20, generator=torch.Generator().manual_seed(0))
    image = crop(observe(rows(scene), pixel_response(20, 1, 1.0, 2.354820045 * 1.3, psf_truncation=4.0)), 20)
    expected = ndimage.gaussian_filter(scene[0].numpy().astype(np.float64), 1.3, mode="nearest", truncate=4.0)
    np.testing.assert_allclose(image[0], expected, atol=1e-6)
