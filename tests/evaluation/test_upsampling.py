import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lens_transformers.evaluation import (
    LeastSquaresFilter,
    SuperResolutionMetric,
    bicubic_upsample,
    bilinear_upsample,
    nearest_upsample,
    upsampling_rows,
)


def _low(count=3, bands=2, seed=0):
    return np.random.default_rng(seed).random((count, bands, 10, 12))


@pytest.mark.parametrize("upscale", [2, 3, 4])
@pytest.mark.parametrize(("upsample", "mode"), [(bicubic_upsample, "bicubic"), (bilinear_upsample, "bilinear")])
def test_interpolation_is_torchs_without_aligned_corners(upscale, upsample, mode):
    low = _low().astype(np.float32)
    expected = F.interpolate(torch.from_numpy(low), scale_factor=upscale, mode=mode, align_corners=False).numpy()
    np.testing.assert_array_equal(upsample(low, upscale), expected)


def test_whole_numbers_become_floats_whatever_their_size():
    low = (1000 * _low(40)).astype(np.int16)
    high = bicubic_upsample(low.astype(np.float32), 2)
    fitted = LeastSquaresFilter(size=3, upscale=2).fit(low, high)
    for upsample in (fitted, lambda images: bicubic_upsample(images, 2), lambda images: bilinear_upsample(images, 2)):
        upsampled = upsample(low)
        assert upsampled.dtype == np.float32
        np.testing.assert_allclose(upsampled, upsample(low.astype(np.float32)), rtol=1e-6)


@pytest.mark.parametrize("upsample", [bicubic_upsample, bilinear_upsample, nearest_upsample])
def test_tensors_are_upsampled_as_arrays(upsample):
    low = _low()
    np.testing.assert_array_equal(upsample(torch.from_numpy(low), 2), upsample(low, 2))


def test_nearest_upsampling_repeats_every_pixel():
    low = _low()
    high = nearest_upsample(low, 3)
    assert high.shape == (3, 2, 30, 36)
    for row, column in np.ndindex(3, 3):
        np.testing.assert_array_equal(high[..., row::3, column::3], low)


@pytest.mark.parametrize("upscale", [1, 2, 3])
def test_a_linear_relation_is_recovered_borders_included(upscale):
    # Replicated borders make bilinear interpolation one 3x3 filter everywhere.
    low, unseen = _low(), _low(seed=1)
    fitted = LeastSquaresFilter(size=3, upscale=upscale).fit(low, bilinear_upsample(low, upscale))
    np.testing.assert_allclose(fitted(unseen), bilinear_upsample(unseen, upscale), atol=1e-4)


def test_no_filter_of_that_size_fits_better():
    rng = np.random.default_rng(0)
    low = _low(count=8, bands=1)
    high = bicubic_upsample(low, 2) + 0.1 * rng.standard_normal((8, 1, 20, 24))
    fitted = LeastSquaresFilter(size=3, upscale=2).fit(low, high)

    def error():
        return np.mean((fitted(low) - high) ** 2)

    best = error()
    for _ in range(10):
        weights = fitted.weights
        fitted.weights = weights + 0.01 * torch.from_numpy(rng.standard_normal(weights.shape))
        assert error() > best
        fitted.weights = weights


def test_the_fit_does_not_depend_on_batches(monkeypatch):
    low = _low(count=7)
    high = bicubic_upsample(low, 2)
    whole = LeastSquaresFilter().fit(low, high).weights
    monkeypatch.setattr("lens_transformers.evaluation.upsampling._BATCH", 2)
    torch.testing.assert_close(LeastSquaresFilter().fit(low, high).weights, whole, rtol=1e-6, atol=1e-8)


def test_float32_images_stay_float32():
    low = _low().astype(np.float32)
    assert LeastSquaresFilter(3).fit(low, bicubic_upsample(low, 2))(low).dtype == np.float32


def test_rows_score_all_four_and_the_fitted_filter_leads_on_noisy_pairs():
    rng = np.random.default_rng(0)
    high = F.avg_pool2d(torch.from_numpy(rng.random((40, 1, 38, 38))), 7, 1).numpy()
    low = F.avg_pool2d(torch.from_numpy(high), 2).numpy() + 0.02 * rng.standard_normal((40, 1, 16, 16))
    rows = upsampling_rows(low[:30], high[:30], low[30:], high[30:], size=5)
    assert [row["name"] for row in rows] == ["Bicubic", "Bilinear", "Nearest", "Least-squares filter 5×5"]
    expected = SuperResolutionMetric().compute(predictions=bicubic_upsample(low[30:], 2), references=high[30:])
    assert rows[0] == {"name": "Bicubic", "split": "test", **expected}
    assert rows[3]["psnr"] > max(row["psnr"] for row in rows[:3])


def test_wrong_input_is_refused():
    low = _low()
    with pytest.raises(ValueError, match="size must be odd and positive, so that a filter has a centre, got 8"):
        LeastSquaresFilter(size=8)
    with pytest.raises(ValueError, match="upscale must be at least 1, got 0"):
        LeastSquaresFilter(upscale=0)
    with pytest.raises(ValueError, match="The pairs have a ratio of 3, the filter 2"):
        LeastSquaresFilter().fit(low, bicubic_upsample(low, 3))
    with pytest.raises(ValueError, match="one whole ratio of sizes"):
        LeastSquaresFilter().fit(low, bicubic_upsample(low, 2)[..., :-1])
    with pytest.raises(RuntimeError, match="Fit the filter on pairs before applying it"):
        LeastSquaresFilter()(low)
