"""Distances, and the Einstein radius of a mass, in the flat LCDM cosmology of the official simulations."""

import math
from functools import lru_cache

import astropy.units as u
from astropy.constants import G, c
from astropy.cosmology import FlatLambdaCDM


__all__ = ["convention_deflection_scale", "einstein_area_per_mass", "nfw_scale", "velocity_dispersion_radius"]

COSMOLOGY = FlatLambdaCDM(H0=70, Om0=0.3, Ob0=0.05)


@lru_cache
def einstein_area_per_mass(z_lens: float, z_source: float, distances: str = "angular_diameter") -> float:
    """The squared Einstein radius of a point mass, per unit mass: 1 / (pi * critical surface density).

    Args:
        z_lens: Redshift of the lens.
        z_source: Redshift of the source.
        distances: `"angular_diameter"`, which is right, or `"luminosity"`, with which the official DeepLense recipes
            compute it: their Einstein radii are 0.77 of the right ones at redshifts 0.5 and 1.0.

    Returns:
        The constant in arcsec^2 per M_sun.
    """
    lens, source = (COSMOLOGY.comoving_distance(z) for z in (z_lens, z_source))
    if distances == "luminosity":
        lens, source = lens * (1 + z_lens), source * (1 + z_source)
        between = source - lens
    else:
        between = (source - lens) / (1 + z_source)
        lens, source = lens / (1 + z_lens), source / (1 + z_source)
    area = 4 * G * u.M_sun / c**2 * between / (lens * source) * u.rad**2
    return area.to_value(u.arcsec**2)


@lru_cache
def convention_deflection_scale(
    z_lens: float, z_source: float, z_convention: float, omega_matter: float = COSMOLOGY.Om0
) -> float:
    """The factor on deflections that are declared for a source at `z_convention` but meet one at `z_source`.

    lenstronomy's simulation interface takes lens parameters as if for its convention redshift and rescales them to the
    true source; the official Model II gives it parameters for the true source, in a cosmology of another matter
    density.
    """
    cosmology = FlatLambdaCDM(H0=COSMOLOGY.H0, Om0=omega_matter)
    lens, source, convention = (cosmology.comoving_distance(z).value for z in (z_lens, z_source, z_convention))
    return (1 - lens / source) / (1 - lens / convention)


@lru_cache
def velocity_dispersion_radius(z_lens: float, z_source: float) -> float:
    """The Einstein radius of an isothermal lens of 1 km/s, in arcsec; it grows with the square of the dispersion."""
    lens, source = (COSMOLOGY.comoving_distance(z).value for z in (z_lens, z_source))
    return 4 * math.pi / c.to_value(u.km / u.s) ** 2 * (1 - lens / source) * u.rad.to(u.arcsec)


@lru_cache
def nfw_scale(z_lens: float) -> float:
    """The radius r200 of an NFW halo of one solar mass, in arcsec; it grows with the cube root of M200."""
    density = 200 * COSMOLOGY.critical_density(z_lens).to_value(u.M_sun / u.Mpc**3)
    radius = (3 / (4 * math.pi * density)) ** (1 / 3)
    return radius / COSMOLOGY.angular_diameter_distance(z_lens).to_value(u.Mpc) * u.rad.to(u.arcsec)
