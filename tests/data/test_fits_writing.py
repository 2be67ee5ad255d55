"""Super-resolved FITS files."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS, DistortionLookupTable, Sip

from lens_transformers.data import FitsLayout
from lens_transformers.data.fits_writing import divide_pixels, write_super_resolved_fits


HEIGHT, WIDTH = 20, 24


def make_wcs(kind="cd"):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.1, 2.2]
    wcs.wcs.crpix = [11.3, 9.8]
    if kind == "cdelt":
        wcs.wcs.cdelt = [-1.4e-5, 1.4e-5]
        wcs.wcs.pc = [[0.8, -0.6], [0.6, 0.8]]
    else:
        wcs.wcs.cd = [[-1.1e-5, 8e-6], [8e-6, 1.1e-5]]
    if kind == "sip":
        wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
        a, b = np.zeros((3, 3)), np.zeros((4, 4))
        a[2, 0], a[1, 1], b[0, 2], b[1, 2] = 3e-3, -2e-3, 1e-3, 2e-4
        wcs.sip = Sip(a, b, a / 3, b / 3, wcs.wcs.crpix)
    return wcs


def write_original(path, wcs, **cards):
    header = wcs.to_header(relax=True)
    header.update(cards)
    fits.PrimaryHDU(np.zeros((HEIGHT, WIDTH), np.float32), header).writeto(path)
    return path


@pytest.mark.parametrize("kind", ["cd", "cdelt", "sip"])
@pytest.mark.parametrize("upscale", [2, 3, 4])
def test_every_place_on_the_sky_keeps_its_coordinates(tmp_path, kind, upscale):
    wcs = make_wcs(kind)
    original = write_original(tmp_path / "low.fits", wcs)
    image = np.zeros((1, HEIGHT * upscale, WIDTH * upscale), np.float32)
    written = write_super_resolved_fits(tmp_path / "high.fits", image, upscale, original)
    new = WCS(fits.getheader(written))
    # Corners of the image, and places within it, in pixels of the original whose centres are whole numbers.
    x, y = np.array([-0.5, WIDTH - 0.5, 3.0, 17.25]), np.array([-0.5, HEIGHT - 0.5, 11.0, 0.6])
    sky = wcs.all_pix2world(x, y, 0)
    # An edge of a pixel of the original is one of a pixel of the new image.
    new_sky = new.all_pix2world(upscale * (x + 0.5) - 0.5, upscale * (y + 0.5) - 0.5, 0)
    np.testing.assert_allclose(new_sky, sky, rtol=0, atol=1e-10)
    assert new.proj_plane_pixel_area().value == pytest.approx(wcs.proj_plane_pixel_area().value / upscale**2)


def test_what_stays_true_of_the_image_is_kept_and_pixels_are_not_touched(tmp_path):
    original = write_original(tmp_path / "low.fits", make_wcs(), BUNIT="nJy", OBJECT="ring", EXTRA=3, PIXSCALE=0.1)
    image = np.random.default_rng(0).normal(size=(2, 2 * HEIGHT, 2 * WIDTH)).astype(np.float32)
    with fits.open(write_super_resolved_fits(tmp_path / "high.fits", image, 2, original)) as hdus:
        header = hdus[0].header
        assert np.array_equal(hdus[0].data, image)
    assert header["BUNIT"] == "nJy" and header["OBJECT"] == "ring" and header["PIXSCALE"] == 0.05
    assert "EXTRA" not in header
    assert not list(tmp_path.glob(".*"))


def test_a_file_of_several_images_keeps_what_its_first_header_says_and_the_filter_of_each_plane(tmp_path):
    primary = fits.PrimaryHDU(header=fits.Header({"TELESCOP": "HST", "OBJECT": "ring", "FILTER": "clear"}))
    bands = [fits.ImageHDU(np.zeros((HEIGHT, WIDTH), np.float32), make_wcs().to_header(), name=name) for name in "GRI"]
    for band in bands:
        band.header["FILTER"] = band.name.lower()
    fits.HDUList([primary, *bands]).writeto(tmp_path / "low.fits")
    image = np.zeros((3, 2 * HEIGHT, 2 * WIDTH), np.float32)
    layout = FitsLayout(hdu=("G", "R", "I"))
    header = fits.getheader(write_super_resolved_fits(tmp_path / "high.fits", image, 2, tmp_path / "low.fits", layout))
    assert (header["TELESCOP"], header["OBJECT"]) == ("HST", "ring")
    assert [header[f"FILTER{plane}"] for plane in (1, 2, 3)] == ["g", "r", "i"] and "FILTER" not in header
    one = write_super_resolved_fits(tmp_path / "r.fits", image[:1], 2, tmp_path / "low.fits", FitsLayout(hdu="R"))
    assert fits.getheader(one)["FILTER"] == "r" and fits.getheader(one)["TELESCOP"] == "HST"


def test_the_header_says_by_what_sums_over_pixels_grew(tmp_path):
    low = np.random.default_rng(0).random((1, 5, 6)).astype(np.float32)
    high = low.repeat(3, axis=1).repeat(3, axis=2)
    with fits.open(write_super_resolved_fits(tmp_path / "high.fits", high, 3)) as hdus:
        assert hdus[0].data.sum() / hdus[0].header["SRFACTOR"] ** 2 == pytest.approx(low.sum())
        assert "divide a sum over them by 9" in " ".join(hdus[0].header["COMMENT"])


def test_without_an_original_there_are_pixels_and_no_coordinates(tmp_path):
    written = write_super_resolved_fits(tmp_path / "high.fits", np.ones((1, 8, 8)), 2)
    assert fits.getdata(written).shape == (8, 8)
    assert not WCS(fits.getheader(written)).has_celestial


def test_an_original_that_is_no_fits_file_is_named(tmp_path):
    (tmp_path / "low.fits").write_text("nothing of the sort")
    with pytest.raises(ValueError, match=r"low\.fits"):
        write_super_resolved_fits(tmp_path / "high.fits", np.ones((1, 8, 8)), 2, tmp_path / "low.fits")
    assert not (tmp_path / "high.fits").exists()


def test_coordinates_that_tables_distort_are_refused():
    wcs = make_wcs()
    wcs.cpdis1 = DistortionLookupTable(np.zeros((2, 2), np.float32), (1, 1), (1, 1), (WIDTH, HEIGHT))
    with pytest.raises(ValueError, match="distorted by tables"):
        divide_pixels(wcs, 2)
