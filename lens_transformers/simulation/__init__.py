"""Physics: from parameters to images of lenses, in batched tensors. Knows nothing of models or files."""

from .config import (
    LensSimulationConfig,
    MainLens,
    Noise,
    Source,
    SourceImages,
    Subhalos,
    Substructure,
    SuperResolution,
    Vortex,
)
from .distributions import (
    Disc,
    Gaussian2D,
    LogUniform,
    Normal,
    PoissonCount,
    PowerLaw,
    Radial,
    Square,
    Uniform,
)
from .instruments import INSTRUMENTS, Detector, Instrument, get_instrument
from .presets import PRESETS, get_preset
from .simulate import SimulatedLenses, simulate


__all__ = [
    "INSTRUMENTS",
    "PRESETS",
    "Detector",
    "Disc",
    "Gaussian2D",
    "Instrument",
    "LensSimulationConfig",
    "LogUniform",
    "MainLens",
    "Noise",
    "Normal",
    "PoissonCount",
    "PowerLaw",
    "Radial",
    "SimulatedLenses",
    "Source",
    "SourceImages",
    "Square",
    "Subhalos",
    "Substructure",
    "SuperResolution",
    "Uniform",
    "Vortex",
    "get_instrument",
    "get_preset",
    "simulate",
]
