"""From a configuration and a seed to images."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from tqdm.auto import tqdm

from .checks import whole_number
from .config import LensSimulationConfig, SuperResolution
from .detector import detect, expose
from .distributions import support
from .grid import crop, pixel_axis, pixel_grid
from .instruments import Detector
from .light import load_source_images
from .optics import Optics, observe
from .presets import get_preset
from .rendering import compiled, render
from .scenes import NO_SUB, Scene, draw_normals, draw_scene, without_substructure


__all__ = ["SimulatedLenses", "simulate"]

# A batch whose arrays stay in a core's cache is fastest, and compiled loops have fewer; a GPU wants many, within its
# memory.
_POINTS_PER_BATCH_CPU, _POINTS_PER_BATCH_COMPILED = 360_000, 1_000_000
_POINTS_PER_BATCH_GPU = 16_000_000
# Just below the largest that glibc learns from (mallopt(3), M_MMAP_THRESHOLD).
_KEPT_BYTES = 2 * (31 << 20)


@dataclass(frozen=True)
class SimulatedLenses:
    """Images with what made them.

    Attributes:
        image: `(images, bands, height, width)` float32; the low-resolution image of a super-resolution pair.
        target: The high-resolution image of a pair, or `None`.
        label: `(images,)` int64: 0 no_sub, 1 cdm, 2 axion; `None` where there are no classes.
        parameters: `(images,)` tensors by name, each name with its unit; NaN where a class has no such thing.
        noise_free: `target` of a pair, otherwise `image`, as it would be without noise, on the same scale.
        imprint: What the substructure changes in `noise_free`: that less the image of the same scene with a smooth
            lens as heavy as `einstein_radius_arcsec` says, on the same scale; `None` unless asked for.
    """

    image: torch.Tensor
    target: torch.Tensor | None
    label: torch.Tensor | None
    parameters: dict[str, torch.Tensor]
    noise_free: torch.Tensor
    imprint: torch.Tensor | None = None


def simulate(
    preset_or_config: str | LensSimulationConfig,
    num_images: int,
    seed: int = 0,
    *,
    start: int = 0,
    device: str | torch.device = "cpu",
    batch_size: int | None = None,
    compile: bool = False,
    progress: bool = False,
    imprint: bool = False,
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
        compile: Whether to compile the inner loops with `torch.compile`, which needs a C++ compiler and half a minute
            once a process, and changes values by their rounding: of noisy pixels one in ten thousand by a photon.
        progress: Whether to show a progress bar.
        imprint: Whether to simulate the imprint of the substructure as well, which takes two thirds longer.

    Returns:
        The images, labels and parameters.

    Raises:
        FileNotFoundError: If the configuration names a file that does not exist.
        ValueError: If there is no such preset, a number is out of range, or such a file does not hold what it must.
    """
    config = get_preset(preset_or_config) if isinstance(preset_or_config, str) else preset_or_config
    device = torch.device(device)
    num_images = whole_number("num_images", num_images, 1)
    start = whole_number("start", start, 0, 2**64 - num_images)
    seed = whole_number("seed", seed, 0, 2**64)
    if batch_size is None:
        batch_size = _default_batch_size(config, device, compile)
    batch_size = whole_number("batch_size", batch_size, 1)
    if imprint and not config.has_imprint:
        raise ValueError(f"{config.name} has no imprint: that takes single images with classes of substructure.")

    _keep_freed_memory()
    telescope = _Telescope(config, device)
    scenes: list[Scene] = []
    images: dict[str, torch.Tensor] = {}
    with (
        torch.no_grad(),
        _one_thread(),
        tqdm(total=num_images, desc=config.name, unit="image", disable=not progress) as bar,
    ):
        for first in range(start, start + num_images, batch_size):
            count = min(batch_size, start + num_images - first)
            batch_scenes, batch_images = _simulate_batch(config, telescope, seed, first, count, compile, imprint)
            for name, part in batch_images.items():
                if name not in images:
                    images[name] = part.new_empty(num_images, *part.shape[1:])
                # Copied while they are in the cache: batches kept and joined at the end would cost a fifth more.
                images[name][len(scenes) : len(scenes) + count] = part
            scenes += batch_scenes
            bar.update(count)
    return SimulatedLenses(
        image=images["image"],
        target=images.get("target"),
        label=torch.tensor([scene.label for scene in scenes], device=device) if config.substructure else None,
        parameters={
            name: torch.from_numpy(np.array([scene.parameters[name] for scene in scenes])).to(device)
            for name in scenes[0].parameters
        },
        noise_free=images["noise_free"],
        imprint=images.get("imprint"),
    )


class _Telescope:
    """The grid that scenes are rendered on, the optics that turn them into images, and the images of sources."""

    def __init__(self, config: LensSimulationConfig, device: torch.device):
        instrument, images = config.instrument, config.source_images
        self.num_pixels = instrument.num_pixels
        fine = instrument.num_pixels * instrument.oversampling, instrument.pixel_scale_arcsec / instrument.oversampling
        self.x, self.y = pixel_grid(*fine, device)
        self.axis = pixel_axis(*fine).to(self.x)
        self.optics = Optics.of(instrument, device)
        if (coarse := config.coarse_instrument) is not None:
            self.low_optics = Optics.of(coarse, device)
        self.source_images = None
        if images is not None:
            loaded = load_source_images(images.path, config.bands, images.subtract_corner)
            self.source_images = torch.from_numpy(loaded).to(device)

    def render(self, config: LensSimulationConfig, scenes: list[Scene], compile: bool) -> torch.Tensor:
        """Surface brightness in rows of images times bands."""
        rendered = render(
            config, scenes, self.x, self.y, axis=self.axis, source_images=self.source_images, compile=compile
        )
        return rendered.flatten(0, 1)


def _simulate_batch(
    config: LensSimulationConfig,
    telescope: _Telescope,
    seed: int,
    first: int,
    count: int,
    compile: bool,
    imprint: bool,
) -> tuple[list[Scene], dict[str, torch.Tensor]]:
    """Scenes, and `image`, `noise_free` and, of pairs, `target`, each `(batch, bands, height, width)`."""
    scenes = [draw_scene(config, seed, first + row) for row in range(count)]
    surface = telescope.render(config, scenes, compile)
    expected = observe(surface, telescope.optics)
    smooth = None
    if imprint:
        smooth = expected.clone()
        changed = [row for row, scene in enumerate(scenes) if scene.label != NO_SUB]
        if changed:
            twins = telescope.render(config, [without_substructure(scenes[row]) for row in changed], compile)
            rows = smooth.unflatten(0, (count, config.bands))
            rows[changed] = observe(twins, telescope.optics).unflatten(0, (len(changed), config.bands))
    pair = config.super_resolution
    noise = _Noise(config, scenes, seed, first, compile)
    if config.detector is not None:
        area = config.instrument.pixel_scale_arcsec**2
        pixels = noise.detected(expected * area, config.detector)
        image, noise_free = (_images(rows, config.bands, telescope.num_pixels) for rows in pixels)
        if smooth is not None:
            smooth = noise.detected(smooth * area, replace(config.detector, noise="none"))[1]
    else:
        peak = expected.unflatten(0, (count, config.bands)).amax(dim=(1, 2)).repeat_interleave(config.bands)[:, None]
        _check_light(peak.flatten()[:: config.bands] > 0, first, seed)
        expected /= peak
        noise_free = _images(expected, config.bands, telescope.num_pixels)
        if pair is not None and pair.method == "telescope":
            low = noise.exposed(observe(surface, telescope.low_optics) / peak)
            image = _images(low, config.bands, telescope.num_pixels // pair.upscale)
            return scenes, {"image": image, "target": noise_free, "noise_free": noise_free}
        image = _images(noise.exposed(expected), config.bands, telescope.num_pixels)
        if smooth is not None:
            smooth = smooth / peak
    images = {"image": image, "noise_free": noise_free}
    if smooth is not None:
        images["smooth"] = _images(smooth, config.bands, telescope.num_pixels)
    images = compiled(_scaled, compile)(config, **images)
    # A sum is finite where all are, and seen once; each pixel's own answer would be a twelfth of all the time.
    _check_light(images["image"].flatten(1).sum(dim=1).isfinite(), first, seed)
    if smooth is not None:
        images["imprint"] = images["noise_free"] - images.pop("smooth")
    if pair is not None:
        image = images["image"]
        images |= {"image": _shrink(image, pair), "target": image}
    return scenes, images


def _check_light(is_lit: torch.Tensor, first: int, seed: int) -> None:
    """Refuses samples without light, from `first` on, of which `is_lit` says whether each has some."""
    dark = (~is_lit).nonzero().flatten().tolist()
    if dark:
        raise ValueError(
            f"Sample {first + dark[0]} of seed {seed} has no light in the field to divide by: its source lies too far "
            "outside, or is too small. Bring `source.position` nearer to the lens."
        )


class _Noise:
    """The noise of a batch, drawn sample by sample."""

    def __init__(self, config: LensSimulationConfig, scenes: list[Scene], seed: int, first: int, compile: bool):
        self._config, self._scenes, self._seed, self._first, self._compile = config, scenes, seed, first, compile

    def exposed(self, expected: torch.Tensor) -> torch.Tensor:
        """Adds the noise that is relative to the image; rows are images times bands."""
        noise = self._config.noise
        if noise is None:
            return expected
        # Both are drawn in one piece: a background, however faint, changes the photons' numbers too.
        draws = 1 if support(noise.background_rms) == (0.0, 0.0) else 2
        normals = self._normals(draws, expected)
        background = normals[1] if draws == 2 else torch.zeros((), device=expected.device)
        peak, sky, rms = (self._column(name, expected) for name in ("peak_counts", "sky_counts", "background_rms"))
        return compiled(expose, self._compile)(expected, normals[0], background, peak, sky, rms)

    def detected(self, rate: torch.Tensor, detector: Detector) -> tuple[torch.Tensor, torch.Tensor]:
        """What the detector makes of electrons per second, with and without noise."""
        draws = {"none": 0, "real": 2, "poisson_twice": 3}[detector.noise]
        return compiled(detect, self._compile)(
            rate,
            self._column("exposure_time_s", rate),
            self._normals(draws, rate) if draws else None,
            detector,
            detector.sky_rate(self._config.instrument.pixel_scale_arcsec),
        )

    def _normals(self, draws: int, like: torch.Tensor) -> torch.Tensor:
        normals = np.empty((len(self._scenes), draws, self._config.bands, like.shape[1]), dtype=np.float32)
        for row, numbers in enumerate(normals):
            draw_normals(self._seed, self._first + row, numbers)
        return torch.from_numpy(normals).to(like.device).transpose(0, 1).flatten(1, 2)

    def _column(self, name: str, like: torch.Tensor) -> torch.Tensor:
        values = torch.tensor([scene.parameters[name] for scene in self._scenes], dtype=like.dtype)
        return values.repeat_interleave(self._config.bands)[:, None].to(like.device)


def _images(rows: torch.Tensor, bands: int, num_pixels: int) -> torch.Tensor:
    return crop(rows, num_pixels).unflatten(0, (-1, bands))


def _scaled(config: LensSimulationConfig, image: torch.Tensor, **expected: torch.Tensor) -> dict[str, torch.Tensor]:
    """The image, and what is expected without its noise, on the scale of the configuration."""
    axes = (1, 2, 3)
    images = {"image": image, **expected}
    if config.scaling == "min_max":
        low, high = image.amin(dim=axes, keepdim=True), image.amax(dim=axes, keepdim=True)
        return {name: (part - low) / (high - low) for name, part in images.items()}
    if config.scaling == "clipped_max":
        high = image.amax(dim=axes, keepdim=True)
        return {name: part / high for name, part in {**images, "image": image.clamp(min=0)}.items()}
    if config.scaling == "peak" and config.detector is not None:
        peak = expected["noise_free"].amax(dim=axes, keepdim=True)
        return {name: part / peak for name, part in images.items()}
    return images


def _shrink(image: torch.Tensor, pair: SuperResolution) -> torch.Tensor:
    """The bicubic kernel (a = -0.75) without antialiasing, as the official pairs have it."""
    return torch.nn.functional.interpolate(image, scale_factor=1 / pair.upscale, mode="bicubic", align_corners=False)


def _default_batch_size(config: LensSimulationConfig, device: torch.device, compile: bool) -> int:
    points = (config.instrument.num_pixels * config.instrument.oversampling) ** 2
    on_cpu = _POINTS_PER_BATCH_COMPILED if compile else _POINTS_PER_BATCH_CPU
    return max(1, (on_cpu if device.type == "cpu" else _POINTS_PER_BATCH_GPU) // points)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Threads would cut arrays at places that depend on their number, and with them the rounding."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _keep_freed_memory() -> None:
    """Frees a large block at once: from then on glibc keeps up to twice as much of what is freed for the next batch.

    Otherwise it gives a batch's arrays back to the system, and getting them anew, page by page, takes a third of the
    time.
    """
    torch.empty(_KEPT_BYTES // 2, dtype=torch.uint8)
