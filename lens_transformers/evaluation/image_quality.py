"""How close images are to others, a batch at once: PSNR, SSIM and errors, of whole images and within their rings."""

import torch
from torch.nn import functional as F


__all__ = ["compare_images", "ring_masks", "structural_similarity"]

# scikit-image's defaults: the side of the square window, and the constants of Wang et al. 2004.
_WINDOW = 7
_K1, _K2 = 0.01, 0.03
_MARGIN = _WINDOW // 2
# Of a ring: the side of the square whose mean counts, and how far up from the sky to the peak a ring begins.
_SMOOTHING = 5
_RING_LEVEL = 0.1


def compare_images(predictions: torch.Tensor, references: torch.Tensor, data_range: float) -> dict[str, torch.Tensor]:
    """Compares images with what they should be, as scikit-image does.

    Args:
        predictions: `(batch, bands, height, width)`, in float64 for scikit-image's digits.
        references: The same shape.
        data_range: Brightness range that PSNR and SSIM refer to.

    Returns:
        `psnr` in dB, `ssim`, `mse` and `mae` of each image, and `psnr_ring`, `ssim_ring`, `mse_ring` and `mae_ring`
        of the pixels in its `ring_masks`, all `(batch,)`. The latter are NaN of an image without a ring.

    Raises:
        ValueError: If the images are smaller than the window of SSIM.
    """
    similarity = structural_similarity(predictions, references, data_range)
    difference = predictions - references
    maps = {"ssim": similarity, "mse": difference**2, "mae": difference.abs()}
    ring = ring_masks(references)
    whole = {name: values.flatten(1).mean(dim=1) for name, values in maps.items()}
    maps["ssim"] = F.pad(similarity, [_MARGIN] * 4)  # of pixels that are in no ring
    within = {f"{name}_ring": _mean_within(values, ring) for name, values in maps.items()}
    return {
        "psnr": 10 * torch.log10(data_range**2 / whole["mse"]),
        **whole,
        "psnr_ring": 10 * torch.log10(data_range**2 / within["mse_ring"]),
        **within,
    }


def structural_similarity(predictions: torch.Tensor, references: torch.Tensor, data_range: float) -> torch.Tensor:
    """The structural similarity around each pixel (Wang et al. 2004, equation 13), over windows of 7 × 7 pixels.

    Args:
        predictions: `(batch, bands, height, width)`.
        references: The same shape.
        data_range: Brightness range of the images.

    Returns:
        `(batch, bands, height - 6, width - 6)`: the pixels whose window lies within the image. Their mean is the SSIM.

    Raises:
        ValueError: If there are no such pixels.
    """
    if min(references.shape[-2:]) < _WINDOW:
        raise ValueError(
            f"Images must be at least {_WINDOW}x{_WINDOW} pixels for SSIM, got {tuple(references.shape[-2:])}."
        )
    # Of sum and difference: four maps have all that is asked for, where x, y and their products would be five.
    plus, minus = predictions + references, predictions - references
    means = _window_means(torch.stack([plus, minus, plus * plus, minus * minus]), _WINDOW)
    mean_plus2, mean_minus2 = means[0] ** 2, means[1] ** 2
    of_sample = _WINDOW**2 / (_WINDOW**2 - 1)
    variance_plus, variance_minus = (means[2] - mean_plus2) * of_sample, (means[3] - mean_minus2) * of_sample
    c1, c2 = 2 * (_K1 * data_range) ** 2, 2 * (_K2 * data_range) ** 2
    luminance = (mean_plus2 - mean_minus2 + c1) / (mean_plus2 + mean_minus2 + c1)
    return luminance * (variance_plus - variance_minus + c2) / (variance_plus + variance_minus + c2)


def ring_masks(images: torch.Tensor) -> torch.Tensor:
    """Where the arcs are: pixels that are brighter than a tenth of the way from the sky to the peak.

    That is decided on the mean of the bands over 5 × 5 pixels, so that noise alone makes no ring; its sky is the
    median of the image and its peak the maximum. Light of the lens that is as bright belongs to the ring as well. The
    three pixels along the border, around which SSIM is not defined, never do.

    Args:
        images: `(batch, bands, height, width)`, the true ones.

    Returns:
        `(batch, height, width)`, true in the ring; of a constant image true nowhere.
    """
    smooth = _window_means(images.mean(dim=1), _SMOOTHING)
    further = _MARGIN - _SMOOTHING // 2
    inside = smooth[:, further:-further, further:-further]
    sky, peak = inside.flatten(1).median(dim=1).values, inside.flatten(1).amax(dim=1)
    level = sky + _RING_LEVEL * (peak - sky)
    return F.pad(inside > level[:, None, None], [_MARGIN] * 4)


def _window_means(values: torch.Tensor, side: int) -> torch.Tensor:
    """Means over the squares that lie within `(..., height, width)`; on a CPU much faster than `F.avg_pool2d`."""
    return _window_sums(_window_sums(values, -1, side), -2, side).div_(side**2)


def _window_sums(values: torch.Tensor, dim: int, side: int) -> torch.Tensor:
    """Sums of `side` neighbours, added up from those of 1, 2, 4, ... neighbours."""
    length = values.shape[dim] - side + 1
    total, start, width = values.new_zeros(()), 0, 1
    while True:
        if side & width:
            total = total + values.narrow(dim, start, length)
            start += width
        if 2 * width > side:
            return total
        rest = values.shape[dim] - width
        values = values.narrow(dim, 0, rest) + values.narrow(dim, width, rest)
        width *= 2


def _mean_within(values: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    return (values.mean(dim=1) * masks).sum(dim=(1, 2)) / masks.sum(dim=(1, 2))
