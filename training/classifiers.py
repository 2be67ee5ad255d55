"""The networks that run_classification.py trains: LensMAE, and the image classifiers of transformers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from command_line import EncoderArguments
from datasets import Dataset
from layer_decay import encoder_parts
from networks import make_config, make_image_processor, make_model, override_config
from torch import nn
from transformers import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from lens_transformers import LensMAEForClassification, LensMAEImageProcessor
from lens_transformers.data import LABEL_NAMES


LABELS: dict[str, Any] = {
    "num_labels": len(LABEL_NAMES),
    "id2label": dict(enumerate(LABEL_NAMES)),
    "label2id": {name: index for index, name in enumerate(LABEL_NAMES)},
}


@dataclass
class ClassifierArguments(EncoderArguments):
    """Which network to start from, and how it sees flux."""

    model_type: str = field(
        default="lens_mae",
        metadata={"help": "Architecture of a network from scratch, as transformers calls it: vit, resnet, swin, ..."},
    )
    config_name: str | None = field(
        default=None, metadata={"help": "Configuration of a network from scratch: a Hub name or a folder."}
    )
    freeze: str = field(
        default="none",
        metadata={
            "help": "What training leaves as it is: none, patch_embeddings, encoder (a linear probe), or the "
            "embeddings and the first layers, such as first_n:4."
        },
    )


def make_classifier(arguments: ClassifierArguments, train: Dataset) -> tuple[PreTrainedModel, LensMAEImageProcessor]:
    """The network with a head for the classes of lenses, partly frozen if asked for, and what feeds it.

    Raises:
        ValueError: If the checkpoint is no image classifier, or takes other images or other parts to freeze.
    """
    make = _make_lens_mae if _is_lens_mae(arguments) else _make_stock_classifier
    model, image_processor = make(arguments, train)
    if model.config.num_labels != len(LABEL_NAMES):
        raise ValueError(f"--config_overrides {arguments.config_overrides}: the classes are {', '.join(LABEL_NAMES)}.")
    freeze(model, arguments.freeze)
    return model, image_processor


def _is_lens_mae(arguments: ClassifierArguments) -> bool:
    if arguments.model_name_or_path is not None:
        return AutoConfig.from_pretrained(arguments.model_name_or_path).model_type == "lens_mae"
    return arguments.config_name is None and arguments.model_type == "lens_mae"


def _make_lens_mae(arguments: ClassifierArguments, train: Dataset) -> tuple[PreTrainedModel, LensMAEImageProcessor]:
    image_processor = make_image_processor(arguments, train)
    # What a checkpoint froze, and how it was calibrated, belongs to the training that it comes from.
    settings = {**LABELS, "frozen_part": None, "temperature": 1.0}
    config = make_config(arguments, num_channels=train.features["image"].shape[0], **settings)
    return make_model(LensMAEForClassification, arguments, config), image_processor


def _make_stock_classifier(
    arguments: ClassifierArguments, train: Dataset
) -> tuple[PreTrainedModel, LensMAEImageProcessor]:
    config = _make_stock_config(arguments, train)
    image_processor = _make_stock_image_processor(arguments, config, train)
    return _make_stock_model(arguments, config), image_processor


def _make_stock_config(arguments: ClassifierArguments, train: Dataset) -> PreTrainedConfig:
    source = arguments.model_name_or_path or arguments.config_name
    if source is not None:
        config = AutoConfig.from_pretrained(source, **LABELS)
    else:
        num_channels, height, width = train.features["image"].shape
        config = AutoConfig.for_model(arguments.model_type, num_channels=num_channels, **LABELS)
        if hasattr(config, "image_size"):
            config.image_size = height if height == width else [height, width]
    if type(config) not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        raise ValueError(
            f"{source or arguments.model_type}: transformers has no {config.model_type!r} image classifier."
        )
    if not hasattr(AutoConfig.for_model(config.model_type), "num_channels"):
        raise ValueError(
            f"{source or arguments.model_type}: the configuration of {config.model_type!r} has no num_channels, by "
            "which bands are told; networks like vit, resnet, swin or convnext have."
        )
    if arguments.config_overrides:
        override_config(config, arguments.config_overrides)
    return config


def _make_stock_model(arguments: ClassifierArguments, config: PreTrainedConfig) -> PreTrainedModel:
    if arguments.model_name_or_path is None:
        # Of several classes transformers takes the first where the configuration names none; not where it is `None`.
        config.architectures = config.architectures or []
        return AutoModelForImageClassification.from_config(config)
    model, loading = AutoModelForImageClassification.from_pretrained(
        arguments.model_name_or_path, config=config, ignore_mismatched_sizes=True, output_loading_info=True
    )
    # The head was one for other classes. Any other weight that does not fit would be drawn anew, or be lost.
    unfitting = [name for name, *_ in loading["mismatched_keys"]]
    if arguments.config_overrides:
        unfitting += [*loading["missing_keys"], *loading["unexpected_keys"]]
    if unfitting := sorted(name for name in unfitting if name.startswith(f"{model.base_model_prefix}.")):
        raise ValueError(
            f"{arguments.model_name_or_path}: {len(unfitting)} weights would be lost or drawn at random, such as "
            f"{unfitting[0]}; leave out what causes it of --config_overrides {arguments.config_overrides}."
        )
    return model


def _make_stock_image_processor(
    arguments: ClassifierArguments, config: PreTrainedConfig, train: Dataset
) -> LensMAEImageProcessor:
    """What makes of flux the pictures that the network knows, in bands, size, mean and deviation."""
    num_bands, *size = train.features["image"].shape
    if config.num_channels not in (num_bands, 3 * num_bands):
        raise ValueError(f"The network takes {config.num_channels} bands, the training images have {num_bands}.")
    settings: dict[str, Any] = {"do_convert_rgb": config.num_channels != num_bands}
    if arguments.model_name_or_path is None:
        own_size = getattr(config, "image_size", size)
        if _height_and_width(own_size) != size:
            settings |= {"do_resize": True, "size": _height_and_width(own_size)}
        return make_image_processor(arguments, train, **settings)
    pictures = AutoImageProcessor.from_pretrained(arguments.model_name_or_path)
    if isinstance(pictures, LensMAEImageProcessor):
        return make_image_processor(arguments, train)
    # Pictures have pixels from 0 to 1, of which these are the mean and deviation; so each image is brought there.
    settings |= {
        "normalization": "min_max",
        "num_bands": num_bands,
        "image_mean": pictures.image_mean,
        "image_std": pictures.image_std,
        "do_resize": True,
        "size": _picture_size(pictures),
    }
    overrides: Any = arguments.image_processor_overrides
    return LensMAEImageProcessor(**{**settings, **overrides})


def _picture_size(pictures: Any) -> list[int]:
    """The size in which pictures come out of an image processor of transformers."""
    size = pictures.crop_size if getattr(pictures, "do_center_crop", False) else pictures.size
    return [size["height"], size["width"]] if "height" in size else [size["shortest_edge"]] * 2


def _height_and_width(size: int | Sequence[int]) -> list[int]:
    return [size, size] if isinstance(size, int) else list(size)


def freeze(model: PreTrainedModel, policy: str) -> None:
    """Freezes part of a classifier for this training; the checkpoint that it leaves can be trained as a whole again.

    Args:
        model: An image classifier.
        policy: `"none"`, `"patch_embeddings"`, `"encoder"`, everything but the head, or `"first_n:N"`, the embeddings
            and the first N layers, or stages in a network of stages.

    Raises:
        ValueError: If there is no such policy, or the network has fewer layers.
    """
    for module in _frozen_modules(model, policy):
        module.requires_grad_(False)
        # In training mode batch norms would move their statistics, and the frozen part's output with them.
        module.register_forward_pre_hook(_set_to_evaluation)


def _set_to_evaluation(module: nn.Module, arguments: tuple) -> None:
    module.eval()


def _frozen_modules(model: PreTrainedModel, policy: str) -> list[nn.Module]:
    name, _, count = policy.partition(":")
    if policy == "none":
        return []
    if policy == "encoder":
        if model.base_model is model:
            raise ValueError(f"--freeze encoder: {type(model).__name__} has no encoder apart from its head.")
        return [model.base_model]
    if policy != "patch_embeddings" and (name != "first_n" or not count.isdecimal()):
        raise ValueError(
            f"--freeze must be none, patch_embeddings, encoder or, for instance, first_n:4, not {policy}."
        )
    embeddings, layers = encoder_parts(model)
    if policy == "patch_embeddings":
        return [getattr(embeddings, "patch_embeddings", embeddings)]
    if not 1 <= int(count) <= len(layers):
        raise ValueError(f"--freeze {policy}: this network has {len(layers)} layers or stages.")
    return [embeddings, *layers[: int(count)]]
