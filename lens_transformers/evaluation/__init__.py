"""Metrics as `evaluate.Metric` modules that need no network, and the baselines that stand beside every result."""

from .anomaly import AnomalyMetric, neighbour_distance
from .classification import ClassificationMetric
from .downsampling import LeastSquaresDownsampler
from .inpainting import interpolate_masked, mean_patch, reconstruction_rows
from .pca import pca_logistic_rows
from .reconstruction import ReconstructionMetric
from .representation import nearest_neighbours, score_representation
from .super_resolution import SuperResolutionMetric
from .symmetries import average_over_symmetries
from .upsampling import LeastSquaresFilter, bicubic_upsample, bilinear_upsample, nearest_upsample, upsampling_rows


__all__ = [
    "AnomalyMetric",
    "ClassificationMetric",
    "LeastSquaresDownsampler",
    "LeastSquaresFilter",
    "ReconstructionMetric",
    "SuperResolutionMetric",
    "average_over_symmetries",
    "bicubic_upsample",
    "bilinear_upsample",
    "interpolate_masked",
    "mean_patch",
    "nearest_neighbours",
    "nearest_upsample",
    "neighbour_distance",
    "pca_logistic_rows",
    "reconstruction_rows",
    "score_representation",
    "upsampling_rows",
]
