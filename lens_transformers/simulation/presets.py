"""The named configurations."""

import difflib
import math
from dataclasses import replace

from .config import (
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
    Normal,
    PoissonCount,
    PowerLaw,
    Radial,
    Square,
    Uniform,
)
from .instruments import INSTRUMENTS, Detector, Instrument


__all__ = ["PRESETS", "get_preset"]

# The official recipes give ellipticities as components: (0.1, 0) for the lens and (-0.1, 0.1) for the source.
_LENS_ELLIPTICITY = 0.1
_SOURCE_ELLIPTICITY = math.hypot(-0.1, 0.1)
_SOURCE_AXIS_RATIO = (1 - _SOURCE_ELLIPTICITY) / (1 + _SOURCE_ELLIPTICITY)

_PYHALO_OMEGA_MATTER = 0.2814

_OFFICIAL_LENS = MainLens(
    mass_msun=1e12,
    axis_ratio=(1 - _LENS_ELLIPTICITY) / (1 + _LENS_ELLIPTICITY),
    shear_strength=0.05,
)
_OFFICIAL_SUBSTRUCTURE = Substructure(
    subhalos=Subhalos(count=25.0, mass_msun=PowerLaw(-0.9, 1e6, 1e10), radius_arcsec=Uniform(0.25, 2.0)),
    vortex=Vortex(
        mass_msun=3e10,
        axion_mass_log10_ev=Uniform(-24.0, -22.0),
        position=Square(0.0),
        angle_rad=Uniform(0.0, 2 * math.pi),
        num_points=100,
    ),
)


def _official_source(intensity: float = 1.0, magnitude: float | None = None) -> Source:
    return Source(
        position=Square(0.35),
        # lenstronomy's radius is the geometric mean of both axes.
        effective_radius_arcsec=0.25 / math.sqrt(_SOURCE_AXIS_RATIO),
        axis_ratio=_SOURCE_AXIS_RATIO,
        position_angle_rad=0.5 * math.atan2(0.1, -0.1),
        intensity=intensity,
        magnitude=magnitude,
    )


# DeepLenseSim's Model I: one main lens in every image, so that the total mass gives the class away; luminosity
# distances; a mass function far shallower than documented; a vortex of beads; noise applied twice. The released files
# hold whole photons, which scaling="none" gives.
DEEPLENSE_MODEL_1 = LensSimulationConfig(
    name="deeplense_model_1",
    main_lens=_OFFICIAL_LENS,
    source=_official_source(intensity=20.0),
    substructure=_OFFICIAL_SUBSTRUCTURE,
    instrument=Instrument(num_pixels=150, pixel_scale_arcsec=0.05, psf_fwhm_arcsec=0.087, psf_truncation_sigma=3.0),
    detector=Detector(
        exposure_time_s=LogUniform(1e3, 10**3.5),
        background_rms_e_per_s=0.01,
        unit="electrons",
        noise="poisson_twice",
    ),
    scaling="min_max",
    distances="luminosity",
)

# Collett 2015 (arXiv:1507.02657), as the official Models II and IV took them from lenstronomy before 1.14.
_EUCLID_BEFORE_LAUNCH = Detector(
    565.0, 24.0, num_exposures=4, gain_e_per_adu=3.1, read_noise_e=4.2, sky_mag_per_arcsec2=22.35
)

# DeepLenseSim's Model II, quirks included: those of Model I, but deflections scaled by 0.63, which leaves an Einstein
# radius of 0.81 arcsec, and no noise: the released file is the noise-free image added to itself, in the counts that
# scaling="none" gives.
DEEPLENSE_MODEL_2 = LensSimulationConfig(
    name="deeplense_model_2",
    main_lens=_OFFICIAL_LENS,
    source=_official_source(magnitude=20.0),
    substructure=_OFFICIAL_SUBSTRUCTURE,
    instrument=Instrument(num_pixels=64, pixel_scale_arcsec=0.101, psf_fwhm_arcsec=0.16),
    detector=replace(_EUCLID_BEFORE_LAUNCH, noise="none", model_twice=True),
    scaling="min_max",
    distances="luminosity",
    source_redshift_convention=2.5,
    convention_omega_matter=_PYHALO_OMEGA_MATTER,
)

# DeepLenseSim's Model III: Model II through the Hubble telescope, with a point-spread function no wider than a pixel.
# Its smooth lens is the nosub file of the ML4SCI/DeepLense repository, called Model II there, to 5.5e-7 rms of
# its peak: benchmarks/official_samples.py.
DEEPLENSE_MODEL_3 = replace(
    DEEPLENSE_MODEL_2,
    name="deeplense_model_3",
    instrument=Instrument(num_pixels=64, pixel_scale_arcsec=0.08, psf_fwhm_arcsec=0.08),
    detector=replace(INSTRUMENTS["hst_wfc3_f160w"][1], noise="none", model_twice=True),
)

# DeepLenseSim's Model IV: three bands of one instrument, and galaxies as sources, which the caller supplies in
# source_images; until then a disc with a bulge and four knots stands in. The class no_sub has another main lens and no
# shear, which gives it away. Substructure is as the release describes it, point masses and a vortex; the code beside
# the release has halos of pyHalo instead.
DEEPLENSE_MODEL_4 = LensSimulationConfig(
    name="deeplense_model_4",
    main_lens=MainLens(einstein_radius_arcsec=1.5, shear_strength=0.05),
    source=Source(
        position=Square(0.3),
        effective_radius_arcsec=0.15,
        axis_ratio=Uniform(0.5, 1.0),
        position_angle_rad=Uniform(-math.pi, math.pi),
        magnitude=22.0,
        colors_mag=(0.0, -3.0, -4.0),
    ),
    source_components=(
        Source(
            position=Square(0.0),
            effective_radius_arcsec=0.03,
            sersic_index=2.0,
            magnitude=24.0,
            colors_mag=(0.0, -3.3, -4.5),
        ),
        *(
            Source(
                position=Radial(0.05, 0.25),
                effective_radius_arcsec=0.02,
                magnitude=Uniform(24.5, 26.0),
                colors_mag=(0.0, -2.6, -3.4),
            )
            for _ in range(4)
        ),
    ),
    lens_light=(
        # Ellipticities (0, 0.05) and (0, 0.3); lenstronomy's radius is the geometric mean of both axes.
        Source(
            position=Square(0.0),
            effective_radius_arcsec=0.4 / math.sqrt(0.95 / 1.05),
            sersic_index=2.3,
            axis_ratio=0.95 / 1.05,
            position_angle_rad=math.pi / 4,
            magnitude=17.0,
            colors_mag=(0.0, 1.0, 2.0),
        ),
        Source(
            position=Square(0.0),
            effective_radius_arcsec=1.5 / math.sqrt(0.7 / 1.3),
            sersic_index=1.2,
            axis_ratio=0.7 / 1.3,
            position_angle_rad=math.pi / 4,
            magnitude=28.0,
        ),
    ),
    bands=3,
    substructure=replace(
        _OFFICIAL_SUBSTRUCTURE,
        no_sub_main_lens=MainLens(velocity_dispersion_km_s=Normal(260.0, 20.0)),
    ),
    instrument=Instrument(num_pixels=64, pixel_scale_arcsec=0.101, psf_fwhm_arcsec=0.16),
    detector=_EUCLID_BEFORE_LAUNCH,
    scaling="clipped_max",
    source_redshift_convention=2.5,
    convention_omega_matter=_PYHALO_OMEGA_MATTER,
)

# The common test's set, made with PyLensing. Only images of it are public: smooth lenses fitted to five of them gave
# the radii, the shear, which is along x as the source's major axis is, the source's profile and the blur, and their
# pixels the noise. The light of the lens is on in that recipe, but in the images at most a thousandth of the source's.
# What the substructure weighs is not known: 1% of the lens is what the recipe's words say.
DEEPLENSE_COMMON = LensSimulationConfig(
    name="deeplense_common",
    main_lens=MainLens(einstein_radius_arcsec=Uniform(1.2, 1.5), shear_strength=Uniform(0.03, 0.2)),
    source=Source(
        position=Disc(0.35),
        effective_radius_arcsec=Uniform(0.5, 0.6),
        sersic_index=1.5,
        axis_ratio=Uniform(0.6, 1.0),
    ),
    lens_light=(
        Source(
            position=Square(0.0),
            effective_radius_arcsec=0.5,
            sersic_index=2.5,
            axis_ratio=Uniform(0.5, 1.0),
            intensity=0.001,
        ),
    ),
    substructure=Substructure(
        subhalos=Subhalos(count=25.0, mass_msun=Uniform(2e8, 6e8), radius_arcsec=Uniform(0.25, 2.0)),
        vortex=Vortex(
            mass_msun=1e10,
            # A length of 1 arcsec.
            axion_mass_log10_ev=-22 - math.log10(0.5 / 0.03),
            position=Disc(0.5),
            angle_rad=Uniform(0.0, 2 * math.pi),
            num_points=25,
        ),
    ),
    instrument=Instrument(num_pixels=150, pixel_scale_arcsec=0.05, psf_fwhm_arcsec=0.203, psf_truncation_sigma=4.0),
    noise=Noise(peak_counts=Uniform(600.0, 950.0), sky_counts=6.5),
    scaling="min_max",
)

# The honest default: every lens its own, substructure mass taken out of it, real noise; a linear model finds next to
# nothing in it. Substructure is detectable: once a smooth lens has been refitted (to first order), what it leaves in
# an image has a median signal to noise of 96 for cdm and 66 for axion. Points closer than half a pixel would change
# the images by 1e-3 rms, below the noise, and the brightest pixels of a few compact arcs by several hundredths.
LENS_DEFAULT = LensSimulationConfig(
    name="lens_default",
    main_lens=MainLens(
        einstein_radius_arcsec=Uniform(0.9, 1.6),
        axis_ratio=Uniform(0.6, 0.95),
        position_angle_rad=Uniform(0.0, math.pi),
        position=Gaussian2D(0.05),
        shear_strength=Uniform(0.0, 0.08),
        shear_angle_rad=Uniform(0.0, math.pi),
    ),
    source=Source(
        position=Disc(0.4),
        effective_radius_arcsec=Uniform(0.15, 0.4),
        sersic_index=Uniform(0.8, 2.0),
        axis_ratio=Uniform(0.5, 0.98),
        position_angle_rad=Uniform(0.0, math.pi),
    ),
    substructure=Substructure(
        subhalos=Subhalos(
            count=PoissonCount(10.0), mass_msun=PowerLaw(-1.9, 1e9, 10**10.5), radius_arcsec=Uniform(0.25, 2.0)
        ),
        vortex=Vortex(
            mass_msun=LogUniform(10**10.3, 10**10.8),
            axion_mass_log10_ev=Uniform(-24.0, -22.72),
            position=Disc(0.6),
            angle_rad=Uniform(0.0, math.pi),
        ),
        compensate_mass=True,
    ),
    instrument=Instrument(num_pixels=64, pixel_scale_arcsec=0.08, psf_fwhm_arcsec=0.14, oversampling=2),
    noise=Noise(peak_counts=LogUniform(10**3.5, 10**4.2), background_rms=LogUniform(10**-2.5, 10**-2.0)),
)

_SR_LENS = MainLens(
    einstein_radius_arcsec=Uniform(0.7, 1.6),
    axis_ratio=Uniform(0.55, 0.98),
    position_angle_rad=Uniform(0.0, math.pi),
    position=Square(0.08),
    shear_strength=Uniform(0.0, 0.15),
    shear_angle_rad=Uniform(0.0, math.pi),
)


def _sr_source(effective_radius_arcsec: Uniform) -> Source:
    return Source(
        position=Square(0.35),
        effective_radius_arcsec=effective_radius_arcsec,
        sersic_index=Uniform(0.8, 1.8),
        axis_ratio=Uniform(0.6, 1.0),
        position_angle_rad=Uniform(0.0, math.pi),
    )


# The official pairs: the low-resolution image is the bicubic half of the noisy high-resolution one, so it has seen a
# part of that noise, and no network can pass 42.4 dB. Calibrated on the ten official pairs: bicubic upsampling reaches
# 41.7 dB, the noise in a corner is 0.0042 of the peak, and bicubic's squared error is 0.89 of the noise variance.
SR_DEEPLENSE = LensSimulationConfig(
    name="sr_deeplense",
    main_lens=_SR_LENS,
    source=_sr_source(Uniform(0.3, 0.6)),
    # A Gaussian of standard deviation 0.1 arcsec.
    instrument=Instrument(num_pixels=150, pixel_scale_arcsec=0.05, psf_fwhm_arcsec=0.23548, psf_truncation_sigma=4.0),
    noise=Noise(peak_counts=Uniform(520.0, 950.0), sky_counts=10.0),
    scaling="min_max",
    super_resolution=SuperResolution(method="bicubic"),
)

# The honest pairs: one scene seen by two telescopes; the sharper view is the noise-free truth.
SR_PHYSICAL = LensSimulationConfig(
    name="sr_physical",
    main_lens=_SR_LENS,
    source=_sr_source(Uniform(0.1, 0.4)),
    instrument=Instrument(
        num_pixels=150, pixel_scale_arcsec=0.05, psf_fwhm_arcsec=0.14, psf_truncation_sigma=4.0, oversampling=2
    ),
    noise=Noise(peak_counts=LogUniform(1e3, 1e4), background_rms=Uniform(0.001, 0.004)),
    super_resolution=SuperResolution(method="telescope", psf_fwhm_arcsec=0.28),
)

PRESETS = {
    config.name: config
    for config in (
        DEEPLENSE_MODEL_1,
        DEEPLENSE_MODEL_2,
        DEEPLENSE_MODEL_3,
        DEEPLENSE_MODEL_4,
        DEEPLENSE_COMMON,
        LENS_DEFAULT,
        SR_DEEPLENSE,
        SR_PHYSICAL,
    )
}


def get_preset(name: str) -> LensSimulationConfig:
    """Looks a preset up.

    Raises:
        ValueError: If there is none of this name; the message has the nearest ones.
    """
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=3, cutoff=0.4) or list(PRESETS)
        raise ValueError(f"There is no simulation preset {name!r}. Did you mean {' or '.join(near)}?")
    return PRESETS[name]
