"""A stream of training images that has no end."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import torch
from datasets import IterableDataset

from lens_transformers.data.collator import EPOCH


class EndlessPasses(torch.utils.data.IterableDataset):
    """Passes over a stream, one after the other, each augmented anew, and in another order if it is shuffled.

    To `Trainer` it is one epoch without end, and so a run that is resumed finds its place in it whatever pass that is.

    Args:
        stream: Rows; it may be endless itself.
    """

    def __init__(self, stream: IterableDataset):
        self.stream = stream

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yields rows, each with the number of its pass: workers, and rows of one batch, are not all in the same."""
        for number in count():
            self.stream.set_epoch(number)
            row = None
            for row in self.stream:
                yield {**row, EPOCH: number}
            if row is None:  # a worker for which there is no shard
                return
