from .configuration_lens_mae import LensMAEConfig
from .image_processing_lens_mae import LensMAEImageProcessor
from .modeling_lens_mae import (
    LensMAE,
    LensMAEForClassification,
    LensMAEForPreTraining,
    LensMAEForSuperResolution,
    LensMAEModel,
)

__all__ = [
    "LensMAE",
    "LensMAEConfig",
    "LensMAEForClassification",
    "LensMAEForPreTraining",
    "LensMAEForSuperResolution",
    "LensMAEImageProcessor",
    "LensMAEModel",
]
