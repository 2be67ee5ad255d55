import numpy as np
import pytest
import torch

from lens_transformers.evaluation import ReconstructionMetric, interpolate_masked, mean_patch, reconstruction_rows


def _masked(count=4, bands=2, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.random((count, bands, 12, 16)).astype(np.float32)
    masks = rng.random((count, 3, 4)) < 0.6
    masks[:, 0, 0], masks[:, 0, 1] = True, False
    return images, masks.repeat(4, axis=1).repeat(4, axis=2)


def test_only_masked_pixels_count_and_every_image_counts_alike():
    images, masks = _masked()
    predictions = images + np.arange(1, 5, dtype=np.float32)[:, None, None, None]
    predictions[np.broadcast_to(~masks[:, None], images.shape)] = 1e3
    result = ReconstructionMetric().compute(predictions=predictions, references=images, masks=masks)
    assert result["masked_mse"] == pytest.approx((1 + 4 + 9 + 16) / 4, rel=1e-5)
    assert result["mask_ratio"] == pytest.approx(masks.mean())
    low, high = result["intervals"]["masked_mse"]
    assert 1 < low < result["masked_mse"] < high < 16


def test_batches_of_tensors_add_up_to_the_whole():
    images, masks = _masked()
    whole = ReconstructionMetric().compute(predictions=images * 0, references=images, masks=masks)
    metric = ReconstructionMetric()
    for part in (slice(0, 3), slice(3, 4)):
        metric.add_batch(
            predictions=torch.zeros(images[part].shape),
            references=torch.from_numpy(images[part]),
            masks=torch.from_numpy(masks[part]).float(),
        )
    parts = metric.compute()
    assert parts.pop("intervals").keys() == whole.pop("intervals").keys() == whole.keys()
    assert parts == pytest.approx(whole, rel=1e-12)


def test_masks_that_do_not_fit_are_refused():
    images, masks = _masked()
    for bad, message in [
        (masks[:, :3], r"masks must be \(batch, height, width\) \(4, 12, 16\) for these images, got \(4, 3, 16\)"),
        (masks * 0.5, r"masks must be true \(1\) where a pixel is hidden"),
        (masks & np.array([True, True, False, True])[:, None, None], "image 2 of the batch has no masked pixel"),
        (None, "masks are missing"),
    ]:
        with pytest.raises(ValueError, match=message):
            ReconstructionMetric().add_batch(predictions=images, references=images, masks=bad)


@pytest.mark.parametrize("fill", [mean_patch, interpolate_masked])
def test_filling_keeps_visible_pixels_and_does_not_look_at_hidden_ones(fill):
    images, masks = _masked()
    hidden = np.broadcast_to(masks[:, None], images.shape)
    filled = fill(images, masks)
    assert filled.dtype == np.float32
    np.testing.assert_array_equal(filled[~hidden], images[~hidden])
    np.testing.assert_array_equal(fill(np.where(hidden, np.float32(np.nan), images), masks), filled)


@pytest.mark.parametrize("fill", [mean_patch, interpolate_masked])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_whole_numbers_are_filled_with_floats(fill, dtype):
    images, masks = _masked()
    images = (100 * images).astype(dtype)
    filled = fill(images, masks)
    assert filled.dtype == np.float32
    np.testing.assert_allclose(filled, fill(images.astype(np.float32), masks), rtol=1e-6)


def test_mean_patch_is_the_mean_of_what_is_visible_in_the_image_and_band():
    images, masks = _masked()
    filled = mean_patch(images, masks)
    for image in range(4):
        for band in range(2):
            expected = images[image, band][~masks[image]].mean()
            np.testing.assert_allclose(filled[image, band][masks[image]], expected, rtol=1e-6)


def test_interpolated_pixels_are_the_mean_of_their_neighbours_inside_the_image():
    images, masks = _masked()
    filled = interpolate_masked(images.astype(np.float64), masks)
    padded = np.pad(filled, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=np.nan)
    rows, columns = padded[..., :, 1:-1], padded[..., 1:-1, :]
    neighbours = np.stack([rows[..., :-2, :], rows[..., 2:, :], columns[..., :-2], columns[..., 2:]])
    hidden = np.broadcast_to(masks[:, None], images.shape)
    np.testing.assert_allclose(filled[hidden], np.nanmean(neighbours, axis=0)[hidden], rtol=1e-10)


def test_a_slope_is_interpolated_exactly():
    slope = np.tile(np.linspace(0, 1, 16), (12, 1))[None, None]
    masks = np.zeros((1, 12, 16), dtype=bool)
    masks[:, :, 3:13] = True
    np.testing.assert_allclose(interpolate_masked(slope, masks), slope, atol=1e-12)


@pytest.mark.parametrize("fill", [mean_patch, interpolate_masked])
def test_an_image_with_nothing_visible_is_named(fill):
    images, masks = _masked()
    masks[1] = True
    with pytest.raises(ValueError, match="image 1 of the batch has no visible pixel"):
        fill(images, masks)


def test_an_image_with_nothing_hidden_comes_back_as_it_was():
    images, masks = _masked()
    np.testing.assert_array_equal(interpolate_masked(images, np.zeros_like(masks)), images)


def test_rows_score_both_fillings():
    images, masks = _masked()
    rows = reconstruction_rows(images, masks, split="validation")
    assert [row["name"] for row in rows] == ["Mean of visible pixels", "Harmonic interpolation"]
    for row, fill in zip(rows, (mean_patch, interpolate_masked), strict=True):
        expected = ReconstructionMetric().compute(predictions=fill(images, masks), references=images, masks=masks)
        assert row == {"name": row["name"], "split": "validation", **expected}
