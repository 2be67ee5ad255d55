"""Writes a simulated dataset: Parquet shards that `datasets.load_dataset(<output_dir>)` loads.

    python training/simulate.py --preset lens_default --num_images 100000 --output_dir lenses
    python training/simulate.py --preset lens_default --num_train 12000 --num_test 3000 --output_dir lenses

Besides `data/<split>-*.parquet` the folder holds a dataset card, `simulation.yaml`, which says what it takes to make
it again, and a contact sheet of every split to look at. The splits are disjoint ranges of samples of one seed, and the
files are the same for any number of workers and jobs.

A run that was stopped at any moment goes on when the same command is given again: until all shards are there they
gather in `.<output_dir>.partial`, each under a temporary name until it is whole. Many jobs share the work by
`--num_shards 16 --shard_index 0` to `15`, and the processes of `accelerate launch` by themselves.
"""

import hashlib
import importlib.metadata
import multiprocessing
import os
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet
import yaml
from command_line import launch
from datasets import Dataset
from datasets.table import InMemoryTable
from datasets.utils.logging import disable_progress_bar
from tqdm.auto import tqdm
from transformers import HfArgumentParser

from lens_transformers import __version__
from lens_transformers.data import LABEL_NAMES, simulate_dataset
from lens_transformers.data.simulated import SPLIT_SIZES
from lens_transformers.hub import write_dataset_card
from lens_transformers.hub.contact_sheet import contact_sheet
from lens_transformers.hub.dataset_card import SIMULATION
from lens_transformers.hub.files import write_text_atomically
from lens_transformers.simulation import INSTRUMENTS, PRESETS, LensSimulationConfig, get_preset


ROWS_PER_SHARD = 500
ROWS_TO_LOOK_AT = 24


@dataclass
class SimulationArguments:
    output_dir: str = field(metadata={"help": "Folder to write."})
    preset: str = field(default="lens_default", metadata={"help": f"One of {', '.join(PRESETS)}."})
    num_images: int | None = field(
        default=None, metadata={"help": "Images of all splits together, in place of the three counts."}
    )
    split_fractions: list[float] = field(
        default_factory=lambda: [0.8, 0.1, 0.1],
        metadata={"help": "What part of num_images goes to train, validation and test."},
    )
    num_train: int | None = field(
        default=None, metadata={"help": f"Images of the split train (default: {SPLIT_SIZES['train']})."}
    )
    num_validation: int | None = field(
        default=None, metadata={"help": f"Images of the split validation (default: {SPLIT_SIZES['validation']})."}
    )
    num_test: int | None = field(
        default=None, metadata={"help": f"Images of the split test (default: {SPLIT_SIZES['test']})."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of the simulation."})
    override: list[str] = field(
        default_factory=list,
        metadata={"help": "Fields of the configuration to replace, as in noise=null main_lens.axis_ratio=0.8."},
    )
    instrument: str | None = field(
        default=None,
        metadata={"help": f"See the preset's scenes through one of {', '.join(INSTRUMENTS)}, with its noise."},
    )
    imprint: bool = field(
        default=False,
        metadata={"help": "Add a column of what the substructure changes in the image without its noise."},
    )
    num_workers: int = field(default=2, metadata={"help": "Processes, of one thread each."})
    device: str = field(default="cpu", metadata={"help": "cpu, or cuda to simulate on a GPU in this process."})
    compile: bool = field(default=False, metadata={"help": "Compile the inner loops; needs a C++ compiler."})
    num_shards: int | None = field(
        default=None, metadata={"help": "Jobs that share the work (default: those of accelerate launch, or 1)."}
    )
    shard_index: int | None = field(default=None, metadata={"help": "Which of these jobs this is, from 0."})
    overwrite: bool = field(default=False, metadata={"help": "Replace another simulation in output_dir."})


@dataclass(frozen=True)
class Shard:
    file_name: str
    start: int
    num_images: int


def main() -> None:
    parser = HfArgumentParser(SimulationArguments, description=__doc__)  # type: ignore[arg-type]
    (arguments,) = parser.parse_args_into_dataclasses()
    output_dir = Path(arguments.output_dir).absolute()
    config = configure(arguments)
    if arguments.imprint and not config.has_imprint:
        raise ValueError(f"--imprint: {config.name} has no substructure in single images, so none leaves any.")
    splits = split_ranges(arguments)
    check_numbers(arguments)
    job, num_jobs = job_of(arguments)
    description = describe(config, splits, arguments)
    if check_folder(output_dir, description, arguments.overwrite):
        print(f"{output_dir} holds this simulation already.")
        return
    simulate_a_few(config, splits, arguments)

    partial = partial_folder(output_dir)
    shards = [shard for split, samples in splits.items() for shard in split_shards(split, samples)]
    try:
        start_folder(partial, description)
        try:
            write_shards(partial, config, shards[job::num_jobs], arguments)
        except ValueError as error:  # of a lens that the first few were not
            remove_empty(partial)
            left = f" --overwrite replaces the shards that are in {partial}." if partial.exists() else ""
            sys.exit(f"Could not simulate {output_dir}: {error}{left}")
        missing = [shard for shard in shards if not (partial / "data" / shard.file_name).exists()]
        if missing and partial.exists():
            print(f"Wrote job {job} of {num_jobs}; {len(missing)} of {len(shards)} shards are still to come.")
            return
        finish_folder(partial, output_dir, shards, description)
    except OSError as error:
        sys.exit(
            f"Could not write {output_dir}: {error}. The shards that are whole stay in {partial}: "
            "give the same command again to go on, or remove it."
        )
    print(f'Wrote {output_dir}; load it with datasets.load_dataset("{arguments.output_dir}").')


def configure(arguments: SimulationArguments) -> LensSimulationConfig:
    config = get_preset(arguments.preset)
    if arguments.instrument is not None:
        config = config.observed_by(arguments.instrument)
    return config.with_overrides(parse_overrides(arguments.override))


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
    given = {split: getattr(arguments, f"num_{split}") for split in SPLIT_SIZES}
    if arguments.num_images is None:
        counts = {split: SPLIT_SIZES[split] if count is None else count for split, count in given.items()}
    else:
        if any(count is not None for count in given.values()):
            raise ValueError("Give --num_images, or --num_train, --num_validation and --num_test, not both.")
        counts = fractions_of(arguments.num_images, arguments.split_fractions)
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


def fractions_of(num_images: int, fractions: Sequence[float]) -> dict[str, int]:
    if num_images < 1:
        raise ValueError(f"--num_images must be at least 1, got {num_images}.")
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"--split_fractions must be three numbers of at least 0 that add up to 1, got {fractions}.")
    ends = [0, *(round(num_images * sum(fractions[: k + 1])) for k in range(3))]
    return {split: ends[k + 1] - ends[k] for k, split in enumerate(SPLIT_SIZES)}


def check_numbers(arguments: SimulationArguments) -> None:
    if not 0 <= arguments.seed < 2**64:
        raise ValueError(f"--seed must be at least 0 and below 2**64, got {arguments.seed}.")
    if arguments.num_workers < 1:
        raise ValueError(f"--num_workers must be at least 1, got {arguments.num_workers}.")


def job_of(arguments: SimulationArguments) -> tuple[int, int]:
    """Which job of how many this is; `accelerate launch` says so in the environment."""
    if (arguments.num_shards is None) != (arguments.shard_index is None):
        raise ValueError("--num_shards and --shard_index go together: give both or neither.")
    if arguments.num_shards is None or arguments.shard_index is None:
        return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if not 0 <= arguments.shard_index < arguments.num_shards:
        raise ValueError(
            f"--shard_index must be at least 0 and below --num_shards={arguments.num_shards}, "
            f"got {arguments.shard_index}."
        )
    return arguments.shard_index, arguments.num_shards


def partial_folder(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.partial")


def check_folder(folder: Path, description: dict, overwrite: bool) -> bool:
    """Whether the folder holds the whole of this simulation; what is in the way is refused."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file.")
    if folder.exists() and any(folder.iterdir()):
        if read_description(folder) == description:
            return True
        if not (folder / SIMULATION).exists():
            raise ValueError(
                f"{folder} is not empty: choose another --output_dir. It has no {SIMULATION}, so it is not a "
                "simulation: --overwrite will not replace it."
            )
        if not overwrite:
            raise ValueError(
                f"{folder} is not empty: choose another --output_dir, or replace it with --overwrite. "
                f"It holds a simulation of another configuration, see its {SIMULATION}."
            )
    partial = partial_folder(folder)
    if partial.exists() and read_description(partial) not in (None, description):
        if not overwrite:
            raise ValueError(
                f"{partial} holds an unfinished simulation of another configuration: give the command "
                "that began it again, or replace it with --overwrite."
            )
        shutil.rmtree(partial)
    return False


def read_description(folder: Path) -> dict | None:
    path = folder / SIMULATION
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None


def start_folder(partial: Path, description: dict) -> None:
    (partial / "data").mkdir(parents=True, exist_ok=True)
    write_text_atomically(partial / SIMULATION, yaml.safe_dump(description, sort_keys=False))


def remove_empty(partial: Path) -> None:
    """Removes a folder without a shard, whole or begun: it would only refuse the command once that is corrected."""
    if not any((partial / "data").iterdir()):
        shutil.rmtree(partial)


def simulate_a_few(config: LensSimulationConfig, splits: dict[str, range], arguments: SimulationArguments) -> None:
    """Raises ValueError if the first samples, one a class, cannot be simulated, before anything is written."""
    first = next(samples for samples in splits.values() if samples)
    simulate_dataset(
        config,
        min(len(first), len(LABEL_NAMES)),
        arguments.seed,
        start=first.start,
        device=device_of(arguments),
        imprint=arguments.imprint,
    )


def temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")


def write_shards(
    folder: Path, config: LensSimulationConfig, shards: list[Shard], arguments: SimulationArguments
) -> None:
    paths = {shard: folder / "data" / shard.file_name for shard in shards}
    todo = [shard for shard in shards if not paths[shard].exists()]
    options = {"device": device_of(arguments), "compile": arguments.compile, "imprint": arguments.imprint}
    tasks = [(str(paths[shard]), config, arguments.seed, shard, options) for shard in todo]
    num_workers = 1 if options["device"] != "cpu" else min(arguments.num_workers, len(tasks))
    total, done = (sum(shard.num_images for shard in some) for some in (shards, set(shards) - set(todo)))
    with tqdm(total=total, initial=done, desc=f"Simulating {config.name}", unit=" images") as bar:
        if num_workers <= 1:
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


def device_of(arguments: SimulationArguments) -> str:
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if arguments.device == "cuda" else arguments.device


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


def write_shard(path: str, config: LensSimulationConfig, seed: int, shard: Shard, options: dict) -> int:
    disable_progress_bar()
    temporary = temporary_name(Path(path))
    try:
        simulate_dataset(config, shard.num_images, seed, start=shard.start, **options).to_parquet(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return shard.num_images


def finish_folder(partial: Path, folder: Path, shards: list[Shard], description: dict) -> None:
    """Adds the card and the contact sheets, and puts the folder in its place; any job may be the last one."""
    try:
        expected = {shard.file_name for shard in shards}
        for path in (partial / "data").iterdir():
            if path.name not in expected:  # what a killed run left of a shard
                path.unlink()
        for split in description["splits"]:
            names = sorted(name for name in expected if name.startswith(f"{split}-"))
            if names:
                path = partial / f"contact_sheet_{split}.png"
                contact_sheet(first_rows(partial / "data" / names[0])).save(temporary_name(path))
                temporary_name(path).replace(path)
        write_dataset_card(partial)
        replace_folder(partial, folder)
    except FileNotFoundError:
        # Another job was as fast and has put the folder in its place.
        if read_description(folder) != description:
            raise


def replace_folder(new: Path, folder: Path) -> None:
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        if old.exists():  # what it was to replace, or what another job has just put there
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def first_rows(shard: Path) -> Dataset:
    batch = next(pyarrow.parquet.ParquetFile(shard).iter_batches(batch_size=ROWS_TO_LOOK_AT))
    return Dataset(InMemoryTable.from_batches([batch]))


def describe(
    config: LensSimulationConfig, splits: dict[str, range], arguments: SimulationArguments
) -> dict[str, object]:
    packages = ("caustics", "datasets", "numpy", "torch")
    description = {
        "preset": arguments.preset,
        "seed": arguments.seed,
        "splits": {
            split: {"first_sample": samples.start, "num_images": len(samples)} for split, samples in splits.items()
        },
        "versions": {"lens_transformers": __version__} | {name: importlib.metadata.version(name) for name in packages},
        "files": {path: digest(path) for path in config.files},
        "config": config.to_dict(),
    }
    # Said where there is one, so that folders written without stay what they are.
    return description | ({"imprint": True} if arguments.imprint else {})


def digest(path: str) -> str:
    """What tells a file's contents from others."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"The configuration names the file {path}, which does not exist.")
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    launch(main)
