import numpy as np
import pytest
from datasets.distributed import split_dataset_by_node

from lens_transformers.data import lens_features, load_lensing_dataset, simulate_dataset
from lens_transformers.simulation import simulate


def test_rows_are_the_simulated_samples_with_their_parameters():
    dataset = simulate_dataset("deeplense_model_2", 4, seed=5)
    lenses = simulate("deeplense_model_2", 4, 5)
    np.testing.assert_array_equal(dataset["image"][:], lenses.image.numpy())
    assert dataset["label"][:].tolist() == [0, 1, 2, 0]
    parameters = {name: str(values.dtype).removeprefix("torch.") for name, values in lenses.parameters.items()}
    assert dataset.features == lens_features(lenses.image.shape[1:], parameters=parameters)
    plain = dataset.with_format(None)
    for name, values in lenses.parameters.items():
        np.testing.assert_array_equal(plain[name][:], values.numpy())


def test_a_range_of_indices_is_a_slice_of_the_whole(monkeypatch):
    whole = simulate_dataset("deeplense_model_2", 7, seed=1)
    monkeypatch.setattr("lens_transformers.data.simulated.ROWS_PER_CHUNK", 2)
    part = simulate_dataset("deeplense_model_2", 5, seed=1, start=2)
    np.testing.assert_array_equal(part["image"][:], whole["image"][2:])
    assert part["label"][:].tolist() == [2, 0, 1, 2, 0]


def test_pairs_have_a_target_and_no_label():
    dataset = simulate_dataset("sr_deeplense", 2)
    assert dataset[0]["image"].shape == (1, 75, 75) and dataset[0]["target"].shape == (1, 150, 150)
    assert "label" not in dataset.features


def test_a_simulated_set_survives_parquet(tmp_path):
    (tmp_path / "data").mkdir()
    dataset = simulate_dataset("deeplense_model_2", 3)
    dataset.to_parquet(tmp_path / "data/test-00000-of-00001.parquet")
    loaded = load_lensing_dataset(tmp_path, "test")
    assert loaded.features == dataset.features
    np.testing.assert_array_equal(loaded["image"][:], dataset["image"][:])


def test_a_stream_has_the_rows_of_the_dataset_whoever_reads_it(monkeypatch):
    monkeypatch.setattr("lens_transformers.data.simulated.ROWS_PER_CHUNK", 4)
    monkeypatch.setattr("lens_transformers.data.simulated._ROWS_AT_ONCE", 3)
    whole = simulate_dataset("deeplense_model_2", 10, seed=2, start=5)
    stream = simulate_dataset("deeplense_model_2", 10, seed=2, start=5, streaming=True)
    assert stream.features == whole.features
    assert stream.num_shards == 3
    np.testing.assert_array_equal(np.stack([row["image"] for row in stream]), whole["image"][:])
    nodes = [split_dataset_by_node(stream, rank=rank, world_size=3) for rank in range(3)]
    labels = [int(row["label"]) for node in nodes for row in node]
    assert sorted(labels) == sorted(whole["label"][:].tolist())


def test_a_stream_simulates_no_more_than_is_read():
    stream = simulate_dataset("lens_default", 10**12, streaming=True)
    first = next(iter(stream.take(1)))
    np.testing.assert_array_equal(first["image"], simulate("lens_default", 1).image[0].numpy())


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="num_images must be at least 1, got 0"):
        simulate_dataset("deeplense_model_2", 0)
