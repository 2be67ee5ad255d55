import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lens_transformers.evaluation import SuperResolutionMetric
from lens_transformers.evaluation.bootstrap import draw_weights


def _images(count=6, bands=1, seed=0):
    rng = np.random.default_rng(seed)
    references = rng.random((count, bands, 16, 18)).astype(np.float32)
    return references + 0.05 * rng.standard_normal(references.shape).astype(np.float32), references


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("data_range", [1.0, 4.0])
def test_every_number_is_averaged_per_image_by_its_definition(bands, data_range):
    predictions, references = _images(bands=bands)
    predictions[0] = references[0] + 0.5  # so that the mean of PSNRs is not the PSNR of the mean
    result = SuperResolutionMetric(data_range).compute(predictions=predictions, references=references)
    pairs = list(zip(references.astype(np.float64), predictions.astype(np.float64), strict=True))
    expected = {
        "psnr": np.mean([peak_signal_noise_ratio(*pair, data_range=data_range) for pair in pairs]),
        "ssim": np.mean([structural_similarity(*pair, data_range=data_range, channel_axis=0) for pair in pairs]),
        "mse": np.mean((predictions.astype(np.float64) - references) ** 2),
        "mae": np.mean(np.abs(predictions.astype(np.float64) - references)),
        "flux_ratio": predictions.astype(np.float64).sum() / references.astype(np.float64).sum(),
    }
    del result["intervals"]
    assert result == pytest.approx(expected, rel=1e-12)


def test_batches_and_single_images_add_up_to_the_whole():
    predictions, references = _images()
    whole = SuperResolutionMetric().compute(predictions=predictions, references=references)
    metric = SuperResolutionMetric()
    metric.add_batch(predictions=torch.from_numpy(predictions[:4]), references=torch.from_numpy(references[:4]))
    metric.add(prediction=predictions[4], reference=references[4])
    parts = metric.compute(predictions=predictions[5:], references=references[5:])
    intervals, expected = parts.pop("intervals"), whole.pop("intervals")
    assert parts == pytest.approx(whole, rel=1e-12)
    for name, interval in intervals.items():
        assert interval == pytest.approx(expected[name], rel=1e-12)


def test_a_batch_is_kept_as_six_numbers_an_image():
    predictions, references = _images()
    metric = SuperResolutionMetric()
    metric.add_batch(predictions=predictions, references=references)
    assert len(metric) == 6
    assert {str(feature) for feature in metric.features.values()} == {"Value('float64')"}


def test_identical_images_are_infinitely_good():
    _, references = _images()
    with pytest.warns(UserWarning, match="PSNR is infinite and has no interval: 6 of 6 predictions are identical"):
        result = SuperResolutionMetric().compute(predictions=references, references=references)
    assert np.isnan(result["intervals"].pop("psnr")).all()
    assert result.pop("intervals") == {"ssim": [1, 1], "mse": [0, 0], "mae": [0, 0], "flux_ratio": [1, 1]}
    assert result == {"psnr": np.inf, "ssim": 1.0, "mse": 0.0, "mae": 0.0, "flux_ratio": 1.0}


def test_references_without_flux_have_no_flux_ratio():
    predictions, _ = _images()
    for images, ratio in [(predictions, np.inf), (predictions * 0 + np.resize([1, -1], 18), np.nan)]:
        with pytest.warns(UserWarning, match="flux_ratio is undefined: the flux of all references sums to zero"):
            result = SuperResolutionMetric().compute(predictions=images, references=images * 0)
        np.testing.assert_equal(result["flux_ratio"], ratio)
        assert np.isnan(result["intervals"]["flux_ratio"]).all() and np.isfinite(result["intervals"]["mse"]).all()


def test_intervals_are_those_of_means_and_ratios_over_drawn_images(monkeypatch):
    monkeypatch.setattr("lens_transformers.evaluation.bootstrap.NUM_RESAMPLES", 40)
    predictions, references = _images(count=8)
    predictions *= np.linspace(0.5, 1.5, 8, dtype=np.float32)[:, None, None, None]
    result = SuperResolutionMetric().compute(
        predictions=predictions, references=references, confidence_level=0.5, seed=3
    )
    resampled = []
    for weights in np.concatenate(list(draw_weights(8, seed=3)), axis=1).T:
        drawn = np.arange(8).repeat(weights.astype(int))
        resampled.append(SuperResolutionMetric().compute(predictions=predictions[drawn], references=references[drawn]))
    for name, interval in result["intervals"].items():
        expected = np.quantile([one[name] for one in resampled], [0.25, 0.75])
        assert interval == pytest.approx(expected.tolist(), rel=1e-12)


def test_no_files_are_left_and_no_folder_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr("evaluate.config.HF_METRICS_CACHE", str(tmp_path / "metrics"))
    monkeypatch.chdir(tmp_path)
    predictions, references = _images()
    one, other = SuperResolutionMetric(), SuperResolutionMetric()
    one.add_batch(predictions=predictions, references=references)
    other.add_batch(predictions=references + 1e-3, references=references)
    assert one.compute()["mse"] > 1e-3 > other.compute()["mse"] > 0
    assert list(tmp_path.iterdir()) == []


def test_wrong_input_is_refused():
    predictions, references = _images()
    with pytest.raises(ValueError, match=r"must both be \(batch, bands, height, width\), got \(5, 1, 16, 18\) and"):
        SuperResolutionMetric().add_batch(predictions=predictions[:5], references=references)
    with pytest.raises(ValueError, match=r"must both be \(batch, bands, height, width\)"):
        SuperResolutionMetric().add_batch(predictions=predictions[:, 0], references=references[:, 0])
    predictions[0, 0, 0, :2] = np.nan
    with pytest.raises(ValueError, match="predictions: 2 pixels are NaN or infinite"):
        SuperResolutionMetric().add_batch(predictions=predictions, references=references)
    with pytest.raises(ValueError, match="predictions are missing"):
        SuperResolutionMetric().compute(references=references)
    with pytest.raises(ValueError, match="SuperResolutionMetric: no images were added"):
        SuperResolutionMetric().compute()
    with pytest.raises(ValueError, match="data_range must be positive, got 0"):
        SuperResolutionMetric(0)
