"""Where in an image a classifier finds its answer: attention rollout and gradient-weighted maps.

They take LensMAE and any `AutoModelForImageClassification`: vision transformers by their attention, and these and
convolutional networks by the gradient of a class. A map is a claim about a network, not about the sky:
`lens_transformers.evaluation.pointing` checks it against subhalos whose places are known.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from transformers import PreTrainedModel


__all__ = ["EXPLANATIONS", "attention_rollout", "explain", "explain_by_all", "grad_cam", "gradient_attention"]


def explain(
    model: PreTrainedModel,
    pixel_values: torch.Tensor,
    method: str = "gradient_attention",
    class_ids: Sequence[int] | None = None,
    batch_size: int = 32,
) -> np.ndarray:
    """Maps of what an answer rests on, for any number of images.

    Args:
        model: The network; it is left as it was.
        pixel_values: Images as its image processor gives them, `(batch, bands, height, width)`.
        method: One of `EXPLANATIONS`: `"attention_rollout"`, `"gradient_attention"` or `"grad_cam"`.
        class_ids: The class of each image that is to be explained; by default the one that the network finds.
        batch_size: Images that go through the network at once.

    Returns:
        Float32 maps `(batch, height, width)`, none negative, each with a maximum of one (or zero everywhere, where
        nothing speaks for the class).

    Raises:
        ValueError: If the method is not known, there is not one class an image, or the network has no attention over
            patches that it needs.
    """
    if method not in EXPLANATIONS:
        raise ValueError(f"method must be one of {', '.join(EXPLANATIONS)}, got {method!r}.")
    if class_ids is not None and len(class_ids) != len(pixel_values):
        raise ValueError(f"class_ids must be one class an image: {len(class_ids)} for {len(pixel_values)} images.")
    maps = []
    for first in range(0, len(pixel_values), batch_size):
        batch = slice(first, first + batch_size)
        classes = None if class_ids is None else class_ids[batch]
        maps.append(EXPLANATIONS[method](model, pixel_values[batch], classes))
    return np.concatenate(maps)


def explain_by_all(
    model: PreTrainedModel, image_processor: Any, images: np.ndarray, class_ids: Sequence[int]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Maps by every method that the network has.

    Args:
        model: The network.
        image_processor: Its image processor.
        images: `(batch, bands, height, width)`, in flux.
        class_ids: The class of each image that is to be explained.

    Returns:
        Maps as `explain` gives them, on the pixels of the images whatever size the network sees them in, by the
        method's name in words, and of each other method why there are none.
    """
    pixel_values = image_processor(list(images), return_tensors="pt").pixel_values
    maps, refused = {}, []
    for method in EXPLANATIONS:
        name = method.replace("_", " ")
        try:
            seen = torch.from_numpy(explain(model, pixel_values, method, class_ids))
        except ValueError as error:
            refused.append(f"No {name}: {error}")
            continue
        size = list(images.shape[2:])
        maps[name] = F.interpolate(seen[:, None], size=size, mode="bilinear", align_corners=False)[:, 0].numpy()
    return maps, refused


def attention_rollout(
    model: PreTrainedModel, pixel_values: torch.Tensor, class_ids: Sequence[int] | None = None
) -> np.ndarray:
    """Attention rollout (Abnar and Zuidema 2020, arXiv:2005.00928): attention followed back through all layers.

    Every layer's attention, averaged over heads and with half of the identity for the skip connection, is multiplied
    with that of the layers below. It shows where information could come from, whatever the class is.

    Args:
        model: A network that attends to all patches in every layer, a classifier or an encoder with `pooler_output`.
        pixel_values: Images `(batch, bands, height, width)`.
        class_ids: Not used; here so that all methods are called alike.

    Returns:
        Maps as `explain` describes them.

    Raises:
        ValueError: If the network does not return such attention.
    """
    with _read_out(model, pixel_values) as (outputs, answer):
        attentions = _attentions(model, outputs)
        read = _tokens_read(answer, outputs, attentions)
        identity = torch.eye(attentions[0].shape[-1], device=answer.device)
        flow = identity.expand(len(pixel_values), -1, -1)
        for attention in attentions:
            flow = (0.5 * attention.detach().float().mean(dim=1) + 0.5 * identity) @ flow
        return _to_image(_token_map(flow, read, model, pixel_values), model, pixel_values)


def gradient_attention(
    model: PreTrainedModel, pixel_values: torch.Tensor, class_ids: Sequence[int] | None = None
) -> np.ndarray:
    """Attention weighted by the gradient of a class (Chefer et al. 2021, arXiv:2103.15679, for self-attention).

    Every layer's attention is multiplied with the gradient that the class's logit has with respect to it; what is
    positive is averaged over heads and followed back through the layers.

    Args:
        model: A classifier that attends to all patches in every layer.
        pixel_values: Images `(batch, bands, height, width)`.
        class_ids: The class of each image that is explained; by default the one that the network finds.

    Returns:
        Maps as `explain` describes them.

    Raises:
        ValueError: If the network does not return such attention, or is no classifier.
    """
    with _read_out(model, pixel_values) as (outputs, answer):
        attentions = _attentions(model, outputs)
        read = _tokens_read(answer, outputs, attentions)
        gradients = torch.autograd.grad(_logit_of(outputs, class_ids), attentions)
        identity = torch.eye(attentions[0].shape[-1], device=answer.device)
        relevance = identity.expand(len(pixel_values), -1, -1)
        for attention, gradient in zip(attentions, gradients, strict=True):
            relevance = (
                relevance + (attention.float() * gradient.float()).detach().clamp(min=0).mean(dim=1) @ relevance
            )
        return _to_image(_token_map(relevance - identity, read, model, pixel_values), model, pixel_values)


def grad_cam(model: PreTrainedModel, pixel_values: torch.Tensor, class_ids: Sequence[int] | None = None) -> np.ndarray:
    """Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391): features weighted by the mean gradient of a class.

    The features are the last ones that have a place in the image and that the class depends on: of a transformer whose
    head reads the class token alone, those that its last layer takes in.

    Args:
        model: A classifier, transformer or convolutional.
        pixel_values: Images `(batch, bands, height, width)`.
        class_ids: The class of each image that is explained; by default the one that the network finds.

    Returns:
        Maps as `explain` describes them.

    Raises:
        ValueError: If the network is no classifier, or returns no features with a place.
    """
    with _read_out(model, pixel_values) as (outputs, _):
        logit = _logit_of(outputs, class_ids)
        found = None
        for features in reversed(outputs.hidden_states or ()):
            (gradient,) = torch.autograd.grad(logit, features, retain_graph=True, allow_unused=True)
            if gradient is None:
                continue
            if features.ndim == 4:
                weighted = features.detach() * gradient.mean(dim=(2, 3), keepdim=True)
                return _to_image(weighted.sum(dim=1).clamp(min=0), None, pixel_values)
            gradient = _patches(gradient, model, pixel_values)
            weighted = _patches(features.detach(), model, pixel_values) * gradient.mean(dim=(1, 2), keepdim=True)
            found = weighted.sum(dim=-1).clamp(min=0)
            if gradient.any():
                break
        # Of a classifier that has learned nothing yet no place speaks for the class: the map is zero.
        if found is not None:
            return _to_image(found, model, pixel_values)
    raise ValueError(f"{type(model).__name__} returns no hidden states that its logits depend on, place by place.")


EXPLANATIONS: dict[str, Callable[..., np.ndarray]] = {
    "attention_rollout": attention_rollout,
    "gradient_attention": gradient_attention,
    "grad_cam": grad_cam,
}


@contextmanager
def _read_out(model: PreTrainedModel, pixel_values: torch.Tensor) -> Iterator[tuple[Any, torch.Tensor]]:
    """Outputs with attention, hidden states and a graph behind them, and what the network answers."""
    modes = [(module, module.training) for module in model.modules()]
    implementation = model.config._attn_implementation
    try:
        model.eval()
        if implementation not in (None, "eager"):
            model.set_attn_implementation("eager")  # the only one that gives its weights
        with torch.enable_grad():
            # The graph starts at the pixels, in case all of the weights are frozen.
            images = pixel_values.to(model.device, model.dtype).detach().requires_grad_()
            outputs = model(images, output_hidden_states=True, **_attention_flag(model))
            yield outputs, outputs.logits if "logits" in outputs else outputs.pooler_output
    finally:
        for module, mode in modes:
            module.training = mode
        if implementation not in (None, "eager"):
            model.set_attn_implementation(implementation)


def _attention_flag(model: PreTrainedModel) -> dict[str, bool]:
    # Convolutional networks do not know the argument.
    return {"output_attentions": True} if hasattr(model.config, "num_attention_heads") else {}


def _attentions(model: PreTrainedModel, outputs: Any) -> tuple[torch.Tensor, ...]:
    """Attention of every layer `(batch, heads, tokens, tokens)`."""
    attentions: tuple[torch.Tensor, ...] = tuple(outputs.get("attentions") or ())
    shapes = {attention.shape for attention in attentions}
    # Attention within windows has as many rows as there are windows in the batch.
    is_global = len(shapes) == 1 and len(attentions[0]) == len(outputs.hidden_states[0])
    if not is_global or attentions[0].shape[-1] != attentions[0].shape[-2]:
        raise ValueError(
            f"{type(model).__name__} does not attend to all patches in every layer, so there is no attention to "
            "follow; use 'grad_cam'."
        )
    return attentions


def _logit_of(outputs: Any, class_ids: Sequence[int] | None) -> torch.Tensor:
    """The logits to explain, summed over the batch: each depends on its own image alone."""
    if "logits" not in outputs:
        raise ValueError("A class can be explained of a classifier only; this network has no logits.")
    logits = outputs.logits
    if class_ids is not None and not all(0 <= class_id < logits.shape[-1] for class_id in class_ids):
        raise ValueError(f"class_ids must be those of {logits.shape[-1]} classes, from 0, got {list(class_ids)}.")
    classes = logits.argmax(dim=-1) if class_ids is None else torch.as_tensor(class_ids, device=logits.device)
    return logits.gather(1, classes[:, None]).sum()


def _tokens_read(answer: torch.Tensor, outputs: Any, attentions: Sequence[torch.Tensor]) -> torch.Tensor:
    """Which tokens of the last layer the answer depends on, `(tokens,)`: the class token, or all that are pooled."""
    features = outputs.hidden_states[-1]
    (gradient,) = torch.autograd.grad(answer.sum(), features, retain_graph=True, allow_unused=True)
    if gradient is None or features.shape[1] != attentions[0].shape[-1]:
        raise ValueError("The answer does not depend on the last hidden states, so it cannot be followed back.")
    return (gradient.abs().sum(dim=(0, 2)) > 0).float()


def _token_map(
    relevance: torch.Tensor, read: torch.Tensor, model: PreTrainedModel, pixel_values: torch.Tensor
) -> torch.Tensor:
    """What the tokens that are read take from every patch: `(batch, tokens, tokens)` → `(batch, rows, columns)`."""
    # A classifier that has learned nothing yet reads no token at all.
    taken = (relevance * read[None, :, None]).sum(dim=1) / read.sum().clamp(min=1)
    return _patches(taken, model, pixel_values)


def _patches(tokens: torch.Tensor, model: PreTrainedModel, pixel_values: torch.Tensor) -> torch.Tensor:
    """Tokens `(batch, tokens, ...)` in their places `(batch, rows, columns, ...)`, without class tokens."""
    rows, columns, _ = _cells(tokens.shape[1], model, pixel_values)
    return tokens[:, tokens.shape[1] - rows * columns :].unflatten(1, (rows, columns))


def _cells(num_tokens: int, model: PreTrainedModel, pixel_values: torch.Tensor) -> tuple[int, int, list[int]]:
    """Rows and columns of so many tokens of an image, or of its places among them, and a token's height and width."""
    patch_size = getattr(model.config, "patch_size", None)
    if patch_size is None:
        raise ValueError(f"{type(model).__name__} has no patch_size, so its tokens have no known place.")
    sides = [patch_size, patch_size] if isinstance(patch_size, int) else list(patch_size)
    while True:
        # A partial patch at the edge counts.
        rows, columns = (-(-length // side) for length, side in zip(pixel_values.shape[2:], sides, strict=True))
        if rows * columns <= num_tokens:
            return rows, columns, sides
        sides = [2 * side for side in sides]  # hierarchical networks merge patches, two by two


def _to_image(maps: torch.Tensor, model: PreTrainedModel | None, pixel_values: torch.Tensor) -> np.ndarray:
    """Maps `(batch, rows, columns)` on the pixels of the images, each with a maximum of one.

    Those of the tokens of a model are of whole patches, the last of which may reach beyond the image.
    """
    height, width = reach = list(pixel_values.shape[2:])
    if model is not None:
        rows, columns, sides = _cells(maps[0].numel(), model, pixel_values)
        reach = [rows * sides[0], columns * sides[1]]
    resized = F.interpolate(maps[:, None].float().cpu(), size=reach, mode="bilinear", align_corners=False)
    resized = resized[:, 0, :height, :width]
    peak = resized.amax(dim=(1, 2), keepdim=True)
    return (resized / torch.where(peak > 0, peak, torch.ones_like(peak))).numpy()
