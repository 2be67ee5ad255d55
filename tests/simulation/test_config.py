import dataclasses

import numpy as np
import pytest

from lens_transformers.simulation import PRESETS, LensSimulationConfig, Uniform, get_preset
from lens_transformers.simulation.config import MainLens, Source, SuperResolution, Vortex
from lens_transformers.simulation.distributions import Radial, Square
from lens_transformers.simulation.instruments import Detector, Instrument


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_survives_yaml(preset):
    config = get_preset(preset)
    assert config.name == preset
    assert LensSimulationConfig.from_yaml(config.to_yaml()) == config


def test_a_configuration_is_frozen_and_can_be_a_key():
    config = get_preset("lens_default")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.z_lens = 0.1
    assert {config: 1}[LensSimulationConfig.from_dict(config.to_dict())] == 1


def test_an_override_replaces_one_field_and_leaves_the_original():
    config = get_preset("lens_default")
    changed = config.with_overrides({"main_lens.axis_ratio": {"uniform": {"low": 0.7, "high": 0.8}}, "noise": None})
    assert changed.main_lens.axis_ratio == Uniform(0.7, 0.8)
    assert changed.noise is None
    assert config == get_preset("lens_default")
    assert changed == config.with_overrides({"main_lens.axis_ratio": Uniform(0.7, 0.8), "noise": None})


def test_numbers_that_yaml_reads_as_text_are_numbers():
    config = LensSimulationConfig.from_yaml(
        get_preset("deeplense_model_2").to_yaml().replace("1000000000000.0", "1e12")
    )
    assert config == get_preset("deeplense_model_2")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"main_lens.einstein_radius_arcsec": -1.0}, "main_lens.einstein_radius_arcsec must lie within"),
        ({"main_lens.einstein_radius_arcsec": None}, "exactly one of einstein_radius_arcsec, mass_msun"),
        ({"main_lens.mass_msun": 1e12}, "exactly one of einstein_radius_arcsec, mass_msun"),
        ({"main_lens.axis_ratio": 1.2}, "main_lens.axis_ratio must lie within"),
        ({"source.sersic_index": float("nan")}, "source.sersic_index must lie within"),
        ({"source.position": 0.3}, "configuration.source.position cannot be 0.3"),
        ({"source.position": {"uniform": {"low": 0, "high": 1}}}, "cannot be a uniform"),
        ({"z_source": 0.5}, "source must lie behind the lens"),
        ({"source_redshift_convention": 0.2}, "source_redshift_convention must exceed"),
        ({"instrument.pixel_scale_arcsec": 0.0}, "instrument.pixel_scale_arcsec must lie within"),
        ({"instrument.psf_fwhm_arcsec": 100.0}, "instrument.psf_fwhm_arcsec must lie within"),
        ({"instrument.num_pixels": 64.5}, "instrument.num_pixels cannot be 64.5"),
        ({"substructure.vortex": None}, "configuration.substructure.vortex must be a mapping"),
        ({"substructure.vortex.num_points": 1}, "at least 2"),
        ({"substructure.subhalos.count": 2.5}, "whole number"),
        ({"substructure.subhalos.mass_msun": 1e9}, "mass_msun cannot be 1000000000.0; it must be one of: Uniform"),
        ({"noise.peak_counts": 0.0}, "noise.peak_counts must lie within"),
        ({"scaling": "log"}, "scaling must be one of"),
        ({"scaling": "none"}, "it needs a detector"),
        ({"detector": {"exposure_time_s": 100.0}}, "set one of them to null"),
        ({"bands": 0}, "bands must be a whole number of at least 1"),
        ({"source.colors_mag": [0.0, 1.0]}, "a value for each of 1 bands"),
        ({"source.colors_mag": [float("nan")]}, "source.colors_mag must be magnitudes from -70 to 70, got"),
        ({"source.magnitude": 20.0, "source.intensity": 2.0}, "give one of them"),
        ({"lens_light": 3}, "lens_light must be a list"),
        (
            {"lens_light": [{"position": {"square": {"half_width": 0.0}}}]},
            "lens_light\\[0\\]: .*effective_radius_arcsec",
        ),
        ({"source_images": {"path": "galaxies.npy", "pixel_scale_arcsec": 0.0}}, "source_images.pixel_scale_arcsec"),
        ({"substructure.subhalos.profile": "nfw"}, "subhalos.profile must be one of"),
        ({"substructure.subhalos.truncation": 0.0}, "subhalos.truncation must lie within"),
        ({"instrument.psf_moffat_beta": 1.0}, "instrument.psf_moffat_beta must lie within"),
        ({"instrument.psf_fits": "psf.fits"}, "it replaces both"),
        ({"instrument.psf_fwhm_arcsec": 0.0, "instrument.psf_moffat_beta": 3.0}, "needs a psf_fwhm_arcsec"),
        ({"distances": "comoving"}, "distances must be one of"),
        ({"substructure.compensate_mass": "maybe"}, "compensate_mass cannot be 'maybe'"),
        ({"main_lens.colour": 1.0}, "no such field"),
        ({"main_lens.axis_ratio.deep": 1.0}, "no such field"),
    ],
)
def test_an_impossible_value_is_refused_in_words(overrides, message):
    with pytest.raises(ValueError, match=message):
        get_preset("lens_default").with_overrides(overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"super_resolution.method": "bilinear"}, "'bicubic' or 'telescope'"),
        ({"super_resolution.upscale": 1}, "at least 2"),
        ({"super_resolution.upscale": 4}, "multiple of"),
        ({"super_resolution.psf_fwhm_arcsec": None}, "needed for 'telescope'"),
        ({"scaling": "min_max"}, "keeps the flux"),
        ({"noise": None, "detector": {"exposure_time_s": 1.0}}, "needs noise instead of a detector"),
        ({"instrument.oversampling": 20}, "no coarser telescope, of 2 times the .*oversampling must lie within"),
        ({"super_resolution.psf_fwhm_arcsec": 1e3}, "no coarser telescope.*psf_fwhm_arcsec must lie within"),
        (
            {"instrument.psf_fits": "psf.fits", "instrument.psf_fwhm_arcsec": 0.0},
            "cannot have the point-spread function",
        ),
    ],
)
def test_an_impossible_pair_is_refused_in_words(overrides, message):
    with pytest.raises(ValueError, match=message):
        get_preset("sr_physical").with_overrides(overrides)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("just words", "must be a mapping"),
        ("name: x", "missing"),
        ("title: x", "no field 'title'"),
        ("a: [", "no YAML"),
    ],
)
def test_yaml_that_is_no_configuration_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        LensSimulationConfig.from_yaml(text)


LENS = get_preset("lens_default")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SuperResolution("bicubic", upscale=2.5), "super_resolution.upscale must be a whole number"),
        (lambda: Instrument(32.0, 0.1), "instrument.num_pixels must be a whole number"),
        (lambda: Instrument(32, 0.1, oversampling=True), "instrument.oversampling must be a whole number"),
        (lambda: Detector(1.0, num_exposures=1.5), "detector.num_exposures must be a whole number"),
        (lambda: dataclasses.replace(LENS, bands=2.0), "bands must be a whole number of at least 1, got 2.0"),
        (lambda: dataclasses.replace(LENS.substructure.vortex, num_points=2.5), "vortex.num_points must be a whole"),
        (lambda: Source((0.1, 0.2), 0.3), r"source.position must be a Square.*, got \(0.1, 0.2\)"),
        (lambda: Source(0.3, 0.3), "source.position must be a Square"),
        (lambda: MainLens(1.0, position=None), "main_lens.position must be a Square"),
        (lambda: Vortex(1e9, -22.0, Uniform(0.0, 1.0), 0.0), "vortex.position must be a Square"),
        (lambda: Source(Square(0.1), (0.1, 0.2)), "effective_radius_arcsec must be a plain number or a distribution"),
        (lambda: Source(Square(0.1), Radial(0.1, 0.2)), "effective_radius_arcsec must be a plain number or a distri"),
        (lambda: Source(Square(0.1), 0.3, colors_mag=(0.0, -1e3)), "colors_mag must be magnitudes from -70 to 70"),
    ],
)
def test_an_impossible_value_is_refused_in_python_as_in_yaml(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_whole_numbers_of_numpy_are_whole_numbers():
    config = dataclasses.replace(LENS, instrument=Instrument(np.int64(32), 0.1), bands=np.uint8(1))
    assert LensSimulationConfig.from_yaml(config.to_yaml()) == config


def test_an_unknown_preset_is_refused_with_the_nearest_names():
    with pytest.raises(ValueError, match="'deeplens_model_2'. Did you mean deeplense_model_2"):
        get_preset("deeplens_model_2")


def test_a_configuration_with_everything_survives_yaml():
    config = get_preset("deeplense_model_4").with_overrides(
        {
            "source_images": {"path": "galaxies.npy", "pixel_scale_arcsec": 0.01},
            "instrument.psf_fwhm_arcsec": 0.0,
            "instrument.psf_fits": "psf.fits",
            "substructure.subhalos.profile": "tnfw",
            "source.position": {"radial": {"low": 0.1, "high": 0.2}},
        }
    )
    assert LensSimulationConfig.from_yaml(config.to_yaml()) == config
    assert isinstance(config.source_components, tuple)
