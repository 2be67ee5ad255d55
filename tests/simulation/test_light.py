import numpy as np
import pytest
import torch

from lens_transformers.simulation.light import image_brightness, load_source_images, sersic_brightness, sersic_flux


@pytest.mark.parametrize(("index", "axis_ratio"), [(0.8, 1.0), (1.0, 0.6), (2.5, 0.8)])
def test_the_flux_of_a_sersic_profile_is_its_brightness_added_up(index, axis_ratio):
    axis = (torch.arange(1600, dtype=torch.float64) + 0.5) / 800 * 12 - 12
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    columns = (torch.tensor([[value]], dtype=torch.float64) for value in (0.4, index, axis_ratio))
    brightness = sersic_brightness(x.flatten()[None], y.flatten()[None], *columns)
    assert brightness.sum().item() * 0.015**2 == pytest.approx(sersic_flux(0.4, index, axis_ratio), rel=2e-3)


def test_half_of_the_flux_lies_within_the_effective_radius():
    axis = (torch.arange(2000, dtype=torch.float64) + 0.5) / 1000 * 8 - 8
    y, x = (c.flatten()[None] for c in torch.meshgrid(axis, axis, indexing="ij"))
    columns = (torch.tensor([[value]], dtype=torch.float64) for value in (0.5, 1.0, 1.0))
    brightness = sersic_brightness(x, y, *columns)
    assert (brightness[torch.hypot(x, y) < 0.5].sum() / brightness.sum()).item() == pytest.approx(0.5, abs=0.01)


def test_an_image_lies_where_it_should_and_nothing_is_outside():
    image = torch.arange(12.0).reshape(1, 1, 3, 4)
    x = torch.tensor([[-0.15, 0.15, -0.15, 0.0, 0.5]])
    y = torch.tensor([[-0.1, -0.1, 0.1, 0.0, 0.0]])
    brightness = image_brightness(image, x, y, pixel_scale=0.1)
    torch.testing.assert_close(brightness, torch.tensor([[[0.0, 3.0, 8.0, 5.5, 0.0]]]))


def test_source_images_lose_their_sky_and_have_a_peak_of_one(tmp_path):
    images = np.full((2, 20, 20), 9, dtype=np.uint8)
    images[:, 8:12, 8:12] = 59
    np.save(tmp_path / "galaxies.npy", images)
    loaded = load_source_images(str(tmp_path / "galaxies.npy"), bands=1, subtract_corner=True)
    assert loaded.shape == (2, 1, 20, 20) and loaded.dtype == np.float32
    assert loaded[:, 0, 0].max() == 0 and loaded.max() == 1
    kept = load_source_images(str(tmp_path / "galaxies.npy"), bands=1, subtract_corner=False)
    assert kept.min() == pytest.approx(9 / 59)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.ones((2, 20, 20, 3)), r"must hold images \(images, 3, height, width\)"),
        (np.ones((20, 20)), "must hold images"),
        (np.full((1, 3, 8, 8), np.nan), "not finite"),
        (np.zeros((2, 3, 8, 8)), "image 0 of .* is empty"),
    ],
)
def test_a_file_without_source_images_is_refused(tmp_path, images, message):
    np.save(tmp_path / "galaxies.npy", images)
    with pytest.raises(ValueError, match=message):
        load_source_images(str(tmp_path / "galaxies.npy"), bands=3, subtract_corner=True)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file .*galaxies.npy"):
        load_source_images(str(tmp_path / "galaxies.npy"), bands=3, subtract_corner=True)
