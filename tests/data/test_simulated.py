import numpy as np
import pytest
import yaml
from datasets import IterableDataset
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader

from lens_transformers.data import LoadReport, lens_features, load_lensing_dataset, simulate_dataset
from lens_transformers.data.simulated import SPLIT_SIZES, find_simulation, load_simulated
from lens_transformers.simulation import get_preset, simulate


SMALL = "simulate:deeplense_model_2?num_train=5&num_validation=3&num_test=4&seed=7"


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


def test_imprints_come_where_they_are_asked_for():
    dataset, _ = load_simulated(f"{SMALL}&imprint=1", "test", "pretraining")
    plain, _ = load_simulated(SMALL, "test", "pretraining")
    assert dataset.column_names == [plain.column_names[0], "imprint", *plain.column_names[1:]]
    np.testing.assert_array_equal(dataset["image"][:], plain["image"][:])
    assert np.abs(dataset["imprint"][1:3]).max() > 1e-3
    with pytest.raises(ValueError, match="imprint must be a whole number of at least 0 and below 2"):
        load_simulated(f"{SMALL}&imprint=2", "test", "pretraining")


def test_a_simulated_set_survives_parquet(tmp_path):
    (tmp_path / "data").mkdir()
    dataset = simulate_dataset("deeplense_model_2", 3, imprint=True)
    dataset.to_parquet(tmp_path / "data/test-00000-of-00001.parquet")
    loaded = load_lensing_dataset(tmp_path, "test")
    assert loaded.features == dataset.features
    for column in ("image", "imprint"):
        np.testing.assert_array_equal(loaded[column][:], dataset[column][:])


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


def _bytes(rows):
    return [row["image"].tobytes() for row in rows]


def test_a_preset_is_a_source_whose_splits_share_no_sample():
    report = LoadReport()
    splits = {name: load_lensing_dataset(SMALL, name, report=report) for name in SPLIT_SIZES}
    assert {name: len(split) for name, split in splits.items()} == {"train": 5, "validation": 3, "test": 4}
    assert report.num_rows == 4 and report.recognised == f"{SMALL}: lenses to simulate, split test, seed 7."
    everything = load_lensing_dataset(SMALL, "all")
    assert _bytes(everything) == sum(map(_bytes, splits.values()), []) and len(set(_bytes(everything))) == 12
    # Nor with a folder that simulate.py wrote with the same seed.
    assert not set(_bytes(everything)) & set(_bytes(simulate_dataset("deeplense_model_2", 12, seed=7)))
    assert everything.features == simulate_dataset("deeplense_model_2", 1).features
    assert len(np.unique(splits["train"]["label"][:])) == 3


def test_a_larger_source_begins_with_the_smaller_one_and_leaves_its_other_splits_alone():
    larger = SMALL.replace("num_train=5", "num_train=8")
    assert _bytes(load_lensing_dataset(larger))[:5] == _bytes(load_lensing_dataset(SMALL))
    assert _bytes(load_lensing_dataset(larger, "test")) == _bytes(load_lensing_dataset(SMALL, "test"))
    assert not set(_bytes(load_lensing_dataset(SMALL))) & set(_bytes(load_lensing_dataset(SMALL[:-1] + "8")))


def test_a_source_is_simulated_once_and_alike_with_any_workers(monkeypatch, tmp_path):
    monkeypatch.setattr("lens_transformers.data.simulated.ROWS_PER_CHUNK", 2)
    loaded = []
    for workers in (1, 2):
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / str(workers)))
        loaded.append(_bytes(load_lensing_dataset(SMALL, num_workers=workers)))
    assert loaded[0] == loaded[1]

    def one_to_see_its_shape(config, num_images, *arguments, **options):
        assert num_images == 1
        return simulate(config, num_images, *arguments, **options)

    monkeypatch.setattr("lens_transformers.data.simulated.simulate", one_to_see_its_shape)
    assert _bytes(load_lensing_dataset(SMALL)) == loaded[0]


def test_pairs_are_a_source_for_super_resolution():
    rows = load_lensing_dataset("simulate:sr_deeplense?num_test=2", "test", "super_resolution")
    assert rows[0]["image"].shape == (1, 75, 75) and rows[1]["target"].shape == (1, 150, 150)


def test_a_stream_of_a_preset_has_no_end_and_other_splits_their_size():
    report = LoadReport()
    stream = load_lensing_dataset(SMALL, "test", streaming=True, report=report)
    assert (
        isinstance(stream, IterableDataset)
        and report.num_rows is None
        and _bytes(stream) == _bytes(load_lensing_dataset(SMALL, "test"))
    )
    endless = load_lensing_dataset("simulate:deeplense_model_2?seed=7", task="pretraining", streaming=True)
    rows = _bytes(endless.take(130))
    assert len(set(rows)) == 130 and rows[:5] == _bytes(load_lensing_dataset(SMALL))
    assert endless.num_shards == 1024


def test_an_endless_stream_goes_on_where_its_state_was_saved_without_simulating_what_was_seen(monkeypatch):
    def stream():
        return load_lensing_dataset("simulate:deeplense_model_2", task="pretraining", streaming=True)

    monkeypatch.setattr("lens_transformers.data.simulated._ROWS_AT_ONCE", 4)
    whole, interrupted = _bytes(stream().take(24)), stream()
    rows = iter(interrupted)
    seen = _bytes(next(rows) for _ in range(18))
    resumed = stream()
    resumed.load_state_dict(interrupted.state_dict())
    simulated = []

    def counting(*arguments, **options):
        simulated.append(arguments[1])
        return simulate(*arguments, **options)

    monkeypatch.setattr("lens_transformers.data.simulated.simulate", counting)
    rows = iter(resumed)
    assert seen + _bytes(next(rows) for _ in range(6)) == whole
    assert simulated == [4, 4]


def test_ranks_and_workers_of_an_endless_stream_share_no_sample(monkeypatch):
    # datasets waits five seconds for its threads at the end of a worker.
    monkeypatch.setattr("datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN", 0.01)
    stream = load_lensing_dataset("simulate:deeplense_model_2", task="pretraining", streaming=True)
    images = []
    for rank in range(2):
        part = split_dataset_by_node(stream, rank=rank, world_size=2).with_format("torch")
        batches = iter(DataLoader(part, batch_size=3, num_workers=2))
        images += [image.numpy().tobytes() for _ in range(4) for image in next(batches)["image"]]
    assert len(images) == len(set(images)) == 24


@pytest.mark.parametrize(
    ("source", "task", "message"),
    [
        ("simulate:lens_defaul", "pretraining", "There is no simulation preset 'lens_defaul'. Did you mean lens_defa"),
        (
            "simulate:lens_default?num_images=3",
            "pretraining",
            "'num_images' is no setting; there are seed, imprint, num_train",
        ),
        ("simulate:lens_default?seed=-1", "pretraining", "seed must be a whole number of at least 0 .* got '-1'"),
        ("simulate:lens_default?num_train=0", "pretraining", "num_train must be a whole number of at least 1 .* '0'"),
        ("simulate:lens_default", "super_resolution", "needs 'target', which this preset does not make"),
        ("simulate:sr_deeplense", "classification", "needs 'label', which this preset does not make"),
    ],
)
def test_a_source_that_cannot_be_simulated_is_refused(source, task, message):
    with pytest.raises(ValueError, match=message):
        load_lensing_dataset(source, task=task)


def test_what_simulated_a_set_is_found_in_its_folder_or_in_its_name(tmp_path):
    named = find_simulation("simulate:sr_deeplense?seed=3&num_test=2", "test")
    rows = load_lensing_dataset("simulate:sr_deeplense?seed=3&num_test=2", split="test", task="super_resolution")
    again = simulate(named.config, 2, named.seed, start=named.first_sample)
    np.testing.assert_array_equal(rows["target"][:], again.target)
    assert find_simulation(str(tmp_path), "test") is None
    config = get_preset("lens_default").with_overrides({"instrument.num_pixels": 24})
    record = {"preset": "lens_default", "seed": 5, "splits": {"test": {"first_sample": 7, "num_images": 2}}}
    (tmp_path / "simulation.yaml").write_text(yaml.safe_dump({**record, "config": config.to_dict()}))
    assert find_simulation(str(tmp_path), "test") == (config, 5, 7)
    assert find_simulation(str(tmp_path), "all") == (config, 5, None)
    (tmp_path / "simulation.yaml").write_text(config.to_yaml())
    with pytest.raises(ValueError, match="simulation.yaml does not say what simulate.py writes there"):
        find_simulation(str(tmp_path), "all")
