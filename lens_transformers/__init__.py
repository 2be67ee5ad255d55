"""Strong gravitational lenses for transformers: one masked-autoencoder encoder that classifies and super-resolves.

Importing this package makes transformers' Auto classes know LensMAE and imports nothing heavy: torch, transformers and
the rooms below load when a name is first used. The names live in `__init__.pyi`, where type checkers read them too.
"""

import lazy_loader

from . import _registration


__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

_registration.install()
