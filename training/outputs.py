"""Super-resolved images as files."""

from pathlib import Path

import numpy as np

from lens_transformers.data import FitsLayout
from lens_transformers.data.fits import FITS_SUFFIXES
from lens_transformers.data.fits_writing import write_super_resolved_fits
from lens_transformers.data.folders import suffix_of
from lens_transformers.data.writing import written_whole


def save_output(
    folder: Path,
    image: np.ndarray,
    number: int,
    original: str | None,
    upscale: int,
    suffix: str,
    layout: FitsLayout | None = None,
) -> Path:
    """Write a super-resolved image, numbered, and named as the file that it was made of; all of it or nothing.

    Args:
        folder: Where to.
        image: `(bands, height, width)`, in flux.
        number: Its row in the test set, or its place among the files.
        original: Its file, if it has one; of a FITS file the coordinates are taken over.
        upscale: How many times it is as high and wide as it was.
        suffix: `"npy"` or `"fits"`.
        layout: How a FITS file holds its image.

    Returns:
        The file.

    Raises:
        ValueError: If the coordinates of the original cannot be taken over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{number:06d}" if original is None else f"{number:06d}_{Path(original).name.split('.')[0]}"
    if suffix == "npy":
        path = folder / f"{name}.npy"
        with written_whole(path) as temporary, temporary.open("wb") as file:
            np.save(file, image)
        return path
    has_coordinates = original is not None and suffix_of(original) in FITS_SUFFIXES
    with_coordinates = original if has_coordinates else None
    return write_super_resolved_fits(folder / f"{name}.fits", image, upscale, with_coordinates, layout)


def check_coordinates(save_outputs: str, layout: FitsLayout | None) -> None:
    """Refuse files whose coordinates would be those of a whole image, of which a part was cut out.

    Raises:
        ValueError: If they would.
    """
    if save_outputs == "fits" and layout is not None and layout.cutout is not None:
        raise ValueError(
            "--save_outputs fits: cutouts do not have the coordinates of the files that they are cut out of; leave "
            "out cutout of --fits_layout, or take --save_outputs npy."
        )
