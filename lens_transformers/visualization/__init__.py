"""The figures a paper on lenses needs, as matplotlib figures that never touch pyplot's global state."""

from .classification import plot_calibration, plot_confusion, plot_roc
from .embedding import plot_embedding
from .images import plot_attention_maps, plot_imprints, plot_lenses, plot_reconstructions, plot_super_resolution
from .parameters import plot_score_against_parameter
from .power import plot_residual_power
from .style import save_figure
from .training import plot_training_curves


__all__ = [
    "plot_attention_maps",
    "plot_calibration",
    "plot_confusion",
    "plot_embedding",
    "plot_imprints",
    "plot_lenses",
    "plot_reconstructions",
    "plot_residual_power",
    "plot_roc",
    "plot_score_against_parameter",
    "plot_super_resolution",
    "plot_training_curves",
    "save_figure",
]
