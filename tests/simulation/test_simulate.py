import math
import shutil
import sys

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from lens_transformers.simulation import PRESETS, Gaussian2D, PowerLaw, Square, get_preset, simulate
from lens_transformers.simulation.scenes import draw_scene, without_substructure


CLASSIFICATION = [name for name, config in PRESETS.items() if config.substructure]
MIN_MAX = [name for name, config in PRESETS.items() if config.scaling == "min_max" and not config.super_resolution]
PAIRS = [name for name, config in PRESETS.items() if config.super_resolution]


def small(preset, **overrides):
    """The preset at a size that is quick to render, and that is no multiple of a vector register."""
    size = 30 if preset in PAIRS else 21
    return get_preset(preset).with_overrides({"instrument.num_pixels": size, **overrides})


def tensors(lenses):
    named = {"image": lenses.image, "noise_free": lenses.noise_free, **lenses.parameters}
    others = {"target": lenses.target, "label": lenses.label, "imprint": lenses.imprint}
    return named | {name: tensor for name, tensor in others.items() if tensor is not None}


def assert_same_bytes(one, other):
    for name, tensor in tensors(one).items():
        assert tensor.numpy().tobytes() == tensors(other)[name].numpy().tobytes(), name


@pytest.mark.parametrize("preset", PRESETS)
def test_a_sample_is_the_same_in_any_batch(preset):
    reference = simulate(small(preset), 67, seed=5, batch_size=64)
    for batch_size in (1, 3, None):
        assert_same_bytes(reference, simulate(small(preset), 67, seed=5, batch_size=batch_size))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_full_size_sample_is_the_same_alone(preset):
    together = simulate(preset, 7, seed=1, start=100)
    for index in (100, 104, 106):
        alone = simulate(preset, 1, seed=1, start=index)
        assert torch.equal(alone.image[0], together.image[index - 100])


def test_a_sample_is_the_same_for_any_number_of_threads():
    before = torch.get_num_threads()
    reference = simulate("lens_default", 12)
    try:
        torch.set_num_threads(3)
        other = simulate("lens_default", 12)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert_same_bytes(reference, other)


@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="needs a C++ compiler")
def test_compilation_changes_no_value_beyond_rounding():
    # Without noise, whose kernels would take twice as long to compile; benchmarks/simulation.py compiles all.
    # A round lens is where it is hardest.
    config = small("lens_default", **{"noise": None, "main_lens.axis_ratio": 1.0})
    eager, compiled = simulate(config, 40), simulate(config, 40, compile=True)
    assert not torch.equal(compiled.image, eager.image)
    torch.testing.assert_close(compiled.image, eager.image, rtol=0, atol=2e-6)


def test_seeds_and_indices_give_different_images():
    config = small("lens_default")
    first, second = simulate(config, 40, seed=0).image, simulate(config, 40, seed=1).image
    images = torch.cat([first, second]).flatten(1)
    assert len(torch.unique(images, dim=0)) == 80


@pytest.mark.parametrize("preset", PRESETS)
def test_images_are_finite_float32_of_the_stated_shape(preset):
    lenses, config = simulate(preset, 4), get_preset(preset)
    size = config.instrument.num_pixels
    if preset in PAIRS:
        assert lenses.target.shape == (4, 1, size, size)
        assert lenses.image.shape == (4, 1, size // 2, size // 2)
        assert lenses.label is None
    else:
        assert lenses.image.shape == (4, config.bands, size, size)
        assert lenses.target is None
        assert lenses.label.tolist() == [0, 1, 2, 0]
    for tensor in tensors(lenses).values():
        assert len(tensor) == 4
    for image in (lenses.image, lenses.noise_free):
        assert image.dtype == torch.float32
        assert torch.isfinite(image).all()
    assert not lenses.image.requires_grad


def test_an_odd_image_whose_middle_pixel_is_on_the_lens_is_finite():
    assert torch.isfinite(simulate(small("deeplense_model_2"), 6).image).all()


@pytest.mark.parametrize("preset", MIN_MAX)
def test_min_max_images_fill_zero_to_one(preset):
    image = simulate(preset, 3).image
    assert torch.equal(image.amin(dim=(1, 2, 3)), torch.zeros(3))
    assert torch.equal(image.amax(dim=(1, 2, 3)), torch.ones(3))


def test_peak_scaled_images_have_a_noise_free_peak_of_one():
    assert torch.equal(simulate("lens_default", 3).noise_free.amax(dim=(1, 2, 3)), torch.ones(3))


@pytest.mark.parametrize("preset", PRESETS)
def test_without_noise_the_image_is_the_noise_free_one(preset):
    config = small(preset, noise=None)
    if config.detector is not None:
        config = config.with_overrides({"detector.noise": "none", "scaling": "peak"})
    lenses = simulate(config, 5)
    assert torch.equal(lenses.noise_free, lenses.image if lenses.target is None else lenses.target)


@pytest.mark.parametrize("preset", ["lens_default", "sr_deeplense"])
def test_noise_has_the_variance_that_the_parameters_state(preset):
    lenses = simulate(get_preset(preset).with_overrides({"scaling": "peak"}), 12, seed=3)
    p = {name: value.float()[:, None, None, None] for name, value in lenses.parameters.items()}
    residual = (lenses.image if lenses.target is None else lenses.target) - lenses.noise_free
    counts = lenses.noise_free * p["peak_counts"] + p["sky_counts"]
    variance = counts / p["peak_counts"] ** 2 + p["background_rms"] ** 2
    chi2 = (residual**2 / variance).mean().item()
    assert chi2 == pytest.approx(1.0, abs=0.03)
    assert (residual / variance.sqrt()).mean().item() == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("preset", CLASSIFICATION)
def test_classes_are_balanced_and_follow_the_index(preset):
    labels = simulate(small(preset), 30, start=7).label
    assert labels.tolist() == [index % 3 for index in range(7, 37)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("distances", "angular_diameter"),
        ("source_redshift_convention", None),
        ("substructure.subhalos.mass_msun", PowerLaw(-1.9, 1e6, 1e10)),
        ("substructure.vortex.num_points", None),
        ("substructure.compensate_mass", True),
        ("main_lens.position", Gaussian2D(0.05)),
        ("detector.noise", "real"),
        ("detector.model_twice", False),
    ],
)
def test_every_quirk_of_model_2_can_be_switched_off_alone(field, value):
    official = get_preset("deeplense_model_2").with_overrides({"scaling": "none"})
    with_quirk, without = simulate(official, 12), simulate(official.with_overrides({field: value}), 12)
    assert (with_quirk.image - without.image).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("preset", "field", "value"),
    [
        ("deeplense_model_1", "detector.noise", "real"),
        ("deeplense_model_1", "distances", "angular_diameter"),
        ("deeplense_model_3", "instrument.psf_fwhm_arcsec", 0.15),
        ("deeplense_model_4", "substructure.no_sub_main_lens", None),
        ("deeplense_model_4", "lens_light", []),
        ("deeplense_model_4", "source_components", []),
        ("deeplense_common", "lens_light", []),
    ],
)
def test_the_quirks_of_the_other_releases_can_be_switched_off_alone(preset, field, value):
    official = get_preset(preset)
    with_quirk, without = simulate(official, 3), simulate(official.with_overrides({field: value}), 3)
    assert (with_quirk.image - without.image).abs().max() > 1e-4


def test_model_1_holds_whole_photons_when_it_is_not_scaled():
    image = simulate(get_preset("deeplense_model_1").with_overrides({"scaling": "none"}), 3).image
    assert torch.equal(image, image.round()) and image.min() >= 0 and image.max() > 100


def test_model_4_gives_no_sub_away_by_another_lens_without_shear():
    p = simulate(small("deeplense_model_4"), 90).parameters
    no_sub = torch.arange(90) % 3 == 0
    assert p["shear_strength"][no_sub].max() == 0 and p["shear_strength"][~no_sub].min() > 0.03
    # 4 pi (260 km/s)^2 / c^2 D_ls / D_s = 0.85 arcsec; and 1.5 arcsec scaled by 0.634 for the others.
    assert p["einstein_radius_arcsec"][no_sub].mean().item() == pytest.approx(0.845, abs=0.04)
    assert p["einstein_radius_arcsec"][~no_sub].unique().item() == pytest.approx(0.9506, abs=1e-3)


def test_bands_see_one_scene_in_different_colors():
    config = get_preset("deeplense_model_4").with_overrides(
        {"lens_light": [], "source_components": [], "detector.noise": "none", "scaling": "none"}
    )
    image = simulate(config, 3).image
    # Colors of 0, -3 and -4 magnitudes.
    torch.testing.assert_close(image[:, 1], image[:, 0] * 10**1.2, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(image[:, 2], image[:, 0] * 10**1.6, rtol=1e-4, atol=1e-4)


def test_every_band_has_noise_of_its_own():
    config = get_preset("lens_default").with_overrides({"bands": 2})
    lenses = simulate(config, 3)
    assert torch.equal(lenses.noise_free[:, 0], lenses.noise_free[:, 1])
    noise = (lenses.image - lenses.noise_free).flatten(2)
    assert abs(torch.corrcoef(noise[0])[0, 1]) < 0.05


def test_a_source_of_a_magnitude_has_its_flux():
    config = get_preset("lens_default").with_overrides(
        {
            "substructure": None,
            "noise": None,
            "scaling": "none",
            "detector": {"exposure_time_s": 10.0, "zero_point_mag": 25.0, "noise": "none"},
            "source.magnitude": 22.5,
            "main_lens.einstein_radius_arcsec": 1e-6,
            "main_lens.shear_strength": 0.0,
            "source.sersic_index": 1.0,
        }
    )
    assert simulate(config, 4).image.sum(dim=(1, 2, 3)).tolist() == pytest.approx([10.0] * 4, rel=0.01)


def test_images_may_take_the_sources_place(tmp_path):
    rng = np.random.default_rng(0)
    galaxies = np.full((5, 3, 20, 20), 7.0) + np.pad(rng.random((5, 3, 8, 8)), ((0, 0), (0, 0), (6, 6), (6, 6)))
    np.save(tmp_path / "galaxies.npy", galaxies)
    config = get_preset("deeplense_model_4").with_overrides(
        {
            "source_images": {"path": str(tmp_path / "galaxies.npy"), "pixel_scale_arcsec": 0.05},
            "source_components": [],
            "lens_light": [],
            "substructure": None,
            "detector.noise": "none",
            "scaling": "none",
            "source.position": {"square": {"half_width": 0.0}},
            "source.position_angle_rad": 0.0,
            "main_lens.einstein_radius_arcsec": 1e-6,
            "main_lens.shear_strength": 0.0,
            "instrument.psf_fwhm_arcsec": 0.0,
            "instrument.pixel_scale_arcsec": 0.05,
            "instrument.num_pixels": 20,
        }
    )
    lenses = simulate(config, 8)
    drawn = (lenses.parameters["source_image_fraction"] * 5).long()
    assert len(drawn.unique()) > 2
    for image, index in zip(lenses.image, drawn, strict=True):
        expected = galaxies[index] - 7.0
        # Each band has the flux of its own magnitude: 22, 19 and 18 with a zero point of 24.
        flux = 10 ** (-0.4 * (np.array([22.0, 19.0, 18.0]) - 24.0))[:, None, None]
        expected = expected / expected.sum(axis=(1, 2), keepdims=True) * flux
        np.testing.assert_allclose(image, expected, atol=1e-4 * expected.max())


def test_parameters_of_a_profile_that_an_image_took_the_place_of_are_nan(tmp_path):
    np.save(tmp_path / "galaxies.npy", np.random.default_rng(0).random((2, 20, 20)))
    images = {"path": str(tmp_path / "galaxies.npy"), "pixel_scale_arcsec": 0.1, "subtract_corner": False}
    overrides = {"source_images": images, "source.intensity": {"uniform": {"low": 0.5, "high": 1.0}}}
    config = small("lens_default", noise=None).with_overrides(overrides)
    lenses = simulate(config, 2)
    for name in ("radius_arcsec", "sersic_index", "axis_ratio"):
        assert lenses.parameters[f"source_{name}"].isnan().all()
    # This one scales the image.
    assert lenses.parameters["source_intensity"].isfinite().all() and lenses.image.isfinite().all()
    with_magnitude = config.with_overrides({"source.intensity": 1.0, "source.magnitude": 22.0})
    assert simulate(with_magnitude, 2).parameters["source_intensity"].isnan().all()


@pytest.mark.parametrize("scaling", ["peak", "min_max", "clipped_max"])
@pytest.mark.parametrize(
    ("preset", "without_noise"),
    [("lens_default", {"noise": None}), ("deeplense_model_2", {"detector.noise": "none"})],
    ids=["relative", "detected"],
)
def test_a_source_outside_of_the_field_is_named_rather_than_divided_by(tmp_path, preset, without_noise, scaling):
    np.save(tmp_path / "galaxies.npy", np.random.default_rng(0).random((2, 8, 8)))
    config = small(preset).with_overrides(
        {
            **without_noise,
            "source_images": {"path": str(tmp_path / "galaxies.npy"), "pixel_scale_arcsec": 0.1},
            "source.position": {"square": {"half_width": 0.0}},
            "scaling": scaling,
        }
    )
    assert simulate(config, 2).image.isfinite().all()
    outside = config.with_overrides({"source.position": {"radial": {"low": 40.0, "high": 40.0}}})
    with pytest.raises(ValueError, match="Sample 4 of seed 1 has no light in the field"):
        simulate(outside, 2, seed=1, start=4)


def test_a_pair_of_telescopes_without_light_is_refused_as_well():
    pair = get_preset("sr_physical").with_overrides(
        {"instrument.num_pixels": 30, "source.position": {"radial": {"low": 400.0, "high": 400.0}}}
    )
    dark = pair.with_overrides({"source.effective_radius_arcsec": 1e-3, "source.sersic_index": 0.5})
    with pytest.raises(ValueError, match="Sample 4 of seed 1 has no light in the field"):
        simulate(dark, 2, seed=1, start=4)


def test_tnfw_subhalos_deflect_less_than_points_of_their_mass():
    points = small("lens_default", noise=None)
    halos = points.with_overrides({"substructure.subhalos.profile": "tnfw", "substructure.compensate_mass": False})
    points = points.with_overrides({"substructure.compensate_mass": False})
    smooth = simulate(points.with_overrides({"substructure": None}), 60).image[1::3]
    by_points, by_halos = (simulate(config, 60).image[1::3] - smooth for config in (points, halos))
    assert 1e-3 < by_halos.square().mean().sqrt() < 0.7 * by_points.square().mean().sqrt()


EXTRAS = {
    "halos": ("lens_default", {"substructure.subhalos.profile": "tnfw"}),
    "moffat": ("lens_default", {"instrument.psf_moffat_beta": 3.0, "instrument.psf_truncation_sigma": 3.0}),
    "counts": ("deeplense_model_1", {"scaling": "none"}),
}


@pytest.mark.parametrize("name", EXTRAS)
def test_a_sample_with_other_optics_and_halos_is_the_same_in_any_batch(name):
    preset, overrides = EXTRAS[name]
    config = small(preset, **overrides)
    reference = simulate(config, 35, seed=5, batch_size=32)
    for batch_size in (1, 5):
        assert_same_bytes(reference, simulate(config, 35, seed=5, batch_size=batch_size))


def test_model_2_has_the_effective_einstein_radius_of_the_release():
    parameters = simulate("deeplense_model_2", 1).parameters
    assert parameters["einstein_radius_arcsec"].item() == pytest.approx(0.812, abs=1e-3)


def test_model_2_without_quirks_has_the_right_einstein_radius():
    config = get_preset("deeplense_model_2").with_overrides(
        {"distances": "angular_diameter", "source_redshift_convention": None}
    )
    assert simulate(config, 1).parameters["einstein_radius_arcsec"].item() == pytest.approx(1.6645, abs=1e-4)


@pytest.mark.parametrize("num_points", [None, 25], ids=["subhalos", "subhalos and a chain"])
def test_compensation_takes_out_the_point_masses_within_the_einstein_radius(num_points):
    overrides = {"substructure.vortex.num_points": num_points, "main_lens.axis_ratio": 1.0}
    config = get_preset("lens_default").with_overrides(overrides)
    scenes = [draw_scene(config, 0, index) for index in range(60)]
    for scene in scenes:
        if not len(scene.points):
            continue
        p = scene.parameters
        offset = scene.points[:, :2] - [p["lens_x_arcsec"], p["lens_y_arcsec"]]
        inside = np.hypot(*offset.T) < p["einstein_radius_arcsec"]
        total = p["main_lens_einstein_radius_arcsec"] * p["einstein_radius_arcsec"] + scene.points[inside, 2].sum()
        assert total == pytest.approx(p["einstein_radius_arcsec"] ** 2, rel=1e-9)
    assert sum(len(scene.points) > 0 for scene in scenes) == (20 if num_points is None else 40)


def test_compensation_counts_the_part_of_a_vortex_within_the_einstein_radius():
    config = get_preset("lens_default").with_overrides({"main_lens.axis_ratio": 1.0})
    for index in range(2, 60, 3):
        p = draw_scene(config, 0, index).parameters
        along = p["vortex_half_length_arcsec"] * ((np.arange(1_000_000) + 0.5) / 500_000 - 1)
        x = p["vortex_x_arcsec"] - p["lens_x_arcsec"] + along * math.cos(p["vortex_angle_rad"])
        y = p["vortex_y_arcsec"] - p["lens_y_arcsec"] + along * math.sin(p["vortex_angle_rad"])
        area = p["vortex_mass_msun"] * config.einstein_area_per_mass
        inside = area * (np.hypot(x, y) < p["einstein_radius_arcsec"]).mean()
        total = p["main_lens_einstein_radius_arcsec"] * p["einstein_radius_arcsec"] + inside
        assert total == pytest.approx(p["einstein_radius_arcsec"] ** 2, rel=1e-6)


def test_substructure_that_outweighs_its_lens_is_refused():
    config = small("lens_default", **{"main_lens.einstein_radius_arcsec": 0.5, "substructure.subhalos.count": 1000.0})
    with pytest.raises(ValueError, match="more than half of the main lens's mass"):
        simulate(config, 2)


def test_subhalos_have_the_stated_number_masses_and_distances():
    config = get_preset("lens_default")
    scenes = [draw_scene(config, 0, index) for index in range(1, 1500, 3)]
    counts = np.array([scene.parameters["num_subhalos"] for scene in scenes])
    assert counts.mean() == pytest.approx(10, abs=0.6)
    masses = np.concatenate([scene.points[:, 2] for scene in scenes]) / config.einstein_area_per_mass
    low, high = 1e9**-0.9, 10 ** (10.5 * -0.9)
    assert stats.kstest(masses, lambda m: (m**-0.9 - low) / (high - low)).pvalue > 1e-3
    distances = [
        np.hypot(*(scene.points[:, :2] - [scene.parameters["lens_x_arcsec"], scene.parameters["lens_y_arcsec"]]).T)
        for scene in scenes
    ]
    assert stats.kstest(np.concatenate(distances), stats.uniform(0.25, 1.75).cdf).pvalue > 1e-3
    totals = np.array([scene.parameters["subhalo_mass_msun"] for scene in scenes])
    assert totals.sum() == pytest.approx(masses.sum())


def test_parameters_without_meaning_in_a_class_are_nan_or_zero():
    p = simulate(small("lens_default"), 3).parameters
    assert torch.isnan(p["axion_mass_log10_ev"]).tolist() == [True, True, False]
    assert (p["vortex_mass_msun"] > 0).tolist() == [False, False, True]
    assert (p["num_subhalos"] > 0).tolist() == [False, True, False]
    assert {name for name, values in p.items() if values.dtype != torch.float64} == {"num_subhalos"}


def test_an_image_can_be_rendered_again_from_its_parameters_alone():
    config = get_preset("lens_default").with_overrides({"noise": None})
    lenses = simulate(config, 6)
    for row in (0, 2, 3, 5):
        p = {name: values[row].item() for name, values in lenses.parameters.items()}
        again = render_again(p, config)
        assert np.abs(lenses.image[row, 0].numpy() - again).max() < 2e-5


def render_again(p, config):
    """A float64 rendering by formulas of its own, without subhalos."""
    instrument = config.instrument
    size, step = instrument.num_pixels * 2, instrument.pixel_scale_arcsec / 2
    axis = (np.arange(size) - (size - 1) / 2) * step
    x, y = np.meshgrid(axis, axis)

    def turned(u, v, angle):
        return u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle)

    q, angle = p["axis_ratio"], p["position_angle_rad"]
    u, v = turned(x - p["lens_x_arcsec"], y - p["lens_y_arcsec"], angle)
    f, psi = np.sqrt(1 - q * q), np.sqrt(q * q * u * u + v * v)
    strength = p["main_lens_einstein_radius_arcsec"] * np.sqrt(q) / f
    alpha = np.array(turned(strength * np.arctan(f * u / psi), strength * np.arctanh(f * v / psi), -angle))

    gamma, twice = p["shear_strength"], 2 * p["shear_angle_rad"]
    alpha += gamma * np.array([x * np.cos(twice) + y * np.sin(twice), x * np.sin(twice) - y * np.cos(twice)])

    if p["vortex_mass_msun"]:
        length, angle = p["vortex_half_length_arcsec"], p["vortex_angle_rad"]
        area = p["vortex_mass_msun"] / (math.pi * 1.148877e11)
        u, v = turned(x - p["vortex_x_arcsec"], y - p["vortex_y_arcsec"], angle)
        along = area / (4 * length) * np.log(((u + length) ** 2 + v**2) / ((u - length) ** 2 + v**2))
        across = area / (2 * length) * (np.arctan2(v, u - length) - np.arctan2(v, u + length))
        alpha += np.array(turned(along, across, -angle))

    u, v = turned(
        x - alpha[0] - p["source_x_arcsec"], y - alpha[1] - p["source_y_arcsec"], p["source_position_angle_rad"]
    )
    radius = np.hypot(u, v / p["source_axis_ratio"]) / p["source_radius_arcsec"]
    n = p["source_sersic_index"]
    fine = np.exp(-(1.9992 * n - 0.3271) * (radius ** (1 / n) - 1))
    sigma = instrument.psf_fwhm_arcsec / np.sqrt(8 * np.log(2)) / step
    image = ndimage.gaussian_filter(fine, sigma, mode="nearest", truncate=instrument.psf_truncation_sigma)
    image = image.reshape(size // 2, 2, size // 2, 2).mean(axis=(1, 3))
    return image / image.max()


def test_a_source_behind_a_lens_is_a_ring_of_its_einstein_radius():
    config = get_preset("lens_default").with_overrides(
        {
            "noise": None,
            "substructure": None,
            "main_lens.einstein_radius_arcsec": 1.5,
            "main_lens.axis_ratio": 0.999,
            "main_lens.position": Square(0.0),
            "main_lens.shear_strength": 0.0,
            "source.position": Square(0.0),
            "source.effective_radius_arcsec": 0.05,
        }
    )
    image = simulate(config, 1).image[0, 0].double()
    axis = (torch.arange(64) - 31.5) * 0.08
    radius = torch.hypot(axis[:, None], axis[None])
    assert (image * radius).sum() / image.sum() == pytest.approx(1.5, abs=0.02)


def test_an_official_pair_is_a_bicubic_half():
    lenses = simulate("sr_deeplense", 3)
    half = torch.nn.functional.interpolate(lenses.target, scale_factor=0.5, mode="bicubic", align_corners=False)
    assert torch.equal(lenses.image, half)


def test_the_official_pairs_are_as_noisy_as_calibrated():
    lenses = simulate("sr_deeplense", 60, seed=4)
    up = torch.nn.functional.interpolate(lenses.image, scale_factor=2, mode="bicubic", align_corners=False)
    error = ((up - lenses.target) ** 2).mean(dim=(1, 2, 3))
    noise = ((lenses.noise_free - lenses.target) ** 2).mean(dim=(1, 2, 3))
    assert (10 * torch.log10(1 / error)).mean().item() == pytest.approx(41.6, abs=0.3)
    assert (error.mean() / noise.mean()).item() == pytest.approx(0.88, abs=0.03)


def test_a_physical_pair_shares_its_flux_scale_and_only_the_low_resolution_is_noisy():
    lenses = simulate("sr_physical", 6)
    assert torch.equal(lenses.target.amax(dim=(1, 2, 3)), torch.ones(6))
    flux = lenses.image.mean(dim=(1, 2, 3)) / lenses.target.mean(dim=(1, 2, 3))
    torch.testing.assert_close(flux, torch.ones(6), rtol=0.02, atol=0)
    assert torch.equal(lenses.noise_free, lenses.target)
    noiseless = simulate(get_preset("sr_physical").with_overrides({"noise": None}), 6)
    assert torch.equal(noiseless.target, lenses.target)
    assert (noiseless.image - lenses.image).std() > 1e-3


def test_the_device_can_be_an_object_and_holds_the_results():
    lenses = simulate(small("lens_default"), 2, device=torch.device("cpu"))
    assert {tensor.device.type for tensor in tensors(lenses).values()} == {"cpu"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("preset", PRESETS)
def test_a_gpu_gives_the_images_of_a_cpu(preset):
    # On the scale of the noise-free peak, which no photon count moves.
    config = get_preset(preset).with_overrides({"scaling": "peak"})
    on_cpu, on_gpu = simulate(config, 32), simulate(config, 32, device="cuda")
    assert on_gpu.image.is_cuda
    torch.testing.assert_close(on_gpu.noise_free.cpu(), on_cpu.noise_free, rtol=0, atol=1e-4)
    # A photon count may round the other way where its mean lies on the edge.
    differs = (on_gpu.image.cpu() - on_cpu.image).abs() > 1e-3
    assert differs.float().mean() < 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_images": 0}, "num_images must be a whole number of at least 1"),
        ({"num_images": 2.5}, "num_images must be a whole number"),
        ({"num_images": True}, "num_images must be a whole number"),
        ({"num_images": "2"}, "num_images must be a whole number"),
        ({"num_images": 1, "seed": -1}, "seed must be"),
        ({"num_images": 1, "start": -1}, "start must be"),
        ({"num_images": 1, "batch_size": 0}, "batch_size must be"),
    ],
)
def test_an_impossible_argument_is_refused_in_words(arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate("lens_default", **arguments)


def test_whole_numbers_of_numpy_are_arguments_too():
    config = small("lens_default")
    lenses = simulate(config, np.int64(3), np.uint64(7), start=np.int32(2), batch_size=np.int64(2))
    assert_same_bytes(lenses, simulate(config, 3, 7, start=2))


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="Did you mean lens_default"):
        simulate("lens_defualt", 1)


def test_progress_is_shown_when_asked(capsys):
    simulate(small("lens_default"), 2)
    assert capsys.readouterr().err == ""
    simulate(small("lens_default"), 2, progress=True)
    assert "2/2" in capsys.readouterr().err


IMPRINTED = [name for name in CLASSIFICATION if name not in PAIRS]


@pytest.mark.parametrize("preset", IMPRINTED)
def test_an_imprint_is_what_substructure_changes_and_nothing_else_changes_for_it(preset):
    config = small(preset)
    plain, lenses = simulate(config, 7, seed=3), simulate(config, 7, seed=3, imprint=True, batch_size=2)
    assert_same_bytes(plain, lenses)
    assert_same_bytes(lenses, simulate(config, 7, seed=3, imprint=True, batch_size=5))
    assert lenses.imprint.shape == lenses.image.shape and lenses.imprint.dtype == torch.float32
    assert (lenses.imprint.abs().amax(dim=(1, 2, 3)) > 1e-4).tolist() == (lenses.label != 0).tolist()


def test_without_its_imprint_an_image_is_that_of_a_smooth_lens_of_the_same_mass(monkeypatch):
    config = small("lens_default", noise=None)
    lenses = simulate(config, 6, imprint=True)

    def draw_smooth(*arguments):
        return without_substructure(draw_scene(*arguments))

    monkeypatch.setattr(sys.modules[simulate.__module__], "draw_scene", draw_smooth)
    smooth = simulate(config, 6)
    assert torch.equal(
        smooth.parameters["main_lens_einstein_radius_arcsec"], lenses.parameters["einstein_radius_arcsec"]
    )
    # Each image is divided by its own peak; the imprint by that of the image with substructure.
    expected = (lenses.image - lenses.imprint) / (lenses.image - lenses.imprint).amax(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(expected, smooth.image, rtol=0, atol=1e-6)


@pytest.mark.parametrize("preset", PAIRS)
def test_pairs_have_no_imprint(preset):
    with pytest.raises(ValueError, match="has no imprint"):
        simulate(small(preset), 2, imprint=True)
