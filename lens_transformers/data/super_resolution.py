"""Super-resolution pairs: low- and high-resolution `.npy` images that are matched by name."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from datasets import Dataset
from datasets.utils import tqdm

from .npy import npy_files, read_lens_npy
from .schema import ROWS_PER_CHUNK, dataset_from_chunks, lens_features
from .splits import split_folders


__all__ = ["load_super_resolution"]

logger = logging.getLogger(__name__)

_NUM_NAMED = 5
_RESOLUTION_PREFIX = re.compile(r"^(lr|hr)(?![a-z])[_\-. ]*", re.IGNORECASE)

_Pair = tuple[Path, Path]


def load_super_resolution(folder: Path, split: str) -> Dataset:
    """Loads pairs of low- and high-resolution images into the columns `image` and `target`.

    The pairs are files of the same name in `LR/` and `HR/`, or of the same name after the prefixes `LR_` and `HR_` in
    one folder; numbers are compared as numbers. The folders stand in `train/`, `val/` and `test/` or in `folder`.

    Args:
        folder: The data set.
        split: One of `data.splits.SPLITS`.

    Returns:
        The dataset, ordered by name.

    Raises:
        ValueError: If there are no pairs, a partner is missing, or the sizes of a pair are not in one whole ratio; the
            message names the first few files.
    """
    pairs = [pair for part in split_folders(folder, split) for pair in _pairs(part)]
    low_shape, high_shape = (read_lens_npy(path)[0].shape for path in pairs[0])
    logger.info(
        "%s: super-resolution .npy pairs, split %s: %d pairs, %s to %s.",
        folder,
        split,
        len(pairs),
        low_shape,
        high_shape,
    )
    features = lens_features(low_shape, target_shape=high_shape, label=False)
    return dataset_from_chunks(_chunks(pairs, low_shape, high_shape), features)


def _pairs(folder: Path) -> list[_Pair]:
    low, high = _named_files(folder, "lr"), _named_files(folder, "hr")
    if not low and not high:
        raise ValueError(
            f"{folder}: no super-resolution pairs found. Expected .npy files of the same names in LR/ and HR/, "
            "or LR_0.npy beside HR_0.npy."
        )
    alone = [low[key].name for key in sorted(low.keys() - high.keys())]
    alone += [high[key].name for key in sorted(high.keys() - low.keys())]
    if alone:
        shifted = " Both have the same number of files: is one numbering shifted?" if len(low) == len(high) else ""
        raise ValueError(
            f"{folder}: {len(alone)} of {len(low)} low- and {len(high)} high-resolution images have no partner of the "
            f"same name, first {', '.join(alone[:_NUM_NAMED])}.{shifted}"
        )
    return [(low[key], high[key]) for key in sorted(low)]


def _named_files(folder: Path, resolution: str) -> dict[tuple, Path]:
    """Finds the files of one resolution, each under the name that it shares with its partner."""
    subfolders = [path for path in folder.iterdir() if path.is_dir() and path.name.lower() == resolution]
    if subfolders:
        paths = npy_files(subfolders[0])
    else:
        prefixes = {path: _RESOLUTION_PREFIX.match(path.stem) for path in npy_files(folder)}
        paths = [path for path, prefix in prefixes.items() if prefix and prefix[1].lower() == resolution]
    named: dict[tuple, Path] = {}
    for path in paths:
        name = _name_key(_RESOLUTION_PREFIX.sub("", path.stem))
        if name in named:
            raise ValueError(f"{path} and {named[name]} have the same name or number; which is the partner?")
        named[name] = path
    return named


def _name_key(name: str) -> tuple:
    """Splits a name into text and numbers, so that "a2" sorts before "a10" and "07" equals "7"."""
    parts = re.split(r"(\d+)", name)
    return tuple(int(part) if index % 2 else part for index, part in enumerate(parts))


def _chunks(
    pairs: list[_Pair], low_shape: tuple[int, ...], high_shape: tuple[int, ...]
) -> Iterator[dict[str, np.ndarray]]:
    with tqdm(total=len(pairs), desc="Reading", unit="pair") as bar:
        for first in range(0, len(pairs), ROWS_PER_CHUNK):
            chunk = pairs[first : first + ROWS_PER_CHUNK]
            low, high = ([read_lens_npy(path)[0] for path in paths] for paths in zip(*chunk, strict=True))
            shapes = [(one.shape, other.shape) for one, other in zip(low, high, strict=True)]
            _refuse_pairs(
                [pair for pair, (one, other) in zip(chunk, shapes, strict=True) if not _is_upscaled(one, other)],
                "the high-resolution image must have the same bands and a whole multiple, two or more, of the "
                "low-resolution height and width",
            )
            _refuse_pairs(
                [pair for pair, shape in zip(chunk, shapes, strict=True) if shape != (low_shape, high_shape)],
                f"all pairs of a set have the sizes of {pairs[0][0].name}, {low_shape} and {high_shape}",
            )
            bar.update(len(chunk))
            yield {"image": np.stack(low), "target": np.stack(high)}


def _is_upscaled(low: tuple[int, ...], high: tuple[int, ...]) -> bool:
    scale = high[1] // low[1]
    return scale >= 2 and high == (low[0], low[1] * scale, low[2] * scale)


def _refuse_pairs(pairs: list[_Pair], rule: str) -> None:
    if not pairs:
        return
    named = "; ".join(
        f"{low.name} {read_lens_npy(low)[0].shape} and {high.name} {read_lens_npy(high)[0].shape}"
        for low, high in pairs[:_NUM_NAMED]
    )
    raise ValueError(f"{pairs[0][0].parent}: {rule}; {len(pairs)} pairs are not so, first {named}.")
