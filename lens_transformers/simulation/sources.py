"""Surface brightness of the lensed galaxy."""

import torch
from caustics.light.func import brightness_sersic, k_lenstronomy


__all__ = ["sersic_brightness"]


def sersic_brightness(
    x: torch.Tensor,
    y: torch.Tensor,
    effective_radius: torch.Tensor,
    sersic_index: torch.Tensor,
    axis_ratio: torch.Tensor,
) -> torch.Tensor:
    """Brightness of a Sersic profile at the origin with its major axis along x, 1 at the effective radius.

    Args:
        x: Coordinates `(batch, points)` in arcsec.
        y: Likewise.
        effective_radius: Half-light radius along the major axis `(batch, 1)` in arcsec.
        sersic_index: Sersic index `(batch, 1)`.
        axis_ratio: Minor over major axis `(batch, 1)`.

    Returns:
        The brightness `(batch, points)`.
    """
    k = k_lenstronomy(sersic_index)
    return brightness_sersic(0.0, 0.0, axis_ratio, None, sersic_index, effective_radius, 1.0, x, y, k)
