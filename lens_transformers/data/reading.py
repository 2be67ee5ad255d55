"""Files into a dataset: read by every core, checked, written once as Arrow, and mapped into memory ever after."""

import hashlib
import math
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import pyarrow as pa
from datasets import Dataset, Features, concatenate_datasets
from datasets.arrow_writer import ArrowWriter
from datasets.utils import tqdm
from filelock import FileLock

from .images import check_pair, fill_missing, pixel_problems
from .report import Finding, LoadReport, OnError, filled_in_words, named
from .schema import IMAGE_COLUMNS, LABEL_NAMES, ROWS_PER_CHUNK, arrow_array, class_of, is_known, lens_features


__all__ = ["REPAIRED", "Item", "RowSource", "num_cores", "read_rows", "scalar", "unwritable_cache"]

# Part of every cache key: raised when the same files would become other rows.
_CACHE_VERSION = 3
# Starting processes costs more than reading so few files.
_MIN_ITEMS_PER_WORKER = 1000
# Half a gigabyte for each worker; far below the 2**31 that Arrow counts to.
_MAX_PIXELS_PER_PART = 2**27
_NUM_NAMED = 5
# Beside the columns that a reader gives: a sentence, where it made up pixels.
REPAIRED = "(repaired)"


class Item(NamedTuple):
    """What one row is read from.

    Attributes:
        paths: The files; the first names the row in messages.
        label: Its class as the source spells it, or `None`.
        row: Index of the image in a file that holds many.
        details: What else the reader needs, as pairs of name and value.
        name: What to call it in messages beside its first file.
        parameters: Values of parameter columns, as pairs of name and value.
    """

    paths: tuple[str, ...]
    label: object = None
    row: int | None = None
    details: tuple[tuple[str, Any], ...] = ()
    name: str = ""
    parameters: tuple[tuple[str, Any], ...] = ()

    @property
    def where(self) -> str:
        """The item's name in messages."""
        file = named(self.paths[0]) + ("" if self.row is None else f", row {self.row}")
        return f"{self.name} ({file})" if self.name else file


@dataclass(frozen=True)
class RowSource:
    """A source of rows that was recognised on disk.

    Attributes:
        recognised: One line: the source and what it was taken for.
        items: One a row, in order.
        read: Gives an item's columns: arrays `(bands, height, width)` of `IMAGE_COLUMNS`, parameters, and under
            `REPAIRED` a sentence where it made up pixels. It raises ValueError or OSError for what it cannot read,
            with a message that does not name the file. Its `repr` must tell all that the rows depend on.
        parameters: The scalar columns with their dtypes. A float that an item lacks is NaN, all else is missing.
        not_read: Files that are no images, counted by suffix.
        need_labels: Whether an item without a known class cannot be used; without that need, there is a column `label`
            only where every item has one.
    """

    recognised: str
    items: Sequence[Item]
    read: Callable[[Item], dict[str, Any]]
    parameters: Mapping[str, str] = field(default_factory=dict)
    not_read: Mapping[str, int] = field(default_factory=dict)
    need_labels: bool = True


def read_rows(
    source: RowSource,
    *,
    on_error: OnError = "raise",
    nan_fill: float | None = None,
    num_workers: int | None = None,
) -> tuple[Dataset, LoadReport]:
    """Reads all rows of a source, or maps those that were read before into memory.

    The rows are cached under `datasets.config.HF_DATASETS_CACHE`, by the names, sizes and times of the files and by
    the arguments. They are the same with any number of workers.

    Args:
        source: Where the rows are.
        on_error: Whether an image that cannot be used raises or is left out and reported.
        nan_fill: Replaces NaN and infinite pixels, which is reported; by default such an image cannot be used.
        num_workers: Processes that read; by default all cores the process may run on, if there are images enough.

    Returns:
        The dataset in numpy format, and what was dropped and repaired.

    Raises:
        ValueError: If an image cannot be used and `on_error` is `"raise"`, or none can.
        OSError: If the cache folder cannot be written.
    """
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "lens_transformers" / _fingerprint(source, on_error, nan_fill)
    with _written_once(folder) as unfinished:
        if unfinished is not None:
            report = _write_parts(source, unfinished, on_error, nan_fill, num_workers)
            report.save(unfinished / "report.json")
    report = LoadReport.load(folder / "report.json")
    # Named by their first row; `map` leaves results of its own, `cache-*.arrow`, beside what it maps.
    parts = [Dataset.from_file(str(path)) for path in sorted(folder.glob("[0-9]*.arrow"))]
    return concatenate_datasets(parts).with_format("numpy"), report


def _fingerprint(source: RowSource, on_error: OnError, nan_fill: float | None) -> str:
    settings = (_CACHE_VERSION, source.recognised, on_error, nan_fill, source.parameters, source.need_labels)
    key = hashlib.sha256(repr(settings).encode())
    key.update(repr(source.read).encode())
    stats: dict[str, tuple[int, int] | None] = {}
    for item in source.items:
        for path in item.paths:
            if path not in stats:
                stats[path] = size_and_time(path)
        key.update(repr((item, [stats[path] for path in item.paths])).encode(errors="surrogateescape"))
    return key.hexdigest()[:32]


def size_and_time(path: str | Path) -> tuple[int, int] | None:
    """What tells a file from what it becomes when it is changed; `None` where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None  # the reader will say what is wrong
    return status.st_size, status.st_mtime_ns


@contextmanager
def _written_once(folder: Path) -> Iterator[Path | None]:
    """Gives a folder to write, which gets its name when all is written, or `None` where it is there already.

    The processes of one machine wait for the one that writes.
    """
    if folder.is_dir():
        yield None
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{folder}.lock")
        lock.acquire()
    except OSError as error:
        raise unwritable_cache(error) from error
    try:
        if folder.is_dir():
            yield None
            return
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
        unfinished.mkdir()
        try:
            yield unfinished
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    finally:
        lock.release()


def unwritable_cache(error: OSError) -> OSError:
    """The error of a cache that cannot be written, in words that tell what to do."""
    return type(error)(
        f"{datasets.config.HF_DATASETS_CACHE}: the cache of datasets cannot be written ({error.strerror}); "
        "name another folder in the environment variable HF_DATASETS_CACHE."
    )


def _write_parts(
    source: RowSource, folder: Path, on_error: OnError, nan_fill: float | None, num_workers: int | None
) -> LoadReport:
    features, first = _features(source)
    recognised = source.recognised
    if "label" not in features and any(is_known(item.label) for item in source.items):
        recognised += " Without the column label, for not every image has a class."
    report = LoadReport(recognised, not_read=dict(source.not_read))
    job = _Job(source, features, first, folder, on_error, nan_fill)
    size = _rows_per_part(features)
    parts = range(0, len(source.items), size)
    total = 0
    with tqdm(total=len(source.items), desc="Reading", unit="image") as bar:
        for start, (num_rows, dropped, repaired) in zip(parts, _written_parts(job, parts, num_workers), strict=True):
            total += num_rows
            report.dropped += dropped
            report.repaired += repaired
            if dropped and on_error == "raise":
                raise ValueError("\n".join(map(_named, dropped[:_NUM_NAMED])))
            bar.update(len(source.items[start : start + size]))
    if not total:
        raise ValueError(f"{source.recognised} None of the images can be used, first {_named(report.dropped[0])}")
    report.num_rows = total
    return report


def _named(finding: Finding) -> str:
    return f"{finding.where}: {finding.reason}"


@dataclass(frozen=True)
class _Job:
    source: RowSource
    features: Features
    first: Item
    folder: Path
    on_error: OnError
    nan_fill: float | None


_Part = tuple[int, list[Finding], list[Finding]]


def _written_parts(job: _Job, parts: range, num_workers: int | None) -> Iterator[_Part]:
    if num_workers is None:
        num_workers = min(num_cores(), max(len(job.source.items) // _MIN_ITEMS_PER_WORKER, 1))
    if num_workers == 1 or multiprocessing.current_process().daemon:
        yield from (_write_part(job, start) for start in parts)
        return
    with ProcessPoolExecutor(num_workers, mp_context=_context(), initializer=_keep, initargs=(job,)) as pool:
        try:
            yield from pool.map(_write_kept_part, parts)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def num_cores() -> int:
    """Counts the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # where a process may be bound to fewer cores than there are
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _context() -> multiprocessing.context.BaseContext:
    """Forked workers start at once and need no guard in the user's script; they only read, and start no threads."""
    methods = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("fork" if "fork" in methods else None)


_kept_job: list[_Job] = []


def _keep(job: _Job) -> None:
    _kept_job[:] = [job]


def _write_kept_part(start: int) -> _Part:
    return _write_part(_kept_job[0], start)


def _features(source: RowSource) -> tuple[Features, Item]:
    """The columns, from the first item that can be read, and that item."""
    if not source.items:
        raise ValueError(f"{source.recognised} Give a set that holds some.")
    reason = ""
    for item in source.items:
        try:
            row = source.read(item)
        except (OSError, ValueError) as error:
            reason = reason or f"{item.where}: {_reason(error)}"
            continue
        shapes = {f"{name}_shape": row[name].shape for name in IMAGE_COLUMNS if name in row}
        has_label = (any if source.need_labels else all)(is_known(item.label) for item in source.items)
        return lens_features(**shapes, label=has_label, parameters=source.parameters), item
    raise ValueError(f"{source.recognised} None of the images can be read, first {reason}")


def _rows_per_part(features: Features) -> int:
    pixels = sum(math.prod(features[name].shape) for name in IMAGE_COLUMNS if name in features)
    return max(min(ROWS_PER_CHUNK, _MAX_PIXELS_PER_PART // pixels), 1)


def _write_part(job: _Job, start: int) -> _Part:
    items = job.source.items[start : start + _rows_per_part(job.features)]
    columns = {
        name: np.empty((len(items), *job.features[name].shape), np.float32)
        for name in IMAGE_COLUMNS
        if name in job.features
    }
    parameters: dict[str, list] = {name: [] for name in job.source.parameters}
    labels: list[int] = []
    dropped: list[Finding] = []
    repaired: list[Finding] = []
    kept: list[Item] = []
    for item in items:
        try:
            read = job.source.read(item)
            row = {**dict(item.parameters), **read}
            _check_shapes(read, columns, job.first)
            label = LABEL_NAMES.index(class_of(item.label)) if "label" in job.features else 0
        except (OSError, ValueError) as error:
            dropped.append(Finding(item.where, _reason(error)))
            if job.on_error == "raise" and len(dropped) == _NUM_NAMED:
                return 0, dropped, repaired
            continue
        for name, column in columns.items():
            column[len(kept)] = row[name]
        for name, values in parameters.items():
            values.append(scalar(row.get(name), job.source.parameters[name]))
        labels.append(label)
        kept.append(item)
        if REPAIRED in read:
            repaired.append(Finding(item.where, read[REPAIRED]))
    columns = {name: column[: len(kept)] for name, column in columns.items()}
    bad = _check_pixels(columns, kept, job.nan_fill, repaired)
    dropped += [Finding(kept[index].where, reason) for index, reason in sorted(bad.items())]
    unused = {kept[index].where for index in bad}
    repaired = [finding for finding in repaired if finding.where not in unused]
    if kept and len(bad) < len(kept):
        table: dict[str, Any] = columns | {name: np.asarray(values) for name, values in parameters.items()}
        table["label"] = np.asarray(labels)
        if bad:
            good = [index for index in range(len(kept)) if index not in bad]
            table = {name: column[good] for name, column in table.items()}
        _write(job.folder / f"{start:012d}.arrow", {name: table[name] for name in job.features}, job.features)
    return len(kept) - len(bad), dropped, repaired


def scalar(value: Any, dtype: str) -> Any:
    """The value of a parameter column as Arrow takes it, where there is none as well."""
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return np.nan if dtype.startswith("float") else None
    # Of whole numbers with gaps, numpy makes floats.
    return int(value) if "int" in dtype else value


def _write(path: Path, columns: dict[str, np.ndarray], features: Features) -> None:
    schema = features.arrow_schema
    arrays = [arrow_array(columns[field.name], field.type) for field in schema]
    with ArrowWriter(path=str(path), features=features) as writer:
        writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
        writer.finalize()


def _check_shapes(row: Mapping[str, Any], columns: Mapping[str, np.ndarray], first: Item) -> None:
    if "image" in row and "target" in row:
        check_pair(row["image"].shape, row["target"].shape)
    for name in IMAGE_COLUMNS:
        if name in row and name not in columns:
            remedy = " (`FitsLayout(companions=False)` leaves both out)" if name in ("noise_map", "psf") else ""
            raise ValueError(f"it has a {name}, which {first.where} has not{remedy}.")
    for name, column in columns.items():
        if name not in row:
            raise ValueError(f"it has no {name}, which {first.where} has.")
        if row[name].shape != column.shape[1:]:
            remedy = " (`FitsLayout(psf_size=...)` pads PSFs to one)" if name == "psf" else ""
            raise ValueError(
                f"shape {row[name].shape} (bands, height, width) of {name} differs from {column.shape[1:]} of "
                f"{first.where}; all images of a set have one size{remedy}."
            )


def _check_pixels(
    columns: Mapping[str, np.ndarray], items: Sequence[Item], nan_fill: float | None, repaired: list[Finding]
) -> dict[int, str]:
    bad: dict[int, str] = {}
    for name in ("image", "target"):
        if name not in columns or not len(columns[name]):
            continue
        images = columns[name]
        if nan_fill is not None:
            for index, count in fill_missing(images, nan_fill).items():
                repaired.append(Finding(items[index].where, filled_in_words(count, name, nan_fill)))
        bad |= pixel_problems(images)
    return bad


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}."
    return str(error)
