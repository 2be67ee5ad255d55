# Copyright 2026 The lens_transformers authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""LensMAE image processor: flux in, `pixel_values` out, and back again."""

import math
import operator
from collections.abc import Sequence
from typing import Any, TypedDict, Unpack

import numpy as np
import torch
from torch.nn import functional as F
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature, get_size_dict
from transformers.image_utils import ChannelDimension, ImageInput, SizeDict, is_pil_image
from transformers.utils import TensorType, logging


logger = logging.get_logger(__name__)

# The constants that `image_mean` and `image_std` take where none are given. Those of arcsinh were measured, at a
# stretch of 0.02, on images simulated as those of DeepLense Model II, in [0, 1]. Fluxes have no typical mean.
_DEFAULT_CONSTANTS: dict[str, tuple[float, float] | None] = {
    "arcsinh": (0.42, 0.98),
    "min_max": (0.0, 1.0),
    "standardize": None,
    "none": (0.0, 1.0),
}
# Wider than any cutout of a lens; a stranger's configuration could otherwise ask for all of the memory.
_MAX_SIDE = 8192
_MAX_FLUX = float(np.finfo(np.float32).max)
_PIL_MODES = ("L", "RGB", "I", "I;16", "I;16B", "I;16L", "F")
# What transformers writes into `preprocessor_config.json` beside the arguments.
_BOOKKEEPING = ("auto_map", "feature_extractor_type", "image_processor_type", "processor_class")


class LensMAEImageProcessorKwargs(TypedDict, total=False):
    """Arguments of `LensMAEImageProcessor`, when it is made and for one call; the class describes them."""

    normalization: str
    stretch: float
    image_mean: float | Sequence[float] | None
    image_std: float | Sequence[float] | None
    num_bands: int | None
    input_data_format: str | ChannelDimension | None
    do_convert_rgb: bool
    white_flux: float | None
    nan_fill: float | None
    do_resize: bool
    size: int | Sequence[int] | dict[str, int] | SizeDict | None
    do_rescale: bool
    rescale_factor: float
    return_scaling: bool
    return_tensors: str | TensorType | None
    device: str | torch.device | None


# auto_docstring would describe the arguments for colour pictures; the class docstring describes them for flux.
# trf-ignore: TRF057
class LensMAEImageProcessor(BaseImageProcessor):
    r"""Turns images of surface brightness into the `pixel_values` of a network, and outputs back into flux.

    Every step is done in float32 with torch; nothing passes through 8 bits, and torchvision is not used, so the pixels
    are the same with and without it. An image is a numpy array or a tensor of shape `(height, width)`,
    `(bands, height, width)` or `(height, width, bands)`, or a PIL image of mode L, RGB, I, I;16 or F; images come one
    at a time, as a list or tuple, or as a batch `(batch, bands, height, width)`.

    The steps, in order: bad pixels are refused or filled, `do_resize`, `do_rescale`, `do_convert_rgb`, then
    `pixel_values = (f(x) - image_mean) / image_std` where `normalization` chooses f:

    - `"arcsinh"`: arcsinh(x / stretch), linear below `stretch` and logarithmic above (Lupton, Gunn & Szalay 1999,
      arXiv:astro-ph/9903081). It shows a network the faint substructure beside the bright arc.
    - `"min_max"`: (x - minimum) / (maximum - minimum), with each image's own extremes over all its bands; 0 where the
      image is flat. The flux scale is lost unless `return_scaling` keeps it.
    - `"standardize"`: x. The constants must be given, or measured by `measured_on`.
    - `"none"`: x, and no constants at all.

    Args:
        normalization: One of the names above.
        stretch: Flux at which `"arcsinh"` turns from linear to logarithmic, about the noise of the background.
        image_mean: Subtracted after f: one number, or one a band. By default that of the chosen normalization.
        image_std: Divided by after that: one number, or one a band.
        num_bands: Bands of every image. It settles which axis of an array holds the bands; images with another number
            are refused, but of an RGB picture whose three bands are the same, as transformers' pipelines make of
            every grey one, 1 takes one. By default the bands are the axis shorter than both others.
        input_data_format: `"channels_first"` or `"channels_last"`, for arrays whose shape leaves the layout open.
        do_convert_rgb: Whether to repeat the band of one-band images three times, to feed a network made for colour
            pictures such as a stock ViT. Images with three bands stay as they are.
        white_flux: Flux that white, 255, stands for in a PIL image of 8 bits, which cannot hold flux itself. By
            default such images, too, are taken as the numbers they hold. Arrays always are.
        nan_fill: Flux that replaces NaN and infinite pixels. By default images that have any are refused.
        do_resize: Whether to resize images to `size`. Lens images usually keep theirs, since the pixel scale matters.
        size: `{"height": ..., "width": ...}`, `(height, width)`, or one number for both, up to 8192. Resizing is
            bicubic and antialiased; it keeps surface brightness, not the sum of the pixels.
        do_rescale: Whether to multiply images by `rescale_factor`, as pictures of 8 bits need before a stock ViT.
            Off by default: 8-bit and 16-bit images are taken as the numbers they hold.
        rescale_factor: The factor, 1/255 by default.
        return_scaling: Whether a `"min_max"` processor returns `pixel_minimum` and `pixel_maximum`, each `(batch,)`,
            beside `pixel_values`.
        return_tensors: `"pt"` for one tensor `(batch, bands, height, width)`, `"np"` for one such array, `None` for
            a list of tensors, whose sizes may differ.
        device: Where the work is done and the tensors are left; by default where the images are. Not saved.

    Raises:
        TypeError: If an argument or an image is of a kind that is not known.
        ValueError: If an argument or an image has a value that cannot be used.

    Example:
        ```python
        >>> processor = LensMAEImageProcessor(num_bands=1)
        >>> pixel_values = processor(images, return_tensors="pt").pixel_values
        >>> flux = processor.post_process_reconstruction(pixel_values)
        ```
    """

    model_input_names = ["pixel_values"]
    valid_kwargs = LensMAEImageProcessorKwargs  # type: ignore[assignment]

    normalization: str = "arcsinh"
    stretch: float = 0.02
    image_mean: Any = None
    image_std: Any = None
    num_bands: int | None = None
    input_data_format: str | ChannelDimension | None = None
    do_convert_rgb: bool = False
    white_flux: float | None = None
    nan_fill: float | None = None
    do_resize: bool = False
    size: Any = None
    do_rescale: bool = False
    rescale_factor: float = 1 / 255
    return_scaling: bool = False

    def __init__(self, **kwargs: Unpack[LensMAEImageProcessorKwargs]):
        self._refuse_unknown_arguments(set(kwargs) - set(_BOOKKEEPING))
        super().__init__(**kwargs)  # type: ignore[misc, arg-type]
        self._set_attributes(**kwargs)
        self._validate_preprocess_kwargs(**{name: getattr(self, name) for name in self._valid_kwargs_names})

    @classmethod
    def measured_on(cls, images: ImageInput, **kwargs: Any) -> "LensMAEImageProcessor":
        """Makes a processor whose `image_mean` and `image_std` are those of the images given, in float64.

        Args:
            images: Images as for a call: the training set, or a fair sample of it.
            **kwargs: Arguments of the processor, without the two constants.

        Returns:
            The processor; on these images its `pixel_values` have mean 0 and standard deviation 1 in every band.

        Raises:
            ValueError: If the normalization is `"none"`, the images differ in bands, or a band has the same value
                everywhere.
        """
        if "image_mean" in kwargs or "image_std" in kwargs:
            raise ValueError("measured_on measures image_mean and image_std: leave them out.")
        if kwargs.get("normalization") == "none":
            raise ValueError(
                'normalization="none" has no constants to measure: choose another, such as "standardize".'
            )
        pixel_values = cls(**kwargs, image_mean=0.0, image_std=1.0)(images, return_tensors=None).pixel_values
        if len(bands := sorted({len(image) for image in pixel_values})) > 1:
            raise ValueError(
                f"Images of {' and '.join(map(str, bands))} bands have no constants in common: measure on images of "
                "one number of bands."
            )
        num_pixels = sum(image[0].numel() for image in pixel_values)
        mean = sum(image.sum((1, 2), dtype=torch.float64) for image in pixel_values) / num_pixels
        centred = (image.double() - mean[:, None, None] for image in pixel_values)
        std = (sum(image.square().sum((1, 2)) for image in centred) / num_pixels).sqrt()
        if not bool((std > 0).all()):
            raise ValueError(
                f"A band of these images has the same value everywhere: standard deviations {std.tolist()}."
            )
        return cls(**kwargs, image_mean=mean.tolist(), image_std=std.tolist())

    @classmethod
    def from_dict(cls, image_processor_dict: dict[str, Any], **kwargs: Any) -> "LensMAEImageProcessor":
        """Makes a processor from saved arguments; a changed `normalization` does not keep the constants of another."""
        saved = image_processor_dict.get("normalization", cls.normalization)
        if kwargs.get("normalization", saved) != saved:
            image_processor_dict = {**image_processor_dict, "image_mean": None, "image_std": None}
        return super().from_dict(image_processor_dict, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        """Gives the arguments that are saved: all but the device, which is the machine's."""
        saved = super().to_dict()
        saved.pop("device", None)
        return saved

    # As for the class. trf-ignore: TRF057
    def preprocess(  # type: ignore[override]
        self, images: ImageInput, **kwargs: Unpack[LensMAEImageProcessorKwargs]
    ) -> BatchFeature:
        """Turns one image or a batch of images into `pixel_values`.

        Any argument of the class can be given for one call. A `normalization` given so takes its own default constants
        unless `image_mean` and `image_std` come with it, and `post_process_reconstruction` knows nothing of it.
        """
        self._refuse_unknown_arguments(set(kwargs))
        settings: dict[str, Any] = {name: getattr(self, name) for name in self._valid_kwargs_names}
        if kwargs.get("normalization", self.normalization) != self.normalization:
            settings.update(image_mean=None, image_std=None)
        settings = self._standardize_kwargs(**{**settings, **kwargs})
        self._validate_preprocess_kwargs(**settings)
        return self._preprocess_image_like_inputs(images, **settings)

    def post_process_reconstruction(
        self,
        outputs: Any,
        *,
        pixel_minimum: torch.Tensor | None = None,
        pixel_maximum: torch.Tensor | None = None,
        clamp_min: float | None = None,
        target_sizes: Sequence[tuple[int, int]] | torch.Tensor | None = None,
    ) -> torch.Tensor | list[torch.Tensor]:
        """Turns images on the scale of `pixel_values` back into the flux of the images that came in.

        The exact inverse of normalization and rescaling, computed in float64.

        Args:
            outputs: Images `(batch, bands, height, width)`: `pixel_values`, a masked autoencoder's reconstruction, or
                a model output that carries `reconstruction`, as those for super-resolution do.
            pixel_minimum: The `(batch,)` minima that `return_scaling=True` gave; needed for `"min_max"`.
            pixel_maximum: The `(batch,)` maxima, likewise.
            clamp_min: Flux below which pixels are raised to it. Off by default: clamped noise has a mean above zero.
            target_sizes: `(height, width)` of each image, to which it is resized; by default sizes stay.

        Returns:
            The images in float32, on the CPU: one tensor `(batch, bands, height, width)`, or with `target_sizes` a
            list of tensors `(bands, height, width)`.

        Raises:
            TypeError: If `outputs` holds no images.
            ValueError: If `image_mean` or `image_std` is for another number of bands, `"min_max"` lacks its scaling or
                has another number than one an image, or `target_sizes` has another length than the batch or an entry
                that is no size.
        """
        images = getattr(outputs, "reconstruction", outputs)
        if not isinstance(images, torch.Tensor) or images.ndim != 4:
            found = f"shape {tuple(images.shape)}" if isinstance(images, torch.Tensor) else type(images).__name__
            raise TypeError(f"outputs must hold images (batch, bands, height, width) as one tensor, got {found}.")
        flux = images.detach().cpu().double()
        flux = flux * _per_band(self.image_std, flux, "image_std") + _per_band(self.image_mean, flux, "image_mean")
        if self.normalization == "arcsinh":
            flux = torch.sinh(flux) * self.stretch
        elif self.normalization == "min_max":
            if pixel_minimum is None or pixel_maximum is None:
                raise ValueError(
                    'normalization="min_max" needs pixel_minimum and pixel_maximum to be undone: '
                    "call the processor with return_scaling=True and pass on both."
                )
            minimum = _one_an_image(pixel_minimum, flux, "pixel_minimum")
            maximum = _one_an_image(pixel_maximum, flux, "pixel_maximum")
            flux = flux * (maximum - minimum) + minimum
        if self.do_rescale:
            flux = flux / self.rescale_factor
        if target_sizes is None:
            return _to_float32(flux, clamp_min)
        if len(target_sizes) != len(flux):
            raise ValueError(
                f"target_sizes has {len(target_sizes)} entries for {len(flux)} images: give one an image."
            )
        return [
            _to_float32(_resize(image[None], _target_size(size, index))[0], clamp_min)
            for index, (image, size) in enumerate(zip(flux, target_sizes, strict=True))
        ]

    def _prepare_image_like_inputs(  # type: ignore[override]
        self,
        images: Any,
        num_bands: int | None,
        input_data_format: str | ChannelDimension | None,
        white_flux: float | None,
        **kwargs: Any,
    ) -> list[torch.Tensor]:
        is_batch = isinstance(images, np.ndarray | torch.Tensor) and images.ndim == 4
        # A column of a dataset is a sequence, too.
        batch = list(images) if is_batch or isinstance(images, Sequence) else [images]
        if not batch:
            raise ValueError("There are no images: the batch is empty.")
        return [
            _read_image(image, index, num_bands, input_data_format, white_flux) for index, image in enumerate(batch)
        ]

    def _preprocess(  # type: ignore[override]
        self,
        images: list[torch.Tensor],
        *,
        normalization: str,
        stretch: float,
        image_mean: float | tuple[float, ...],
        image_std: float | tuple[float, ...],
        do_convert_rgb: bool,
        nan_fill: float | None,
        do_resize: bool,
        size: Any,
        do_rescale: bool,
        rescale_factor: float,
        return_scaling: bool,
        return_tensors: str | TensorType | None,
        device: str | torch.device | None,
        **kwargs: Any,
    ) -> BatchFeature:
        pixel_values: list[Any] = [None] * len(images)
        minima, maxima = pixel_values.copy(), pixel_values.copy()
        for indices in _indices_by_shape(images):
            batch = torch.stack([images[index] for index in indices]).to(device)
            if nan_fill is not None:
                batch = _filled(batch, nan_fill)
            unscaled = batch
            if do_resize:
                batch = _resize(batch, (size.height, size.width))
            if do_rescale:
                batch = batch * rescale_factor
            if do_convert_rgb:
                batch = _three_bands(batch, indices)
            if normalization == "arcsinh":
                batch = _arcsinh(batch / stretch)
            elif normalization == "min_max":
                minimum, maximum = batch.amin((1, 2, 3), keepdim=True), batch.amax((1, 2, 3), keepdim=True)
                batch = (batch - minimum) / torch.where(maximum > minimum, maximum - minimum, 1.0)
                for index, low, high in zip(indices, minimum.flatten(), maximum.flatten(), strict=True):
                    minima[index], maxima[index] = low, high
            if normalization != "none":
                batch = (batch - _per_band(image_mean, batch, "image_mean")) / _per_band(image_std, batch, "image_std")
            _check_finite(batch, unscaled, indices)
            for index, image in zip(indices, batch, strict=True):
                pixel_values[index] = image
        data: dict[str, Any] = {"pixel_values": pixel_values}
        if return_scaling:
            data.update(pixel_minimum=minima, pixel_maximum=maxima)
        if return_tensors is None:
            return BatchFeature(data)
        shapes = sorted({tuple(image.shape) for image in pixel_values})
        if len(shapes) > 1:
            raise ValueError(
                f"Images of different shapes {shapes} cannot become one tensor: "
                "give do_resize=True with a size, or return_tensors=None for a list."
            )
        return BatchFeature({name: torch.stack(values) for name, values in data.items()}, tensor_type=return_tensors)

    def _standardize_kwargs(  # type: ignore[override]
        self, normalization: Any = None, image_mean: Any = None, image_std: Any = None, size: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        defaults = _DEFAULT_CONSTANTS.get(normalization) if isinstance(normalization, str) else None
        if defaults is not None:
            default_mean, default_std = defaults
            image_mean = default_mean if image_mean is None else image_mean
            image_std = default_std if image_std is None else image_std
        if size is not None and not isinstance(size, SizeDict):
            size = SizeDict(**get_size_dict(size))
        return {
            **kwargs,
            "normalization": normalization,
            "image_mean": _plain_numbers("image_mean", image_mean),
            "image_std": _plain_numbers("image_std", image_std),
            "size": size,
        }

    def _validate_preprocess_kwargs(  # type: ignore[override]
        self,
        *,
        normalization: Any,
        stretch: Any,
        image_mean: Any,
        image_std: Any,
        num_bands: Any,
        input_data_format: Any,
        white_flux: Any,
        nan_fill: Any,
        do_convert_rgb: Any,
        do_resize: Any,
        size: Any,
        do_rescale: Any,
        rescale_factor: Any,
        return_scaling: Any,
        **kwargs: Any,
    ) -> None:
        flags = {
            "do_convert_rgb": do_convert_rgb,
            "do_resize": do_resize,
            "do_rescale": do_rescale,
            "return_scaling": return_scaling,
        }
        for name, flag in flags.items():
            if not isinstance(flag, bool | None):
                raise ValueError(f"{name} must be True or False, got {flag!r}.")
        if normalization not in list(_DEFAULT_CONSTANTS):
            raise ValueError(f"normalization must be one of {list(_DEFAULT_CONSTANTS)}, got {normalization!r}.")
        if image_mean is None or image_std is None:
            raise ValueError(
                f'normalization="{normalization}" needs image_mean and image_std: give both, '
                f'or use LensMAEImageProcessor.measured_on(images, normalization="{normalization}").'
            )
        means, stds = np.atleast_1d(image_mean), np.atleast_1d(image_std)
        if not np.isfinite(means).all():
            raise ValueError(f"image_mean must be finite, got {image_mean}.")
        if not (np.isfinite(stds).all() and (stds > 0).all()):
            raise ValueError(f"image_std must be positive and finite, got {image_std}.")
        if normalization == "none" and ((means != 0).any() or (stds != 1).any()):
            raise ValueError('normalization="none" takes no image_mean and image_std: choose "standardize" for those.')
        if not _is_finite_number(stretch) or stretch <= 0:
            raise ValueError(f"stretch must be a positive flux, got {stretch!r}.")
        if not _is_finite_number(rescale_factor) or rescale_factor == 0:
            raise ValueError(f"rescale_factor must be a number other than 0, got {rescale_factor!r}.")
        if white_flux is not None and (not _is_finite_number(white_flux) or white_flux <= 0):
            raise ValueError(f"white_flux must be a positive flux or None, got {white_flux!r}.")
        if nan_fill is not None and not _is_finite_number(nan_fill):
            raise ValueError(f"nan_fill must be a finite flux or None, got {nan_fill!r}.")
        if num_bands is not None and (isinstance(num_bands, bool) or not isinstance(num_bands, int) or num_bands < 1):
            raise ValueError(f"num_bands must be a positive whole number or None, got {num_bands!r}.")
        if num_bands is not None:
            num_scaled = 3 if do_convert_rgb and num_bands == 1 else num_bands
            _check_one_a_band(image_mean, num_scaled, "image_mean")
            _check_one_a_band(image_std, num_scaled, "image_std")
        if input_data_format not in (None, "channels_first", "channels_last"):
            raise ValueError(
                f'input_data_format must be "channels_first" or "channels_last", got {input_data_format!r}.'
            )
        sides = (size.height, size.width) if size is not None else ()
        if do_resize and (not sides or not all(isinstance(side, int) and _is_side(side) for side in sides)):
            raise ValueError(
                f'do_resize needs size={{"height": ..., "width": ...}}, whole numbers from 1 to {_MAX_SIDE}, '
                f"got {size}."
            )
        if return_scaling and normalization != "min_max":
            raise ValueError(
                f'return_scaling is for normalization="min_max": "{normalization}" is undone by its constants alone.'
            )

    def _refuse_unknown_arguments(self, names: set[str]) -> None:
        known = self.valid_kwargs.__annotations__
        if unknown := sorted(names - set(known)):
            raise TypeError(f"{type(self).__name__} has no argument {', '.join(unknown)}: it has {', '.join(known)}.")


def _array_of(image: list, index: int) -> np.ndarray:
    try:
        return np.asarray(image, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise TypeError(f"Image {index} is a list of what makes no array of numbers: {error}.") from error


def _read_image(
    image: Any,
    index: int,
    num_bands: int | None,
    input_data_format: str | ChannelDimension | None,
    white_flux: float | None,
) -> torch.Tensor:
    """Reads one image of any kind as a float32 tensor `(bands, height, width)`."""
    kind: Any
    if isinstance(image, list):  # what a dataset without a format has
        image = _array_of(image, index)
    if isinstance(image, torch.Tensor):
        kind, holds_numbers = image.dtype, not image.is_complex() and image.dtype != torch.bool
    elif isinstance(image, np.ndarray):
        kind, holds_numbers = image.dtype, image.dtype.kind in "fiu"
    elif is_pil_image(image):
        kind, holds_numbers = f"PIL mode {image.mode}", image.mode in _PIL_MODES
        image, input_data_format = _pixels_of_picture(image, num_bands, white_flux), "channels_last"
    else:
        raise TypeError(
            f"Image {index} is of type {type(image).__name__}: give a numpy array, a torch tensor or a PIL image "
            '(a dataset gives arrays after with_format("numpy") or with_format("torch")).'
        )
    if not holds_numbers:
        raise TypeError(f"Image {index} has pixels of {kind}: give real numbers, the surface brightness.")
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(
            f"Image {index} has shape {tuple(image.shape)}: give (height, width), (bands, height, width) "
            "or (height, width, bands), none of them 0."
        )
    return _bands_first(_float32_tensor(image), index, num_bands, input_data_format)


def _pixels_of_picture(image: Any, num_bands: int | None, white_flux: float | None) -> np.ndarray:
    """Pixels of a PIL image: `(height, width)`, or `(height, width, bands)` if it is more than a grey one."""
    pixels = np.asarray(image)
    if num_bands == 1 and pixels.ndim == 3 and bool((pixels == pixels[..., :1]).all()):
        pixels = pixels[..., 0]
    if pixels.dtype != np.uint8:
        return pixels
    return flux_of_levels(pixels, 255 if white_flux is None else white_flux)


def flux_of_levels(levels: np.ndarray, white_flux: float) -> np.ndarray:
    """Make flux of the grey levels of a picture of 8 bits, of which white, 255, stands for `white_flux`."""
    logger.warning_once(
        f"A picture of 8 bits is taken as flux from 0 to {white_flux:g} in 255 steps, which hide faint substructure. "
        "For results to rely on give floats: arrays, .npy or FITS files."
    )
    return levels * np.float32(white_flux / 255)


def _float32_tensor(image: torch.Tensor | np.ndarray) -> torch.Tensor:
    if isinstance(image, torch.Tensor):
        return image.detach().to(torch.float32)
    # A float64 beyond float32 becomes infinite here, and is refused with the other infinite pixels.
    with np.errstate(over="ignore"):
        array = np.array(image, dtype=np.float32, order="C", subok=isinstance(image, np.ma.MaskedArray))
    return torch.from_numpy(array.filled(np.nan) if isinstance(array, np.ma.MaskedArray) else array)


def _bands_first(
    image: torch.Tensor, index: int, num_bands: int | None, input_data_format: str | ChannelDimension | None
) -> torch.Tensor:
    """Views an image as `(bands, height, width)`, or refuses it where its shape does not settle that."""
    shape = tuple(image.shape)
    if image.ndim == 2:
        image = image[None]
    elif input_data_format is not None:
        image = image.movedim(-1, 0) if input_data_format == "channels_last" else image
    else:
        first, middle, last = shape
        if num_bands is None:
            bands_are_first, bands_are_last = first < min(middle, last), last < min(first, middle)
        else:
            bands_are_first, bands_are_last = first == num_bands, last == num_bands
        if bands_are_first == bands_are_last and num_bands in (None, first):
            raise ValueError(
                f"Image {index} has shape {shape}, which does not tell the axis of the bands: give num_bands, "
                'or input_data_format="channels_first" or "channels_last".'
            )
        image = image.movedim(-1, 0) if bands_are_last else image
    if num_bands is not None and len(image) != num_bands:
        raise ValueError(f"Image {index} has shape {shape}: num_bands={num_bands} is not its number of bands.")
    return image


def _indices_by_shape(images: list[torch.Tensor]) -> list[list[int]]:
    groups: dict[torch.Size, list[int]] = {}
    for index, image in enumerate(images):
        groups.setdefault(image.shape, []).append(index)
    return list(groups.values())


def _is_finite(batch: torch.Tensor) -> bool:
    # One pass over the extremes, into which NaN spreads, is twenty times faster than isfinite on every pixel.
    return all(math.isfinite(extreme) for extreme in batch.aminmax())


def _filled(batch: torch.Tensor, nan_fill: float) -> torch.Tensor:
    return batch if _is_finite(batch) else torch.where(torch.isfinite(batch), batch, nan_fill)


def _bad_pixels(batch: torch.Tensor, indices: list[int]) -> dict[int, int]:
    """Counts the NaN and infinite pixels of the images that have any."""
    counts = (~torch.isfinite(batch)).sum((1, 2, 3)).tolist()
    return {index: count for index, count in zip(indices, counts, strict=True) if count}


def _check_finite(scaled: torch.Tensor, unscaled: torch.Tensor, indices: list[int]) -> None:
    """Refuses images with NaN or infinite pixels, and those that scaling makes infinite."""
    # No step makes such a pixel finite: one look at what comes out sees what came in as well.
    if _is_finite(scaled):
        return
    counts = _bad_pixels(unscaled, indices)
    if not counts:
        raise ValueError(
            f"Image {next(iter(_bad_pixels(scaled, indices)))} is scaled beyond float32, {_MAX_FLUX:.2g}: give it in "
            "another flux unit, or a stretch, rescale_factor or image_std nearer to its fluxes."
        )
    listed = ", ".join(f"{count} in image {index}" for index, count in list(counts.items())[:5])
    others = f" and more in {len(counts) - 5} others" if len(counts) > 5 else ""
    raise ValueError(
        f"NaN or infinite pixels: {listed}{others}. Repair these images, or give nan_fill, the flux to put there."
    )


def _resize(batch: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(batch, size, mode="bicubic", align_corners=False, antialias=True)


def _is_side(number: int) -> bool:
    return 0 < number <= _MAX_SIDE


def _target_size(size: Any, index: int) -> tuple[int, int]:
    try:
        height, width = map(operator.index, size)
    except (TypeError, ValueError):
        height = width = 0
    if not (_is_side(height) and _is_side(width)):
        raise ValueError(
            f"target_sizes must give (height, width), whole numbers from 1 to {_MAX_SIDE}, got {size!r} for image "
            f"{index}."
        )
    return height, width


def _three_bands(batch: torch.Tensor, indices: list[int]) -> torch.Tensor:
    if batch.shape[1] not in (1, 3):
        raise ValueError(
            f"Image {indices[0]} has {batch.shape[1]} bands: do_convert_rgb repeats one band or keeps three."
        )
    return batch.repeat(1, 3 // batch.shape[1], 1, 1)


def _arcsinh(batch: torch.Tensor) -> torch.Tensor:
    # On a CPU numpy's arcsinh is five times faster than torch's.
    return torch.from_numpy(np.arcsinh(batch.numpy())) if batch.device.type == "cpu" else torch.asinh(batch)


def _check_one_a_band(constants: float | tuple[float, ...], num_bands: int, name: str) -> None:
    if not isinstance(constants, float) and len(constants) != num_bands:
        raise ValueError(
            f"{name} has {len(constants)} numbers and the images have {num_bands} bands: "
            "give one number, or one a band."
        )


def _per_band(constants: float | tuple[float, ...], batch: torch.Tensor, name: str) -> float | torch.Tensor:
    """Shapes constants so that they broadcast over a batch `(batch, bands, height, width)`."""
    if isinstance(constants, float):
        return constants
    _check_one_a_band(constants, batch.shape[1], name)
    return torch.tensor(constants, dtype=batch.dtype, device=batch.device)[:, None, None]


def _one_an_image(numbers: Any, batch: torch.Tensor, name: str) -> torch.Tensor:
    """Shapes numbers so that they broadcast over a batch `(batch, bands, height, width)` of float64 on the CPU."""
    numbers = torch.as_tensor(numbers).cpu().double()
    if numbers.shape != (len(batch),):
        raise ValueError(f"{name} must have the shape ({len(batch)},), one an image, got {tuple(numbers.shape)}.")
    return numbers[:, None, None, None]


def _to_float32(flux: torch.Tensor, clamp_min: float | None) -> torch.Tensor:
    return (flux if clamp_min is None else flux.clamp(min=clamp_min)).float()


def _plain_numbers(name: str, value: Any) -> float | tuple[float, ...] | None:
    """Gives constants as JSON can keep them, from a number or a sequence, array or tensor of them."""
    if value is None:
        return None
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (OverflowError, TypeError, ValueError):
        numbers = None
    if numbers is None or numbers.ndim > 1 or numbers.size == 0:
        raise ValueError(f"{name} must be one number, or a list of one a band, got {value!r}.")
    return numbers.item() if numbers.size == 1 else tuple(numbers.tolist())


def _is_finite_number(value: Any) -> bool:
    # A whole number of JSON may have more digits than any float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _MAX_FLUX


# Every saved processor brings this file, and loads where only transformers is installed.
LensMAEImageProcessor.register_for_auto_class("AutoImageProcessor")


__all__ = ["LensMAEImageProcessor"]
