import numpy as np
import pytest
import torch
from scipy import stats

from lens_transformers.simulation.detector import expose, poisson_quantile


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
