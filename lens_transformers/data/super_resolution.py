"""Super-resolution pairs: low- and high-resolution images that are matched by name."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .files import IMAGE_SUFFIXES, FileReader
from .fits import FitsLayout
from .folders import files_in, folders_in, split_folders
from .reading import Item, RowSource
from .report import named


__all__ = ["PairReader", "pairs_source"]

_NUM_NAMED = 5
_RESOLUTION_PREFIX = re.compile(r"^(lr|hr)(?![a-z])[_\-. ]*", re.IGNORECASE)


def pairs_source(folder: Path, split: str, *, layout: FitsLayout) -> RowSource:
    """Recognises pairs of low- and high-resolution images, which become the columns `image` and `target`.

    The pairs are files of the same name in `LR/` and `HR/`, or of the same name after the prefixes `LR_` and `HR_` in
    one folder; numbers are compared as numbers. The folders stand in `train/`, `val/` and `test/` or in `folder`.

    Args:
        folder: The data set.
        split: One of `data.folders.SPLITS`.
        layout: How FITS files hold images, where the pairs are such.

    Returns:
        The rows, ordered by name.

    Raises:
        ValueError: If there are no pairs or a partner is missing; the message names the first few files.
    """
    pairs = [pair for part in split_folders(folder, split) for pair in _pairs(part)]
    return RowSource(
        f"{named(folder)}: super-resolution pairs, split {split}: {len(pairs)} pairs.",
        [Item(pair) for pair in pairs],
        PairReader(FileReader(layout)),
    )


@dataclass(frozen=True)
class PairReader:
    """Reads an item's two files, the low resolution first."""

    read: FileReader

    def __call__(self, item: Item) -> dict[str, Any]:
        """Gives `image` and `target`."""
        low_path, high_path = item.paths
        low = self.read(Item((low_path,)))["image"]
        try:
            high = self.read(Item((high_path,)))["image"]
        except OSError as error:
            raise ValueError(f"its partner {named(high_path)} cannot be read: {error.strerror or error}.") from error
        except ValueError as error:
            raise ValueError(f"its partner {named(high_path)}: {error}") from error
        return {"image": low, "target": high}


def _pairs(folder: Path) -> list[tuple[str, str]]:
    low, high = _named_files(folder, "lr"), _named_files(folder, "hr")
    if not low and not high:
        raise ValueError(
            f"{named(folder)}: no super-resolution pairs found. Expected .npy files of the same names in LR/ and HR/, "
            "or LR_0.npy beside HR_0.npy."
        )
    alone = [low[key] for key in sorted(low.keys() - high.keys())]
    alone += [high[key] for key in sorted(high.keys() - low.keys())]
    if alone:
        shifted = " Both have the same number of files: is one numbering shifted?" if len(low) == len(high) else ""
        first = ", ".join(named(os.path.basename(path)) for path in alone[:_NUM_NAMED])
        raise ValueError(
            f"{named(folder)}: {len(alone)} of {len(low)} low- and {len(high)} high-resolution images have no partner "
            f"of the same name, first {first}.{shifted}"
        )
    return [(low[key], high[key]) for key in sorted(low)]


def _named_files(folder: Path, resolution: str) -> dict[tuple, str]:
    """Finds the files of one resolution, each under the name that it shares with its partner."""
    subfolders = [path for path in folders_in(folder) if path.name.lower() == resolution]
    if subfolders:
        paths = files_in(subfolders[0], IMAGE_SUFFIXES)
    else:
        prefixes = {
            path: _RESOLUTION_PREFIX.match(os.path.basename(path)) for path in files_in(folder, IMAGE_SUFFIXES)
        }
        paths = [path for path, prefix in prefixes.items() if prefix and prefix[1].lower() == resolution]
    found: dict[tuple, str] = {}
    for path in paths:
        name = _name_key(_RESOLUTION_PREFIX.sub("", os.path.splitext(os.path.basename(path))[0]))
        if name in found:
            raise ValueError(
                f"{named(path)} and {named(found[name])} have the same name or number; which is the partner?"
            )
        found[name] = path
    return found


def _name_key(name: str) -> tuple:
    """Splits a name into text and numbers, so that "a2" sorts before "a10" and "07" equals "7"."""
    parts = re.split(r"(\d+)", name)
    return tuple(int(part) if index % 2 else part for index, part in enumerate(parts))
