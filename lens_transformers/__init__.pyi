from . import data, evaluation, hub, models, report, simulation, visualization
from .models.lens_mae import (
    LensMAE,
    LensMAEConfig,
    LensMAEForClassification,
    LensMAEForPreTraining,
    LensMAEForSuperResolution,
    LensMAEImageProcessor,
    LensMAEModel,
)
from .pipelines import pipeline

__version__: str

__all__ = [
    "LensMAE",
    "LensMAEConfig",
    "LensMAEForClassification",
    "LensMAEForPreTraining",
    "LensMAEForSuperResolution",
    "LensMAEImageProcessor",
    "LensMAEModel",
    "data",
    "evaluation",
    "hub",
    "models",
    "pipeline",
    "report",
    "simulation",
    "visualization",
]
