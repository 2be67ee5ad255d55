"""The eight symmetries of a square: the sky has no up and down, so a network's answer can be averaged over them."""

from collections.abc import Callable

import torch


__all__ = ["NUM_SYMMETRIES", "average_over_symmetries", "turn", "turn_back"]

NUM_SYMMETRIES = 8


def average_over_symmetries(
    network: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, *, gives_images: bool
) -> torch.Tensor:
    """Averages what a network makes of the eight flips and quarter turns of images.

    The average is the same whichever way an image comes. Of a classifier's logits it is test-time augmentation, of a
    super-resolution network's images the self-ensemble of Timofte et al. 2016 (arXiv:1511.02228).

    Args:
        network: Takes images and gives one tensor: of images, which turn with the ones that go in, or of vectors,
            such as logits, which do not.
        images: `(batch, bands, height, width)`, in flux or as an image processor gives them.
        gives_images: Whether what the network gives are images; they are turned back before they are averaged.

    Returns:
        The average, of the shape that the network gives.
    """
    outputs = [network(turn(images, symmetry)) for symmetry in range(NUM_SYMMETRIES)]
    if gives_images:
        outputs = [turn_back(output, symmetry) for symmetry, output in enumerate(outputs)]
    return torch.stack(outputs).mean(dim=0)


def turn(images: torch.Tensor, symmetry: int) -> torch.Tensor:
    """Turns images `(..., height, width)` by `symmetry % 4` quarter turns; from 4 on, flips them left to right first.

    Raises:
        ValueError: If `symmetry` is not a number from 0, which changes nothing, to 7.
    """
    if not 0 <= symmetry < NUM_SYMMETRIES:
        raise ValueError(f"symmetry must be a number from 0 to {NUM_SYMMETRIES - 1}, got {symmetry}.")
    flipped = images.flip(-1) if symmetry >= 4 else images
    return torch.rot90(flipped, symmetry % 4, (-2, -1))


def turn_back(images: torch.Tensor, symmetry: int) -> torch.Tensor:
    """Undoes `turn`."""
    # A turn after a flip undoes itself; a turn alone is undone by as many the other way.
    return turn(images, symmetry if symmetry >= 4 else -symmetry % 4)
