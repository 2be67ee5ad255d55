"""Streams without end."""

import datasets
import numpy as np
from streams import EndlessPasses
from torch.utils.data import DataLoader

from lens_transformers.data.collator import EPOCH


def _stream(num_rows, num_shards):
    return datasets.Dataset.from_dict({"row": np.arange(num_rows)}).to_iterable_dataset(num_shards=num_shards)


def test_rows_tell_their_pass():
    rows = iter(EndlessPasses(_stream(3, 1)))
    passes = [next(rows) for _ in range(7)]
    assert [row[EPOCH] for row in passes] == [0, 0, 0, 1, 1, 1, 2] and [row["row"] for row in passes[3:6]] == [0, 1, 2]


def test_a_worker_without_a_shard_ends_and_the_others_go_on():
    loader = DataLoader(EndlessPasses(_stream(4, 1)), 2, num_workers=2, collate_fn=list, timeout=60)
    batches = iter(loader)
    assert [row["row"] for _ in range(4) for row in next(batches)] == [0, 1, 2, 3, 0, 1, 2, 3]
