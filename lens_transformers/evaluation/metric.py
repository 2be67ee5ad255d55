"""What the metrics of this room have in common: they need neither network nor files."""

from collections.abc import Mapping
from typing import Any

import datasets
import evaluate
import numpy as np
import torch

from .bootstrap import compute_with_intervals


__all__ = ["InMemoryMetric", "PerImageMetric", "as_array", "as_image_pair"]


class InMemoryMetric(evaluate.Metric):
    """An `evaluate.Metric` that keeps what it is given in memory.

    `evaluate` would otherwise write every batch into a cache folder in the user's home, where processes of the same
    experiment meet. Several processes gather each batch before it is added, as `Trainer` does:
    `accelerator.gather_for_metrics` leaves out the images that fill up the last one.
    """

    def __init__(self) -> None:
        super().__init__(keep_in_memory=True)

    def compute(
        self, *, predictions=None, references=None, confidence_level: float = 0.95, seed: int = 0, **kwargs: Any
    ) -> dict[str, Any]:
        """Computes the metric of everything added so far, and of what is given here.

        Args:
            predictions: As of `add_batch`.
            references: As of `add_batch`.
            confidence_level: That of the intervals.
            seed: Draws the resamples of images that the intervals come from.
            **kwargs: As of `add_batch`.

        Returns:
            The numbers, and `intervals`: `[low, high]` of each by its name, from a bootstrap over images.

        Raises:
            ValueError: If no images were added, or `confidence_level` is not between 0 and 1.
        """
        if predictions is not None or references is not None:
            self.add_batch(predictions=predictions, references=references, **kwargs)
        if len(self) == 0:
            raise ValueError(f"{type(self).__name__}: no images were added.")
        return super().compute(confidence_level=confidence_level, seed=seed)

    def add(self, *, prediction=None, reference=None, **kwargs: Any) -> None:
        """Adds one image; the arguments are those of `add_batch` without the batch axis."""
        batch = {"predictions": prediction, "references": reference, **kwargs}
        for name, value in batch.items():
            batch[name] = (value if isinstance(value, torch.Tensor) else np.asarray(value))[None]
        self.add_batch(**batch)

    def _columns(self) -> dict[str, Any]:
        """The features of what is kept, by name."""
        raise NotImplementedError

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=type(self).__doc__ or "",
            citation="",
            inputs_description="",
            features=datasets.Features(self._columns()),
        )

    def _build_data_dir(self) -> str:
        # The parent creates this folder although nothing is ever written into it.
        return self._data_dir_root


class PerImageMetric(InMemoryMetric):
    """A metric that reduces every batch to a few numbers an image on arrival, so that its memory does not grow.

    A subclass names these numbers in `columns`, computes and stores them in `add_batch`, and makes of their means over
    images what it returns in `_combine`.
    """

    columns: tuple[str, ...] = ()

    def _store(self, numbers: Mapping[str, Any]) -> None:
        super().add_batch(**{name: np.asarray(numbers[name], dtype=np.float64) for name in self.columns})

    def _compute(self, *, confidence_level: float = 0.95, seed: int = 0, **columns: Any) -> dict[str, Any]:
        numbers = {name: np.asarray(columns[name]) for name in self.columns}
        num_images = len(numbers[self.columns[0]])

        def statistics(weights: np.ndarray) -> dict[str, np.ndarray]:
            return self._combine({name: values @ weights / num_images for name, values in numbers.items()})

        return compute_with_intervals(statistics, num_images, confidence_level, seed)

    def _combine(self, means: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return means

    def _columns(self) -> dict[str, Any]:
        return {name: datasets.Value("float64") for name in self.columns}


def as_image_pair(predictions: Any, references: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Makes tensors of two batches of images: on the GPU that `predictions` are on, or on the CPU.

    As scikit-image does, it keeps float32 and makes float32 of what is shorter, and float64 of all else; the longer of
    the two types is that of both.

    Args:
        predictions: `(batch, bands, height, width)`.
        references: The same shape.

    Raises:
        ValueError: If the shapes are not so or a pixel is NaN or infinite.
    """
    predictions = _as_floats("predictions", predictions)
    references = _as_floats("references", references).to(predictions.device)
    dtype = torch.promote_types(predictions.dtype, references.dtype)
    predictions, references = predictions.to(dtype), references.to(dtype)
    shapes = tuple(predictions.shape), tuple(references.shape)
    if len(shapes[0]) != 4 or shapes[0] != shapes[1]:
        raise ValueError(
            f"predictions and references must both be (batch, bands, height, width), got {shapes[0]} and {shapes[1]}."
        )
    for name, images in (("predictions", predictions), ("references", references)):
        # A finite sum has no other pixels, and takes a tenth of the time of looking at each.
        if not images.sum().isfinite() and (num_undefined := int((~images.isfinite()).sum())):
            raise ValueError(f"{name}: {num_undefined} pixels are NaN or infinite.")
    return predictions, references


def as_array(argument: str, values: Any) -> np.ndarray:
    """Makes a NumPy array, as torch takes it, of an array, a tensor on any device or nested lists.

    Args:
        argument: Name of the argument, for the error.
        values: What was given.

    Raises:
        ValueError: If `values` is missing or not numbers.
    """
    if values is None:
        raise ValueError(f"{argument} are missing.")
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        if values.dtype == torch.bfloat16:  # NumPy has no such type
            values = values.float()
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{argument} must be real numbers, got dtype {array.dtype}.")
    # Of FITS files the bytes come in the other order, and what was flipped has strides below 0.
    return np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")


def _as_floats(argument: str, values: Any) -> torch.Tensor:
    if not (isinstance(values, torch.Tensor) and values.is_cuda):
        values = torch.from_numpy(as_array(argument, values))
    is_short = values.dtype in (torch.float16, torch.bfloat16, torch.float32)
    return values.detach().to(torch.float32 if is_short else torch.float64)
