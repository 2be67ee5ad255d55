"""Reconstruction: the error on the pixels that a masked autoencoder did not see."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .masks import check_masks
from .metric import PerImageMetric, as_array, as_image_pair


__all__ = ["MASK_RATIOS", "ReconstructionMetric", "check_blocks", "imprints_in_flux", "in_flux", "masked_errors"]

# At which networks are compared, whatever they were trained at.
MASK_RATIOS = (0.5, 0.75, 0.9)


class ReconstructionMetric(PerImageMetric):
    """Mean squared error over the masked pixels of each image, averaged over images.

    `predictions` and `references` are images `(batch, bands, height, width)` in one unit, as a rule raw pixels, and
    `masks` `(batch, height, width)` are true where a pixel was hidden. `compute` returns `masked_mse` and
    `mask_ratio`, the fraction of pixels that was hidden; without that ratio the error means nothing. `intervals` has
    `[low, high]` of both.
    """

    columns = ("masked_mse", "mask_ratio")

    def add_batch(self, *, predictions=None, references=None, masks=None) -> None:
        """Adds a batch.

        Args:
            predictions: Images `(batch, bands, height, width)`; only their masked pixels count.
            references: The images that they should be, of the same shape.
            masks: `(batch, height, width)`, true where a pixel was hidden.

        Raises:
            ValueError: If the shapes differ, a pixel is not finite or an image has no masked pixel.
        """
        predictions, references = (images.cpu().numpy() for images in as_image_pair(predictions, references))
        hidden = check_masks(as_array("masks", masks), predictions.shape)
        num_hidden = hidden.sum(axis=(1, 2))
        if not num_hidden.all():
            image = int(np.argmin(num_hidden))
            raise ValueError(f"masks: image {image} of the batch has no masked pixel, so it has no masked error.")
        self._store(
            {
                "masked_mse": masked_errors(predictions, references, hidden),
                "mask_ratio": hidden.mean(axis=(1, 2)),
            }
        )


def masked_errors(predictions: np.ndarray, references: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The mean squared error of each image on its masked pixels.

    Args:
        predictions: Images `(batch, bands, height, width)`.
        references: The images that they should be, of the same shape.
        masks: `(batch, height, width)`, true where a pixel was hidden: one in every image at least.

    Returns:
        Float64 array `(batch,)`.
    """
    squares = ((predictions.astype(np.float64) - references) ** 2).mean(axis=1)
    return squares.sum(axis=(1, 2), where=masks) / masks.sum(axis=(1, 2))


def check_blocks(config: Any, size: Sequence[int]) -> None:
    """Refuses images of which no block would be hidden.

    Args:
        config: That of the masked autoencoder.
        size: Height and width of the images.

    Raises:
        ValueError: If they are too small.
    """
    num_blocks = math.prod(-(-side // config.mask_block_size) for side in size)
    if num_blocks - max(int(num_blocks * (1 - config.mask_ratio)), 1) < 1:
        raise ValueError(
            f"Images of {size[0]}x{size[1]} pixels have {num_blocks} blocks of {config.mask_block_size} pixels: a "
            f"mask ratio of {config.mask_ratio:g} hides none. Give larger images, or smaller blocks, "
            "as of the configuration's mask_unit_size=1."
        )


def in_flux(
    model: Any, pixel_values: torch.Tensor, outputs: Any, image_processor: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a masked autoencoder saw, what was hidden from it and what it painted, in flux.

    Args:
        model: A `LensMAEForPreTraining`.
        pixel_values: Its inputs, `(batch, bands, height, width)`.
        outputs: What it made of them.
        image_processor: Its image processor.

    Returns:
        Images `(batch, bands, height, width)`, masks `(batch, height, width)`, true where a pixel was hidden, and the
        images with what was hidden painted.
    """
    patch_mask = outputs.mask[..., None].expand(-1, -1, model.config.patch_size**2 * model.config.num_channels)
    height, width = pixel_values.shape[2:]
    masks = model.unpatchify(patch_mask, (height, width))[:, 0].bool()
    flux = image_processor.post_process_reconstruction
    painted = model.reconstruct(pixel_values, outputs)
    return flux(pixel_values.cpu()).numpy(), masks.cpu().numpy(), flux(painted.cpu()).numpy()


def imprints_in_flux(
    model: Any, imprint: torch.Tensor, outputs: Any, image_processor: Any
) -> tuple[np.ndarray, np.ndarray]:
    """What substructure changes in images, as a masked autoencoder says it and as it is, in flux.

    Args:
        model: A `LensMAEForPreTraining` that predicts the imprint.
        imprint: The imprints, as the image processor scales them, `(batch, bands, height, width)`.
        outputs: What the model made of the images; of hidden patches it says nothing.
        image_processor: Its image processor.

    Returns:
        The predicted imprints `(batch, bands, height, width)` and the true ones.
    """
    flux = image_processor.post_process_reconstruction
    predicted = model.unpatchify(outputs.imprint_logits, tuple(imprint.shape[2:]))
    return flux(predicted.cpu()).numpy(), flux(imprint.cpu()).numpy()
