import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from lens_transformers.data import FitsLayout, LoadReport, load_lensing_dataset


def _image(seed, shape=(8, 8)):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def _table(folder):
    (folder / "my images").mkdir()
    paths = []
    for index in range(6):
        name = f"my images/{index}.{'npy' if index % 2 else 'fits'}"
        if index % 2:
            np.save(folder / name, _image(index))
        else:
            fits.PrimaryHDU(_image(index)).writeto(folder / name)
        paths.append(name)
    return Table(
        {
            "path": paths,
            "label": ["no", "sphere", "vort", "no_sub", "cdm", "axion"],
            "split": ["train", "train", "train", "val", "test", "test"],
            "z_lens": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
            "name": ["a", "b", "c", "d", "e", "f"],
        }
    )


@pytest.mark.parametrize("suffix", ["csv", "ecsv", "parquet"])
def test_labels_splits_and_parameters_come_from_every_kind_of_table(suffix, tmp_path):
    table = _table(tmp_path)
    path = tmp_path / f"lenses.{suffix}"
    if suffix == "parquet":
        table.to_pandas().to_parquet(path)
    else:
        table.write(path, format=f"ascii.{suffix}")
    train = load_lensing_dataset(path)
    assert train["label"][:].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(train["image"][:][:, 0], [_image(0), _image(1), _image(2)])
    assert train.with_format(None)["z_lens"][:] == [0.1, 0.2, 0.3]
    assert list(train["name"][:]) == ["a", "b", "c"]
    assert len(load_lensing_dataset(path, "all")) == 6
    test = load_lensing_dataset(path, "test", task="pretraining")
    np.testing.assert_array_equal(test["image"][:][:, 0], [_image(4), _image(5)])


def test_positions_with_a_unit_are_angles(tmp_path):
    table = Table({"path": ["a.fits"], "ra": [10.0], "dec": [2.0]}, units={"ra": "hourangle", "dec": "deg"})
    table.write(tmp_path / "lenses.ecsv", format="ascii.ecsv")
    header = fits.Header(
        [("CTYPE1", "RA---TAN"), ("CTYPE2", "DEC--TAN"), ("CRVAL1", 150.0), ("CRVAL2", 2.0)]
        + [("CRPIX1", 11.0), ("CRPIX2", 21.0), ("CDELT1", -1e-4), ("CDELT2", 1e-4)]
    )
    fits.PrimaryHDU(_image(0, (40, 40)), header).writeto(tmp_path / "a.fits")
    row = load_lensing_dataset(tmp_path / "lenses.ecsv", task="pretraining", layout=FitsLayout(cutout=5))[0]
    np.testing.assert_array_equal(row["image"][0], _image(0, (40, 40))[18:23, 8:13])


def test_one_column_a_band(tmp_path):
    for index in range(2):
        fits.PrimaryHDU(_image(index)).writeto(tmp_path / f"x{index}.fits")
    (tmp_path / "lenses.csv").write_text("path_g,path_r\nx0.fits,x1.fits\n")
    row = load_lensing_dataset(tmp_path / "lenses.csv", task="pretraining", layout=FitsLayout(bands=("r", "g")))[0]
    np.testing.assert_array_equal(row["image"], [_image(1), _image(0)])


@pytest.mark.parametrize(
    ("header", "layout"),
    [
        ("path,noise_map", FitsLayout()),
        ("path_g,path_r", FitsLayout(bands=("g", "r"))),
        ("path,other", FitsLayout(cutout=4)),
    ],
)
def test_what_only_fits_files_have_is_refused_of_others(header, layout, tmp_path):
    for index in range(2):
        np.save(tmp_path / f"{index}.npy", _image(index))
    (tmp_path / "lenses.csv").write_text(f"{header}\n0.npy,1.npy\n")
    message = r"lenses\.csv, row 0 \(.*0\.npy\): only FITS files have cutouts, .* not \.npy"
    with pytest.raises(ValueError, match=message):
        load_lensing_dataset(tmp_path / "lenses.csv", task="pretraining", layout=layout)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.remove_column("label"), "has no column label; it has path, split, z_lens, name"),
        (lambda table: table.replace_column("split", ["dev"] * 6), "row 0: split 'dev' is none of train, validation"),
        (lambda table: table.replace_column("split", ["test"] * 6), "has no 'train' split; it has test"),
        (lambda table: table.replace_column("label", [0, 1, 3, 0, 1, 2]), "no images of class axion"),
        (lambda table: table.replace_column("label", ["no", "sphere", "warp"] * 2), "no images of class axion"),
    ],
)
def test_what_a_catalogue_lacks_is_named(change, message, tmp_path):
    table = _table(tmp_path)
    change(table)
    table.write(tmp_path / "lenses.csv", format="ascii.csv")
    with pytest.raises(ValueError, match=message):
        load_lensing_dataset(tmp_path / "lenses.csv")


def test_label_three_names_its_row(tmp_path):
    table = _table(tmp_path)
    table.replace_column("label", [0, 3, 2, 0, 1, 2])
    table.write(tmp_path / "lenses.csv", format="ascii.csv")
    with pytest.raises(ValueError, match=r"lenses\.csv, row 1 \(.*1\.npy\): label 3 is none of no_sub, cdm, axion"):
        load_lensing_dataset(tmp_path / "lenses.csv", "all")


@pytest.mark.parametrize("labels", [[0, 3, 2, 0, 1, 2], ["no", "", "vort", "no", "", "vort"], ["spiral"] * 6])
def test_pretraining_needs_no_labels_and_has_them_where_every_row_has(labels, tmp_path):
    table = _table(tmp_path)
    table.replace_column("label", labels)
    table.write(tmp_path / "lenses.csv", format="ascii.csv")
    report = LoadReport()
    rows = load_lensing_dataset(tmp_path / "lenses.csv", "all", task="pretraining", report=report)
    assert len(rows) == 6 and "label" not in rows.features
    assert ("not every image has a class" in report.recognised) == (labels[0] != "spiral")


def test_whole_numbers_of_catalogues_are_kept_to_the_last_digit(tmp_path):
    table = _table(tmp_path)
    names = [5853498713190525690 + row for row in range(6)]
    table["source_id"] = names
    table["other_id"] = np.ma.MaskedArray(names, [False, True, False, False, False, False])
    table.write(tmp_path / "lenses.csv", format="ascii.csv")
    rows = load_lensing_dataset(tmp_path / "lenses.csv", "all")
    assert rows["source_id"][:].tolist() == names
    assert rows.with_format("arrow")["other_id"].to_pylist() == [names[0], None, *names[2:]]


@pytest.mark.parametrize("name", ["target", "imprint"])
def test_a_column_of_no_files_with_the_name_of_an_image_column_is_refused(name, tmp_path):
    table = _table(tmp_path)
    table.rename_column("name", name)
    table.write(tmp_path / "lenses.csv", format="ascii.csv")
    with pytest.raises(ValueError, match=rf"lenses\.csv: its column {name} is no file, .* rename it or leave it out"):
        load_lensing_dataset(tmp_path / "lenses.csv")


def test_a_catalogue_tells_the_pixel_scale_where_the_header_does_not(tmp_path, caplog):
    known = fits.Header([("CTYPE1", "RA---TAN"), ("CTYPE2", "DEC--TAN"), ("CDELT1", -1e-4), ("CDELT2", 1e-4)])
    for name, header in (("a", None), ("b", known)):
        fits.PrimaryHDU(_image(0), header).writeto(tmp_path / f"{name}.fits")
        np.save(tmp_path / f"{name}.npy", _image(0))
    lines = "path,pixel_scale_arcsec,flux_unit\na.{0},0.05,nJy\nb.{0},0.05,nJy\n"
    for suffix, scales in (("fits", [0.05, 0.36]), ("npy", [0.05, 0.05])):
        (tmp_path / f"{suffix}.csv").write_text(lines.format(suffix))
        dataset = load_lensing_dataset(tmp_path / f"{suffix}.csv", task="pretraining")
        assert list(dataset["pixel_scale_arcsec"][:]) == pytest.approx(scales)
        assert list(dataset["flux_unit"][:]) == ["nJy", "nJy"]
    (tmp_path / "words.csv").write_text("path,pixel_scale_arcsec\na.fits,coarse\n")
    report = LoadReport("")
    dataset = load_lensing_dataset(tmp_path / "words.csv", task="pretraining", report=report)
    assert np.isnan(dataset[0]["pixel_scale_arcsec"]) and report.not_read == {"column pixel_scale_arcsec": 1}
    load_lensing_dataset(tmp_path / "npy.csv", task="pretraining", layout=FitsLayout(hdu=1))
    assert "npy.csv: there are no FITS files, of which alone layout" in caplog.text


def test_columns_may_be_named_as_what_readers_need(tmp_path):
    table = _table(tmp_path)
    table["position"], table["roles"], table["repaired"] = ["NW"] * 6, [1.5] * 6, ["yes"] * 6
    table.write(tmp_path / "lenses.csv", format="ascii.csv")
    rows, report = (load_lensing_dataset(tmp_path / "lenses.csv", "all", report=(report := LoadReport())), report)
    assert rows["position"][0] == "NW" and rows["roles"][0] == 1.5 and not report.repaired


def test_catalogues_as_excel_and_pandas_write_them_are_read(tmp_path):
    _table(tmp_path)
    (tmp_path / "excel.csv").write_text(
        "\ufeffpath,label\nmy images/1.npy,1\nmy images/3.npy,0\nmy images/5.npy,2\n", encoding="utf-8"
    )
    assert load_lensing_dataset(tmp_path / "excel.csv", task="pretraining")["label"][:].tolist() == [1, 0, 2]
    (tmp_path / "pandas.csv").write_text("path,label\nmy images/1.npy,1.0\nmy images/3.npy,0.0\nmy images/5.npy,2.0\n")
    assert load_lensing_dataset(tmp_path / "pandas.csv")["label"][:].tolist() == [1, 0, 2]
    (tmp_path / "other.csv").write_text("path,label\nmy images/1.npy,elliptical\n")
    with pytest.raises(ValueError, match="no images of class .* 1 of 1 labels name no class, first 'elliptical'"):
        load_lensing_dataset(tmp_path / "other.csv")


def test_a_first_row_without_a_label_leaves_the_labels_to_the_others(tmp_path):
    rows = _table(tmp_path).to_pandas().drop(columns="split")
    rows.loc[len(rows)] = rows.loc[0]
    rows.loc[0, "label"] = None
    rows.to_csv(tmp_path / "lenses.csv", index=False)
    with pytest.raises(
        ValueError, match=r"lenses\.csv, row 0 \(.*0\.fits\): label None is none of no_sub, cdm, axion"
    ):
        load_lensing_dataset(tmp_path / "lenses.csv")
    kept = load_lensing_dataset(tmp_path / "lenses.csv", on_error="skip")
    assert kept["label"][:].tolist() == [1, 2, 0, 1, 2, 0]


def test_a_first_cell_that_is_empty_does_not_make_texts_numbers(tmp_path):
    table = _table(tmp_path)
    table.replace_column("name", ["", "SDSS", "", "d", "e", "f"])
    table.write(tmp_path / "lenses.csv", format="ascii.csv")
    assert list(load_lensing_dataset(tmp_path / "lenses.csv")["name"][:]) == [None, "SDSS", None]


def test_columns_of_neither_numbers_nor_texts_are_left_out_and_reported(tmp_path):
    rows = _table(tmp_path).to_pandas()
    rows["when"] = np.datetime64("2020-01-01", "ns")
    rows["magnitudes"] = [[20.0, 21.0]] * 6
    rows["is_lens"] = True
    rows.to_parquet(tmp_path / "lenses.parquet")
    report = LoadReport()
    dataset = load_lensing_dataset(tmp_path / "lenses.parquet", report=report)
    assert dataset["is_lens"][:].tolist() == [1, 1, 1] and not {"when", "magnitudes"} & set(dataset.column_names)
    assert report.not_read == {"column when": 1, "column magnitudes": 1}


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "lenses.ecsv").write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match=r"lenses\.ecsv: no table of the kind that its name promises"):
        load_lensing_dataset(tmp_path / "lenses.ecsv")
