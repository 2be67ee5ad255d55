import math

import pytest

from lens_transformers.simulation.cosmology import convention_deflection_scale, einstein_area_per_mass


@pytest.mark.parametrize(("distances", "radius"), [("luminosity", 1.2815), ("angular_diameter", 1.6645)])
def test_the_official_lens_has_its_known_einstein_radius(distances, radius):
    assert math.sqrt(1e12 * einstein_area_per_mass(0.5, 1.0, distances)) == pytest.approx(radius, abs=1e-4)


def test_the_critical_surface_density_is_the_known_one():
    assert 1 / (math.pi * einstein_area_per_mass(0.5, 1.0)) == pytest.approx(1.1489e11, rel=1e-4)


def test_a_point_mass_with_official_distances_has_its_known_einstein_radius():
    assert math.sqrt(1e6 * einstein_area_per_mass(0.5, 1.0, "luminosity")) == pytest.approx(1.2815e-3, rel=1e-4)


def test_the_redshift_convention_of_model_2_scales_deflections_as_known():
    assert convention_deflection_scale(0.5, 1.0, 2.5) == pytest.approx(0.6337, abs=1e-4)


def test_the_scale_of_the_released_file_is_that_of_pyhalos_matter_density():
    # A smooth lens fitted to the nosub file of ML4SCI/DeepLense has a shear of 0.0317157 where 0.05 was asked for.
    assert 0.05 * convention_deflection_scale(0.5, 1.0, 2.5, 0.2814) == pytest.approx(0.0317157, abs=1e-7)


def test_a_convention_at_the_source_changes_nothing():
    assert convention_deflection_scale(0.5, 1.0, 1.0) == 1.0
