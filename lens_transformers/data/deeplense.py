"""The official DeepLense sets: one `.npy` file an image, its class in the name of its folder or of the file."""

from pathlib import Path

from .folders import class_files, count_classes, split_folders
from .npy import NpyReader
from .reading import Item, RowSource
from .report import named


__all__ = ["deeplense_source"]


def deeplense_source(folder: Path, split: str, *, need_labels: bool) -> RowSource:
    """Recognises a folder of `.npy` images, as DeepLense releases them.

    Classes are folders (`no_sub/`, `cdm/`, `axion/`, or `no/`, `sphere/`, `vort/`) or prefixes of the file names
    (`axion_3.npy`), inside `train/`, `val/` and `test/` folders or directly in `folder`. Plain and object-array files
    may be mixed; an axion mass that comes with an image becomes the column `axion_mass_log10_ev`, NaN elsewhere.

    Args:
        folder: The data set.
        split: One of `data.folders.SPLITS`.
        need_labels: Whether every class must be there. Without that need, a folder of images that name no class is
            taken too and gets no `label` column.

    Returns:
        The rows, ordered by class and file name.

    Raises:
        ValueError: If the folder holds no such images, or a class is missing.
    """
    files = [file for part in split_folders(folder, split) for file in class_files(part, [".npy"], need_labels)]
    counts = count_classes((label for _, label in files), folder, split, need_labels)
    return RowSource(
        f"{named(folder)}: DeepLense .npy images, split {split}: {counts}.",
        [Item((path,), label) for path, label in files],
        NpyReader(),
        {"axion_mass_log10_ev": "float64"},
        need_labels=need_labels,
    )
