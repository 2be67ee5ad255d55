"""What all figures share: colours, the frame of an axes, how a lens image is put on the screen, saving."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from astropy.visualization import AsinhStretch, ImageNormalize
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage


# Okabe and Ito's palette, which people with any of the common colour-vision deficiencies can tell apart.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INK = "#1F2933"
MUTED = "#5F6B76"

# Grey is in neither map, so a hidden or an undefined pixel cannot be taken for a flux.
FLUX_COLOURS = mpl.colormaps["inferno"].with_extremes(bad="#8A929A")
RESIDUAL_COLOURS = mpl.colormaps["RdBu_r"].with_extremes(bad="#8A929A")
# Of an image under a map.
SKY_COLOURS = mpl.colormaps["gray"].with_extremes(bad="#8A929A")
# Of a map over an image: from nothing to opaque, in a blue that the image's colours do not have.
OVERLAY_COLOURS = LinearSegmentedColormap.from_list("overlay", [(0.34, 0.71, 0.91, 0.0), (0.34, 0.84, 1.0, 0.85)])

# Flux, in units of the displayed range, at which the arcsinh stretch turns from linear to logarithmic.
ARCSINH_SOFTENING = 0.05


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Writes a figure, as vectors with text that stays text where the suffix is `.pdf` or `.svg`.

    The same figure gives the same bytes: no date is written, and names inside an SVG are not random.

    Raises:
        ValueError: If the suffix is none that matplotlib can write.
    """
    path = Path(path)
    dates = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    with mpl.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "lens_transformers"}):
        figure.savefig(path, bbox_inches="tight", metadata=dates.get(path.suffix.lower()))
    return path


def axes_for(ax: Axes | None, width: float, height: float) -> Axes:
    """The axes to draw on: the given one, else that of a new figure, so many inches wide and high."""
    return new_figure(width, height).subplots() if ax is None else ax


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, so many inches wide and high."""
    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def figure_of(ax: Axes) -> Figure:
    """The figure that an axes belongs to, also from within a subfigure."""
    return ax.figure.figure  # type: ignore[return-value]


def flux_scale(*images: np.ndarray) -> ImageNormalize:
    """One arcsinh colour scale that spans all finite pixels of `images`."""
    pixels = np.concatenate([image.ravel() for image in images])
    pixels = pixels[np.isfinite(pixels)]
    low, high = (pixels.min(), pixels.max()) if pixels.size else (0.0, 1.0)
    if low == high:
        high = low + 1.0
    return ImageNormalize(vmin=low, vmax=high, stretch=AsinhStretch(ARCSINH_SOFTENING), clip=False)


def residual_scale(*residuals: np.ndarray) -> Normalize:
    """One linear colour scale for all `residuals`, symmetric around zero so that white means no difference."""
    pixels = np.concatenate([residual.ravel() for residual in residuals])
    limit = np.abs(pixels[np.isfinite(pixels)]).max(initial=0.0)
    return Normalize(-limit or -1.0, limit or 1.0)


def show_image(
    ax: Axes,
    image: np.ndarray,
    scale: Normalize,
    colours: Colormap = FLUX_COLOURS,
    pixel_scale: float | None = None,
) -> AxesImage:
    """Draw an image (height, width) with its first row at the bottom, as astronomers do.

    Args:
        ax: Where to draw.
        image: Pixels; masked and non-finite ones are drawn grey.
        scale: From flux to [0, 1], see `flux_scale` and `residual_scale`.
        colours: A matplotlib colormap.
        pixel_scale: Arcsec per pixel; the axes are then in arcsec from the image centre, else in pixels.
    """
    height, width = image.shape
    if pixel_scale is None:
        extent = (-0.5, width - 0.5, -0.5, height - 0.5)
    else:
        half_width, half_height = width * pixel_scale / 2, height * pixel_scale / 2
        extent = (-half_width, half_width, -half_height, half_height)
    shown = ax.imshow(image, norm=scale, cmap=colours, origin="lower", extent=extent, interpolation="nearest")
    ax.locator_params(nbins=4)
    ax.tick_params(labelsize=8, colors=MUTED, length=2)
    ax.spines[:].set_visible(False)
    return shown


def colours_of(count: int) -> list[Any]:
    """A colour for each of so many classes: the palette's, or, where these are too few, as many as there are."""
    if count <= len(PALETTE):
        return list(PALETTE[:count])
    return [mpl.colormaps["turbo"](place) for place in np.linspace(0.05, 0.95, count)]


def add_colour_bar(shown: AxesImage, scale: Normalize, axes: list[Axes], label: str) -> None:
    """A colour bar right of a row of panels, with ticks that stay apart under a non-linear scale."""
    figure = axes[0].figure
    bar = figure.colorbar(shown, ax=axes, pad=0.01, aspect=16, shrink=0.8)
    ticks = scale.inverse(np.array([0.0, 0.5, 1.0]))
    # What rounding leaves of a zero is no flux, however faint the image is.
    is_zero = np.abs(ticks) < 1e-12 * np.abs(ticks).max()
    bar.set_ticks(ticks, labels=[f"{tick:.2g}" for tick in np.where(is_zero, 0.0, ticks)])
    bar.ax.tick_params(labelsize=8, colors=MUTED, length=2)
    bar.set_label(label, fontsize=8, color=MUTED)
    bar.outline.set_visible(False)


def frame(ax: Axes, xlabel: str, ylabel: str) -> None:
    """The frame of a plot of curves: two spines, a faint grid, labels."""
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(True, color="#E3E7EB", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=9)
