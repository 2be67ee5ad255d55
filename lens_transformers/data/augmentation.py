"""Symmetries of the sky under which a lens keeps its class."""

from typing import Literal, get_args

import numpy as np
import torch


__all__ = ["Augmentation", "augment", "check_augmentation"]

Augmentation = Literal["none", "half_turn", "dihedral"]


def check_augmentation(augmentation: str) -> None:
    """Raises ValueError if `augmentation` is not known."""
    if augmentation not in get_args(Augmentation):
        raise ValueError(f"augmentation must be one of {', '.join(get_args(Augmentation))}, got {augmentation!r}.")


def augment(images: list[np.ndarray], augmentation: Augmentation) -> list[np.ndarray]:
    """Applies one random symmetry, drawn from torch's global generator, to all images of one row alike.

    `"dihedral"` draws from the eight flips and quarter turns. `"half_turn"` draws from the two that keep every
    ellipticity and shear: where these are the same in all images, as in DeepLense's Models I to III, a flip or a
    quarter turn shows the network lenses that its test set does not have.

    Args:
        images: Arrays `(bands, height, width)` of one row, as a low- and a high-resolution image.
        augmentation: The group of symmetries.

    Returns:
        The images, each turned or flipped in the same way.

    Raises:
        ValueError: If `"dihedral"` meets an image that is not square.
    """
    if augmentation == "none":
        return images
    if augmentation == "half_turn":
        quarter_turns, flip = 2 * _draw(2), False
    else:
        quarter_turns, flip = _draw(4), bool(_draw(2))
        for image in images:
            if image.shape[-2] != image.shape[-1]:
                raise ValueError(f"augmentation 'dihedral' turns square images only, got shape {image.shape}.")
    return [_transformed(image, quarter_turns, flip) for image in images]


def _draw(choices: int) -> int:
    return int(torch.randint(choices, ()))


def _transformed(image: np.ndarray, quarter_turns: int, flip: bool) -> np.ndarray:
    turned = np.rot90(image, quarter_turns, axes=(-2, -1))
    return np.ascontiguousarray(turned[..., ::-1] if flip else turned)
