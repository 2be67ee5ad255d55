"""Flat grids of points, padded so that a value never depends on where in a batch it is computed."""

import torch


__all__ = ["crop", "pad_to_row", "padded_length", "pixel_axis", "pixel_grid"]

# Vectorised kernels compute the last few elements of an array by other code than the rest, which rounds differently.
# Rows of whole vectors have no such remainder (the widest kernels take 32 floats at a time).
_ROW_MULTIPLE = 64


def padded_length(num_pixels: int) -> int:
    """Length of the flat row that holds an image of `num_pixels` by `num_pixels`."""
    return -(-(num_pixels**2) // _ROW_MULTIPLE) * _ROW_MULTIPLE


def pixel_axis(num_pixels: int, pixel_scale: float) -> torch.Tensor:
    """Coordinates of the pixel centres along an axis about the origin, `(num_pixels,)` in arcsec and float64."""
    return (torch.arange(num_pixels, dtype=torch.float64) - (num_pixels - 1) / 2) * pixel_scale


def pixel_grid(
    num_pixels: int, pixel_scale: float, device: torch.device | str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Coordinates of the pixel centres of a square image about the origin.

    Returns:
        x and y in arcsec, each flat `(1, padded_length)` in row-major order; the padding repeats the origin's
        neighbourhood with harmless values.
    """
    axis = pixel_axis(num_pixels, pixel_scale)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    padding = torch.full((padded_length(num_pixels) - num_pixels**2,), pixel_scale, dtype=torch.float64)
    return tuple(torch.cat([c.flatten(), padding]).float()[None].to(device) for c in (x, y))  # type: ignore[return-value]


def pad_to_row(values: torch.Tensor) -> torch.Tensor:
    """Repeats the last of some values until they fill whole vectors."""
    return torch.cat([values, values[-1:].expand(-len(values) % _ROW_MULTIPLE)])


def crop(rows: torch.Tensor, num_pixels: int) -> torch.Tensor:
    """The images `(batch, num_pixels, num_pixels)` in padded flat rows, as a view."""
    return rows[:, : num_pixels**2].unflatten(1, (num_pixels, num_pixels))
