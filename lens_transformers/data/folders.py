"""What lies in a folder of images: files by suffix, class folders, split folders."""

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from .report import named
from .schema import CLASS_OF_SPELLING, LABEL_NAMES, class_of


__all__ = [
    "SPLITS",
    "SPLIT_OF_NAME",
    "class_files",
    "count_classes",
    "files_in",
    "files_like",
    "folders_in",
    "is_pattern",
    "split_folders",
    "split_in",
    "suffix_of",
    "words_of",
]

SPLITS = ("train", "validation", "test", "all")

SPLIT_OF_NAME = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}

# A letter after a spelling makes another word, and any word after "no" another meaning: "no_noise_cdm_1". The official
# simulations call their files "no_sim_1" and "axion_sim_1".
_LONG_SPELLINGS = "|".join(spelling for spelling in CLASS_OF_SPELLING if spelling != "no")
_CLASS_PREFIX = re.compile(rf"(?:{_LONG_SPELLINGS})(?![a-z])|no(?=(?:[_\-. ]sim)?[_\-. (]*(?:\d|$))")

_NUM_NAMED = 3
_UNKNOWN = "of no known class"


class NoSuchSplitError(ValueError):
    """A data set has no split of this name, which is no fault of those that it has."""


def split_in(name: str) -> str | None:
    """The split that a word of a name tells, as in `"lenses_test.parquet"`, the first if there are several."""
    return next((SPLIT_OF_NAME[word] for word in words_of(name) if word in SPLIT_OF_NAME), None)


def words_of(name: str) -> list[str]:
    """The words of a name, in lower case."""
    return [word for word in re.split(r"[/_\-. ]+", name.lower()) if word]


def split_folders(folder: Path, split: str) -> list[Path]:
    """Finds the folders that hold a split.

    Args:
        folder: The data set, divided into folders such as `train/` and `val/`, or not divided at all.
        split: One of `SPLITS`. A set that is not divided is all `"train"`, so that nothing is trained on and then
            passed off as a test; `"all"` takes every split of either kind of set.

    Returns:
        The folders, sorted by name.

    Raises:
        NoSuchSplitError: If the set has none of this name.
    """
    folders = [path for path in folders_in(folder) if path.name.lower() in SPLIT_OF_NAME]
    if not folders:
        if split in ("train", "all"):
            return [folder]
        raise NoSuchSplitError(
            f"{named(folder)} is not divided into train/, val/ and test/ folders, so it has no {split!r} split; "
            "split='all' loads all of it, and `split_fractions` divides it."
        )
    found = [path for path in folders if split in ("all", SPLIT_OF_NAME[path.name.lower()])]
    if not found:
        there = sorted({SPLIT_OF_NAME[path.name.lower()] for path in folders})
        raise NoSuchSplitError(f"{named(folder)} has no {split!r} split; it has {', '.join(there)}.")
    return found


def class_files(folder: Path, suffixes: Sequence[str], need_labels: bool) -> list[tuple[str, str | None]]:
    """Lists the images of a folder with their classes, ordered by class and name.

    Args:
        folder: Holds folders of classes (`no_sub/`, `cdm/`, `axion/`, or `no/`, `sphere/`, `vort/`), or files whose
            names begin so (`axion_3.npy`).
        suffixes: Which files are images.
        need_labels: Whether every file must name a class; without that need, none may.

    Returns:
        Paths, each with its class of `LABEL_NAMES` or `None`.

    Raises:
        ValueError: If there are none, a file names no class that should, or some lie beside folders of classes or in
            folders within them.
    """
    class_folders = [path for path in folders_in(folder) if path.name.lower() in CLASS_OF_SPELLING]
    files: list[tuple[str, str | None]]
    if class_folders:
        files = [
            (path, CLASS_OF_SPELLING[sub.name.lower()]) for sub in class_folders for path in files_in(sub, suffixes)
        ]
        others = [path for path in folders_in(folder) if path not in class_folders]
        taken = {path.resolve() for path in class_folders}  # to which links may lead
        others += [path for sub in class_folders for path in folders_in(sub) if path.resolve() not in taken]
        beside = [path for part in (folder, *others) for path in files_in(part, suffixes)]
        if beside:
            first = ", ".join(named(os.path.relpath(path, folder)) for path in beside[:_NUM_NAMED])
            raise ValueError(
                f"{named(folder)}: {len(beside)} images lie beside the folders of classes, or in folders within them, "
                f"first {first}; move them right into one of these (no_sub, cdm, axion or no, sphere, vort), or away."
            )
    else:
        files = [(path, _class_of_name(path)) for path in files_in(folder, suffixes)]
    if not files:
        raise ValueError(
            f"{named(folder)}: no lens images found. Expected {' or '.join(suffixes)} files in folders no_sub/, cdm/, "
            "axion/ (or no/, sphere/, vort/) or with such prefixes (axion_3.npy), data/*.parquet, or LR/ and HR/ for "
            "super-resolution."
        )
    unlabelled = [named(os.path.basename(path)) for path, label in files if label is None]
    if unlabelled and (need_labels or len(unlabelled) < len(files)):
        raise ValueError(
            f"{named(folder)}: {len(unlabelled)} of {len(files)} files name no class (no_sub, cdm, axion or no, "
            f"sphere, vort), first {', '.join(unlabelled[:_NUM_NAMED])}."
        )
    return sorted(files, key=lambda file: (LABEL_NAMES.index(file[1]) if file[1] else 0, file[0]))


def count_classes(labels: Iterable[object], source: Path, split: str, need_labels: bool) -> str:
    """Counts the classes that labels name, in words.

    Raises:
        ValueError: If a class is missing where all are needed.
    """
    labels = list(labels)
    counts = Counter(_class_or_other(label) for label in labels)
    missing = [name for name in LABEL_NAMES if name not in counts]
    if need_labels and missing:
        why = ""
        if num_strange := counts[_UNKNOWN]:
            strange = next(label for label in labels if _class_or_other(label) == _UNKNOWN)
            why = f" {num_strange} of {len(labels)} labels name no class, first {strange!r}."
        raise ValueError(f"{named(source)}, split {split!r}: no images of class {', '.join(missing)}.{why}")
    return ", ".join(f"{count} {label}" for label, count in counts.items()) or "no images"


def _class_or_other(label: object) -> str:
    try:
        return "unlabelled" if label is None else class_of(label)
    except ValueError:
        return _UNKNOWN  # which is said of each when it is read


def files_in(folder: Path, suffixes: Sequence[str] | None = None) -> list[str]:
    """Lists the files directly in a folder, sorted by name, without hidden ones.

    macOS leaves `._0.npy` beside `0.npy`, which is no image. A link that leads nowhere is a file that cannot be read.
    """
    with os.scandir(folder) as entries:
        return sorted(
            entry.path
            for entry in entries
            if not entry.name.startswith(".")
            and (suffixes is None or suffix_of(entry.name) in suffixes)
            and not _is_folder(entry)
        )


def is_pattern(source: str | Path) -> bool:
    """Whether a name stands for all files that are like it, as `"night/*.fits"` does, and is no name of a file."""
    return glob.has_magic(str(source)) and not str(source).startswith("simulate:") and not os.path.lexists(source)


def files_like(pattern: str | Path) -> list[str]:
    """Lists the files that fit a pattern, sorted by name.

    Raises:
        FileNotFoundError: If there are none.
    """
    files = sorted(file for file in glob.glob(str(pattern), recursive=True) if os.path.isfile(file))
    if not files:
        raise FileNotFoundError(f"{pattern}: no file fits this pattern.")
    return files


def folders_in(folder: Path) -> list[Path]:
    """Lists the folders directly in a folder, sorted by name, without hidden ones."""
    with os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if not entry.name.startswith(".") and _is_folder(entry))


def suffix_of(name: str) -> str:
    """The suffix in lower case, of which a compression is part: `".fits.gz"`."""
    # A hundred thousand names are told apart: os.path.splitext would take three times as long.
    root, dot, suffix = name.lower().rpartition(".")
    if suffix in ("gz", "fz", "bz2") and "." in root:
        return f".{root.rpartition('.')[2]}.{suffix}"
    return dot + suffix if root else ""


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a symbolic link to itself
        return False


def _class_of_name(path: str) -> str | None:
    match = _CLASS_PREFIX.match(os.path.splitext(os.path.basename(path))[0].lower())
    return CLASS_OF_SPELLING[match[0]] if match else None
