import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lens_transformers.evaluation import SuperResolutionMetric, compare_images, ring_masks
from lens_transformers.evaluation.bootstrap import draw_weights
from lens_transformers.evaluation.image_quality import _medians


def _images(count=6, bands=1, seed=0):
    rng = np.random.default_rng(seed)
    references = rng.random((count, bands, 16, 18)).astype(np.float32)
    return references + 0.05 * rng.standard_normal(references.shape).astype(np.float32), references


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize(("dtype", "within"), [(np.float32, 1e-6), (np.float64, 1e-12)])
@pytest.mark.parametrize("data_range", [1.0, 4.0])
def test_every_number_is_averaged_per_image_by_its_definition(bands, dtype, within, data_range):
    predictions, references = (images.astype(dtype) for images in _images(bands=bands))
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
    assert {name: result[name] for name in expected} == pytest.approx(expected, rel=within)


def test_ssim_of_dim_images_in_float32_is_right_to_a_millionth():
    references, predictions = (0.02 * images + 0.9 for images in _images(count=20)[::-1])
    quality = compare_images(torch.from_numpy(predictions), torch.from_numpy(references), 1.0)
    for index, pair in enumerate(zip(references[:, 0], predictions[:, 0], strict=True)):
        exact = structural_similarity(*(image.astype(np.float64) for image in pair), data_range=1.0)
        assert quality["ssim"][index].item() == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("unit", [1e-17, 1e-12, 1e10, 1e17])
def test_the_unit_of_flux_changes_no_number_of_float32_images_but_their_errors(unit):
    predictions, references = _images()
    one = SuperResolutionMetric(1.0).compute(predictions=predictions, references=references)
    scaled = [np.float32(unit) * images for images in (predictions, references)]
    other = SuperResolutionMetric(unit).compute(predictions=scaled[0], references=scaled[1])
    for name, power in (("psnr", 0), ("ssim", 0), ("psnr_ring", 0), ("mse", 2), ("mae_ring", 1)):
        assert other[name] == pytest.approx(one[name] * unit**power, rel=1e-5), name


@pytest.mark.parametrize("as_read", [lambda images: images.astype(">f4"), lambda images: images[..., ::-1, :]])
def test_images_are_taken_as_files_have_them(as_read):
    predictions, references = (as_read(images) for images in _images())
    native = [np.ascontiguousarray(images, dtype=np.float32) for images in (predictions, references)]
    result = SuperResolutionMetric().compute(predictions=predictions, references=references)
    assert result == SuperResolutionMetric().compute(predictions=native[0], references=native[1])


def test_the_sky_is_the_median_however_its_pixels_are_ordered():
    rng = np.random.default_rng(0)
    images = rng.standard_normal((3, 1, 40, 40))
    images[1] = np.sort(images[1].ravel()).reshape(1, 40, 40)
    images[2] = 0.5  # all alike but for one pixel in sixteen, the ones that are looked at first
    images[2].flat[::16] = np.arange(100)
    medians = torch.from_numpy(images).flatten(1).median(dim=1).values
    assert torch.equal(_medians(torch.from_numpy(images).flatten(1)), medians)
    for size in (1, 2, 15, 16, 17):
        rows = torch.from_numpy(images).flatten(1)[:, :size]
        assert torch.equal(_medians(rows), rows.median(dim=1).values)


def _ring(side=40, radius=9.0, noise=0.0, seed=0):
    """A ring of brightness one on a sky of 0.2."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    ring = 0.2 + np.exp(-(((np.hypot(x, y) - radius) / 2) ** 2))
    return (ring + noise * np.random.default_rng(seed).standard_normal(ring.shape))[None, None]


def test_the_ring_is_where_the_arcs_are_and_noise_makes_none():
    y, x = np.mgrid[:40, :40] - 19.5
    distance = np.abs(np.hypot(x, y) - 9)
    for noise in (0.0, 0.05):
        images = _ring(noise=noise)
        images = np.concatenate([images, 7 * images - 3])  # whatever the unit of brightness is
        for ring in ring_masks(torch.from_numpy(images)).numpy():
            assert ring[distance < 2].all() and not ring[distance > 5].any()


def test_the_border_is_in_no_ring_and_bands_share_one():
    slope = np.linspace(0, 1, 20) * np.ones((20, 1))
    ring = ring_masks(torch.from_numpy(np.stack([slope, 0 * slope])[None]))
    assert ring.shape == (1, 20, 20) and ring[0, 3:17, 16].all()
    assert not (ring[:, :3].any() or ring[:, :, -3:].any())


def test_ring_numbers_are_those_of_the_pixels_of_the_ring():
    references = np.concatenate([_ring(), _ring(radius=6.0)])
    predictions = references + 0.1 * np.random.default_rng(1).standard_normal(references.shape)
    result = SuperResolutionMetric(2.0).compute(predictions=predictions, references=references)
    masks = ring_masks(torch.from_numpy(references)).numpy()
    expected = {name: [] for name in ("psnr_ring", "ssim_ring", "mse_ring", "mae_ring")}
    for (reference,), (prediction,), mask in zip(references, predictions, masks, strict=True):
        similarity = structural_similarity(reference, prediction, data_range=2.0, full=True)[1]
        expected["ssim_ring"].append(similarity[mask].mean())
        expected["mae_ring"].append(np.abs(prediction - reference)[mask].mean())
        expected["mse_ring"].append(((prediction - reference)[mask] ** 2).mean())
        expected["psnr_ring"].append(peak_signal_noise_ratio(reference[mask], prediction[mask], data_range=2.0))
    for name, values in expected.items():
        assert result[name] == pytest.approx(np.mean(values), rel=1e-12)
        low, high = result["intervals"][name]
        assert low <= result[name] <= high


def test_what_lies_off_the_ring_counts_for_the_whole_image_alone():
    reference = _ring()
    prediction = reference.copy()
    prediction[..., 3:6, 3:6] += 0.5
    result = SuperResolutionMetric(2.0).compute(predictions=prediction, references=reference + 1e-3)
    assert result["mae_ring"] == pytest.approx(1e-3) and result["mae"] > 2e-3


def test_constant_references_have_no_ring_and_do_not_count_for_it():
    references = np.concatenate([_ring(), np.full((1, 1, 40, 40), 0.5)])
    with pytest.warns(UserWarning, match="1 of 2 references are constant: they have no ring"):
        result = SuperResolutionMetric(2.0).compute(predictions=references + 0.1, references=references)
    alone = SuperResolutionMetric(2.0).compute(predictions=references[:1] + 0.1, references=references[:1])
    for name in ("psnr_ring", "ssim_ring", "mse_ring", "mae_ring"):
        assert result[name] == pytest.approx(alone[name], rel=1e-12)
    assert result["mse"] == pytest.approx(0.01)


def test_a_ring_that_is_exact_in_an_image_that_is_not_is_warned_of():
    references = _ring()
    predictions = references.copy()
    predictions[..., 0, 0] += 0.1
    with pytest.warns(UserWarning, match="PSNR in the ring is infinite .* 1 of 1 predictions"):
        result = SuperResolutionMetric(2.0).compute(predictions=predictions, references=references)
    assert np.isinf(result["psnr_ring"]) and np.isfinite(result["psnr"])


@pytest.mark.parametrize("shape", [(7, 7), (8, 21), (33, 40)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batches_of_tensors_have_scikit_images_psnr_and_ssim(shape, dtype):
    generator = torch.Generator().manual_seed(0)
    references = 300 * torch.rand(5, 2, *shape, generator=generator, dtype=dtype)
    predictions = references + 20 * torch.randn(references.shape, generator=generator, dtype=dtype)
    quality = compare_images(predictions.double(), references.double(), 255.0)
    for index, pair in enumerate(zip(references.numpy(), predictions.numpy(), strict=True)):
        pair = [image.astype(np.float64) for image in pair]
        assert quality["psnr"][index].item() == pytest.approx(peak_signal_noise_ratio(*pair, data_range=255.0))
        ssim = structural_similarity(*pair, data_range=255.0, channel_axis=0)
        assert quality["ssim"][index].item() == pytest.approx(ssim, abs=1e-12)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_numbers_of_a_cpu():
    predictions, references = (torch.from_numpy(images) for images in _images(bands=2))
    on_cpu = SuperResolutionMetric().compute(predictions=predictions, references=references)
    on_gpu = SuperResolutionMetric().compute(predictions=predictions.cuda(), references=references)
    assert on_gpu.pop("intervals").keys() == on_cpu.pop("intervals").keys()
    assert on_gpu == pytest.approx(on_cpu, rel=1e-9)


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


def test_a_batch_is_kept_as_a_few_numbers_an_image():
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
    assert np.isnan(result["intervals"].pop("psnr_ring")).all()
    perfect = {"ssim": 1, "mse": 0, "mae": 0, "ssim_ring": 1, "mse_ring": 0, "mae_ring": 0, "flux_ratio": 1}
    assert result.pop("intervals") == {name: pytest.approx([value] * 2) for name, value in perfect.items()}
    assert result == pytest.approx({"psnr": np.inf, "psnr_ring": np.inf, **perfect})


def test_references_without_flux_have_no_flux_ratio():
    predictions, _ = _images()
    for images, ratio in [(predictions, np.inf), (predictions * 0 + np.resize([1, -1], 18), np.nan)]:
        with (
            pytest.warns(UserWarning, match="flux_ratio is undefined: the flux of all references sums to zero"),
            pytest.warns(UserWarning, match="6 of 6 references are constant"),
        ):
            result = SuperResolutionMetric().compute(predictions=images, references=images * 0)
        np.testing.assert_equal(result["flux_ratio"], ratio)
        assert np.isnan(result["psnr_ring"])
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


def test_a_range_that_is_not_given_is_one_and_must_be_that_of_the_references():
    predictions, references = _images()
    result = SuperResolutionMetric().compute(predictions=predictions, references=references)
    assert result == SuperResolutionMetric(1.0).compute(predictions=predictions, references=references)
    for images in (4 * references, references - 0.5):
        with pytest.raises(ValueError, match="data_range is not known: references reach from .*, not from 0 to 1"):
            SuperResolutionMetric().add_batch(predictions=predictions, references=images)
    SuperResolutionMetric(4.0).add_batch(predictions=predictions, references=4 * references)


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
    with pytest.raises(ValueError, match=r"Images must be at least 7x7 pixels for SSIM, got \(6, 18\)"):
        SuperResolutionMetric().add_batch(predictions=references[..., :6, :], references=references[..., :6, :])
    with pytest.raises(ValueError, match="data_range must be a brightness above 0, got 0"):
        SuperResolutionMetric(0)


def test_images_of_a_network_in_half_precision_are_compared():
    images = torch.rand(2, 1, 24, 24)
    predictions = (images + 0.1).requires_grad_()
    quality = compare_images(predictions, images, data_range=1.0)
    assert quality["mse"].tolist() == pytest.approx([0.01, 0.01], rel=1e-4) and not quality["ssim"].requires_grad
    assert torch.equal(ring_masks(images.bfloat16()), ring_masks(images.bfloat16().float()))
