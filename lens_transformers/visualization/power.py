"""The figure of residuals by scale: where in frequency a sharpened image is right."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.metric import as_array
from ..evaluation.power_spectrum import radial_power_spectrum
from .style import INK, axes_for, colours_of, figure_of, frame


def plot_residual_power(
    predictions: Mapping[str, np.ndarray], target, *, pixel_scale: float | None = None, ax: Axes | None = None
) -> Figure:
    """Power of prediction minus target by spatial frequency, beside the power of the target itself.

    Where a residual reaches the target's own power, nothing of the target is recovered.

    Args:
        predictions: Images (batch, bands, height, width) by name: the network's, bicubic's and so on.
        target: What they should be, of the same shape.
        pixel_scale: Arcsec per pixel; without it frequencies are in cycles per pixel.
        ax: Where to draw; a new figure by default.

    Raises:
        ValueError: If a shape is another than the target's, or a pixel is not finite.
    """
    target = as_array("target", target).astype(np.float64)
    ax = axes_for(ax, 5.4, 4.0)
    scale = 1.0 if pixel_scale is None else pixel_scale
    frequency, power = radial_power_spectrum(target)
    ax.plot(frequency / scale, power, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label="target")
    for (name, images), colour in zip(predictions.items(), colours_of(len(predictions)), strict=True):
        images = as_array(name, images).astype(np.float64)
        if images.shape != target.shape:
            raise ValueError(f"{name} has shape {images.shape}; the target has {target.shape}.")
        frequency, power = radial_power_spectrum(images - target)
        ax.plot(frequency / scale, power, color=colour, linewidth=1.8, label=f"{name} − target")
    unit = "cycles per pixel" if pixel_scale is None else "cycles per arcsec"
    frame(ax, f"spatial frequency [{unit}]", "power [flux²]")
    ax.set_yscale("log")
    ax.legend(frameon=False)
    return figure_of(ax)
