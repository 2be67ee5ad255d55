"""Deflections on a grid of points, for a batch of lenses at once.

Coordinates and deflections are flat, `(batch, points)` in arcsec; a parameter is `(batch, 1)`. The profiles come from
caustics, but for the point mass, which is the inner loop and is written out for speed, and the vortex as a line.
"""

import numpy as np
import torch
from caustics.lenses.func import (
    reduced_deflection_angle_external_shear,
    reduced_deflection_angle_sie,
)


__all__ = ["external_shear_deflection", "points_deflection", "rod_deflection", "rotate", "sie_deflection"]

Deflection = tuple[torch.Tensor, torch.Tensor]

# Far below a pixel: they only keep a grid point that lies exactly on a centre from being 0 / 0.
SIE_CORE_ARCSEC = 1e-6
POINT_CORE_ARCSEC2 = 1e-12
ROD_CORE_ARCSEC2 = 1e-12


def rotate(x: torch.Tensor, y: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> Deflection:
    """Coordinates of a vector along an axis of direction (cos, sin), and across it. With -sin, the way back."""
    return x * cos + y * sin, y * cos - x * sin


def sie_deflection(
    x: torch.Tensor, y: torch.Tensor, einstein_radius: torch.Tensor, axis_ratio: torch.Tensor
) -> Deflection:
    """Deflection of a singular isothermal ellipsoid at the origin with its major axis along x.

    The Einstein radius is that of the intermediate axis, as in lenstronomy (Keeton 2001, astro-ph/0102341).
    """
    zero = torch.zeros_like(einstein_radius)
    return reduced_deflection_angle_sie(zero, zero, axis_ratio, None, einstein_radius, x, y, s=SIE_CORE_ARCSEC)


def external_shear_deflection(
    x: torch.Tensor, y: torch.Tensor, shear_1: torch.Tensor, shear_2: torch.Tensor
) -> Deflection:
    """Deflection of an external shear (shear_1, shear_2) about the origin."""
    zero = torch.zeros_like(shear_1)
    return reduced_deflection_angle_external_shear(zero, zero, shear_1, shear_2, x, y)


def points_deflection(x: torch.Tensor, y: torch.Tensor, points: list[np.ndarray]) -> Deflection:
    """Deflection of point masses, of which every sample has its own number.

    Args:
        x: Coordinates `(1, points)`, the same for all samples.
        y: Likewise.
        points: For each sample an array `(masses, 3)` of x, y (arcsec) and squared Einstein radius (arcsec^2).

    Returns:
        The deflection `(batch, points)`, added up mass by mass, so that memory does not grow with their number.
    """
    counts = np.array([len(masses) for masses in points])
    # With the longest lists first, the samples that have a k-th mass are the first ones.
    order = np.argsort(-counts, kind="stable")
    table = np.zeros((len(points), counts.max(initial=0), 3), dtype=np.float32)
    for row, sample in enumerate(order):
        table[row, : counts[sample]] = points[sample]
    masses = torch.from_numpy(table).to(x.device)
    core = torch.tensor(POINT_CORE_ARCSEC2, device=x.device)
    total_x, total_y = x.new_zeros(2, len(points), x.shape[-1])
    for k in range(table.shape[1]):
        rows = int((counts > k).sum())
        point_x, point_y, area = masses[:rows, k].unsqueeze(-1).unbind(1)
        dx, dy = x - point_x, y - point_y
        weight = area / torch.addcmul(core, dx, dx).addcmul_(dy, dy)
        total_x[:rows].addcmul_(dx, weight)
        total_y[:rows].addcmul_(dy, weight)
    back = torch.from_numpy(np.argsort(order, kind="stable")).to(x.device)
    return total_x[back], total_y[back]


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
