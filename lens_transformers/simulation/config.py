"""The configuration of a simulation: frozen dataclasses that round-trip through YAML.

Every quirk of an official recipe is a field of its own, so that it can be switched off alone. Angles are in radians,
counted from the x axis towards the y axis; positions and lengths on the sky are in arcsec.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import yaml

from .checks import NOT_NEGATIVE, POSITIVE, check_choice, check_position, check_supports, check_whole
from .codec import decode, encode
from .cosmology import convention_deflection_scale, einstein_area_per_mass
from .distributions import Distribution, PoissonCount, Position, Spread, Square, Uniform, support
from .instruments import Detector, Instrument, get_instrument


__all__ = [
    "LensSimulationConfig",
    "MainLens",
    "Noise",
    "Source",
    "SourceImages",
    "Subhalos",
    "Substructure",
    "SuperResolution",
    "Vortex",
]

ANGLE = (-2 * np.pi, 2 * np.pi)
MAGNITUDE = (-10.0, 60.0)

# Of lensed galaxies that present surveys find; magnification makes their arcs two magnitudes brighter.
SOURCE_MAGNITUDE = Uniform(21.5, 23.5)


@dataclass(frozen=True)
class MainLens:
    """A singular isothermal ellipsoid in external shear.

    Attributes:
        einstein_radius_arcsec: Einstein radius; give it, `mass_msun` or `velocity_dispersion_km_s`.
        mass_msun: Mass within the Einstein radius, from which the radius follows.
        velocity_dispersion_km_s: Velocity dispersion, from which the radius follows by the redshifts alone: no quirk
            of distances or conventions touches it.
        axis_ratio: Minor over major axis, in (0, 1].
        position_angle_rad: Direction of the major axis.
        position: Centre, relative to the centre of the image.
        shear_strength: Strength of the external shear.
        shear_angle_rad: Direction of the shear.
    """

    einstein_radius_arcsec: Distribution | None = None
    mass_msun: Distribution | None = None
    velocity_dispersion_km_s: Distribution | None = None
    axis_ratio: Distribution = 1.0
    position_angle_rad: Distribution = 0.0
    position: Position = Square(0.0)
    shear_strength: Distribution = 0.0
    shear_angle_rad: Distribution = 0.0

    def __post_init__(self):
        sizes = (self.einstein_radius_arcsec, self.mass_msun, self.velocity_dispersion_km_s)
        if sum(size is not None for size in sizes) != 1:
            raise ValueError(
                "main_lens needs exactly one of einstein_radius_arcsec, mass_msun and velocity_dispersion_km_s."
            )
        check_position("main_lens", self)
        check_supports(
            "main_lens",
            self,
            einstein_radius_arcsec=POSITIVE,
            mass_msun=POSITIVE,
            velocity_dispersion_km_s=POSITIVE,
            axis_ratio=(0.01, 1.0),
            position_angle_rad=ANGLE,
            shear_strength=(0.0, 0.9),
            shear_angle_rad=ANGLE,
        )


@dataclass(frozen=True)
class Source:
    """A Sersic component of a galaxy: the lensed one, or the light of the lens itself.

    Attributes:
        position: Centre, relative to the main lens; that of a further source component, relative to the first.
        effective_radius_arcsec: Half-light radius along the major axis.
        sersic_index: Sersic index n.
        axis_ratio: Minor over major axis, in (0, 1].
        position_angle_rad: Direction of the major axis.
        intensity: Brightness at the effective radius, per arcsec^2 in the detector's electrons per second, and
            relative to the other components where there is no detector.
        magnitude: Total magnitude, in place of `intensity`.
        colors_mag: For every band, how much fainter the component is there, in magnitudes; empty for alike.
    """

    position: Position
    effective_radius_arcsec: Distribution
    sersic_index: Distribution = 1.0
    axis_ratio: Distribution = 1.0
    position_angle_rad: Distribution = 0.0
    intensity: Distribution = 1.0
    magnitude: Distribution | None = None
    colors_mag: tuple[float, ...] = ()

    def __post_init__(self):
        check_position("source", self)
        check_supports(
            "source",
            self,
            effective_radius_arcsec=POSITIVE,
            sersic_index=(0.2, 10.0),
            axis_ratio=(0.01, 1.0),
            position_angle_rad=ANGLE,
            intensity=POSITIVE,
            magnitude=MAGNITUDE,
        )
        # No two magnitudes differ by more.
        most = MAGNITUDE[1] - MAGNITUDE[0]
        if not all(isinstance(color, int | float) and abs(color) <= most for color in self.colors_mag):
            raise ValueError(
                f"source.colors_mag must be magnitudes from -{most:g} to {most:g}, got {self.colors_mag}."
            )
        if self.magnitude is not None and self.intensity != 1.0:
            raise ValueError("source.magnitude takes the place of source.intensity: give one of them.")


@dataclass(frozen=True)
class SourceImages:
    """Images that take the place of the first source component, for example cutouts of galaxies.

    The source's position and angle hold for the image, as does its magnitude; without one, the brightest pixel of the
    image is `intensity`. Between its pixels an image is interpolated linearly, outside there is nothing.

    Attributes:
        path: A `.npy` file of float or integer images `(images, bands, height, width)` or `(images, height, width)`,
            of which every sample draws one.
        pixel_scale_arcsec: Width of an image's pixel on the sky behind the lens.
        subtract_corner: Whether to subtract from every band the median of its upper left corner, a fifth of the image
            wide, as the sky.
    """

    path: str
    pixel_scale_arcsec: float
    subtract_corner: bool = True

    def __post_init__(self):
        check_supports("source_images", self, pixel_scale_arcsec=POSITIVE)


@dataclass(frozen=True)
class Subhalos:
    """Cold dark matter: masses around the main lens.

    Attributes:
        count: How many.
        mass_msun: Mass of each; of a truncated NFW halo the mass M200 that it had before it was truncated. The
            official recipes use a slope of -0.9 where their documentation says -1.9.
        radius_arcsec: Distance of each from the main lens; directions are uniform.
        profile: `"point"` masses, or truncated NFW halos, `"tnfw"` (Baltz et al. 2009, arXiv:0705.0682).
        concentration: For `"tnfw"`, the concentration c200 of each.
        truncation: For `"tnfw"`, the truncation radius of each over its scale radius.
    """

    count: Distribution
    mass_msun: Spread
    radius_arcsec: Spread
    profile: Literal["point", "tnfw"] = "point"
    concentration: Distribution = 15.0
    truncation: Distribution = 5.0

    def __post_init__(self):
        check_supports(
            "subhalos",
            self,
            count=NOT_NEGATIVE,
            mass_msun=POSITIVE,
            radius_arcsec=NOT_NEGATIVE,
            concentration=(1.0, 1e3),
            truncation=(0.1, 1e3),
        )
        for name in ("mass_msun", "radius_arcsec"):
            if not isinstance(getattr(self, name), Spread):
                raise ValueError(f"subhalos.{name} must be a distribution, of which every subhalo draws its own.")
        if not isinstance(self.count, PoissonCount) and self.count != int(support(self.count)[0]):
            raise ValueError(f"subhalos.count must be a whole number or a poisson_count, got {self.count}.")
        check_choice("subhalos.profile", self.profile, ("point", "tnfw"))


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
        check_position("vortex", self)
        check_whole("vortex", self, num_points=2)
        check_supports("vortex", self, mass_msun=POSITIVE, axion_mass_log10_ev=(-26.0, -20.0), angle_rad=ANGLE)


@dataclass(frozen=True)
class Substructure:
    """What tells the classes apart: sample i has the class i % 3 of no_sub, cdm and axion.

    Attributes:
        subhalos: The substructure of cdm.
        vortex: The substructure of axion.
        compensate_mass: Whether the substructure's mass within the Einstein radius is taken out of the main lens, so
            that no class is heavier than another.
        no_sub_main_lens: A quirk of the official Model IV: another main lens for the class no_sub.
    """

    subhalos: Subhalos
    vortex: Vortex
    compensate_mass: bool = False
    no_sub_main_lens: MainLens | None = None


@dataclass(frozen=True)
class Noise:
    """Noise relative to the image: Poisson noise of the source and the sky, then Gaussian noise.

    The sky's mean is subtracted again. For noise in physical units take a `Detector`. Of a pair by `"telescope"` the
    noise-free image is that of high resolution: the brightest pixel of the one that is noisy, of low resolution, has
    fewer photons.

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
        check_supports(
            "noise", self, peak_counts=(1.0, 2.0**23), sky_counts=(0.0, 2.0**23), background_rms=NOT_NEGATIVE
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
        check_whole("super_resolution", self, upscale=2)
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
        source_components: Further components of the lensed galaxy, which make it clumpy.
        source_images: Images in place of the source's Sersic profile.
        lens_light: Components of the lens galaxy's light.
        bands: Bands of an image.
        substructure: What tells the classes apart; `None` for smooth lenses without classes.
        noise: Noise relative to the image, `None` for none.
        detector: Fluxes and noise in physical units, in place of `noise`.
        super_resolution: `None`, or how the low-resolution image of a pair is made.
        z_lens: Redshift of the lens.
        z_source: Redshift of the source.
        scaling: `"peak"` divides by the peak of the noise-free image; `"min_max"` maps every finished image onto
            [0, 1] by its own minimum and maximum; `"clipped_max"` sets what is negative to 0 and divides by the
            maximum, as the official Model IV does; `"none"` leaves the detector's counts as they are.
        distances: `"luminosity"` is a quirk of the official recipes, see `cosmology.einstein_area_per_mass`.
        source_redshift_convention: A quirk of the official Model II: the redshift for which its lens parameters are
            taken; all deflections come out at 0.63 of their size. `None` leaves them as they are.
        convention_omega_matter: The matter density with which that factor is computed. The official recipes take it
            from pyHalo, whose cosmology is not theirs.
    """

    name: str
    main_lens: MainLens
    source: Source
    instrument: Instrument
    source_components: tuple[Source, ...] = ()
    source_images: SourceImages | None = None
    lens_light: tuple[Source, ...] = ()
    bands: int = 1
    substructure: Substructure | None = None
    noise: Noise | None = None
    detector: Detector | None = None
    super_resolution: SuperResolution | None = None
    z_lens: float = 0.5
    z_source: float = 1.0
    scaling: Literal["peak", "min_max", "clipped_max", "none"] = "peak"
    distances: Literal["angular_diameter", "luminosity"] = "angular_diameter"
    source_redshift_convention: float | None = None
    convention_omega_matter: float = 0.3

    def __post_init__(self):
        if not 0 < self.z_lens < self.z_source:
            raise ValueError(f"The source must lie behind the lens: z_lens={self.z_lens}, z_source={self.z_source}.")
        if self.source_redshift_convention is not None and self.source_redshift_convention <= self.z_lens:
            raise ValueError(
                f"source_redshift_convention must exceed z_lens={self.z_lens}, got {self.source_redshift_convention}."
            )
        check_supports("configuration", self, convention_omega_matter=(0.01, 1.0))
        check_choice("scaling", self.scaling, ("peak", "min_max", "clipped_max", "none"))
        check_choice("distances", self.distances, ("angular_diameter", "luminosity"))
        self._check_light()
        if self.super_resolution is not None:
            self._check_pair(self.super_resolution)

    def _check_light(self) -> None:
        check_whole("configuration", self, bands=1)
        for light in (self.source, *self.source_components, *self.lens_light):
            if len(light.colors_mag) not in (0, self.bands):
                raise ValueError(
                    f"colors_mag must have a value for each of {self.bands} bands, got {light.colors_mag}."
                )
        if self.noise is not None and self.detector is not None:
            raise ValueError("noise is relative and detector is in physical units: set one of them to null.")
        if self.scaling == "none" and self.detector is None:
            raise ValueError("scaling='none' keeps a detector's counts: it needs a detector.")

    def _check_pair(self, pair: SuperResolution) -> None:
        if self.instrument.num_pixels % pair.upscale:
            raise ValueError(
                f"instrument.num_pixels={self.instrument.num_pixels} must be a multiple of "
                f"super_resolution.upscale={pair.upscale}."
            )
        if pair.method == "telescope" and self.scaling != "peak":
            raise ValueError("super_resolution.method='telescope' keeps the flux of a pair: scaling must be 'peak'.")
        if pair.method == "telescope" and self.detector is not None:
            raise ValueError("super_resolution.method='telescope' needs noise instead of a detector.")
        if pair.method == "telescope" and self.instrument.psf_fits is not None:
            raise ValueError(
                "super_resolution.method='telescope' blurs by psf_fwhm_arcsec: the coarser telescope cannot have the "
                "point-spread function of instrument.psf_fits."
            )
        try:
            _ = self.coarse_instrument
        except ValueError as error:
            raise ValueError(
                f"super_resolution.method='telescope': there is no coarser telescope, of {pair.upscale} times the "
                f"pixel scale and oversampling: {error}"
            ) from error

    @property
    def coarse_instrument(self) -> Instrument | None:
        """What sees the low resolution of pairs by `super_resolution.method` `"telescope"`; `None` of all others."""
        pair, fine = self.super_resolution, self.instrument
        if pair is None or pair.psf_fwhm_arcsec is None:
            return None
        return replace(
            fine,
            num_pixels=fine.num_pixels // pair.upscale,
            oversampling=fine.oversampling * pair.upscale,
            pixel_scale_arcsec=fine.pixel_scale_arcsec * pair.upscale,
            psf_fwhm_arcsec=pair.psf_fwhm_arcsec,
        )

    @property
    def has_imprint(self) -> bool:
        """Whether substructure leaves an imprint: on single images with classes of it."""
        return self.substructure is not None and self.super_resolution is None

    @property
    def deflection_scale(self) -> float:
        """The factor by which `source_redshift_convention` changes all deflections; 1 without it."""
        if self.source_redshift_convention is None:
            return 1.0
        return convention_deflection_scale(
            self.z_lens, self.z_source, self.source_redshift_convention, self.convention_omega_matter
        )

    @property
    def einstein_area_per_mass(self) -> float:
        """The squared Einstein radius of a point mass as the images show it, in arcsec^2 per M_sun."""
        return self.deflection_scale * einstein_area_per_mass(self.z_lens, self.z_source, self.distances)

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the files that the images depend on."""
        images = None if self.source_images is None else self.source_images.path
        return tuple(path for path in (images, self.instrument.psf_fits) if path is not None)

    @property
    def zero_point_mag(self) -> float:
        """The magnitude of one electron per second; without a detector only differences of magnitudes matter."""
        return 25.0 if self.detector is None else self.detector.zero_point_mag

    def observed_by(
        self, instrument: str, source_magnitude: Distribution = SOURCE_MAGNITUDE
    ) -> "LensSimulationConfig":
        """Such scenes through an instrument of `INSTRUMENTS`, with its noise, in its electrons per second.

        Two instruments see the very same scenes. Of the preset's own, lenses and sources stay and substructure is
        drawn anew, after what an instrument's noise and magnitudes ask for. The number of pixels stays, or grows to
        what the field of view takes of finer pixels. Every component of the source that has no magnitude gets
        `source_magnitude`.

        Raises:
            ValueError: If there is no such instrument, or a component of the lens light has no magnitude.
        """
        optics, detector = get_instrument(instrument)
        if any(light.magnitude is None for light in self.lens_light):
            raise ValueError(f"{self.name}: give every component of lens_light a magnitude first.")

        def with_magnitude(light: Source) -> Source:
            if light.magnitude is not None:
                return light
            return dataclasses.replace(light, intensity=1.0, magnitude=source_magnitude)

        return dataclasses.replace(
            self,
            source=with_magnitude(self.source),
            source_components=tuple(map(with_magnitude, self.source_components)),
            instrument=dataclasses.replace(optics, num_pixels=self._num_pixels_of(optics.pixel_scale_arcsec)),
            noise=None,
            detector=detector,
            scaling="none",
        )

    def _num_pixels_of(self, pixel_scale_arcsec: float) -> int:
        """How many pixels of that width show all that the images show now: lenses may stand near their edge."""
        num_pixels = self.instrument.num_pixels
        field = num_pixels * self.instrument.pixel_scale_arcsec
        needed = math.ceil(round(field / pixel_scale_arcsec, 6))  # the same width is the same number
        step = 2 if self.super_resolution is None else self.super_resolution.upscale
        return num_pixels if needed <= num_pixels else needed + -needed % step

    def to_dict(self) -> dict[str, Any]:
        """The configuration as nested dictionaries of plain values."""
        return encode(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "LensSimulationConfig":
        """Builds a configuration from nested dictionaries.

        Raises:
            ValueError: If a field is unknown, missing or impossible, by its dotted name.
        """
        return decode(cls, values, "configuration")

    def to_yaml(self) -> str:
        """The configuration as YAML."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    @classmethod
    def from_yaml(cls, text: str) -> "LensSimulationConfig":
        """Builds a configuration from YAML.

        Raises:
            ValueError: If the text is not a YAML mapping, or as in `from_dict`.
        """
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"the configuration is no YAML: {error}") from error
        return cls.from_dict(values)

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
            holder[name] = encode(value)
        return type(self).from_dict(values)
