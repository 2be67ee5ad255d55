"""A learning rate for each layer of an encoder, the lower the deeper."""

from collections.abc import Collection, Mapping
from typing import Any

from command_line import LensTrainingArguments
from torch import nn
from transformers import PreTrainedModel


def group_by_rate(
    model: PreTrainedModel, arguments: LensTrainingArguments, scales: Mapping[str, float], decayed: Collection[str]
) -> list[dict[str, Any]]:
    """Groups of parameters for an optimizer, one for each learning rate and weight decay.

    Args:
        model: The network.
        arguments: With `learning_rate` and `weight_decay`.
        scales: The learning rate of every parameter, by its name, in parts of `learning_rate`.
        decayed: Names of the parameters that weight decay is for.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = arguments.weight_decay if name in decayed else 0.0
            groups.setdefault((scales[name] * arguments.learning_rate, decay), []).append(parameter)
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]


def learning_rate_scales(model: PreTrainedModel, layer_decay: float) -> dict[str, float]:
    """The learning rate of every parameter in parts of the head's (Clark et al. 2020, arXiv:2003.10555).

    The embeddings count as the lowest layer, and what comes after the layers as one above the highest.
    """
    embeddings, layers = encoder_parts(model)
    depths = dict.fromkeys(embeddings.parameters(), 0)
    for depth, layer in enumerate(layers, start=1):
        depths |= dict.fromkeys(layer.parameters(), depth)
    top = len(layers) + 1
    return {name: layer_decay ** (top - depths.get(parameter, top)) for name, parameter in model.named_parameters()}


def encoder_parts(model: PreTrainedModel) -> tuple[nn.Module, nn.ModuleList]:
    """The embeddings of an encoder, which make tokens or feature maps of pixels, and its layers or stages.

    Raises:
        ValueError: If it is made of other parts.
    """
    embeddings, *others = model.base_model.children()
    lists = (part for child in others for part in child.modules() if isinstance(part, nn.ModuleList))
    layers = next(lists, None)
    if layers is None:
        raise ValueError(
            f"{type(model).__name__} does not have embeddings and then a list of layers, which --layer_decay and "
            "--freeze patch_embeddings or first_n need: leave them out."
        )
    return embeddings, layers
