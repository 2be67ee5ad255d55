"""By which code something was evaluated."""

import importlib.metadata

from .. import __version__


def versions() -> dict[str, str]:
    """The version of this package and of those that its numbers depend on."""
    packages = ("torch", "transformers", "datasets", "scikit-learn", "scikit-image", "numpy")
    return {"lens_transformers": __version__, **{name: importlib.metadata.version(name) for name in packages}}
