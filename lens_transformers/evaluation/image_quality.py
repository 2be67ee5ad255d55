"""How close images are to others, a batch at once: PSNR, SSIM and errors, of whole images and within their rings."""

import numpy as np
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
# Of the median of an image: every how many pixels are looked at first, and how many of those are within its bounds.
_SAMPLED, _BOUNDS = 16, 120


@torch.no_grad()
def compare_images(predictions: torch.Tensor, references: torch.Tensor, data_range: float) -> dict[str, torch.Tensor]:
    """Compares images with what they should be, as scikit-image does.

    Args:
        predictions: `(batch, bands, height, width)`. In float32 SSIM is right to 1e-6, as scikit-image's is, unless
            pixels are many times `data_range`: take a high sky away first, or give float64.
        references: The same shape and type.
        data_range: Brightness range that PSNR and SSIM refer to.

    Returns:
        `psnr` in dB, `ssim`, `mse` and `mae` of each image, and `psnr_ring`, `ssim_ring`, `mse_ring` and `mae_ring`
        of the pixels in its `ring_masks`, all `(batch,)`. The latter are NaN of an image without a ring.

    Raises:
        ValueError: If the images are smaller than the window of SSIM.
    """
    # Over the range, whose squares would be lost where images are in small or in large units.
    difference = (predictions - references).div_(data_range)
    maps = {
        "ssim": structural_similarity(predictions, references, data_range),
        "mse": difference.square(),
        "mae": difference.abs(),
    }
    whole = {name: values.mean(dim=(1, 2, 3)) for name, values in maps.items()}
    # No pixel without SSIM is in a ring.
    inside = (..., slice(_MARGIN, -_MARGIN), slice(_MARGIN, -_MARGIN))
    ring = ring_masks(references)[inside].to(references.dtype).unsqueeze(1)
    num_in_ring = ring.sum(dim=(1, 2, 3)) * references.shape[1]
    maps = {"ssim": maps["ssim"], "mse": maps["mse"][inside], "mae": maps["mae"][inside]}
    within = {f"{name}_ring": (values * ring).sum(dim=(1, 2, 3)) / num_in_ring for name, values in maps.items()}
    quality = {
        "psnr": -10 * torch.log10(whole["mse"]),
        **whole,
        "psnr_ring": -10 * torch.log10(within["mse_ring"]),
        **within,
    }
    units = {"mse": data_range**2, "mae": data_range, "mse_ring": data_range**2, "mae_ring": data_range}
    return {**quality, **{name: quality[name].double() * unit for name, unit in units.items()}}


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
    # Of sum and difference: four maps have all that is asked for, where x, y and their products would be five. All in
    # one piece of memory: in several, the system would take them back and give them anew at every call, which takes
    # longer than the sums.
    memory = predictions.new_empty(3, 4, *predictions.shape)
    maps, scratch = memory[0], memory[1:]
    torch.add(predictions, references, out=maps[0])
    torch.sub(predictions, references, out=maps[1])
    maps[:2].div_(data_range)
    torch.square(maps[:2], out=maps[2:])
    means = _window_means_(maps, _WINDOW, scratch)
    squares = means[:2].square_()
    variances = means[2:].sub_(squares).mul_(_WINDOW**2 / (_WINDOW**2 - 1))  # of a sample
    c1, c2 = 2 * _K1**2, 2 * _K2**2
    similarity = (squares[0] - squares[1]).add_(c1).mul_((variances[0] - variances[1]).add_(c2))
    return similarity.div_(squares[0].add_(squares[1]).add_(c1).mul_(variances[0].add_(variances[1]).add_(c2)))


@torch.no_grad()
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
    smooth = images.to(torch.promote_types(images.dtype, torch.float32)).mean(dim=1)  # NumPy has no bfloat16
    smooth = _window_means_(smooth, _SMOOTHING, scratch=smooth.new_empty(2, *smooth.shape))
    further = _MARGIN - _SMOOTHING // 2
    inside = smooth[:, further:-further, further:-further]
    sky, peak = _medians(inside.flatten(1)), inside.flatten(1).amax(dim=1)
    level = sky + _RING_LEVEL * (peak - sky)
    return F.pad(inside > level[:, None, None], [_MARGIN] * 4)


def _window_means_(values: torch.Tensor, side: int, scratch: torch.Tensor) -> torch.Tensor:
    """Means over squares that lie within `(..., height, width)`, in place; on a CPU much faster than `F.avg_pool2d`.

    `scratch`, `(2, ..., height, width)`, is written over on the way. A side is 5 or 7.
    """
    for dim in (-2, -1):
        values = _window_sums_(values, dim, side, scratch)
    return values.div_(side**2)


def _window_sums_(values: torch.Tensor, dim: int, side: int, scratch: torch.Tensor) -> torch.Tensor:
    """Sums of `side` neighbours, added up from those of 1, 2 and 4 neighbours."""
    length = values.shape[dim] - side + 1
    total, neighbours = values.narrow(dim, 0, length), values
    start = width = 1
    for memory in scratch:
        rest = neighbours.shape[dim] - width
        pair = [neighbours.narrow(dim, first, rest) for first in (0, width)]
        neighbours = torch.add(*pair, out=memory[..., : pair[0].shape[-2], : pair[0].shape[-1]])
        width *= 2
        if side & width:
            total.add_(neighbours.narrow(dim, start, length))
            start += width
    return total


def _medians(values: torch.Tensor) -> torch.Tensor:
    """The lower median of each row, as `torch.median` has it, several times as fast on a CPU."""
    if values.is_cuda:
        return values.median(dim=1).values
    return values.new_tensor(np.array([_median(row) for row in values.numpy()]))


def _median(values: np.ndarray) -> np.floating:
    rank = (len(values) - 1) // 2
    sample = np.sort(values[::_SAMPLED])
    low, high = np.clip([len(sample) // 2 - _BOUNDS // 2, len(sample) // 2 + _BOUNDS // 2], 0, len(sample) - 1)
    is_less = values < sample[low]
    # What lies between two pixels near the sample's median is little, and nearly always has the median in it.
    between = values[~is_less & (values <= sample[high])]
    rank_between = rank - np.count_nonzero(is_less)
    if 0 <= rank_between < len(between):
        return np.partition(between, rank_between)[rank_between]
    return np.partition(values, rank)[rank]
