"""Figures of lens images: a grid, masked reconstructions, imprints of substructure, super-resolution panels, maps.

Each fills a figure of its own, or what it is given: a `Figure` of `layout="constrained"`, or a `SubFigure` of one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from .style import (
    OVERLAY_COLOURS,
    RESIDUAL_COLOURS,
    SKY_COLOURS,
    add_colour_bar,
    figure_of,
    flux_scale,
    new_figure,
    residual_scale,
    show_image,
)


PANEL_INCHES = 1.9


def plot_lenses(
    images,
    titles: Sequence[str] | None = None,
    pixel_scale: float | None = None,
    figure: FigureBase | None = None,
) -> Figure:
    """A grid of lens images, each on its own arcsinh colour scale.

    Args:
        images: Array (batch, bands, height, width), surface brightness, or a `datasets.Dataset` with a column `image`.
            Of several bands the mean is shown.
        titles: One a panel, a class name for example.
        pixel_scale: Arcsec per pixel; without it the axes count pixels.
        figure: What to fill; a new figure by default.

    Raises:
        ValueError: If `images` has another number of dimensions, or the titles another number.
    """
    planes = _planes(images, "images")
    if titles is not None and len(titles) != len(planes):
        raise ValueError(f"titles has {len(titles)} entries for {len(planes)} images; give one an image.")
    # A grid without gaps where one exists; three classes then stay in their columns.
    columns = next((count for count in (6, 5, 4, 3) if len(planes) % count == 0), min(len(planes), 6))
    axes = _panels(figure, -(-len(planes) // columns), columns)
    for index, ax in enumerate(axes.flat):
        if index >= len(planes):
            ax.remove()
            continue
        show_image(ax, planes[index], flux_scale(planes[index]), pixel_scale=pixel_scale)
        if titles is not None:
            ax.set_title(titles[index], fontsize=9)
        # A column's lowest panel carries the axis, also where the last row is not full.
        _label_outer(ax, is_left=index % columns == 0, is_bottom=index + columns >= len(planes), scale=pixel_scale)
    return figure_of(axes[0, 0])


def plot_reconstructions(
    images, masks, reconstructions, pixel_scale: float | None = None, figure: FigureBase | None = None
) -> Figure:
    """A row an image: the image, what the encoder saw of it, the reconstruction, and reconstruction minus image.

    Image and reconstruction of a row share one colour scale; residuals are symmetric around zero, and their rms is
    that of the hidden pixels.

    Args:
        images: Array (batch, bands, height, width), surface brightness, or a data set with a column `image`. Of
            several bands the mean is shown.
        masks: Array (batch, height, width) or (batch, 1, height, width), one number a pixel: 1 where the pixel was
            hidden, 0 where it was seen.
        reconstructions: Array of the shape of `images`.
        pixel_scale: Arcsec per pixel; without it the axes count pixels.
        figure: What to fill; a new figure by default.

    Raises:
        ValueError: If the shapes do not fit together.
    """
    truth = _planes(images, "images")
    predicted = _planes(reconstructions, "reconstructions")
    _require_shape("reconstructions", predicted, "images", truth)
    hidden = _array(masks)
    if hidden.ndim == 4 and hidden.shape[1] == 1:
        hidden = hidden[:, 0]
    if hidden.shape != truth.shape:
        raise ValueError(
            f"masks has shape {_array(masks).shape}; it must hold one number a pixel, shape {truth.shape} "
            "(1 hidden, 0 seen). Repeat a mask of patches over the pixels of each patch."
        )

    axes = _panels(figure, len(truth), 4, colour_bars=2)
    _column_titles(axes, ("image", "seen by the encoder", "reconstruction", "reconstruction − image"))
    for row, image, mask, prediction in zip(axes, truth, hidden, predicted, strict=True):
        scale = flux_scale(image, prediction)
        for ax, plane in zip(row, (image, np.ma.masked_where(mask > 0.5, image), prediction), strict=False):
            flux = show_image(ax, plane, scale, pixel_scale=pixel_scale)
        residual = prediction - image
        difference_scale = residual_scale(residual)
        difference = show_image(row[3], residual, difference_scale, RESIDUAL_COLOURS, pixel_scale)
        if (mask > 0.5).any():  # what was seen is copied, and has no error that should count
            _note_rms(row[3], residual[mask > 0.5])
        add_colour_bar(flux, scale, list(row[:3]), "flux")
        add_colour_bar(difference, difference_scale, [row[3]], "flux difference")
    _label_grid(axes, pixel_scale)
    return figure_of(axes[0, 0])


def plot_imprints(
    images, imprints, predictions, pixel_scale: float | None = None, figure: FigureBase | None = None
) -> Figure:
    """A row an image: the image, what substructure changes in it, and what a network says of that.

    The imprint and its prediction share one colour scale, symmetric around zero.

    Args:
        images: Array (batch, bands, height, width), surface brightness, or a data set with a column `image`. Of
            several bands the mean is shown.
        imprints: Array of the shape of `images`, in the same unit.
        predictions: Array of the shape of `images`, in the same unit.
        pixel_scale: Arcsec per pixel; without it the axes count pixels.
        figure: What to fill; a new figure by default.

    Raises:
        ValueError: If the shapes do not fit together.
    """
    seen = _planes(images, "images")
    truth, predicted = _planes(imprints, "imprints"), _planes(predictions, "predictions")
    _require_shape("imprints", truth, "images", seen)
    _require_shape("predictions", predicted, "images", seen)
    axes = _panels(figure, len(seen), 3, colour_bars=2)
    _column_titles(axes, ("image", "imprint of substructure", "predicted imprint"))
    for row, image, imprint, prediction in zip(axes, seen, truth, predicted, strict=True):
        scale, imprint_scale = flux_scale(image), residual_scale(imprint, prediction)
        flux = show_image(row[0], image, scale, pixel_scale=pixel_scale)
        for ax, plane in zip(row[1:], (imprint, prediction), strict=True):
            change = show_image(ax, plane, imprint_scale, RESIDUAL_COLOURS, pixel_scale)
        add_colour_bar(flux, scale, [row[0]], "flux")
        add_colour_bar(change, imprint_scale, list(row[1:]), "flux difference")
    _label_grid(axes, pixel_scale)
    return figure_of(axes[0, 0])


def plot_super_resolution(
    low, bicubic, prediction, target, pixel_scale: float | None = None, figure: FigureBase | None = None
) -> Figure:
    """A row an image: low resolution, bicubic, the model's, the target, and the residuals of bicubic and the model.

    The four images of a row share one colour scale, and so do its two residuals, so that they compare by eye.

    Args:
        low: Array (batch, bands, height, width), the low-resolution image, or a data set with a column `image`. Of
            several bands the mean is shown.
        bicubic: Array (batch, bands, height × upscale, width × upscale).
        prediction: Array of the shape of `bicubic`, the model's output.
        target: Array of the shape of `bicubic`, the truth, or a data set with a column `target`.
        pixel_scale: Arcsec per pixel of the *target*; without it the axes count each image's own pixels.
        figure: What to fill; a new figure by default.

    Raises:
        ValueError: If the shapes do not fit together.
    """
    small, truth = _planes(low, "low"), _planes(target, "target", column="target")
    upsampled, predicted = _planes(bicubic, "bicubic"), _planes(prediction, "prediction")
    _require_shape("bicubic", upsampled, "target", truth)
    _require_shape("prediction", predicted, "target", truth)
    if len(small) != len(truth):
        raise ValueError(f"low holds {len(small)} images and target {len(truth)}; they must be the same scenes.")
    low_scale = None if pixel_scale is None else pixel_scale * truth.shape[-1] / small.shape[-1]

    axes = _panels(figure, len(truth), 6, colour_bars=2)
    residual_titles = ("bicubic − target", "prediction − target")
    _column_titles(axes, ("low resolution", "bicubic", "prediction", "target", *residual_titles))
    for row, *planes in zip(axes, small, upsampled, predicted, truth, strict=True):
        scale = flux_scale(*planes)
        for ax, plane, arcsec in zip(row, planes, (low_scale, *[pixel_scale] * 3), strict=False):
            flux = show_image(ax, plane, scale, pixel_scale=arcsec)
        residuals = [planes[1] - planes[3], planes[2] - planes[3]]
        difference_scale = residual_scale(*residuals)
        for ax, residual in zip(row[4:], residuals, strict=True):
            difference = show_image(ax, residual, difference_scale, RESIDUAL_COLOURS, pixel_scale)
            _note_rms(ax, residual)
        add_colour_bar(flux, scale, list(row[:4]), "flux")
        add_colour_bar(difference, difference_scale, list(row[4:]), "flux difference")
    _label_grid(axes, pixel_scale)
    return figure_of(axes[0, 0])


def plot_attention_maps(
    images,
    maps: Mapping[str, Any],
    titles: Sequence[str] | None = None,
    pixel_scale: float | None = None,
    positions: Sequence[Any] | np.ndarray | None = None,
    figure: FigureBase | None = None,
) -> Figure:
    """A row an image: the image, then what each map points at, laid over it.

    Args:
        images: Array (batch, bands, height, width), or a data set of them. Of several bands the mean is shown.
        maps: Arrays (batch, rows, columns) by name, one number a patch or a pixel; each map is drawn from nothing at
            its own minimum to nearly opaque at its maximum.
        titles: One a row, a class name for example.
        pixel_scale: Arcsec per pixel; without it the axes count pixels.
        positions: Of each image an array (points, 2) of places (x, y) to mark, in the units of the axes: planted
            subhalos, for example.
        figure: What to fill; a new figure by default.

    Raises:
        ValueError: If the maps, titles or positions are not one an image, or a map is not finite.
    """
    planes = _planes(images, "images")
    for name, given in (("titles", titles), ("positions", positions)):
        if given is not None and len(given) != len(planes):
            raise ValueError(f"{name} has {len(given)} entries for {len(planes)} images; give one an image.")
    overlays = {name: _array(numbers) for name, numbers in maps.items()}
    for name, overlay in overlays.items():
        if overlay.ndim != 3 or len(overlay) != len(planes) or not np.isfinite(overlay).all():
            raise ValueError(
                f"The map {name!r} has shape {overlay.shape}; it must be (batch, rows, columns) for {len(planes)} "
                "images, of finite numbers."
            )
    axes = _panels(figure, len(planes), 1 + len(overlays))
    _column_titles(axes, ("image", *overlays))
    for index, (row, plane) in enumerate(zip(axes, planes, strict=True)):
        scale = flux_scale(plane)
        show_image(row[0], plane, scale, pixel_scale=pixel_scale)
        if titles is not None:
            row[0].annotate(titles[index], (0.04, 0.96), xycoords="axes fraction", va="top", color="white", fontsize=8)
        for ax, overlay in zip(row[1:], overlays.values(), strict=True):
            shown = show_image(ax, plane, scale, SKY_COLOURS, pixel_scale)
            ax.imshow(
                overlay[index],
                cmap=OVERLAY_COLOURS,
                origin="lower",
                extent=shown.get_extent(),
                interpolation="bilinear",
            )
            if positions is not None:
                ax.autoscale(False)  # a place outside of the image is not shown
                ax.scatter(
                    *np.reshape(positions[index], (-1, 2)).T,
                    s=26,
                    facecolors="none",
                    edgecolors="#FFD24A",
                    linewidths=1,
                )
    _label_grid(axes, pixel_scale)
    return figure_of(axes[0, 0])


def _array(values: Any) -> np.ndarray:
    """Numbers as numpy; a tensor may live on any device and in bfloat16, which numpy does not know."""
    if hasattr(values, "detach"):
        values = values.detach().float().cpu()
    return np.asarray(values, dtype=float)


def _planes(images: Any, name: str, column: str = "image") -> np.ndarray:
    """Images (batch, bands, height, width), of a data set its column, as planes (batch, height, width)."""
    array = _array(images.with_format("numpy")[column][:] if hasattr(images, "column_names") else images)
    if array.ndim != 4 or 0 in array.shape:
        raise ValueError(
            f"{name} has shape {array.shape}; it must be (batch, bands, height, width) with none of them zero. "
            "One image of one band is image[None, None]."
        )
    return array.mean(axis=1)


def _require_shape(name: str, planes: np.ndarray, other: str, expected: np.ndarray) -> None:
    if planes.shape != expected.shape:
        raise ValueError(
            f"{name} and {other} differ in shape: (batch, height, width) is {planes.shape} and {expected.shape}."
        )


def _panels(figure: FigureBase | None, rows: int, columns: int, colour_bars: int = 0) -> np.ndarray:
    if figure is None:
        # Beside and below the panels: half an inch for the axis labels, three quarters for each colour bar.
        size = (columns * PANEL_INCHES + 0.5 + 0.75 * colour_bars, rows * PANEL_INCHES + 0.6)
        figure = new_figure(*size)
    return figure.subplots(rows, columns, squeeze=False)


def _column_titles(axes: np.ndarray, titles: Sequence[str]) -> None:
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=9)


def _note_rms(ax: Axes, residual: np.ndarray) -> None:
    rms = np.sqrt(np.mean(residual**2))
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
    ax.text(0.03, 0.04, f"rms {rms:.2g}", transform=ax.transAxes, fontsize=8, bbox=box)


def _label_grid(axes: np.ndarray, pixel_scale: float | None) -> None:
    for (row, column), ax in np.ndenumerate(axes):
        _label_outer(ax, is_left=column == 0, is_bottom=row == len(axes) - 1, scale=pixel_scale)


def _label_outer(ax: Axes, *, is_left: bool, is_bottom: bool, scale: float | None) -> None:
    """Axis labels and ticks on the outer panels only: inside a grid they would say the same again."""
    unit = "pixel" if scale is None else "arcsec"
    ax.tick_params(labelleft=is_left, left=is_left, labelbottom=is_bottom, bottom=is_bottom)
    if is_left:
        ax.set_ylabel(unit, fontsize=8)
    if is_bottom:
        ax.set_xlabel(unit, fontsize=8)
