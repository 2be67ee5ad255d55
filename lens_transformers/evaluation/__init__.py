"""Metrics as `evaluate.Metric` modules that need no network, and the baselines that stand beside every result."""

from .classification import ClassificationMetric
from .downsampling import LeastSquaresDownsampler
from .inpainting import interpolate_masked, mean_patch, reconstruction_rows
from .pca import pca_logistic_rows
from .reconstruction import ReconstructionMetric
from .super_resolution import SuperResolutionMetric
from .symmetries import average_over_symmetries
from .upsampling import LeastSquaresFilter, bicubic_upsample, bilinear_upsample, upsampling_rows


__all__ = [
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
    "pca_logistic_rows",
    "reconstruction_rows",
    "upsampling_rows",
]
