"""From drawn scenes to the surface brightness that reaches the telescope."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from .config import LensSimulationConfig, Source
from .grid import crop
from .lenses import (
    Deflection,
    add_points,
    external_shear_deflection,
    halos_deflection,
    points_deflection,
    rod_deflection,
    rotate,
    sie_deflection,
)
from .light import image_brightness, sersic_brightness
from .scenes import Scene, lens_light_prefixes, source_prefixes


__all__ = ["compiled", "deflect", "render"]


def render(
    config: LensSimulationConfig,
    scenes: list[Scene],
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    axis: torch.Tensor | None = None,
    source_images: torch.Tensor | None = None,
    compile: bool = False,
) -> torch.Tensor:
    """Surface brightness of the lensed sources and of the lenses.

    Args:
        config: What the scenes were drawn from.
        scenes: The scenes of a batch.
        x: Coordinates in arcsec, `(1, points)`.
        y: Likewise.
        axis: Where x and y are the padded rows of a square raster, its coordinates along either axis: point masses
            are quicker with them.
        source_images: The images that may take the first source component's place, `(images, bands, height, width)`.
        compile: Whether to compile the inner loops.

    Returns:
        The brightness `(batch, bands, points)`, 1 at the effective radius of a component without intensity.
    """
    columns = _Columns(scenes, x)
    alpha = deflect(config, scenes, x, y, axis=axis, compile=compile)
    lights = [
        (light, prefix, alpha)
        for light, prefix in zip((config.source, *config.source_components), source_prefixes(config), strict=True)
    ]
    undeflected = (x.new_zeros(1, 1),) * 2
    lights += [
        (light, prefix, undeflected)
        for light, prefix in zip(config.lens_light, lens_light_prefixes(config), strict=True)
    ]
    parts = []
    if config.source_images is not None and source_images is not None:
        pixel_scale = config.source_images.pixel_scale_arcsec
        beta = x - alpha[0], y - alpha[1]
        parts.append(_lensed_image(config, columns, beta, source_images, pixel_scale))
        del lights[0]
    for light, prefix, deflection in lights:
        parts.append(_component(light, prefix, columns, (x, y), deflection, compile))
    surface = sum(parts[1:], start=parts[0])
    return surface.expand(-1, config.bands, -1)


def deflect(
    config: LensSimulationConfig,
    scenes: list[Scene],
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    axis: torch.Tensor | None = None,
    compile: bool = False,
) -> Deflection:
    """Deflection of everything in the lens plane, `(batch, points)` in arcsec; arguments as in `render`."""
    columns = _Columns(scenes, x)
    shear_1, shear_2 = columns.direction("shear_angle_rad", turns=2)
    shear = columns["shear_strength"]
    alpha_x, alpha_y = compiled(_smooth_deflection, compile)(
        x,
        y,
        columns["lens_x_arcsec"],
        columns["lens_y_arcsec"],
        *columns.direction("position_angle_rad"),
        columns["main_lens_einstein_radius_arcsec"],
        columns["axis_ratio"],
        shear * shear_1,
        shear * shear_2,
    )
    if any(len(scene.points) for scene in scenes):
        accumulate = compiled(add_points, True) if compile else None
        column, row = (x[0], y[0]) if axis is None else (axis, axis[:, None])
        points_x, points_y = points_deflection(column, row, [scene.points for scene in scenes], accumulate)
        for alpha, added in ((alpha_x, points_x), (alpha_y, points_y)):
            (alpha if axis is None else crop(alpha, len(axis))).add_(added)

    if any(len(scene.halos) for scene in scenes):
        halos_x, halos_y = halos_deflection(x, y, [scene.halos for scene in scenes])
        alpha_x, alpha_y = alpha_x + halos_x, alpha_y + halos_y

    if config.substructure is not None and config.substructure.vortex.num_points is None:
        rows = [row for row, scene in enumerate(scenes) if scene.parameters["vortex_mass_msun"] > 0]
        if rows:
            rod_x, rod_y = _rods(config, _Columns([scenes[row] for row in rows], x), x, y)
            alpha_x[rows] += rod_x
            alpha_y[rows] += rod_y
    return alpha_x, alpha_y


def _smooth_deflection(
    x: torch.Tensor,
    y: torch.Tensor,
    lens_x: torch.Tensor,
    lens_y: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    einstein_radius: torch.Tensor,
    axis_ratio: torch.Tensor,
    shear_1: torch.Tensor,
    shear_2: torch.Tensor,
) -> Deflection:
    along, across = rotate(x - lens_x, y - lens_y, cos, sin)
    alpha_x, alpha_y = rotate(*sie_deflection(along, across, einstein_radius, axis_ratio), cos, -sin)
    shear_x, shear_y = external_shear_deflection(x, y, shear_1, shear_2)
    return alpha_x + shear_x, alpha_y + shear_y


def _rods(config: LensSimulationConfig, columns: "_Columns", x: torch.Tensor, y: torch.Tensor) -> Deflection:
    area = columns["vortex_mass_msun"] * config.einstein_area_per_mass
    cos, sin = columns.direction("vortex_angle_rad")
    along, across = rotate(x - columns["vortex_x_arcsec"], y - columns["vortex_y_arcsec"], cos, sin)
    return rotate(*rod_deflection(along, across, columns["vortex_half_length_arcsec"], area), cos, -sin)


def _component(
    light: Source,
    prefix: str,
    columns: "_Columns",
    place: tuple[torch.Tensor, torch.Tensor],
    deflection: Deflection,
    compile: bool,
) -> torch.Tensor:
    """One Sersic component, `(batch, bands or 1, points)`."""
    brightness = compiled(_sersic, compile)(
        *place,
        *deflection,
        columns[f"{prefix}_x_arcsec"],
        columns[f"{prefix}_y_arcsec"],
        *columns.direction(f"{prefix}_position_angle_rad"),
        columns[f"{prefix}_radius_arcsec"],
        columns[f"{prefix}_sersic_index"],
        columns[f"{prefix}_axis_ratio"],
    )
    if f"{prefix}_intensity" in columns:
        brightness = brightness * columns[f"{prefix}_intensity"]
    return brightness[:, None] * _colors(light, brightness) if light.colors_mag else brightness[:, None]


def _sersic(
    x: torch.Tensor,
    y: torch.Tensor,
    alpha_x: torch.Tensor,
    alpha_y: torch.Tensor,
    source_x: torch.Tensor,
    source_y: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    radius: torch.Tensor,
    sersic_index: torch.Tensor,
    axis_ratio: torch.Tensor,
) -> torch.Tensor:
    along, across = rotate(x - alpha_x - source_x, y - alpha_y - source_y, cos, sin)
    return sersic_brightness(along, across, radius, sersic_index, axis_ratio)


def _lensed_image(
    config: LensSimulationConfig, columns: "_Columns", beta: Deflection, images: torch.Tensor, pixel_scale: float
) -> torch.Tensor:
    """The image that takes the first source component's place, `(batch, bands, points)`."""
    drawn = images[columns.integers("source_image_fraction", len(images))]
    along, across = rotate(
        beta[0] - columns["source_x_arcsec"],
        beta[1] - columns["source_y_arcsec"],
        *columns.direction("source_position_angle_rad"),
    )
    brightness = image_brightness(drawn, along, across, pixel_scale)
    if config.source.magnitude is not None:
        # A magnitude is that of each band's own flux.
        flux = drawn.sum(dim=(2, 3)) * pixel_scale**2
        brightness = brightness / flux.clamp(min=torch.finfo(flux.dtype).tiny)[..., None]
        brightness = brightness * 10 ** (-0.4 * (columns["source_magnitude"] - config.zero_point_mag))[..., None]
    elif "source_intensity" in columns:
        brightness = brightness * columns["source_intensity"][..., None]
    return brightness * _colors(config.source, brightness) if config.source.colors_mag else brightness


def _colors(light: Source, like: torch.Tensor) -> torch.Tensor:
    """Brightness of a component in every band, `(bands, 1)`."""
    return (10 ** (-0.4 * torch.tensor(light.colors_mag, dtype=torch.float64))).to(like)[:, None]


@lru_cache
def _compile(function: Callable) -> Any:
    # For any size of a batch, so that the last, smaller one is not compiled anew.
    return torch.compile(function, dynamic=True)


def compiled(function: Callable, compile: bool) -> Any:
    """A function, compiled or as it is."""
    return _compile(function) if compile else function


class _Columns:
    """Parameters of a batch as `(batch, 1)` tensors on the device and in the dtype of `like`."""

    def __init__(self, scenes: list[Scene], like: torch.Tensor):
        self._scenes = scenes
        self._like = like

    def __contains__(self, name: str) -> bool:
        return name in self._scenes[0].parameters

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._tensor(self._values(name))

    def direction(self, name: str, turns: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine of an angle, taken in float64 where they do not depend on the batch."""
        angle = turns * self._values(name)
        return self._tensor(np.cos(angle)), self._tensor(np.sin(angle))

    def integers(self, name: str, count: int) -> torch.Tensor:
        """Fractions in [0, 1) as indices `(batch,)` below `count`."""
        return torch.from_numpy((self._values(name) * count).astype(np.int64)).to(self._like.device)

    def _values(self, name: str) -> np.ndarray:
        return np.array([scene.parameters[name] for scene in self._scenes], dtype=np.float64)

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values)[:, None].to(self._like)
