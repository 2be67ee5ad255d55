import h5py
import numpy as np
import pytest

from lens_transformers.data import LoadReport, load_lensing_dataset


def _images(seed, shape=(6, 8, 9)):
    return np.random.default_rng(seed).random(shape)


def _save(path, arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez_compressed(path, **{name.replace("/", "_"): array for name, array in arrays.items()})
        return
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array.astype("S") if array.dtype.kind == "U" else array


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
@pytest.mark.parametrize("names", [("images", "labels"), ("X", "y"), ("data", "class")])
def test_images_and_labels_are_found_by_name(suffix, names, tmp_path):
    _save(tmp_path / f"set{suffix}", {names[0]: _images(0), names[1]: np.arange(6) % 3, "z_lens": np.arange(6.0)})
    dataset = load_lensing_dataset(tmp_path / f"set{suffix}")
    np.testing.assert_array_equal(dataset["image"][:], _images(0)[:, None].astype(np.float32))
    assert dataset["label"][:].tolist() == [0, 1, 2, 0, 1, 2]
    assert dataset["z_lens"][:].tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("suffix", [".npz", ".hdf5"])
def test_labels_may_be_names(suffix, tmp_path):
    _save(tmp_path / f"set{suffix}", {"image": _images(0, (3, 8, 9)), "label": np.array(["vort", "no", "sphere"])})
    assert load_lensing_dataset(tmp_path / f"set{suffix}")["label"][:].tolist() == [2, 0, 1]


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_splits_and_classes_stand_in_the_names_of_arrays(suffix, tmp_path):
    path = tmp_path / f"set{suffix}"
    arrays = {"train/x": _images(0), "train/y": np.arange(6) % 3, "test/x": _images(1, (3, 8, 9))}
    _save(path, {**arrays, "test/y": np.arange(3)})
    np.testing.assert_array_equal(
        load_lensing_dataset(path, "test")["image"][:][:, 0], _images(1, (3, 8, 9)).astype("f4")
    )
    assert len(load_lensing_dataset(path, "all")) == 9
    with pytest.raises(ValueError, match="has no 'validation' split; it has test, train"):
        load_lensing_dataset(path, "validation")
    _save(tmp_path / f"classes{suffix}", {name: _images(i, (2, 8, 9)) for i, name in enumerate(["no", "cdm", "vort"])})
    labels = load_lensing_dataset(tmp_path / f"classes{suffix}")["label"][:].tolist()
    assert sorted(labels) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_a_folder_holds_a_file_a_split_or_a_class(suffix, tmp_path):
    for index, split in enumerate(("train", "test")):
        _save(tmp_path / f"splits/{split}{suffix}", {"x": _images(index), "y": np.arange(6) % 3})
    np.testing.assert_array_equal(
        load_lensing_dataset(tmp_path / "splits", "test")["image"][:][:, 0], _images(1).astype(np.float32)
    )
    for index, name in enumerate(("no_sub", "cdm", "axion")):
        _save(tmp_path / f"classes/{name}{suffix}", {"data": _images(index, (2, 8, 9))})
    dataset = load_lensing_dataset(tmp_path / "classes")
    for row in dataset:
        assert row["image"][0] in _images(int(row["label"]), (2, 8, 9)).astype(np.float32)


@pytest.mark.parametrize("name", ["cdm/set.npz", "axion/all.npz", "cdm_3.npz"])
def test_labels_in_a_file_go_before_its_name(name, tmp_path):
    _save(tmp_path / name, {"images": _images(0), "labels": np.arange(6) % 3})
    assert load_lensing_dataset(tmp_path / name)["label"][:].tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("data", "images"), "its arrays 'data' and 'images' are both taken for 'image'"),
        (("labels", "y"), "its arrays 'labels' and 'y' are both taken for 'label'"),
        (("train/cdm", "train_cdm"), "its arrays 'train/cdm' and 'train_cdm' are both taken for 'image'"),
        (("z-lens", "z_lens"), "its arrays 'z-lens' and 'z_lens' are both taken for 'z_lens'"),
    ],
)
def test_two_arrays_for_one_column_are_refused(names, message, tmp_path):
    _save(tmp_path / "set.h5", {name: _images(0) for name in names})
    with pytest.raises(ValueError, match=rf"set\.h5: {message}"):
        load_lensing_dataset(tmp_path / "set.h5", task="pretraining")


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_pairs_for_super_resolution(suffix, tmp_path):
    _save(tmp_path / f"set{suffix}", {"lr": _images(0), "hr": _images(1, (6, 16, 18))})
    row = load_lensing_dataset(tmp_path / f"set{suffix}", task="super_resolution")[5]
    np.testing.assert_array_equal(row["target"][0], _images(1, (6, 16, 18))[5].astype(np.float32))
    _save(tmp_path / f"big{suffix}", {"lr": _images(0), "hr": _images(1, (6, 4, 4))})
    with pytest.raises(ValueError, match=r"row 0: its image is \(1, 8, 9\) and its target \(1, 4, 4\)"):
        load_lensing_dataset(tmp_path / f"big{suffix}", task="super_resolution")


def test_bands_may_come_last(tmp_path):
    _save(tmp_path / "a.npz", {"x": np.moveaxis(_images(0, (3, 3, 8, 9)), 1, -1)})
    images = load_lensing_dataset(tmp_path / "a.npz", task="pretraining")["image"][:]
    np.testing.assert_array_equal(images, _images(0, (3, 3, 8, 9)).astype(np.float32))


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
@pytest.mark.parametrize("content", [b"", b"text", "truncated"])
def test_a_damaged_file_is_refused_by_name(suffix, content, tmp_path):
    path = tmp_path / f"set{suffix}"
    _save(path, {"x": _images(0), "y": np.arange(6) % 3})
    path.write_bytes(path.read_bytes()[:-700] if content == "truncated" else content)
    with pytest.raises(ValueError, match=rf"set\{suffix}: .*(damaged|not)"):
        load_lensing_dataset(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": np.arange(6)}, "no array of images; expected one named image, images"),
        ({"x": _images(0), "y": np.arange(5)}, r"its arrays differ in length: \{'image': 6, 'label': 5\}"),
        ({"x": _images(0).astype(complex)}, "pixels must be real numbers, got dtype complex128"),
        ({"x": np.arange(6.0)}, r"an array of images has 3 or 4 axes, got shape \(6,\)"),
        ({"x": _images(0), "y": np.array("dark")}, "6 of 6 labels name no class, first .*dark"),
        ({"x": np.zeros((0, 8, 9))}, r"split train: no images\. Give a set that holds some"),
        ({"x": _images(0), "y": np.array([0, 1, 2, 3, 0, 1])}, r"row 3: label .*3.* is none of no_sub, cdm, axion"),
    ],
)
def test_wrong_arrays_are_named(arrays, message, tmp_path):
    _save(tmp_path / "set.npz", arrays)
    with pytest.raises(ValueError, match=message):
        load_lensing_dataset(tmp_path / "set.npz", task="classification" if "y" in arrays else "pretraining")


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
@pytest.mark.parametrize("label", [1, "sphere"])
def test_one_label_is_that_of_all_images_and_no_other_single_value_is_a_column(suffix, label, tmp_path):
    report = LoadReport()
    _save(tmp_path / f"no{suffix}", {"x": _images(0), "label": np.array(label), "z_lens": np.array(0.5)})
    rows = load_lensing_dataset(tmp_path / f"no{suffix}", task="pretraining", report=report)
    assert rows["label"][:].tolist() == [1] * 6 and "z_lens" not in rows.features
    assert report.not_read == {"z_lens": 1}


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_a_single_value_is_no_array_of_images(suffix, tmp_path):
    _save(tmp_path / f"set{suffix}", {"image": np.array(1.0)})
    with pytest.raises(ValueError, match=r"an array of images has 3 or 4 axes, got shape \(\)"):
        load_lensing_dataset(tmp_path / f"set{suffix}", task="pretraining")


def test_whole_numbers_beside_images_are_kept_to_the_last_digit(tmp_path):
    names = 5853498713190525690 + np.arange(6)
    _save(tmp_path / "set.npz", {"x": _images(0), "y": np.arange(6) % 3, "object_id": names, "z_lens": np.arange(6.0)})
    rows = load_lensing_dataset(tmp_path / "set.npz")
    assert rows["object_id"][:].tolist() == names.tolist() and rows["z_lens"][:].dtype == np.float32


def test_a_file_of_one_class_and_one_split_is_named_by_both(tmp_path):
    for seed, name in enumerate(("no_sub", "cdm", "axion")):
        _save(tmp_path / f"{name}_train.npz", {"x": _images(seed)})
        _save(tmp_path / f"test-{name}.npz", {"x": _images(seed + 3)})
    assert np.bincount(load_lensing_dataset(tmp_path)["label"][:]).tolist() == [6, 6, 6]
    assert np.bincount(load_lensing_dataset(tmp_path, "test")["label"][:]).tolist() == [6, 6, 6]


def test_pickled_arrays_in_npz_run_no_code(tmp_path):
    import os

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    array = np.empty(1, object)
    array[0] = Hostile()
    np.savez(tmp_path / "set.npz", x=array)
    with pytest.raises(ValueError, match="refused its pickle"):
        load_lensing_dataset(tmp_path / "set.npz", task="pretraining")
    assert not (tmp_path / "made").exists()


def test_arrays_of_another_kind_are_reported(tmp_path):
    report = LoadReport()
    _save(tmp_path / "set.npz", {"x": _images(0), "masks": _images(1)})
    load_lensing_dataset(tmp_path / "set.npz", task="pretraining", report=report)
    assert report.not_read == {"masks": 1}
