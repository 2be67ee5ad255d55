import numpy as np
import pytest

from lens_transformers.visualization import plot_score_against_parameter
from lens_transformers.visualization.parameters import parameter_label


MASS = np.geomspace(1e9, 1e11, 80)


def test_accuracy_is_drawn_in_bins_with_intervals_beside_chance():
    figure = plot_score_against_parameter(MASS, MASS > 1e10, "subhalo_mass_msun", num_bins=4, chance=1 / 3)
    (ax,) = figure.axes
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_xscale()) == ("total mass of subhalos [M☉]", "accuracy", "log")
    points, _, bars = ax.containers[0].lines
    np.testing.assert_array_equal(points.get_ydata(), [0, 0, 1, 1])
    assert ax.get_ylim() == (-0.02, 1.02)
    horizontal, vertical = (bar.get_segments() for bar in bars)
    assert horizontal[0][0, 0] == pytest.approx(1e9) and horizontal[-1][1, 0] == pytest.approx(1e11)
    assert vertical[0][1, 1] == pytest.approx(0.161, abs=1e-3)  # Wilson's, of none in twenty
    assert [text.get_text() for text in ax.texts] == ["chance"]
    assert ax.get_title(loc="left") == "80 images in bins of 20 to 20"


def test_other_scores_keep_their_own_range():
    psnr = np.linspace(38, 44, 80)
    ax = plot_score_against_parameter(np.linspace(1, 2, 80), psnr, "einstein_radius_arcsec", "PSNR [dB]").axes[0]
    assert (ax.get_xscale(), ax.get_ylabel()) == ("linear", "PSNR [dB]")
    assert 37 < ax.get_ylim()[0] < ax.get_ylim()[1] < 45


def test_labels_of_a_logarithmic_axis_do_not_overlap():
    masses = np.geomspace(8e9, 9e10, 80)
    figure = plot_score_against_parameter(masses, masses > 3e10, "subhalo_mass_msun")
    figure.draw_without_rendering()
    axis = figure.axes[0].xaxis
    labels = [tick.label1 for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()) if tick.label1.get_text()]
    boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.x0)
    assert len(labels) >= 3
    assert all(left.x1 < right.x0 for left, right in zip(boxes, boxes[1:], strict=False))


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("vortex_half_length_arcsec", "vortex half length [arcsec]"),
        ("axion_mass_log10_ev", "log10 axion mass [eV]"),
        ("num_subhalos", "number of subhalos"),
        ("peak_signal_to_noise", "peak signal to noise"),
        ("axis_ratio", "axis ratio"),
    ],
)
def test_a_parameter_is_named_with_its_unit(name, label):
    assert parameter_label(name) == label
