import numpy as np
import pytest
from scipy import stats

from lens_transformers.simulation.distributions import (
    Disc,
    Gaussian2D,
    LogUniform,
    Normal,
    PoissonCount,
    PowerLaw,
    Radial,
    Square,
    Uniform,
    draw,
)


N = 20_000


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("slope", [-0.9, -1.9])
def test_a_power_law_has_its_slope(slope):
    low, high = 1e6, 1e10
    masses = PowerLaw(slope, low, high).draw(rng(), N)
    exponent = slope + 1
    result = stats.kstest(masses, lambda m: (m**exponent - low**exponent) / (high**exponent - low**exponent))
    assert result.pvalue > 1e-3
    assert low <= masses.min() and masses.max() <= high


def test_the_official_mass_function_has_its_known_mean_total():
    assert 25 * PowerLaw(-0.9, 1e6, 1e10).draw(rng(), N).mean() == pytest.approx(3.8e10, rel=0.05)
    assert 25 * PowerLaw(-1.9, 1e6, 1e10).draw(rng(), 50 * N).mean() == pytest.approx(3.5e8, rel=0.1)


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        (Uniform(-1.0, 3.0), stats.uniform(-1, 4)),
        (LogUniform(0.1, 10.0), stats.loguniform(0.1, 10)),
        (Normal(260.0, 20.0), stats.norm(260, 20)),
    ],
)
def test_a_distribution_is_what_its_name_says(distribution, expected):
    assert stats.kstest(distribution.draw(rng(), N), expected.cdf).pvalue > 1e-3


def test_a_poisson_count_has_its_mean_and_variance():
    counts = PoissonCount(10.0).draw(rng(), N)
    assert counts.mean() == pytest.approx(10, abs=0.1)
    assert counts.var() == pytest.approx(10, rel=0.05)


def test_positions_fill_their_shapes():
    random = rng()
    disc = np.array([Disc(0.4).draw(random) for _ in range(4000)])
    assert stats.kstest(np.hypot(*disc.T) ** 2, stats.uniform(0, 0.16).cdf).pvalue > 1e-3
    square = np.array([Square(0.3).draw(random) for _ in range(4000)])
    assert stats.kstest(square.ravel(), stats.uniform(-0.3, 0.6).cdf).pvalue > 1e-3
    radial = np.array([Radial(0.2, 0.6).draw(random) for _ in range(4000)])
    assert stats.kstest(np.hypot(*radial.T), stats.uniform(0.2, 0.4).cdf).pvalue > 1e-3
    gaussian = np.array([Gaussian2D(0.05).draw(random) for _ in range(4000)])
    assert stats.kstest(gaussian.ravel(), stats.norm(0, 0.05).cdf).pvalue > 1e-3


def test_a_plain_number_is_itself_and_draws_nothing():
    random = rng()
    before = random.bit_generator.state
    assert draw(0.7, random) == 0.7
    assert random.bit_generator.state == before


@pytest.mark.parametrize(
    "make",
    [
        lambda: Uniform(2.0, 1.0),
        lambda: Uniform(0.0, float("nan")),
        lambda: LogUniform(0.0, 1.0),
        lambda: PowerLaw(-1.9, -1.0, 1.0),
        lambda: PowerLaw(-1.0, 1.0, 2.0),
        lambda: PowerLaw(float("nan"), 1.0, 2.0),
        lambda: PowerLaw(-40.0, 1e9, 1e10),
        lambda: PowerLaw(40.0, 1e9, 1e10),
        lambda: PoissonCount(-1.0),
        lambda: PoissonCount(float("inf")),
        lambda: Square(-0.1),
        lambda: Disc(float("inf")),
        lambda: Radial(0.5, 0.2),
        lambda: Normal(0.0, -1.0),
    ],
)
def test_an_impossible_distribution_is_refused(make):
    with pytest.raises(ValueError, match="needs|log_uniform"):
        make()
