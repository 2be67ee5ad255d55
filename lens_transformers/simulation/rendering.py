"""From drawn scenes to the surface brightness that reaches the telescope."""

import numpy as np
import torch

from .config import LensSimulationConfig
from .lenses import (
    Deflection,
    external_shear_deflection,
    points_deflection,
    rod_deflection,
    rotate,
    sie_deflection,
)
from .scenes import Scene
from .sources import sersic_brightness


__all__ = ["render"]


def render(config: LensSimulationConfig, scenes: list[Scene], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Surface brightness of the lensed sources.

    Args:
        config: What the scenes were drawn from.
        scenes: The scenes of a batch.
        x: Coordinates in arcsec, `(1, points)`.
        y: Likewise.

    Returns:
        The brightness `(batch, points)`, in units of the source's brightness at its effective radius.
    """
    columns = _Columns(scenes, x.device)
    alpha_x, alpha_y = _total_deflection(config, scenes, columns, x, y)
    beta_x, beta_y = x - alpha_x - columns["source_x_arcsec"], y - alpha_y - columns["source_y_arcsec"]
    return sersic_brightness(
        *rotate(beta_x, beta_y, *columns.direction("source_position_angle_rad")),
        columns["source_radius_arcsec"],
        columns["source_sersic_index"],
        columns["source_axis_ratio"],
    )


def _total_deflection(
    config: LensSimulationConfig, scenes: list[Scene], columns: "_Columns", x: torch.Tensor, y: torch.Tensor
) -> Deflection:
    cos, sin = columns.direction("position_angle_rad")
    along, across = rotate(x - columns["lens_x_arcsec"], y - columns["lens_y_arcsec"], cos, sin)
    ellipsoid = sie_deflection(along, across, columns["main_lens_einstein_radius_arcsec"], columns["axis_ratio"])
    alpha_x, alpha_y = rotate(*ellipsoid, cos, -sin)

    shear_1, shear_2 = columns.direction("shear_angle_rad", turns=2)
    shear = columns["shear_strength"]
    shear_x, shear_y = external_shear_deflection(x, y, shear * shear_1, shear * shear_2)
    alpha_x, alpha_y = alpha_x + shear_x, alpha_y + shear_y

    if any(len(scene.points) for scene in scenes):
        points_x, points_y = points_deflection(x, y, [scene.points for scene in scenes])
        alpha_x, alpha_y = alpha_x + points_x, alpha_y + points_y

    if config.substructure is not None and config.substructure.vortex.num_points is None:
        rows = [row for row, scene in enumerate(scenes) if scene.parameters["vortex_mass_msun"] > 0]
        if rows:
            rod_x, rod_y = _rods(config, _Columns([scenes[row] for row in rows], x.device), x, y)
            alpha_x[rows] += rod_x
            alpha_y[rows] += rod_y
    return alpha_x, alpha_y


def _rods(config: LensSimulationConfig, columns: "_Columns", x: torch.Tensor, y: torch.Tensor) -> Deflection:
    area = columns["vortex_mass_msun"] * config.einstein_area_per_mass
    cos, sin = columns.direction("vortex_angle_rad")
    along, across = rotate(x - columns["vortex_x_arcsec"], y - columns["vortex_y_arcsec"], cos, sin)
    return rotate(*rod_deflection(along, across, columns["vortex_half_length_arcsec"], area), cos, -sin)


class _Columns:
    """Parameters of a batch as `(batch, 1)` float32 tensors."""

    def __init__(self, scenes: list[Scene], device: torch.device):
        self._scenes = scenes
        self._device = device

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._tensor(self._values(name))

    def direction(self, name: str, turns: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine of an angle, taken in float64 where they do not depend on the batch."""
        angle = turns * self._values(name)
        return self._tensor(np.cos(angle)), self._tensor(np.sin(angle))

    def _values(self, name: str) -> np.ndarray:
        return np.array([scene.parameters[name] for scene in self._scenes], dtype=np.float64)

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32))[:, None].to(self._device)
