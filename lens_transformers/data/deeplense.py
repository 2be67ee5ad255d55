"""The official DeepLense sets: one `.npy` file an image, its class in the name of its folder or of the file."""

import logging
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from datasets import Dataset
from datasets.utils import tqdm

from .npy import npy_files, read_lens_npy
from .schema import LABEL_NAMES, ROWS_PER_CHUNK, dataset_from_chunks, lens_features
from .splits import split_folders


__all__ = ["load_deeplense"]

logger = logging.getLogger(__name__)

# Two simulators stand behind the official sets and name the same three classes differently.
_CLASS_OF_SPELLING = {
    "no_sub": "no_sub",
    "nosub": "no_sub",
    "no": "no_sub",
    "cdm": "cdm",
    "sphere": "cdm",
    "axion": "axion",
    "vort": "axion",
}
# The longest spelling first, so that "no_sub_3" is not cut to "no"; a letter after it makes another word.
_CLASS_PREFIX = re.compile(rf"({'|'.join(sorted(_CLASS_OF_SPELLING, key=len, reverse=True))})(?![a-z])")

_LabelledFile = tuple[Path, str | None]


def load_deeplense(folder: Path, split: str, *, need_labels: bool) -> Dataset:
    """Loads a folder of `.npy` images, as DeepLense releases them.

    Classes are folders (`no_sub/`, `cdm/`, `axion/`, or `no/`, `sphere/`, `vort/`) or prefixes of the file names
    (`axion_3.npy`), inside `train/`, `val/` and `test/` folders or directly in `folder`. Plain and object-array files
    may be mixed; an axion mass that comes with an image becomes the column `axion_mass_log10_ev`, NaN elsewhere.

    Args:
        folder: The data set.
        split: One of `data.splits.SPLITS`.
        need_labels: Whether every class must be there. Without that need, a folder of images that name no class is
            taken too and gets no `label` column.

    Returns:
        The dataset, ordered by class and file name.

    Raises:
        ValueError: If the folder holds no such images, a class is missing, a file cannot be read as an image or
            images differ in size.
    """
    files = [file for part in split_folders(folder, split) for file in _labelled_files(part, need_labels)]
    counts = Counter(label for _, label in files)
    if need_labels and len(counts) < len(LABEL_NAMES):
        missing = [name for name in LABEL_NAMES if name not in counts]
        raise ValueError(f"{folder}, split {split!r}: no images of class {', '.join(missing)}.")
    logger.info(
        "%s: DeepLense .npy images, split %s: %s.",
        folder,
        split,
        ", ".join(f"{count} {label or 'unlabelled'}" for label, count in counts.items()),
    )
    first_image, _ = read_lens_npy(files[0][0])
    features = lens_features(
        first_image.shape, label=None not in counts, parameters={"axion_mass_log10_ev": "float64"}
    )
    return dataset_from_chunks(_chunks(files, first_image.shape), features)


def _labelled_files(folder: Path, need_labels: bool) -> list[_LabelledFile]:
    class_folders = [path for path in folder.iterdir() if path.is_dir() and path.name.lower() in _CLASS_OF_SPELLING]
    files: list[_LabelledFile]
    if class_folders:
        files = [(path, _CLASS_OF_SPELLING[sub.name.lower()]) for sub in class_folders for path in npy_files(sub)]
    else:
        files = [(path, _class_of_name(path)) for path in npy_files(folder)]
    if not files:
        raise ValueError(
            f"{folder}: no lens images found. Expected .npy files in folders no_sub/, cdm/, axion/ (or no/, sphere/, "
            "vort/) or with such prefixes (axion_3.npy), data/*.parquet, or LR/ and HR/ for super-resolution."
        )
    unlabelled = [path.name for path, label in files if label is None]
    if unlabelled and (need_labels or len(unlabelled) < len(files)):
        raise ValueError(
            f"{folder}: {len(unlabelled)} of {len(files)} files name no class (no_sub, cdm, axion or no, sphere, "
            f"vort), first {', '.join(unlabelled[:3])}."
        )
    return sorted(files, key=lambda file: (LABEL_NAMES.index(file[1]) if file[1] else 0, file[0]))


def _class_of_name(path: Path) -> str | None:
    match = _CLASS_PREFIX.match(path.stem.lower())
    return _CLASS_OF_SPELLING[match[1]] if match else None


def _chunks(files: list[_LabelledFile], shape: tuple[int, ...]) -> Iterator[dict[str, np.ndarray]]:
    with tqdm(total=len(files), desc="Reading", unit="image") as bar:
        for first in range(0, len(files), ROWS_PER_CHUNK):
            chunk = files[first : first + ROWS_PER_CHUNK]
            images = np.empty((len(chunk), *shape), dtype=np.float32)
            masses = np.full(len(chunk), math.nan)
            for row, (path, _) in enumerate(chunk):
                image, mass = read_lens_npy(path)
                if image.shape != shape:
                    raise ValueError(
                        f"{path}: shape {image.shape} (bands, height, width) differs from {shape} of {files[0][0]}; "
                        "all images of a set have one size."
                    )
                images[row] = image
                if mass is not None:
                    masses[row] = math.log10(mass)
            columns = {"image": images, "axion_mass_log10_ev": masses}
            if files[0][1] is not None:
                columns["label"] = np.array([LABEL_NAMES.index(label) for _, label in chunk if label is not None])
            bar.update(len(chunk))
            yield columns
