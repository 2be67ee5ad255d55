"""The network of a run and what makes its batches: those of a checkpoint, or new ones."""

from typing import Any

import numpy as np
from command_line import DataArguments, EncoderArguments, ModelArguments
from datasets import Dataset, IterableDataset
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoImageProcessor, PreTrainedConfig, PreTrainedModel

from lens_transformers import LensMAEConfig, LensMAEForPreTraining, LensMAEImageProcessor, LensMAEModel
from lens_transformers.data import LensDataCollator, get_augmentation
from lens_transformers.data.images import flux_of_white
from lens_transformers.data.tasks import Task
from lens_transformers.report.loading import sample


# Training images that constants are measured on.
NUM_MEASURED = 2000


def make_config(arguments: ModelArguments, num_channels: int, **settings: Any) -> LensMAEConfig:
    """The configuration of the checkpoint or of the named size, with the changes asked for.

    Raises:
        ValueError: If the checkpoint is of another architecture, or takes images of other bands.
    """
    try:
        if arguments.model_name_or_path is None:
            config = LensMAEConfig.from_size(arguments.model_size, num_channels=num_channels, **settings)
        else:
            config = LensMAEConfig.from_pretrained(arguments.model_name_or_path)
            if config.num_channels != num_channels:
                raise ValueError(
                    f"{arguments.model_name_or_path} is a network of {config.num_channels} bands; the images have "
                    f"{num_channels}."
                )
            config = LensMAEConfig.from_pretrained(arguments.model_name_or_path, **settings)
        if not arguments.config_overrides:
            return config
        override_config(config, arguments.config_overrides)
        return LensMAEConfig.from_dict(config.to_dict())
    except StrictDataclassError as error:
        raise ValueError(f"There is no such network: {error.__cause__ or error}") from error


def override_config(config: PreTrainedConfig, changes: str) -> None:
    """Make the changes that `--config_overrides` asks for.

    Raises:
        ValueError: If they cannot be read, or are of what the configuration does not have.
    """
    try:
        config.update_from_string(changes)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"--config_overrides {changes}: {error}. It takes name=value,name=value of what is a number, a word or "
            "true and false."
        ) from error


def make_model(model_class: type[PreTrainedModel], arguments: ModelArguments, config: LensMAEConfig):
    """The network: with the checkpoint's weights, or drawn by the seed.

    Raises:
        ValueError: If the checkpoint is of another kind, or its weights do not fit into the network.
    """
    checkpoint = arguments.model_name_or_path
    if checkpoint is None:
        return model_class(config)
    kind = (config.architectures or ["no network that it names"])[0]
    kinds = [model_class.__name__]
    if model_class is not LensMAEForPreTraining:
        kinds += [LensMAEForPreTraining.__name__, LensMAEModel.__name__]
    if kind not in kinds:
        raise ValueError(
            f"{checkpoint} holds {kind}, and this needs {' or '.join(kinds)}: of any other, weights would be lost and "
            "their places drawn at random."
        )
    loaded: Any = model_class.from_pretrained(
        checkpoint, config=config, ignore_mismatched_sizes=True, output_loading_info=True
    )
    model, loading = loaded
    # Only a head that the checkpoint does not have may be drawn.
    drawn = [
        name
        for name in loading["missing_keys"]
        if (kind == kinds[0] and not name.startswith("imprint_head."))
        or name.startswith(f"{model.base_model_prefix}.")
    ]
    reshaped = [name for name, *_ in loading["mismatched_keys"]]
    if unfitting := sorted({*drawn, *reshaped, *loading["unexpected_keys"]}):
        changes = f" with --config_overrides {arguments.config_overrides}" if arguments.config_overrides else ""
        raise ValueError(
            f"{checkpoint} does not fit the network for these images{changes}: {len(unfitting)} weights would be lost "
            f"or drawn at random, such as {unfitting[0]}."
        )
    return model


def make_image_processor(
    arguments: EncoderArguments, train: Dataset | IterableDataset, num_samples: int = NUM_MEASURED, **settings: Any
) -> LensMAEImageProcessor:
    """The checkpoint's image processor, or one of these settings whose constants are measured on training images.

    Either with how bright these are, and with the changes asked for, which may be the constants.

    Raises:
        ValueError: If the checkpoint's is none of LensMAE's.
    """
    overrides: Any = arguments.image_processor_overrides
    images = some_images(train, num_samples)
    if arguments.model_name_or_path is not None:
        changes = {"white_flux": flux_of_white(images), **overrides}
        return load_image_processor(arguments.model_name_or_path, **changes)
    settings = {
        "normalization": "arcsinh",
        "stretch": arguments.stretch,
        "num_bands": train.features["image"].shape[0],
        "white_flux": flux_of_white(images),
        **settings,
        **overrides,
    }
    if {"image_mean", "image_std"} & set(settings) or settings["normalization"] == "none":
        return LensMAEImageProcessor(**settings)
    return LensMAEImageProcessor.measured_on(images, **settings)


def load_image_processor(checkpoint: str, **changes: Any) -> LensMAEImageProcessor:
    """A checkpoint's image processor, with some changes.

    Raises:
        ValueError: If it makes pictures of flux, as any other than LensMAE's does.
    """
    image_processor = AutoImageProcessor.from_pretrained(checkpoint, **changes)
    if not isinstance(image_processor, LensMAEImageProcessor):
        LensMAEConfig.from_pretrained(checkpoint)  # says what network that is
        raise ValueError(
            f"{checkpoint} has a {type(image_processor).__name__}, and this needs a LensMAEImageProcessor."
        )
    return image_processor


def some_images(
    train: Dataset | IterableDataset, num_samples: int = NUM_MEASURED, column: str = "image"
) -> np.ndarray:
    """At most so many images `(images, bands, height, width)`: drawn from a dataset, the first of a stream."""
    if isinstance(train, IterableDataset):
        return np.stack([row[column] for row in train.take(num_samples)])
    return sample(train, num_samples)[column][:]


def make_collators(
    image_processor: Any, arguments: DataArguments, task: Task, seed: int
) -> tuple[LensDataCollator, LensDataCollator]:
    """What makes batches to train on, with augmentation, and to evaluate on, without."""
    settings: Any = arguments.augmentation_settings or {}
    try:
        augmentation = get_augmentation(arguments.augmentation, **settings)
    except TypeError as error:
        raise ValueError(f"--augmentation_settings: {error}.") from error
    return LensDataCollator(image_processor, task, augmentation, seed), LensDataCollator(image_processor, task)
