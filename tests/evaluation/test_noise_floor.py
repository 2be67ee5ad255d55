import numpy as np
import pytest

from lens_transformers.evaluation import SuperResolutionMetric, noise_floor_rows
from lens_transformers.simulation import get_preset, simulate


def test_the_truth_scores_the_noise_of_the_targets_and_the_ceiling_lies_above_it():
    config = get_preset("sr_deeplense").with_overrides({"instrument.num_pixels": 48})
    pairs = simulate(config, 12)
    noise_free, low, high = (images.numpy() for images in (pairs.noise_free, pairs.image, pairs.target))
    truth, ceiling = noise_floor_rows(noise_free, low, high, split="validation")
    expected = SuperResolutionMetric().compute(predictions=noise_free, references=high)
    assert truth == {"name": "Noise-free image", "split": "validation", "kind": "ceiling", **expected}
    # Shrinking by half keeps a quarter of the noise: without it the error is three quarters at best.
    assert 0.6 < ceiling["mse"] / truth["mse"] < 0.8
    assert ceiling["psnr"] > truth["psnr"] + 1
    as_in_fits = (images.astype(">f4") for images in (noise_free, low, high))
    assert noise_floor_rows(*as_in_fits, split="validation") == [truth, ceiling]


def test_input_without_noise_shows_none_of_the_targets():
    rng = np.random.default_rng(0)
    noise_free = np.zeros((8, 1, 32, 32))
    high = noise_free + 0.1 * rng.standard_normal(noise_free.shape)
    truth, ceiling = noise_floor_rows(noise_free, 0.01 * rng.standard_normal((8, 1, 16, 16)), high, data_range=1.0)
    assert truth["mse"] == pytest.approx(0.01, rel=0.05)
    assert ceiling["mse"] == pytest.approx(truth["mse"], rel=0.02)
