"""A stream of training images that has no end."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import torch
from datasets import IterableDataset

from lens_transformers.data import LensDataCollator


class EndlessPasses(torch.utils.data.IterableDataset):
    """Passes over a stream, one after the other, each augmented anew, and in another order if it is shuffled.

    To `Trainer` it is one epoch without end, and so a run that is resumed finds its place in it whatever pass that is.

    Args:
        stream: Rows; it may be endless itself.
        collator: Told of every pass.
    """

    def __init__(self, stream: IterableDataset, collator: LensDataCollator):
        self.stream = stream
        self.collator = collator

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yields rows."""
        for number in count():
            self.stream.set_epoch(number)
            self.collator.set_epoch(number)
            yield from self.stream
