"""Super-resolution: how close a sharpened image is to the high-resolution one, and whether its flux is kept."""

import warnings
from typing import Any

import numpy as np
import torch

from .image_quality import compare_images
from .metric import PerImageMetric, as_image_pair


__all__ = ["SuperResolutionMetric", "unit_range"]

_AVERAGED = ("psnr", "ssim", "mse", "mae")
_RING = tuple(f"{name}_ring" for name in _AVERAGED)
# Moments of so many pixels stay in a core's cache; a GPU wants many.
_PIXELS_AT_ONCE_CORE, _PIXELS_AT_ONCE_GPU = 90_000, 16_000_000


class SuperResolutionMetric(PerImageMetric):
    """PSNR, SSIM, MSE and MAE as scikit-image has them, averaged per image, and the flux ratio.

    `predictions` and `references` are images `(batch, bands, height, width)`; those on a GPU are compared there.
    `compute` returns `psnr` in dB, `ssim`, `mse`, `mae`; the same of the pixels in each reference's ring, where the
    arcs are (`image_quality.ring_masks`): `psnr_ring`, `ssim_ring`, `mse_ring`, `mae_ring`; `flux_ratio`, the summed
    flux of all predictions over that of all references; and `intervals`, `[low, high]` of each.

    With a prediction identical to its reference the mean PSNR is infinite, a constant reference has no ring and does
    not count for it, and with references without flux the ratio is NaN or infinite; all of it is warned of.

    Args:
        data_range: Brightness range that PSNR and SSIM refer to. By default it is 1, the range of the official sets,
            and references that are not within [0, 1] are refused.

    Raises:
        ValueError: If that range is none.
    """

    columns = (*_AVERAGED, *_RING, "has_ring", "flux_prediction", "flux_reference")

    def __init__(self, data_range: float | None = None):
        if data_range is not None and not 0 < data_range < float("inf"):
            raise ValueError(f"data_range must be a brightness above 0, got {data_range}.")
        self.data_range = data_range
        super().__init__()

    def add_batch(self, *, predictions=None, references=None) -> None:
        """Adds a batch.

        Args:
            predictions: Images `(batch, bands, height, width)`.
            references: The images that they should be, of the same shape.

        Raises:
            ValueError: If the shapes differ or are too small for SSIM, a pixel is not finite, or no `data_range` is
                given and the references are not within [0, 1].
        """
        predictions, references = as_image_pair(predictions, references)
        data_range = self.data_range or unit_range(references)
        num_pixels = _PIXELS_AT_ONCE_GPU if references.is_cuda else _PIXELS_AT_ONCE_CORE * torch.get_num_threads()
        count = max(1, num_pixels // references[0].numel())
        pairs = zip(predictions.split(count), references.split(count), strict=True)
        parts = [compare_images(*pair, data_range) for pair in pairs]
        quality = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        has_ring = quality["mse_ring"].isfinite()
        numbers = {
            **quality,
            # Zeros, so that what has no ring adds nothing to a mean.
            **{name: torch.where(has_ring, quality[name], 0.0) for name in _RING},
            "has_ring": has_ring,
            "flux_prediction": predictions.sum(dim=(1, 2, 3)),
            "flux_reference": references.sum(dim=(1, 2, 3)),
        }
        self._store({name: values.cpu().numpy() for name, values in numbers.items()})

    def _compute(self, **columns: Any) -> dict[str, Any]:
        num_images = len(columns["psnr"])
        num_identical = np.count_nonzero(np.isinf(columns["psnr"]))
        if num_identical:
            warnings.warn(
                f"The mean PSNR is infinite and has no interval: {num_identical} of {num_images} "
                "predictions are identical to their references.",
                stacklevel=4,
            )
        num_identical_ring = np.count_nonzero(np.isinf(columns["psnr_ring"]) & np.isfinite(columns["psnr"]))
        if num_identical_ring:
            warnings.warn(
                f"The mean PSNR in the ring is infinite and has no interval: {num_identical_ring} of {num_images} "
                "predictions are there identical to their references.",
                stacklevel=4,
            )
        num_constant = num_images - np.count_nonzero(columns["has_ring"])
        if num_constant:
            warnings.warn(
                f"{num_constant} of {num_images} references are constant: they have no ring, and do not count for "
                "what is measured in it.",
                stacklevel=4,
            )
        if np.sum(columns["flux_reference"]) == 0:
            warnings.warn("flux_ratio is undefined: the flux of all references sums to zero.", stacklevel=4)
        return super()._compute(**columns)

    def _combine(self, means: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {
            **{name: means[name] for name in _AVERAGED},
            **{name: means[name] / means["has_ring"] for name in _RING},
            "flux_ratio": means["flux_prediction"] / means["flux_reference"],
        }


def unit_range(references: torch.Tensor) -> float:
    """The range of brightness of images that are within [0, 1], which is 1.

    Raises:
        ValueError: If they are not.
    """
    low, high = references.min().item(), references.max().item()
    # What float32 makes of a scaling to [0, 1].
    if low < -1e-6 or high > 1 + 1e-6:
        raise ValueError(
            f"data_range is not known: references reach from {low:.4g} to {high:.4g}, not from 0 to 1. Give the range "
            "of brightness that PSNR and SSIM refer to, the same for all images and networks that are compared."
        )
    return 1.0
