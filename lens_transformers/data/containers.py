"""Sets that come as arrays in one file: HDF5 and `.npz`."""

import functools
import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .folders import (
    SPLIT_OF_NAME,
    NoSuchSplitError,
    count_classes,
    files_in,
    folders_in,
    split_in,
    suffix_of,
    words_of,
)
from .images import as_image, check_real
from .npy import read_npy_bytes
from .reading import Item, RowSource
from .report import named
from .schema import CLASS_OF_SPELLING, class_of


__all__ = ["CONTAINER_SUFFIXES", "ContainerReader", "containers_source"]

CONTAINER_SUFFIXES = (".npz", ".h5", ".hdf5", ".hdf")

_COLUMN_OF_KEY = {
    **dict.fromkeys(("image", "images", "img", "x", "data", "arr_0", "lr", "low_resolution"), "image"),
    **dict.fromkeys(("target", "targets", "hr", "high_resolution"), "target"),
    **dict.fromkeys(("label", "labels", "y", "class", "classes", "arr_1"), "label"),
}


_SPLIT_WORD = re.compile(rf"(?:^|[_\-. ])(?:{'|'.join(SPLIT_OF_NAME)})(?=$|[_\-. ])")


def containers_source(source: Path, split: str, *, task: str) -> RowSource:
    """Recognises one HDF5 or `.npz` file, or a folder of them.

    Arrays are found by name: images under `image`, `images`, `x`, `data` or `lr`, targets under `target` or `hr`,
    labels under `label`, `labels` or `y`, one an image or one for all; or the images of one class under its name.
    Where there are no labels, the name of the file or of its folder tells the class. A split stands in the name of the
    array (`x_train`, `test/images`), of the file (`train.npz`) or of its folder. Other arrays of one number an image
    become columns. Images are `(images, height, width)`, `(images, bands, height, width)` or
    `(images, height, width, bands)`.

    Args:
        source: The file or folder.
        split: One of `data.folders.SPLITS`. A set that is not divided is all `"train"`.
        task: The task that the rows are for.

    Returns:
        The rows, in the order of files and arrays.

    Raises:
        ValueError: If a file is damaged or holds no images, or the split or a class is missing.
    """
    groups = [group for path, file_split in _container_files(source) for group in _groups(path, file_split)]
    there = {group.split or "train" for group in groups}
    chosen = [group for group in groups if split in (group.split or "train", "all")]
    if not chosen:
        raise NoSuchSplitError(f"{named(source)} has no {split!r} split; it has {', '.join(sorted(there))}.")
    items = [item for group in chosen for item in group.items()]
    if task == "super_resolution" and not all("target" in group.keys for group in chosen):
        raise ValueError(f"{named(source)}: task super_resolution needs arrays lr and hr, or image and target.")
    counts = count_classes(
        (item.label for item in items),
        source,
        split,
        task == "classification",
    )
    names = sorted({name for group in chosen for name in group.parameters})
    return RowSource(
        f"{named(source)}: arrays of HDF5 or .npz files, split {split}: {counts}.",
        items,
        ContainerReader(),
        {name: _dtype([group.parameters.get(name) for group in chosen]) for name in names},
        dict.fromkeys(sorted(name for group in groups for name in group.not_read), 1),
        need_labels=task == "classification",
    )


@dataclass(frozen=True)
class ContainerReader:
    """Reads an item's row of the arrays in its file."""

    def __call__(self, item: Item) -> dict[str, Any]:
        """Gives the columns that the item's details name arrays for."""
        row: dict[str, Any] = {}
        for column, key in dict(item.details)["keys"]:
            array = _array(item.paths[0], key)
            row[column] = _as_bands_first(array[item.row])
        return row


@dataclass
class _Group:
    """The arrays of one file that belong together."""

    path: str
    split: str | None
    label: object
    keys: dict[str, str]
    labels: list
    parameters: dict[str, np.ndarray]
    not_read: list[str]

    def items(self) -> Iterator[Item]:
        images = tuple((column, key) for column, key in self.keys.items())
        for row in range(len(_array(self.path, self.keys["image"]))):
            label = self.labels[row] if self.labels else self.label
            numbers = tuple((name, values[row].item()) for name, values in self.parameters.items())
            yield Item((self.path,), label, row, (("keys", images),), parameters=numbers)


def _container_files(source: Path) -> list[tuple[str, str | None]]:
    if source.is_file():
        return [(str(source), None)]
    folders = [source, *folders_in(source)]
    files = []
    for folder in folders:
        of_folder = SPLIT_OF_NAME.get(folder.name.lower()) if folder != source else None
        for path in files_in(folder, CONTAINER_SUFFIXES):
            files.append((path, of_folder or split_in(Path(path).stem)))
    return files


def _groups(path: str, file_split: str | None) -> list[_Group]:
    """Sorts the arrays of a file by what their names say."""
    groups: dict[tuple, _Group] = {}
    others: dict[str | None, dict[str, str]] = {}
    try:
        keys = _keys(path)
    except OSError as error:
        raise ValueError(f"{named(path)}: {_damage(error)}") from error
    except (zipfile.BadZipFile, ValueError) as error:
        raise ValueError(f"{named(path)}: damaged or empty: {error}") from error
    for key in keys:
        split = split_in(key) or file_split
        name = "_".join(word for word in words_of(key) if word not in SPLIT_OF_NAME)
        if name in CLASS_OF_SPELLING:
            group = groups.setdefault((split, name), _Group(path, split, class_of(name), {}, [], {}, []))
            _claim(group.keys, "image", key, path)
        elif column := _COLUMN_OF_KEY.get(name):
            group = groups.setdefault((split, ""), _Group(path, split, _class_in(path), {}, [], {}, []))
            _claim(group.keys, column, key, path)
        else:
            _claim(others.setdefault(split, {}), name, key, path)
    complete = [group for group in groups.values() if "image" in group.keys]
    if not complete:
        raise ValueError(
            f"{named(path)}: no array of images; expected one named image, images, x, data or lr, or one a class, "
            f"got {', '.join(keys) or 'no arrays'}."
        )
    for group in complete:
        _add_columns(group, others.get(group.split, {}))
    return complete


def _claim(keys: dict[str, str], column: str, key: str, path: str) -> None:
    if column in keys:
        raise ValueError(
            f"{named(path)}: its arrays {keys[column]!r} and {key!r} are both taken for {column!r}; rename one of "
            "them or leave it out."
        )
    keys[column] = key


def _add_columns(group: _Group, others: dict[str, str]) -> None:
    # What the file says of each image goes before what its name says of all.
    label_key = group.keys.pop("label", None)
    try:
        arrays = {column: _array(group.path, key) for column, key in group.keys.items()}
        for array in arrays.values():
            check_real(array.dtype)
            if len(array.shape) not in (3, 4):
                raise ValueError(f"an array of images has 3 or 4 axes, got shape {array.shape}.")
        lengths = {column: len(array) for column, array in arrays.items()}
        if label_key:
            labels = _array(group.path, label_key)
            if labels.shape == ():
                group.label = labels[()]
            else:
                group.labels = list(labels[()])
                lengths["label"] = len(group.labels)
        if len(set(lengths.values())) > 1:
            raise ValueError(f"its arrays differ in length: {lengths}.")
        for name, key in others.items():
            values = _array(group.path, key)
            if values.shape == (lengths["image"],) and values.dtype.kind in "iuf":
                group.parameters[name] = np.asarray(values[()])
            else:
                group.not_read.append(key)
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{named(group.path)}: {error}") from error


def _dtype(columns: Sequence[np.ndarray | None]) -> str:
    """Of whole numbers in all files that have them, whole numbers; else of floats."""
    there = [column.dtype for column in columns if column is not None]
    return "int64" if all(np.can_cast(dtype, np.int64) for dtype in there) else "float64"


def _class_in(path: str) -> str | None:
    for name in (_SPLIT_WORD.sub("", Path(path).stem.lower()).strip("_-. "), Path(path).parent.name.lower()):
        for spelling in (name, re.split(r"[\-. ]|_(?=\d)", name)[0]):
            if spelling in CLASS_OF_SPELLING:
                return CLASS_OF_SPELLING[spelling]
    return None


def _keys(path: str) -> list[str]:
    if suffix_of(path) == ".npz":
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    found: list[str] = []
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, node: found.append(name) if isinstance(node, h5py.Dataset) else None)
    return found


def _array(path: str, key: str) -> Any:
    return _opened_array(path, key, os.stat(path).st_mtime_ns, os.getpid())


# An array is read or opened once a process: `process` keeps a forked process from its parent's open HDF5 file.
@functools.lru_cache(maxsize=8)
def _opened_array(path: str, key: str, time: int, process: int) -> Any:
    if suffix_of(path) == ".npz":
        with zipfile.ZipFile(path) as archive:
            return read_npy_bytes(archive.read(f"{key}.npy"))
    return h5py.File(path, "r")[key]


def _as_bands_first(image: np.ndarray) -> np.ndarray:
    if image.ndim == 3 and image.shape[2] < min(image.shape[:2]) and image.shape[0] > 4:
        image = np.moveaxis(image, -1, 0)
    return as_image(image)


def _damage(error: OSError) -> str:
    if isinstance(error, FileNotFoundError | PermissionError):
        return f"cannot be read: {error.strerror}."
    return f"named as HDF5 or .npz but damaged or no such file: {error}"
