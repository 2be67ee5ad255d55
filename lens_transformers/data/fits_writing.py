"""Super-resolved images as FITS files, whose coordinates name the same places on the sky as before."""

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, Sip

from .fits import FitsLayout, find_image, opened_fits, wcs_of
from .report import named
from .writing import written_whole


__all__ = ["divide_pixels", "write_super_resolved_fits"]

# What a header says of an image that is as true of the sharper one.
_KEPT_KEYWORDS = ("OBJECT", "TELESCOP", "INSTRUME", "FILTER", "DATE-OBS", "EXPTIME", "BUNIT")


def write_super_resolved_fits(
    path: str | Path,
    image: np.ndarray,
    upscale: int,
    original: str | Path | None = None,
    layout: FitsLayout | None = None,
) -> Path:
    """Writes a super-resolved image, with the coordinates of the FITS file that it was made of.

    Pixels are as bright as those of the original, of which each became several: a sum over them is `upscale` squared
    times the original's. The header says so, and has `upscale` as `SRFACTOR`.

    Args:
        path: The file to write; one that is there is replaced.
        image: `(bands, height * upscale, width * upscale)`, as surface brightness in the unit of the original.
        upscale: Number of pixels, along each axis, that each pixel of the original became.
        original: The FITS file that held the image of low resolution, as a whole; without it there are no coordinates.
        layout: How that file holds its image.

    Returns:
        The path.

    Raises:
        ValueError: If the original is damaged, or its coordinates are given by tables.
    """
    path = Path(path)
    header = fits.Header()
    if original is not None:
        try:
            header = _header(str(original), layout or FitsLayout(), upscale)
        except ValueError as error:
            raise ValueError(f"{named(original)}: {error}") from error
    header["SRFACTOR"] = (upscale, "pixels along each axis for one of the original")
    header["COMMENT"] = f"Pixels are as bright as the original's, {upscale**2} to each of them: divide a"
    header["COMMENT"] = f"sum over them by {upscale**2} to compare it with one over the original's."
    pixels = np.asarray(image, dtype=np.float32)
    with written_whole(path) as temporary:
        fits.PrimaryHDU(pixels[0] if len(pixels) == 1 else pixels, header).writeto(temporary, overwrite=True)
    return path


def _header(original: str, layout: FitsLayout, upscale: int) -> fits.Header:
    with opened_fits(original) as hdus:
        bands = layout.hdu if isinstance(layout.hdu, tuple) else (layout.hdu,)
        headers = [find_image(hdus, hdu).header for hdu in bands]
        old = headers[0]
        wcs = wcs_of(old, hdus)
        # Files of several images say in the first header what is true of all of them.
        known = [{**_kept(hdus[0].header), **_kept(header)} for header in headers]
    header = fits.Header() if wcs is None else divide_pixels(wcs, upscale).to_header(relax=True)
    for keyword, value in known[0].items():
        values = [of_band.get(keyword) for of_band in known]
        if all(other == value for other in values):
            header[keyword] = value
        else:  # of each plane its own: FILTER1, FILTER2, ...
            for plane, other in enumerate(values, start=1):
                header[f"{keyword[:7]}{plane}"] = other
    if isinstance(old.get("PIXSCALE"), int | float):
        header["PIXSCALE"] = old["PIXSCALE"] / upscale
    return header


def _kept(header: fits.Header) -> dict[str, str | float]:
    return {keyword: header[keyword] for keyword in _KEPT_KEYWORDS if keyword in header}


def divide_pixels(wcs: WCS, upscale: int) -> WCS:
    """Gives the coordinates of an image each of whose pixels was divided into `upscale` × `upscale`.

    Raises:
        ValueError: If distortions are given by tables rather than by SIP polynomials.
    """
    if any(table is not None for table in (wcs.cpdis1, wcs.cpdis2, wcs.det2im1, wcs.det2im2)):
        raise ValueError("its coordinates are distorted by tables, which cannot be divided; SIP polynomials can.")
    divided = wcs.deepcopy()
    # FITS counts the first pixel as 1 and means its centre: an image begins at 0.5.
    crpix = upscale * (wcs.wcs.crpix - 0.5) + 0.5
    divided.wcs.crpix = crpix
    if wcs.wcs.has_cd():
        divided.wcs.cd = wcs.wcs.cd / upscale
    else:
        divided.wcs.cdelt = wcs.wcs.cdelt / upscale
    if wcs.sip is not None:
        polynomials = (wcs.sip.a, wcs.sip.b, wcs.sip.ap, wcs.sip.bp)
        divided.sip = Sip(*(_rescaled(polynomial, upscale) for polynomial in polynomials), crpix)
    return divided


def _rescaled(polynomial: np.ndarray | None, upscale: int) -> np.ndarray | None:
    """A polynomial from pixels to pixels, both of which became smaller (Shupe et al. 2005)."""
    if polynomial is None:
        return None
    p, q = np.indices(polynomial.shape)
    return polynomial * float(upscale) ** (1 - p - q)
