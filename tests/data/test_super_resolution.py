import numpy as np
import pytest

from lens_transformers.data import load_lensing_dataset


LAYOUTS = ["{resolution}/sample{i}.npy", "{resolution}_{i:02d}.npy", "{resolution}/{resolution}_{i}.npy"]


def _save_pair(folder, i, layout, low_shape=(4, 5), high_shape=(8, 10)):
    _save(folder, "LR", i, layout, low_shape)
    _save(folder, "HR", i, layout, high_shape)


def _save(folder, resolution, i, layout=LAYOUTS[1], shape=(4, 5)):
    path = folder / layout.format(resolution=resolution, i=i)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full(shape, i, dtype=np.float32)
    image[..., -1, -1] += 1  # a constant image is refused
    np.save(path, image)


def _load(folder, split="train"):
    return load_lensing_dataset(folder, split, task="super_resolution")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pairs_are_matched_by_number_and_ordered_by_it(layout, tmp_path):
    for i in (10, 2, 0, 1):
        _save_pair(tmp_path, i, layout)
    dataset = _load(tmp_path)
    assert dataset["image"][:].shape == (4, 1, 4, 5) and dataset["target"][:].shape == (4, 1, 8, 10)
    assert [row["image"][0, 0, 0] for row in dataset] == [0, 1, 2, 10]
    assert [row["target"][0, 0, 0] for row in dataset] == [0, 1, 2, 10]


def test_numbers_are_compared_as_numbers(tmp_path):
    _save(tmp_path, "LR", 7, "{resolution}_{i}.npy", (4, 5))
    _save(tmp_path, "HR", 7, "{resolution}_{i:04d}.npy", (8, 10))
    assert len(_load(tmp_path)) == 1


def test_split_folders_are_kept_apart(tmp_path):
    _save_pair(tmp_path / "train", 0, LAYOUTS[0])
    _save_pair(tmp_path / "val", 1, LAYOUTS[0])
    assert [row["image"][0, 0, 0] for row in _load(tmp_path, "validation")] == [1]


def test_missing_partners_are_listed(tmp_path):
    for i in range(10):
        _save(tmp_path, "LR", i, shape=(4, 5))
    for i in range(3):
        _save(tmp_path, "HR", i, shape=(8, 10))
    with pytest.raises(
        ValueError,
        match=r"7 of 10 low- and 3 high-resolution images have no partner .* first LR_03\.npy, LR_04\.npy, "
        r"LR_05\.npy, LR_06\.npy, LR_07\.npy\.$",
    ):
        _load(tmp_path)


def test_a_shifted_numbering_is_refused(tmp_path):
    for i in range(4):
        _save(tmp_path, "LR", i, shape=(4, 5))
        _save(tmp_path, "HR", i + 1, shape=(8, 10))
    with pytest.raises(ValueError, match=r"first LR_00\.npy, HR_04\.npy\. .* is one numbering shifted\?"):
        _load(tmp_path)


def test_two_files_of_one_number_are_refused(tmp_path):
    _save_pair(tmp_path, 1, "{resolution}_{i}.npy")
    _save(tmp_path, "LR", 1, "{resolution}_{i:02d}.npy")
    with pytest.raises(ValueError, match=r"LR_1\.npy and .*LR_01\.npy have the same name or number"):
        _load(tmp_path)


@pytest.mark.parametrize("high_shape", [(12, 10), (9, 10), (4, 5), (2, 2), (3, 8, 10)])
def test_a_wrong_ratio_is_refused_and_listed(high_shape, tmp_path):
    _save_pair(tmp_path, 0, LAYOUTS[1])
    _save_pair(tmp_path, 1, LAYOUTS[1], high_shape=high_shape)
    with pytest.raises(ValueError, match=r"LR_01\.npy: its image is .*whole multiple, two or more"):
        _load(tmp_path)


def test_pairs_of_another_size_are_refused(tmp_path):
    _save_pair(tmp_path, 0, LAYOUTS[1])
    _save_pair(tmp_path, 1, LAYOUTS[1], low_shape=(5, 5), high_shape=(10, 10))
    with pytest.raises(ValueError, match=r"LR_01\.npy: shape \(1, 5, 5\) .* differs from \(1, 4, 5\) of .*LR_00\.npy"):
        _load(tmp_path)


def test_a_folder_without_pairs_says_what_is_expected(tmp_path):
    np.save(tmp_path / "no_0.npy", np.zeros((4, 4)))
    with pytest.raises(ValueError, match="no super-resolution pairs found. Expected .npy files of the same names"):
        _load(tmp_path)
