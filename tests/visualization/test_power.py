import numpy as np
import pytest
import torch

from lens_transformers.visualization import plot_residual_power


TARGET = np.random.default_rng(0).random((3, 1, 16, 16))


def test_each_prediction_has_the_power_of_its_residual():
    figure = plot_residual_power({"half": TARGET / 2, "network": TARGET * 0.9}, TARGET)
    (ax,) = figure.axes
    assert (ax.get_xlabel(), ax.get_yscale()) == ("spatial frequency [cycles per pixel]", "log")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["target", "half − target", "network − target"]
    target, half, network = (line.get_ydata() for line in ax.get_lines())
    np.testing.assert_allclose(half, target / 4)
    np.testing.assert_allclose(network, target / 100)


def test_frequencies_are_per_arcsec_where_the_pixel_scale_is_known():
    ax = plot_residual_power({"half": TARGET / 2}, TARGET, pixel_scale=0.05).axes[0]
    assert ax.get_xlabel() == "spatial frequency [cycles per arcsec]"
    assert ax.get_lines()[0].get_xdata().max() == pytest.approx(0.5 / 0.05, rel=0.1)


def test_tensors_of_a_network_are_drawn():
    target = torch.from_numpy(TARGET).bfloat16()
    assert len(plot_residual_power({"half": (target / 2).requires_grad_()}, target).axes[0].get_lines()) == 2


def test_a_prediction_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"small has shape \(3, 1, 8, 8\); the target has \(3, 1, 16, 16\)"):
        plot_residual_power({"small": TARGET[..., :8, :8]}, TARGET)
