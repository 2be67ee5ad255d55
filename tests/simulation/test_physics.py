"""What must hold of any lens, whatever code computes it."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from lens_transformers.simulation import (
    Detector,
    Instrument,
    LensSimulationConfig,
    MainLens,
    PoissonCount,
    Source,
    Square,
    get_preset,
    simulate,
)
from lens_transformers.simulation.grid import pixel_grid
from lens_transformers.simulation.lenses import (
    halos_deflection,
    points_deflection,
    rod_deflection,
    sie_deflection,
    tnfw_enclosed_area,
)
from lens_transformers.simulation.rendering import deflect
from lens_transformers.simulation.scenes import draw_scene, without_substructure


def column(value):
    return torch.tensor([[value]], dtype=torch.float64)


def round_lens(position=(0.0, 0.0), source_radius=0.05, **fields):
    """A round isothermal lens of 1 arcsec and a small source."""

    class Fixed(Square):
        def draw(self, rng):
            return position

    return LensSimulationConfig(
        name="round",
        main_lens=MainLens(einstein_radius_arcsec=1.0, axis_ratio=1.0),
        source=Source(position=Fixed(0.0), effective_radius_arcsec=source_radius),
        instrument=Instrument(num_pixels=129, pixel_scale_arcsec=0.05, oversampling=4),
        **fields,
    )


def test_images_of_a_compact_source_are_where_the_lens_equation_has_them():
    image = simulate(round_lens((0.4, 0.0)), 1).image[0, 0]
    axis = (torch.arange(129) - 64) * 0.05
    row = image[64]
    outside, inside = row.clone(), row.clone()
    outside[axis < 0], inside[axis > 0] = 0, 0
    # theta = beta + theta_E, and theta = beta - theta_E on the other side.
    assert axis[outside.argmax()].item() == pytest.approx(1.4, abs=0.03)
    assert axis[inside.argmax()].item() == pytest.approx(-0.6, abs=0.03)


def test_images_of_a_compact_source_have_the_fluxes_of_their_magnifications():
    config = round_lens((0.4, 0.0), detector=Detector(exposure_time_s=1.0, noise="none"), scaling="none")
    lensed = simulate(config, 1).image[0, 0].double()
    no_lens = replace(config, main_lens=MainLens(einstein_radius_arcsec=1e-6))
    unlensed = simulate(no_lens, 1).image.double().sum()
    # The magnifications of an isothermal lens are 1 + theta_E / beta and theta_E / beta - 1.
    assert (lensed[:, 64:].sum() / unlensed).item() == pytest.approx(1 + 1 / 0.4, rel=0.03)
    assert (lensed[:, :64].sum() / unlensed).item() == pytest.approx(1 / 0.4 - 1, rel=0.05)


def test_the_magnification_is_negative_within_the_critical_curve_and_positive_outside():
    config = get_preset("lens_default").with_overrides({"substructure": None})
    step = 1e-4
    scene = draw_scene(config, 0, 0)
    center = [scene.parameters["lens_x_arcsec"], scene.parameters["lens_y_arcsec"]]
    angle = torch.arange(64, dtype=torch.float64) / 64 * 2 * math.pi
    for radius, sign in ((0.5, -1), (3.0, 1)):
        x, y = (center[0] + radius * torch.cos(angle))[None], (center[1] + radius * torch.sin(angle))[None]
        right, left = (deflect(config, [scene], x + dx, y) for dx in (step, -step))
        up, down = (deflect(config, [scene], x, y + dy) for dy in (step, -step))
        a_xx, a_yx = ((one - other) / (2 * step) for one, other in zip(right, left, strict=True))
        a_xy, a_yy = ((one - other) / (2 * step) for one, other in zip(up, down, strict=True))
        assert (torch.sign((1 - a_xx) * (1 - a_yy) - a_xy * a_yx) == sign).all()
        # A deflection that is a gradient has no curl.
        torch.testing.assert_close(a_xy, a_yx, rtol=0, atol=1e-6)


def test_a_galaxy_far_from_a_point_mass_keeps_its_flux():
    x, y = pixel_grid(256, 0.02)
    alpha_x, alpha_y = points_deflection(x, y, [np.array([[30.0, 0.0, 1.0]])])
    bent = torch.exp(-((x - alpha_x + 1 / 30) ** 2 + (y - alpha_y) ** 2) / 0.1).double().sum()
    straight = torch.exp(-(x**2 + y**2) / 0.1).double().sum()
    # The magnification of a point mass of 1 arcsec at 30 arcsec is 1 + 30 ** -4.
    assert (bent / straight).item() == pytest.approx(1.0, abs=1e-4)


def total_area_of_halo(truncation):
    """Total mass in units of M0, Baltz et al. 2009, equation A.4."""
    t2 = truncation**2
    return t2 / (t2 + 1) ** 2 * ((t2 - 1) * math.log(truncation) + truncation * math.pi - (t2 + 1))


def test_a_deflection_far_away_is_that_of_the_enclosed_mass():
    far = 3e3
    halos = np.array([[0.1, -0.2, 0.3, 0.2, 5.0]])
    alpha_x, _ = halos_deflection(column(far), column(0.0), [halos])
    assert far * alpha_x.item() == pytest.approx(0.3 * total_area_of_halo(5.0), rel=1e-3)
    points = np.array([[1.0, 2.0, 0.3], [-1.0, 0.5, 0.4]])
    alpha_x, _ = points_deflection(column(far), column(0.0), [points])
    assert far * alpha_x.item() == pytest.approx(0.7, rel=1e-3)
    alpha_x, _ = rod_deflection(column(far), column(0.0), column(3.0), column(0.5))
    assert far * alpha_x.item() == pytest.approx(0.5, rel=1e-3)
    # An isothermal lens has ever more mass: its deflection stays the Einstein radius.
    alpha_x, _ = sie_deflection(column(far), column(0.0), column(1.2), column(0.99999))
    assert alpha_x.item() == pytest.approx(1.2, rel=1e-4)


def test_a_rod_becomes_a_point_as_its_length_goes_to_zero():
    x, y = (c.double() for c in pixel_grid(32, 0.1))
    point = 0.1 * torch.stack([x, y]) / (x**2 + y**2)
    errors = [
        (torch.stack(rod_deflection(x, y, column(length), column(0.1))) - point).abs().max().item()
        for length in (0.04, 0.02, 0.01)
    ]
    # The first term that is left of a short rod is of second order in its length.
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.2) and errors[1] / errors[2] == pytest.approx(4, rel=0.2)


def test_points_become_a_rod_as_their_number_grows():
    x, y = (c.double() for c in pixel_grid(33, 0.1))
    y = y + 0.05
    rod = torch.stack(rod_deflection(x, y, column(1.0), column(0.1)))
    errors = []
    for count in (25, 50, 100, 200):
        along = (np.arange(count) + 0.5) / count * 2 - 1
        chain = np.stack([along, np.zeros(count), np.full(count, 0.1 / count)], axis=1)
        errors.append((torch.stack(points_deflection(x[0], y[0], [chain])) - rod).abs().max().item())
    assert all(later < earlier for earlier, later in zip(errors, errors[1:], strict=False))
    assert errors[-1] < 1e-3 * rod.abs().max().item()


@pytest.mark.parametrize("truncation", [0.5, 3.0, 20.0])
def test_the_mass_within_a_halos_circle_is_its_density_added_up(truncation):
    def surface_density(radius):
        # rho = M0 / (4 pi r_s^3) / (x (1 + x)^2) * t^2 / (t^2 + x^2), along the line of sight.
        def density(z):
            x = math.hypot(radius, z)
            return truncation**2 / (truncation**2 + x**2) / (x * (1 + x) ** 2) / (4 * math.pi)

        return 2 * (integrate.quad(density, 0, 1, limit=200)[0] + integrate.quad(density, 1, np.inf, limit=200)[0])

    for radius in (0.3, 1.0, 4.0):
        mass = integrate.quad(lambda r: 2 * math.pi * r * surface_density(r), 0, radius, limit=200)[0]
        assert tnfw_enclosed_area(column(radius), column(truncation)).item() == pytest.approx(mass, rel=1e-6)


def test_a_halo_is_smooth_across_its_scale_radius():
    radius = torch.linspace(0.97, 1.03, 2001, dtype=torch.float64)[None]
    mass = tnfw_enclosed_area(radius, column(4.0))
    assert (mass.diff(n=2).abs() < 1e-7).all()


@pytest.mark.parametrize("radius", [0.003, 0.05, 0.3, 0.9])
def test_the_mass_within_a_halos_circle_keeps_its_digits_in_float32(radius):
    truncation = column(20.0)
    exact = tnfw_enclosed_area(column(radius), truncation).item()
    assert tnfw_enclosed_area(column(radius).float(), truncation.float()).item() == pytest.approx(exact, rel=1e-6)


def area_within_circle(halo, center, radius):
    """The flux of a halo's deflection through a circle, by adaptive quadrature."""
    x, y, area, scale, truncation = halo
    distance = math.hypot(x - center[0], y - center[1])

    def flux(angle):
        # The law of cosines without a difference of large numbers.
        drop = 2 * math.sin(0.5 * angle) ** 2
        apart = math.sqrt((radius - distance) ** 2 + 2 * radius * distance * drop)
        enclosed = tnfw_enclosed_area(column(apart / scale), column(truncation)).item()
        return area * enclosed * (radius - distance + distance * drop) / apart**2

    nearest = abs(radius - distance) / radius
    ends = [0.0, *(end for end in nearest * 10.0 ** np.arange(6) if end < math.pi), math.pi]
    return radius / math.pi * sum(integrate.quad(flux, *part, epsrel=1e-9)[0] for part in pairwise(ends))


@pytest.mark.parametrize("overrides", [{}, {"vortex.num_points": 25}], ids=["points and a rod", "a chain"])
def test_a_compensated_lens_deflects_on_its_einstein_circle_as_far_as_a_smooth_one(overrides):
    overrides = {f"substructure.{name}": value for name, value in overrides.items()}
    config = get_preset("lens_default").with_overrides(overrides)
    angle = 2 * math.pi * (torch.arange(8000, dtype=torch.float64)[None] + 0.5) / 8000

    def mass_within_the_einstein_circle(scene):
        """By Gauss: the mean radial deflection on the circle, over that of a lens which is alone."""
        p = scene.parameters
        radius = p["einstein_radius_arcsec"]
        x, y = radius * angle.cos(), radius * angle.sin()
        along_x, along_y = deflect(config, [scene], p["lens_x_arcsec"] + x, p["lens_y_arcsec"] + y)
        return ((along_x * x + along_y * y).mean() / radius**2).item()

    for index in range(18):
        scene = draw_scene(config, 0, index)
        smooth = mass_within_the_einstein_circle(without_substructure(scene))
        assert mass_within_the_einstein_circle(scene) == pytest.approx(smooth, rel=2e-5)


def test_compensation_leaves_the_mass_within_the_einstein_radius_for_halos():
    config = get_preset("lens_default").with_overrides({"substructure.subhalos.profile": "tnfw"})
    on_the_circle = np.inf
    for index in range(1, 40, 3):
        scene = draw_scene(config, 0, index)
        p = scene.parameters
        center, radius = (p["lens_x_arcsec"], p["lens_y_arcsec"]), p["einstein_radius_arcsec"]
        substructure = sum(area_within_circle(halo, center, radius) for halo in scene.halos)
        # An isothermal ellipsoid holds a little less than a sphere within a circle.
        angle = np.linspace(0, 2 * np.pi, 1000, endpoint=False)
        held = np.mean((p["axis_ratio"] * np.cos(angle) ** 2 + np.sin(angle) ** 2 / p["axis_ratio"]) ** -0.5)
        total = held * p["main_lens_einstein_radius_arcsec"] * radius + substructure
        assert total == pytest.approx(held * radius**2, rel=1e-6)
        apart = np.abs(np.hypot(*(scene.halos[:, :2] - center).T) - radius)
        on_the_circle = min(on_the_circle, apart.min(initial=np.inf))
    assert on_the_circle < 0.01


def test_the_number_of_subhalos_is_drawn_from_its_distribution():
    config = get_preset("lens_default").with_overrides({"substructure.subhalos.count": PoissonCount(6.0)})
    counts = np.array([len(draw_scene(config, 1, index).points) for index in range(1, 3000, 3)])
    edges = np.arange(1, 12)
    observed = np.histogram(counts, bins=[-0.5, *(edges + 0.5), np.inf])[0]
    cumulative = np.array([*stats.poisson(6.0).cdf(edges), 1.0])
    assert stats.chisquare(observed, len(counts) * np.diff(cumulative, prepend=0.0)).pvalue > 1e-3


@pytest.mark.parametrize("preset", ["lens_default", "sr_physical"])
def test_oversampling_has_converged(preset):
    """Twice as many points move an image by far less than its noise."""
    config = get_preset(preset).with_overrides({"noise": None, "substructure": None})
    fine = config.with_overrides({"instrument.oversampling": 8})
    finest = simulate(fine, 4).noise_free

    def error(oversampling):
        image = simulate(config.with_overrides({"instrument.oversampling": oversampling}), 4).noise_free
        return (image - finest).square().mean().sqrt().item()

    errors = [error(n) for n in (1, 2, 4)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[1] < 2e-3
