"""Lens images in picture files: PNG of 8 and 16 bits, TIFF of floats, JPEG, as `imagefolder` lays them out."""

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from datasets import DatasetDict, Image, load_dataset
from PIL import Image as PilImage
from PIL import UnidentifiedImageError

from ..models.lens_mae.image_processing_lens_mae import flux_of_levels
from .folders import NoSuchSplitError, count_classes
from .images import as_image
from .reading import Item, RowSource
from .report import named


__all__ = ["PICTURE_SUFFIXES", "PictureReader", "pictures_source", "read_picture"]

PICTURE_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg")

_MODES = ("L", "RGB", "I", "F", "I;16", "I;16B", "I;16L")


@dataclass(frozen=True)
class PictureReader:
    """Reads an item's picture file."""

    def __call__(self, item: Item) -> dict[str, Any]:
        """Gives `image`."""
        return {"image": read_picture(item.paths[0])}


def pictures_source(folder: Path, split: str, *, need_labels: bool) -> RowSource:
    """Recognises pictures that datasets' `imagefolder` loads: in class folders, or named in a `metadata.csv`.

    Args:
        folder: The data set.
        split: One of `data.folders.SPLITS`. A set that is not divided is all `"train"`.
        need_labels: Whether every class must be there.

    Returns:
        The rows, in imagefolder's order; numbers of a `metadata.csv` become columns.

    Raises:
        ValueError: If there is no such split, or a class is missing.
    """
    splits = _imagefolder(folder)
    if split != "all" and split not in splits:
        raise NoSuchSplitError(f"{named(folder)} has no {split!r} split; it has {', '.join(splits)}.")
    items: list[Item] = []
    parameters: dict[str, str] = {}
    for name, table in splits.items():
        if split not in (name, "all"):
            continue
        table = table.cast_column("image", Image(decode=False)).with_format(None)
        dtypes = {column: _dtype(feature) for column, feature in table.features.items() if column != "label"}
        numbers = {column: dtype for column, dtype in dtypes.items() if dtype}
        parameters |= numbers
        class_names = getattr(table.features.get("label"), "names", None)
        for row in table:
            label = row.get("label")
            if label is not None and class_names:
                label = class_names[label]
            values = tuple((column, row[column]) for column in numbers)
            items.append(Item((row["image"]["path"],), label, parameters=values))
    counts = count_classes((item.label for item in items), folder, split, need_labels)
    return RowSource(
        f"{named(folder)}: pictures of an imagefolder, split {split}: {counts}.",
        items,
        PictureReader(),
        parameters,
        need_labels=need_labels,
    )


def read_picture(file: str | IO[bytes], white_flux: float | None = None) -> np.ndarray:
    """Reads a picture as float32 `(bands, height, width)`.

    The frames of a TIFF file are its bands.

    Args:
        file: The picture.
        white_flux: Flux that white, 255, stands for in a picture of 8 bits. By default such pictures, too, are the
            numbers that they hold, as all others are.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If it is no picture, or one whose pixels are no surface brightness.
    """
    try:
        with PilImage.open(file) as picture:
            _check_mode(picture)
            frames = []
            for frame in range(getattr(picture, "n_frames", 1)):
                picture.seek(frame)
                pixels = np.asarray(picture)
                if pixels.dtype == np.uint8 and white_flux is not None:
                    pixels = flux_of_levels(pixels, white_flux)
                frames.append(np.moveaxis(pixels, -1, 0) if pixels.ndim == 3 else pixels[None])
    except UnidentifiedImageError as error:
        raise ValueError("named as a picture but no picture file that can be read, or damaged.") from error
    except (OSError, SyntaxError, PilImage.DecompressionBombError) as error:
        if isinstance(error, OSError) and error.strerror:
            raise
        raise ValueError(f"a damaged picture: {error}") from error
    return as_image(np.concatenate(frames))


def _check_mode(picture: PilImage.Image) -> None:
    if picture.mode not in _MODES:
        raise ValueError(
            f"a picture of mode {picture.mode} holds no surface brightness; grey levels, floats or RGB do (palettes, "
            "bitmaps and transparency do not)."
        )
    if picture.mode == "RGB" and any("16" in str(tile[3]) for tile in getattr(picture, "tile", ())):
        raise ValueError("colour of 16 bits would be cut to 8; store one grey picture a band, FITS or .npy.")


def _imagefolder(folder: Path) -> DatasetDict:
    try:
        # datasets takes a path for a pattern, and would find `set1` under the name `set[1]`.
        return load_dataset("imagefolder", data_dir=glob.escape(str(folder)))
    except Exception as error:  # datasets raises many kinds, of which the first line is the message
        raise ValueError(f"{named(folder)}: imagefolder cannot load it: {str(error).splitlines()[0]}") from error


def _dtype(feature: Any) -> str | None:
    """The dtype of a column of numbers."""
    dtype = str(getattr(feature, "dtype", ""))
    if dtype.startswith("float"):
        return "float64"
    return "int64" if dtype.startswith(("int", "uint")) else None
