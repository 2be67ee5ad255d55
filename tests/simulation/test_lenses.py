import math

import numpy as np
import pytest
import torch
from caustics.lenses.func import reduced_deflection_angle_point, reduced_deflection_angle_sie

from lens_transformers.simulation.grid import pixel_grid
from lens_transformers.simulation.lenses import (
    external_shear_deflection,
    points_deflection,
    rod_deflection,
    rotate,
    sie_deflection,
)


@pytest.fixture
def grid():
    x, y = pixel_grid(64, 0.1)
    return x.double(), y.double()


def column(value):
    return torch.tensor([[value]], dtype=torch.float64)


@pytest.mark.parametrize("half_length", [0.03, 0.3, 3.0])
def test_a_rod_is_the_limit_of_many_points(grid, half_length):
    x, y = grid
    rod = torch.stack(rod_deflection(x, y, column(half_length), column(0.1)))
    along = half_length * ((torch.arange(4001, dtype=torch.float64) + 0.5) / 4001 * 2 - 1)
    chain = torch.zeros_like(rod)
    for point in along:
        r2 = (x - point) ** 2 + y**2
        chain += 0.1 / 4001 * torch.stack([(x - point) / r2, y / r2])
    assert (rod - chain).abs().max() < 2e-5 * rod.abs().max()


def test_a_short_rod_is_a_point(grid):
    x, y = grid
    rod = torch.stack(rod_deflection(x, y, column(1e-3), column(0.1)))
    point = 0.1 * torch.stack([x, y]) / (x**2 + y**2)
    torch.testing.assert_close(rod, point, rtol=1e-3, atol=0)


def test_a_rod_deflects_as_its_mass_from_far_away():
    alpha, _ = rod_deflection(column(1e3), column(0.0), column(1.0), column(0.5))
    assert alpha.item() == pytest.approx(0.5 / 1e3, rel=1e-5)


def test_points_deflect_as_caustics_says_and_every_sample_has_its_own(grid):
    x, y = (c.float() for c in grid)
    rng = np.random.default_rng(0)
    points = [np.concatenate([rng.uniform(-2, 2, (n, 2)), rng.uniform(0.01, 0.1, (n, 1))], axis=1) for n in (2, 0, 5)]
    alpha_x, alpha_y = points_deflection(x[0], y[0], points)
    for sample, masses in enumerate(points):
        expected = torch.zeros(2, x.shape[1])
        for px, py, area in masses:
            expected += torch.cat(reduced_deflection_angle_point(px, py, math.sqrt(area), x, y))
        torch.testing.assert_close(torch.stack([alpha_x[sample], alpha_y[sample]]), expected, rtol=1e-4, atol=1e-5)


def test_a_point_deflects_by_its_einstein_radius_at_its_einstein_radius():
    alpha_x, alpha_y = points_deflection(
        torch.tensor([[0.8]]), torch.tensor([[0.0]]), [np.array([[0.3, 0.0, 0.5**2]])]
    )
    assert (alpha_x.item(), alpha_y.item()) == (pytest.approx(0.5), 0.0)


def test_a_nearly_round_isothermal_lens_deflects_by_its_einstein_radius_everywhere(grid):
    x, y = grid
    alpha_x, alpha_y = sie_deflection(x, y, column(1.3), column(0.9999))
    torch.testing.assert_close(torch.hypot(alpha_x, alpha_y), torch.full_like(x, 1.3), rtol=1e-3, atol=0)


@pytest.mark.parametrize("axis_ratio", [0.3, 0.6, 0.99, 1.0])
def test_an_isothermal_lens_deflects_as_caustics_says(grid, axis_ratio):
    x, y = grid
    zero, q, radius = column(0.0), column(axis_ratio), column(1.3)
    expected = torch.cat(reduced_deflection_angle_sie(zero, zero, q, None, radius, x, y))
    torch.testing.assert_close(torch.cat(sie_deflection(x, y, radius, q)), expected, rtol=0, atol=1e-8)
    in_float32 = torch.cat(sie_deflection(*(value.float() for value in (x, y, radius, q))))
    torch.testing.assert_close(in_float32.double(), expected, rtol=0, atol=3e-6)


def test_an_elliptical_isothermal_lens_deflects_on_its_axes_as_known():
    radius, q = 1.3, 0.7
    f = math.sqrt(1 - q * q)
    on_x = torch.tensor([[1.7, 0.0]], dtype=torch.float64)
    on_y = torch.tensor([[0.0, 0.9]], dtype=torch.float64)
    alpha_x, alpha_y = sie_deflection(on_x, on_y, column(radius), column(q))
    # Keeton (2001), equations 34 and 35 with b = radius * sqrt(q).
    assert alpha_x[0, 0].item() == pytest.approx(radius * math.sqrt(q) / f * math.atan(f / q), rel=1e-5)
    assert alpha_y[0, 1].item() == pytest.approx(radius * math.sqrt(q) / f * math.atanh(f), rel=1e-5)


def test_shear_stretches_along_its_direction():
    x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    alpha_x, alpha_y = external_shear_deflection(x, y, torch.tensor([[0.1]]), torch.tensor([[0.02]]))
    torch.testing.assert_close(alpha_x, torch.tensor([[0.1, 0.02]]))
    torch.testing.assert_close(alpha_y, torch.tensor([[0.02, -0.1]]))


def test_a_rotation_has_a_way_back(grid):
    x, y = grid
    cos, sin = column(math.cos(0.7)), column(math.sin(0.7))
    back = rotate(*rotate(x, y, cos, sin), cos, -sin)
    torch.testing.assert_close(torch.cat(back), torch.cat([x, y]))


def test_a_grid_point_on_a_centre_is_finite():
    zero = torch.zeros(1, 1)
    one = torch.ones(1, 1)
    for deflection in (
        sie_deflection(zero, zero, one, 0.8 * one),
        points_deflection(zero, zero, [np.array([[0.0, 0.0, 1.0]])]),
        rod_deflection(zero, zero, one, one),
        rod_deflection(one, zero, one, one),
    ):
        assert torch.isfinite(torch.cat(deflection)).all()
