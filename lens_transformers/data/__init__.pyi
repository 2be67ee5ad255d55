from .augmentation import LensAugmentation, get_augmentation
from .collator import EpochCallback, LensDataCollator, MaskedCollator
from .fits import FitsLayout
from .folders import NoSuchSplitError
from .loading import files_of_rows, load_lensing_dataset
from .report import LoadReport
from .resizing import resize_images
from .schema import LABEL_NAMES, lens_features
from .simulated import simulate_dataset
from .splits import find_duplicates, split_by_content

__all__ = [
    "LABEL_NAMES",
    "EpochCallback",
    "FitsLayout",
    "LensAugmentation",
    "LensDataCollator",
    "LoadReport",
    "MaskedCollator",
    "NoSuchSplitError",
    "files_of_rows",
    "find_duplicates",
    "get_augmentation",
    "lens_features",
    "load_lensing_dataset",
    "resize_images",
    "simulate_dataset",
    "split_by_content",
]
