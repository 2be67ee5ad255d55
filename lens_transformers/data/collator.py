"""Rows into a batch for a model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from .augmentation import AUGMENTATIONS, Augmentation, LensAugmentation, check_augmentation, sample_keys
from .tasks import Task, check_task


__all__ = ["LensDataCollator"]


class LensDataCollator:
    """Turns rows of a dataset into `pixel_values` and, where the task has them, `labels`.

    Args:
        image_processor: Called as `image_processor(images=..., return_tensors="pt")` on a batch of images
            `(batch, bands, height, width)`; its `pixel_values` go to the model.
        task: `"classification"` gives int64 class ids as labels, `"super_resolution"` the target images in float32 and
            in their own flux unit, `"pretraining"` none.
        augmentation: What to change at random in each row, the same for an image and its target: a `LensAugmentation`,
            or the name of one: `"none"`, `"half_turn"`, `"dihedral"`, or `"continuous"` with any rotation and shifts
            of up to half a pixel.
        seed: With a seed, what a row draws depends on its pixels, the seed and the epoch that `set_epoch` was told.
            Without, it draws from torch's global generator, which `Trainer` seeds in every data-loading worker.

    Raises:
        ValueError: If the task or augmentation is not known.
    """

    def __init__(
        self,
        image_processor: Callable[..., Mapping[str, Any]],
        task: Task,
        augmentation: Augmentation | LensAugmentation = "none",
        seed: int | None = None,
    ):
        check_task(task)
        if isinstance(augmentation, str):
            check_augmentation(augmentation)
        self.image_processor = image_processor
        self.task = task
        self.augmentation = AUGMENTATIONS[augmentation] if isinstance(augmentation, str) else augmentation
        self.seed = seed
        # Shared, so that workers which outlive an epoch hear of the next one.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Lets rows draw anew, where there is a seed; in data-loading workers as well."""
        self._epoch.fill_(epoch)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Collates rows into a batch.

        Args:
            rows: Rows with `image` and what the task needs, of a dataset in numpy or torch format.

        Returns:
            `pixel_values` `(batch, bands, height, width)` and `labels`, `(batch,)` or
            `(batch, bands, height * scale, width * scale)`; contiguous, and images in float32.

        Raises:
            ValueError: If a row lacks a column that the task needs.
        """
        images = _stacked(rows, "image")
        targets = _stacked(rows, "target") if self.task == "super_resolution" else None
        if self.augmentation is not None:
            keys = self._keys(images)
            images, targets = self.augmentation(images, targets, keys=keys)
        pixel_values = self.image_processor(images=images, return_tensors="pt")["pixel_values"]
        batch = {"pixel_values": pixel_values.contiguous()}
        if self.task == "classification":
            batch["labels"] = torch.tensor([int(_value(row, "label")) for row in rows], dtype=torch.int64)
        elif targets is not None:
            batch["labels"] = targets.contiguous()
        return batch

    def _keys(self, images: torch.Tensor) -> list[int]:
        if self.seed is None:
            return torch.randint(2**63 - 1, (len(images),)).tolist()
        return sample_keys(images.numpy(), self.seed, int(self._epoch))


def _stacked(rows: Sequence[Mapping[str, Any]], column: str) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(_value(row, column), dtype=np.float32) for row in rows]))


def _value(row: Mapping[str, Any], column: str) -> Any:
    if column not in row:
        raise ValueError(f"The task needs a column {column!r}; the rows have {', '.join(row)}.")
    return row[column]
