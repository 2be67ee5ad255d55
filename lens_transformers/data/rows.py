"""Batches of rows straight from memory, for training loops that draw them at random."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Array3D, ClassLabel, Dataset, Value


__all__ = ["LensDataset"]


class LensDataset(Dataset):
    """A `datasets.Dataset` of which a `DataLoader` gets batches several times as fast, and is no different otherwise.

    datasets cuts every row that is drawn out of the Arrow table, wraps each of its columns and turns them into arrays
    one by one. This one keeps a view of every column, and copies rows out of these.
    """

    @classmethod
    def of(cls, dataset: Dataset) -> LensDataset:
        """Gives the same rows, in the same format."""
        rows = cls(
            dataset.data,
            info=dataset.info,
            split=dataset.split,
            indices_table=dataset._indices,
            fingerprint=dataset._fingerprint,
        )
        rows.set_format(**dataset.format)
        return rows

    def __getitems__(self, keys: Sequence[int]) -> list[dict[str, Any]]:
        """Gives rows in numpy format, numbers in their own dtype; in other formats as datasets does."""
        own = self.format
        has_all = set(own["columns"]) == set(self.column_names)
        is_numpy = own["type"] == "numpy" and has_all and not own["format_kwargs"]
        indices = np.asarray(keys, dtype=np.int64)
        indices = np.where(indices < 0, indices + len(self), indices)
        if not is_numpy or self._views is None or (indices < 0).any() or (indices >= len(self)).any():
            return super().__getitems__(keys)
        if self._indices is not None:
            indices = self._indices.column(0).take(pa.array(indices)).to_numpy().astype(np.int64)
        chunks = np.searchsorted(self._starts, indices, side="right") - 1
        rows = indices - self._starts[chunks]
        return [
            {name: _own(views[chunk][row]) for name, views in self._views.items()}
            for chunk, row in zip(chunks.tolist(), rows.tolist(), strict=True)
        ]

    def select(self, *args: Any, **kwargs: Any) -> Dataset:
        """As datasets' own, and as fast as this one."""
        return self.of(super().select(*args, **kwargs))

    def __getstate__(self) -> dict[str, Any]:
        # Views would be copied with all their pixels.
        return {name: value for name, value in vars(self).items() if name not in ("_views", "_starts")}

    @functools.cached_property
    def _views(self) -> dict[str, list[np.ndarray]] | None:
        """Every column as arrays, one a chunk of the table, without copies of pixels; `None` if it has others."""
        chunks = {name: self.data.column(name).chunks for name in self.column_names}
        lengths = {tuple(map(len, parts)) for parts in chunks.values()}
        known = (Array3D, ClassLabel, Value)
        if len(lengths) != 1 or not all(isinstance(feature, known) for feature in self.features.values()):
            return None
        # Arrow would make floats of whole numbers among which some are missing.
        if any(part.null_count and pa.types.is_integer(part.type) for parts in chunks.values() for part in parts):
            return None
        return {name: [chunk.to_numpy(zero_copy_only=False) for chunk in parts] for name, parts in chunks.items()}

    @functools.cached_property
    def _starts(self) -> np.ndarray:
        """Index of the first row of each chunk."""
        lengths = [len(chunk) for chunk in self.data.column(0).chunks]
        return np.cumsum([0, *lengths[:-1]])


def _own(value: Any) -> Any:
    """A copy of an image, which may be written to."""
    return value.copy() if isinstance(value, np.ndarray) else value
