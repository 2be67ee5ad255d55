"""Everything that becomes a `datasets.Dataset` of lens images, in one schema.

Each name loads when first used: reading files needs no simulator.
"""

import lazy_loader


__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
