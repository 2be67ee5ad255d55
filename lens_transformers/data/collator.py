"""Rows into a batch for a model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from .augmentation import Augmentation, augment, check_augmentation
from .tasks import Task, check_task


__all__ = ["LensDataCollator"]


class LensDataCollator:
    """Turns rows of a dataset into `pixel_values` and, where the task has them, `labels`.

    Args:
        image_processor: Called as `image_processor(images=[...], return_tensors="pt")` on arrays
            `(bands, height, width)`; its `pixel_values` go to the model.
        task: `"classification"` gives int64 class ids as labels, `"super_resolution"` the target images in float32 and
            in their own flux unit, `"pretraining"` none.
        augmentation: Random symmetry for each row, the same for an image and its target: `"none"`, `"half_turn"` or
            `"dihedral"` (see `data.augmentation.augment`). It draws from torch's global generator, which `Trainer`
            seeds in every data-loading worker.

    Raises:
        ValueError: If the task or augmentation is not known.
    """

    def __init__(
        self, image_processor: Callable[..., Mapping[str, Any]], task: Task, augmentation: Augmentation = "none"
    ):
        check_task(task)
        check_augmentation(augmentation)
        self.image_processor = image_processor
        self.task = task
        self.augmentation = augmentation

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Collates rows into a batch.

        Args:
            rows: Rows with `image` and what the task needs, of a dataset in numpy or torch format.

        Returns:
            `pixel_values` `(batch, bands, height, width)` and `labels`, `(batch,)` or
            `(batch, bands, height * scale, width * scale)`.

        Raises:
            ValueError: If a row lacks a column that the task needs.
        """
        columns = ["image", "target"] if self.task == "super_resolution" else ["image"]
        augmented = [augment([_array(row, name) for name in columns], self.augmentation) for row in rows]
        images = [arrays[0] for arrays in augmented]
        batch = {"pixel_values": self.image_processor(images=images, return_tensors="pt")["pixel_values"]}
        if self.task == "classification":
            batch["labels"] = torch.tensor([int(_value(row, "label")) for row in rows], dtype=torch.int64)
        elif self.task == "super_resolution":
            batch["labels"] = torch.from_numpy(np.stack([arrays[1] for arrays in augmented]))
        return batch


def _value(row: Mapping[str, Any], column: str) -> Any:
    if column not in row:
        raise ValueError(f"The task needs a column {column!r}; the rows have {', '.join(row)}.")
    return row[column]


def _array(row: Mapping[str, Any], column: str) -> np.ndarray:
    return np.asarray(_value(row, column), dtype=np.float32)
