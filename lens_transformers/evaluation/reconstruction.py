"""Reconstruction: the error on the pixels that a masked autoencoder did not see."""

import numpy as np

from .masks import check_masks
from .metric import PerImageMetric, as_array, as_image_pair


__all__ = ["ReconstructionMetric"]


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
        predictions, references = as_image_pair(predictions, references)
        hidden = check_masks(as_array("masks", masks), predictions.shape)
        num_hidden = hidden.sum(axis=(1, 2))
        if not num_hidden.all():
            image = int(np.argmin(num_hidden))
            raise ValueError(f"masks: image {image} of the batch has no masked pixel, so it has no masked error.")
        squares = ((predictions - references) ** 2).mean(axis=1)
        self._store(
            {
                "masked_mse": squares.sum(axis=(1, 2), where=hidden) / num_hidden,
                "mask_ratio": hidden.mean(axis=(1, 2)),
            }
        )
