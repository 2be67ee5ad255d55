"""Parquet and Arrow folders, and sets on the Hub, in the lens schema or in one that can be turned into it."""

import glob
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import (
    Array3D,
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    Image,
    IterableDataset,
    Value,
    concatenate_datasets,
    config,
    load_dataset,
    load_from_disk,
)

from .folders import SPLIT_OF_NAME, NoSuchSplitError, split_in
from .images import as_image, check_pair, check_shape, fill_missing, pixel_problems
from .pictures import read_picture
from .reading import Item, RowSource, read_rows, scalar, unwritable_cache
from .report import Finding, LoadReport, OnError, filled_in_words, named
from .schema import IMAGE_COLUMNS, LABEL_NAMES, ROWS_PER_CHUNK, class_of, is_known, lens_features
from .tasks import Task


__all__ = ["is_hub_name", "is_table_folder", "load_table", "stream_table"]

# Names that other sets give to the columns of the schema.
_COLUMN_OF_NAME = {
    **dict.fromkeys(("images", "img", "lr", "low_resolution"), "image"),
    **dict.fromkeys(("targets", "hr", "high_resolution"), "target"),
    **dict.fromkeys(("labels", "class"), "label"),
}
_ROWS_AT_ONCE = 256
_ARROW_MARKERS = ("state.json", "dataset_dict.json")
_NUMBERS = re.compile(r"^(u?int\d+|float\d+|bool|string)$")


def is_table_folder(folder: Path) -> bool:
    """Whether a folder holds Parquet files or what `save_to_disk` wrote."""
    return bool(_parquet_files(folder)) or any((folder / marker).is_file() for marker in _ARROW_MARKERS)


def is_hub_name(source: str) -> bool:
    """Whether a source that is not on disk can be a name on the Hub, `"org/name"`."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", source) is not None


def load_table(
    source: str | Path,
    split: str,
    task: Task,
    *,
    on_error: OnError = "raise",
    nan_fill: float | None = None,
    num_workers: int | None = None,
) -> tuple[Dataset, LoadReport]:
    """Loads and checks a table of images.

    Rows in the lens schema stay as they are, mapped into memory. Those of another (pictures, lists of numbers, other
    names or an other order of the classes) are turned into it once and cached.

    Args:
        source: A folder, or a name on the Hub.
        split: One of `data.folders.SPLITS`.
        task: What the rows are for.
        on_error: Whether a row that cannot be used raises or is left out and reported.
        nan_fill: Replaces NaN and infinite pixels.
        num_workers: Processes that convert rows.

    Returns:
        The dataset in numpy format, and what was dropped and repaired.

    Raises:
        ValueError: If the split or a column is missing, or a row cannot be used.
    """
    dataset = _in_order(_splits(source, split, streaming=False), source, split)
    columns = _columns(dataset.features, source, task)
    labels = None
    if "label" in columns:
        feature = dataset.features[columns["label"]]
        labels = [_label(label, feature) for label in dataset.with_format(None)[columns["label"]][:]]
        if task == "classification" and all(label is None for label in labels):
            raise ValueError(f"{named(source)}, split {split}: none of {len(labels)} rows has a label.")
        if task != "classification" and not all(map(is_known, set(labels))):
            dataset = dataset.remove_columns(columns.pop("label"))
            labels = None
    recognised = f"{named(source)}: Parquet rows in the lens schema, split {split}: {len(dataset)} rows."
    if _is_in_schema(dataset.features, columns) and nan_fill is None:
        return _checked(dataset, LoadReport(recognised), named(source), on_error)
    parameters = _parameters(dataset.features, columns)
    rows = RowSource(
        f"{named(source)}: rows of another schema, turned into that of lenses, split {split}: {len(dataset)} rows.",
        [Item((str(source),), label, row) for row, label in enumerate(labels or [None] * len(dataset))],
        _TableReader(dataset._fingerprint, tuple(columns.items()), _undecoded(dataset)),
        parameters,
        need_labels=task == "classification",
    )
    return read_rows(rows, on_error=on_error, nan_fill=nan_fill, num_workers=num_workers)


def stream_table(
    source: str | Path, split: str, task: Task, *, on_error: OnError = "raise", nan_fill: float | None = None
) -> tuple[IterableDataset, LoadReport]:
    """Streams a table of images: nothing is read before it is needed, and a shard is a file.

    Args:
        source: A folder, or a name on the Hub.
        split: One of `data.folders.SPLITS`.
        task: What the rows are for.
        on_error: Whether a row that cannot be used raises when it comes, or is left out with a warning.
        nan_fill: Replaces NaN and infinite pixels, with a warning.

    Returns:
        The stream in numpy format, in the lens schema, and a report that grows while it is read.

    Raises:
        ValueError: If the split or a column is missing.
    """
    stream = _in_order(_splits(source, split, streaming=True), source, split)
    if stream.features is None:
        stream = stream._resolve_features()
    columns = _columns(stream.features, source, task)
    report = LoadReport(f"{named(source)}: streamed rows, split {split}, {stream.num_shards} shards.", num_rows=None)
    check = _StreamCheck(named(source), on_error, nan_fill, report)
    if _is_in_schema(stream.features, columns):
        _check_shapes(stream.features, named(source))
        checked = stream.with_format("numpy").map(
            check, batched=True, batch_size=_ROWS_AT_ONCE, with_indices=True, features=stream.features
        )
        return checked.with_format("numpy"), report
    return _converted(stream, columns, check), report


def _parquet_files(folder: Path) -> list[Path]:
    for pattern in ("data/*.parquet", "*.parquet", "*/*.parquet"):
        if files := sorted(path for path in folder.glob(pattern) if not path.name.startswith(".")):
            return files
    return []


def _splits(source: str | Path, split: str, streaming: bool) -> Mapping[str, Any]:
    folder = Path(source)
    if not folder.is_dir():
        try:
            loaded: Any = load_dataset(str(source), streaming=streaming)
        except Exception as error:  # datasets and the Hub raise many kinds
            first = str(error).strip().splitlines()[0]
            raise ValueError(f"{source}: no folder here, and no dataset on the Hub that loads: {first}") from error
    elif any((folder / marker).is_file() for marker in _ARROW_MARKERS):
        loaded = load_from_disk(str(folder))
        if isinstance(loaded, Dataset):
            loaded = DatasetDict({"train": loaded})
        if streaming:
            loaded = {name: _iterable(part) for name, part in loaded.items()}
    else:
        files: dict[str, list[str]] = {}
        for path in _parquet_files(folder):
            files.setdefault(_split_of_file(path), []).append(str(path))
        _check_split(files, folder, split)
        # datasets takes paths for patterns, and would find `set1` under the name `set[1]`.
        chosen = {name: list(map(glob.escape, paths)) for name, paths in files.items() if split in (name, "all")}
        try:
            loaded = load_dataset("parquet", data_files=chosen, streaming=streaming)
        except Exception as error:
            raise _unreadable(folder, error.__cause__ or error) from error
    return {SPLIT_OF_NAME.get(name.lower(), name): part for name, part in loaded.items()}


def _unreadable(folder: Path, error: BaseException) -> Exception:
    """The error of Parquet files that do not load, in words."""
    if isinstance(error, OSError) and error.errno:  # pyarrow's own have no number
        if str(error.filename or "").startswith(str(config.HF_DATASETS_CACHE)):
            return unwritable_cache(error)
        return type(error)(f"{named(error.filename or folder)}: cannot be read: {error.strerror}.")
    return ValueError(f"{named(folder)}: damaged Parquet: {str(error).splitlines()[0]}")


def _iterable(dataset: Dataset, max_shards: int = 64) -> IterableDataset:
    return dataset.to_iterable_dataset(num_shards=max(min(len(dataset) // ROWS_PER_CHUNK, max_shards), 1))


def _split_of_file(path: Path) -> str:
    return split_in(path.stem) or SPLIT_OF_NAME.get(path.parent.name.lower(), "train")


def _check_split(there: Mapping[str, Any], source: str | Path, split: str) -> None:
    if split != "all" and split not in there:
        raise NoSuchSplitError(f"{named(source)} has no {split!r} split; its data/ has {', '.join(sorted(there))}.")


def _in_order(splits: Mapping[str, Any], source: str | Path, split: str) -> Any:
    _check_split(splits, source, split)
    if split != "all":
        return splits[split]
    return concatenate_datasets([splits[name] for name in sorted(splits)])


def _columns(features: Features, source: str | Path, task: Task) -> dict[str, str]:
    """The set's own name for each column of the schema."""
    columns = {name: name for name in (*IMAGE_COLUMNS, "label") if name in features}
    for name in features:
        column = _COLUMN_OF_NAME.get(name.lower())
        if column and column not in columns:
            columns[column] = name
    needed = {"classification": ["image", "label"], "super_resolution": ["image", "target"], "pretraining": ["image"]}
    for column in needed[task]:
        if column not in columns:
            kind = "a ClassLabel column 'label'" if column == "label" else f"a float32 Array3D column {column!r}"
            raise ValueError(f"{named(source)}: task {task} needs {kind}; its columns are {', '.join(features)}.")
    return columns


def _parameters(features: Features, columns: Mapping[str, str]) -> dict[str, str]:
    """The columns of numbers and texts beside those of the schema, with their dtypes."""
    return {
        name: feature.dtype
        for name, feature in features.items()
        if name not in columns.values() and isinstance(feature, Value) and _NUMBERS.match(feature.dtype)
    }


def _is_in_schema(features: Features, columns: Mapping[str, str]) -> bool:
    if any(column != name for column, name in columns.items()):
        return False
    images = [features[name] for name in IMAGE_COLUMNS if name in columns]
    if not all(isinstance(feature, Array3D) and feature.dtype == "float32" for feature in images):
        return False
    label = features.get("label")
    return label is None or (isinstance(label, ClassLabel) and label.names == list(LABEL_NAMES))


def _checked(dataset: Dataset, report: LoadReport, name: str, on_error: OnError) -> tuple[Dataset, LoadReport]:
    _check_shapes(dataset.features, name)
    dataset = dataset.with_format("numpy")
    images = [column for column in ("image", "target", "label") if column in dataset.features]
    for start, batch in _batches(dataset.select_columns(images)):
        for row, reason in sorted(_problems(batch).items()):
            report.dropped.append(Finding(f"{name}, row {start + row}", reason))
            if on_error == "raise":
                raise ValueError(f"{report.dropped[0].where}: {reason}")
    if report.dropped:
        bad = {int(finding.where.rpartition(" ")[2]) for finding in report.dropped}
        if len(bad) == len(dataset):
            raise ValueError(
                f"{report.recognised} None of the rows can be used, first {report.dropped[0].where}: "
                f"{report.dropped[0].reason}"
            )
        dataset = dataset.select([row for row in range(len(dataset)) if row not in bad])
    report.num_rows = len(dataset)
    return dataset, report


def _check_shapes(features: Features, name: str) -> None:
    shapes = [features[column].shape for column in ("image", "target") if column in features]
    try:
        for shape in shapes:
            check_shape(shape)
        if len(shapes) == 2:
            check_pair(*shapes)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _batches(dataset: Dataset) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    yield from zip(range(0, len(dataset), _ROWS_AT_ONCE), dataset.iter(_ROWS_AT_ONCE), strict=True)


def _problems(batch: Mapping[str, np.ndarray]) -> dict[int, str]:
    problems: dict[int, str] = {}
    for name in ("image", "target"):
        if name in batch:
            problems |= pixel_problems(np.asarray(batch[name]))
    if "label" in batch:
        for row, label in enumerate(batch["label"]):
            if not 0 <= label < len(LABEL_NAMES):
                problems[row] = f"label {label} is none of 0, 1, 2 ({', '.join(LABEL_NAMES)})."
    return problems


@dataclass(frozen=True)
class _StreamCheck:
    """What becomes of the rows of a stream that cannot be used as they are."""

    source: str
    on_error: OnError
    nan_fill: float | None
    report: LoadReport

    def __call__(self, batch: Mapping[str, np.ndarray], indices: Sequence[int]) -> dict[str, np.ndarray]:
        """Fills and leaves out rows in the lens schema."""
        columns = dict(batch)
        for name in ("image", "target"):
            if name in columns:
                columns[name] = self.fill(columns[name], name, indices)
        problems = _problems(columns)
        for row, reason in sorted(problems.items()):
            self.drop(indices[row], reason)
        if problems:
            kept = [row for row in range(len(indices)) if row not in problems]
            columns = {name: values[kept] for name, values in columns.items()}
        return columns

    def where(self, index: int) -> str:
        return f"{self.source}, row {index} of this stream"

    def drop(self, index: int, reason: str) -> None:
        self.report.drop(self.where(index), reason, self.on_error)

    def fill(self, images: np.ndarray, name: str, indices: Sequence[int]) -> np.ndarray:
        """Gives images `(batch, bands, height, width)` with all pixels finite, if that is wanted."""
        # The sum is finite where every pixel is, for less than looking at each.
        if self.nan_fill is None or math.isfinite(images.sum(dtype=np.float64)):
            return images
        images = images.copy()
        for row, count in fill_missing(images, self.nan_fill).items():
            self.report.repair(self.where(indices[row]), filled_in_words(count, name, self.nan_fill))
        return images


@dataclass(frozen=True)
class _TableReader:
    """Turns a row of a table into one of the schema."""

    fingerprint: str
    columns: tuple[tuple[str, str], ...]
    dataset: Dataset = field(repr=False)

    def __call__(self, item: Item) -> dict[str, Any]:
        return _row(self.dataset[item.row], dict(self.columns))


def _row(row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    images = {column: _image(row[name], name) for column, name in columns.items() if column != "label"}
    return {**{name: value for name, value in row.items() if name not in columns.values()}, **images}


def _image(value: Any, name: str) -> np.ndarray:
    if value is None:
        raise ValueError(f"its {name} is missing.")
    if isinstance(value, Mapping) and "bytes" in value:
        return read_picture(io.BytesIO(value["bytes"]) if value["bytes"] is not None else value["path"])
    try:
        return as_image(np.array(_as_lists(value)))
    except ValueError as error:
        raise ValueError(f"its {name}: {error}") from error


def _as_lists(value: Any) -> Any:
    # Nested lists come as object arrays of arrays.
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [_as_lists(part) for part in value]
    return value


def _undecoded(dataset: Any) -> Any:
    """The rows with pictures as their bytes: decoded by datasets, colours of 16 bits lose half of them unseen."""
    for name, feature in dataset.features.items():
        if isinstance(feature, Image):
            dataset = dataset.cast_column(name, Image(decode=False))
    return dataset.with_format("numpy")


def _label(label: Any, feature: Any) -> object:
    """A label as `class_of` takes it; what names no class of its column, such as the Hub's -1, it will refuse."""
    if isinstance(label, np.generic):
        label = label.item()
    if isinstance(label, float):
        label = scalar(label, feature.dtype)
    if label is None or not isinstance(feature, ClassLabel):
        return label
    if 0 <= label < len(feature.names):
        return feature.names[label]
    return f"number {label} of {', '.join(feature.names)}"


def _converted(stream: Any, columns: dict[str, str], check: _StreamCheck) -> IterableDataset:
    parameters = _parameters(stream.features, columns)
    label_feature = stream.features.get(columns.get("label", ""))
    stream = _undecoded(stream)
    first = _first_readable(stream, columns, check.source)
    shapes = {f"{column}_shape": first[column].shape for column in columns if column != "label"}
    features = lens_features(**shapes, label="label" in columns, parameters=parameters)

    def convert(rows: dict[str, Any], indices: list[int]) -> dict[str, list]:
        converted: dict[str, list] = {name: [] for name in features}
        for position, index in enumerate(indices):
            try:
                row = _row({name: values[position] for name, values in rows.items()}, columns)
                if "label" in columns:
                    label = _label(rows[columns["label"]][position], label_feature)
                    row["label"] = LABEL_NAMES.index(class_of(label))
                for column in columns.keys() - {"label"}:
                    if row[column].shape != first[column].shape:
                        raise ValueError(f"shape {row[column].shape} of {column} differs from {first[column].shape}.")
                    row[column] = check.fill(row[column][None], column, [index])[0]
                    if column in ("image", "target") and (problems := pixel_problems(row[column][None])):
                        raise ValueError(problems[0])
            except (OSError, ValueError) as error:
                check.drop(index, str(error))
                continue
            for name, values in converted.items():
                values.append(scalar(row[name], parameters[name]) if name in parameters else row[name])
        return converted

    mapped = stream.map(
        convert, batched=True, batch_size=64, with_indices=True, remove_columns=stream.column_names, features=features
    )
    return mapped.with_format("numpy")


def _first_readable(stream: Any, columns: dict[str, str], source: str) -> dict[str, Any]:
    reason = "there are no rows"
    for index, row in enumerate(stream):
        try:
            return _row(row, columns)
        except (OSError, ValueError) as error:
            reason = reason if index else f"row 0: {error}"
    raise ValueError(f"{source}: none of the rows can be read, first {reason}")
