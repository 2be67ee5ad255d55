import numpy as np
import pytest

from lens_transformers.evaluation.power_spectrum import radial_power_spectrum


def test_white_noise_has_its_variance_at_every_frequency():
    noise = np.random.default_rng(0).normal(0, 3, (400, 1, 16, 16))
    frequency, power = radial_power_spectrum(noise)
    assert frequency.min() > 0 and frequency.max() == pytest.approx(0.5, abs=0.03)
    np.testing.assert_allclose(power, 9, rtol=0.1)


def test_a_wave_has_its_power_at_its_own_frequency():
    wave = np.cos(2 * np.pi * 4 * np.arange(32) / 32)
    frequency, power = radial_power_spectrum(np.broadcast_to(wave, (1, 2, 32, 32)))
    assert frequency[power.argmax()] == pytest.approx(4 / 32, rel=0.05)


def test_images_of_two_sides_and_constants_are_taken():
    frequency, power = radial_power_spectrum(np.ones((1, 1, 16, 24)))
    assert len(frequency) == 8
    np.testing.assert_allclose(power, 0, atol=1e-20)


@pytest.mark.parametrize("images", [np.zeros((4, 4)), np.full((1, 1, 4, 4), np.nan)])
def test_what_is_no_image_is_refused(images):
    with pytest.raises(ValueError, match="images"):
        radial_power_spectrum(images)
