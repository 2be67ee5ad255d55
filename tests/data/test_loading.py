import logging
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from lens_transformers.data import lens_features, load_lensing_dataset
from lens_transformers.data.loading import files_of_rows
from lens_transformers.data.schema import dataset_from_chunks


def _image(seed, shape=(8, 8), dtype=np.float64):
    return np.random.default_rng(seed).random(shape).astype(dtype)


def _with_mass(image, mass):
    array = np.empty(2, dtype=object)
    array[0], array[1] = image, mass
    return array


def _save(path: Path, array) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array, allow_pickle=True)
    return path


def _save_classes(folder: Path, names=("no_sub", "cdm", "axion"), per_class=2, pattern="{name}/{i}.npy", first_seed=0):
    for label, name in enumerate(names):
        for i in range(per_class):
            _save(folder / pattern.format(name=name, i=i), _image(first_seed + 10 * label + i))


def _seeds(dataset, candidates=range(300)):
    """Finds the seeds of the images, in order."""
    known = {_image(seed).astype(np.float32).tobytes(): seed for seed in candidates}
    return [known[image.tobytes()] for image in dataset["image"][:]]


def test_plain_and_object_array_files_in_one_set_all_give_whole_images(tmp_path):
    # Taking array[0] of every file gives the image in one format and its first row in the other: the class is then
    # told by the file format.
    for i in range(3):
        _save(tmp_path / f"no_sub/{i}.npy", _image(i))
        _save(tmp_path / f"cdm/{i}.npy", _image(10 + i, (1, 8, 8)))
        _save(tmp_path / f"axion/{i}.npy", _with_mass(_image(20 + i), 10.0 ** -(22 + i)))
    _save(tmp_path / "axion/3.npy", _image(23))

    dataset = load_lensing_dataset(tmp_path)

    assert dataset["image"][:].shape == (10, 1, 8, 8)
    assert _seeds(dataset) == [0, 1, 2, 10, 11, 12, 20, 21, 22, 23]
    assert dataset["label"][:].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    np.testing.assert_allclose(dataset["axion_mass_log10_ev"][:], [np.nan] * 6 + [-22, -23, -24, np.nan])


@pytest.mark.parametrize("names", [("no_sub", "cdm", "axion"), ("no", "sphere", "vort"), ("nosub", "CDM", "Axion")])
@pytest.mark.parametrize(
    "pattern",
    ["{name}/{i}.npy", "{name}/anything {i}.npy", "{name}_{i}.npy", "{name}{i}.npy", "{name}_sim_{i}.npy"],
)
def test_both_spellings_are_the_same_three_classes_in_every_layout(names, pattern, tmp_path):
    _save_classes(tmp_path, names, pattern=pattern)
    dataset = load_lensing_dataset(tmp_path)
    assert dataset.features["label"].names == ["no_sub", "cdm", "axion"]
    assert dataset["label"][:].tolist() == [0, 0, 1, 1, 2, 2]
    assert _seeds(dataset) == [0, 1, 10, 11, 20, 21]


def test_one_file_a_class_without_a_number_is_a_set(tmp_path):
    _save_classes(tmp_path, ("nosub", "cdm", "axion"), per_class=1, pattern="{name}.npy")
    assert load_lensing_dataset(tmp_path)["label"][:].tolist() == [0, 1, 2]


@pytest.mark.parametrize("pattern", ["{name}/{i}.npy", "{name}_{i}.npy"])
def test_split_folders_are_kept_apart(pattern, tmp_path):
    _save_classes(tmp_path / "train", pattern=pattern)
    _save_classes(tmp_path / "val", pattern=pattern, first_seed=100)
    assert _seeds(load_lensing_dataset(tmp_path, "train")) == [0, 1, 10, 11, 20, 21]
    assert _seeds(load_lensing_dataset(tmp_path, "validation")) == [100, 101, 110, 111, 120, 121]
    assert len(load_lensing_dataset(tmp_path, "all")) == 12
    with pytest.raises(ValueError, match="has no 'test' split; it has train, validation"):
        load_lensing_dataset(tmp_path, "test")


def test_an_undivided_folder_is_never_passed_off_as_a_test_split(tmp_path):
    _save_classes(tmp_path)
    assert len(load_lensing_dataset(tmp_path, "train")) == len(load_lensing_dataset(tmp_path, "all")) == 6
    with pytest.raises(ValueError, match="no 'test' split; split='all' loads all of it"):
        load_lensing_dataset(tmp_path, "test")


def test_rows_cross_the_boundary_of_a_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr("lens_transformers.data.reading.ROWS_PER_CHUNK", 4)
    _save_classes(tmp_path, per_class=3)
    dataset = load_lensing_dataset(tmp_path)
    assert _seeds(dataset) == [0, 1, 2, 10, 11, 12, 20, 21, 22]
    assert dataset["label"][:].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_pretraining_needs_no_classes(tmp_path):
    for i in range(3):
        _save(tmp_path / f"{i}.npy", _image(i))
    dataset = load_lensing_dataset(tmp_path, task="pretraining")
    assert "label" not in dataset.features and _seeds(dataset) == [0, 1, 2]
    with pytest.raises(ValueError, match=r"3 of 3 files name no class .* first 0\.npy, 1\.npy, 2\.npy"):
        load_lensing_dataset(tmp_path)


def test_pretraining_takes_one_class_alone_and_keeps_its_label(tmp_path):
    _save_classes(tmp_path, ("no_sub",))
    assert load_lensing_dataset(tmp_path, task="pretraining")["label"][:].tolist() == [0, 0]
    with pytest.raises(ValueError, match="split 'train': no images of class cdm, axion"):
        load_lensing_dataset(tmp_path)


def test_a_file_that_names_no_class_is_not_dropped_silently(tmp_path):
    _save_classes(tmp_path, pattern="{name}_{i}.npy")
    _save(tmp_path / "notes_1.npy", _image(0))
    with pytest.raises(ValueError, match=r"1 of 7 files name no class .* first notes_1\.npy"):
        load_lensing_dataset(tmp_path)


@pytest.mark.parametrize("name", ["no_noise_cdm_1", "no-lens 2", "nothing"])
def test_a_name_that_begins_with_no_is_not_that_of_the_class(name, tmp_path):
    _save_classes(tmp_path, ("no", "sphere", "vort"), pattern="{name}_{i}.npy")
    _save(tmp_path / f"{name}.npy", _image(0))
    with pytest.raises(ValueError, match=rf"1 of 7 files name no class .* first {name}\.npy"):
        load_lensing_dataset(tmp_path)


@pytest.mark.parametrize("task", ["classification", "pretraining"])
@pytest.mark.parametrize("name", ["axions/0.npy", "axion_0.npy", "axion/more/0.npy"])
def test_images_beside_folders_of_classes_are_not_dropped_silently(name, task, tmp_path):
    _save_classes(tmp_path)
    _save(tmp_path / name, _image(0))
    with pytest.raises(ValueError, match=rf"1 images lie beside the folders of classes, .*first {name}; move them"):
        load_lensing_dataset(tmp_path, task=task)


def test_what_macos_leaves_beside_images_is_no_image(tmp_path):
    _save_classes(tmp_path)
    (tmp_path / "cdm/._0.npy").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    assert len(load_lensing_dataset(tmp_path)) == 6


def test_images_of_another_size_are_named(tmp_path):
    _save_classes(tmp_path)
    _save(tmp_path / "cdm/odd.npy", _image(0, (9, 9)))
    with pytest.raises(ValueError, match=r"cdm/odd\.npy: shape \(1, 9, 9\) .* differs from \(1, 8, 8\) of .*no_sub/0"):
        load_lensing_dataset(tmp_path)


def test_a_bad_file_is_named(tmp_path):
    _save_classes(tmp_path)
    (tmp_path / "cdm/1.npy").write_text("1 2 3")
    with pytest.raises(ValueError, match=r"cdm/1\.npy: named \.npy but not a NumPy array file"):
        load_lensing_dataset(tmp_path)


@pytest.mark.parametrize("task", ["classification", "pretraining"])
def test_a_folder_without_images_says_what_is_expected(task, tmp_path):
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises(ValueError, match=r"no lens images found\. Expected \.npy files in folders no_sub/"):
        load_lensing_dataset(tmp_path, task=task)


def test_a_wrong_argument_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        load_lensing_dataset(tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError, match=r"a\.npy is a file; give the folder"):
        load_lensing_dataset(_save(tmp_path / "a.npy", _image(0)))
    with pytest.raises(ValueError, match="split must be one of train, validation, test, all, got 'val'"):
        load_lensing_dataset(tmp_path, "val")
    with pytest.raises(ValueError, match="task must be one of pretraining, .*, super_resolution, got 'sr'"):
        load_lensing_dataset(tmp_path, task="sr")
    with pytest.raises(ValueError, match=r"layout must be a FitsLayout, such as FitsLayout\(hdu=1\), got {'hdu': 1}"):
        load_lensing_dataset(tmp_path, layout={"hdu": 1})
    with pytest.raises(ValueError, match=r"fractions must give some of train, .* a positive share, got \[0.5, 0.5\]"):
        load_lensing_dataset(tmp_path, split_fractions=[0.5, 0.5])
    with pytest.raises(ValueError, match="seed of a division must be a whole number, got 1.5"):
        load_lensing_dataset(tmp_path, split_fractions={"train": 0.5, "test": 0.5}, split_seed=1.5)


@pytest.mark.parametrize("load", [load_lensing_dataset, files_of_rows])
@pytest.mark.parametrize("source", [None, Dataset.from_dict({"image": [[[1.0]]]})], ids=["None", "Dataset"])
def test_what_is_no_path_or_name_is_refused(load, source):
    kind = type(source).__name__
    with pytest.raises(
        ValueError, match=f"source must be the path or the name of a set, got an object of type {kind}"
    ):
        load(source)


def test_what_was_recognised_is_logged_in_one_line(tmp_path, caplog):
    _save_classes(tmp_path)
    with caplog.at_level(logging.INFO, logger="lens_transformers"):
        load_lensing_dataset(tmp_path)
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}: DeepLense .npy images, split train: 2 no_sub, 2 cdm, 2 axion."
    ]


def _save_parquet(folder, splits=("train", "test"), shards=1):
    features = lens_features((1, 8, 8), parameters={"axis_ratio": "float64"})
    (folder / "data").mkdir()
    for index, split in enumerate(splits):
        for shard in range(shards):
            seeds = [100 * index + 10 * shard + i for i in range(3)]
            rows = {
                "image": np.stack([_image(seed, (1, 8, 8), np.float32) for seed in seeds]),
                "label": np.array([0, 1, 2]),
                "axis_ratio": np.array([0.1, 0.2, 0.3]),
            }
            dataset = dataset_from_chunks([rows], features)
            dataset.to_parquet(folder / f"data/{split}-{shard:05d}-of-{shards:05d}.parquet")


def test_parquet_shards_come_back_bit_for_bit_in_order(tmp_path):
    _save_parquet(tmp_path, shards=2)
    dataset = load_lensing_dataset(tmp_path, "test")
    assert _seeds(dataset) == [100, 101, 102, 110, 111, 112]
    assert dataset["label"][:].tolist() == [0, 1, 2, 0, 1, 2]
    assert dataset.features == lens_features((1, 8, 8), parameters={"axis_ratio": "float64"})
    assert len(load_lensing_dataset(tmp_path, "all")) == 12


def test_parquet_without_the_split_or_the_column_says_what_there_is(tmp_path):
    _save_parquet(tmp_path)
    with pytest.raises(ValueError, match="no 'validation' split; its data/ has test, train"):
        load_lensing_dataset(tmp_path, "validation")
    with pytest.raises(ValueError, match=r"needs a float32 Array3D column 'target'.*columns are image, label, axis_"):
        load_lensing_dataset(tmp_path, task="super_resolution")


def test_a_set_that_was_written_anew_is_not_read_from_the_cache(tmp_path):
    _save_parquet(tmp_path, ("test",))
    load_lensing_dataset(tmp_path, "test")
    (tmp_path / "data/test-00000-of-00001.parquet").unlink()
    (tmp_path / "data").rmdir()
    _save_parquet(tmp_path, ("train", "test"))
    assert _seeds(load_lensing_dataset(tmp_path, "test")) == [100, 101, 102]


def test_what_map_leaves_in_the_cache_is_not_read_as_images(tmp_path):
    _save_classes(tmp_path)
    before = load_lensing_dataset(tmp_path, split="all")
    features = before.features.copy()
    features["image"] = lens_features((1, 4, 4))["image"]
    before.map(lambda row: {"image": row["image"][:, :4, :4]}, features=features)
    after = load_lensing_dataset(tmp_path, split="all")
    assert after.features == before.features
    assert _seeds(after) == _seeds(before)
