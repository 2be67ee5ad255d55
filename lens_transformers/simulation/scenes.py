"""The random draw of a scene: every sample from its own counter.

Sample `index` of a seed is drawn from two Philox streams whose key is (seed, index): one for the parameters, one for
the noise. Nothing else enters, so it is the same in any batch, shard, process or order.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import special

from .config import LensSimulationConfig, MainLens, Source, Subhalos, Substructure, Vortex
from .cosmology import nfw_scale, velocity_dispersion_radius
from .distributions import draw
from .lenses import tnfw_enclosed_area
from .light import sersic_flux


__all__ = ["Scene", "draw_normals", "draw_scene", "lens_light_prefixes", "source_prefixes", "without_substructure"]

NO_SUB, CDM, AXION = range(3)

# A substructure that is heavier than this fraction of the lens leaves no lens to compensate with; it is drawn anew.
_MAX_COMPENSATED_FRACTION = 0.5
_MAX_DRAWS = 100

# Places on half a circle, in half turns, and their weights. They crowd towards the end that is nearest to a halo: one
# that lies on the circle deflects sharply there. The flux through the circle then keeps 11 digits.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(96)
_HALF_TURNS = (0.5 + 0.5 * _NODES) ** 4
_HALF_TURN_WEIGHTS = 2 * (0.5 + 0.5 * _NODES) ** 3 * _WEIGHTS

_NO_POINTS = np.zeros((0, 3))
_NO_HALOS = np.zeros((0, 5))
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
        halos: Truncated NFW halos `(halos, 5)`, as `lenses.halos_deflection` has them.
    """

    label: int
    parameters: dict[str, float]
    points: np.ndarray
    halos: np.ndarray


def source_prefixes(config: LensSimulationConfig) -> list[str]:
    """The beginnings of the parameters' names of every component of the source."""
    return ["source", *(f"source_{number + 2}" for number in range(len(config.source_components)))]


def lens_light_prefixes(config: LensSimulationConfig) -> list[str]:
    """The beginnings of the parameters' names of every component of the lens light."""
    return [f"lens_light_{number + 1}" for number in range(len(config.lens_light))]


def draw_scene(config: LensSimulationConfig, seed: int, index: int) -> Scene:
    """Draws sample `index`.

    Raises:
        ValueError: If the configuration's substructure outweighs its main lens.
    """
    rng = np.random.Generator(_stream(seed, index, stream=0))
    label = index % 3 if config.substructure is not None else NO_SUB
    main_lens = config.main_lens
    if config.substructure is not None and config.substructure.no_sub_main_lens is not None and label == NO_SUB:
        main_lens = config.substructure.no_sub_main_lens
    parameters = _draw_main_lens(config, main_lens, rng)
    parameters |= _draw_lights(config, parameters, rng)
    if config.noise is not None:
        parameters |= {
            "peak_counts": draw(config.noise.peak_counts, rng),
            "sky_counts": draw(config.noise.sky_counts, rng),
            "background_rms": draw(config.noise.background_rms, rng),
        }
    if config.detector is not None:
        parameters["exposure_time_s"] = draw(config.detector.exposure_time_s, rng)
    points, halos = _NO_POINTS, _NO_HALOS
    if config.substructure is not None:
        drawn, points, halos = _draw_substructure(config, config.substructure, label, parameters, rng)
        parameters |= drawn
    return Scene(label, parameters, points, halos)


def without_substructure(scene: Scene) -> Scene:
    """The same scene with a smooth lens, as heavy as the lens and what substructure it is compensated for are."""
    parameters = {
        **scene.parameters,
        **_ABSENT,
        "main_lens_einstein_radius_arcsec": scene.parameters["einstein_radius_arcsec"],
    }
    return Scene(NO_SUB, parameters, _NO_POINTS, _NO_HALOS)


def draw_normals(seed: int, index: int, out: np.ndarray) -> None:
    """Fills the float32 array `out`, contiguous and of even size, with the standard normal numbers of sample `index`.

    By Box and Muller (1958), up to 6.7 standard deviations: it takes a third of the time of numpy's ziggurat, whose
    branches no processor foresees.
    """
    words = _stream(seed, index, stream=1).random_raw(out.size // 2).view(np.uint32)
    uniform = words.astype(np.float32)
    uniform += np.float32(0.5)  # never 0, whose logarithm there is none of
    uniform *= np.float32(2**-32)
    radius, angle = uniform.reshape(2, -1)
    np.log(radius, out=radius)
    radius *= np.float32(-2)
    np.sqrt(radius, out=radius)
    angle *= np.float32(2 * math.pi)
    first, second = out.reshape(2, -1)
    np.cos(angle, out=first)
    np.sin(angle, out=second)
    first *= radius
    second *= radius


def _stream(seed: int, index: int, stream: int) -> np.random.Philox:
    key = np.array([seed, index], dtype=np.uint64)
    return np.random.Philox(key=key, counter=np.array([0, 0, 0, stream], dtype=np.uint64))


def _draw_main_lens(config: LensSimulationConfig, lens: MainLens, rng: np.random.Generator) -> dict[str, float]:
    scale = config.deflection_scale
    if lens.mass_msun is not None:
        einstein_radius = math.sqrt(scale * config.einstein_area_per_mass * draw(lens.mass_msun, rng))
    elif lens.velocity_dispersion_km_s is not None:
        unit = velocity_dispersion_radius(config.z_lens, config.z_source)
        einstein_radius = unit * draw(lens.velocity_dispersion_km_s, rng) ** 2
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


def _draw_lights(config: LensSimulationConfig, lens: dict[str, float], rng: np.random.Generator) -> dict[str, float]:
    parameters = _draw_light(config, config.source, "source", (lens["lens_x_arcsec"], lens["lens_y_arcsec"]), rng)
    center = (parameters["source_x_arcsec"], parameters["source_y_arcsec"])
    if config.source_images is not None:
        # The number of images is the file's affair: this is where among them the image lies.
        parameters["source_image_fraction"] = rng.random()
        # What a profile alone would have; an image has its own shape, and with a magnitude its own flux.
        unused = ["source_radius_arcsec", "source_sersic_index", "source_axis_ratio"]
        unused += ["source_intensity"] if config.source.magnitude is not None else []
        parameters |= dict.fromkeys(unused, math.nan)
    for light, prefix in zip(config.source_components, source_prefixes(config)[1:], strict=True):
        parameters |= _draw_light(config, light, prefix, center, rng)
    for light, prefix in zip(config.lens_light, lens_light_prefixes(config), strict=True):
        parameters |= _draw_light(config, light, prefix, (lens["lens_x_arcsec"], lens["lens_y_arcsec"]), rng)
    return parameters


def _draw_light(
    config: LensSimulationConfig, light: Source, prefix: str, center: tuple[float, float], rng: np.random.Generator
) -> dict[str, float]:
    x, y = light.position.draw(rng)
    radius, index = draw(light.effective_radius_arcsec, rng), draw(light.sersic_index, rng)
    axis_ratio, angle = draw(light.axis_ratio, rng), draw(light.position_angle_rad, rng)
    parameters = {
        f"{prefix}_x_arcsec": center[0] + x,
        f"{prefix}_y_arcsec": center[1] + y,
        f"{prefix}_radius_arcsec": radius,
        f"{prefix}_sersic_index": index,
        f"{prefix}_axis_ratio": axis_ratio,
        f"{prefix}_position_angle_rad": angle,
    }
    if light.magnitude is not None:
        magnitude = draw(light.magnitude, rng)
        flux = 10 ** (-0.4 * (magnitude - config.zero_point_mag))
        parameters[f"{prefix}_magnitude"] = magnitude
        parameters[f"{prefix}_intensity"] = flux / sersic_flux(radius, index, axis_ratio)
    elif light.intensity != 1.0:
        parameters[f"{prefix}_intensity"] = draw(light.intensity, rng)
    return parameters


def _draw_substructure(
    config: LensSimulationConfig,
    substructure: Substructure,
    label: int,
    lens: dict[str, float],
    rng: np.random.Generator,
) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
    einstein_radius = lens["einstein_radius_arcsec"]
    for _ in range(_MAX_DRAWS):
        drawn, points, halos, area_inside = _draw_class(config, substructure, label, lens, rng)
        if not substructure.compensate_mass:
            return _ABSENT | drawn, points, halos
        if area_inside <= _MAX_COMPENSATED_FRACTION * einstein_radius**2:
            # An isothermal lens holds a mass that grows as the radius: within the same circle, and not within its own
            # smaller Einstein radius, the lens and its substructure are as heavy as the lens was.
            per_radius = einstein_radius * _mass_within_circle(lens["axis_ratio"])
            drawn["main_lens_einstein_radius_arcsec"] = einstein_radius - area_inside / per_radius
            return _ABSENT | drawn, points, halos
    raise ValueError(
        f"In {_MAX_DRAWS} draws the substructure had more than half of the main lens's mass: with compensate_mass, "
        "choose smaller masses or a larger main lens."
    )


def _mass_within_circle(axis_ratio: float) -> float:
    """The mass of a singular isothermal ellipsoid within any circle, over that of a sphere of its Einstein radius.

    The mean over directions of 1 / sqrt(q cos² + sin² / q), by which its elliptical radius differs (Kormann et al.
    1994).
    """
    return 2 / math.pi * math.sqrt(axis_ratio) * special.ellipk(1 - axis_ratio**2)


def _draw_class(
    config: LensSimulationConfig,
    substructure: Substructure,
    label: int,
    lens: dict[str, float],
    rng: np.random.Generator,
) -> tuple[dict[str, float], np.ndarray, np.ndarray, float]:
    """Parameters, point masses, halos, and the squared Einstein radius of the mass within that of the lens."""
    area_per_mass = config.einstein_area_per_mass
    center, radius = np.array([lens["lens_x_arcsec"], lens["lens_y_arcsec"]]), lens["einstein_radius_arcsec"]
    if label == CDM:
        mass, points, halos = _draw_subhalos(config, substructure.subhalos, center, rng)
        drawn = {"num_subhalos": len(mass), "subhalo_mass_msun": mass.sum()}
        area = _area_of_points(points, center, radius)
        if len(halos) and substructure.compensate_mass:
            area += _area_of_halos(halos, center, radius)
        return drawn, points, halos, area
    if label == AXION:
        drawn = _draw_vortex(substructure.vortex, center, rng)
        area = drawn["vortex_mass_msun"] * area_per_mass
        num_points = substructure.vortex.num_points
        if num_points is None:
            return drawn, _NO_POINTS, _NO_HALOS, area * _fraction_inside(drawn, center, radius)
        points = _chain(drawn, area, num_points)
        return drawn, points, _NO_HALOS, _area_of_points(points, center, radius)
    return {}, _NO_POINTS, _NO_HALOS, 0.0


def _draw_subhalos(
    config: LensSimulationConfig, subhalos: Subhalos, center: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The masses, and the point masses or the halos that they are."""
    count = int(draw(subhalos.count, rng))
    mass = subhalos.mass_msun.draw(rng, count)
    radius = subhalos.radius_arcsec.draw(rng, count)
    angle = 2 * np.pi * rng.random(count)
    place = [center[0] + radius * np.cos(angle), center[1] + radius * np.sin(angle)]
    area = mass * config.einstein_area_per_mass
    if subhalos.profile == "point":
        return mass, np.stack([*place, area], axis=1), _NO_HALOS
    concentration = np.array([draw(subhalos.concentration, rng) for _ in range(count)])
    truncation = np.array([draw(subhalos.truncation, rng) for _ in range(count)])
    # M200 is what an NFW halo of mass M0 = 4 pi rho_s r_s^3 has within c200 scale radii.
    area_of_m0 = area / (np.log1p(concentration) - concentration / (1 + concentration))
    scale_radius = nfw_scale(config.z_lens) * np.cbrt(mass) / concentration
    return mass, _NO_POINTS, np.stack([*place, area_of_m0, scale_radius, truncation], axis=1)


def _area_of_points(points: np.ndarray, center: np.ndarray, radius: float) -> float:
    """The squared Einstein radius of the point masses within a circle."""
    return points[np.hypot(*(points[:, :2] - center).T) < radius, 2].sum()


def _area_of_halos(halos: np.ndarray, center: np.ndarray, radius: float) -> float:
    """The squared Einstein radius of the halos' mass within a circle: the flux of their deflection through it."""
    distance = np.hypot(*(halos[:, :2] - center).T)[:, None]
    area, scale, truncation = halos[:, 2:, None].transpose(1, 0, 2)
    # Of a point of the circle, seen from its centre at this angle from the halo; no difference of large numbers.
    drop = 2 * np.sin(0.5 * np.pi * _HALF_TURNS) ** 2
    outward = radius - distance + distance * drop
    radius2 = (radius - distance) ** 2 + 2 * radius * distance * drop
    enclosed = tnfw_enclosed_area(torch.from_numpy(np.sqrt(radius2) / scale), torch.from_numpy(truncation)).numpy()
    return radius * float((area * enclosed * outward / radius2 @ _HALF_TURN_WEIGHTS).sum())


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
