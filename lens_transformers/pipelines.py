"""One call from images to flux, probabilities or embeddings, with any LensMAE checkpoint.

transformers' own pipelines make 8-bit RGB of whatever is no array, do not calibrate, and have none for
super-resolution. These take flux and give flux: files, arrays or data sets of any size go in, batch by batch, and
arrays in the order of the images come out.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import DatasetDict, IterableDatasetDict
from datasets import Image as ImageFeature
from tqdm.auto import tqdm
from transformers import AutoImageProcessor, AutoModelForImageClassification, PreTrainedModel
from transformers.image_utils import is_pil_image

from .data import files_of_rows, load_lensing_dataset
from .data.fits import FITS_SUFFIXES, FitsLayout, FitsReader
from .data.folders import files_in, files_like, folders_in, is_pattern, suffix_of
from .data.npy import read_lens_npy
from .data.pictures import PICTURE_SUFFIXES, read_picture
from .data.reading import Item
from .evaluation.calibration import fit_temperature
from .models.lens_mae import (
    LensMAEConfig,
    LensMAEForClassification,
    LensMAEForSuperResolution,
    LensMAEImageProcessor,
    LensMAEModel,
)
from .models.lens_mae.modeling_lens_mae import LensMAEPreTrainedModel


__all__ = ["Classification", "LensClassification", "LensEmbedding", "LensSuperResolution", "pipeline"]

logger = logging.getLogger(__name__)

# What says where files are, of the image processor as of the network.
_LOCATION = ("revision", "subfolder", "token", "cache_dir", "local_files_only", "force_download", "proxies")


def pipeline(
    task: str,
    model: str | Path | PreTrainedModel,
    image_processor: LensMAEImageProcessor | str | Path | None = None,
    *,
    batch_size: int = 32,
    device: str | torch.device | None = None,
    **kwargs: Any,
) -> "LensPipeline":
    """Makes a callable that takes lens images.

    Args:
        task: `"classification"` (or `"image-classification"`), `"super-resolution"` (or `"image-to-image"`), or
            `"embedding"` (or `"image-feature-extraction"`).
        model: Name on the Hub, folder, or a model that is loaded already.
        image_processor: Its image processor, or the name of one; by default the one beside a model that is given by
            name.
        batch_size: Images that go through the network at once.
        device: Where; by default the accelerator, if there is one.
        **kwargs: How a model that is given by name is loaded, as for `from_pretrained`: `revision`, `subfolder`,
            `token`, `dtype` and so on.

    Returns:
        A `LensClassification`, `LensSuperResolution` or `LensEmbedding`.

    Raises:
        ValueError: If the task is not known, or there is no image processor.

    Example:
        ```python
        >>> sharpen = pipeline("super-resolution", model="org/lens-sr")
        >>> sharp = sharpen("night/*.npy")  # float32 (images, bands, 2 * height, 2 * width), in the files' flux
        ```
    """
    if task not in _TASKS:
        raise ValueError(f"There is no task {task!r}; choose one of {', '.join(_TASKS)}.")
    pipeline_class = _TASKS[task]
    loaded: Any = model
    processor: Any = image_processor
    if isinstance(model, PreTrainedModel):
        if processor is None:
            raise ValueError("A model that is loaded already needs its image_processor beside it.")
        if kwargs:
            raise ValueError(f"{', '.join(kwargs)} say how to load a model, but this one is loaded already.")
    if processor is None or isinstance(processor, str | Path):
        location = {name: kwargs[name] for name in _LOCATION if name in kwargs}
        source, location = (model, location) if processor is None else (processor, {})
        processor = AutoImageProcessor.from_pretrained(source, **location)
        if not isinstance(processor, LensMAEImageProcessor):
            raise ValueError(
                f"{source} has a {type(processor).__name__}, which makes pictures of flux; give a checkpoint that was "
                "trained on lens images, or an image_processor of such a one."
            )
    if not isinstance(model, PreTrainedModel):
        loaded = pipeline_class.model_class.from_pretrained(model, **kwargs)
        saved = loaded.config.architectures or []
        # Its head would be drawn at random, and its results look like any others.
        if (
            loaded.config.model_type == LensMAEConfig.model_type
            and pipeline_class is not LensEmbedding
            and saved
            and pipeline_class.own_class.__name__ not in saved
        ):
            raise ValueError(f"{task} needs a {pipeline_class.own_class.__name__}; {model} is a {', '.join(saved)}.")
    if pipeline_class is LensEmbedding:
        if LensMAEForSuperResolution.__name__ in (type(loaded).__name__, *(loaded.config.architectures or ())):
            raise ValueError(
                f"{loaded.name_or_path or 'This model'} super-resolves: its network scales flux after the image "
                "processor, which its embeddings would miss. Give a pretraining checkpoint or a classifier."
            )
        loaded = loaded.base_model
    if isinstance(loaded, LensMAEPreTrainedModel) and not isinstance(loaded, pipeline_class.own_class):
        raise ValueError(f"{task} needs a {pipeline_class.own_class.__name__}; this is a {type(loaded).__name__}.")
    return pipeline_class(loaded, processor, batch_size, device)


@dataclass(frozen=True)
class Classification:
    """What a classifier makes of images.

    Attributes:
        probabilities: Float32 array `(images, classes)`; rows sum to one.
        class_names: Names of the classes.
    """

    probabilities: np.ndarray
    class_names: tuple[str, ...]

    @property
    def labels(self) -> list[str]:
        """The most probable class of each image."""
        return [self.class_names[index] for index in self.probabilities.argmax(axis=1)]


class LensPipeline:
    """What all of them share: images in, batch by batch through the network.

    Images are arrays or tensors `(height, width)` or `(bands, height, width)`, a batch
    `(images, bands, height, width)`, PIL images, a `datasets.Dataset` with a column `image`, `.npy`, FITS or picture
    files, patterns such as `"night/*.fits"`, folders of these, anything else that `load_lensing_dataset` knows, all
    splits of it, or a list of any of these. Files of a pattern and of a folder come in the order of their names, what
    else there is in that of `load_lensing_dataset`. Pixels are flux, as the checkpoint was trained on; pictures of 8
    bits go up to the image processor's `white_flux`. All images must have one size.

    Args:
        model: The network.
        image_processor: What turns flux into its `pixel_values`.
        batch_size: Images that go through it at once.
        device: Where; by default the accelerator, if there is one.
    """

    model_class: Any  # what `from_pretrained` is called of
    own_class: type[LensMAEPreTrainedModel]  # which a network of ours has to be of

    def __init__(
        self,
        model: PreTrainedModel,
        image_processor: LensMAEImageProcessor,
        batch_size: int = 32,
        device: str | torch.device | None = None,
    ):
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size must be a whole number of at least 1, not {batch_size}.")
        self.model = model.eval()
        self.image_processor = image_processor
        self.batch_size = batch_size
        if device is None and getattr(model, "hf_device_map", None) is None:
            device = torch.accelerator.current_accelerator(check_available=True) or "cpu"
        if device is not None:
            self.model.to(torch.device(device))  # type: ignore[arg-type]

    def _outputs(self, images: Any, progress: bool) -> Iterator[tuple[Any, Any]]:
        """Inputs and outputs of the network, a batch at a time."""
        bar = tqdm(disable=not progress, unit="image")
        arrays = _arrays(images, self.image_processor)
        # Ours take float32 whatever their own type: flux to sharpen would lose digits.
        dtype = None if isinstance(self.model, LensMAEPreTrainedModel) else self.model.dtype
        shape = None
        while batch := list(islice(arrays, self.batch_size)):
            inputs = self.image_processor(batch, return_tensors="pt")
            shape = shape or inputs.pixel_values.shape[1:]
            if inputs.pixel_values.shape[1:] != shape:
                raise ValueError(
                    f"All images must have one size: the first have the shape {tuple(shape)}, later ones "
                    f"{tuple(inputs.pixel_values.shape[1:])}."
                )
            pixel_values = inputs.pixel_values.to(self.model.device, dtype)
            with torch.inference_mode():
                outputs = self.model(pixel_values)
            yield inputs, outputs
            bar.update(len(batch))
        bar.close()


class LensClassification(LensPipeline):
    """Images → probabilities of the kinds of dark-matter substructure, calibrated by a `temperature`.

    Raises:
        ValueError: If the network tells a number of each image, or several classes.
    """

    # run_classification.py trains any image classifier of transformers.
    model_class = AutoModelForImageClassification
    own_class = LensMAEForClassification

    def __init__(self, model: PreTrainedModel, *args: Any, **kwargs: Any):
        problem = model.config.problem_type or "single_label_classification"
        if model.config.num_labels == 1 or problem != "single_label_classification":
            raise ValueError(
                f"{model.name_or_path or 'This network'} does not tell one class of each image "
                f"(num_labels={model.config.num_labels}, problem_type={model.config.problem_type}), of which there "
                "would be probabilities: call the network itself."
            )
        super().__init__(model, *args, **kwargs)
        self._fitted = 1.0

    def __call__(self, images: Any, *, progress: bool = False) -> Classification:
        """Classifies images, of any kind that `LensPipeline` lists."""
        probabilities = (self.logits(images, progress=progress) / self.temperature).softmax(dim=1)
        return Classification(probabilities.numpy(), self.class_names)

    @property
    def temperature(self) -> float:
        """What logits are divided by."""
        return getattr(self.model.config, "temperature", self._fitted)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the network's outputs."""
        return tuple(self.model.config.id2label[index] for index in range(self.model.config.num_labels))

    def logits(self, images: Any, *, progress: bool = False) -> torch.Tensor:
        """What the network says before any calibration: `(images, classes)`, on the CPU."""
        return torch.cat([outputs.logits.float().cpu() for _, outputs in self._outputs(images, progress)])

    def calibrate(self, images: Any, labels: Iterable[int], *, progress: bool = False) -> "LensClassification":
        """Fits a temperature (Guo et al. 2017, arXiv:1706.04599) to images that the network was not trained on.

        Args:
            images: Held-out images, of any kind that `LensPipeline` lists.
            labels: Their class ids.
            progress: Whether to show a progress bar.

        Returns:
            This pipeline. What was fitted is noted in `model.config.temperature`, with which the model is saved; of
            other architectures, whose configurations have none, in this pipeline alone.

        Raises:
            ValueError: If there is not one label an image, or a label is no class.
        """
        temperature = fit_temperature(self.logits(images, progress=progress), list(labels))
        if isinstance(self.model, LensMAEPreTrainedModel):
            self.model.config.temperature = temperature
        else:
            self._fitted = temperature
        return self


class LensSuperResolution(LensPipeline):
    """Images → sharper images, in the flux units of what came in."""

    model_class = LensMAEForSuperResolution
    own_class = LensMAEForSuperResolution

    def __call__(self, images: Any, *, progress: bool = False) -> np.ndarray:
        """Sharpens images, of any kind that `LensPipeline` lists.

        Returns:
            Float32 array `(images, bands, height * upscale, width * upscale)`.
        """
        sharp: list[Any] = []
        for inputs, outputs in self._outputs(images, progress):
            scaling = {name: inputs[name] for name in ("pixel_minimum", "pixel_maximum") if name in inputs}
            sharp.append(self.image_processor.post_process_reconstruction(outputs, **scaling))
        return torch.cat(sharp).numpy()


class LensEmbedding(LensPipeline):
    """Images → one vector each, for similarity search, regression or a classifier of one's own."""

    model_class = LensMAEModel
    own_class = LensMAEModel

    def __call__(self, images: Any, *, progress: bool = False) -> np.ndarray:
        """Embeds images, of any kind that `LensPipeline` lists.

        Returns:
            Float32 array `(images, width)`, pooled as the checkpoint's `config.pooling` says.
        """
        vectors = [outputs.pooler_output.float().cpu() for _, outputs in self._outputs(images, progress)]
        return torch.cat(vectors).numpy()


_TASKS: dict[str, type[LensPipeline]] = {
    "classification": LensClassification,
    "image-classification": LensClassification,
    "super-resolution": LensSuperResolution,
    "image-to-image": LensSuperResolution,
    "embedding": LensEmbedding,
    "image-feature-extraction": LensEmbedding,
}

# Files of one image each.
FILE_SUFFIXES = (".npy", *FITS_SUFFIXES, *PICTURE_SUFFIXES)


def _arrays(images: Any, image_processor: LensMAEImageProcessor) -> Iterator[Any]:
    """Images one by one, whatever holds them.

    Raises:
        FileNotFoundError: If a path is not there, or a pattern fits no file.
        TypeError: If something is neither an image nor holds images.
        ValueError: If there are none.
    """
    found = False
    for image in _walk(images, image_processor):
        found = True
        yield image
    if not found:
        raise ValueError("There are no images: the list or data set is empty.")


def _walk(images: Any, image_processor: LensMAEImageProcessor) -> Iterator[Any]:
    if isinstance(images, str | Path):
        yield from _read(images, image_processor)
    elif is_pil_image(images):
        yield images
    elif isinstance(images, np.ndarray | torch.Tensor):
        if images.ndim == 4:
            yield from images
        elif images.ndim in (2, 3):
            yield images
        else:
            raise TypeError(
                f"An array of images has the shape (images, bands, height, width), one image (height, width) or "
                f"(bands, height, width); this has {tuple(images.shape)}."
            )
    elif isinstance(images, DatasetDict | IterableDatasetDict):
        for split in images.values():
            yield from _walk(split, image_processor)
    elif hasattr(images, "column_names") or hasattr(images, "with_format"):
        if "image" not in (images.column_names or ["image"]):
            raise ValueError(f"A data set needs a column 'image'; this has {', '.join(images.column_names)}.")
        # Pictures come as such, with white to be told from flux.
        is_picture = isinstance((images.features or {}).get("image"), ImageFeature)
        for row in images.with_format(None if is_picture else "numpy"):
            yield row["image"]
    elif _is_nested_numbers(images):
        yield from _walk(np.asarray(images, dtype=np.float32), image_processor)
    elif isinstance(images, Iterable) and not isinstance(images, dict):
        for image in images:
            yield from _walk(image, image_processor)
    else:
        raise TypeError(
            "Images are arrays, tensors, PIL images, paths of files or folders, lists of these, or a data set; not "
            f"{type(images).__name__}."
        )


def _is_nested_numbers(images: Any) -> bool:
    """Whether these are lists, as a data set without a format has them, that end in numbers."""
    first = images
    while isinstance(first, list) and first:
        first = first[0]
    return isinstance(first, int | float) and isinstance(images, list)


def _read(source: str | Path, image_processor: LensMAEImageProcessor) -> Iterator[np.ndarray]:
    """Images of a file, a pattern of files, or whatever else the data room loads."""
    path = Path(source)
    files: list[Path] = []
    if path.is_dir():
        # Pictures beside folders, as of simulated data, are about what is in these.
        suffixes = (".npy", *FITS_SUFFIXES) if folders_in(path) else FILE_SUFFIXES
        files = [Path(file) for file in files_in(path, suffixes)]
    elif is_pattern(source):
        files = [Path(file) for file in files_like(source)]
    elif suffix_of(path.name) in FILE_SUFFIXES:
        files = [path]
    if not files:
        listed = files_of_rows(source, "all", "pretraining") or []
        kinds = {suffix_of(file) for file in listed}
        # Pictures in folders of classes are pictures still.
        if kinds & set(PICTURE_SUFFIXES) and kinds <= set(FILE_SUFFIXES):
            files = [Path(file) for file in listed]
    for file in files:
        yield read_image_file(file, white_flux=image_processor.white_flux)
    if not files:
        for row in load_lensing_dataset(source, split="all", task="pretraining", nan_fill=image_processor.nan_fill):
            yield row["image"]


def read_image_file(path: Path, layout: FitsLayout | None = None, white_flux: float | None = None) -> np.ndarray:
    """Reads the image `(height, width)` or `(bands, height, width)` of a `.npy`, FITS or picture file.

    Args:
        path: The file.
        layout: How a FITS file holds it.
        white_flux: Flux that white stands for in a picture of 8 bits, as the checkpoint's image processor has it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no image.
    """
    suffix = suffix_of(path.name)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file.")
    try:
        if suffix == ".npy":
            return read_lens_npy(str(path))[0]
        if suffix in FITS_SUFFIXES:
            return FitsReader(layout or FitsLayout())(Item((str(path),)))["image"]
        if suffix in PICTURE_SUFFIXES:
            return read_picture(str(path), white_flux)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    raise ValueError(f"{path}: one image is read from {', '.join(FILE_SUFFIXES)}.")
