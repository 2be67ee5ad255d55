from .collator import LensDataCollator
from .loading import load_lensing_dataset
from .schema import LABEL_NAMES, lens_features
from .simulated import simulate_dataset

__all__ = ["LABEL_NAMES", "LensDataCollator", "lens_features", "load_lensing_dataset", "simulate_dataset"]
