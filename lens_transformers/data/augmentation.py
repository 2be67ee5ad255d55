"""Random changes of lens images that keep their class: turns, shifts, blur, noise and few bits, in batches."""

import hashlib
import math
import operator
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch.nn import functional as F


__all__ = ["AUGMENTATIONS", "Augmentation", "LensAugmentation", "get_augmentation", "sample_keys"]

Symmetries = Literal["none", "half_turn", "dihedral"]
Augmentation = Literal["none", "half_turn", "dihedral", "continuous"]

_SIGMA_OF_FWHM = 1 / math.sqrt(8 * math.log(2))
# Where a Gaussian is cut off, in standard deviations.
_KERNEL_REACH = 4


@dataclass(frozen=True)
class LensAugmentation:
    """Draws a change for every image of a batch and applies it.

    In this order: a symmetry; a rotation and shift, in one bicubic resampling in which the image is mirrored at its
    border; blur; noise; grey levels. Symmetries are exact; resampling smooths the noise of an image, so that it takes
    more than a symmetry to be worth its cost.

    An image and its target turn and shift alike about the same centre, whatever the ratio of their pixels. Blur, noise
    and grey levels worsen the image alone: the target stays what is true.

    Args:
        symmetries: `"dihedral"` draws from the eight flips and quarter turns. `"half_turn"` draws from the two that
            keep every ellipticity and shear: where these are the same in all images, as in DeepLense's Models I to
            III, a flip or a quarter turn shows the network lenses that its test set does not have.
        rotate: Whether to rotate by any angle as well.
        max_shift: Largest shift along each axis, in pixels of the image.
        max_psf_fwhm: Largest full width at half maximum of a Gaussian blur, in pixels.
        noise_std: Standard deviation of Gaussian noise, in the image's flux unit: one number, or one a band.
        max_level_step: Largest distance of the grey levels that an image is cut to, in the image's flux unit. It is
            cut down to levels, rounded to the nearest, which programs that write pictures do as well, rounded up, or
            anything between: a network for images on [0, 1] that may have been through 8 bits wants a little more
            than 1 / 255.

    Raises:
        ValueError: If an argument is out of range.
    """

    symmetries: Symmetries = "dihedral"
    rotate: bool = False
    max_shift: float = 0.0
    max_psf_fwhm: float = 0.0
    noise_std: float | tuple[float, ...] = 0.0
    max_level_step: float = 0.0

    def __post_init__(self):
        if self.symmetries not in get_args(Symmetries):
            raise ValueError(f"symmetries must be one of {', '.join(get_args(Symmetries))}, got {self.symmetries!r}.")
        for name in ("max_shift", "max_psf_fwhm"):
            if not _is_amount(getattr(self, name)):
                raise ValueError(f"{name} must be a number of pixels, at least 0, got {getattr(self, name)!r}.")
        if not all(map(_is_amount, np.atleast_1d(self.noise_std))):
            raise ValueError(f"noise_std must be a flux, at least 0, or one a band, got {self.noise_std!r}.")
        if not _is_amount(self.max_level_step):
            raise ValueError(f"max_level_step must be a flux, at least 0, got {self.max_level_step!r}.")

    def __call__(
        self, images: torch.Tensor, targets: torch.Tensor | None = None, *, keys: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Changes a batch, on the device where it is.

        Args:
            images: `(batch, bands, height, width)`.
            targets: The images in high resolution, or `None`.
            keys: A number below 2**64 for each image, as of `sample_keys`: the same key draws the same change,
                whatever the batch, the device and the number of workers.

        Returns:
            The changed images and targets; the given ones stay as they are.

        Raises:
            ValueError: If a quarter turn meets images that are not square, or `noise_std` has another number of bands.
        """
        if len(keys) != len(images):
            raise ValueError(f"keys must be one an image, got {len(keys)} for {len(images)} images.")
        if self.symmetries == "dihedral" and images.shape[-2] != images.shape[-1]:
            raise ValueError(f"augmentation 'dihedral' turns square images only, got shape {tuple(images.shape[1:])}.")
        # All six are drawn in any case, so that one setting does not change what another one draws.
        draws = _uniform_draws(keys, 6)
        turns, flips = (4 * draws[:, 0]).long(), draws[:, 1] < 0.5
        if self.symmetries == "half_turn":
            turns, flips = 2 * (turns // 2), torch.zeros_like(flips)
        angles = 2 * math.pi * draws[:, 2] * self.rotate
        shifts = self.max_shift * (2 * draws[:, 3:5] - 1)

        size = images.shape[-2:]

        def moved(batch: torch.Tensor) -> torch.Tensor:
            if self.symmetries != "none":
                batch = turned(batch, turns, flips)
            if self.rotate or self.max_shift:
                batch = resampled(batch, angles, shifts, size)
            return batch

        images, targets = moved(images), None if targets is None else moved(targets)
        if self.max_psf_fwhm:
            images = blurred(images, self.max_psf_fwhm * draws[:, 5], self.max_psf_fwhm)
        if np.any(self.noise_std):
            images = images + self._noise(images, keys)
        if self.max_level_step:
            steps, offsets = _uniform_draws(keys, 2).T
            images = cut_to_levels(images, self.max_level_step * steps, offsets)
        return images, targets

    def _noise(self, images: torch.Tensor, keys: Sequence[int]) -> torch.Tensor:
        stds = np.atleast_1d(np.asarray(self.noise_std, dtype=np.float32))
        if len(stds) not in (1, images.shape[1]):
            raise ValueError(f"noise_std has {len(stds)} bands, the images have {images.shape[1]}.")
        shape = tuple(images.shape[1:])
        # Drawn on the CPU, where it is the same for every device.
        generators = [np.random.Generator(np.random.Philox(key=int(key))) for key in keys]
        noise = np.stack([generator.standard_normal(shape, dtype=np.float32) for generator in generators])
        return torch.from_numpy(noise * stds[:, None, None]).to(images)


def _is_amount(value: Any) -> bool:
    return isinstance(value, Real) and 0 <= float(value) < math.inf


# By the names that the training scripts know.
AUGMENTATIONS = {
    "none": LensAugmentation("none"),
    "half_turn": LensAugmentation("half_turn"),
    "dihedral": LensAugmentation("dihedral"),
    "continuous": LensAugmentation("dihedral", rotate=True, max_shift=0.5),
}


def get_augmentation(name: str, **changes: Any) -> LensAugmentation:
    """Gives the augmentation of a name, with some of its settings changed.

    Args:
        name: `"none"`, `"half_turn"`, `"dihedral"`, or `"continuous"`: the dihedral ones, any rotation, and shifts of
            up to half a pixel. None of them blurs or adds noise, whose sizes depend on the instrument and flux unit.
        **changes: Arguments of `LensAugmentation`, such as `noise_std` and `max_psf_fwhm`.

    Raises:
        ValueError: If there is no such name, or a setting is out of range.
    """
    if name not in AUGMENTATIONS:
        raise ValueError(f"augmentation must be one of {', '.join(AUGMENTATIONS)}, got {name!r}.")
    return replace(AUGMENTATIONS[name], **changes)


def sample_keys(images: np.ndarray, seed: int, epoch: int | Sequence[int]) -> list[int]:
    """A key for each image, from its pixels, the seed and the epoch: it needs no index, so streams have it too.

    Args:
        images: `(batch, bands, height, width)`.
        seed: Seed of the run.
        epoch: The epoch, of all images or of each; every epoch has keys of its own.

    Returns:
        Numbers below 2**64.
    """
    epochs = [epoch] * len(images) if isinstance(epoch, int | np.integer) else epoch
    of_seed = operator.index(seed).to_bytes(16, "little", signed=True)
    keys = (of_seed + operator.index(each).to_bytes(8, "little") for each in epochs)
    # A checksum reads the pixels four times as fast as a hash does; two images that share one only turn alike.
    checksums = (zlib.crc32(np.ascontiguousarray(image).data).to_bytes(4, "little") for image in images)
    pairs = zip(checksums, keys, strict=True)
    hashes = (hashlib.blake2b(checksum, digest_size=8, key=key) for checksum, key in pairs)
    return [int.from_bytes(each.digest(), "little") for each in hashes]


def _uniform_draws(keys: Sequence[int], count: int) -> torch.Tensor:
    """Numbers of float64 from 0 to 1, `(len(keys), count)`: hashes, for a generator a key would take long to make."""
    digests = (hashlib.blake2b(int(key).to_bytes(8, "little"), digest_size=8 * count).digest() for key in keys)
    bits = np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, count)
    return torch.from_numpy((bits >> 11) * 2.0**-53)


def turned(images: torch.Tensor, quarter_turns: torch.Tensor, flips: torch.Tensor) -> torch.Tensor:
    """Turns each image by its number of quarter turns, then flips it left to right where `flips` says so."""
    result = torch.empty_like(images, memory_format=torch.contiguous_format)
    for turn in range(4):
        for flip in (False, True):
            chosen = torch.nonzero((quarter_turns == turn) & (flips == flip)).flatten().to(images.device)
            if len(chosen):
                part = torch.rot90(images[chosen], turn, (-2, -1))
                result[chosen] = part.flip(-1) if flip else part
    return result


def resampled(images: torch.Tensor, angles: torch.Tensor, shifts: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Rotates images about their centre, counter-clockwise as `torch.rot90`, and shifts them, by bicubic resampling.

    The cubic is the one of Keys 1981 with a = -1/2, which moves a source by exactly the shift asked for. That of
    `torch.nn.functional.grid_sample`, a = -3/4, moves it by up to 0.04 pixels too little or too much, and so an image
    and its target by different amounts.

    Args:
        images: `(batch, bands, height, width)`.
        angles: `(batch,)`, in radians.
        shifts: `(batch, 2)`, towards larger x and y, in pixels of an image of `size`.
        size: `(height, width)` of the image that shifts are measured in; of another resolution than `images` or not.

    Returns:
        The images, mirrored where they reach past their border.
    """
    height, width = images.shape[-2:]
    scale = torch.tensor([width / size[1], height / size[0]])
    shift_x, shift_y = (shifts * scale).float().to(images.device).T[..., None, None]
    cos, sin = (part.float().to(images.device)[:, None, None] for part in (torch.cos(angles), torch.sin(angles)))
    x = torch.arange(width, device=images.device) - (width - 1) / 2 - shift_x
    y = torch.arange(height, device=images.device)[:, None] - (height - 1) / 2 - shift_y
    columns = _fetches(cos * x - sin * y + (width - 1) / 2, width)
    rows = _fetches(sin * x + cos * y + (height - 1) / 2, height)
    pixels = images.to(torch.promote_types(images.dtype, torch.float32))
    result = torch.zeros_like(pixels)
    for row, row_weight in rows:
        for column, column_weight in columns:
            grid = torch.stack([column, row], dim=-1).to(pixels.dtype)
            sample = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
            result.addcmul_(sample, (row_weight * column_weight)[:, None].to(pixels.dtype))
    return result.to(images.dtype)


def _fetches(places: torch.Tensor, length: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Where to sample linearly along an axis, from -1 to 1, and with which weights, to interpolate by the cubic.

    The two middle ones of its four pixels, whose weights are positive, are had by one sample between them.
    """
    first = places.floor()
    t = places - first
    before = ((-0.5 * t + 1) * t - 0.5) * t
    right = ((-1.5 * t + 2) * t + 0.5) * t
    after = (0.5 * t - 0.5) * t * t
    middle = 1 - before - after
    samples = [(first - 1, before), (first + right / middle, middle), (first + 2, after)]
    return [((2 * place + 1) / length - 1, weight) for place, weight in samples]


def blurred(images: torch.Tensor, fwhms: torch.Tensor, max_fwhm: float) -> torch.Tensor:
    """Convolves each image with a Gaussian of its own width, in pixels; the sum of the pixels of a source stays."""
    batch, bands, height, width = images.shape
    reach = min(math.ceil(_KERNEL_REACH * _SIGMA_OF_FWHM * max_fwhm), height - 1, width - 1)
    distance = torch.arange(-reach, reach + 1, dtype=torch.float64)
    sigmas = (_SIGMA_OF_FWHM * fwhms).clamp(min=1e-3)  # of no width, a Gaussian is one pixel
    kernels = torch.exp(-0.5 * (distance / sigmas[:, None]) ** 2)
    kernels = (kernels / kernels.sum(1, keepdim=True)).to(images)
    padded = F.pad(images, (reach, reach, reach, reach), mode="reflect")
    return _weighted_sum(_weighted_sum(padded, kernels, -1), kernels, -2)


def cut_to_levels(images: torch.Tensor, steps: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """Cuts each image to multiples of its step: down with an offset of 0, to the nearest one with 0.5, up near 1."""
    # A step of nothing would divide by it; one in 2**53 is drawn.
    steps, offsets = (part.to(images)[:, None, None, None] for part in (steps, offsets))
    steps = steps.clamp(min=torch.finfo(images.dtype).tiny ** 0.5)
    return steps * torch.floor(images / steps + offsets)


def _weighted_sum(images: torch.Tensor, kernels: torch.Tensor, axis: int) -> torch.Tensor:
    """Convolves along an axis, each image with its own kernel `(batch, taps)`, without its border.

    One product and one sum a tap: `conv2d` takes another way, with other last bits, for a batch of one.
    """
    length = images.shape[axis] - kernels.shape[1] + 1
    taps = kernels.T[..., None, None, None]
    result = taps[0] * images.narrow(axis, 0, length)
    for start in range(1, len(taps)):
        result += taps[start] * images.narrow(axis, start, length)
    return result
