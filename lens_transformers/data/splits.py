"""The train, validation and test folders of a data set on disk."""

from pathlib import Path


__all__ = ["SPLITS", "split_folders"]

SPLITS = ("train", "validation", "test", "all")

_SPLIT_OF_FOLDER = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}


def split_folders(folder: Path, split: str) -> list[Path]:
    """Finds the folders that hold a split.

    Args:
        folder: The data set, divided into folders such as `train/` and `val/`, or not divided at all.
        split: One of `SPLITS`. A set that is not divided is all `"train"`, so that nothing is trained on and then
            passed off as a test; `"all"` takes every split of either kind of set.

    Returns:
        The folders, sorted by name.

    Raises:
        ValueError: If the set has no such split.
    """
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and path.name.lower() in _SPLIT_OF_FOLDER)
    if not folders:
        if split in ("train", "all"):
            return [folder]
        raise ValueError(
            f"{folder} is not divided into train/, val/ and test/ folders, so it has no {split!r} split; "
            "split='all' loads all of it."
        )
    found = [path for path in folders if split in ("all", _SPLIT_OF_FOLDER[path.name.lower()])]
    if not found:
        there = sorted({_SPLIT_OF_FOLDER[path.name.lower()] for path in folders})
        raise ValueError(f"{folder} has no {split!r} split; it has {', '.join(there)}.")
    return found
