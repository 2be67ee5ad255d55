"""Catalogues: tables with one lens a row, where its files lie, its class, and its position in a larger image."""

import os
from collections import Counter
from decimal import Decimal
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
from astropy.table import Table
from astropy.units import Quantity, UnitsError

from .files import FileReader
from .fits import FITS_PARAMETERS, FITS_SUFFIXES, FitsLayout
from .folders import SPLIT_OF_NAME, NoSuchSplitError, count_classes, suffix_of
from .reading import Item, RowSource
from .report import named
from .schema import IMAGE_COLUMNS


__all__ = ["CATALOGUE_SUFFIXES", "catalogue_source", "is_catalogue"]

CATALOGUE_SUFFIXES = (".csv", ".ecsv", ".parquet")

_PATH_COLUMNS = ("path", "file", "filename", "file_name", "image")
_LABEL_COLUMNS = ("label", "class")
_COMPANIONS = ("noise_map", "psf")


def is_catalogue(path: Path) -> bool:
    """Whether a Parquet file is a catalogue, by its column of paths, and not a set of images."""
    schema = pyarrow.parquet.read_schema(path)
    texts = [field.name.lower() for field in schema if str(field.type) in ("string", "large_string", "string_view")]
    return any(text == name or text.startswith(f"{name}_") for text in texts for name in _PATH_COLUMNS)


def catalogue_source(catalogue: Path, split: str, *, need_labels: bool, layout: FitsLayout) -> RowSource:
    """Recognises a CSV, ECSV or Parquet catalogue of image files.

    Columns: `path` (or `file`, `filename`, `image`), relative to the catalogue, or one such column a band
    (`path_vis`, `path_nir_y`) for the bands of the layout; where wanted `label`, `split`, `noise_map` and `psf`
    (files, one a band likewise); and for cutouts `ra` and `dec` in degrees or `x` and `y` in pixels from 0. Other
    columns of numbers and texts become columns of the dataset.

    Args:
        catalogue: The table.
        split: One of `data.folders.SPLITS`; of a catalogue without the column, everything is `"train"`.
        need_labels: Whether every class must be there.
        layout: How FITS files hold images, and the size of cutouts.

    Returns:
        The rows, in the catalogue's order.

    Raises:
        ValueError: If the table cannot be read, or lacks a column, the split or a class.
    """
    # Excel begins a CSV file by a mark of the order of its bytes.
    columns = {name.lower().removeprefix("\ufeff"): values for name, values in _read_columns(catalogue).items()}
    path_columns = _path_columns(columns, layout, catalogue)
    label_column = next((name for name in _LABEL_COLUMNS if name in columns), None)
    if need_labels and label_column is None:
        raise ValueError(f"{named(catalogue)} has no column label; it has {', '.join(columns)}.")
    position = _position_columns(columns, layout, catalogue)
    rows = _rows_of_split(columns.get("split"), split, len(columns[path_columns[0][1]]), catalogue)

    used = {name for _, name, _ in path_columns} | {label_column, "split", *(position or ())}
    dtypes = {name: _dtype(values) for name, values in columns.items() if name not in used}
    for name, dtype in FITS_PARAMETERS.items():
        if name in dtypes and (dtypes[name] == "string") != (dtype == "string"):
            dtypes[name] = None
    parameters = {name: dtype for name, dtype in dtypes.items() if dtype is not None}
    if clashing := [name for name in parameters if name in (*IMAGE_COLUMNS, "label")]:
        raise ValueError(
            f"{named(catalogue)}: its column {clashing[0]} is no file, but has the name of a column of the dataset; "
            "rename it or leave it out."
        )
    items = []
    for row in rows:
        files = [(role, str(columns[name][row])) for role, name, _ in path_columns if columns[name][row] is not None]
        details: list[tuple[str, Any]] = [("roles", tuple(role for role, _ in files))]
        if position:
            first, second = (float(columns[name][row]) for name in position)
            details.append(("position", ("sky" if position[0] == "ra" else "pixel", first, second)))
        values = tuple((name, _value(columns[name][row], dtype)) for name, dtype in parameters.items())
        paths = tuple(os.path.join(catalogue.parent, path) for _, path in files) or (str(catalogue),)
        label = columns[label_column][row] if label_column else None
        name = f"{named(catalogue)}, row {row}"
        items.append(Item(paths, label, details=tuple(details), name=name, parameters=values))
    counts = count_classes((item.label for item in items), catalogue, split, need_labels)
    if any(suffix_of(item.paths[0]) in FITS_SUFFIXES for item in items):
        parameters |= FITS_PARAMETERS
    return RowSource(
        f"{named(catalogue)}: catalogue of images, split {split}: {counts}.",
        items,
        FileReader(layout),
        parameters,
        {f"column {name}": 1 for name, dtype in dtypes.items() if dtype is None},
        need_labels=need_labels,
    )


def _read_columns(path: Path) -> dict[str, list]:
    try:
        if path.suffix.lower() == ".parquet":
            return pyarrow.parquet.read_table(path).to_pydict()
        table = Table.read(path, format="ascii.ecsv" if path.suffix.lower() == ".ecsv" else "ascii.csv")
    except OSError as error:
        raise ValueError(f"{named(path)}: cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # a damaged table can make its parser raise anything
        raise ValueError(f"{named(path)}: no table of the kind that its name promises: {error}") from error
    return {name: _values(table[name], name, path) for name in table.colnames}


def _values(column: Any, name: str, path: Path) -> list:
    if name.lower() in ("ra", "dec") and column.unit is not None:
        try:
            column = Quantity(column).to("deg").value
        except UnitsError as error:
            raise ValueError(f"{named(path)}: column {name} is no angle: {error}") from error
    masked = np.ma.asarray(column)
    hidden = np.ma.getmaskarray(masked)
    return [None if hide else value for value, hide in zip(masked.data.tolist(), hidden, strict=True)]


def _path_columns(
    columns: dict[str, list], layout: FitsLayout, catalogue: Path
) -> list[tuple[tuple[str, str], str, str]]:
    """The columns of files: each with the dataset's column and the band that it is for."""
    found = []
    for column, names in (("image", _PATH_COLUMNS), *((name, (name,)) for name in _COMPANIONS)):
        for band in layout.bands or ("",):
            name = next(
                (name for name in (f"{stem}_{band}".rstrip("_").lower() for stem in names) if name in columns), None
            )
            if name is not None:
                found.append(((column, band), name, band))
            elif column == "image":
                wanted = f"path_{band}" if band else "path"
                raise ValueError(f"{named(catalogue)} has no column {wanted}; it has {', '.join(columns)}.")
    if not columns[found[0][1]]:
        raise ValueError(f"{named(catalogue)} has no rows.")
    return found


def _position_columns(columns: dict[str, list], layout: FitsLayout, catalogue: Path) -> tuple[str, str] | None:
    if layout.cutout is None:
        return None
    for pair in (("ra", "dec"), ("x", "y")):
        if all(name in columns for name in pair):
            if any(value is None or isinstance(value, str) for name in pair for value in columns[name]):
                raise ValueError(f"{named(catalogue)}: {pair[0]} and {pair[1]} must be numbers in every row.")
            return pair
    return None


def _dtype(values: list) -> str | None:
    """The dtype of a column of texts or numbers, `None` of one of anything else, such as dates or lists."""
    if any(isinstance(value, str) for value in values):
        return "string"
    # Names of catalogued objects are whole numbers that no float holds.
    if all(value is None or (type(value) is int and abs(value) < 2**63) for value in values):
        return "int64" if any(value is not None for value in values) else "float64"
    return "float64" if all(value is None or isinstance(value, Real | Decimal) for value in values) else None


def _value(value: Any, dtype: str) -> Any:
    return None if value is None else {"string": str, "int64": int, "float64": float}[dtype](value)


def _rows_of_split(splits: list | None, split: str, num_rows: int, catalogue: Path) -> list[int]:
    if splits is None:
        if split in ("train", "all"):
            return list(range(num_rows))
        raise NoSuchSplitError(f"{named(catalogue)} has no column split, so it has no {split!r} split.")
    names = [SPLIT_OF_NAME.get(str(name).strip().lower()) for name in splits]
    if None in names:
        row = names.index(None)
        raise ValueError(f"{named(catalogue)}, row {row}: split {splits[row]!r} is none of train, validation, test.")
    rows = [row for row, name in enumerate(names) if split in (name, "all")]
    if not rows:
        there = Counter(name for name in names if name)
        raise NoSuchSplitError(f"{named(catalogue)} has no {split!r} split; it has {', '.join(sorted(there))}.")
    return rows
