"""Least squares by normal equations, of pixels that are nearly linearly dependent."""

import torch


__all__ = ["solve_normal_equations"]

# Relative to the mean of the normal matrix's diagonal: neighbouring pixels of sharp images are much alike.
_RIDGE = 1e-6


def solve_normal_equations(normal: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Solves for weights, with a small ridge.

    Args:
        normal: Normal matrices `(..., weights, weights)`, in float64.
        right: Right-hand sides, as `torch.linalg.solve` takes them.

    Returns:
        The weights, of the shape of `right`.
    """
    ridge = _RIDGE * normal.diagonal(dim1=-2, dim2=-1).mean(dim=-1)[..., None, None]
    return torch.linalg.solve(normal + ridge * torch.eye(normal.shape[-1], dtype=normal.dtype), right)
