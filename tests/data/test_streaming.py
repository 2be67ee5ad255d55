import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from accelerate import skip_first_batches
from datasets import Array3D, Dataset, IterableDataset
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader

from lens_transformers.data import LoadReport, lens_features, load_lensing_dataset
from lens_transformers.data.schema import dataset_from_chunks


NUM_SHARDS, ROWS_PER_SHARD = 6, 20
NUM_ROWS = NUM_SHARDS * ROWS_PER_SHARD


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    # datasets waits five seconds for its threads at the end of a shuffled epoch.
    monkeypatch.setattr("datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN", 0.01)


@pytest.fixture
def shards(tmp_path):
    """Parquet shards whose image i has the value i in one corner."""
    (tmp_path / "data").mkdir()
    for shard in range(NUM_SHARDS):
        images = np.zeros((ROWS_PER_SHARD, 1, 4, 4), np.float32)
        images[:, 0, 0, 0] = 1 + np.arange(shard * ROWS_PER_SHARD, (shard + 1) * ROWS_PER_SHARD)
        dataset = dataset_from_chunks([{"image": images}], lens_features((1, 4, 4), label=False))
        dataset.to_parquet(tmp_path / f"data/train-{shard:05d}-of-{NUM_SHARDS:05d}.parquet")
    return tmp_path


def _stream(folder, **options) -> IterableDataset:
    return load_lensing_dataset(folder, task="pretraining", streaming=True, **options)


def _rows(stream):
    return [round(float(row["image"][0, 0, 0])) - 1 for row in stream]


def test_a_stream_has_the_rows_of_the_table_as_float32_arrays(shards):
    stream = _stream(shards)
    assert isinstance(stream, IterableDataset) and stream.num_shards == NUM_SHARDS
    first = next(iter(stream))
    assert first["image"].dtype == np.float32 and first["image"].shape == (1, 4, 4)
    assert _rows(stream) == list(range(NUM_ROWS))


def test_a_shuffle_buffer_gives_every_row_once_in_another_order_each_epoch(shards):
    stream = _stream(shards).shuffle(seed=0, buffer_size=30)
    epochs = []
    for epoch in (0, 1, 0):
        stream.set_epoch(epoch)
        epochs.append(_rows(stream))
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(NUM_ROWS))
    assert epochs[0] == epochs[2] != epochs[1] and epochs[0] != list(range(NUM_ROWS))


def test_a_stream_goes_on_where_its_state_was_saved(shards):
    stream = _stream(shards)
    rows = iter(stream)
    before = _rows([next(rows) for _ in range(47)])
    resumed = _stream(shards)
    resumed.load_state_dict(stream.state_dict())
    assert before + _rows(resumed) == list(range(NUM_ROWS))


def test_a_shuffled_stream_goes_on_as_trainer_does_it_by_skipping_the_batches_that_were_seen(shards):
    def loader():
        stream = _stream(shards).shuffle(seed=0, buffer_size=30)
        stream.set_epoch(2)
        return DataLoader(stream.with_format("torch"), batch_size=8)

    whole = [_rows([{"image": image} for image in batch["image"]]) for batch in loader()]
    rest = [_rows([{"image": image} for image in batch["image"]]) for batch in skip_first_batches(loader(), 6)]
    assert len(rest) == 9 and rest == whole[6:]


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_share_out_every_row_once(world_size, shards):
    parts = [
        _rows(split_dataset_by_node(_stream(shards).shuffle(seed=0, buffer_size=30), rank, world_size))
        for rank in range(world_size)
    ]
    assert sorted(sum(parts, [])) == list(range(NUM_ROWS))


_RANK = """
import sys
import datasets
import torch.distributed as dist
from datasets.distributed import split_dataset_by_node
from lens_transformers.data import load_lensing_dataset

datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN = 0.01
dist.init_process_group("gloo")
stream = load_lensing_dataset(sys.argv[1], task="pretraining", streaming=True).shuffle(seed=0, buffer_size=30)
stream = split_dataset_by_node(stream, dist.get_rank(), dist.get_world_size())
for epoch in range(2):
    stream.set_epoch(epoch)
    rows = [round(float(row["image"][0, 0, 0])) - 1 for row in stream]
    everyone = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, rows)
    assert all(everyone), everyone
    assert not set(everyone[0]) & set(everyone[1]), everyone
    assert sorted(sum(everyone, [])) == list(range(int(sys.argv[2]))), everyone
    # Each rank reads its own files.
    assert len({row // int(sys.argv[3]) for row in rows}) == 3, rows
dist.destroy_process_group()
print("all rows once")
"""


def test_two_processes_read_their_own_shards_and_lose_nothing(shards, tmp_path):
    (tmp_path / "rank.py").write_text(_RANK)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    result = subprocess.run(
        [*launch, str(tmp_path / "rank.py"), str(shards), str(NUM_ROWS), str(ROWS_PER_SHARD)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count("all rows once") == 2


def _spoiled(folder, in_schema, first=3):
    """Five rows, of which one is constant and the next has a NaN."""
    images = np.random.default_rng(0).random((5, 1, 4, 4), dtype=np.float32)
    images[first] = 0
    images[(first + 1) % 5, 0, 2, 1] = np.nan
    columns = {"image": images, "label": np.arange(5) % 3, "axis_ratio": np.linspace(0.5, 1, 5)}
    features = lens_features((1, 4, 4), parameters={"axis_ratio": "float64"})
    if not in_schema:
        features["image"] = Array3D((1, 4, 4), "float64")
        columns["image"] = images.astype(np.float64)
    (folder / "data").mkdir()
    dataset_from_chunks([columns], features).to_parquet(folder / "data/train.parquet")
    return columns


@pytest.mark.parametrize("in_schema", [True, False])
def test_a_stream_drops_repairs_and_reports_as_a_table_that_is_loaded(in_schema, tmp_path, caplog):
    _spoiled(tmp_path, in_schema)
    options = {"on_error": "skip", "nan_fill": 0.25}
    loaded, streamed = LoadReport(), LoadReport()
    table = load_lensing_dataset(tmp_path, **options, report=loaded)
    caplog.clear()
    stream = load_lensing_dataset(tmp_path, **options, report=streamed, streaming=True)
    assert stream.features == table.features and streamed.num_rows is None and not streamed.dropped
    for _ in range(2):  # the second time finds nothing new
        rows = list(stream)
        for name in table.features:
            np.testing.assert_array_equal([row[name] for row in rows], table[name][:])
    assert [finding.reason for finding in streamed.dropped] == [finding.reason for finding in loaded.dropped]
    assert [finding.reason for finding in streamed.repaired] == [finding.reason for finding in loaded.repaired]
    assert [finding.where for finding in streamed.repaired] == [f"{tmp_path}, row 4 of this stream"]
    assert len(caplog.messages) == 2 and "1 images repaired" in caplog.text and "row 4 of" in str(streamed)


@pytest.mark.parametrize("in_schema", [True, False])
@pytest.mark.parametrize(("first", "message"), [(3, "row 3 .* the image is constant"), (4, "row 0 .* NaN or inf")])
def test_bad_rows_of_a_stream_are_named_when_they_come(in_schema, first, message, tmp_path):
    _spoiled(tmp_path, in_schema, first)
    with pytest.raises(ValueError, match=message):
        list(load_lensing_dataset(tmp_path, streaming=True))


def test_a_stream_of_other_schema_begins_after_rows_that_cannot_be_read(tmp_path):
    Dataset.from_dict({"image": [None, np.eye(4).tolist()]}).to_parquet(tmp_path / "train.parquet")
    assert len(list(_stream(tmp_path, on_error="skip"))) == 1
    Dataset.from_dict({"image": [None, [1.0]]}).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(ValueError, match="none of the rows can be read, first row 0: its image is missing"):
        _stream(tmp_path, on_error="skip")


def test_workers_of_a_stream_drop_and_repair_as_well(tmp_path):
    _spoiled(tmp_path, True)
    stream = load_lensing_dataset(tmp_path, on_error="skip", nan_fill=0.25, streaming=True)
    (batch,) = DataLoader(stream.with_format("torch"), batch_size=5, num_workers=1)
    assert batch["image"].shape == (4, 1, 4, 4) and batch["image"][3, 0, 2, 1] == 0.25


def test_files_stream_after_they_were_read(tmp_path):
    for index in range(3):
        np.save(tmp_path / f"{index}.npy", np.eye(4) + index)
    stream = _stream(tmp_path)
    assert isinstance(stream, IterableDataset) and _rows(stream) == [0, 1, 2]
