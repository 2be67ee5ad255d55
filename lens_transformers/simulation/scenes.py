"""The random draw of a scene: every sample from its own counter.

Sample `index` of a seed is drawn from two Philox streams whose key is (seed, index): one for the parameters, one for
the noise. Nothing else enters, so it is the same in any batch, shard, process or order.
"""

import math
from dataclasses import dataclass

import numpy as np

from .config import LensSimulationConfig, Subhalos, Substructure, Vortex
from .distributions import draw


__all__ = ["Scene", "draw_normals", "draw_scene"]

NO_SUB, CDM, AXION = range(3)

# A substructure that is heavier than this fraction of the lens leaves no lens to compensate with; it is drawn anew.
_MAX_COMPENSATED_FRACTION = 0.5
_MAX_DRAWS = 100

_NO_POINTS = np.zeros((0, 3))
_ABSENT = {
    "num_subhalos": 0,
    "subhalo_mass_msun": 0.0,
    "vortex_mass_msun": 0.0,
    "axion_mass_log10_ev": math.nan,
    "vortex_half_length_arcsec": math.nan,
    "vortex_x_arcsec": math.nan,
    "vortex_y_arcsec": math.nan,
    "vortex_angle_rad": math.nan,
}


@dataclass(frozen=True)
class Scene:
    """One drawn scene.

    Attributes:
        label: 0 no_sub, 1 cdm, 2 axion; also 0 where the configuration has no classes.
        parameters: Every parameter that is one number, named with its unit, as the image shows it: what a quirk of
            the configuration does to the deflections is in the Einstein radii and the shear.
        points: Point masses `(masses, 3)`: x, y in arcsec, squared Einstein radius in arcsec^2.
    """

    label: int
    parameters: dict[str, float]
    points: np.ndarray


def draw_scene(config: LensSimulationConfig, seed: int, index: int) -> Scene:
    """Draws sample `index`.

    Raises:
        ValueError: If the configuration's substructure outweighs its main lens.
    """
    rng = _generator(seed, index, stream=0)
    label = index % 3 if config.substructure is not None else NO_SUB
    parameters = _draw_main_lens(config, rng)
    parameters |= _draw_source(config, parameters, rng)
    if config.noise is not None:
        parameters |= {
            "peak_counts": draw(config.noise.peak_counts, rng),
            "sky_counts": draw(config.noise.sky_counts, rng),
            "background_rms": draw(config.noise.background_rms, rng),
        }
    points = _NO_POINTS
    if config.substructure is not None:
        drawn, points = _draw_substructure(config.substructure, label, parameters, config.einstein_area_per_mass, rng)
        parameters |= drawn
    return Scene(label, parameters, points)


def draw_normals(seed: int, index: int, out: np.ndarray) -> None:
    """Fills the float32 array `out` with the standard normal numbers of sample `index`."""
    _generator(seed, index, stream=1).standard_normal(dtype=np.float32, out=out)


def _generator(seed: int, index: int, stream: int) -> np.random.Generator:
    key = np.array([seed, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, 0, stream], dtype=np.uint64)))


def _draw_main_lens(config: LensSimulationConfig, rng: np.random.Generator) -> dict[str, float]:
    lens, scale = config.main_lens, config.deflection_scale
    if lens.mass_msun is not None:
        einstein_radius = math.sqrt(scale * config.einstein_area_per_mass * draw(lens.mass_msun, rng))
    else:
        einstein_radius = scale * draw(lens.einstein_radius_arcsec, rng)  # type: ignore[arg-type]
    x, y = lens.position.draw(rng)
    return {
        "einstein_radius_arcsec": einstein_radius,
        "main_lens_einstein_radius_arcsec": einstein_radius,
        "axis_ratio": draw(lens.axis_ratio, rng),
        "position_angle_rad": draw(lens.position_angle_rad, rng),
        "lens_x_arcsec": x,
        "lens_y_arcsec": y,
        "shear_strength": scale * draw(lens.shear_strength, rng),
        "shear_angle_rad": draw(lens.shear_angle_rad, rng),
    }


def _draw_source(config: LensSimulationConfig, lens: dict[str, float], rng: np.random.Generator) -> dict[str, float]:
    source = config.source
    x, y = source.position.draw(rng)
    return {
        "source_x_arcsec": lens["lens_x_arcsec"] + x,
        "source_y_arcsec": lens["lens_y_arcsec"] + y,
        "source_radius_arcsec": draw(source.effective_radius_arcsec, rng),
        "source_sersic_index": draw(source.sersic_index, rng),
        "source_axis_ratio": draw(source.axis_ratio, rng),
        "source_position_angle_rad": draw(source.position_angle_rad, rng),
    }


def _draw_substructure(
    substructure: Substructure, label: int, lens: dict[str, float], area_per_mass: float, rng: np.random.Generator
) -> tuple[dict[str, float], np.ndarray]:
    lens_area = lens["einstein_radius_arcsec"] ** 2
    for _ in range(_MAX_DRAWS):
        drawn, points, area_inside = _draw_class(substructure, label, lens, area_per_mass, rng)
        if not substructure.compensate_mass:
            return _ABSENT | drawn, points
        if area_inside <= _MAX_COMPENSATED_FRACTION * lens_area:
            drawn["main_lens_einstein_radius_arcsec"] = math.sqrt(lens_area - area_inside)
            return _ABSENT | drawn, points
    raise ValueError(
        f"In {_MAX_DRAWS} draws the substructure had more than half of the main lens's mass: with compensate_mass, "
        "choose smaller masses or a larger main lens."
    )


def _draw_class(
    substructure: Substructure, label: int, lens: dict[str, float], area_per_mass: float, rng: np.random.Generator
) -> tuple[dict[str, float], np.ndarray, float]:
    """Parameters, point masses, and the squared Einstein radius of the mass within that of the lens."""
    center, radius = np.array([lens["lens_x_arcsec"], lens["lens_y_arcsec"]]), lens["einstein_radius_arcsec"]
    if label == CDM:
        points = _draw_subhalos(substructure.subhalos, center, area_per_mass, rng)
        inside = np.hypot(*(points[:, :2] - center).T) < radius
        drawn = {"num_subhalos": len(points), "subhalo_mass_msun": points[:, 2].sum() / area_per_mass}
        return drawn, points, points[inside, 2].sum()
    if label == AXION:
        drawn = _draw_vortex(substructure.vortex, center, rng)
        area = drawn["vortex_mass_msun"] * area_per_mass
        num_points = substructure.vortex.num_points
        points = _NO_POINTS if num_points is None else _chain(drawn, area, num_points)
        return drawn, points, area * _fraction_inside(drawn, center, radius)
    return {}, _NO_POINTS, 0.0


def _draw_subhalos(
    subhalos: Subhalos, center: np.ndarray, area_per_mass: float, rng: np.random.Generator
) -> np.ndarray:
    count = int(draw(subhalos.count, rng))
    mass = subhalos.mass_msun.draw(rng, count)
    radius = subhalos.radius_arcsec.draw(rng, count)
    angle = 2 * np.pi * rng.random(count)
    return np.stack(
        [center[0] + radius * np.cos(angle), center[1] + radius * np.sin(angle), mass * area_per_mass], axis=1
    )


def _draw_vortex(vortex: Vortex, center: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    x, y = vortex.position.draw(rng)
    axion_mass_log10 = draw(vortex.axion_mass_log10_ev, rng)
    return {
        "vortex_mass_msun": draw(vortex.mass_msun, rng),
        "axion_mass_log10_ev": axion_mass_log10,
        "vortex_half_length_arcsec": 0.03 * 10 ** (-22 - axion_mass_log10),
        "vortex_x_arcsec": center[0] + x,
        "vortex_y_arcsec": center[1] + y,
        "vortex_angle_rad": draw(vortex.angle_rad, rng),
    }


def _fraction_inside(vortex: dict[str, float], center: np.ndarray, radius: float) -> float:
    """The fraction of a vortex's length that lies within a circle."""
    direction = np.array([math.cos(vortex["vortex_angle_rad"]), math.sin(vortex["vortex_angle_rad"])])
    offset = np.array([vortex["vortex_x_arcsec"], vortex["vortex_y_arcsec"]]) - center
    middle = -offset @ direction
    half_chord2 = radius**2 - (offset @ offset - middle**2)
    if half_chord2 <= 0:
        return 0.0
    half_length, half_chord = vortex["vortex_half_length_arcsec"], math.sqrt(half_chord2)
    overlap = min(half_length, middle + half_chord) - max(-half_length, middle - half_chord)
    return max(overlap, 0.0) / (2 * half_length)


def _chain(vortex: dict[str, float], area: float, num_points: int) -> np.ndarray:
    along = vortex["vortex_half_length_arcsec"] * np.linspace(-1, 1, num_points)
    return np.stack(
        [
            vortex["vortex_x_arcsec"] + along * math.cos(vortex["vortex_angle_rad"]),
            vortex["vortex_y_arcsec"] + along * math.sin(vortex["vortex_angle_rad"]),
            np.full(num_points, area / num_points),
        ],
        axis=1,
    )
