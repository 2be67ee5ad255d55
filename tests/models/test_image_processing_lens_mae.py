import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image
from transformers import AutoImageProcessor
from transformers.modeling_outputs import ImageSuperResolutionOutput

import lens_transformers  # noqa: F401  (registers the Auto classes)
from lens_transformers.models.lens_mae import LensMAEImageProcessor


def lens_images(num_images=4, bands=1, size=16, seed=0):
    """Images between 0 and 1 whose bright peak stands on a faint background with noise of both signs."""
    rng = np.random.default_rng(seed)
    shape = (num_images, bands, size, size)
    return (0.02 * rng.standard_normal(shape) + rng.exponential(0.2, shape) ** 2).astype(np.float32)


def pixels(processor, images, **kwargs):
    return processor(images, return_tensors="pt", **kwargs).pixel_values


class TestKindsOfImages:
    identity = LensMAEImageProcessor(normalization="none", num_bands=1)

    @pytest.mark.parametrize(
        "dtype", ["<f4", ">f4", "<f8", ">f8", "f2", "u1", "<u2", ">u2", "i4", ">i8", "u4"], ids=str
    )
    def test_every_numeric_dtype_gives_its_own_numbers(self, dtype):
        image = (lens_images(1)[0] * 100).clip(0).astype(dtype)
        found = pixels(self.identity, image)
        assert found.dtype == torch.float32
        assert np.array_equal(found[0].numpy(), image.astype(np.float32))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int16, torch.uint8])
    def test_tensors_are_taken_as_they_are(self, dtype):
        image = (torch.from_numpy(lens_images(1)[0]) * 100).clamp(min=0).to(dtype)
        assert torch.equal(pixels(self.identity, image)[0], image.float())

    @pytest.mark.parametrize(
        ("mode", "dtype", "highest"),
        [("L", np.uint8, 255), ("I;16", np.uint16, 65535), ("I", np.int32, 2**24), ("F", np.float32, 1.5e6)],
    )
    def test_pil_images_keep_their_depth(self, mode, dtype, highest):
        array = np.linspace(0, highest, 12 * 10).reshape(12, 10).astype(dtype)
        image = Image.fromarray(array)
        assert image.mode == mode
        assert np.array_equal(pixels(self.identity, image)[0, 0].numpy(), array.astype(np.float32))

    def test_a_column_of_a_dataset_is_a_batch(self):
        images = lens_images(3)
        dataset = Dataset.from_dict({"image": images})
        for column in (dataset["image"], dataset.with_format("numpy")["image"]):
            assert np.array_equal(pixels(self.identity, column).numpy(), images.astype(np.float32))
        mapped = dataset.with_transform(lambda rows: {"pixels": pixels(self.identity, rows["image"])})
        assert np.array_equal(mapped[1]["pixels"].numpy(), images[1].astype(np.float32))

    def test_a_list_that_makes_no_array_is_named(self):
        with pytest.raises(TypeError, match="Image 1 is a list of what makes no array of numbers"):
            pixels(self.identity, [[[1.0]], [[1.0], [1.0, 2.0]]])

    def test_a_colour_picture_becomes_three_bands(self):
        array = np.random.default_rng(0).integers(0, 256, (3, 3, 3), dtype=np.uint8)
        processor = LensMAEImageProcessor(normalization="none", input_data_format="channels_first")
        assert np.array_equal(pixels(processor, Image.fromarray(array))[0].numpy(), array.transpose(2, 0, 1))

    def test_a_grey_picture_in_three_bands_is_one_band_where_one_is_expected(self):
        grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
        assert torch.equal(pixels(self.identity, grey.convert("RGB")), pixels(self.identity, grey))
        assert pixels(LensMAEImageProcessor(num_bands=3), grey.convert("RGB")).shape == (1, 3, 16, 16)

    def test_white_of_a_picture_stands_for_the_flux_it_is_said_to(self, caplog):
        array = np.array([[0, 255], [51, 102]], dtype=np.uint8)
        processor = LensMAEImageProcessor(normalization="none", num_bands=1, white_flux=0.5)
        expected = torch.tensor([[[[0.0, 0.5], [0.1, 0.2]]]])
        for mode in ("L", "RGB"):
            torch.testing.assert_close(pixels(processor, Image.fromarray(array).convert(mode)), expected)
        assert "taken as flux from 0 to 0.5 in 255 steps" in caplog.text
        for deeper in (array, Image.fromarray(array.astype(np.float32)), Image.fromarray(array.astype(np.uint16))):
            assert pixels(processor, deeper).max() == 255

    def test_eight_bits_become_zero_to_one_only_when_asked(self):
        image = np.array([[0, 255], [51, 102]], dtype=np.uint8)
        assert pixels(self.identity, image).max() == 255
        torch.testing.assert_close(
            pixels(self.identity, image, do_rescale=True)[0, 0], torch.tensor([[0.0, 1.0], [0.2, 0.4]])
        )

    def test_all_ways_to_give_a_batch_agree(self):
        images = lens_images(5)
        processor = LensMAEImageProcessor(num_bands=1)
        expected = pixels(processor, images)
        assert expected.shape == images.shape
        for batch in (
            list(images),
            tuple(images),
            [image[0] for image in images],
            [image.transpose(1, 2, 0) for image in images],
            images.transpose(0, 2, 3, 1),
            torch.from_numpy(images),
            [torch.from_numpy(image) for image in images],
            [images[0], torch.from_numpy(images[1]), Image.fromarray(images[2, 0]), images[3, 0], images[4]],
        ):
            assert torch.equal(pixels(processor, batch), expected)
        assert torch.equal(pixels(processor, images[0]), expected[:1])

    def test_masked_pixels_of_a_masked_array_are_bad_pixels(self):
        image = np.ma.array(lens_images(1)[0], mask=False)
        image[0, 3, 4] = np.ma.masked
        with pytest.raises(ValueError, match="1 in image 0"):
            pixels(self.identity, image)

    @pytest.mark.filterwarnings("error")
    def test_read_only_and_reversed_arrays_are_read_and_left_alone(self):
        image = lens_images(1)[0][:, ::-1]
        image.flags.writeable = False
        before = image.copy()
        assert np.array_equal(pixels(self.identity, image)[0].numpy(), before)
        pixels(LensMAEImageProcessor(), image)
        assert np.array_equal(image, before)

    def test_the_output_shares_no_memory_with_the_images(self):
        image = torch.zeros(1, 8, 8)
        self.identity(image, return_tensors=None).pixel_values[0].add_(1.0)
        assert image.max() == 0

    @pytest.mark.parametrize(
        ("image", "message"),
        [
            (np.zeros(7), r"shape \(7,\)"),
            (np.zeros((1, 0, 5)), r"shape \(1, 0, 5\)"),
            (np.zeros((2, 1, 1, 4, 4)), r"shape \(2, 1, 1, 4, 4\)"),
            (np.empty((4, 4), dtype=object), "pixels of object"),
            (np.zeros((4, 4), dtype=complex), "pixels of complex128"),
            (np.zeros((4, 4), dtype=bool), "pixels of bool"),
            (torch.zeros(4, 4, dtype=torch.complex64), "pixels of torch.complex64"),
            (Image.new("P", (4, 4)), "PIL mode P"),
            (Image.new("RGBA", (4, 4)), "PIL mode RGBA"),
            ([[0.0, 1.0], [2.0, 3.0]], r"Image 0 has shape \(2,\)"),
            ("lens.png", "Image 0 is of type str"),
            ([], "batch is empty"),
            ([np.zeros((4, 4)), None], "Image 1 is of type NoneType"),
        ],
    )
    def test_what_is_no_image_is_refused(self, image, message):
        with pytest.raises((TypeError, ValueError), match=message):
            pixels(self.identity, image)


class TestLayout:
    def test_the_short_axis_holds_the_bands(self):
        processor = LensMAEImageProcessor(normalization="none")
        image = lens_images(1, bands=5)[0]
        assert torch.equal(pixels(processor, image), pixels(processor, image.transpose(1, 2, 0)))
        assert pixels(processor, image).shape == (1, 5, 16, 16)

    @pytest.mark.parametrize("shape", [(8, 8, 8), (4, 8, 4), (9, 2, 4)])
    def test_an_ambiguous_shape_is_refused(self, shape):
        processor = LensMAEImageProcessor(normalization="none")
        with pytest.raises(ValueError, match="does not tell the axis of the bands"):
            pixels(processor, np.zeros(shape))
        assert pixels(processor, np.zeros(shape), input_data_format="channels_first").shape == (1, *shape)
        assert pixels(processor, np.zeros(shape), input_data_format="channels_last").shape == (1, shape[2], *shape[:2])

    def test_the_number_of_bands_settles_the_layout(self):
        image = np.zeros((9, 2, 4))
        assert pixels(LensMAEImageProcessor(num_bands=9), image).shape == (1, 9, 2, 4)
        assert pixels(LensMAEImageProcessor(num_bands=4), image).shape == (1, 4, 9, 2)
        with pytest.raises(ValueError, match="does not tell the axis of the bands"):
            pixels(LensMAEImageProcessor(num_bands=3), np.zeros((3, 8, 3)))

    @pytest.mark.parametrize("image", [np.zeros((3, 8, 8)), np.zeros((8, 8, 3)), Image.new("RGB", (8, 8), "red")])
    def test_three_bands_are_refused_where_one_is_expected(self, image):
        with pytest.raises(ValueError, match="num_bands=1 is not its number of bands"):
            pixels(LensMAEImageProcessor(num_bands=1), image)

    def test_one_band_is_refused_where_three_are_expected(self):
        with pytest.raises(ValueError, match="num_bands=3"):
            pixels(LensMAEImageProcessor(num_bands=3), np.zeros((8, 8)))


class TestBadPixels:
    def test_they_are_refused_with_their_count_and_image(self):
        images = lens_images(4)
        images[1, 0, 0, :3] = np.nan
        images[3, 0, 5, 5] = -np.inf
        with pytest.raises(ValueError, match="3 in image 1, 1 in image 3. "):
            pixels(LensMAEImageProcessor(), images)

    def test_float64_beyond_float32_counts_as_infinite(self):
        with pytest.raises(ValueError, match="1 in image 0"):
            pixels(LensMAEImageProcessor(), np.array([[1e300, 1.0], [0.0, 0.0]]))

    @pytest.mark.parametrize(
        "settings",
        [
            {"stretch": 1e-38},
            {"do_rescale": True, "rescale_factor": 1e38},
            {"normalization": "min_max"},
            {"normalization": "standardize", "image_mean": 0.0, "image_std": 1e-38},
        ],
    )
    def test_what_scaling_makes_infinite_is_refused(self, settings):
        images = np.zeros((2, 1, 8, 8))
        images[1, 0, 3, 3:5] = (-3e38, 3e38) if settings == {"normalization": "min_max"} else (-100, 100)
        with pytest.raises(ValueError, match=r"Image 1 is scaled beyond float32, 3\.4e\+38: give it in another flux"):
            pixels(LensMAEImageProcessor(**settings), images)

    @pytest.mark.parametrize("normalization", ["arcsinh", "standardize", "min_max", "none"])
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_no_normalization_and_resizing_hides_them(self, normalization, bad):
        constants = {"image_mean": 0.1, "image_std": 0.5} if normalization == "standardize" else {}
        images = lens_images(3, size=24)
        images[2, 0, 0, 0] = bad
        for size in ({}, {"do_resize": True, "size": 5}):
            with pytest.raises(ValueError, match="1 in image 2. "):
                pixels(LensMAEImageProcessor(normalization=normalization, **constants, **size), images)

    def test_they_are_filled_before_resizing_when_asked(self):
        images = lens_images(3)
        bad = images.copy()
        images[1, 0, 4, 4] = 0.25
        bad[1, 0, 4, 4] = np.nan
        processor = LensMAEImageProcessor(nan_fill=0.25, do_resize=True, size=8)
        assert torch.equal(pixels(processor, bad), pixels(processor, images))


class TestResize:
    def test_images_keep_their_size_by_default(self):
        assert pixels(LensMAEImageProcessor(), lens_images(1, size=13)).shape == (1, 1, 13, 13)

    def test_images_of_all_sizes_come_out_at_one(self):
        images = [lens_images(1, size=size)[0] for size in (12, 20, 12, 33)]
        processor = LensMAEImageProcessor(do_resize=True, size={"height": 16, "width": 10})
        found = pixels(processor, images)
        assert found.shape == (4, 1, 16, 10)
        for image, alone in zip(images, found, strict=True):
            torch.testing.assert_close(pixels(processor, image)[0], alone)

    def test_resizing_agrees_with_pillow_in_float(self):
        processor = LensMAEImageProcessor(normalization="none", do_resize=True, size=11)
        for size in (24, 7):
            image = 1000 * lens_images(1, size=size)[0, 0]
            expected = np.asarray(Image.fromarray(image).resize((11, 11), Image.Resampling.BICUBIC))
            np.testing.assert_allclose(pixels(processor, image)[0, 0].numpy(), expected, rtol=1e-4, atol=1e-2)

    def test_faint_differences_survive(self):
        image = (1e-4 * lens_images(1, size=32)[0]).astype(np.float32)
        found = pixels(LensMAEImageProcessor(normalization="none", do_resize=True, size=24), image)
        assert len(found.unique()) > 500

    def test_images_of_different_sizes_stay_a_list(self):
        images = [lens_images(1, size=size)[0] for size in (12, 20, 12)]
        found = LensMAEImageProcessor(num_bands=1)(images).pixel_values
        assert [tuple(image.shape) for image in found] == [(1, 12, 12), (1, 20, 20), (1, 12, 12)]
        with pytest.raises(ValueError, match="do_resize=True"):
            pixels(LensMAEImageProcessor(num_bands=1), images)


class TestNormalization:
    def test_arcsinh(self):
        images = lens_images(3, bands=2)
        processor = LensMAEImageProcessor(stretch=0.05, image_mean=[0.3, 0.4], image_std=[1.5, 2.0])
        expected = np.arcsinh(images.astype(np.float64) / 0.05) - np.array([0.3, 0.4])[:, None, None]
        expected /= np.array([1.5, 2.0])[:, None, None]
        np.testing.assert_allclose(pixels(processor, images).numpy(), expected, rtol=1e-5, atol=1e-6)

    def test_min_max_is_per_image_over_all_bands(self):
        images = lens_images(3, bands=2)
        found = pixels(LensMAEImageProcessor(normalization="min_max"), images)
        assert torch.equal(found.amin((1, 2, 3)), torch.zeros(3))
        assert torch.equal(found.amax((1, 2, 3)), torch.ones(3))
        assert (found.amax((2, 3)) < 1).any()

    def test_a_flat_image_becomes_zero_under_min_max_and_comes_back(self):
        processor = LensMAEImageProcessor(normalization="min_max", return_scaling=True)
        inputs = processor(np.full((1, 8, 8), 7.5), return_tensors="pt")
        assert torch.equal(inputs.pixel_values, torch.zeros(1, 1, 8, 8))
        scaling = {"pixel_minimum": inputs.pixel_minimum, "pixel_maximum": inputs.pixel_maximum}
        assert (processor.post_process_reconstruction(inputs.pixel_values, **scaling) == 7.5).all()

    def test_standardize(self):
        images = lens_images(2)
        processor = LensMAEImageProcessor(normalization="standardize", image_mean=0.1, image_std=0.5)
        np.testing.assert_allclose(pixels(processor, images).numpy(), (images - 0.1) / 0.5, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("normalization", ["arcsinh", "standardize", "min_max"])
    def test_measured_constants_standardise_the_images_they_were_measured_on(self, normalization):
        images = 40 + 1000 * lens_images(50, bands=2)
        processor = LensMAEImageProcessor.measured_on(images, normalization=normalization, stretch=20.0)
        found = pixels(processor, images).double()
        torch.testing.assert_close(found.mean((0, 2, 3)), torch.zeros(2).double(), atol=1e-6, rtol=0)
        torch.testing.assert_close(found.std((0, 2, 3), correction=0), torch.ones(2).double(), atol=1e-6, rtol=0)
        assert processor.normalization == normalization
        assert processor.stretch == 20.0

    def test_what_has_no_constants_cannot_be_measured(self):
        with pytest.raises(ValueError, match="no constants"):
            LensMAEImageProcessor.measured_on(lens_images(), normalization="none")
        with pytest.raises(ValueError, match="same value everywhere"):
            LensMAEImageProcessor.measured_on(np.ones((3, 1, 8, 8)))
        with pytest.raises(ValueError, match="leave them out"):
            LensMAEImageProcessor.measured_on(lens_images(), image_mean=0.0)

    def test_images_of_different_bands_have_no_constants_in_common(self):
        images = [lens_images(1)[0], lens_images(1, bands=3)[0]]
        with pytest.raises(ValueError, match="Images of 1 and 3 bands have no constants in common"):
            LensMAEImageProcessor.measured_on(images)
        assert len(LensMAEImageProcessor.measured_on(images, do_convert_rgb=True).image_mean) == 3

    def test_one_band_feeds_a_network_of_three(self):
        images = lens_images(2)
        processor = LensMAEImageProcessor(
            normalization="min_max", do_convert_rgb=True, image_mean=[0.5, 0.4, 0.3], image_std=0.5
        )
        found = pixels(processor, images)
        single = pixels(LensMAEImageProcessor(normalization="min_max"), images)
        for band, mean in enumerate((0.5, 0.4, 0.3)):
            torch.testing.assert_close(found[:, band], (single[:, 0] - mean) / 0.5)
        three = lens_images(2, bands=3)
        assert torch.equal(pixels(processor, three), pixels(processor, three, do_convert_rgb=False)), (
            "three bands are left as they are"
        )

    def test_a_batch_gives_what_its_images_give_alone(self):
        images = lens_images(7)
        for normalization in ("arcsinh", "min_max"):
            processor = LensMAEImageProcessor(normalization=normalization)
            batch = pixels(processor, images)
            for image, together in zip(images, batch, strict=True):
                torch.testing.assert_close(pixels(processor, image)[0], together, rtol=3e-7, atol=1e-7)


class TestPostProcessing:
    @pytest.mark.parametrize("scale", [1e-17, 1.0, 1e5])
    @pytest.mark.parametrize("normalization", ["arcsinh", "standardize", "min_max", "none"])
    def test_it_gives_the_flux_back(self, normalization, scale):
        images = (scale * (lens_images(6, bands=2) - 0.1)).astype(np.float32)
        constants = {} if normalization == "none" else {"image_mean": [0.3, -0.1], "image_std": [1.2, 0.7]}
        if normalization == "standardize":
            constants = {name: [scale * value for value in values] for name, values in constants.items()}
        returned = normalization == "min_max"
        processor = LensMAEImageProcessor(
            normalization=normalization, stretch=0.02 * scale, return_scaling=returned, **constants
        )
        inputs = processor(images, return_tensors="pt")
        scaling = {name: inputs[name] for name in ("pixel_minimum", "pixel_maximum") if returned}
        flux = processor.post_process_reconstruction(inputs.pixel_values, **scaling)
        assert flux.dtype == torch.float32
        # Rounding of float32: relative on the peak, absolute on what the constants take away.
        np.testing.assert_allclose(flux.numpy(), images, rtol=2e-6, atol=scale * 5e-7)

    def test_rescaling_is_undone_too(self):
        image = np.random.default_rng(0).integers(0, 256, (9, 9), dtype=np.uint8)
        processor = LensMAEImageProcessor(do_rescale=True)
        flux = processor.post_process_reconstruction(pixels(processor, image))
        np.testing.assert_allclose(flux[0, 0].numpy(), image, rtol=2e-6, atol=1e-4)

    def test_a_super_resolved_output_is_taken_whole(self):
        processor = LensMAEImageProcessor()
        high = pixels(processor, lens_images(2, size=32))
        output = ImageSuperResolutionOutput(reconstruction=high.requires_grad_())
        flux = processor.post_process_reconstruction(output)
        assert flux.shape == (2, 1, 32, 32)
        assert not flux.requires_grad

    def test_negative_flux_stays_unless_it_is_clamped(self):
        processor = LensMAEImageProcessor()
        pixel_values = pixels(processor, lens_images(2) - 0.1)
        assert processor.post_process_reconstruction(pixel_values).min() < 0
        assert processor.post_process_reconstruction(pixel_values, clamp_min=0.0).min() == 0

    def test_images_come_back_at_their_own_sizes(self):
        images = [np.full((1, height, width), 0.3) for height, width in ((12, 20), (9, 9))]
        processor = LensMAEImageProcessor(num_bands=1, do_resize=True, size=16)
        flux = processor.post_process_reconstruction(pixels(processor, images), target_sizes=[(12, 20), (9, 9)])
        assert [tuple(image.shape) for image in flux] == [(1, 12, 20), (1, 9, 9)]
        for image in flux:
            torch.testing.assert_close(image, torch.full_like(image, 0.3))
        with pytest.raises(ValueError, match="1 entries for 2 images"):
            processor.post_process_reconstruction(pixels(processor, images), target_sizes=[(12, 20)])

    def test_min_max_without_its_scaling_is_refused(self):
        processor = LensMAEImageProcessor(normalization="min_max")
        with pytest.raises(ValueError, match="return_scaling=True"):
            processor.post_process_reconstruction(pixels(processor, lens_images()))

    @pytest.mark.parametrize("name", ["pixel_minimum", "pixel_maximum"])
    @pytest.mark.parametrize(("numbers", "found"), [([0.0], r"\(1,\)"), (0.5, r"\(\)"), ([[0.0] * 4], r"\(1, 4\)")])
    def test_a_scaling_for_other_images_is_refused(self, name, numbers, found):
        processor = LensMAEImageProcessor(normalization="min_max", return_scaling=True)
        inputs = processor(lens_images(4), return_tensors="pt")
        scaling = {"pixel_minimum": inputs.pixel_minimum, "pixel_maximum": inputs.pixel_maximum, name: numbers}
        with pytest.raises(ValueError, match=rf"{name} must have the shape \(4,\), one an image, got {found}"):
            processor.post_process_reconstruction(inputs.pixel_values, **scaling)

    @pytest.mark.parametrize("size", [(0, 8), 8, (8.0, 8), (8, 8, 8), (8, 10**9), "88", None])
    def test_a_target_size_that_is_none_is_refused(self, size):
        with pytest.raises(ValueError, match=r"target_sizes must give \(height, width\), .* for image 1"):
            LensMAEImageProcessor().post_process_reconstruction(torch.zeros(2, 1, 4, 4), target_sizes=[(8, 8), size])

    def test_target_sizes_may_be_a_tensor(self):
        sizes = torch.tensor([[8, 9], [7, 8]])
        flux = LensMAEImageProcessor().post_process_reconstruction(torch.zeros(2, 1, 4, 4), target_sizes=sizes)
        assert [image.shape[1:] for image in flux] == [(8, 9), (7, 8)]

    def test_what_holds_no_images_is_refused(self):
        with pytest.raises(TypeError, match=r"shape \(2, 16, 64\)"):
            LensMAEImageProcessor().post_process_reconstruction(torch.zeros(2, 16, 64))
        with pytest.raises(TypeError, match="got dict"):
            LensMAEImageProcessor().post_process_reconstruction({"logits": torch.zeros(1)})


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"normalization": "log"}, "normalization must be one of"),
            ({"normalization": None}, "normalization must be one of"),
            ({"normalization": "standardize"}, "measured_on"),
            ({"normalization": "none", "image_mean": 0.5}, "takes no image_mean"),
            ({"stretch": 0.0}, "stretch must be a positive flux"),
            ({"stretch": "0.02"}, "stretch must be a positive flux"),
            ({"image_std": [1.0, 0.0]}, "image_std must be positive"),
            ({"image_mean": float("nan")}, "image_mean must be finite"),
            ({"image_mean": "bright"}, "image_mean must be one number"),
            ({"num_bands": 0}, "num_bands must be"),
            ({"num_bands": 1, "image_mean": [0.0, 1.0]}, "image_mean has 2 numbers and the images have 1 bands"),
            ({"num_bands": 2, "image_std": [1.0] * 3}, "image_std has 3 numbers and the images have 2 bands"),
            (
                {"num_bands": 1, "do_convert_rgb": True, "image_mean": [0.0, 1.0]},
                "image_mean has 2 numbers and the images have 3 bands",
            ),
            ({"nan_fill": float("inf")}, "nan_fill must be"),
            ({"rescale_factor": 0.0}, "rescale_factor must be"),
            ({"input_data_format": "first"}, "input_data_format must be"),
            ({"do_resize": True}, "do_resize needs size"),
            ({"do_resize": True, "size": {"shortest_edge": 8}}, "do_resize needs size"),
            ({"do_resize": True, "size": 10**9}, "whole numbers from 1 to 8192"),
            ({"do_resize": True, "size": {"height": 64, "width": 10**400}}, "whole numbers from 1 to 8192"),
            ({"do_resize": True, "size": {"height": "64", "width": 64}}, "whole numbers from 1 to 8192"),
            ({"do_resize": "no"}, "do_resize must be True or False"),
            ({"stretch": 10**400}, "stretch must be a positive flux"),
            ({"image_std": 10**400}, "image_std must be one number"),
            ({"white_flux": -1.0}, "white_flux must be a positive flux"),
            ({"return_scaling": True}, "return_scaling is for"),
            ({"strength": 0.1}, "has no argument strength"),
            ({"do_center_crop": True}, "has no argument do_center_crop"),
        ],
    )
    def test_what_cannot_work_is_refused_when_made_and_when_called(self, arguments, message):
        with pytest.raises((TypeError, ValueError), match=message):
            LensMAEImageProcessor(**arguments)
        with pytest.raises((TypeError, ValueError), match=message):
            LensMAEImageProcessor()(lens_images(), **arguments)

    def test_constants_for_another_number_of_bands_are_refused(self):
        with pytest.raises(ValueError, match="image_mean has 3 numbers and the images have 1 bands"):
            pixels(LensMAEImageProcessor(image_mean=[0.1, 0.2, 0.3]), lens_images())

    def test_another_normalization_for_one_call_takes_its_own_constants(self):
        images = lens_images()
        processor = LensMAEImageProcessor(image_mean=0.9, image_std=3.0)
        assert torch.equal(
            pixels(processor, images, normalization="min_max"),
            pixels(LensMAEImageProcessor(normalization="min_max"), images),
        )

    def test_numpy_comes_out_when_asked(self):
        processor = LensMAEImageProcessor()
        found = processor(lens_images(), return_tensors="np").pixel_values
        assert isinstance(found, np.ndarray)
        assert np.array_equal(found, pixels(processor, lens_images()).numpy())

    def test_the_work_is_done_on_the_device_asked_for(self):
        with pytest.raises(RuntimeError, match="meta tensors"):
            pixels(LensMAEImageProcessor(), lens_images(), device="meta")
        assert pixels(LensMAEImageProcessor(), lens_images(), device=torch.device("cpu")).device.type == "cpu"

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    def test_a_gpu_gives_the_pixels_of_the_cpu(self):
        processor = LensMAEImageProcessor(do_resize=True, size=12)
        found = pixels(processor, lens_images(), device="cuda")
        assert found.device.type == "cuda"
        torch.testing.assert_close(found.cpu(), pixels(processor, lens_images()), rtol=1e-5, atol=1e-5)


class TestSaving:
    @pytest.mark.parametrize("normalization", ["arcsinh", "standardize", "min_max", "none"])
    def test_a_saved_processor_gives_the_same_pixels_bit_for_bit(self, normalization, tmp_path):
        images = lens_images(5, bands=2)
        arguments = {"normalization": normalization, "stretch": 1 / 30, "do_resize": True, "size": 11, "nan_fill": 0.1}
        if normalization == "none":
            processor = LensMAEImageProcessor(**arguments)
        else:
            processor = LensMAEImageProcessor.measured_on(images, **arguments)
        processor.save_pretrained(tmp_path)
        loaded = LensMAEImageProcessor.from_pretrained(tmp_path)
        assert loaded.to_dict() == processor.to_dict()
        assert torch.equal(pixels(loaded, images), pixels(processor, images))

    def test_the_choice_and_its_constants_are_written_down(self, tmp_path):
        LensMAEImageProcessor(device="cpu").save_pretrained(tmp_path)
        saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
        assert saved["normalization"] == "arcsinh"
        assert {"stretch", "image_mean", "image_std"} <= set(saved)
        assert "device" not in saved

    def test_constants_are_not_carried_into_another_normalization(self, tmp_path):
        LensMAEImageProcessor(image_mean=0.9, image_std=3.0).save_pretrained(tmp_path)
        kept = LensMAEImageProcessor.from_pretrained(tmp_path, nan_fill=0.0)
        assert (kept.image_mean, kept.image_std, kept.nan_fill) == (0.9, 3.0, 0.0)
        changed = LensMAEImageProcessor.from_pretrained(tmp_path, normalization="min_max")
        assert (changed.image_mean, changed.image_std) == (0.0, 1.0)

    @pytest.mark.parametrize("has_torchvision", [False, True])
    def test_the_auto_class_finds_it_with_and_without_torchvision(self, has_torchvision, tmp_path, monkeypatch):
        monkeypatch.setattr(
            "transformers.models.auto.image_processing_auto.is_torchvision_available", lambda: has_torchvision
        )
        processor = LensMAEImageProcessor(stretch=0.1)
        processor.save_pretrained(tmp_path)
        loaded = AutoImageProcessor.from_pretrained(tmp_path)
        assert type(loaded) is LensMAEImageProcessor
        assert loaded.to_dict() == processor.to_dict()

    def test_it_travels_as_remote_code_to_where_this_package_is_not_installed(self, tmp_path, monkeypatch):
        monkeypatch.setattr(LensMAEImageProcessor, "_auto_class", "AutoImageProcessor")
        images = lens_images(3)
        processor = LensMAEImageProcessor.measured_on(images, num_bands=1)
        folder = tmp_path / "lens-mae-v1.0"
        processor.save_pretrained(folder)
        np.save(tmp_path / "images.npy", images)
        np.save(tmp_path / "expected.npy", pixels(processor, images).numpy())
        script = textwrap.dedent(
            """
            import sys
            sys.modules["lens_transformers"] = None
            sys.modules["torchvision"] = None
            import numpy as np
            from transformers import AutoImageProcessor

            images, expected = np.load("images.npy"), np.load("expected.npy")
            for folder, copy in (("lens-mae-v1.0", "again.2"), ("again.2", "third")):
                processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
                assert type(processor).__module__.startswith("transformers_modules.")
                assert np.array_equal(processor(images, return_tensors="np").pixel_values, expected)
                processor.save_pretrained(copy)
            """
        )
        environment = {**os.environ, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
