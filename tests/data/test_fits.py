import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from lens_transformers.data import FitsLayout, LoadReport, load_lensing_dataset


SCALE_ARCSEC = 0.1


def _image(seed=0, shape=(8, 9), dtype=np.float32):
    return np.random.default_rng(seed).random(shape).astype(dtype)


def _wcs(shape=(8, 9), ra=150.0, dec=2.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    wcs.wcs.cdelt = [-SCALE_ARCSEC / 3600, SCALE_ARCSEC / 3600]
    return wcs


def _write(path, array, header=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.PrimaryHDU(array, header).writeto(path)
    return path


def _load(source, layout=None, **options):
    return load_lensing_dataset(source, task="pretraining", layout=layout, **options)


@pytest.mark.parametrize("dtype", [">f4", ">f8", "<f8", ">i2", "u1", ">u2", ">i4"])
def test_every_dtype_becomes_float32_in_native_order(dtype, tmp_path):
    array = (100 * _image()).astype(dtype)
    image = _load(_write(tmp_path / "a.fits", array))[0]["image"]
    assert image.dtype == np.float32 and image.dtype.isnative
    np.testing.assert_array_equal(image, array[None].astype(np.float32))


def test_integers_with_bscale_and_bzero_are_fluxes_and_blank_is_missing(tmp_path):
    hdu = fits.PrimaryHDU(np.arange(72, dtype=np.int16).reshape(8, 9))
    hdu.header["BSCALE"], hdu.header["BZERO"], hdu.header["BLANK"] = 0.5, 10.0, 71
    hdu.writeto(tmp_path / "a.fits")
    with pytest.raises(ValueError, match=r"a\.fits: 1 pixels are NaN or infinite"):
        _load(tmp_path / "a.fits")
    report = LoadReport()
    image = _load(tmp_path / "a.fits", nan_fill=-1.0, report=report)[0]["image"]
    expected = 10 + 0.5 * np.arange(72)
    expected[71] = -1
    np.testing.assert_array_equal(image.ravel(), expected.astype(np.float32))
    assert [finding.reason for finding in report.repaired] == ["1 NaN or infinite pixels of image are now -1."]


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz", ".fit"])
def test_tile_compressed_and_zipped_files_are_read(suffix, tmp_path):
    array = np.arange(10000, dtype=np.int32).reshape(100, 100)
    path = tmp_path / f"a{suffix}"
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(array, compression_type="RICE_1")]).writeto(path)
    np.testing.assert_array_equal(_load(path)[0]["image"][0], array)


def test_a_cube_is_bands_and_axes_of_length_one_before_it_are_dropped(tmp_path):
    cube = _image(shape=(3, 8, 9))
    np.testing.assert_array_equal(_load(_write(tmp_path / "a.fits", cube))[0]["image"], cube)
    np.testing.assert_array_equal(_load(_write(tmp_path / "b.fits", cube[None]))[0]["image"], cube)
    with pytest.raises(ValueError, match=r"c\.fits: its image has shape \(2, 3, 8, 9\), which is not \(bands"):
        _load(_write(tmp_path / "c.fits", np.stack([cube, cube])))


def _multi_extension(path):
    planes = {name: _image(seed) for seed, name in enumerate(["VIS", "NIR", "ERR"])}
    hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(plane, name=name) for name, plane in planes.items())]
    hdus.append(fits.ImageHDU(_image(9, (5, 5)), name="PSF"))
    fits.HDUList(hdus).writeto(path)
    return planes


def test_extensions_are_chosen_and_stacked_by_name(tmp_path):
    planes = _multi_extension(tmp_path / "a.fits")
    np.testing.assert_array_equal(_load(tmp_path / "a.fits")[0]["image"][0], planes["VIS"])
    np.testing.assert_array_equal(_load(tmp_path / "a.fits", FitsLayout(hdu=2))[0]["image"][0], planes["NIR"])
    row = _load(tmp_path / "a.fits", FitsLayout(hdu=("NIR", "VIS"), noise_hdu="ERR", psf_hdu="PSF"))[0]
    np.testing.assert_array_equal(row["image"], np.stack([planes["NIR"], planes["VIS"]]))
    np.testing.assert_array_equal(row["noise_map"], planes["ERR"][None])
    np.testing.assert_array_equal(row["psf"], _image(9, (1, 5, 5)))
    with pytest.raises(ValueError, match=r"it has no HDU 'SCI'; it has 0 PRIMARY, 1 VIS, 2 NIR, 3 ERR, 4 PSF"):
        _load(tmp_path / "a.fits", FitsLayout(hdu="SCI"))


def _bands(folder, bands=("vis", "nir_y"), seed=0, name=""):
    for index, band in enumerate(bands):
        _write(folder / f"{name}{band}_data.fits", _image(seed + index))
        _write(folder / f"{name}{band}_noise_map.fits", 1 + _image(seed + index))
        _write(folder / f"{name}{band}_psf.fits", _image(seed + index, (3 + 2 * index, 3 + 2 * index)))


def test_one_file_a_band_is_stacked_in_the_stated_order_with_noise_and_psf(tmp_path):
    _bands(tmp_path)
    row = _load(tmp_path, FitsLayout(bands=("nir_y", "vis")))[0]
    np.testing.assert_array_equal(row["image"], np.stack([_image(1), _image(0)]))
    np.testing.assert_array_equal(row["noise_map"], 1 + row["image"])
    # The smaller PSF keeps its centre.
    np.testing.assert_array_equal(row["psf"][0], _image(1, (5, 5)))
    np.testing.assert_array_equal(row["psf"][1], np.pad(_image(0, (3, 3)), 1))
    assert list(_load(tmp_path, FitsLayout(bands=("vis", "nir_y"), companions=False)).features) == [
        "image",
        "pixel_scale_arcsec",
        "flux_unit",
    ]


def test_lenses_in_folders_of_their_own_or_by_name_in_one(tmp_path):
    for index, lens in enumerate(["one", "two"]):
        _bands(tmp_path / "folders" / lens, seed=10 * index)
        _bands(tmp_path / "names", seed=10 * index, name=f"{lens}_")
    layout = FitsLayout(bands=("vis", "nir_y"))
    for folder in ("folders", "names"):
        images = _load(tmp_path / folder, layout)["image"][:]
        np.testing.assert_array_equal(images, [[_image(0), _image(1)], [_image(10), _image(11)]])


def test_a_missing_band_is_named(tmp_path):
    _bands(tmp_path)
    with pytest.raises(ValueError, match=r"it has no file of band 'nir_j'; it has nir_y, vis"):
        _load(tmp_path, FitsLayout(bands=("vis", "nir_y", "nir_j")))


def test_a_noise_map_of_no_image_is_refused(tmp_path):
    _write(tmp_path / "a.fits", _image())
    _write(tmp_path / "b_noise.fits", _image())
    with pytest.raises(ValueError, match=r"b_noise\.fits: it looks like a noise map or a PSF, but has no image"):
        _load(tmp_path)


def test_psfs_of_several_sizes_are_refused_by_name_or_padded_to_the_size_that_is_asked_for(tmp_path):
    for name, size in (("a", 3), ("b", 5)):
        _write(tmp_path / f"{name}.fits", _image(size))
        _write(tmp_path / f"{name}_psf.fits", _image(size, (size, size)))
    with pytest.raises(
        ValueError, match=r"b\.fits: .*\(1, 5, 5\).* of psf differs from \(1, 3, 3\).*FitsLayout\(psf_size"
    ):
        _load(tmp_path)
    psfs = _load(tmp_path, FitsLayout(psf_size=7))["psf"][:]
    np.testing.assert_array_equal(psfs, [[np.pad(_image(3, (3, 3)), 2)], [np.pad(_image(5, (5, 5)), 1)]])
    assert "psf" not in _load(tmp_path, FitsLayout(companions=False)).features
    with pytest.raises(ValueError, match=r"b\.fits: its PSF of 5 x 5 pixels is larger than psf_size=3"):
        _load(tmp_path, FitsLayout(psf_size=3))
    with pytest.raises(ValueError, match=r"a\.fits: its PSF of 3 x 3 pixels has no common centre with 8 x 8"):
        _load(tmp_path, FitsLayout(psf_size=8))
    with pytest.raises(ValueError, match="psf_size must be a whole number of pixels, at least 1, got 0"):
        FitsLayout(psf_size=0)


def test_one_psf_serves_all_images_beside_it(tmp_path):
    for index, name in enumerate("ab"):
        _write(tmp_path / f"{name}.fits", _image(index))
    _write(tmp_path / "psf.fits", _image(5, (3, 3)))
    assert _load(tmp_path)["psf"][:].tolist() == 2 * [_image(5, (1, 3, 3)).tolist()]


def test_classes_and_splits_are_folders(tmp_path):
    for split in ("train", "val"):
        for index, name in enumerate(("no", "sphere", "vort")):
            _write(tmp_path / split / name / "0.fits", _image(index))
    assert load_lensing_dataset(tmp_path, "validation")["label"][:].tolist() == [0, 1, 2]


def test_the_pixel_scale_comes_from_the_wcs_then_from_pixscale(tmp_path):
    header = _wcs().to_header()
    header["BUNIT"] = "nJy"
    row = _load(_write(tmp_path / "a.fits", _image(), header))[0]
    assert row["pixel_scale_arcsec"] == pytest.approx(SCALE_ARCSEC) and row["flux_unit"] == "nJy"
    assert _load(_write(tmp_path / "b.fits", _image(), fits.Header([("PIXSCALE", 0.05)])))[0][
        "pixel_scale_arcsec"
    ] == pytest.approx(0.05)
    assert np.isnan(_load(_write(tmp_path / "c.fits", _image()))[0]["pixel_scale_arcsec"])


def test_bands_of_other_pixel_scales_are_refused(tmp_path):
    for band, scale in (("g", 0.1), ("r", 0.2)):
        _write(tmp_path / f"{band}.fits", _image(), fits.Header([("PIXSCALE", scale)]))
    with pytest.raises(ValueError, match=r"its bands have pixels of 0\.1 to 0\.2 arcsec; resample them"):
        _load(tmp_path, FitsLayout(bands=("g", "r")))


@pytest.mark.parametrize("order", [("G", "R", "I"), ("R", "I", "G"), ("R", "G", "I")])
def test_a_band_without_coordinates_hides_no_other_pixel_scale(order, tmp_path):
    scales = {"G": None, "R": 0.1, "I": 0.3}
    headers = {band: fits.Header([("PIXSCALE", scale)] if scale else []) for band, scale in scales.items()}
    hdus = [fits.ImageHDU(_image(), header, name=band) for band, header in headers.items()]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "a.fits")
    with pytest.raises(ValueError, match=r"its bands have pixels of 0\.1 to 0\.3 arcsec; resample them"):
        _load(tmp_path / "a.fits", FitsLayout(hdu=order))
    known = _load(tmp_path / "a.fits", FitsLayout(hdu=("G", "R")))[0]["pixel_scale_arcsec"]
    assert known == pytest.approx(0.1)


def test_bands_in_one_file_are_cut_by_their_own_coordinates_and_share_a_pixel_scale(tmp_path):
    hdus = [fits.PrimaryHDU()]
    for name, (x, y) in (("VIS", (20, 20)), ("Y", (12, 25))):
        wcs, image = _wcs((40, 40)), np.zeros((40, 40), np.float32)
        wcs.wcs.crpix = [x + 1, y + 1]
        image[y, x] = 1
        hdus += [fits.ImageHDU(image, wcs.to_header(), name=name), fits.ImageHDU(image + 1, name=f"{name}_RMS")]
    fits.HDUList(hdus).writeto(tmp_path / "star.fits")
    catalogue = _catalogue(tmp_path, "path,ra,dec\nstar.fits,150.0,2.0\n")
    layout = FitsLayout(hdu=("VIS", "Y"), noise_hdu=("VIS_RMS", "Y_RMS"), cutout=5)
    row = _load(catalogue, layout)[0]
    assert [np.argwhere(band).tolist() for band in row["image"]] == [[[2, 2]], [[2, 2]]]
    np.testing.assert_array_equal(row["noise_map"], row["image"] + 1)
    hdus[3].header["CDELT1"], hdus[3].header["CDELT2"] = -3 * SCALE_ARCSEC / 3600, 3 * SCALE_ARCSEC / 3600
    fits.HDUList(hdus).writeto(tmp_path / "star.fits", overwrite=True)
    with pytest.raises(ValueError, match=r"its bands have pixels of 0\.1 to 0\.3 arcsec; resample them"):
        _load(tmp_path / "star.fits", FitsLayout(hdu=("VIS", "Y")))


def test_a_noise_map_that_the_first_image_lacks_is_not_dropped_silently(tmp_path):
    for name in ("a", "b", "b_rms"):
        _write(tmp_path / f"{name}.fits", _image())
    with pytest.raises(ValueError, match=r"b\.fits: it has a noise_map, which .*a\.fits has not .*companions=False"):
        _load(tmp_path)
    assert "noise_map" not in _load(tmp_path, FitsLayout(companions=False)).features


@pytest.mark.parametrize("cut", [0, 100, 2000, 3000])
def test_a_truncated_file_is_refused_by_name(cut, tmp_path):
    path = _write(tmp_path / "cut.fits", _image(shape=(30, 30)))
    path.write_bytes(path.read_bytes()[:cut])
    message = "the file is empty" if cut == 0 else "named as FITS but damaged or no FITS file"
    with pytest.raises(ValueError, match=rf"cut\.fits: {message}"):
        _load(path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (None, "none of its HDUs holds an image"),
        (np.zeros(5, np.float32), "none of its HDUs holds an image"),
        (np.zeros((9, 8, 8), np.float32), "bands come first"),
    ],
)
def test_what_is_no_image_is_refused_by_name(array, message, tmp_path):
    with pytest.raises(ValueError, match=rf"a\.fits: .*{message}"):
        _load(_write(tmp_path / "a.fits", array))


def _sky():
    """An image whose pixels are 100 y + x."""
    return (100 * np.arange(40)[:, None] + np.arange(50)).astype(np.float32)


def _catalogue(folder, text, name="lenses.csv"):
    (folder / name).write_text(text)
    return folder / name


def test_cutouts_at_pixel_positions_are_padded_at_the_border_and_reported(tmp_path):
    _write(tmp_path / "sky.fits", _sky())
    catalogue = _catalogue(tmp_path, "path,x,y\nsky.fits,20,10\nsky.fits,1,39\n")
    report = LoadReport()
    images = _load(catalogue, FitsLayout(cutout=5, fill=-7), report=report)["image"][:][:, 0]
    np.testing.assert_array_equal(images[0], _sky()[8:13, 18:23])
    expected = np.full((5, 5), -7.0)
    expected[:3, 1:] = _sky()[37:, :4]
    np.testing.assert_array_equal(images[1], expected)
    (finding,) = report.repaired
    assert finding.where == f"{catalogue}, row 1 ({tmp_path / 'sky.fits'})"
    assert finding.reason == "13 of 25 pixels lie outside of the image and are -7."


def test_cutouts_at_sky_positions_go_through_the_wcs(tmp_path):
    wcs = _wcs((40, 50))
    for name, array in (("sky.fits", _sky()), ("noise.fits", _sky() + 1)):
        _write(tmp_path / name, array, wcs.to_header())
    position = wcs.pixel_to_world(30, 12)
    catalogue = _catalogue(
        tmp_path, f"path,noise_map,RA,Dec\nsky.fits,noise.fits,{float(position.ra.deg)},{float(position.dec.deg)}\n"
    )
    row = _load(catalogue, FitsLayout(cutout=4))[0]
    np.testing.assert_array_equal(row["image"][0], _sky()[10:14, 28:32])
    np.testing.assert_array_equal(row["noise_map"], row["image"] + 1)
    assert row["pixel_scale_arcsec"] == pytest.approx(SCALE_ARCSEC)


def test_cutouts_of_cubes_compressed_and_scaled_images(tmp_path):
    cube = np.stack([_sky(), -_sky()])
    _write(tmp_path / "cube.fits", cube)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(_sky().astype(np.int32))]).writeto(tmp_path / "packed.fits")
    hdu = fits.PrimaryHDU(_sky().astype(np.int16))
    hdu.header["BSCALE"] = 0.5
    hdu.writeto(tmp_path / "scaled.fits")
    expected = _sky()[8:12, 18:22]
    for name, result in (("cube", [expected, -expected]), ("packed", [expected]), ("scaled", [expected / 2])):
        catalogue = _catalogue(tmp_path, f"path,x,y\n{name}.fits,20,10\n", f"{name}.csv")
        np.testing.assert_array_equal(_load(catalogue, FitsLayout(cutout=4))[0]["image"], result)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("path,x,y\nsky.fits,500,10\n", r"the position x=500\.0, y=10\.0 lies outside of the image"),
        ("path,ra,dec\nsky.fits,150,2\n", "no celestial WCS, so that ra and dec name no pixel; give x and y"),
        ("path,x,y\nsky.fits,,10\n", "x and y must be numbers in every row"),
        ("path,x,y\ngone.fits,5,10\n", r"row 0 .*gone\.fits.*cannot be read: No such file"),
        ("where,x,y\nsky.fits,5,10\n", "has no column path; it has where, x, y"),
        ("path,x,y\n", "has no rows"),
    ],
)
def test_a_bad_catalogue_says_what_is_wrong(columns, message, tmp_path):
    _write(tmp_path / "sky.fits", _sky())
    with pytest.raises(ValueError, match=message) as error:
        _load(_catalogue(tmp_path, columns), FitsLayout(cutout=4))
    assert "lenses.csv" in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cutout": 0}, "cutout must be a whole number of pixels, at least 2, got 0"),
        ({"cutout": 8.0}, "cutout must be a whole number of pixels, at least 2, got 8.0"),
        ({"psf_size": "7"}, "psf_size must be a whole number of pixels, at least 1, got '7'"),
        ({"hdu": 1.0}, "hdu must be the number or name of an HDU, or a tuple of one a band, got 1.0"),
        ({"hdu": ()}, "hdu must be the number or name of an HDU"),
        ({"noise_hdu": True}, "noise_hdu must be the number or name of an HDU"),
        ({"psf_hdu": ("PSF", None)}, "psf_hdu must be the number or name of an HDU"),
        ({"bands": "g"}, "bands must be a tuple of words, one a band, got 'g'"),
        ({"bands": (1, 2)}, "bands must be a tuple of words"),
        ({"companions": "no"}, "companions must be True or False"),
        ({"fill": None}, "fill must be a flux, got None"),
    ],
)
def test_a_layout_that_cannot_be_used_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        FitsLayout(**settings)


def test_lists_of_hdus_and_bands_are_tuples():
    assert FitsLayout(hdu=["G", "R"], bands=["g", "r"]) == FitsLayout(hdu=("G", "R"), bands=("g", "r"))
