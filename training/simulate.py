"""Writes a simulated dataset: Parquet shards that `datasets.load_dataset(<output_dir>)` loads.

    python training/simulate.py --preset lens_default --num_train 12000 --output_dir lenses

Besides `data/<split>-*.parquet` the folder holds `simulation.yaml`, which says what it takes to make it again. The
splits are disjoint ranges of samples of one seed, and the files are the same for any number of workers.
"""

import importlib.metadata
import multiprocessing
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from datasets.utils.logging import disable_progress_bar
from tqdm.auto import tqdm
from transformers import HfArgumentParser

from lens_transformers import __version__
from lens_transformers.data import simulate_dataset
from lens_transformers.simulation import PRESETS, LensSimulationConfig, get_preset


ROWS_PER_SHARD = 500
DESCRIPTION = "simulation.yaml"


@dataclass
class SimulationArguments:
    output_dir: str = field(metadata={"help": "Folder to write, which must be empty or not exist."})
    preset: str = field(default="lens_default", metadata={"help": f"One of {', '.join(PRESETS)}."})
    num_train: int = field(default=12_000, metadata={"help": "Images of the split train."})
    num_validation: int = field(default=1_500, metadata={"help": "Images of the split validation."})
    num_test: int = field(default=3_000, metadata={"help": "Images of the split test."})
    seed: int = field(default=0, metadata={"help": "Seed of the simulation."})
    override: list[str] = field(
        default_factory=list,
        metadata={"help": "Fields of the configuration to replace, as in noise=null main_lens.axis_ratio=0.8."},
    )
    num_workers: int = field(default=2, metadata={"help": "Processes, of one thread each."})
    overwrite: bool = field(default=False, metadata={"help": "Replace an earlier simulation in output_dir."})


@dataclass(frozen=True)
class Shard:
    file_name: str
    start: int
    num_images: int


def main() -> None:
    parser = HfArgumentParser(SimulationArguments, description=__doc__)  # type: ignore[arg-type]
    (arguments,) = parser.parse_args_into_dataclasses()
    output_dir = Path(arguments.output_dir).absolute()
    try:
        config = get_preset(arguments.preset).with_overrides(parse_overrides(arguments.override))
        splits = split_ranges(arguments)
        if not 0 <= arguments.seed < 2**64:
            raise ValueError(f"--seed must be at least 0 and below 2**64, got {arguments.seed}.")
        if arguments.num_workers < 1:
            raise ValueError(f"--num_workers must be at least 1, got {arguments.num_workers}.")
        check_replaceable(output_dir, arguments.overwrite)
    except ValueError as error:
        parser.error(str(error))

    try:
        with replaced_folder(output_dir) as folder:
            (folder / "data").mkdir()
            write_shards(folder, config, splits, arguments)
            description = describe(config, splits, arguments)
            (folder / DESCRIPTION).write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")
    except OSError as error:
        sys.exit(f"Could not write {output_dir}: {error}")
    print(f'Wrote {output_dir}; load it with datasets.load_dataset("{arguments.output_dir}").')


def parse_overrides(overrides: list[str]) -> dict[str, object]:
    values = {}
    for override in overrides:
        path, equals, value = override.partition("=")
        if not equals:
            raise ValueError(f"--override {override!r} must have the form key=value.")
        try:
            values[path] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"--override {override!r}: the value is not YAML.") from error
    return values


def split_ranges(arguments: SimulationArguments) -> dict[str, range]:
    counts = {
        "train": arguments.num_train,
        "validation": arguments.num_validation,
        "test": arguments.num_test,
    }
    for split, count in counts.items():
        if count < 0:
            raise ValueError(f"--num_{split} must be at least 0, got {count}.")
    if not any(counts.values()):
        raise ValueError("There is nothing to simulate: --num_train, --num_validation and --num_test are all 0.")
    ranges, start = {}, 0
    for split, count in counts.items():
        ranges[split] = range(start, start + count)
        start += count
    return ranges


def check_replaceable(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file.")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not overwrite:
        raise ValueError(f"{folder} is not empty: choose another --output_dir, or replace it with --overwrite.")
    if not (folder / DESCRIPTION).exists():
        raise ValueError(f"{folder} has no {DESCRIPTION}, so it is not a simulation: --overwrite will not replace it.")


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `folder` when all went well, and vanishes otherwise."""
    temporary, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{kind}") for kind in ("new", "old"))
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_shards(
    folder: Path, config: LensSimulationConfig, splits: dict[str, range], arguments: SimulationArguments
) -> None:
    shards = [shard for split, samples in splits.items() for shard in split_shards(split, samples)]
    tasks = [(str(folder / "data" / shard.file_name), config, arguments.seed, shard) for shard in shards]
    num_workers = min(arguments.num_workers, len(tasks))
    total = sum(shard.num_images for shard in shards)
    with tqdm(total=total, desc=f"Simulating {config.name}", unit="image") as bar:
        if num_workers == 1:
            for task in tasks:
                bar.update(write_shard(*task))
            return
        with ProcessPoolExecutor(num_workers, mp_context=worker_context()) as pool:
            futures = [pool.submit(write_shard, *task) for task in tasks]
            try:
                for future in as_completed(futures):
                    bar.update(future.result())
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def worker_context() -> multiprocessing.context.BaseContext:
    """Workers that share one import of the libraries, where the system can."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lens_transformers.data.simulated", "transformers.hf_argparser"])
    return context


def split_shards(split: str, samples: range) -> list[Shard]:
    starts = samples[::ROWS_PER_SHARD]
    return [
        Shard(f"{split}-{number:05d}-of-{len(starts):05d}.parquet", start, min(ROWS_PER_SHARD, samples.stop - start))
        for number, start in enumerate(starts)
    ]


def write_shard(path: str, config: LensSimulationConfig, seed: int, shard: Shard) -> int:
    disable_progress_bar()
    simulate_dataset(config, shard.num_images, seed, start=shard.start).to_parquet(path)
    return shard.num_images


def describe(
    config: LensSimulationConfig, splits: dict[str, range], arguments: SimulationArguments
) -> dict[str, object]:
    packages = ("caustics", "datasets", "numpy", "torch")
    return {
        "preset": arguments.preset,
        "seed": arguments.seed,
        "splits": {
            split: {"first_sample": samples.start, "num_images": len(samples)} for split, samples in splits.items()
        },
        "versions": {"lens_transformers": __version__} | {name: importlib.metadata.version(name) for name in packages},
        "config": config.to_dict(),
    }


if __name__ == "__main__":
    main()
