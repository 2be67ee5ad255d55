"""Simulated lenses as a dataset, and as a source by the name of their preset: `simulate:lens_default`."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import numpy as np
import torch
import yaml
from datasets import Dataset, Features, IterableDataset, concatenate_datasets
from datasets.utils import tqdm

from .. import __version__
from ..simulation import LensSimulationConfig, SimulatedLenses, get_preset, simulate
from .reading import num_cores, unwritable_cache
from .report import LoadReport
from .schema import ROWS_PER_CHUNK, dataset_from_chunks, lens_features
from .tasks import Task


__all__ = ["SPLIT_SIZES", "Simulated", "find_simulation", "load_simulated", "simulate_dataset"]

SPLIT_SIZES = {"train": 12_000, "validation": 1_500, "test": 3_000}

# The splits of a source lie so far apart that none ever reaches the next one, and begin so late that none has samples
# of a folder that simulate.py wrote with the same seed: what a stream is trained on is in no test set.
_SAMPLES_PER_SPLIT = 2**60
_FIRST_SAMPLE = {"train": 2**60, "validation": 2 * 2**60, "test": 3 * 2**60}
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
    imprint: bool = False,
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
        streaming: Whether to simulate while the dataset is read, so that memory does not grow with `num_images`.
            Loader workers and `split_dataset_by_node` share the rows, a thousand or more at a time, and a stream that
            goes on from its `state_dict` simulates nothing anew but the rows of 64 that it stood in.
        imprint: Whether to add a column `imprint`: what the substructure changes in the image without its noise.

    Returns:
        The dataset in numpy format; an `IterableDataset` if `streaming`.

    Raises:
        ValueError: If `num_images` is less than one, or there is no imprint in images of this configuration.
    """
    if num_images < 1:
        raise ValueError(f"num_images must be at least 1, got {num_images}.")
    options = {"device": device, "batch_size": batch_size, "compile": compile, "imprint": imprint}
    simulation = _Simulation(preset_or_config, seed, options)
    if streaming:
        features = _features(simulation, start)
        rows_per_shard = max(ROWS_PER_CHUNK, -(-num_images // _LARGEST_NUM_SHARDS))
        ranges = list(_ranges(start, num_images, rows_per_shard))
        # A reader that resumes skips blocks at no cost, and the rows of one.
        blocks = IterableDataset.from_generator(_blocks, gen_kwargs={"ranges": ranges})
        rows = blocks.map(
            simulation.block, batched=True, batch_size=1, remove_columns=["first", "count"], features=features
        )
        return rows.with_format("numpy")
    chunks = []
    with tqdm(total=num_images, desc="Simulating", unit="image", disable=not progress) as bar:
        for first, count in _ranges(start, num_images, ROWS_PER_CHUNK):
            chunks.append(simulation.columns(first, count))
            bar.update(count)
    return dataset_from_chunks(chunks, _features_of(chunks[0]))


def load_simulated(
    source: str, split: str, task: Task, *, streaming: bool = False, num_workers: int | None = None
) -> tuple[Dataset | IterableDataset, LoadReport]:
    """Simulates a split of a preset: `"simulate:lens_default"`, `"simulate:lens_default?num_train=50000&seed=1"`.

    Settings after the `?` are `seed` (0), the sizes `num_train` (12,000), `num_validation` (1,500) and `num_test`
    (3,000), and `imprint` (0), of which 1 adds a column of what the substructure changes. Splits are ranges of samples
    that never overlap, whatever their sizes, and have no sample of a folder that
    `training/simulate.py` wrote with the same seed. A stream of the train split has no end, unless `num_train` is set.

    Args:
        source: The name.
        split: One of `data.folders.SPLITS`.
        task: What the rows are for.
        streaming: Whether to simulate while the rows are read; else they are simulated once and cached.
        num_workers: Processes that simulate; by default all cores, if there are images enough.

    Returns:
        The dataset in numpy format, and a report of what was made.

    Raises:
        OSError: If the cache cannot be written.
        ValueError: If the preset or a setting is not known, or the preset lacks what the task needs.
    """
    config, seed, sizes, imprint = _parse(source)
    if streaming and "train" not in sizes:
        sizes["train"] = _SAMPLES_PER_SPLIT
    sizes = SPLIT_SIZES | sizes
    splits = list(sizes) if split == "all" else [split]
    simulation = _Simulation(config, seed, {"imprint": imprint})
    features = _features(simulation, _FIRST_SAMPLE[splits[0]])
    needed = {"classification": "label", "super_resolution": "target", "pretraining": "image"}[task]
    if needed not in features:
        raise ValueError(f"{source}: task {task} needs {needed!r}, which this preset does not make.")
    report = LoadReport(f"{source}: lenses to simulate, split {split}, seed {seed}.", num_rows=None)
    if streaming:
        streams = [
            simulate_dataset(config, sizes[name], seed, start=_FIRST_SAMPLE[name], streaming=True, imprint=imprint)
            for name in splits
        ]
        # A concatenation of one would still take seconds to be shared out.
        return concatenate_datasets(streams) if len(streams) > 1 else streams[0], report
    parts = [_cached(simulation, sizes[name], _FIRST_SAMPLE[name], features, num_workers) for name in splits]
    dataset = concatenate_datasets(parts).with_format("numpy")
    report.num_rows = len(dataset)
    return dataset, report


class Simulated(NamedTuple):
    """What simulated a split of a set.

    Attributes:
        config: The configuration.
        seed: The seed.
        first_sample: Index of the sample that is the split's first row; `None` where it is no split of the set.
    """

    config: LensSimulationConfig
    seed: int
    first_sample: int | None


def find_simulation(source: str, split: str) -> Simulated | None:
    """What simulated a set: a folder says it in its `simulation.yaml`, `simulate:<preset>?seed=1` in its name.

    Args:
        source: As `load_lensing_dataset` takes it.
        split: One of `data.folders.SPLITS`.

    Returns:
        `None` where nothing says it.

    Raises:
        ValueError: If a preset or setting of a name, or a field of a configuration, is not known.
    """
    if source.startswith("simulate:"):
        config, seed, *_ = _parse(source)
        return Simulated(config, seed, _FIRST_SAMPLE.get(split))
    path = Path(source) / "simulation.yaml"
    if not path.is_file():
        return None
    record = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(record, dict) or not {"splits", "config", "seed"} <= record.keys():
        raise ValueError(f"{path} does not say what simulate.py writes there: splits, config and seed.")
    first_sample = record["splits"].get(split, {}).get("first_sample")
    return Simulated(LensSimulationConfig.from_dict(record["config"]), record["seed"], first_sample)


def _parse(source: str) -> tuple[LensSimulationConfig, int, dict[str, int], bool]:
    """The configuration, seed, sizes of splits, and whether to have imprints, that a source names."""
    preset, _, query = source.removeprefix("simulate:").partition("?")
    limits = {"seed": (0, 2**64), "imprint": (0, 2)}
    limits |= {f"num_{split}": (1, _SAMPLES_PER_SPLIT) for split in SPLIT_SIZES}
    settings: dict[str, int] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in limits:
            raise ValueError(f"{source}: {name!r} is no setting; there are {', '.join(limits)}.")
        smallest, limit = limits[name]
        if not value.isdecimal() or not smallest <= int(value) < limit:
            raise ValueError(
                f"{source}: {name} must be a whole number of at least {smallest} and below {limit}, got {value!r}."
            )
        settings[name] = int(value)
    seed, imprint = settings.pop("seed", 0), bool(settings.pop("imprint", 0))
    sizes = {name.removeprefix("num_"): size for name, size in settings.items()}
    return get_preset(preset), seed, sizes, imprint


@dataclass(frozen=True)
class _Simulation:
    """Samples by their index, as columns."""

    preset_or_config: str | LensSimulationConfig
    seed: int
    options: dict[str, Any] = field(default_factory=dict)
    # For caches: another version may simulate otherwise.
    version: str = __version__

    def columns(self, first: int, count: int) -> dict[str, np.ndarray]:
        return _columns(simulate(self.preset_or_config, count, self.seed, start=first, **self.options))

    def block(self, batch: dict[str, list[int]]) -> dict[str, np.ndarray]:
        """Turns a batch of one block's first sample and their count into the rows."""
        return self.columns(batch["first"][0], batch["count"][0])


def _cached(
    simulation: _Simulation, num_images: int, start: int, features: Features, num_workers: int | None
) -> Dataset:
    ranges = list(_ranges(start, num_images, ROWS_PER_CHUNK))
    try:
        return Dataset.from_generator(
            _rows,
            features=features,
            gen_kwargs={"ranges": ranges, "simulation": simulation},
            num_proc=min(num_workers or num_cores(), len(ranges)),
        )
    except OSError as error:
        raise unwritable_cache(error) from error


def _rows(ranges: list[tuple[int, int]], simulation: _Simulation) -> Iterator[dict[str, Any]]:
    for block in _blocks(ranges):
        columns = simulation.columns(**block)
        for row in range(block["count"]):
            yield {name: column[row] for name, column in columns.items()}


def _blocks(ranges: list[tuple[int, int]]) -> Iterator[dict[str, int]]:
    for start, num_images in ranges:
        for first, count in _ranges(start, num_images, _ROWS_AT_ONCE):
            yield {"first": first, "count": count}


def _ranges(start: int, num_images: int, rows: int) -> Iterator[tuple[int, int]]:
    for first in range(start, start + num_images, rows):
        yield first, min(rows, start + num_images - first)


def _columns(lenses: SimulatedLenses) -> dict[str, np.ndarray]:
    tensors = {"image": lenses.image, "target": lenses.target, "imprint": lenses.imprint, "label": lenses.label}
    tensors |= lenses.parameters
    return {name: tensor.cpu().numpy() for name, tensor in tensors.items() if tensor is not None}


def _features(simulation: _Simulation, first: int) -> Features:
    return _features_of(simulation.columns(first, 1))


def _features_of(columns: dict[str, np.ndarray]) -> Features:
    parameters = {name: column.dtype.name for name, column in columns.items() if column.ndim == 1 and name != "label"}
    return lens_features(
        columns["image"].shape[1:],
        target_shape=columns["target"].shape[1:] if "target" in columns else None,
        imprint_shape=columns["imprint"].shape[1:] if "imprint" in columns else None,
        label="label" in columns,
        parameters=parameters,
    )
