"""Deflections on a grid of points, for a batch of lenses at once.

Coordinates and deflections are flat, `(batch, points)` in arcsec; a parameter is `(batch, 1)`. The profiles are those
of caustics where its forms keep float32's digits. The truncated NFW halo's does not near the scale radius, nor the
isothermal ellipsoid's where it is nearly round and compiled, for torch's compiled atanh is 4e-4 off there; the point
mass is the inner loop and is written out for speed, and the vortex as a line is nowhere else.
"""

from collections.abc import Callable

import numpy as np
import torch
from caustics.lenses.func import reduced_deflection_angle_external_shear


__all__ = [
    "add_points",
    "external_shear_deflection",
    "halos_deflection",
    "points_deflection",
    "rod_deflection",
    "rotate",
    "sie_deflection",
    "tnfw_enclosed_area",
]

Deflection = tuple[torch.Tensor, torch.Tensor]

# Far below a pixel: they only keep a grid point that lies exactly on a centre from being 0 / 0.
SIE_CORE_ARCSEC = 1e-12
POINT_CORE_ARCSEC2 = 1e-20
ROD_CORE_ARCSEC2 = 1e-12

# Few, so that little is computed for samples that have fewer masses than others, and that they compile in seconds.
POINTS_PER_CALL = 5


def rotate(x: torch.Tensor, y: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> Deflection:
    """Coordinates of a vector along an axis of direction (cos, sin), and across it. With -sin, the way back."""
    return torch.addcmul(x * cos, y, sin), torch.addcmul(y * cos, x, sin, value=-1)


def sie_deflection(
    x: torch.Tensor, y: torch.Tensor, einstein_radius: torch.Tensor, axis_ratio: torch.Tensor
) -> Deflection:
    """Deflection of a singular isothermal ellipsoid at the origin with its major axis along x.

    Keeton 2001 (astro-ph/0102341), equations 34 and 35, with the Einstein radius of the intermediate axis, as in
    lenstronomy.
    """
    # A round lens is the limit of nearly round ones.
    q = axis_ratio.clamp(max=1 - 1e-6)
    f = torch.sqrt(1 - q * q)
    psi = torch.sqrt(q * q * (x * x + SIE_CORE_ARCSEC**2) + y * y)
    scale = einstein_radius * torch.sqrt(q) / f
    z = f * y / (psi + q * q * SIE_CORE_ARCSEC)
    return scale * torch.atan(f * x / (psi + SIE_CORE_ARCSEC)), 0.5 * scale * torch.log1p(2 * z / (1 - z))


def external_shear_deflection(
    x: torch.Tensor, y: torch.Tensor, shear_1: torch.Tensor, shear_2: torch.Tensor
) -> Deflection:
    """Deflection of an external shear (shear_1, shear_2) about the origin."""
    zero = torch.zeros_like(shear_1)
    return reduced_deflection_angle_external_shear(zero, zero, shear_1, shear_2, x, y)


def points_deflection(
    x: torch.Tensor, y: torch.Tensor, points: list[np.ndarray], accumulate: Callable | None = None
) -> Deflection:
    """Deflection of point masses, of which every sample has its own number.

    Args:
        x: Coordinates, the same for all samples, that broadcast with `y`: both `(points,)`, or `(width,)` with
            `(height, 1)` for a raster, on which much is then done once a column and once a row.
        y: Likewise.
        points: For each sample an array `(masses, 3)` of x, y (arcsec) and squared Einstein radius (arcsec^2).
        accumulate: A compiled `add_points`.

    Returns:
        The deflection `(batch, points)` or `(batch, height, width)`, added up mass by mass, so that memory does not
        grow with their number.
    """
    masses, counts, back = _table(points, x)
    shape = torch.broadcast_shapes(x.shape, y.shape)
    total_x, total_y = x.new_zeros(2, len(points), *shape)
    # A point without mass, which fills a call up, deflects nothing.
    masses = torch.nn.functional.pad(masses, (0, 0, 0, -masses.shape[1] % POINTS_PER_CALL))
    masses = masses.unflatten(2, (3, *(1 for _ in shape)))
    for first in range(0, masses.shape[1], POINTS_PER_CALL):
        rows = int((counts > first).sum())
        chunk = masses[:rows, first : first + POINTS_PER_CALL]
        (accumulate or add_points)(total_x[:rows], total_y[:rows], x, y, chunk)
    return total_x[back], total_y[back]


def add_points(
    total_x: torch.Tensor, total_y: torch.Tensor, x: torch.Tensor, y: torch.Tensor, masses: torch.Tensor
) -> None:
    """Adds the deflection of the point masses `(batch, masses, 3, ...)` to a total, in place."""
    point_x, point_y, areas = masses.unbind(2)
    all_dx, all_dy = x - point_x, y - point_y
    all_dx2, all_dy2 = all_dx * all_dx, all_dy * all_dy + POINT_CORE_ARCSEC2
    by_point = (values.unbind(1) for values in (all_dx, all_dy, all_dx2, all_dy2, areas))
    for dx, dy, dx2, dy2, area in zip(*by_point, strict=True):
        weight = area / (dx2 + dy2)
        total_x.addcmul_(dx, weight)
        total_y.addcmul_(dy, weight)


def halos_deflection(x: torch.Tensor, y: torch.Tensor, halos: list[np.ndarray]) -> Deflection:
    """Deflection of truncated NFW halos, of which every sample has its own number.

    Args:
        x: Coordinates `(1, points)`, the same for all samples.
        y: Likewise.
        halos: For each sample an array `(halos, 5)` of x, y (arcsec), squared Einstein radius of the mass M0
            (arcsec^2), scale radius (arcsec) and truncation radius over scale radius.

    Returns:
        The deflection `(batch, points)`, added up halo by halo.
    """
    table, counts, back = _table(halos, x)
    total_x, total_y = x.new_zeros(2, len(halos), x.shape[-1])
    for k in range(table.shape[1]):
        rows = int((counts > k).sum())
        halo_x, halo_y, area, scale, truncation = table[:rows, k].unsqueeze(-1).unbind(1)
        dx, dy = x - halo_x, y - halo_y
        radius2 = POINT_CORE_ARCSEC2 + dx * dx + dy * dy
        weight = area * tnfw_enclosed_area(radius2.sqrt() / scale, truncation) / radius2
        total_x[:rows] += dx * weight
        total_y[:rows] += dy * weight
    return total_x[back], total_y[back]


def tnfw_enclosed_area(radius: torch.Tensor, truncation: torch.Tensor) -> torch.Tensor:
    """The mass of a truncated NFW halo that is seen within a circle, in units of M0 = 4 pi rho_s r_s^3.

    Baltz et al. 2009 (arXiv:0705.0682), equation A.11.

    Args:
        radius: Radius of the circle over the scale radius.
        truncation: Truncation radius over the scale radius.
    """
    t2, r2 = truncation**2, radius**2
    excess = r2 - 1
    root = excess.abs().clamp(min=1e-12).sqrt()
    # F(x) of equation A.5, whose two branches meet in a power series of x^2 - 1. Near the centre F(x) and log(x / 2)
    # cancel; their sum, of order x^2 there, is written so that it keeps its digits, and with it the whole.
    log_half = torch.log(radius / 2)
    gap = (r2 / (1 + root)).clamp(max=1)
    inner, outer = (torch.log1p(-gap / 2) - gap * log_half) / root, torch.atan(root) / root
    series = 1 - excess * (1 / 3 - excess * (1 / 5 - excess * (1 / 7 - excess * (1 / 9 - excess / 11))))
    f = torch.where(excess.abs() < 0.02, series, torch.where(excess < 0, inner - log_half, outer))
    f_plus_log = torch.where(excess <= -0.02, inner, f + log_half)
    reach = truncation + (t2 + r2).sqrt()
    part = r2 / (truncation * reach)
    bracket = f_plus_log - torch.log1p(part / 2) + part * torch.log(radius / reach)
    bracket = (t2 - 1) * bracket + r2 * (2 * f - torch.pi / reach)
    return t2 / (t2 + 1) ** 2 * bracket


def _table(rows: list[np.ndarray], like: torch.Tensor) -> tuple[torch.Tensor, np.ndarray, torch.Tensor]:
    """Lists of every sample as one padded table, the longest first, their lengths, and the way back to their order."""
    counts = np.array([len(row) for row in rows])
    # With the longest lists first, the samples that have a k-th mass are the first ones.
    order = np.argsort(-counts, kind="stable")
    table = np.zeros((len(rows), counts.max(initial=0), rows[0].shape[1]))
    for place, sample in enumerate(order):
        table[place, : counts[sample]] = rows[sample]
    back = torch.from_numpy(np.argsort(order, kind="stable")).to(like.device)
    return torch.from_numpy(table).to(like), counts, back


def rod_deflection(
    along: torch.Tensor, across: torch.Tensor, half_length: torch.Tensor, einstein_area: torch.Tensor
) -> Deflection:
    """Deflection of a uniform line of mass at the origin, along the first coordinate.

    It is the integral of a point mass's deflection over the line; `einstein_area` (arcsec^2) is the squared Einstein
    radius that the whole mass would have as a point.

    Returns:
        The deflection along and across the line.
    """
    ahead, behind = along - half_length, along + half_length
    across2 = across * across + ROD_CORE_ARCSEC2
    alpha_along = (
        einstein_area / (4 * half_length) * torch.log((behind * behind + across2) / (ahead * ahead + across2))
    )
    angle = torch.atan2(across, ahead) - torch.atan2(across, behind)
    return alpha_along, einstein_area / (2 * half_length) * angle
