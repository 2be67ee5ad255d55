"""Do maps point at what is there? Subhalos are planted at known places, and the maps' peaks compared with them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..simulation import LensSimulationConfig, LogUniform, Uniform, get_preset, simulate
from ..simulation.distributions import support
from ..simulation.scenes import CDM, draw_scene
from .binning import wilson_interval


__all__ = ["PlantedSubhalos", "plant_subhalos", "pointing_row", "pointing_rows"]


# Beyond every split of a simulated set and every folder of simulated images, in none of which a network has seen them.
_FIRST_SAMPLE = 4 * 2**60


@dataclass(frozen=True)
class PlantedSubhalos:
    """Images of lenses with one subhalo each.

    Attributes:
        images: `(images, bands, height, width)` float32.
        positions: Its place `(images, 2)`, x and y in arcsec from the image's centre.
        mass_msun: Its mass `(images,)`.
        pixel_scale_arcsec: Width of a pixel.
    """

    images: np.ndarray
    positions: np.ndarray
    mass_msun: np.ndarray
    pixel_scale_arcsec: float


def plant_subhalos(
    preset_or_config: str | LensSimulationConfig, num_images: int, seed: int = 0, num_draws: int = 20
) -> PlantedSubhalos:
    """Simulates lenses with one massive subhalo on the ring, where it can be seen.

    Everything else is as the configuration says. The mass is the heaviest that it knows, within a factor of two, and
    the distance from the lens that of the Einstein radius, within a fifth of it. No data set of the same seed has any
    of these scenes.

    Args:
        preset_or_config: A configuration with substructure, or the name of a preset.
        num_images: Number of images.
        seed: Seed of the simulation.
        num_draws: Scenes drawn for each image, of which those are taken whose subhalo lies on the ring.

    Raises:
        ValueError: If the configuration has no subhalos, or too few of the scenes have theirs on the ring.
    """
    config = get_preset(preset_or_config) if isinstance(preset_or_config, str) else preset_or_config
    if config.substructure is None:
        raise ValueError(f"{config.name} has no substructure, so there is no subhalo to plant.")
    heaviest = support(config.substructure.subhalos.mass_msun)[1]
    planted = config.with_overrides(
        {
            "substructure.subhalos.count": 1,
            "substructure.subhalos.mass_msun": LogUniform(heaviest / 2, heaviest),
            "substructure.subhalos.radius_arcsec": Uniform(*support(config.substructure.subhalos.radius_arcsec)),
        }
    )
    images, positions, masses = [], [], []
    first = _FIRST_SAMPLE + (CDM - _FIRST_SAMPLE) % 3
    for index in range(first, first + 3 * num_draws * num_images, 3):
        scene = draw_scene(planted, seed, index)
        masses_and_halos = scene.points if len(scene.points) else scene.halos
        place = masses_and_halos[0, :2]
        center = np.array([scene.parameters["lens_x_arcsec"], scene.parameters["lens_y_arcsec"]])
        einstein_radius = scene.parameters["einstein_radius_arcsec"]
        if abs(math.dist(place, center) - einstein_radius) > 0.2 * einstein_radius:
            continue
        images.append(simulate(planted, 1, seed, start=index).image.numpy()[0])
        positions.append(place)
        masses.append(scene.parameters["subhalo_mass_msun"])
        if len(images) == num_images:
            # Of a pair the image is the one of low resolution.
            upscale = 1 if config.super_resolution is None else config.super_resolution.upscale
            scale = config.instrument.pixel_scale_arcsec * upscale
            return PlantedSubhalos(np.stack(images), np.stack(positions), np.array(masses), scale)
    raise ValueError(
        f"Only {len(images)} of {num_draws * num_images} scenes of {config.name} have their subhalo on the ring."
    )


def pointing_rows(
    maps: Mapping[str, np.ndarray], planted: PlantedSubhalos, tolerance_arcsec: float = 0.4
) -> list[dict[str, Any]]:
    """A row a map with its name and the numbers of `pointing_row`, then one of the brightest pixel of each image.

    Args:
        maps: Maps `(images, height, width)` by name.
        planted: What was planted.
        tolerance_arcsec: Distance that counts as a hit.
    """
    pointers = {**maps, "brightest pixel of the image": planted.images.mean(axis=1)}
    return [{"name": name, **pointing_row(found, planted, tolerance_arcsec)} for name, found in pointers.items()]


def pointing_row(maps: np.ndarray, planted: PlantedSubhalos, tolerance_arcsec: float = 0.4) -> dict[str, Any]:
    """How often a map's peak lies near the planted subhalo: the pointing game (Zhang et al. 2016, arXiv:1608.00507).

    Chance is what the same maps score on the other images: it knows, as they do, where the rings lie in general, but
    not where this subhalo is.

    Args:
        maps: `(images, height, width)`, on the pixels of the images.
        planted: What was planted.
        tolerance_arcsec: Distance that counts as a hit.

    Returns:
        `hit_rate`, `hit_rate_low` and `hit_rate_high`, its 95% interval; `chance`; `median_distance_arcsec` and
        `chance_distance_arcsec`; `num_images` and `tolerance_arcsec`.

    Raises:
        ValueError: If there is not one map an image, or there are fewer than two.
    """
    height, width = planted.images.shape[2:]
    if maps.shape != (len(planted.images), height, width) or len(maps) < 2:
        raise ValueError(f"maps must be ({len(planted.images)}, {height}, {width}), two or more; got {maps.shape}.")
    row, column = np.unravel_index(maps.reshape(len(maps), -1).argmax(axis=1), (height, width))
    center = np.array([width - 1, height - 1]) / 2
    peaks = (np.stack([column, row], axis=1) - center) * planted.pixel_scale_arcsec
    distances = np.linalg.norm(peaks[:, None] - planted.positions[None], axis=2)  # of map i from subhalo j
    own = np.diagonal(distances)
    others = distances[~np.eye(len(maps), dtype=bool)]
    hits = own <= tolerance_arcsec
    low, high = wilson_interval(hits.sum(), len(hits))
    return {
        "hit_rate": float(hits.mean()),
        "hit_rate_low": float(low),
        "hit_rate_high": float(high),
        "chance": float((others <= tolerance_arcsec).mean()),
        "median_distance_arcsec": float(np.median(own)),
        "chance_distance_arcsec": float(np.median(others)),
        "num_images": len(maps),
        "tolerance_arcsec": tolerance_arcsec,
    }
