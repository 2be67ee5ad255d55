"""Physics: from parameters to images of lenses, in batched tensors. Knows nothing of models or files."""

from .config import (
    Instrument,
    LensSimulationConfig,
    MainLens,
    Noise,
    Source,
    Subhalos,
    Substructure,
    SuperResolution,
    Vortex,
)
from .distributions import (
    Disc,
    Gaussian2D,
    LogUniform,
    PoissonCount,
    PowerLaw,
    Square,
    Uniform,
)
from .presets import PRESETS, get_preset
from .simulate import SimulatedLenses, simulate


__all__ = [
    "PRESETS",
    "Disc",
    "Gaussian2D",
    "Instrument",
    "LensSimulationConfig",
    "LogUniform",
    "MainLens",
    "Noise",
    "PoissonCount",
    "PowerLaw",
    "SimulatedLenses",
    "Source",
    "Square",
    "Subhalos",
    "Substructure",
    "SuperResolution",
    "Uniform",
    "Vortex",
    "get_preset",
    "simulate",
]
