"""Rows into a batch for a model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from .augmentation import AUGMENTATIONS, Augmentation, LensAugmentation, get_augmentation, sample_keys
from .tasks import Task, check_task


__all__ = ["EPOCH", "EpochCallback", "LensDataCollator", "MaskedCollator"]


# Beside the columns of a row: the pass over a stream that it is of, which wins over that of `set_epoch`.
EPOCH = "(epoch)"


class LensDataCollator:
    """Turns rows of a dataset into `pixel_values` and, where the task has them, `labels` or `imprint`.

    What an image draws depends on its pixels, the seed and the epoch alone: not on the batch it is in, the number of
    data-loading workers, or torch's random state. So that images change anew in every epoch, transformers' `Trainer`
    needs a callback that tells the collator, `hub.trainer.LensTrainer` has it, and another loop calls `set_epoch`:

    ```python
    augmentation = get_augmentation("continuous", noise_std=0.01, max_psf_fwhm=1.0)
    collator = LensDataCollator(image_processor, "classification", augmentation, seed=arguments.seed)
    trainer = Trainer(model, arguments, collator, dataset, callbacks=[EpochCallback(collator)])
    ```

    `Trainer` takes away the columns that the network has no arguments for, `image` among them, unless its arguments
    have `remove_unused_columns=False`.

    Args:
        image_processor: Called as `image_processor(images=..., return_tensors="pt")` on a batch of images
            `(batch, bands, height, width)`; its `pixel_values` go to the model.
        task: `"classification"` gives int64 class ids as labels, `"super_resolution"` the target images in float32 and
            in their own flux unit, `"pretraining"` no labels but what the image processor makes of the `imprint` that
            rows may have.
        augmentation: What to change at random in each row, the same for an image and its target: a `LensAugmentation`,
            or the name of one for `get_augmentation`.
        seed: Draws other changes.

    Raises:
        ValueError: If the task or augmentation is not known.
    """

    def __init__(
        self,
        image_processor: Callable[..., Mapping[str, Any]],
        task: Task,
        augmentation: Augmentation | LensAugmentation = "none",
        seed: int = 0,
    ):
        check_task(task)
        self.image_processor = image_processor
        self.task = task
        self.augmentation = get_augmentation(augmentation) if isinstance(augmentation, str) else augmentation
        self.seed = seed
        # Shared, so that workers which outlive an epoch hear of the next one.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Lets images draw anew, in data-loading workers as well."""
        self._epoch.fill_(epoch)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Collates rows into a batch.

        Args:
            rows: Rows with `image` and what the task needs, of a dataset in numpy or torch format. Images are
                `(bands, height, width)`, or `(height, width)` of one band.

        Returns:
            `pixel_values` `(batch, bands, height, width)` and `labels`, `(batch,)` or
            `(batch, bands, height * scale, width * scale)`, or `imprint`, `(batch, bands, height, width)`; contiguous,
            and images in float32.

        Raises:
            ValueError: If a row lacks a column that the task needs, an array is no image, images differ in size and
                are not all of a row (alone they become those of one size where the image processor resizes), or the
                image processor would scale an imprint by its own extremes.
        """
        images: Any = _arrays(rows, "image")
        targets = None
        if self.task == "super_resolution":
            targets = _stacked(rows, "target")
        elif self.task == "pretraining" and "imprint" in rows[0]:
            if getattr(self.image_processor, "normalization", None) == "min_max":
                raise ValueError("An imprint cannot be scaled as its image by normalization min_max: take arcsinh.")
            targets = _stacked(rows, "imprint")
        if targets is not None or self.augmentation != AUGMENTATIONS["none"]:
            images = _stacked(rows, "image")
        if self.augmentation != AUGMENTATIONS["none"]:
            epoch = int(self._epoch)
            keys = sample_keys(images.numpy(), self.seed, [int(row.get(EPOCH, epoch)) for row in rows])
            images, targets = self.augmentation(images, targets, keys=keys)
        pixel_values = self.image_processor(images=images, return_tensors="pt")["pixel_values"]
        batch = {"pixel_values": pixel_values.contiguous()}
        if self.task == "classification":
            batch["labels"] = torch.tensor([int(_value(row, "label")) for row in rows], dtype=torch.int64)
        elif targets is not None:
            if self.task == "pretraining":
                targets = self.image_processor(images=targets, return_tensors="pt")["pixel_values"]
            # To Trainer, what it may lack are no labels: without them it would not measure the loss.
            batch["imprint" if self.task == "pretraining" else "labels"] = targets.contiguous()
        return batch


class MaskedCollator:
    """Makes batches whose blocks are hidden by the pixels and a seed alone: the same in every evaluation and process.

    Args:
        collator: Makes batches of images.
        block_size: Side of the blocks that are hidden together, in pixels.
        seed: Draws other masks than those of trainings and reports, whose errors can so be compared image by image.
    """

    def __init__(self, collator: LensDataCollator, block_size: int, seed: int = 0):
        self.collator = collator
        self.block_size = block_size
        self.seed = seed

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Collates rows, and draws `noise` `(batch, blocks)` for the network."""
        batch = self.collator(rows)
        pixel_values = batch["pixel_values"]
        height, width = pixel_values.shape[2:]
        num_blocks = -(-height // self.block_size) * -(-width // self.block_size)
        noise = [
            torch.rand(num_blocks, generator=torch.Generator().manual_seed(key % 2**63))
            for key in sample_keys(pixel_values.numpy(), self.seed, epoch=0)
        ]
        return {**batch, "noise": torch.stack(noise)}


class EpochCallback(TrainerCallback):
    """Tells a collator of every epoch that `Trainer` begins, and of the one that it resumes in.

    Args:
        collator: The `data_collator` of the same `Trainer`.
    """

    def __init__(self, collator: LensDataCollator):
        self.collator = collator
        self._next = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begins with the epoch of the checkpoint, or with the first."""
        self._next = int(state.epoch or 0)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Passes the epoch on. It is counted here: of a stream without a length, `state.epoch` lags behind."""
        self.collator.set_epoch(self._next)
        self._next += 1


def _arrays(rows: Sequence[Mapping[str, Any]], column: str) -> torch.Tensor | list[np.ndarray]:
    """The arrays of a column, in one piece where they are of one size."""
    arrays = [_with_bands(np.asarray(_value(row, column), dtype=np.float32), column) for row in rows]
    return torch.from_numpy(np.stack(arrays)) if len({array.shape for array in arrays}) == 1 else arrays


def _with_bands(array: np.ndarray, column: str) -> np.ndarray:
    if array.ndim == 2:
        return array[None]
    if array.ndim != 3:
        raise ValueError(
            f"Column {column!r} holds an array of the shape {array.shape}: give (bands, height, width), or "
            "(height, width)."
        )
    return array


def _stacked(rows: Sequence[Mapping[str, Any]], column: str) -> torch.Tensor:
    arrays = _arrays(rows, column)
    if not isinstance(arrays, torch.Tensor):
        shapes = sorted({array.shape for array in arrays})
        raise ValueError(
            f"Column {column!r} holds arrays of the shapes {', '.join(map(str, shapes))}, which make no batch: cut or "
            "resize them to one size first."
        )
    return arrays


def _value(row: Mapping[str, Any], column: str) -> Any:
    if column not in row:
        raise ValueError(
            f"The task needs a column {column!r}; the rows have {', '.join(row)}. (Trainer takes columns away, unless "
            "its arguments have remove_unused_columns=False.)"
        )
    return row[column]
