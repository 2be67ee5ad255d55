import logging

import numpy as np
import pyarrow.parquet
import pytest
from datasets import Array3D, ClassLabel, Dataset, DatasetDict, Features, Image, Value
from PIL import Image as PilImage

from lens_transformers.data import LoadReport, lens_features, load_lensing_dataset
from lens_transformers.data.schema import dataset_from_chunks


def _images(count, seed=0, shape=(1, 8, 8)):
    return np.random.default_rng(seed).random((count, *shape), dtype=np.float32)


def _parquet(folder, images, labels=None, split="train"):
    (folder / "data").mkdir(parents=True, exist_ok=True)
    path = folder / f"data/{split}-00000-of-00001.parquet"
    columns = {"image": images, "label": np.arange(len(images)) % 3}
    dataset_from_chunks([columns], lens_features(images.shape[1:])).to_parquet(path)
    if labels is not None:
        # datasets refuses to write such labels itself.
        table = pyarrow.parquet.read_table(path)
        spoiled = table.set_column(1, table.schema.field("label"), pyarrow.array(labels, pyarrow.int64()))
        pyarrow.parquet.write_table(spoiled, path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (np.nan, "1 pixels are NaN or infinite"),
        (np.inf, "1 pixels are NaN or infinite"),
        (None, "the image is constant: every pixel is 2"),
    ],
)
def test_bad_rows_are_named_or_skipped_and_counted(spoil, message, tmp_path, caplog):
    images = _images(6)
    if spoil is None:
        images[4] = 2
    else:
        images[4, 0, 3, 3] = spoil
    _parquet(tmp_path, images)
    with pytest.raises(ValueError, match=rf"{tmp_path.name}, row 4: {message}"):
        load_lensing_dataset(tmp_path)
    report = LoadReport()
    with caplog.at_level(logging.WARNING, logger="lens_transformers"):
        dataset = load_lensing_dataset(tmp_path, on_error="skip", report=report)
    np.testing.assert_array_equal(dataset["image"][:], np.delete(images, 4, axis=0))
    assert report.num_rows == 5 and [finding.where for finding in report.dropped] == [f"{tmp_path}, row 4"]
    assert f"1 images dropped: {tmp_path}, row 4: {message}" in caplog.text


def test_nan_fill_repairs_and_reports(tmp_path):
    images = _images(6)
    images[4, 0, 3, 3] = np.nan
    _parquet(tmp_path, images)
    report = LoadReport()
    dataset = load_lensing_dataset(tmp_path, nan_fill=0.5, report=report)
    images[4, 0, 3, 3] = 0.5
    np.testing.assert_array_equal(dataset["image"][:], images)
    assert [finding.where for finding in report.repaired] == [f"{tmp_path}, row 4"]


@pytest.mark.parametrize("label", [3, -1])
def test_a_label_out_of_range_names_its_row(label, tmp_path):
    _parquet(tmp_path, _images(3), [0, label, 2])
    with pytest.raises(ValueError, match=rf"row 1: label {label} is none of 0, 1, 2 \(no_sub, cdm, axion\)"):
        load_lensing_dataset(tmp_path)


def test_low_resolution_larger_than_high_is_refused(tmp_path):
    (tmp_path / "data").mkdir()
    columns = {"image": _images(2), "target": _images(2, shape=(1, 4, 4))}
    features = lens_features((1, 8, 8), target_shape=(1, 4, 4), label=False)
    dataset_from_chunks([columns], features).to_parquet(tmp_path / "data/train.parquet")
    for streaming in (False, True):
        with pytest.raises(ValueError, match=r"its image is \(1, 8, 8\) and its target \(1, 4, 4\)"):
            load_lensing_dataset(tmp_path, task="super_resolution", streaming=streaming)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_table_of_images_whose_bands_come_last_is_refused(dtype, streaming, tmp_path):
    features = Features({"image": Array3D((8, 8, 3), dtype), "label": lens_features((1, 8, 8))["label"]})
    columns = {"image": _images(3, shape=(8, 8, 3)), "label": [0, 1, 2]}
    Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(ValueError, match=rf"{tmp_path.name}.*: shape \(8, 8, 3\) is no image .*bands come first"):
        load_lensing_dataset(tmp_path, streaming=streaming)


@pytest.mark.parametrize("is_divided", [True, False])
def test_what_save_to_disk_wrote_is_loaded(is_divided, tmp_path):
    dataset = dataset_from_chunks([{"image": _images(3), "label": np.arange(3)}], lens_features((1, 8, 8)))
    saved = DatasetDict({"train": dataset, "val": dataset.select([0])}) if is_divided else dataset
    saved.save_to_disk(tmp_path / "set")
    np.testing.assert_array_equal(load_lensing_dataset(tmp_path / "set")["image"][:], _images(3))
    if is_divided:
        assert len(load_lensing_dataset(tmp_path / "set", "validation", task="pretraining")) == 1


_OTHER_SCHEMAS = {
    "other names and an other order of classes": Features(
        {"img": Array3D((1, 8, 8), "float32"), "labels": ClassLabel(names=["axion", "cdm", "no_sub"])}
    ),
    "double precision": Features({"image": Array3D((1, 8, 8), "float64"), "label": Value("int64")}),
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("kind", _OTHER_SCHEMAS)
def test_other_schemas_are_turned_into_that_of_lenses(kind, streaming, tmp_path):
    features = _OTHER_SCHEMAS[kind]
    image_name, label_name = features
    labels = [0, 1, 2]
    Dataset.from_dict({image_name: _images(3), label_name: labels}, features=features).to_parquet(
        tmp_path / "train.parquet"
    )
    rows = list(load_lensing_dataset(tmp_path, streaming=streaming))
    np.testing.assert_array_equal([row["image"] for row in rows], _images(3))
    expected = [2, 1, 0] if isinstance(features[label_name], ClassLabel) else labels
    assert [int(row["label"]) for row in rows] == expected
    assert rows[0]["image"].dtype == np.float32


_UNLABELLED = {
    "the Hub's -1": (ClassLabel(names=["axion", "cdm", "no_sub"]), [0, 1, -1], "'number -1 of axion, cdm, no_sub'"),
    "beyond two classes": (ClassLabel(names=["axion", "cdm"]), [0, 1, 2], "'number 2 of axion, cdm'"),
    "a missing class": (ClassLabel(names=["axion", "cdm", "no_sub"]), [0, 1, None], "None"),
    "a missing name": (Value("string"), ["vort", "sphere", None], "None"),
    "a missing number": (Value("int64"), [2, 1, None], "None"),
    "a number too high": (Value("int64"), [2, 1, 3], "3"),
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("kind", _UNLABELLED)
def test_a_row_without_a_class_gets_none(kind, streaming, tmp_path):
    feature, labels, message = _UNLABELLED[kind]
    # datasets refuses to write some of these labels itself.
    images = Dataset.from_dict({"img": _images(3)}, features=Features({"img": Array3D((1, 8, 8), "float32")}))
    table = images.data.table.append_column("label", pyarrow.array(labels))
    columns = Features({**images.features, "label": feature})
    schema = columns.arrow_schema
    pyarrow.parquet.write_table(table.cast(schema).replace_schema_metadata(schema.metadata), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=rf"row 2.*: label {message} is none of no_sub, cdm, axion"):
        list(load_lensing_dataset(tmp_path, streaming=streaming))
    kept = list(load_lensing_dataset(tmp_path, on_error="skip", streaming=streaming))
    assert [int(row["label"]) for row in kept] == [2, 1]


def test_a_table_in_which_no_row_has_a_label_is_refused(tmp_path):
    Dataset.from_dict({"image": _images(3).tolist(), "label": [None, None, None]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="split train: none of 3 rows has a label"):
        load_lensing_dataset(tmp_path)
    assert "label" not in load_lensing_dataset(tmp_path, task="pretraining").column_names


@pytest.mark.parametrize("label", [None, 7])
def test_pretraining_needs_no_labels(label, tmp_path):
    Dataset.from_dict({"image": _images(3).tolist(), "label": [0, label, 2]}).to_parquet(tmp_path / "a.parquet")
    rows = load_lensing_dataset(tmp_path, task="pretraining")
    assert len(rows) == 3 and "label" not in rows.features


@pytest.mark.parametrize("streaming", [False, True])
def test_whole_numbers_with_gaps_keep_their_digits_and_gaps(streaming, tmp_path):
    counts = [5853498713190525691, None, 3]
    columns = {"image": _images(3).tolist(), "label": [0, 1, 2], "count": counts}
    Dataset.from_dict(columns).to_parquet(tmp_path / "a.parquet")
    rows = load_lensing_dataset(tmp_path, streaming=streaming)
    assert rows.features["count"].dtype == "int64"
    if streaming:
        assert np.isnan([row["count"] or np.nan for row in rows]).tolist() == [False, True, False]
    else:
        assert rows.with_format("arrow")["count"].to_pylist() == counts


def test_lists_and_names_as_pandas_writes_them(tmp_path):
    images = _images(3)
    Dataset.from_dict(
        {"image": [image[0].tolist() for image in images], "label": ["vort", "no", "sphere"], "mass": [1.0, 2.0, 3.0]}
    ).to_parquet(tmp_path / "train.parquet")
    dataset = load_lensing_dataset(tmp_path)
    np.testing.assert_array_equal(dataset["image"][:], images)
    assert dataset["label"][:].tolist() == [2, 0, 1] and dataset["mass"][:].tolist() == [1, 2, 3]


@pytest.mark.parametrize("streaming", [False, True])
def test_pictures_in_a_table_keep_their_bits(streaming, tmp_path):
    levels = np.random.default_rng(0).integers(0, 2**16, (3, 8, 8), dtype=np.uint16)
    features = Features({"image": Image(), "label": ClassLabel(names=["no", "sphere", "vort"])})
    rows = {"image": [PilImage.fromarray(level) for level in levels], "label": [0, 1, 2]}
    Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "train.parquet")
    loaded = load_lensing_dataset(tmp_path, streaming=streaming)
    np.testing.assert_array_equal([row["image"][0] for row in loaded], levels.astype(np.float32))


def test_rows_of_several_sizes_are_refused(tmp_path):
    images = [np.eye(8).tolist(), np.eye(9).tolist()]
    Dataset.from_dict({"image": images}).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(ValueError, match=r"row 1: shape \(1, 9, 9\) .* differs from \(1, 8, 8\)"):
        load_lensing_dataset(tmp_path, task="pretraining")
    with pytest.raises(ValueError, match=r"row 1 of this stream: shape \(1, 9, 9\) of image differs from \(1, 8, 8\)"):
        list(load_lensing_dataset(tmp_path, task="pretraining", streaming=True))


def test_damaged_parquet_is_named(tmp_path):
    _parquet(tmp_path, _images(3))
    path = tmp_path / "data/train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=rf"{tmp_path.name}: damaged Parquet"):
        load_lensing_dataset(tmp_path)


@pytest.mark.parametrize("name", ["lenses_{}", "lenses-{}-00000-of-00001", "night.{}", "{}-00000-of-00001"])
def test_any_word_of_a_file_name_tells_its_split(name, tmp_path):
    for index, split in enumerate(("train", "test")):
        columns = {"image": _images(3, seed=index), "label": np.arange(3)}
        dataset_from_chunks([columns], lens_features((1, 8, 8))).to_parquet(tmp_path / f"{name.format(split)}.parquet")
    for index, split in enumerate(("train", "test")):
        np.testing.assert_array_equal(load_lensing_dataset(tmp_path, split)["image"][:], _images(3, seed=index))


def test_what_macos_leaves_beside_a_table_is_no_table(tmp_path):
    _parquet(tmp_path, _images(3))
    (tmp_path / "data/._train-00000-of-00001.parquet").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    assert len(load_lensing_dataset(tmp_path)) == 3


@pytest.mark.parametrize(("name", "neighbour"), [("set[1]", "set1"), ("st*r", "star")])
def test_a_folder_is_no_pattern_that_finds_its_neighbour(name, neighbour, tmp_path):
    for index, folder in enumerate((name, neighbour)):
        _parquet(tmp_path / folder, _images(3, seed=index))
    np.testing.assert_array_equal(load_lensing_dataset(tmp_path / name)["image"][:], _images(3, seed=0))


def test_a_name_on_the_hub_is_asked_for_there(tmp_path, monkeypatch):
    asked = []

    def load_dataset(name, streaming):
        asked.append((name, streaming))
        rows = dataset_from_chunks([{"image": _images(3), "label": np.arange(3)}], lens_features((1, 8, 8)))
        return DatasetDict({"train": rows, "val": rows.select([0, 1, 2])})

    monkeypatch.setattr("lens_transformers.data.tables.load_dataset", load_dataset)
    assert len(load_lensing_dataset("org/lenses", "validation")) == 3
    assert len(load_lensing_dataset("org/lenses", "all")) == 6
    assert asked == 2 * [("org/lenses", False)]


def test_a_name_that_is_nowhere_is_named():
    with pytest.raises(ValueError, match="org/nothing: no folder here, and no dataset on the Hub that loads"):
        load_lensing_dataset("org/nothing")
