"""LensMAE: configuration, network and image processor. Each loads when first used, for torch is slow to import."""

import lazy_loader


__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
