"""Super-resolution: how close a sharpened image is to the high-resolution one, and whether its flux is kept."""

import warnings
from typing import Any

import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from .metric import PerImageMetric, as_image_pair


__all__ = ["SuperResolutionMetric"]


class SuperResolutionMetric(PerImageMetric):
    """PSNR and SSIM by scikit-image, MSE and MAE, each averaged per image, and the flux ratio.

    `predictions` and `references` are images `(batch, bands, height, width)`. `compute` returns `psnr` in dB, `ssim`,
    `mse`, `mae`, and `flux_ratio`, the summed flux of all predictions over that of all references; and `intervals`,
    `[low, high]` of each. With a prediction identical to its reference the mean PSNR is infinite, and with references
    without flux the ratio is NaN or infinite; both are warned of.

    Args:
        data_range: Brightness range that PSNR and SSIM refer to. It is 1 for the official sets, which are scaled to
            [0, 1].
    """

    columns = ("psnr", "ssim", "mse", "mae", "flux_prediction", "flux_reference")

    def __init__(self, data_range: float = 1.0):
        if not data_range > 0:
            raise ValueError(f"data_range must be positive, got {data_range}.")
        self.data_range = data_range
        super().__init__()

    def add_batch(self, *, predictions=None, references=None) -> None:
        """Adds a batch.

        Args:
            predictions: Images `(batch, bands, height, width)`.
            references: The images that they should be, of the same shape.

        Raises:
            ValueError: If the shapes differ or a pixel is not finite.
        """
        predictions, references = as_image_pair(predictions, references)
        difference = predictions - references
        pairs = list(zip(references, predictions, strict=True))
        self._store(
            {
                "psnr": [self._psnr(*pair) for pair in pairs],
                "ssim": [structural_similarity(*pair, data_range=self.data_range, channel_axis=0) for pair in pairs],
                "mse": (difference**2).mean(axis=(1, 2, 3)),
                "mae": np.abs(difference).mean(axis=(1, 2, 3)),
                "flux_prediction": predictions.sum(axis=(1, 2, 3)),
                "flux_reference": references.sum(axis=(1, 2, 3)),
            }
        )

    def _psnr(self, reference: np.ndarray, prediction: np.ndarray) -> float:
        with np.errstate(divide="ignore"):  # identical images have an infinite PSNR
            return peak_signal_noise_ratio(reference, prediction, data_range=self.data_range)

    def _compute(self, **columns: Any) -> dict[str, Any]:
        num_identical = np.count_nonzero(np.isinf(columns["psnr"]))
        if num_identical:
            warnings.warn(
                f"The mean PSNR is infinite and has no interval: {num_identical} of {len(columns['psnr'])} "
                "predictions are identical to their references.",
                stacklevel=4,
            )
        if np.sum(columns["flux_reference"]) == 0:
            warnings.warn("flux_ratio is undefined: the flux of all references sums to zero.", stacklevel=4)
        return super()._compute(**columns)

    def _combine(self, means: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        kept = {name: means[name] for name in ("psnr", "ssim", "mse", "mae")}
        return {**kept, "flux_ratio": means["flux_prediction"] / means["flux_reference"]}
