"""Simulated lenses as a dataset."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from datasets import Dataset, Features, IterableDataset
from datasets.utils import tqdm

from ..simulation import LensSimulationConfig, SimulatedLenses, simulate
from .schema import ROWS_PER_CHUNK, dataset_from_chunks, lens_features


__all__ = ["simulate_dataset"]

# Of a stream, whose rows should be there soon.
_ROWS_AT_ONCE = 64
# What the readers of a stream can share among each other.
_LARGEST_NUM_SHARDS = 1024


def simulate_dataset(
    preset_or_config: str | LensSimulationConfig,
    num_images: int,
    seed: int = 0,
    *,
    start: int = 0,
    device: str | torch.device = "cpu",
    batch_size: int | None = None,
    compile: bool = False,
    progress: bool = False,
    streaming: bool = False,
) -> Dataset | IterableDataset:
    """Simulates lenses into a dataset of the house's schema, with one column per physical parameter.

    Sample `start + i` of a configuration and seed is the same whatever `start`, `num_images` and `batch_size` are, so
    disjoint index ranges of one seed are disjoint splits.

    Args:
        preset_or_config: Name of a simulation preset, or a configuration.
        num_images: Number of rows.
        seed: Seed of the simulation.
        start: Index of the first sample.
        device: Where to simulate.
        batch_size: Images simulated at once; the simulation's own choice if `None`.
        compile: Whether to compile the simulation's inner loops.
        progress: Whether to show a progress bar.
        streaming: Whether to simulate row by row while the dataset is read, so that memory does not grow with
            `num_images`. Loader workers and `split_dataset_by_node` share the rows, a thousand or more at a time.

    Returns:
        The dataset in numpy format; an `IterableDataset` if `streaming`.

    Raises:
        ValueError: If `num_images` is less than one.
    """
    if num_images < 1:
        raise ValueError(f"num_images must be at least 1, got {num_images}.")
    options: dict[str, Any] = {"device": device, "batch_size": batch_size, "compile": compile}
    if streaming:
        first_row = _columns(simulate(preset_or_config, 1, seed, start=start, device=device))
        rows_per_shard = max(ROWS_PER_CHUNK, -(-num_images // _LARGEST_NUM_SHARDS))
        ranges = list(_chunk_ranges(start, num_images, rows_per_shard))
        arguments = {"ranges": ranges, "simulated": (preset_or_config, seed), "options": options}
        dataset = IterableDataset.from_generator(_rows, features=_features(first_row), gen_kwargs=arguments)
        return dataset.with_format("numpy")
    chunks = []
    with tqdm(total=num_images, desc="Simulating", unit="image", disable=not progress) as bar:
        for first, count in _chunk_ranges(start, num_images, ROWS_PER_CHUNK):
            lenses = simulate(preset_or_config, count, seed, start=first, **options)
            chunks.append(_columns(lenses))
            bar.update(count)
    return dataset_from_chunks(chunks, _features(chunks[0]))


def _rows(
    ranges: list[tuple[int, int]], simulated: tuple[str | LensSimulationConfig, int], options: dict[str, Any]
) -> Iterator[dict[str, np.ndarray]]:
    config, seed = simulated
    for first, count in ranges:
        for start in range(first, first + count, _ROWS_AT_ONCE):
            lenses = simulate(config, min(_ROWS_AT_ONCE, first + count - start), seed, start=start, **options)
            columns = _columns(lenses)
            for row in range(len(columns["image"])):
                yield {name: column[row] for name, column in columns.items()}


def _chunk_ranges(start: int, num_images: int, rows: int) -> Iterator[tuple[int, int]]:
    for first in range(start, start + num_images, rows):
        yield first, min(rows, start + num_images - first)


def _columns(lenses: SimulatedLenses) -> dict[str, np.ndarray]:
    tensors = {"image": lenses.image, "target": lenses.target, "label": lenses.label, **lenses.parameters}
    return {name: tensor.cpu().numpy() for name, tensor in tensors.items() if tensor is not None}


def _features(columns: dict[str, np.ndarray]) -> Features:
    parameters = {name: column.dtype.name for name, column in columns.items() if column.ndim == 1 and name != "label"}
    return lens_features(
        columns["image"].shape[1:],
        target_shape=columns["target"].shape[1:] if "target" in columns else None,
        label="label" in columns,
        parameters=parameters,
    )
