"""Simulated lenses as a dataset."""

from collections.abc import Iterator

import numpy as np
import torch
from datasets import Dataset, Features
from datasets.utils import tqdm

from ..simulation import LensSimulationConfig, SimulatedLenses, simulate
from .schema import ROWS_PER_CHUNK, dataset_from_chunks, lens_features


__all__ = ["simulate_dataset"]


def simulate_dataset(
    preset_or_config: str | LensSimulationConfig,
    num_images: int,
    seed: int = 0,
    *,
    start: int = 0,
    device: str | torch.device = "cpu",
    batch_size: int | None = None,
    progress: bool = False,
) -> Dataset:
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
        progress: Whether to show a progress bar.

    Returns:
        The dataset in numpy format.

    Raises:
        ValueError: If `num_images` is less than one.
    """
    if num_images < 1:
        raise ValueError(f"num_images must be at least 1, got {num_images}.")
    chunks = []
    with tqdm(total=num_images, desc="Simulating", unit="image", disable=not progress) as bar:
        for first, count in _chunk_ranges(start, num_images):
            lenses = simulate(preset_or_config, count, seed, start=first, device=device, batch_size=batch_size)
            chunks.append(_columns(lenses))
            bar.update(count)
    return dataset_from_chunks(chunks, _features(chunks[0]))


def _chunk_ranges(start: int, num_images: int) -> Iterator[tuple[int, int]]:
    for first in range(start, start + num_images, ROWS_PER_CHUNK):
        yield first, min(ROWS_PER_CHUNK, start + num_images - first)


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
