import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lens_transformers.evaluation import SuperResolutionMetric


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
    assert result == pytest.approx(expected, rel=1e-12)


def test_batches_and_single_images_add_up_to_the_whole():
    predictions, references = _images()
    whole = SuperResolutionMetric().compute(predictions=predictions, references=references)
    metric = SuperResolutionMetric()
    metric.add_batch(predictions=torch.from_numpy(predictions[:4]), references=torch.from_numpy(references[:4]))
    metric.add(prediction=predictions[4], reference=references[4])
    assert metric.compute(predictions=predictions[5:], references=references[5:]) == pytest.approx(whole, rel=1e-12)


def test_a_batch_is_kept_as_six_numbers_an_image():
    predictions, references = _images()
    metric = SuperResolutionMetric()
    metric.add_batch(predictions=predictions, references=references)
    assert len(metric) == 6
    assert {str(feature) for feature in metric.features.values()} == {"Value('float64')"}


def test_identical_images_are_infinitely_good():
    _, references = _images()
    result = SuperResolutionMetric().compute(predictions=references, references=references)
    assert result == {"psnr": np.inf, "ssim": 1.0, "mse": 0.0, "mae": 0.0, "flux_ratio": 1.0}


def test_no_files_are_left_and_no_folder_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr("evaluate.config.HF_METRICS_CACHE", str(tmp_path / "metrics"))
    monkeypatch.chdir(tmp_path)
    predictions, references = _images()
    one, other = SuperResolutionMetric(), SuperResolutionMetric()
    one.add_batch(predictions=predictions, references=references)
    other.add_batch(predictions=references, references=references)
    assert one.compute()["mse"] > other.compute()["mse"] == 0
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
