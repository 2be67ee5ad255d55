from . import data, evaluation, hub, models, simulation, visualization
from .models.lens_mae import (
    LensMAE,
    LensMAEConfig,
    LensMAEForClassification,
    LensMAEForPreTraining,
    LensMAEForSuperResolution,
    LensMAEImageProcessor,
    LensMAEModel,
)

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
    "simulation",
    "visualization",
]
