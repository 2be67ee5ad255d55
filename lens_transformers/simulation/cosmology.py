"""Distances, and the Einstein radius of a mass, in the flat LCDM cosmology of the official simulations."""

from functools import lru_cache

import astropy.units as u
from astropy.constants import G, c
from astropy.cosmology import FlatLambdaCDM


__all__ = ["convention_deflection_scale", "einstein_area_per_mass"]

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
def convention_deflection_scale(z_lens: float, z_source: float, z_convention: float) -> float:
    """The factor on deflections that are declared for a source at `z_convention` but meet one at `z_source`.

    lenstronomy's simulation interface takes lens parameters as if for its convention redshift and rescales them to the
    true source; the official Model II gives it parameters for the true source.
    """
    lens, source, convention = (COSMOLOGY.comoving_distance(z).value for z in (z_lens, z_source, z_convention))
    return (1 - lens / source) / (1 - lens / convention)
