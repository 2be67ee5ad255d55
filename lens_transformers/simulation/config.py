"""The configuration of a simulation: frozen dataclasses that round-trip through YAML.

Every quirk of an official recipe is a field of its own, so that it can be switched off alone. Angles are in radians,
counted from the x axis towards the y axis; positions and lengths on the sky are in arcsec.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import yaml

from .cosmology import convention_deflection_scale, einstein_area_per_mass
from .distributions import DISTRIBUTIONS, Distribution, PoissonCount, Position, Spread, Square, support


__all__ = [
    "Instrument",
    "LensSimulationConfig",
    "MainLens",
    "Noise",
    "Source",
    "Subhalos",
    "Substructure",
    "SuperResolution",
    "Vortex",
]

ANGLE = (-2 * np.pi, 2 * np.pi)
POSITIVE = (np.finfo(float).tiny, np.inf)
NOT_NEGATIVE = (0.0, np.inf)


@dataclass(frozen=True)
class MainLens:
    """A singular isothermal ellipsoid in external shear.

    Attributes:
        einstein_radius_arcsec: Einstein radius; give it or `mass_msun`.
        mass_msun: Mass within the Einstein radius, from which the radius follows.
        axis_ratio: Minor over major axis, in (0, 1].
        position_angle_rad: Direction of the major axis.
        position: Centre, relative to the centre of the image.
        shear_strength: Strength of the external shear.
        shear_angle_rad: Direction of the shear.
    """

    einstein_radius_arcsec: Distribution | None = None
    mass_msun: Distribution | None = None
    axis_ratio: Distribution = 1.0
    position_angle_rad: Distribution = 0.0
    position: Position = Square(0.0)
    shear_strength: Distribution = 0.0
    shear_angle_rad: Distribution = 0.0

    def __post_init__(self):
        if (self.einstein_radius_arcsec is None) == (self.mass_msun is None):
            raise ValueError("main_lens needs exactly one of einstein_radius_arcsec and mass_msun.")
        _check_supports(
            "main_lens",
            self,
            einstein_radius_arcsec=POSITIVE,
            mass_msun=POSITIVE,
            axis_ratio=(0.01, 1.0),
            position_angle_rad=ANGLE,
            shear_strength=(0.0, 0.9),
            shear_angle_rad=ANGLE,
        )


@dataclass(frozen=True)
class Source:
    """A Sersic galaxy.

    Attributes:
        position: Centre, relative to the main lens.
        effective_radius_arcsec: Half-light radius along the major axis.
        sersic_index: Sersic index n.
        axis_ratio: Minor over major axis, in (0, 1].
        position_angle_rad: Direction of the major axis.
    """

    position: Position
    effective_radius_arcsec: Distribution
    sersic_index: Distribution = 1.0
    axis_ratio: Distribution = 1.0
    position_angle_rad: Distribution = 0.0

    def __post_init__(self):
        _check_supports(
            "source",
            self,
            effective_radius_arcsec=POSITIVE,
            sersic_index=(0.2, 10.0),
            axis_ratio=(0.01, 1.0),
            position_angle_rad=ANGLE,
        )


@dataclass(frozen=True)
class Subhalos:
    """Cold dark matter: point masses around the main lens.

    Attributes:
        count: How many.
        mass_msun: Mass of each. The official recipes use a slope of -0.9 where their documentation says -1.9.
        radius_arcsec: Distance of each from the main lens; directions are uniform.
    """

    count: Distribution
    mass_msun: Spread
    radius_arcsec: Spread

    def __post_init__(self):
        _check_supports("subhalos", self, count=NOT_NEGATIVE, mass_msun=POSITIVE, radius_arcsec=NOT_NEGATIVE)
        for name in ("mass_msun", "radius_arcsec"):
            if not isinstance(getattr(self, name), Spread):
                raise ValueError(f"subhalos.{name} must be a distribution, of which every subhalo draws its own.")
        if not isinstance(self.count, PoissonCount) and self.count != int(support(self.count)[0]):
            raise ValueError(f"subhalos.count must be a whole number or a poisson_count, got {self.count}.")


@dataclass(frozen=True)
class Vortex:
    """Axion dark matter: a vortex, which is a straight line of mass.

    Attributes:
        mass_msun: Total mass.
        axion_mass_log10_ev: Logarithm of the axion mass m in eV. The half-length follows from it, as in the official
            recipes: 0.03 arcsec * (1e-22 eV / m).
        position: Centre, relative to the main lens.
        angle_rad: Direction.
        num_points: `None` for a continuous line in closed form, or the number of equal point masses that stand for it
            in the official recipes (where they are a string of beads, further apart than a pixel).
    """

    mass_msun: Distribution
    axion_mass_log10_ev: Distribution
    position: Position
    angle_rad: Distribution
    num_points: int | None = None

    def __post_init__(self):
        _check_supports("vortex", self, mass_msun=POSITIVE, axion_mass_log10_ev=(-26.0, -18.0), angle_rad=ANGLE)
        if self.num_points is not None and self.num_points < 2:
            raise ValueError(f"vortex.num_points must be null or at least 2, got {self.num_points}.")


@dataclass(frozen=True)
class Substructure:
    """What tells the classes apart: sample i has the class i % 3 of no_sub, cdm and axion.

    Attributes:
        subhalos: The substructure of cdm.
        vortex: The substructure of axion.
        compensate_mass: Whether the substructure's mass within the Einstein radius is taken out of the main lens, so
            that no class is heavier than another.
    """

    subhalos: Subhalos
    vortex: Vortex
    compensate_mass: bool = False


@dataclass(frozen=True)
class Noise:
    """Poisson noise of the source and the sky, then Gaussian noise. The sky's mean is subtracted again.

    Attributes:
        peak_counts: Photons in the brightest pixel of the noise-free image, which sets the exposure.
        sky_counts: Photons of the sky in every pixel.
        background_rms: Standard deviation of the Gaussian part, in units of the noise-free image's peak.
    """

    peak_counts: Distribution
    sky_counts: Distribution = 0.0
    background_rms: Distribution = 0.0

    def __post_init__(self):
        # Whole numbers of photons are exact in float32 up to 2 ** 24.
        _check_supports(
            "noise", self, peak_counts=(1.0, 2.0**23), sky_counts=(0.0, 2.0**23), background_rms=NOT_NEGATIVE
        )


@dataclass(frozen=True)
class Instrument:
    """Pixels and point-spread function.

    Attributes:
        num_pixels: Height and width of the image.
        pixel_scale_arcsec: Width of a pixel.
        psf_fwhm_arcsec: Full width at half maximum of the Gaussian point-spread function; 0 for none.
        psf_truncation_sigma: Where that Gaussian is cut, in standard deviations.
        oversampling: Rendered points across a pixel. With 1, the brightness at its centre stands for the pixel.
    """

    num_pixels: int
    pixel_scale_arcsec: float
    psf_fwhm_arcsec: float = 0.0
    psf_truncation_sigma: float = 5.0
    oversampling: int = 1

    def __post_init__(self):
        _check_supports(
            "instrument",
            self,
            num_pixels=(2, 4096),
            pixel_scale_arcsec=POSITIVE,
            psf_fwhm_arcsec=(0.0, self.num_pixels * self.pixel_scale_arcsec),
            psf_truncation_sigma=(1.0, 20.0),
            oversampling=(1, 32),
        )


@dataclass(frozen=True)
class SuperResolution:
    """How the low-resolution image of a pair is made; the configuration's instrument takes the high-resolution one.

    Attributes:
        method: `"bicubic"` shrinks the finished high-resolution image, noise and all, which is the quirk of the
            official pairs. `"telescope"` observes the same scene with coarser pixels and a broader point-spread
            function, and only that observation is noisy.
        upscale: Ratio of the pixel widths.
        psf_fwhm_arcsec: The broader point-spread function, for `"telescope"`.
    """

    method: Literal["bicubic", "telescope"]
    upscale: int = 2
    psf_fwhm_arcsec: float | None = None

    def __post_init__(self):
        if self.method not in ("bicubic", "telescope"):
            raise ValueError(f"super_resolution.method must be 'bicubic' or 'telescope', got {self.method!r}.")
        if self.upscale < 2:
            raise ValueError(f"super_resolution.upscale must be at least 2, got {self.upscale}.")
        if (self.psf_fwhm_arcsec is None) == (self.method == "telescope"):
            raise ValueError("super_resolution.psf_fwhm_arcsec is needed for 'telescope' and has no use otherwise.")


@dataclass(frozen=True)
class LensSimulationConfig:
    """Everything that decides what the images of a simulation look like.

    Attributes:
        name: Name of the simulation.
        main_lens: The lens galaxy.
        source: The lensed galaxy.
        instrument: Pixels and point-spread function.
        substructure: What tells the classes apart; `None` for smooth lenses without classes.
        noise: `None` for noise-free images.
        super_resolution: `None`, or how the low-resolution image of a pair is made.
        z_lens: Redshift of the lens.
        z_source: Redshift of the source.
        scaling: `"peak"` divides by the peak of the noise-free image; `"min_max"` maps every finished image onto
            [0, 1] by its own minimum and maximum.
        distances: `"luminosity"` is a quirk of the official recipes, see `cosmology.einstein_area_per_mass`.
        source_redshift_convention: A quirk of the official Model II: the redshift for which its lens parameters are
            taken; all deflections come out at 0.63 of their size. `None` leaves them as they are.
    """

    name: str
    main_lens: MainLens
    source: Source
    instrument: Instrument
    substructure: Substructure | None = None
    noise: Noise | None = None
    super_resolution: SuperResolution | None = None
    z_lens: float = 0.5
    z_source: float = 1.0
    scaling: Literal["peak", "min_max"] = "peak"
    distances: Literal["angular_diameter", "luminosity"] = "angular_diameter"
    source_redshift_convention: float | None = None

    def __post_init__(self):
        if not 0 < self.z_lens < self.z_source:
            raise ValueError(f"The source must lie behind the lens: z_lens={self.z_lens}, z_source={self.z_source}.")
        if self.source_redshift_convention is not None and self.source_redshift_convention <= self.z_lens:
            raise ValueError(
                f"source_redshift_convention must exceed z_lens={self.z_lens}, got {self.source_redshift_convention}."
            )
        for name, choices in (("scaling", ("peak", "min_max")), ("distances", ("angular_diameter", "luminosity"))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {getattr(self, name)!r}.")
        if self.super_resolution is not None:
            self._check_pair(self.super_resolution)

    def _check_pair(self, pair: SuperResolution) -> None:
        if self.instrument.num_pixels % pair.upscale:
            raise ValueError(
                f"instrument.num_pixels={self.instrument.num_pixels} must be a multiple of "
                f"super_resolution.upscale={pair.upscale}."
            )
        if pair.method == "telescope" and self.scaling != "peak":
            raise ValueError("super_resolution.method='telescope' keeps the flux of a pair: scaling must be 'peak'.")

    @property
    def deflection_scale(self) -> float:
        """The factor by which `source_redshift_convention` changes all deflections; 1 without it."""
        if self.source_redshift_convention is None:
            return 1.0
        return convention_deflection_scale(self.z_lens, self.z_source, self.source_redshift_convention)

    @property
    def einstein_area_per_mass(self) -> float:
        """The squared Einstein radius of a point mass as the images show it, in arcsec^2 per M_sun."""
        return self.deflection_scale * einstein_area_per_mass(self.z_lens, self.z_source, self.distances)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as nested dictionaries of plain values."""
        return _encode(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "LensSimulationConfig":
        """Builds a configuration from nested dictionaries.

        Raises:
            ValueError: If a field is unknown, missing or impossible, by its dotted name.
        """
        return _decode(cls, values, "configuration")

    def to_yaml(self) -> str:
        """The configuration as YAML."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    @classmethod
    def from_yaml(cls, text: str) -> "LensSimulationConfig":
        """Builds a configuration from YAML.

        Raises:
            ValueError: If the text is not a YAML mapping, or as in `from_dict`.
        """
        return cls.from_dict(yaml.safe_load(text))

    def with_overrides(self, overrides: Mapping[str, Any]) -> "LensSimulationConfig":
        """A copy with some fields replaced, as in `{"main_lens.axis_ratio": 0.8, "noise": None}`.

        Raises:
            ValueError: If a field is unknown, or a value impossible.
        """
        values = self.to_dict()
        for path, value in overrides.items():
            *parents, name = path.split(".")
            holder: Any = values
            for parent in parents:
                holder = holder.get(parent) if isinstance(holder, dict) else None
            if not isinstance(holder, dict) or name not in holder:
                raise ValueError(f"Cannot override {path!r}: the configuration has no such field.")
            holder[name] = _encode(value)
        return type(self).from_dict(values)


_DISTRIBUTION_NAMES = {cls: name for name, cls in DISTRIBUTIONS.items()}


def _encode(value: Any) -> Any:
    if not dataclasses.is_dataclass(value):
        return value
    values = {f.name: _encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    kind = _DISTRIBUTION_NAMES.get(type(value))
    return values if kind is None else {kind: values}


def _decode(cls: type, values: Any, path: str) -> Any:
    if not isinstance(values, Mapping):
        raise ValueError(f"{path} must be a mapping of fields, got {values!r}.")
    hints = typing.get_type_hints(cls)
    unknown = set(values) - set(hints)
    if unknown:
        raise ValueError(f"{path} has no field {sorted(unknown)[0]!r}; its fields are {', '.join(hints)}.")
    arguments = {name: _decode_field(hints[name], value, f"{path}.{name}") for name, value in values.items()}
    try:
        return cls(**arguments)
    except TypeError as error:
        raise ValueError(f"{path}: {error}.") from error


def _decode_field(hint: Any, value: Any, path: str) -> Any:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    sections = [option for option in options if dataclasses.is_dataclass(option)]
    if isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in DISTRIBUTIONS:
        (kind, fields), *_ = value.items()
        if DISTRIBUTIONS[kind] not in options:
            raise ValueError(f"{path} cannot be a {kind}.")
        return _decode(DISTRIBUTIONS[kind], fields, path)
    if len(sections) == 1:
        return _decode(typing.cast(type, sections[0]), value, path)
    return _decode_plain(options, value, path)


def _decode_plain(options: tuple[Any, ...], value: Any, path: str) -> Any:
    if bool in options and isinstance(value, bool):
        return value
    if int in options and isinstance(value, int) and not isinstance(value, bool):
        return value
    if float in options and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 1e10, which has no point, as text.
        except ValueError:
            pass
    if isinstance(value, str) and (str in options or any(typing.get_origin(o) is Literal for o in options)):
        return value
    names = ", ".join(getattr(option, "__name__", str(option)) for option in options)
    raise ValueError(f"{path} cannot be {value!r}; it must be one of: {names}.")


def _check_supports(section: str, config: Any, **limits: tuple[float, float]) -> None:
    for name, (low, high) in limits.items():
        value = getattr(config, name)
        if value is None:
            continue
        smallest, largest = support(value)
        if not (low <= smallest and largest <= high and np.isfinite(smallest)):
            raise ValueError(f"{section}.{name} must lie within [{low:.4g}, {high:.4g}], got {value}.")
