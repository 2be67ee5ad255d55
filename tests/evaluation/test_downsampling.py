import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lens_transformers.evaluation.downsampling import LeastSquaresDownsampler


@pytest.fixture
def high():
    return np.random.default_rng(0).normal(size=(40, 2, 48, 48)).astype(np.float32)


def blur_and_bin(high, upscale, fwhm):
    distance = np.arange(-upscale, upscale + 1)
    profile = np.exp(-4 * np.log(2) * (distance / fwhm) ** 2)
    kernel = torch.tensor(np.outer(profile, profile) / profile.sum() ** 2, dtype=torch.float32)
    images = torch.from_numpy(high).flatten(0, 1)[:, None]
    blurred = F.conv2d(F.pad(images, (upscale,) * 4, mode="reflect"), kernel[None, None])
    return (
        F.avg_pool2d(blurred, upscale).reshape(*high.shape[:2], *(size // upscale for size in high.shape[2:])).numpy()
    )


@pytest.mark.parametrize("upscale", [2, 3, 4])
def test_the_blur_of_pairs_is_found_and_gives_the_low_resolution_back(high, upscale):
    low = blur_and_bin(high, upscale, fwhm=1.5)
    downsampler = LeastSquaresDownsampler(size=3, upscale=upscale).fit(low, high)
    unseen = np.random.default_rng(1).normal(size=(2, 2, 48, 48)).astype(np.float32)
    expected = downsampler.interior(torch.from_numpy(blur_and_bin(unseen, upscale, fwhm=1.5)))
    torch.testing.assert_close(downsampler(torch.from_numpy(unseen)), expected, rtol=0, atol=1e-5)
    # Flux is kept.
    assert downsampler.kernels.sum(dim=(1, 2, 3)).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)


def test_every_band_has_a_kernel_of_its_own(high):
    low = np.concatenate([blur_and_bin(high[:, :1], 2, fwhm=1.0), blur_and_bin(high[:, 1:], 2, fwhm=2.5)], axis=1)
    downsampler = LeastSquaresDownsampler(size=3).fit(low, high)
    sharp, broad = downsampler.kernels[:, 0].amax(dim=(1, 2)).tolist()
    assert sharp > 1.2 * broad
    residual = downsampler(torch.from_numpy(high)) - downsampler.interior(torch.from_numpy(low))
    assert residual.abs().max() < 1e-5


def test_noise_in_the_low_resolution_averages_out(high):
    noisy = blur_and_bin(high, 2, fwhm=1.5) + 0.1 * np.random.default_rng(2).normal(size=(40, 2, 24, 24))
    exact = LeastSquaresDownsampler(size=3).fit(blur_and_bin(high, 2, fwhm=1.5), high)
    fitted = LeastSquaresDownsampler(size=3).fit(noisy, high)
    assert (fitted.kernels - exact.kernels).abs().max() < 5e-3


def test_it_has_to_be_fitted_first_and_to_have_a_centre():
    with pytest.raises(RuntimeError, match="Fit the downsampler"):
        LeastSquaresDownsampler()(torch.zeros(1, 1, 20, 20))
    with pytest.raises(ValueError, match="odd and positive"):
        LeastSquaresDownsampler(size=4)


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        ((4, 2, 8, 8), (4, 2, 24, 24), "The pairs have a ratio of 3, the downsampler 2"),
        ((4, 2, 8, 8), (3, 2, 16, 16), "must be .* with the same batch and bands and one whole ratio of sizes"),
        ((4, 2, 2, 8), (4, 2, 4, 16), r"images \(4, 2, 2, 8\) must be at least as wide and high as the kernel, 3"),
    ],
)
def test_pairs_that_cannot_be_fitted_are_refused(low, high, message):
    with pytest.raises(ValueError, match=message):
        LeastSquaresDownsampler(size=3).fit(np.zeros(low), np.zeros(high))
