from . import lens_mae

__all__ = ["lens_mae"]
