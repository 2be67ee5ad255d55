"""The one door through which whatever holds lens images becomes a dataset."""

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, overload

from datasets import Dataset, IterableDataset

from .catalogue import CATALOGUE_SUFFIXES, catalogue_source, is_catalogue
from .containers import CONTAINER_SUFFIXES, containers_source
from .deeplense import deeplense_source
from .fits import FITS_SUFFIXES, FitsLayout, fits_source
from .folders import SPLITS, suffix_of
from .pictures import PICTURE_SUFFIXES, pictures_source
from .reading import RowSource, read_rows
from .report import LoadReport, OnError, check_on_error, named
from .rows import LensDataset
from .schema import ROWS_PER_CHUNK
from .splits import check_division, class_counts, split_by_content
from .super_resolution import pairs_source
from .tables import is_hub_name, is_table_folder, load_table, stream_table
from .tasks import Task, check_task


__all__ = ["files_of_rows", "load_lensing_dataset"]

logger = logging.getLogger(__name__)

# Files that tell about a set and are no images of it.
_TEXT_SUFFIXES = ("", ".txt", ".md", ".json", ".jsonl", ".yaml", ".yml", ".csv", ".ecsv", ".py", ".ipynb", ".lock")
_SIMULATED = "simulate:"
_MAX_STREAM_SHARDS = 64
# A set in splits in classes has images two folders down.
_MAX_DEPTH = 3


@overload
def load_lensing_dataset(
    source: str | Path,
    split: str = ...,
    task: Task = ...,
    *,
    on_error: OnError = ...,
    nan_fill: float | None = ...,
    layout: FitsLayout | None = ...,
    split_fractions: Mapping[str, float] | None = ...,
    split_seed: int = ...,
    streaming: Literal[False] = ...,
    num_workers: int | None = ...,
    report: LoadReport | None = ...,
) -> Dataset: ...
@overload
def load_lensing_dataset(
    source: str | Path,
    split: str = ...,
    task: Task = ...,
    *,
    on_error: OnError = ...,
    nan_fill: float | None = ...,
    layout: FitsLayout | None = ...,
    split_fractions: Mapping[str, float] | None = ...,
    split_seed: int = ...,
    streaming: Literal[True],
    num_workers: int | None = ...,
    report: LoadReport | None = ...,
) -> IterableDataset: ...


def load_lensing_dataset(
    source: str | Path,
    split: str = "train",
    task: Task = "classification",
    *,
    on_error: OnError = "raise",
    nan_fill: float | None = None,
    layout: FitsLayout | None = None,
    split_fractions: Mapping[str, float] | None = None,
    split_seed: int = 0,
    streaming: bool = False,
    num_workers: int | None = None,
    report: LoadReport | None = None,
) -> Dataset | IterableDataset:
    """Loads lens images into the house's schema, and logs in one line what the source was taken for.

    Sources:

    - folders of Parquet files (`data/{train,validation,test}-*.parquet`, as `training/simulate.py` writes), of Arrow
      files (`save_to_disk`), and names on the Hub (`"org/name"`);
    - official DeepLense folders of `.npy` images in classes; folders of super-resolution pairs `LR/` and `HR/`;
    - FITS: one file, a folder of files in classes, or one folder a lens; see `FitsLayout`;
    - catalogues: a `.csv`, `.ecsv` or `.parquet` table of paths, labels and positions; see `catalogue_source`;
    - pictures as datasets' `imagefolder` lays them out; HDF5 and `.npz` files;
    - presets to simulate, `"simulate:lens_default?num_train=50000&seed=1"`, without end if streamed; see
      `load_simulated`.

    Files are read, and lenses simulated, once, by all cores, and cached under `datasets.config.HF_DATASETS_CACHE`.

    Args:
        source: The file, folder or name.
        split: `"train"`, `"validation"`, `"test"`, or `"all"` for everything there. A source that is not divided into
            splits is all `"train"`.
        task: What the rows are for: `"classification"` needs `label`, `"super_resolution"` needs `target`, and
            `"pretraining"` needs `image` alone.
        on_error: `"raise"` stops at images that cannot be used and names them; `"skip"` leaves them out, warns with
            their count and lists them in the report.
        nan_fill: Flux that replaces NaN and infinite pixels, which is reported; such images cannot be used without.
        layout: How FITS files hold images: HDUs, bands, cutouts.
        split_fractions: Divides the source's `"train"` into splits with these shares, by `split_by_content`; splits
            that are not named here come from the source.
        split_seed: Seed of that division.
        streaming: Whether to give an `IterableDataset`. Tables are then read, and lenses simulated, as they are
            needed; other sources are read and cached first.
        num_workers: Processes that read files; by default all cores, if there are images enough.
        report: Filled with what was recognised, dropped and repaired; of a streamed table, while it is read.

    Returns:
        The dataset in numpy format, with `image`, and `label`, `target`, `noise_map`, `psf` and parameters where the
        source has them.

    Raises:
        FileNotFoundError: If there is no such source.
        NotADirectoryError: If it is a file of a kind that holds no set.
        PermissionError: If it, or the cache, cannot be opened.
        ValueError: If an argument, the source, the split or a file is not what the task needs; the message names it.
    """
    check_task(task)
    check_on_error(on_error)
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}.")
    if split_fractions is not None:
        check_division(split_fractions, split_seed)
    fits_layout = _layout_of(layout)
    holds_fits = False
    made = split_fractions is not None and split in split_fractions
    if made and streaming:
        raise ValueError("split_fractions needs the pixels of every image: load without streaming, then stream.")
    loaded_split = "train" if made else split
    if isinstance(source, str) and source.startswith(_SIMULATED):
        # Reading files needs no simulator.
        from .simulated import load_simulated

        dataset, found = load_simulated(source, loaded_split, task, streaming=streaming, num_workers=num_workers)
    elif _is_table(source) and streaming:
        dataset, found = stream_table(source, loaded_split, task, on_error=on_error, nan_fill=nan_fill)
    elif _is_table(source):
        dataset, found = load_table(
            source, loaded_split, task, on_error=on_error, nan_fill=nan_fill, num_workers=num_workers
        )
    else:
        rows = _recognise(Path(source), loaded_split, task, fits_layout)
        if layout is not None:
            holds_fits = any(suffix_of(item.paths[0]) in FITS_SUFFIXES for item in rows.items)
        dataset, found = read_rows(rows, on_error=on_error, nan_fill=nan_fill, num_workers=num_workers)
    if layout is not None and not holds_fits:
        logger.warning("%s: there are no FITS files, of which alone layout says how they hold images.", named(source))
    if made and isinstance(dataset, Dataset):
        splits = split_by_content(dataset, split_fractions or {}, split_seed)
        dataset = splits[split]
        found.num_rows = len(dataset)
        found.divided = {name: class_counts(part) for name, part in splits.items()}
    found.log()
    if report is not None:
        report.fill(found)
    if isinstance(dataset, IterableDataset):
        return dataset
    if streaming:
        return dataset.to_iterable_dataset(min(max(len(dataset) // ROWS_PER_CHUNK, 1), _MAX_STREAM_SHARDS))
    return LensDataset.of(dataset.with_format("numpy"))


def files_of_rows(
    source: str | Path, split: str = "train", task: Task = "classification", *, layout: FitsLayout | None = None
) -> list[str] | None:
    """Names the file that each row of `load_lensing_dataset` with the same arguments is read from.

    Returns:
        The paths in the order of the rows, of a pair that of low resolution; `None` where rows have no files of their
        own, as in tables.

    Raises:
        ValueError: As `load_lensing_dataset`, if there are no such rows.
    """
    if str(source).startswith("simulate:") or _is_table(source):
        return None
    return [item.paths[0] for item in _recognise(Path(source), split, task, _layout_of(layout)).items]


def _layout_of(layout: FitsLayout | None) -> FitsLayout:
    if layout is None:
        return FitsLayout()
    if not isinstance(layout, FitsLayout):
        raise ValueError(f"layout must be a FitsLayout, such as FitsLayout(hdu=1), got {layout!r}.")
    return layout


def _is_table(source: str | Path) -> bool:
    if not isinstance(source, str | os.PathLike):
        raise ValueError(
            f"source must be the path or the name of a set, got an object of type {type(source).__name__}."
        )
    path = Path(source)
    try:
        if path.is_dir():
            return is_table_folder(path)
        if path.exists():
            return False
    except OSError as error:
        raise type(error)(f"{named(source)}: cannot be read: {error.strerror}.") from error
    if isinstance(source, str) and is_hub_name(source):
        return True
    raise FileNotFoundError(f"{named(source)}: no such folder of lens images.")


def _recognise(path: Path, split: str, task: Task, layout: FitsLayout) -> RowSource:
    need_labels = task == "classification"
    if path.is_file():
        suffix = suffix_of(path.name)
        if suffix in CONTAINER_SUFFIXES:
            return containers_source(path, split, task=task)
        if suffix in FITS_SUFFIXES:
            return fits_source(path, split, need_labels=need_labels, layout=layout)
        if suffix in CATALOGUE_SUFFIXES and (suffix != ".parquet" or is_catalogue(path)):
            return catalogue_source(path, split, need_labels=need_labels, layout=layout)
        raise NotADirectoryError(f"{named(path)} is a file; give the folder that holds the images.")
    try:
        kinds = _count_suffixes(path)
    except OSError as error:
        raise type(error)(f"{named(error.filename or path)}: cannot be read: {error.strerror}.") from error
    source, suffixes = _recognise_folder(path, split, task, layout, kinds)
    not_read = {suffix: count for suffix, count in kinds.items() if suffix not in (*suffixes, *_TEXT_SUFFIXES)}
    return replace(source, not_read={**source.not_read, **not_read})


def _recognise_folder(
    folder: Path, split: str, task: Task, layout: FitsLayout, kinds: Mapping[str, int]
) -> tuple[RowSource, tuple[str, ...]]:
    need_labels = task == "classification"
    if kinds.keys() & set(CONTAINER_SUFFIXES):
        return containers_source(folder, split, task=task), CONTAINER_SUFFIXES
    if task == "super_resolution":
        return pairs_source(folder, split, layout=layout), (".npy", *FITS_SUFFIXES, *PICTURE_SUFFIXES)
    if ".npy" not in kinds and kinds.keys() & set(FITS_SUFFIXES):
        return fits_source(folder, split, need_labels=need_labels, layout=layout), FITS_SUFFIXES
    if ".npy" not in kinds and kinds.keys() & set(PICTURE_SUFFIXES):
        return pictures_source(folder, split, need_labels=need_labels), PICTURE_SUFFIXES
    return deeplense_source(folder, split, need_labels=need_labels), (".npy",)


def _count_suffixes(folder: Path) -> dict[str, int]:
    """Counts the files in a folder and in the folders there, by suffix."""
    counts: dict[str, int] = {}

    def fail(error: OSError) -> None:
        raise error

    seen = set()
    for root, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        # Symbolic links may lead in circles.
        if (real := os.path.realpath(root)) in seen:
            folders.clear()
            continue
        seen.add(real)
        depth = len(Path(root).relative_to(folder).parts)
        folders[:] = [name for name in folders if not name.startswith(".") and depth < _MAX_DEPTH]
        for name in files:
            if not name.startswith("."):
                suffix = suffix_of(name)
                counts[suffix] = counts.get(suffix, 0) + 1
    return counts
