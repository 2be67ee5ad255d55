"""The named configurations."""

import difflib
import math

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
from .distributions import Disc, Gaussian2D, LogUniform, PoissonCount, PowerLaw, Square, Uniform


__all__ = ["PRESETS", "get_preset"]

# The official recipes give ellipticities as components: (0.1, 0) for the lens and (-0.1, 0.1) for the source.
_LENS_ELLIPTICITY = 0.1
_SOURCE_ELLIPTICITY = math.hypot(-0.1, 0.1)
_SOURCE_AXIS_RATIO = (1 - _SOURCE_ELLIPTICITY) / (1 + _SOURCE_ELLIPTICITY)

# DeepLenseSim's Model II as released, quirks included: one main lens in every image, so that the total mass gives the
# class away; luminosity distances; deflections scaled by 0.63, which leaves an Einstein radius of 0.81 arcsec; a mass
# function far shallower than documented; a vortex of beads; no noise (the released file is the noise-free image twice,
# in counts, which its scaling to [0, 1] removes).
DEEPLENSE_MODEL_2 = LensSimulationConfig(
    name="deeplense_model_2",
    main_lens=MainLens(
        mass_msun=1e12,
        axis_ratio=(1 - _LENS_ELLIPTICITY) / (1 + _LENS_ELLIPTICITY),
        shear_strength=0.05,
    ),
    source=Source(
        position=Square(0.35),
        # lenstronomy's radius is the geometric mean of both axes.
        effective_radius_arcsec=0.25 / math.sqrt(_SOURCE_AXIS_RATIO),
        axis_ratio=_SOURCE_AXIS_RATIO,
        position_angle_rad=0.5 * math.atan2(0.1, -0.1),
    ),
    substructure=Substructure(
        subhalos=Subhalos(count=25.0, mass_msun=PowerLaw(-0.9, 1e6, 1e10), radius_arcsec=Uniform(0.25, 2.0)),
        vortex=Vortex(
            mass_msun=3e10,
            axion_mass_log10_ev=Uniform(-24.0, -22.0),
            position=Square(0.0),
            angle_rad=Uniform(0.0, 2 * math.pi),
            num_points=100,
        ),
    ),
    instrument=Instrument(num_pixels=64, pixel_scale_arcsec=0.101, psf_fwhm_arcsec=0.16),
    scaling="min_max",
    distances="luminosity",
    source_redshift_convention=2.5,
)

# The honest default: every lens its own, substructure mass taken out of it, real noise; a linear model finds next to
# nothing in it. Substructure is detectable: once a smooth lens has been refitted (to first order), what it leaves in
# an image has a median signal to noise of 96 for cdm and 66 for axion. Points closer than half a pixel would change
# the images by 1e-3 rms, below the noise.
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
# part of that noise, and no network can pass 42.4 dB. Calibrated on the official pairs: bicubic upsampling reaches
# 41.7 dB, and its squared error is 0.89 of the noise variance.
SR_DEEPLENSE = LensSimulationConfig(
    name="sr_deeplense",
    main_lens=_SR_LENS,
    source=_sr_source(Uniform(0.3, 0.6)),
    # A Gaussian of standard deviation 0.1 arcsec.
    instrument=Instrument(num_pixels=150, pixel_scale_arcsec=0.05, psf_fwhm_arcsec=0.23548, psf_truncation_sigma=4.0),
    noise=Noise(peak_counts=Uniform(450.0, 950.0), sky_counts=10.0),
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

PRESETS = {config.name: config for config in (DEEPLENSE_MODEL_2, LENS_DEFAULT, SR_DEEPLENSE, SR_PHYSICAL)}


def get_preset(name: str) -> LensSimulationConfig:
    """Looks a preset up.

    Raises:
        ValueError: If there is none of this name; the message has the nearest ones.
    """
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=3, cutoff=0.4) or list(PRESETS)
        raise ValueError(f"There is no simulation preset {name!r}. Did you mean {' or '.join(near)}?")
    return PRESETS[name]
