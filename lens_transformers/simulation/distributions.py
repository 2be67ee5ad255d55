"""The named distributions that a configuration may give instead of a fixed number.

In Python a fixed quantity is a plain number and a random one an object, `Uniform(0.9, 1.6)`; in YAML the same reads
`{uniform: {low: 0.9, high: 1.6}}`. A distribution has the unit of the field that holds it.
"""

import math
from dataclasses import dataclass

import numpy as np


__all__ = [
    "DISTRIBUTIONS",
    "Disc",
    "Distribution",
    "Gaussian2D",
    "LogUniform",
    "Normal",
    "PoissonCount",
    "Position",
    "PowerLaw",
    "Radial",
    "Spread",
    "Square",
    "Uniform",
    "draw",
    "support",
]


_MAX_EXPONENT = 300


@dataclass(frozen=True)
class Uniform:
    """Uniform between `low` and `high`."""

    low: float
    high: float

    def __post_init__(self):
        _check_order(self)

    def draw(self, rng: np.random.Generator, size: int | None = None):
        """Draws one value, or an array of `size` values."""
        return self.low + (self.high - self.low) * rng.random(size)


@dataclass(frozen=True)
class LogUniform:
    """Uniform in the logarithm between the positive values `low` and `high`."""

    low: float
    high: float

    def __post_init__(self):
        _check_order(self, positive=True)

    def draw(self, rng: np.random.Generator, size: int | None = None):
        """Draws one value, or an array of `size` values."""
        return self.low * (self.high / self.low) ** rng.random(size)


@dataclass(frozen=True)
class PowerLaw:
    """Density proportional to `x ** slope` between the positive values `low` and `high`."""

    slope: float
    low: float
    high: float

    def __post_init__(self):
        _check_order(self, positive=True)
        if self.slope == -1.0:
            raise ValueError("A power law of slope -1 is log_uniform; use that.")
        # Powers that over- or underflow would be drawn as infinite or 0.
        if not max(abs((self.slope + 1.0) * math.log10(end)) for end in (self.low, self.high)) < _MAX_EXPONENT:
            raise ValueError(
                f"PowerLaw needs a slope by which the powers of low and high are numbers within 1e±{_MAX_EXPONENT}, "
                f"got slope={self.slope}, low={self.low}, high={self.high}."
            )

    def draw(self, rng: np.random.Generator, size: int | None = None):
        """Draws one value, or an array of `size` values."""
        exponent = self.slope + 1.0
        low, high = self.low**exponent, self.high**exponent
        return (low + (high - low) * rng.random(size)) ** (1.0 / exponent)


@dataclass(frozen=True)
class Normal:
    """Normal of mean `mean` and standard deviation `std`, held within four of them."""

    mean: float
    std: float

    def __post_init__(self):
        if not (np.isfinite([self.mean, self.std]).all() and self.std >= 0):
            raise ValueError(f"Normal needs a finite mean and std >= 0, got mean={self.mean}, std={self.std}.")

    @property
    def low(self) -> float:
        """The smallest value."""
        return self.mean - 4 * self.std

    @property
    def high(self) -> float:
        """The largest value."""
        return self.mean + 4 * self.std

    def draw(self, rng: np.random.Generator, size: int | None = None):
        """Draws one value, or an array of `size` values."""
        return self.mean + self.std * np.clip(rng.standard_normal(size), -4, 4)


@dataclass(frozen=True)
class PoissonCount:
    """A whole number from a Poisson distribution of mean `mean`."""

    mean: float

    def __post_init__(self):
        if not 0 <= self.mean < np.inf:
            raise ValueError(f"A Poisson count needs a finite mean of at least 0, got {self.mean}.")

    def draw(self, rng: np.random.Generator, size: int | None = None):
        """Draws one count, or an array of `size` counts."""
        return rng.poisson(self.mean, size)


@dataclass(frozen=True)
class Square:
    """A position uniform in the square of half-width `half_width` (arcsec)."""

    half_width: float

    def __post_init__(self):
        _check_extent(self, self.half_width)

    def draw(self, rng: np.random.Generator) -> tuple[float, float]:
        """Draws one position (x, y)."""
        x, y = self.half_width * (2.0 * rng.random(2) - 1.0)
        return x, y


@dataclass(frozen=True)
class Disc:
    """A position uniform in the disc of radius `radius` (arcsec)."""

    radius: float

    def __post_init__(self):
        _check_extent(self, self.radius)

    def draw(self, rng: np.random.Generator) -> tuple[float, float]:
        """Draws one position (x, y)."""
        fraction, turn = rng.random(2)
        radius, angle = self.radius * np.sqrt(fraction), 2.0 * np.pi * turn
        return radius * np.cos(angle), radius * np.sin(angle)


@dataclass(frozen=True)
class Radial:
    """A position in a uniform direction, at a distance uniform between `low` and `high` (arcsec)."""

    low: float
    high: float

    def __post_init__(self):
        if not 0 <= self.low <= self.high < np.inf:
            raise ValueError(f"Radial needs finite 0 <= low <= high, got low={self.low}, high={self.high}.")

    def draw(self, rng: np.random.Generator) -> tuple[float, float]:
        """Draws one position (x, y)."""
        fraction, turn = rng.random(2)
        radius, angle = self.low + (self.high - self.low) * fraction, 2.0 * np.pi * turn
        return radius * np.cos(angle), radius * np.sin(angle)


@dataclass(frozen=True)
class Gaussian2D:
    """A position with independent Gaussian coordinates of standard deviation `std` (arcsec)."""

    std: float

    def __post_init__(self):
        _check_extent(self, self.std)

    def draw(self, rng: np.random.Generator) -> tuple[float, float]:
        """Draws one position (x, y)."""
        x, y = self.std * rng.standard_normal(2)
        return x, y


Spread = Uniform | LogUniform | PowerLaw | Normal
Distribution = float | PoissonCount | Spread
Position = Square | Disc | Radial | Gaussian2D

DISTRIBUTIONS: dict[str, type] = {
    "uniform": Uniform,
    "log_uniform": LogUniform,
    "power_law": PowerLaw,
    "normal": Normal,
    "poisson_count": PoissonCount,
    "square": Square,
    "disc": Disc,
    "radial": Radial,
    "gaussian_2d": Gaussian2D,
}


def draw(distribution: Distribution, rng: np.random.Generator) -> float:
    """Draws one value; a plain number is its own value and draws nothing."""
    return float(distribution if isinstance(distribution, int | float) else distribution.draw(rng))


def support(distribution: Distribution) -> tuple[float, float]:
    """The smallest and the largest value a distribution can give."""
    if isinstance(distribution, int | float):
        return distribution, distribution
    if isinstance(distribution, PoissonCount):
        return 0.0, np.inf
    return distribution.low, distribution.high


def _check_order(distribution: Uniform | LogUniform | PowerLaw, positive: bool = False) -> None:
    low, high = distribution.low, distribution.high
    if not (np.isfinite([low, high]).all() and low <= high and (low > 0 or not positive)):
        wanted = "0 < low <= high" if positive else "low <= high"
        raise ValueError(f"{type(distribution).__name__} needs finite {wanted}, got low={low}, high={high}.")


def _check_extent(position: Position, extent: float) -> None:
    if not 0 <= extent < np.inf:
        raise ValueError(f"{type(position).__name__} needs a finite extent of at least 0 arcsec, got {extent}.")
