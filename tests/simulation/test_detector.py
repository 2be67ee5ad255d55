import numpy as np
import pytest
import torch
from scipy import stats

from lens_transformers.simulation import Detector
from lens_transformers.simulation.detector import detect, expose, poisson_quantile


def normals(count, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(count, dtype=np.float32))


@pytest.mark.parametrize("mean", [0.05, 1.0, 7.0, 9.99, 10.01, 50.0, 3000.0])
def test_counts_have_the_mean_and_variance_of_a_poisson_distribution(mean):
    counts = poisson_quantile(torch.full((400_000,), mean), normals(400_000)).double()
    error = np.sqrt(mean / 400_000)
    assert counts.mean().item() == pytest.approx(mean, abs=4 * error)
    # The variance of a sample variance is (2 mean^2 + mean) / n.
    assert counts.var().item() == pytest.approx(mean, abs=4 * np.sqrt((2 * mean**2 + mean) / 400_000))


@pytest.mark.parametrize("mean", [0.3, 4.0, 9.9, 10.1, 40.0])
def test_counts_have_the_distribution_of_a_poisson_distribution(mean):
    z = torch.linspace(-5, 5, 200_001, dtype=torch.float64)
    counts = poisson_quantile(torch.full((200_001,), mean), z.float())
    exact = stats.poisson.ppf(stats.norm.cdf(z.numpy()), mean)
    wrong = torch.from_numpy(np.asarray(counts) != exact)
    # The fraction of draws that get another count than by exact inversion.
    assert (torch.exp(-0.5 * z**2) * wrong).sum() / torch.exp(-0.5 * z**2).sum() < 5e-4


def test_small_counts_are_exact_wherever_they_lie():
    z = torch.linspace(-5, 5, 4096)
    for mean in torch.cat([torch.linspace(0.01, 9.99, 60), torch.tensor([2.0, 2.1])]):
        counts = poisson_quantile(mean.expand_as(z), z).numpy()
        # The normal distribution's own tail keeps its digits on both sides.
        reached, missed = stats.poisson.cdf(counts, mean.item()), stats.poisson.sf(counts - 1, mean.item())
        assert (reached >= stats.norm.cdf(z.numpy()) * (1 - 1e-5)).all()
        assert (missed >= stats.norm.sf(z.numpy()) * (1 - 1e-5)).all()


def test_counts_are_whole_and_never_negative():
    mean = torch.rand(10_000, generator=torch.Generator().manual_seed(0)) * 40
    counts = poisson_quantile(mean, 1.5 * normals(10_000))
    assert (counts >= 0).all()
    assert torch.equal(counts, counts.round())


def test_a_rare_high_number_gives_a_rare_high_count_and_not_an_absurd_one():
    counts = poisson_quantile(torch.tensor([1e-3, 1.0, 5.0]), torch.full((3,), 6.0))
    expected = stats.poisson.ppf(stats.norm.cdf(6.0), [1e-3, 1.0, 5.0])
    np.testing.assert_allclose(counts, expected, atol=1)


def test_a_dark_pixel_stays_dark():
    assert poisson_quantile(torch.zeros(64), normals(64)).abs().max() == 0


def test_noise_has_the_stated_variance_and_the_sky_is_gone():
    n = 200_000
    levels = (torch.tensor([[value]]) for value in (500.0, 20.0, 0.01))
    noisy = expose(torch.full((1, n), 0.4), normals(n)[None], normals(n, seed=1)[None], *levels).double()
    variance = (0.4 * 500 + 20) / 500**2 + 0.01**2
    assert noisy.mean().item() == pytest.approx(0.4, abs=4 * np.sqrt(variance / n))
    assert noisy.var().item() == pytest.approx(variance, rel=0.02)


def detected(detector, rate=0.5, time=200.0, sky_rate=0.0, n=200_000):
    numbers = torch.stack([normals(n, seed)[None] for seed in range(3)])
    image, noise_free = detect(torch.full((1, n), rate), torch.tensor([[time]]), numbers, detector, sky_rate)
    return image.double(), noise_free.double()


@pytest.mark.parametrize(("unit", "scale"), [("electrons_per_s", 1 / 800), ("electrons", 1.0), ("adu", 1 / 2.5)])
def test_a_detector_adds_the_noise_of_source_sky_and_readout_in_its_unit(unit, scale):
    detector = Detector(200.0, num_exposures=4, gain_e_per_adu=2.5, read_noise_e=6.0, unit=unit)
    image, noise_free = detected(detector, sky_rate=0.3)
    electrons, sky, readout = 0.5 * 800, 0.3 * 800, 4 * 6.0**2
    variance = electrons + sky + readout
    assert noise_free.mean().item() == pytest.approx(electrons * scale, rel=1e-6)
    assert image.mean().item() == pytest.approx(electrons * scale, abs=4 * np.sqrt(variance / 200_000) * scale)
    assert image.var().item() == pytest.approx(variance * scale**2, rel=0.02)


def test_the_official_second_poisson_draw_doubles_the_photon_noise():
    once, _ = detected(Detector(200.0, background_rms_e_per_s=0.01, unit="electrons"))
    twice, _ = detected(Detector(200.0, background_rms_e_per_s=0.01, unit="electrons", noise="poisson_twice"))
    assert torch.equal(twice, twice.round())
    assert once.var().item() == pytest.approx(100 + 2.0**2, rel=0.02)
    assert twice.var().item() == pytest.approx(2 * 100 + 2.0**2, rel=0.02)


def test_a_detector_without_noise_gives_the_model_once_or_as_official_files_have_it_twice():
    rate, time = torch.full((1, 64), 0.5), torch.tensor([[200.0]])
    image, noise_free = detect(rate, time, None, Detector(200.0, noise="none"), 0.1)
    assert torch.equal(image, rate) and torch.equal(noise_free, rate)
    image, noise_free = detect(rate, time, None, Detector(200.0, noise="none", model_twice=True), 0.1)
    assert torch.equal(image, 2 * rate) and torch.equal(noise_free, 2 * rate)


def test_a_sky_is_brighter_in_a_larger_pixel():
    detector = Detector(1.0, zero_point_mag=25.0, sky_mag_per_arcsec2=22.5, sky_e_per_s=0.01)
    assert detector.sky_rate(0.1) == pytest.approx(10 * 0.1**2 + 0.01)
    assert detector.sky_rate(0.2) == pytest.approx(10 * 0.2**2 + 0.01)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"exposure_time_s": 0.0}, "detector.exposure_time_s must lie within"),
        ({"gain_e_per_adu": 0.0}, "detector.gain_e_per_adu"),
        ({"read_noise_e": -1.0}, "detector.read_noise_e"),
        ({"num_exposures": 0}, "detector.num_exposures"),
        ({"unit": "photons"}, "detector.unit must be one of"),
        ({"noise": "twice"}, "detector.noise must be one of"),
    ],
)
def test_an_impossible_detector_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Detector(**{"exposure_time_s": 100.0, **fields})
