import io

import numpy as np
import pytest
import torch
from datasets import Dataset
from matplotlib.figure import Figure

from lens_transformers.data import lens_features
from lens_transformers.visualization import (
    plot_attention_maps,
    plot_imprints,
    plot_lenses,
    plot_reconstructions,
    plot_super_resolution,
    plot_training_curves,
    save_figure,
)
from lens_transformers.visualization.style import flux_scale, residual_scale


def lenses(count=3, size=16, bands=1):
    return np.random.default_rng(0).random((count, bands, size, size))


def panels(figure):
    """The axes of images, without those of colour bars."""
    return [ax for ax in figure.axes if ax.images]


def titles(figure):
    return [ax.get_title() for ax in panels(figure) if ax.get_title()]


def test_a_place_outside_of_the_image_does_not_stretch_its_axes():
    maps = {"rollout": np.zeros((1, 32, 32))}
    figure = plot_attention_maps(lenses(1), maps, pixel_scale=0.1, positions=[np.array([[2.5, 0.0]])])
    image, overlay = figure.axes[:2]
    assert overlay.get_xlim() == image.get_xlim() and overlay.get_ylim() == image.get_ylim()


def test_a_grid_shows_each_lens_under_its_title():
    figure = plot_lenses(lenses(7), titles=[f"lens {index}" for index in range(7)])
    assert titles(figure) == [f"lens {index}" for index in range(7)]


def test_a_grid_of_three_classes_keeps_each_class_in_its_column():
    figure = plot_lenses(lenses(9), titles=["no_sub", "cdm", "axion"] * 3)
    columns = {ax.get_title(): ax.get_subplotspec().colspan.start for ax in panels(figure)}
    assert columns == {"no_sub": 0, "cdm": 1, "axion": 2}


def test_a_band_axis_is_averaged():
    images = lenses(1, bands=3)
    (ax,) = panels(plot_lenses(images))
    np.testing.assert_allclose(ax.images[0].get_array(), images[0].mean(axis=0))


def test_axes_are_in_arcsec_where_the_pixel_scale_is_known():
    (ax,) = panels(plot_lenses(lenses(1), pixel_scale=0.1))
    assert ax.get_xlabel() == ax.get_ylabel() == "arcsec"
    np.testing.assert_allclose(ax.images[0].get_extent(), (-0.8, 0.8, -0.8, 0.8))
    (ax,) = panels(plot_lenses(lenses(1)))
    assert ax.get_xlabel() == "pixel"


def test_tensors_of_any_kind_are_taken():
    images = torch.rand(2, 1, 8, 8, dtype=torch.bfloat16, requires_grad=True)
    assert len(panels(plot_lenses(images))) == 2


def test_hidden_pixels_are_masked_and_residuals_are_reconstruction_minus_image():
    masks = np.zeros((2, 16, 16))
    masks[:, :8] = 1
    # What was seen is right in a reconstruction, and is no merit of it.
    images, reconstructions = lenses(2), lenses(2) + 0.1 * masks[:, None]
    figure = plot_reconstructions(images, masks, reconstructions)
    assert titles(figure) == ["image", "seen by the encoder", "reconstruction", "reconstruction − image"]
    _, seen, _, residual = panels(figure)[:4]
    np.testing.assert_array_equal(seen.images[0].get_array().mask, masks[0] == 1)
    np.testing.assert_allclose(residual.images[0].get_array(), 0.1 * masks[0], atol=1e-12)
    assert residual.texts[0].get_text() == "rms 0.1"
    assert plot_reconstructions(images, masks[:, None], reconstructions)


def test_an_imprint_and_its_prediction_share_one_symmetric_scale():
    imprints = np.zeros((2, 1, 16, 16))
    imprints[:, :, 3, 4] = -0.3
    figure = plot_imprints(lenses(2), imprints, imprints / 2)
    assert titles(figure) == ["image", "imprint of substructure", "predicted imprint"]
    _, truth, predicted = panels(figure)[:3]
    assert truth.images[0].norm is predicted.images[0].norm
    assert truth.images[0].norm.vmin == -truth.images[0].norm.vmax == pytest.approx(-0.3)
    np.testing.assert_array_equal(predicted.images[0].get_array(), imprints[0, 0] / 2)


def test_faint_flux_has_ticks_that_are_not_all_zero():
    rng = np.random.default_rng(0)
    images, masks = 8e-13 * rng.random((2, 1, 8, 8)), np.ones((2, 8, 8))
    figure = plot_reconstructions(images, masks, 8e-13 * rng.random((2, 1, 8, 8)))
    bars = [ax for ax in figure.axes if ax.get_label() == "<colorbar>"]
    labels = [[text.get_text() for text in bar.get_yticklabels()] for bar in bars]
    assert bars and all(len(set(row)) == 3 for row in labels), labels


def test_super_resolution_shows_both_residuals_on_one_symmetric_scale():
    target = lenses(2, size=32)
    figure = plot_super_resolution(lenses(2), target + 0.2, target - 0.1, target)
    row = panels(figure)[:6]
    assert [ax.get_title() for ax in row[:4]] == ["low resolution", "bicubic", "prediction", "target"]
    bicubic, prediction = row[4].images[0], row[5].images[0]
    assert bicubic.norm is prediction.norm
    assert bicubic.norm.vmin == -bicubic.norm.vmax == pytest.approx(-0.2)
    np.testing.assert_allclose(prediction.get_array(), -0.1)
    assert len({id(ax.images[0].norm) for ax in row[:4]}) == 1


def test_maps_are_laid_over_the_image_and_places_are_marked():
    maps = {"rollout": np.eye(4)[None].repeat(2, axis=0), "gradient": np.zeros((2, 16, 16))}
    positions = [np.array([[0.2, -0.3]]), np.zeros((0, 2))]
    figure = plot_attention_maps(lenses(2), maps, ["said cdm", "said axion"], pixel_scale=0.1, positions=positions)
    assert titles(figure) == ["image", "rollout", "gradient"]
    image, rollout = panels(figure)[:2]
    assert image.texts[0].get_text() == "said cdm"
    under, over = rollout.images
    assert under.get_extent() == over.get_extent() == [-0.8, 0.8, -0.8, 0.8]
    np.testing.assert_array_equal(over.get_array(), np.eye(4))
    np.testing.assert_allclose(rollout.collections[0].get_offsets(), [[0.2, -0.3]])
    assert len(panels(figure)[4].collections[0].get_offsets()) == 0


def test_a_data_set_is_taken_for_its_images():
    images = lenses(2).astype("float32")
    dataset = Dataset.from_dict({"image": images, "label": [0, 1]}, features=lens_features((1, 16, 16)))
    shown = [ax.images[0].get_array() for ax in panels(plot_lenses(dataset))]
    np.testing.assert_array_equal(shown, images[:, 0])
    target = lenses(2, size=32).astype("float32")
    features = lens_features((1, 16, 16), target_shape=(1, 32, 32), label=False)
    pairs = Dataset.from_dict({"image": images, "target": target}, features=features)
    low, _, _, high = panels(plot_super_resolution(pairs, target, target, pairs))[:4]
    np.testing.assert_array_equal(low.images[0].get_array(), images[0, 0])
    np.testing.assert_array_equal(high.images[0].get_array(), target[0, 0])


@pytest.mark.parametrize(("name", "beginning"), [("f.pdf", b"%PDF"), ("f.svg", b"<?xml"), ("f.png", b"\x89PNG")])
def test_a_figure_is_saved_in_any_format_with_the_same_bytes(tmp_path, name, beginning):
    first = save_figure(plot_lenses(lenses(1), ["a lens"]), tmp_path / name).read_bytes()
    assert first.startswith(beginning)
    assert save_figure(plot_lenses(lenses(1), ["a lens"]), tmp_path / f"again_{name}").read_bytes() == first
    if name == "f.svg":
        assert b">a lens</text>" in first  # text stays text


def test_low_and_high_resolution_cover_the_same_sky():
    target = lenses(1, size=32)
    row = panels(plot_super_resolution(lenses(1), target, target, target, pixel_scale=0.05))
    assert row[0].images[0].get_extent() == row[3].images[0].get_extent()


@pytest.mark.parametrize(
    ("plot", "num_panels"),
    [
        (lambda figure: plot_lenses(lenses(), figure=figure), 3),
        (lambda figure: plot_reconstructions(lenses(), np.ones((3, 16, 16)), lenses(), figure=figure), 12),
        (lambda figure: plot_imprints(*[lenses()] * 3, figure=figure), 9),
        (lambda figure: plot_super_resolution(*[lenses()] * 4, figure=figure), 18),
        (lambda figure: plot_attention_maps(lenses(), {"map": lenses()[:, 0]}, figure=figure), 6),
        (lambda figure: plot_training_curves([{"loss": 1.0, "step": 1}], figure=figure), 1),
    ],
)
def test_panels_fill_the_part_of_a_figure_that_is_given(plot, num_panels):
    figure = Figure(figsize=(12, 6), layout="constrained")
    left, right = figure.subfigures(1, 2)
    assert plot(left) is figure
    assert len([ax for ax in left.axes if ax.images or ax.lines]) == num_panels and not right.axes
    figure.savefig(io.BytesIO(), format="png")
    middle = figure.bbox.width / 2
    assert all(ax.get_tightbbox().x1 <= middle + 1 for ax in left.axes)


@pytest.mark.parametrize(
    ("plot", "message"),
    [
        (lambda: plot_lenses(np.zeros((16, 16))), r"images has shape \(16, 16\); it must be \(batch, bands, height"),
        (lambda: plot_lenses(np.zeros((0, 1, 16, 16))), r"with none of them zero"),
        (lambda: plot_lenses(lenses(2), titles=["one"]), "titles has 1 entries for 2 images"),
        (
            lambda: plot_reconstructions(lenses(), np.zeros((3, 4)), lenses()),
            r"masks has shape \(3, 4\); it must hold one number a pixel, shape \(3, 16, 16\)",
        ),
        (
            lambda: plot_reconstructions(lenses(), np.zeros((3, 16, 16)), lenses(size=8)),
            r"reconstructions and images differ in shape",
        ),
        (lambda: plot_imprints(lenses(), lenses(), lenses(size=8)), "predictions and images differ in shape"),
        (
            lambda: plot_super_resolution(lenses(), lenses(), lenses(size=32), lenses(size=32)),
            "bicubic and target differ in shape",
        ),
        (
            lambda: plot_attention_maps(lenses(2), {"flat": np.zeros((2, 4))}),
            r"The map 'flat' has shape \(2, 4\); it must be \(batch, rows, columns\)",
        ),
        (lambda: plot_attention_maps(lenses(2), {}, ["one"]), "titles has 1 entries for 2 images"),
        (
            lambda: plot_super_resolution(lenses(2), *[lenses(size=32)] * 3),
            "low holds 2 images and target 3",
        ),
    ],
)
def test_wrong_shapes_are_refused_in_words(plot, message):
    with pytest.raises(ValueError, match=message):
        plot()


@pytest.mark.filterwarnings("error")
def test_constant_and_undefined_images_still_make_a_figure():
    images = np.zeros((2, 1, 8, 8))
    images[1] = np.nan
    figure = plot_super_resolution(images, images, images, images)
    figure.savefig(io.BytesIO(), format="png")


def test_scales_span_finite_pixels_and_residuals_are_symmetric():
    assert (flux_scale(np.array([1.0, np.nan, 5.0])).vmin, flux_scale(np.array([1.0, 5.0])).vmax) == (1, 5)
    scale = residual_scale(np.array([-3.0, 1.0, np.inf]), np.array([2.0]))
    assert (scale.vmin, scale.vmax) == (-3, 3)
    assert scale(0.0) == 0.5
