"""LensMAE: configuration, network and image processor. Each loads when first used, for torch is slow to import."""

import lazy_loader
from transformers.utils.auto_docstring import HARDCODED_CONFIG_FOR_MODELS


__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# auto_docstring finds a configuration by the name of the model's folder, in tables of transformers' own models; for
# any other it prints an error at import.
HARDCODED_CONFIG_FOR_MODELS["lens-mae"] = "LensMAEConfig"
