"""The figures a paper on lenses needs, as matplotlib figures that never touch pyplot's global state."""

from .classification import plot_confusion, plot_roc
from .images import plot_lenses, plot_reconstructions, plot_super_resolution
from .training import plot_training_curves


__all__ = [
    "plot_confusion",
    "plot_lenses",
    "plot_reconstructions",
    "plot_roc",
    "plot_super_resolution",
    "plot_training_curves",
]
