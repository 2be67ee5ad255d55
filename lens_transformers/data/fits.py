"""Lens images in FITS files: one file an image, one file a band, cubes, extensions, and cutouts of larger images."""

import functools
import math
import os
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata.utils import NoOverlapError, overlap_slices
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area

from .folders import class_files, count_classes, files_in, folders_in, split_folders, words_of
from .images import as_image
from .reading import REPAIRED, Item, RowSource
from .report import named
from .schema import CLASS_OF_SPELLING


__all__ = [
    "FITS_PARAMETERS",
    "FITS_SUFFIXES",
    "FitsLayout",
    "FitsReader",
    "find_image",
    "fits_source",
    "opened_fits",
    "wcs_of",
]

FITS_SUFFIXES = tuple(f"{name}{packed}" for name in (".fits", ".fit", ".fts") for packed in ("", ".gz", ".fz", ".bz2"))
FITS_PARAMETERS = {"pixel_scale_arcsec": "float64", "flux_unit": "string"}

# Words of a file name that tell what the file is rather than which lens it shows.
_NOISE_WORDS = {"noise", "rms", "sigma", "err", "error"}
_IMAGE_WORDS = {"map", "data", "image", "img", "sci", "science"}
# Bands whose pixel scales differ by more cannot be stacked.
_MAX_SCALE_RATIO = 1.01

Hdu = int | str


@dataclass(frozen=True)
class FitsLayout:
    """How the FITS files of a set hold its images.

    Args:
        hdu: The HDU of the image, by number or name, or one HDU a band in the order to stack. By default the first
            that holds an image; a cube `(bands, height, width)` is taken as it is.
        bands: Where every band has its own file, the words that tell them in the file names, in the order to stack:
            `("vis", "nir_y", "nir_j", "nir_h")` for `vis_data.fits`, `nir_y_data.fits`, …
        noise_hdu: The HDU of the noise map, where it is in the same file; one HDU a band if `hdu` is so.
        psf_hdu: Likewise, of the point spread function.
        psf_size: Width and height in pixels of the column `psf`, at least that of the largest: smaller point spread
            functions are set into zeros, around the same centre. By default all of a set must have one size.
        companions: Whether files that are named as noise maps and PSFs become columns, or are left out.
        cutout: Width and height in pixels of cutouts at the positions of a catalogue, or around the centre.
        fill: Flux of the pixels of a cutout that lie outside of the image.

    Raises:
        ValueError: If an argument is of a kind or value that cannot be used.
    """

    hdu: Hdu | tuple[Hdu, ...] | None = None
    bands: tuple[str, ...] = ()
    noise_hdu: Hdu | tuple[Hdu, ...] | None = None
    psf_hdu: Hdu | tuple[Hdu, ...] | None = None
    psf_size: int | None = None
    companions: bool = True
    cutout: int | None = None
    fill: float = 0.0

    def __post_init__(self):
        for name in ("hdu", "bands", "noise_hdu", "psf_hdu"):
            if isinstance(value := getattr(self, name), list):  # as JSON has them
                object.__setattr__(self, name, tuple(value))
        for name in ("hdu", "noise_hdu", "psf_hdu"):
            value = getattr(self, name)
            if value is not None and not (_names(value) and all(map(_is_hdu, _names(value)))):
                raise ValueError(
                    f"{name} must be the number or name of an HDU, or a tuple of one a band, got {value!r}."
                )
        if not isinstance(self.bands, tuple) or not all(isinstance(band, str) for band in self.bands):
            raise ValueError(f"bands must be a tuple of words, one a band, got {self.bands!r}.")
        for name, lowest in (("cutout", 2), ("psf_size", 1)):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | np.integer) and value >= lowest):
                raise ValueError(f"{name} must be a whole number of pixels, at least {lowest}, got {value!r}.")
        if not isinstance(self.companions, bool):
            raise ValueError(f"companions must be True or False, got {self.companions!r}.")
        if not isinstance(self.fill, Real):
            raise ValueError(f"fill must be a flux, got {self.fill!r}.")


def fits_source(source: Path, split: str, *, need_labels: bool, layout: FitsLayout) -> RowSource:
    """Recognises FITS files: one, or a folder of them in classes, split folders, or one folder a lens.

    Files named `noise`, `rms`, `sigma` or `err` hold noise maps and those named `psf` point spread functions; each
    belongs to the image whose name is otherwise the same, and becomes a column. A single `psf.fits` beside several
    images serves them all.

    Args:
        source: The file or folder.
        split: One of `data.folders.SPLITS`.
        need_labels: Whether every class must be there.
        layout: How the files hold images.

    Returns:
        The rows, ordered by class and name.

    Raises:
        ValueError: If there are no images, a class is missing, or a noise map or PSF belongs to none.
    """
    if source.is_file():
        labelled: list[tuple[str, str | None]] = [(str(source), None)]
        if need_labels:
            raise ValueError(
                f"{named(source)}: one FITS file names no class; a catalogue with columns path and label would."
            )
    else:
        labelled = [file for part in split_folders(source, split) for file in _files(part, need_labels)]
    items = _items(labelled, layout)
    counts = count_classes((item.label for item in items), source, split, need_labels)
    return RowSource(
        f"{named(source)}: FITS images, split {split}: {counts}.",
        items,
        FitsReader(layout),
        FITS_PARAMETERS,
        need_labels=need_labels,
    )


def _files(folder: Path, need_labels: bool) -> list[tuple[str, str | None]]:
    subfolders = folders_in(folder)
    is_divided = any(path.name.lower() in CLASS_OF_SPELLING for path in subfolders)
    if is_divided or files_in(folder, FITS_SUFFIXES) or not subfolders:
        return class_files(folder, FITS_SUFFIXES, need_labels)
    return [file for path in subfolders if files_in(path, FITS_SUFFIXES) for file in _files(path, need_labels)]


def _items(labelled: Sequence[tuple[str, str | None]], layout: FitsLayout) -> list[Item]:
    """Groups files into lenses, by what their names say."""
    lenses: dict[tuple, dict[str, list[tuple[str, str]]]] = defaultdict(lambda: defaultdict(list))
    labels: dict[tuple, str | None] = {}
    for path, label in labelled:
        column, band, rest = _role(path, layout)
        if column != "image" and not layout.companions:
            continue
        key = (os.path.dirname(path), rest)
        lenses[key][column].append((band, path))
        labels.setdefault(key, label)
    for key in [key for key, files in lenses.items() if "image" not in files]:
        companions = lenses.pop(key)
        images = [other for other in lenses if other[0] == key[0] and "image" in lenses[other]]
        if key[1] or not images:
            path = next(iter(companions.values()))[0][1]
            raise ValueError(f"{named(path)}: it looks like a noise map or a PSF, but has no image of the same name.")
        for image in images:
            for column, files in companions.items():
                lenses[image].setdefault(column, files)
    return [_item(files, labels[key]) for key, files in lenses.items()]


def _role(path: str, layout: FitsLayout) -> tuple[str, str, tuple[str, ...]]:
    """The column that a file belongs to, its band, and the words of its name that tell the lens."""
    words = words_of(os.path.basename(path).lower().split(".fit")[0])
    column = "psf" if "psf" in words else "noise_map" if _NOISE_WORDS & set(words) else "image"
    text = f" {' '.join(words)} "
    found = [band for band in layout.bands if f" {_spaced(band)} " in text]
    band = max(found, key=len, default="")
    rest = text.replace(f" {_spaced(band)} ", " ", 1).split() if band else words
    about = _NOISE_WORDS | _IMAGE_WORDS | {"psf"} if column != "image" else _IMAGE_WORDS
    return column, band, tuple(word for word in rest if word not in about)


def _spaced(band: str) -> str:
    return " ".join(words_of(band))


def _item(files: dict[str, list[tuple[str, str]]], label: str | None) -> Item:
    named_files = [
        (column, band, path) for column in ("image", "noise_map", "psf") for band, path in files.get(column, [])
    ]
    roles = tuple((column, band) for column, band, _ in named_files)
    return Item(tuple(path for _, _, path in named_files), label, details=(("roles", roles),))


@dataclass(frozen=True)
class FitsReader:
    """Reads an item's FITS files into an image, its noise map and PSF, and what pixel scale and flux unit it tells."""

    layout: FitsLayout

    def __call__(self, item: Item) -> dict[str, Any]:
        """Gives the columns of one lens; bands are stacked in the order of the layout.

        Details of the item: `roles`, a pair (column, band) for each of its paths, by default one image; and
        `position`, `("sky", ra, dec)` in degrees or `("pixel", x, y)` counted from 0, the centre of a cutout.
        """
        details = dict(item.details)
        roles = details.get("roles", (("image", ""),))
        files = dict(zip(roles, item.paths, strict=True))
        if len(files) < len(roles):
            raise ValueError(
                "several files differ only in words that are no band; name the bands in `FitsLayout(bands=...)`, or "
                f"give the images other names: {', '.join(named(os.path.basename(path)) for path in item.paths)}."
            )
        planes = [
            _read(files, self.layout, band, index, details.get("position"))
            for index, band in enumerate(self.layout.bands or ("",))
        ]
        row: dict[str, Any] = {"image": _joined([plane.image for plane in planes], "image")}
        noise_maps = [plane.noise_map for plane in planes if plane.noise_map is not None]
        psfs = [plane.psf for plane in planes if plane.psf is not None]
        for what, companions in (("noise map", noise_maps), ("PSF", psfs)):
            if companions and len(companions) < len(planes):
                raise ValueError(f"only {len(companions)} of its {len(planes)} bands have a {what}.")
        if noise_maps:
            row["noise_map"] = _joined(noise_maps, "noise map")
        if psfs:
            row["psf"] = np.concatenate(_one_size(psfs, self.layout.psf_size))
        scales = [scale for plane in planes for scale in plane.pixel_scales]
        known = [scale for scale in scales if math.isfinite(scale)]  # a band may have no coordinates
        if known and max(known) > _MAX_SCALE_RATIO * min(known):
            raise ValueError(f"its bands have pixels of {min(known):.4g} to {max(known):.4g} arcsec; resample them.")
        # What the headers do not tell a catalogue may.
        if known:
            row["pixel_scale_arcsec"] = known[0]
        if units := sorted({plane.unit for plane in planes if plane.unit}):
            row["flux_unit"] = ", ".join(units)
        if outside := max(plane.num_outside for plane in planes):
            total = math.prod(row["image"].shape[1:])
            row[REPAIRED] = f"{outside} of {total} pixels lie outside of the image and are {self.layout.fill:g}."
        return row


@dataclass
class _Plane:
    """The part of an image that one file, or one band's file, holds."""

    image: np.ndarray
    noise_map: np.ndarray | None
    psf: np.ndarray | None
    pixel_scales: list[float]
    unit: str
    num_outside: int


def _read(files: dict, layout: FitsLayout, band: str, index: int, position: tuple | None) -> _Plane:
    if ("image", band) not in files:
        there = ", ".join(sorted({other or "none" for column, other in files if column == "image"}))
        raise ValueError(f"it has no file of band {band!r}; it has {there}.")
    path = files["image", band]
    with opened_fits(path) as hdus:
        chosen = [find_image(hdus, name) for name in _names(layout.hdu)]
        parts, centres, scales, outside = [], [], [], 0
        # Bands that lie side by side in one file need not have their pixels at the same places of the sky.
        for hdu in chosen:
            wcs = wcs_of(hdu.header, hdus)
            centre = _centre(position, wcs, hdu.shape) if layout.cutout else None
            parts.append(_section(hdu, centre, layout.cutout, layout.fill))
            centres.append(centre)
            scales.append(_pixel_scale(wcs, hdu.header))
            outside = max(outside, _num_outside(hdu.shape[-2:], centre, layout.cutout))
        unit = str(chosen[0].header.get("BUNIT", "")).strip()
        cut_noise = functools.partial(_section, size=layout.cutout, fill=np.inf)
        # Noise maps, which often have no coordinates, share the pixels of their images.
        noise_map = _extensions(hdus, layout.noise_hdu, cut_noise, centres)
        psf = _extensions(hdus, layout.psf_hdu, _section, [None])
    if ("noise_map", band) in files:
        noise_map = _read_companion(files["noise_map", band], functools.partial(cut_noise, centre=centres[0]))
    if ("psf", band) in files:
        psf = _read_companion(files["psf", band], _section)
    return _Plane(np.concatenate(parts), noise_map, psf, scales, unit, outside)


@contextmanager
def opened_fits(path: str) -> Iterator[fits.HDUList]:
    """Opens a FITS file, whose every damage, found then or later, is a ValueError."""
    if os.path.getsize(path) == 0:
        raise ValueError("the file is empty.")
    with warnings.catch_warnings():
        # Of a damaged file, astropy would give what comes before the damage.
        warnings.filterwarnings("error", "File may have been truncated|Error validating header", AstropyUserWarning)
        try:
            with fits.open(path, memmap=False, lazy_load_hdus=False) as hdus:
                yield hdus
        except _Unsuitable:
            raise
        except Exception as error:  # a damaged file can make astropy raise anything
            if isinstance(error, OSError) and error.strerror:
                raise
            raise ValueError(f"named as FITS but damaged or no FITS file: {error}") from error


class _Unsuitable(ValueError):
    """What is wrong with a sound FITS file as a lens image."""


def _names(hdu: Hdu | tuple[Hdu, ...] | None) -> tuple[Hdu | None, ...]:
    return hdu if isinstance(hdu, tuple) else (hdu,)


def _is_hdu(name: object) -> bool:
    return isinstance(name, Hdu | np.integer) and not isinstance(name, bool)


def find_image(hdus: fits.HDUList, name: Hdu | None) -> Any:
    """The HDU of that number or name, by default the first, that holds an image."""
    if name is None:
        for hdu in hdus:
            if hdu.is_image and len(hdu.shape) >= 2:
                return hdu
        raise _Unsuitable("none of its HDUs holds an image.")
    try:
        hdu = hdus[name]
    except (KeyError, IndexError):
        there = ", ".join(f"{index} {hdu.name}".strip() for index, hdu in enumerate(hdus))
        raise _Unsuitable(f"it has no HDU {name!r}; it has {there}.") from None
    if not hdu.is_image or len(hdu.shape) < 2:
        raise _Unsuitable(f"its HDU {name!r} holds no image.")
    return hdu


def _section(hdu: Any, centre: tuple[float, float] | None = None, size: int | None = None, fill: float = 0.0):
    """The image of an HDU, or a cutout of it, `(bands, height, width)`."""
    if any(length != 1 for length in hdu.shape[:-3]):
        raise _Unsuitable(f"its image has shape {hdu.shape}, which is not (bands, height, width).")
    leading = (0,) * (len(hdu.shape) - 3)
    if centre is None or size is None:
        return _image(hdu.data[leading] if leading else hdu.data)
    height_width = hdu.shape[-2:]
    try:
        there, here = overlap_slices(height_width, (size, size), centre, mode="partial")
    except NoOverlapError:
        y, x = centre
        raise _Unsuitable(
            f"the position x={x:.1f}, y={y:.1f} lies outside of the image of {height_width} pixels."
        ) from None
    bands = (slice(None),) if len(hdu.shape) > 2 else ()
    part = _image(hdu.section[(*leading, *bands, *there)], is_cutout=True)
    cutout = np.full((len(part), size, size), fill, dtype=np.float32)
    cutout[(slice(None), *here)] = part
    return cutout


def _image(array: np.ndarray, is_cutout: bool = False) -> np.ndarray:
    try:
        if is_cutout and array.dtype.kind in "iuf":
            return np.asarray(array, dtype=np.float32).reshape(-1, *array.shape[-2:])
        return as_image(array)
    except ValueError as error:
        raise _Unsuitable(str(error)) from None


def _extensions(
    hdus: fits.HDUList, names: Hdu | tuple[Hdu, ...] | None, read: Any, centres: Sequence[tuple[float, float] | None]
) -> np.ndarray | None:
    """What is read of some HDUs, each around its own centre, or all around the first."""
    if names is None:
        return None
    found = [find_image(hdus, name) for name in _names(names)]
    own = centres if len(centres) == len(found) else [centres[0]] * len(found)
    return np.concatenate([read(hdu, centre=centre) for hdu, centre in zip(found, own, strict=True)])


def _read_companion(path: str, read: Any) -> np.ndarray:
    try:
        with opened_fits(path) as hdus:
            return read(find_image(hdus, None))
    except OSError as error:
        raise ValueError(f"{named(path)} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise ValueError(f"{named(path)}: {error}") from error


def wcs_of(header: fits.Header, hdus: fits.HDUList) -> WCS | None:
    """The celestial coordinates of an image, if its header has them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about keywords that were fixed
        wcs = WCS(header, fobj=hdus, naxis=2)
    return wcs if wcs.has_celestial else None


def _centre(position: tuple | None, wcs: WCS | None, shape: Sequence[int]) -> tuple[float, float]:
    """The centre of a cutout, (y, x) in pixels from 0."""
    if position is None:
        height, width = shape[-2:]
        return (height - 1) / 2, (width - 1) / 2
    kind, first, second = position
    if not (math.isfinite(first) and math.isfinite(second)):
        raise _Unsuitable(f"its position is {first}, {second}.")
    if kind == "pixel":
        return second, first
    if wcs is None:
        raise _Unsuitable("its header has no celestial WCS, so that ra and dec name no pixel; give x and y.")
    x, y = wcs.world_to_pixel(SkyCoord(first, second, unit="deg"))
    if not (np.isfinite(x) and np.isfinite(y)):
        raise _Unsuitable(f"the position ra={first}, dec={second} lies outside of the projection of the image.")
    # The way through the sky and back must not push a centre across the edge of a pixel.
    return round(float(y), 6), round(float(x), 6)


def _num_outside(shape: Sequence[int], centre: tuple[float, float] | None, size: int | None) -> int:
    if centre is None or size is None:
        return 0
    there, _ = overlap_slices(tuple(shape), (size, size), centre, mode="partial")
    return size * size - math.prod(part.stop - part.start for part in there)


def _pixel_scale(wcs: WCS | None, header: fits.Header) -> float:
    """Width of a pixel in arcsec: of the WCS, else of the keyword PIXSCALE, else NaN."""
    if wcs is not None:
        return 3600 * math.sqrt(proj_plane_pixel_area(wcs))
    scale = header.get("PIXSCALE", math.nan)
    return float(scale) if isinstance(scale, int | float) else math.nan


def _joined(planes: Sequence[np.ndarray], what: str) -> np.ndarray:
    sizes = sorted({plane.shape[1:] for plane in planes})
    if len(sizes) > 1:
        raise ValueError(f"the bands of its {what} have different sizes, {', '.join(map(str, sizes))}.")
    return np.concatenate(planes)


def _one_size(psfs: Sequence[np.ndarray], size: int | None) -> list[np.ndarray]:
    """Sets smaller point spread functions into zeros, around the same centre."""
    height, width = (max(psf.shape[axis] for psf in psfs) for axis in (1, 2))
    if size is not None:
        if size < max(height, width):
            raise ValueError(f"its PSF of {height} x {width} pixels is larger than psf_size={size}.")
        height = width = size
    centred = []
    for psf in psfs:
        margins = height - psf.shape[1], width - psf.shape[2]
        if margins[0] % 2 or margins[1] % 2:
            raise ValueError(
                f"its PSF of {psf.shape[1]} x {psf.shape[2]} pixels has no common centre with {height} x {width}: "
                "of two sizes, one is odd and one is even."
            )
        centred.append(np.pad(psf, ((0, 0), *((margin // 2, margin // 2) for margin in margins))))
    return centred
