import math

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lens_transformers.data import LensAugmentation, LensDataCollator, lens_features
from lens_transformers.data.augmentation import blurred, cut_to_levels, resampled, sample_keys, turned
from lens_transformers.data.schema import dataset_from_chunks


EVERYTHING = LensAugmentation("dihedral", rotate=True, max_shift=1.5, max_psf_fwhm=2.0, noise_std=0.1)


def _images(count=4, bands=2, size=16, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).random((count, bands, size, size), dtype=np.float32))


def _blob(size, x, y, width):
    """A Gaussian of light centred at fractions x, y of the image, from its left upper corner."""
    centres = (torch.arange(size) + 0.5) / size
    squares = (centres[None, :] - x) ** 2 + (centres[:, None] - y) ** 2
    return torch.exp(-squares / (2 * width**2))[None, None].float()


def _centre(image):
    """Centre of light, in fractions of the image."""
    centres = (torch.arange(image.shape[-1]) + 0.5) / image.shape[-1]
    light = image[0, 0].double()
    return (light.sum(0) @ centres.double() / light.sum()).item(), (
        light.sum(1) @ centres.double() / light.sum()
    ).item()


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("flip", [False, True])
def test_symmetries_are_exact(turn, flip):
    images = _images()
    expected = torch.rot90(images, turn, (-2, -1))
    expected = expected.flip(-1) if flip else expected
    assert torch.equal(turned(images, torch.full((4,), turn), torch.full((4,), flip)), expected)


@pytest.mark.parametrize("size", [16, 15])
@pytest.mark.parametrize("turn", range(4))
def test_a_rotation_by_quarter_turns_is_the_symmetry(turn, size):
    images = _images(size=size)
    angles = torch.full((4,), turn * math.pi / 2, dtype=torch.float64)
    result = resampled(images, angles, torch.zeros(4, 2, dtype=torch.float64), images.shape[-2:])
    torch.testing.assert_close(result, torch.rot90(images, turn, (-2, -1)), atol=2e-5, rtol=0)


def test_a_shift_of_whole_pixels_moves_them():
    images = _images()
    shifts = torch.tensor([[2.0, -3.0]], dtype=torch.float64).expand(4, 2)
    result = resampled(images, torch.zeros(4, dtype=torch.float64), shifts, (16, 16))
    torch.testing.assert_close(result[..., :13, 2:], images[..., 3:, :14], atol=2e-5, rtol=0)


def test_low_and_high_resolution_turn_and_shift_about_the_same_point():
    low, high = _blob(32, 0.62, 0.41, 0.08), _blob(64, 0.62, 0.41, 0.08)
    augmentation = LensAugmentation("dihedral", rotate=True, max_shift=2.0)
    places = set()
    for key in range(20):
        moved_low, moved_high = augmentation(low, high, keys=[key])
        np.testing.assert_allclose(_centre(moved_low), _centre(moved_high), atol=2e-4)
        places.add(tuple(np.round(_centre(moved_low), 2)))
    assert len(places) > 10


def test_sub_pixel_shifts_move_the_centre_of_light_by_as_much():
    image = _blob(32, 0.5, 0.5, 0.06)
    shift = torch.tensor([[0.3, -0.7]], dtype=torch.float64)
    x, y = _centre(resampled(image, torch.zeros(1, dtype=torch.float64), shift, (32, 32)))
    np.testing.assert_allclose(((x - 0.5) * 32, (y - 0.5) * 32), (0.3, -0.7), atol=2e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_images_of_any_type_are_rotated_in_it(dtype):
    augmentation = LensAugmentation(rotate=True, max_shift=1.0)
    images = _blob(32, 0.62, 0.41, 0.08)
    rotated, _ = augmentation(images.to(dtype), keys=[3])
    expected, _ = augmentation(images, keys=[3])
    assert rotated.dtype == dtype
    torch.testing.assert_close(rotated.float(), expected, atol=0.02, rtol=0)


def test_oblong_images_rotate_without_shear():
    image = torch.zeros(1, 1, 20, 40)
    image[..., 5:15, 15:25] = 1.0
    angle = torch.tensor([math.pi / 2], dtype=torch.float64)
    result = resampled(image, angle, torch.zeros(1, 2, dtype=torch.float64), (20, 40))
    torch.testing.assert_close(result[..., 12:28], image[..., 12:28], atol=2e-5, rtol=0)


def test_blur_has_its_width_and_keeps_the_flux():
    image = torch.zeros(2, 1, 41, 41)
    image[:, :, 20, 20] = 1.0
    result = blurred(image, torch.tensor([4.0, 0.0], dtype=torch.float64), 4.0)
    torch.testing.assert_close(result.sum((1, 2, 3)), torch.ones(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(result[0, 0, 20, 22] / result[0, 0, 20, 20], torch.tensor(0.5), atol=1e-5, rtol=0)
    assert torch.equal(result[1], image[1])


def test_noise_has_the_width_of_each_band_and_leaves_the_target():
    images, targets = torch.zeros(8, 2, 32, 32), torch.zeros(8, 2, 64, 64)
    noisy, clean = LensAugmentation("none", noise_std=(0.5, 2.0))(images, targets, keys=range(8))
    np.testing.assert_allclose(noisy.std((0, 2, 3)), (0.5, 2.0), rtol=0.03)
    assert torch.equal(clean, targets)


def test_levels_are_rounded_to_or_cut_down_to():
    images = torch.tensor([-0.3, 0.1, 0.4, 0.6, 1.9]).expand(3, 1, 1, 5)
    steps, offsets = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.5, 0.0, 0.3])
    rounded, floored, kept = cut_to_levels(images, steps, offsets)[:, 0, 0]
    torch.testing.assert_close(rounded, torch.tensor([-0.5, 0.0, 0.5, 0.5, 2.0]))
    torch.testing.assert_close(floored, torch.tensor([-0.5, 0.0, 0.0, 0.5, 1.5]))
    torch.testing.assert_close(kept, images[2, 0, 0])


def test_each_image_has_levels_of_its_own_up_to_the_largest_step_and_leaves_the_target():
    images, targets = torch.rand(64, 1, 32, 32), torch.rand(64, 1, 64, 64)
    cut, whole = LensAugmentation("none", max_level_step=0.2)(images, targets, keys=range(64))
    assert torch.equal(whole, targets)
    # A step s leaves about 1 / s levels.
    levels = torch.tensor([len(image.unique()) for image in cut])
    assert levels.min() in (5, 6, 7) and len(levels.unique()) > 8
    assert ((cut - images).abs() <= 0.2).all()
    single, _ = LensAugmentation("none", max_level_step=0.2)(images[5:6], keys=[5])
    assert torch.equal(single[0], cut[5])


@pytest.mark.parametrize(("bands", "size"), [(1, 15), (2, 16)])
def test_the_same_key_changes_an_image_to_the_same_bytes_in_any_batch(bands, size):
    images, keys = _images(6, bands, size), [11, 12, 13, 14, 15, 16]
    whole, _ = EVERYTHING(images, keys=keys)
    for index in range(6):
        single, _ = EVERYTHING(images[index : index + 1], keys=keys[index : index + 1])
        assert torch.equal(single[0], whole[index])
    assert not torch.equal(whole, EVERYTHING(images, keys=[key + 1 for key in keys])[0])


def test_settings_do_not_change_what_others_draw():
    images = _images()
    plain, _ = LensAugmentation("dihedral")(images, keys=range(4))
    noisy, _ = LensAugmentation("dihedral", noise_std=1e-7)(images, keys=range(4))
    torch.testing.assert_close(plain, noisy, atol=1e-5, rtol=0)


def test_given_images_stay_as_they_are():
    images = _images()
    before = images.clone()
    EVERYTHING(images, keys=range(4))
    assert torch.equal(images, before)


def test_keys_depend_on_pixels_seed_and_epoch_alone():
    images = _images().numpy()
    keys = sample_keys(images, 0, 0)
    assert len(set(keys)) == 4 and sample_keys(images[::-1], 0, 0) == keys[::-1]
    assert not set(keys) & set(sample_keys(images, 1, 0)) and not set(keys) & set(sample_keys(images, 0, 1))


def test_whole_numbers_of_numpy_give_the_same_keys():
    images = _images(2).numpy()
    expected = sample_keys(images, 3, 5)
    assert sample_keys(images, np.int64(3), np.int64(5)) == expected
    assert sample_keys(images, 3, np.array([5, 5])) == expected


def _processor(images, return_tensors):
    return {"pixel_values": torch.stack(list(images))}


def _dataset():
    return dataset_from_chunks([{"image": _images(12).numpy()}], lens_features((2, 16, 16), label=False))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_seeded_collator_gives_the_same_batches_with_any_workers_and_new_ones_each_epoch(workers):
    collator = LensDataCollator(_processor, "pretraining", EVERYTHING, seed=3)
    loader = DataLoader(_dataset(), 4, collate_fn=collator, num_workers=workers, persistent_workers=bool(workers))
    epochs = []
    for epoch in (0, 1, 0):
        collator.set_epoch(epoch)
        epochs.append(torch.cat([batch["pixel_values"] for batch in loader]))
    assert torch.equal(epochs[0], epochs[2]) and not torch.equal(epochs[0], epochs[1])
    images = _dataset()["image"][:]
    expected, _ = EVERYTHING(torch.from_numpy(images), keys=sample_keys(images, 3, 0))
    assert torch.equal(epochs[0], expected)


def test_a_batch_is_contiguous_float32():
    batch = LensDataCollator(_processor, "pretraining", "continuous")(list(_dataset()))
    assert batch["pixel_values"].is_contiguous() and batch["pixel_values"].dtype == torch.float32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_as_the_cpu():
    images = _images()
    on_cpu, _ = EVERYTHING(images, keys=range(4))
    on_gpu, _ = EVERYTHING(images.cuda(), keys=range(4))
    assert on_gpu.is_cuda
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"symmetries": "flip"}, "symmetries must be one of none, half_turn, dihedral, got 'flip'"),
        ({"max_shift": -1}, "max_shift must be a number of pixels, at least 0, got -1"),
        ({"max_psf_fwhm": math.inf}, "max_psf_fwhm must be a number of pixels"),
        ({"noise_std": (0.1, -1)}, "noise_std must be a flux, at least 0"),
        ({"max_level_step": -1}, "max_level_step must be a flux, at least 0, got -1"),
        ({"max_shift": "1"}, "max_shift must be a number of pixels, at least 0, got '1'"),
        ({"noise_std": "a"}, "noise_std must be a flux, at least 0, or one a band, got 'a'"),
        ({"noise_std": None}, "noise_std must be a flux, at least 0, or one a band, got None"),
        ({"noise_std": [0.1, "0.1"]}, "noise_std must be a flux"),
        ({"max_level_step": [0.1]}, "max_level_step must be a flux"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        LensAugmentation(**settings)


def test_wrong_batches_are_named():
    with pytest.raises(ValueError, match="noise_std has 3 bands, the images have 2"):
        LensAugmentation(noise_std=(1, 1, 1))(_images(), keys=range(4))
    with pytest.raises(ValueError, match="keys must be one an image, got 3 for 4 images"):
        LensAugmentation()(_images(), keys=range(3))
