"""Telescopes: pixels, point-spread function and detector, and the instruments known by name.

The numbers are pinned here, so that a new release of another library changes no image: lenstronomy 1.14, for one,
moved its zero point of Euclid VIS from 24.0 to 25.72, which is 4.9 times the counts.
"""

import difflib
from dataclasses import dataclass
from typing import Literal

from .checks import NOT_NEGATIVE, POSITIVE, check_choice, check_supports, check_whole
from .distributions import Distribution


__all__ = ["INSTRUMENTS", "Detector", "Instrument", "get_instrument"]


@dataclass(frozen=True)
class Instrument:
    """Pixels and point-spread function.

    Attributes:
        num_pixels: Height and width of the image.
        pixel_scale_arcsec: Width of a pixel.
        psf_fwhm_arcsec: Full width at half maximum of the point-spread function; 0 for none.
        psf_truncation_sigma: Where it is cut, in units of the standard deviation of a Gaussian of that width.
        oversampling: Rendered points across a pixel. With 1, the brightness at its centre stands for the pixel.
        psf_moffat_beta: `None` for a Gaussian, or the exponent of a Moffat profile (1 + (r/a)^2)^-beta.
        psf_fits: Path of a FITS file whose first image is the point-spread function, in pixels of the instrument;
            it takes the place of the Gaussian.
    """

    num_pixels: int
    pixel_scale_arcsec: float
    psf_fwhm_arcsec: float = 0.0
    psf_truncation_sigma: float = 5.0
    oversampling: int = 1
    psf_moffat_beta: float | None = None
    psf_fits: str | None = None

    def __post_init__(self):
        check_whole("instrument", self, num_pixels=2, oversampling=1)
        check_supports(
            "instrument",
            self,
            num_pixels=(2, 4096),
            pixel_scale_arcsec=POSITIVE,
            psf_fwhm_arcsec=(0.0, self.num_pixels * self.pixel_scale_arcsec),
            psf_truncation_sigma=(1.0, 20.0),
            oversampling=(1, 32),
            psf_moffat_beta=(1.01, 100.0),
        )
        if self.psf_fits is not None and (self.psf_fwhm_arcsec or self.psf_moffat_beta is not None):
            raise ValueError("instrument.psf_fits needs psf_fwhm_arcsec 0 and no psf_moffat_beta: it replaces both.")
        if self.psf_moffat_beta is not None and not self.psf_fwhm_arcsec:
            raise ValueError("instrument.psf_moffat_beta needs a psf_fwhm_arcsec above 0.")


@dataclass(frozen=True)
class Detector:
    """Fluxes in physical units: Poisson noise of source and sky, read noise, then the sky's mean subtracted.

    Attributes:
        exposure_time_s: Duration of one exposure.
        zero_point_mag: Magnitude of one electron per second.
        num_exposures: Exposures added up; each is read out once.
        gain_e_per_adu: Electrons per unit of `"adu"`.
        read_noise_e: Standard deviation of one readout in electrons.
        sky_mag_per_arcsec2: Brightness of the sky, or `None`.
        sky_e_per_s: Electrons per second and pixel of the sky and the dark current, beside `sky_mag_per_arcsec2`.
        background_rms_e_per_s: Standard deviation of further Gaussian noise, of the whole exposure's mean.
        unit: Of the image: `"electrons_per_s"`, `"electrons"` of all exposures, or `"adu"` of all exposures.
        noise: `"real"`; `"none"`, a quirk of the official Models II and III, which no noise reaches; or
            `"poisson_twice"`, a quirk of Model I: the noisy image, clipped at 0, is the mean of a second Poisson draw.
        model_twice: A quirk of the official Models II and III: the noise-free image is added to itself.
    """

    exposure_time_s: Distribution
    zero_point_mag: float = 25.0
    num_exposures: int = 1
    gain_e_per_adu: float = 1.0
    read_noise_e: float = 0.0
    sky_mag_per_arcsec2: float | None = None
    sky_e_per_s: float = 0.0
    background_rms_e_per_s: float = 0.0
    unit: Literal["electrons_per_s", "electrons", "adu"] = "electrons_per_s"
    noise: Literal["real", "none", "poisson_twice"] = "real"
    model_twice: bool = False

    def __post_init__(self):
        check_whole("detector", self, num_exposures=1)
        check_supports(
            "detector",
            self,
            exposure_time_s=POSITIVE,
            zero_point_mag=(-10.0, 60.0),
            num_exposures=(1, 10**6),
            gain_e_per_adu=POSITIVE,
            read_noise_e=NOT_NEGATIVE,
            sky_mag_per_arcsec2=(-10.0, 60.0),
            sky_e_per_s=NOT_NEGATIVE,
            background_rms_e_per_s=NOT_NEGATIVE,
        )
        check_choice("detector.unit", self.unit, ("electrons_per_s", "electrons", "adu"))
        check_choice("detector.noise", self.noise, ("real", "none", "poisson_twice"))

    def sky_rate(self, pixel_scale_arcsec: float) -> float:
        """Electrons per second of the sky in a pixel."""
        if self.sky_mag_per_arcsec2 is None:
            return self.sky_e_per_s
        sky = 10 ** (-0.4 * (self.sky_mag_per_arcsec2 - self.zero_point_mag))
        return self.sky_e_per_s + sky * pixel_scale_arcsec**2


INSTRUMENTS = {
    # lenstronomy 1.14.2, Euclid(band="VIS"), which has the numbers since launch: zero point and sky of Mellier et al.
    # 2024 (arXiv:2405.13496), instrument of Cropper et al. 2024 (arXiv:2405.13492). The depth that they give is
    # that of flight data, 25.6 mag at ten sigma within 1.3 arcsec, and so is the width (Euclid Q1, arXiv:2503.15303).
    "euclid_vis": (
        Instrument(num_pixels=64, pixel_scale_arcsec=0.101, psf_fwhm_arcsec=0.16, oversampling=2),
        Detector(566.0, 25.72, num_exposures=4, gain_e_per_adu=3.1, read_noise_e=4.2, sky_mag_per_arcsec2=22.3),
    ),
    # lenstronomy 1.14.2, HST(band="WFC3_F160W"): drizzled pixels, two orbits; Windhorst et al. 2011 (arXiv:1005.2776).
    # Its width of 0.08 is that of a pixel; this one is the WFC3 Instrument Handbook's, section 7.6.1, table 7.5.
    "hst_wfc3_f160w": (
        Instrument(num_pixels=64, pixel_scale_arcsec=0.08, psf_fwhm_arcsec=0.15, oversampling=2),
        Detector(5400.0, 25.96, gain_e_per_adu=2.5, read_noise_e=4.0, sky_mag_per_arcsec2=22.3),
    ),
    # The SLACS programme, Bolton et al. 2008 (arXiv:0805.1931), one orbit in four exposures; zero point of Sirianni et
    # al. 2005 (astro-ph/0507614); readout, gain and average sky of the ACS Instrument Handbook.
    "hst_acs_f814w": (
        Instrument(num_pixels=128, pixel_scale_arcsec=0.05, psf_fwhm_arcsec=0.1, oversampling=2),
        Detector(525.0, 25.94, num_exposures=4, gain_e_per_adu=2.0, read_noise_e=4.2, sky_mag_per_arcsec2=21.9),
    ),
    # lenstronomy 1.14.2, LSST(band="i", coadd_years=10): ten years of the i band; a Moffat profile for the seeing.
    "rubin_i": (
        Instrument(num_pixels=48, pixel_scale_arcsec=0.2, psf_fwhm_arcsec=0.71, psf_moffat_beta=4.765, oversampling=2),
        Detector(15.0, 27.79, num_exposures=460, gain_e_per_adu=2.3, read_noise_e=10.0, sky_mag_per_arcsec2=20.48),
    ),
    # lenstronomy 1.14.2, JWST(band="F200W"): one hour. The width is the wavelength over the mirror's diameter, as in
    # STScI's "NIRCam Point Spread Functions"; the zero point is of its NRC_ZPs_0995pmap. lenstronomy's sky, 29.52, can
    # only be that of a pixel: per arcsec^2 it is 21.98.
    "jwst_nircam_f200w": (
        Instrument(num_pixels=160, pixel_scale_arcsec=0.031, psf_fwhm_arcsec=0.066, oversampling=2),
        Detector(3600.0, 28.0, gain_e_per_adu=2.05, read_noise_e=15.77, sky_mag_per_arcsec2=21.98),
    ),
}


def get_instrument(name: str) -> tuple[Instrument, Detector]:
    """Looks an instrument up.

    Raises:
        ValueError: If there is none of this name; the message has the nearest ones.
    """
    if name not in INSTRUMENTS:
        near = difflib.get_close_matches(name, INSTRUMENTS, n=3, cutoff=0.4) or list(INSTRUMENTS)
        raise ValueError(f"There is no instrument {name!r}. Did you mean {' or '.join(near)}?")
    return INSTRUMENTS[name]
