"""From a configuration and a seed to images."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from tqdm.auto import tqdm

from .config import LensSimulationConfig, SuperResolution
from .detector import expose
from .grid import crop, pixel_grid
from .optics import observe, pixel_response
from .presets import get_preset
from .rendering import render
from .scenes import Scene, draw_normals, draw_scene


__all__ = ["SimulatedLenses", "simulate"]

# A batch whose arrays stay in a core's cache is fastest; a GPU wants many, within its memory.
_POINTS_PER_BATCH_CPU = 180_000
_POINTS_PER_BATCH_GPU = 16_000_000


@dataclass(frozen=True)
class SimulatedLenses:
    """Images with what made them.

    Attributes:
        image: `(images, bands, height, width)` float32; the low-resolution image of a super-resolution pair.
        target: The high-resolution image of a pair, or `None`.
        label: `(images,)` int64: 0 no_sub, 1 cdm, 2 axion; `None` where there are no classes.
        parameters: `(images,)` tensors by name, each name with its unit; NaN where a class has no such thing.
        noise_free: `target` of a pair, otherwise `image`, as it would be without noise, on the same scale.
    """

    image: torch.Tensor
    target: torch.Tensor | None
    label: torch.Tensor | None
    parameters: dict[str, torch.Tensor]
    noise_free: torch.Tensor


def simulate(
    preset_or_config: str | LensSimulationConfig,
    num_images: int,
    seed: int = 0,
    *,
    start: int = 0,
    device: str | torch.device = "cpu",
    batch_size: int | None = None,
    progress: bool = False,
) -> SimulatedLenses:
    """Simulates samples `start` to `start + num_images` of a configuration and seed.

    A sample is the same whatever `start`, `num_images` and `batch_size` are, so disjoint ranges of one seed are
    disjoint splits. Its class is its index modulo 3. On a CPU one thread computes; run several processes on ranges of
    their own for more.

    Args:
        preset_or_config: Name of a preset, or a configuration.
        num_images: Number of images.
        seed: Seed, from 0 to 2**64 - 1.
        start: Index of the first sample.
        device: Where to compute, and where the images are returned. Random numbers are the same on every device.
        batch_size: Images computed at once; it bounds memory and decides speed only. By default it suits the device.
        progress: Whether to show a progress bar.

    Returns:
        The images, labels and parameters.

    Raises:
        ValueError: If there is no such preset, or a number is out of range.
    """
    config = get_preset(preset_or_config) if isinstance(preset_or_config, str) else preset_or_config
    device = torch.device(device)
    _check_range("num_images", num_images, 1)
    _check_range("start", start, 0, 2**64 - num_images)
    _check_range("seed", seed, 0, 2**64)
    if batch_size is None:
        batch_size = _default_batch_size(config, device)
    _check_range("batch_size", batch_size, 1)

    telescope = _Telescope(config, device)
    batches = []
    with (
        torch.no_grad(),
        _one_thread(),
        tqdm(total=num_images, desc=config.name, unit="image", disable=not progress) as bar,
    ):
        for first in range(start, start + num_images, batch_size):
            count = min(batch_size, start + num_images - first)
            batches.append(_simulate_batch(config, telescope, seed, first, count))
            bar.update(count)
    return _join(config, batches, device)


class _Telescope:
    """The grid that scenes are rendered on and the responses that turn them into images."""

    def __init__(self, config: LensSimulationConfig, device: torch.device):
        instrument, pair = config.instrument, config.super_resolution
        self.num_pixels = instrument.num_pixels
        self.x, self.y = pixel_grid(
            instrument.num_pixels * instrument.oversampling,
            instrument.pixel_scale_arcsec / instrument.oversampling,
            device,
        )
        self.response = pixel_response(
            instrument.num_pixels,
            instrument.oversampling,
            instrument.pixel_scale_arcsec,
            instrument.psf_fwhm_arcsec,
            instrument.psf_truncation_sigma,
            device,
        )
        if pair is not None and pair.psf_fwhm_arcsec is not None:
            self.low_response = pixel_response(
                instrument.num_pixels // pair.upscale,
                instrument.oversampling * pair.upscale,
                instrument.pixel_scale_arcsec * pair.upscale,
                pair.psf_fwhm_arcsec,
                instrument.psf_truncation_sigma,
                device,
            )


def _simulate_batch(
    config: LensSimulationConfig, telescope: _Telescope, seed: int, first: int, count: int
) -> tuple[list[Scene], torch.Tensor, torch.Tensor | None, torch.Tensor]:
    scenes = [draw_scene(config, seed, first + row) for row in range(count)]
    surface = render(config, scenes, telescope.x, telescope.y)
    expected = observe(surface, telescope.response)
    peak = expected.amax(dim=1, keepdim=True)
    expected = expected / peak
    pair = config.super_resolution
    if pair is not None and pair.method == "telescope":
        low = _expose(config, observe(surface, telescope.low_response) / peak, scenes, seed, first)
        target = crop(expected, telescope.num_pixels)
        return scenes, crop(low, telescope.num_pixels // pair.upscale), target, target

    image = crop(_expose(config, expected, scenes, seed, first), telescope.num_pixels)
    noise_free = crop(expected, telescope.num_pixels)
    if config.scaling == "min_max":
        low, high = image.amin(dim=(1, 2), keepdim=True), image.amax(dim=(1, 2), keepdim=True)
        image, noise_free = (image - low) / (high - low), (noise_free - low) / (high - low)
    if pair is not None:
        return scenes, _shrink(image, pair), image, noise_free
    return scenes, image, None, noise_free


def _expose(
    config: LensSimulationConfig, expected: torch.Tensor, scenes: list[Scene], seed: int, first: int
) -> torch.Tensor:
    if config.noise is None:
        return expected
    normals = np.empty((len(scenes), 2, expected.shape[1]), dtype=np.float32)
    for row, numbers in enumerate(normals):
        draw_normals(seed, first + row, numbers)
    photons, background = torch.from_numpy(normals).to(expected.device).unbind(1)
    levels = [
        torch.tensor([[scene.parameters[name]] for scene in scenes], dtype=torch.float32, device=expected.device)
        for name in ("peak_counts", "sky_counts", "background_rms")
    ]
    return expose(expected, photons, background, *levels)


def _shrink(image: torch.Tensor, pair: SuperResolution) -> torch.Tensor:
    """The bicubic kernel (a = -0.75) without antialiasing, as the official pairs have it."""
    return torch.nn.functional.interpolate(
        image[:, None], scale_factor=1 / pair.upscale, mode="bicubic", align_corners=False
    )[:, 0]


def _join(config: LensSimulationConfig, batches: list, device: torch.device) -> SimulatedLenses:
    batch_scenes, images, targets, noise_free = zip(*batches, strict=True)
    scenes = [scene for batch in batch_scenes for scene in batch]
    parameters = {
        name: torch.from_numpy(np.array([scene.parameters[name] for scene in scenes])).to(device)
        for name in scenes[0].parameters
    }
    return SimulatedLenses(
        image=torch.cat(images)[:, None],
        target=None if targets[0] is None else torch.cat(targets)[:, None],
        label=torch.tensor([scene.label for scene in scenes], device=device) if config.substructure else None,
        parameters=parameters,
        noise_free=torch.cat(noise_free)[:, None],
    )


def _default_batch_size(config: LensSimulationConfig, device: torch.device) -> int:
    points = (config.instrument.num_pixels * config.instrument.oversampling) ** 2
    return max(1, (_POINTS_PER_BATCH_CPU if device.type == "cpu" else _POINTS_PER_BATCH_GPU) // points)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Threads would cut arrays at places that depend on their number, and with them the rounding."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _check_range(name: str, value: int, low: int, end: int | None = None) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < low or (end is not None and value >= end):
        upper = "" if end is None else f" and below {end}"
        raise ValueError(f"{name} must be a whole number of at least {low}{upper}, got {value!r}.")
