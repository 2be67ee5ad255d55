import math

import pytest
import torch

from lens_transformers.simulation import INSTRUMENTS, LensSimulationConfig, get_instrument, get_preset, simulate


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_a_lens_is_seen_through_an_instrument_with_its_noise(name):
    config = get_preset("lens_default").observed_by(name)
    assert LensSimulationConfig.from_yaml(config.to_yaml()) == config
    lenses = simulate(config, 6)
    instrument, detector = get_instrument(name)
    time = detector.exposure_time_s * detector.num_exposures
    electrons = lenses.noise_free * time
    variance = electrons + detector.sky_rate(instrument.pixel_scale_arcsec) * time
    variance += detector.num_exposures * detector.read_noise_e**2
    chi2 = (((lenses.image - lenses.noise_free) * time) ** 2 / variance).mean().item()
    assert chi2 == pytest.approx(1.0, abs=0.05)
    # Magnitudes of 21.5 to 23.5 are seen, magnified, above the noise.
    assert (lenses.noise_free.amax(dim=(1, 2, 3)) * time > 3 * variance.amin(dim=(1, 2, 3)).sqrt()).all()


@pytest.mark.parametrize("name", INSTRUMENTS)
@pytest.mark.parametrize("preset", ["lens_default", "deeplense_model_2"])
def test_an_instrument_of_finer_pixels_shows_the_whole_field(preset, name):
    before, after = get_preset(preset).instrument, get_preset(preset).observed_by(name).instrument
    assert after.num_pixels * after.pixel_scale_arcsec >= before.num_pixels * before.pixel_scale_arcsec
    assert after.pixel_scale_arcsec < before.pixel_scale_arcsec or after.num_pixels == before.num_pixels
    assert after.num_pixels % 2 == 0


def test_a_larger_image_of_a_pair_can_still_be_shrunk():
    pairs = get_preset("sr_deeplense").with_overrides({"super_resolution.upscale": 3})
    assert pairs.observed_by("jwst_nircam_f200w").instrument.num_pixels == 243


def test_the_numbers_of_the_official_instrument_are_pinned():
    config = get_preset("deeplense_model_2")
    assert (config.instrument.pixel_scale_arcsec, config.instrument.psf_fwhm_arcsec) == (0.101, 0.16)
    detector = config.detector
    assert (detector.exposure_time_s, detector.num_exposures) == (565.0, 4)
    assert (detector.gain_e_per_adu, detector.read_noise_e, detector.zero_point_mag) == (3.1, 4.2, 24.0)


def test_euclid_is_as_deep_as_its_flight_data():
    """25.6 mag at ten sigma within 1.3 arcsec (Euclid Q1, arXiv:2503.15303), of one short exposure more."""
    instrument, detector = get_instrument("euclid_vis")
    pixels = math.pi * 0.65**2 / instrument.pixel_scale_arcsec**2
    exposures = detector.num_exposures * detector.exposure_time_s
    sky = (
        detector.sky_rate(instrument.pixel_scale_arcsec) * exposures
        + detector.num_exposures * detector.read_noise_e**2
    )
    noise = math.sqrt(pixels * sky)
    # The source adds to the noise that it is measured against.
    electrons = 50 + math.sqrt(50**2 + 100 * noise**2)
    depth = detector.zero_point_mag - 2.5 * math.log10(electrons / exposures)
    assert depth == pytest.approx(25.6, abs=0.2)


def test_two_instruments_see_the_same_scenes():
    lenses = [simulate(get_preset("lens_default").observed_by(name), 6) for name in ("euclid_vis", "hst_acs_f814w")]
    for name in lenses[0].parameters:
        if name not in ("exposure_time_s", "source_intensity"):
            values = [one.parameters[name] for one in lenses]
            torch.testing.assert_close(*values, rtol=0, atol=0, equal_nan=True)


def test_a_later_zero_point_is_a_factor_in_counts():
    config = get_preset("deeplense_model_2").with_overrides({"scaling": "none"})
    later = config.with_overrides({"detector.zero_point_mag": 25.72})
    ratio = simulate(later, 1).image.sum() / simulate(config, 1).image.sum()
    assert ratio.item() == pytest.approx(4.87, abs=0.01)


def test_an_unknown_instrument_is_refused_with_the_nearest_names():
    with pytest.raises(ValueError, match="no instrument 'euclid_viz'. Did you mean euclid_vis"):
        get_instrument("euclid_viz")


def test_lens_light_without_a_magnitude_has_no_flux_to_observe():
    with pytest.raises(ValueError, match="deeplense_common: give every component of lens_light a magnitude"):
        get_preset("deeplense_common").observed_by("euclid_vis")


def test_a_magnitude_that_is_given_stays():
    config = get_preset("deeplense_model_2").observed_by("hst_acs_f814w")
    assert config.source.magnitude == 20.0
    assert torch.isfinite(simulate(config, 3).image).all()
