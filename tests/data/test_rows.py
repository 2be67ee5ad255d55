import pickle

import numpy as np
import pytest
from datasets import Dataset, Features, Sequence, Value
from torch.utils.data import DataLoader

from lens_transformers.data import lens_features, load_lensing_dataset
from lens_transformers.data.rows import LensDataset
from lens_transformers.data.schema import dataset_from_chunks


PARAMETERS = {"axis_ratio": "float64", "flux_unit": "string"}


def _plain(count=10):
    """Rows in chunks of four, as datasets gives them."""
    features = lens_features((1, 4, 4), target_shape=(1, 8, 8), parameters=PARAMETERS)
    rng = np.random.default_rng(0)
    columns = {
        "image": rng.random((count, 1, 4, 4), dtype=np.float32),
        "target": rng.random((count, 1, 8, 8), dtype=np.float32),
        "label": np.arange(count) % 3,
        "axis_ratio": rng.random(count),
        "flux_unit": np.array([None, "Jy"] * (count // 2), dtype=object),
    }
    chunks = [{name: column[start : start + 4] for name, column in columns.items()} for start in range(0, count, 4)]
    return dataset_from_chunks(chunks, features)


def _assert_same(rows, dataset, keys):
    assert len(rows) == len(keys)
    for row, key in zip(rows, keys, strict=True):
        expected = dataset[key]
        assert list(row) == list(expected)
        for name, value in expected.items():
            assert isinstance(value, type(row[name]))
            np.testing.assert_array_equal(row[name], value)


@pytest.mark.parametrize("keys", [[0], [9, 3, 3, 4], list(range(10)), [-1, 2], []])
def test_a_batch_has_the_rows_that_datasets_gives_one_by_one(keys):
    if keys:
        _assert_same(LensDataset.of(_plain()).__getitems__(keys), _plain(), keys)


@pytest.mark.parametrize("keys", [[10], [-11]])
def test_a_row_that_is_not_there_is_refused_as_datasets_does(keys):
    with pytest.raises(IndexError):
        LensDataset.of(_plain()).__getitems__(keys)


def test_chosen_rows_and_columns_and_other_formats_are_those_of_datasets():
    plain, fast = _plain(), LensDataset.of(_plain())
    chosen = [7, 2, 9, 0]
    selected = fast.select(chosen)
    assert isinstance(selected, LensDataset)
    _assert_same(selected.__getitems__([3, 1]), plain.select(chosen), [3, 1])
    _assert_same(fast.select(range(3, 9)).__getitems__([0, 5]), plain.select(range(3, 9)), [0, 5])
    _assert_same(fast.shuffle(seed=1).__getitems__([0, 5]), plain.shuffle(seed=1), [0, 5])
    columns = ["label", "image"]
    _assert_same(fast.select_columns(columns).__getitems__([8]), plain.select_columns(columns), [8])
    _assert_same(
        fast.with_format("numpy", columns=columns).__getitems__([8]), plain.with_format("numpy", columns=columns), [8]
    )
    (row,) = fast.with_format("torch").__getitems__([8])
    np.testing.assert_array_equal(row["image"].numpy(), plain[8]["image"])


def test_chosen_rows_keep_the_format_and_the_transform():
    fast = LensDataset.of(_plain())
    assert fast.with_format("torch").select([0, 1]).format["type"] == "torch"
    assert fast.with_format("numpy", columns=["image"]).take(2).format["columns"] == ["image"]
    transformed = fast.with_transform(lambda rows: {"brightest": [np.max(image) for image in rows["image"]]})
    assert transformed.select([3])[0] == {"brightest": fast[3]["image"].max()}
    assert transformed.shard(5, 1).__getitems__([0]) == [{"brightest": fast[2]["image"].max()}]


def test_long_whole_numbers_keep_their_digits_where_some_are_missing():
    identifier = 2**62 + 1
    features = Features({**lens_features((1, 4, 4), label=False), "source_id": Value("int64")})
    columns = {"image": np.ones((2, 1, 4, 4), np.float32), "source_id": [identifier, None]}
    fast = LensDataset.of(Dataset.from_dict(columns, features).with_format("numpy"))
    assert fast.__getitems__([0])[0]["source_id"] == identifier


def test_numbers_of_another_dtype_are_left_to_datasets():
    fast = LensDataset.of(_plain()).with_format("numpy", dtype=np.float64)
    assert fast.__getitems__([0])[0]["image"].dtype == np.float64


def test_a_column_of_other_kind_is_left_to_datasets():
    features = Features({**lens_features((1, 4, 4), label=False), "path": Sequence(Value("int64"))})
    plain = Dataset.from_dict({"image": np.ones((3, 1, 4, 4), np.float32), "path": [[1], [1, 2], []]}, features)
    (row,) = LensDataset.of(plain.with_format("numpy")).__getitems__([1])
    assert row["path"].tolist() == [1, 2]


def test_a_row_can_be_written_to_and_the_dataset_stays_as_it_is():
    dataset = LensDataset.of(_plain())
    (row,) = dataset.__getitems__([0])
    row["image"][:] = 0
    assert dataset[0]["image"].any()


def test_what_goes_to_a_worker_has_no_pixels_that_are_on_disk(tmp_path):
    images = np.random.default_rng(0).random((300, 1, 32, 32), dtype=np.float32)
    (tmp_path / "data").mkdir()
    dataset_from_chunks([{"image": images}], lens_features((1, 32, 32), label=False)).to_parquet(
        tmp_path / "data/train.parquet"
    )
    dataset = load_lensing_dataset(tmp_path, task="pretraining")
    assert isinstance(dataset, LensDataset)
    dataset.__getitems__([0, 299])
    assert len(pickle.dumps(dataset)) < images.nbytes / 20
    batches = list(DataLoader(dataset, 100, num_workers=2))
    np.testing.assert_array_equal(np.concatenate([batch["image"] for batch in batches]), images)
