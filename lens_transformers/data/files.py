"""Reading one image file of any kind, by its suffix."""

from dataclasses import dataclass
from typing import Any

from .fits import FITS_SUFFIXES, FitsLayout, FitsReader
from .folders import suffix_of
from .npy import NpyReader
from .pictures import PICTURE_SUFFIXES, PictureReader
from .reading import Item


__all__ = ["IMAGE_SUFFIXES", "FileReader"]

IMAGE_SUFFIXES = (".npy", *FITS_SUFFIXES, *PICTURE_SUFFIXES)


@dataclass(frozen=True)
class FileReader:
    """Reads an item's file as `.npy`, FITS or picture, whichever its first file is."""

    layout: FitsLayout

    def __call__(self, item: Item) -> dict[str, Any]:
        """Gives the columns that the file has."""
        suffix = suffix_of(item.paths[0])
        if suffix not in IMAGE_SUFFIXES:
            raise ValueError(f"files of images end in {', '.join(IMAGE_SUFFIXES)}.")
        if suffix in FITS_SUFFIXES:
            return FitsReader(self.layout)(item)
        if len(item.paths) > 1 or self.layout.cutout is not None:
            raise ValueError(f"only FITS files have cutouts, noise maps, PSFs and a file for each band, not {suffix}.")
        return PictureReader()(item) if suffix in PICTURE_SUFFIXES else NpyReader()(item)
