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
        load_lensing_dataset(tmp_path / "lenses.csv", task="pretraining")


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
