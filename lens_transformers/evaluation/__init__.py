"""Metrics as `evaluate.Metric` modules that need no network, and the baselines that stand beside every result."""

from .anomaly import AnomalyMetric, neighbour_distance
from .classification import ClassificationMetric
from .downsampling import LeastSquaresDownsampler
from .image_quality import compare_images, ring_masks
from .inpainting import interpolate_masked, mean_patch, reconstruction_rows
from .noise_floor import noise_floor_rows
from .pca import pca_logistic_rows
from .power_spectrum import radial_power_spectrum
from .reconstruction import ReconstructionMetric
from .representation import RepresentationMetric, nearest_neighbours
from .super_resolution import SuperResolutionMetric
from .symmetries import average_over_symmetries
from .upsampling import LeastSquaresFilter, bicubic_upsample, bilinear_upsample, nearest_upsample, upsampling_rows


__all__ = [
    "AnomalyMetric",
    "ClassificationMetric",
    "LeastSquaresDownsampler",
    "LeastSquaresFilter",
    "ReconstructionMetric",
    "RepresentationMetric",
    "SuperResolutionMetric",
    "average_over_symmetries",
    "bicubic_upsample",
    "bilinear_upsample",
    "compare_images",
    "interpolate_masked",
    "mean_patch",
    "nearest_neighbours",
    "nearest_upsample",
    "neighbour_distance",
    "noise_floor_rows",
    "pca_logistic_rows",
    "radial_power_spectrum",
    "reconstruction_rows",
    "ring_masks",
    "upsampling_rows",
]
