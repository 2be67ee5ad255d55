"""Images a second on one core, ours against lenstronomy's, on the same scenes in the same run.

    python -m benchmarks.simulation [--compile] [--presets lens_default ...]

Ours is timed from the draw to the noisy image. lenstronomy is given the scenes drawn, its classes built and warm, and
only makes images and noise. A vortex that is a line in closed form for us is 100 points for lenstronomy, which has
none. Where lenstronomy is not installed (tests/requirements-oracle.txt), only ours is timed. Where there is a GPU, the
images a second on it and its memory for ten times as many images are added.
"""

import argparse
import importlib.util
import math
import time
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch

from lens_transformers.simulation import PRESETS, LensSimulationConfig, get_preset, simulate
from lens_transformers.simulation.scenes import Scene, draw_scene, lens_light_prefixes, source_prefixes

from .results import write_results
from .timing import time_in_turns


ROUNDS = 4
ROD_POINTS = 100


def main() -> None:
    """Times the presets and writes results/simulation.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=list(PRESETS), choices=list(PRESETS))
    parser.add_argument("--num_images", type=int, default=96, help="images a preset; a multiple of 3 balances classes")
    parser.add_argument("--compile", action="store_true", help="time torch.compile too; it takes a minute to compile")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with_lenstronomy = importlib.util.find_spec("lenstronomy") is not None
    if not with_lenstronomy:
        print("lenstronomy is not installed (pip install -r tests/requirements-oracle.txt): only ours is timed.")
    rows = {}
    for preset in arguments.presets:
        rows[preset] = time_preset(get_preset(preset), arguments.num_images, arguments.compile, with_lenstronomy)
        print(preset, ", ".join(f"{name} {value:.4g}" for name, value in rows[preset].items()), flush=True)
    results = {"images_per_second_on_one_core": rows}
    if torch.cuda.is_available():
        results["on_gpu"] = {preset: time_on_gpu(get_preset(preset)) for preset in arguments.presets}
        results["gpu"] = torch.cuda.get_device_name()
    print(f"Wrote {write_results('simulation', results)}")


def time_preset(config: LensSimulationConfig, num_images: int, compile: bool, with_lenstronomy: bool) -> dict:
    """Images a second of every way to make them; the ways take turns, so that a busy machine slows all of them."""
    ways: dict[str, Callable[[], object]] = {"ours": lambda: simulate(config, num_images)}
    if compile:
        ways["ours_compiled"] = lambda: simulate(config, num_images, compile=True)
    if with_lenstronomy:
        scenes = [draw_scene(config, 0, index) for index in range(num_images)]
        rng = np.random.default_rng(0)
        ways["lenstronomy"] = lambda: [theirs(config, scene, rng) for scene in scenes]
    row = {name: num_images / min(seconds) for name, seconds in time_in_turns(ways, ROUNDS).items()}
    if compile:
        ours, compiled = (simulate(noise_free(config), 12, compile=way).image for way in (False, True))
        row["compiled_difference_over_peak"] = (compiled - ours).abs().max().item()
    if with_lenstronomy:
        row |= {f"{name}_over_lenstronomy": row[name] / row["lenstronomy"] for name in ways if name != "lenstronomy"}
        row["largest_difference_over_peak"] = difference(config)
    return row


def time_on_gpu(config: LensSimulationConfig, num_images: int = 2000) -> dict:
    """Images a second, and the peak of memory beside the images themselves, for some images and for ten times as many.

    One core draws the scenes and the random numbers, the same ones on every device.
    """
    simulate(config, 64, device="cuda")
    row: dict[str, float] = {}
    for count in (num_images, 10 * num_images):
        torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        lenses = simulate(config, count, device="cuda")
        torch.cuda.synchronize()
        row[f"images_per_second_of_{count}"] = count / (time.perf_counter() - start)
        kept = sum(tensor.nbytes for tensor in (lenses.image, lenses.noise_free, lenses.target) if tensor is not None)
        row[f"working_memory_mib_of_{count}"] = (torch.cuda.max_memory_allocated() - kept) / 2**20
        del lenses
    return row


def noise_free(config: LensSimulationConfig) -> LensSimulationConfig:
    """The same scenes without noise, on the scale of an image's peak."""
    return config.with_overrides({"noise": None, "detector": None, "scaling": "peak"})


def difference(config: LensSimulationConfig) -> float:
    """How far our noise-free images are from lenstronomy's, but for vortices that are lines."""
    plain = noise_free(config)
    ours = simulate(plain, 12).noise_free.double().numpy()
    errors = []
    for index, image in enumerate(ours):
        scene = draw_scene(plain, 0, index)
        if rod_points(plain, scene.parameters):
            continue
        expected = np.stack([model(plain, scene)(band) for band in range(config.bands)])
        errors.append(np.abs(image - expected / expected.max()).max())
    return float(max(errors))


def theirs(config: LensSimulationConfig, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """A noisy image by lenstronomy; of a telescope's pair both images."""
    images = model(config, scene)
    expected = np.stack([images(band) for band in range(config.bands)])
    pair = config.super_resolution
    if pair is not None and pair.method == "telescope":
        low = model(config, scene, coarse=True)(0)
        return noisy(config, scene, low / low.max(), rng)
    return noisy(config, scene, expected if config.detector is not None else expected / expected.max(), rng)


def noisy(config: LensSimulationConfig, scene: Scene, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An image with the noise of its configuration, by numpy."""
    p, detector = scene.parameters, config.detector
    if config.noise is not None:
        counts = rng.poisson(image * p["peak_counts"] + p["sky_counts"]) - p["sky_counts"]
        return counts / p["peak_counts"] + p["background_rms"] * rng.standard_normal(image.shape)
    if detector is None or detector.noise == "none":
        return image
    time_s = p["exposure_time_s"] * detector.num_exposures
    sky = detector.sky_rate(config.instrument.pixel_scale_arcsec) * time_s
    readout = math.hypot(
        math.sqrt(detector.num_exposures) * detector.read_noise_e, detector.background_rms_e_per_s * time_s
    )
    electrons = rng.poisson(image * time_s + sky) - sky + readout * rng.standard_normal(image.shape)
    return rng.poisson(electrons.clip(min=0)) if detector.noise == "poisson_twice" else electrons


def model(config: LensSimulationConfig, scene: Scene, coarse: bool = False) -> Callable[[int], np.ndarray]:
    """What makes lenstronomy's noise-free image of a scene in a band."""
    p = scene.parameters
    points = [
        {"theta_E": math.sqrt(area), "center_x": x, "center_y": y}
        for x, y, area in [*scene.points, *rod_points(config, p)]
    ]
    num_lights = 1 + len(config.source_components), len(config.lens_light)
    imaging = image_model(config.instrument, config.super_resolution, len(points), *num_lights, coarse)
    e1, e2 = ellipticity(p["axis_ratio"], p["position_angle_rad"])
    shear, angle = p["shear_strength"], 2 * p["shear_angle_rad"]
    lens = [
        {
            "theta_E": p["main_lens_einstein_radius_arcsec"],
            "e1": e1,
            "e2": e2,
            "center_x": p["lens_x_arcsec"],
            "center_y": p["lens_y_arcsec"],
        },
        {"gamma1": shear * math.cos(angle), "gamma2": shear * math.sin(angle)},
        *points,
    ]

    def image(band: int) -> np.ndarray:
        source_lights = zip((config.source, *config.source_components), source_prefixes(config), strict=True)
        source = [sersic(light, prefix, p, band) for light, prefix in source_lights]
        own = zip(config.lens_light, lens_light_prefixes(config), strict=True)
        return imaging.image(lens, source, [sersic(light, prefix, p, band) for light, prefix in own])

    return image


def rod_points(config: LensSimulationConfig, p: dict) -> list[tuple[float, float, float]]:
    """The points that stand for a vortex that is a line."""
    if config.substructure is None or config.substructure.vortex.num_points or not p["vortex_mass_msun"]:
        return []
    along = p["vortex_half_length_arcsec"] * np.linspace(-1, 1, ROD_POINTS)
    area = p["vortex_mass_msun"] * config.einstein_area_per_mass / ROD_POINTS
    cos, sin = math.cos(p["vortex_angle_rad"]), math.sin(p["vortex_angle_rad"])
    return [(p["vortex_x_arcsec"] + a * cos, p["vortex_y_arcsec"] + a * sin, area) for a in along]


def sersic(light, prefix: str, p: dict, band: int) -> dict:
    """A Sersic component in lenstronomy's terms."""
    axis_ratio = p[f"{prefix}_axis_ratio"]
    e1, e2 = ellipticity(axis_ratio, p[f"{prefix}_position_angle_rad"])
    color = light.colors_mag[band] if light.colors_mag else 0.0
    return {
        "amp": p.get(f"{prefix}_intensity", 1.0) * 10 ** (-0.4 * color),
        "R_sersic": p[f"{prefix}_radius_arcsec"] * math.sqrt(axis_ratio),
        "n_sersic": p[f"{prefix}_sersic_index"],
        "e1": e1,
        "e2": e2,
        "center_x": p[f"{prefix}_x_arcsec"],
        "center_y": p[f"{prefix}_y_arcsec"],
    }


def ellipticity(axis_ratio: float, angle: float) -> tuple[float, float]:
    """The two components of an ellipse in lenstronomy's terms."""
    size = (1 - axis_ratio) / (1 + axis_ratio)
    return size * math.cos(2 * angle), size * math.sin(2 * angle)


@lru_cache(maxsize=256)
def image_model(instrument, pair, num_points: int, num_sources: int, num_lens_lights: int, coarse: bool):
    """The classes of lenstronomy, which do not depend on the parameters."""
    from lenstronomy.Data.imaging_data import ImageData
    from lenstronomy.Data.psf import PSF
    from lenstronomy.ImSim.image_model import ImageModel
    from lenstronomy.LensModel.lens_model import LensModel
    from lenstronomy.LightModel.light_model import LightModel

    times = pair.upscale if coarse else 1
    num_pixels, pixel_scale = instrument.num_pixels // times, instrument.pixel_scale_arcsec * times
    oversampling = instrument.oversampling * times
    fwhm = pair.psf_fwhm_arcsec if coarse else instrument.psf_fwhm_arcsec
    corner = -(num_pixels - 1) / 2 * pixel_scale
    data = ImageData(
        image_data=np.zeros((num_pixels, num_pixels)),
        ra_at_xy_0=corner,
        dec_at_xy_0=corner,
        transform_pix2angle=pixel_scale * np.eye(2),
    )
    psf = PSF(psf_type="GAUSSIAN", fwhm=fwhm, pixel_size=pixel_scale, truncation=instrument.psf_truncation_sigma)
    return ImageModel(
        data,
        psf,
        lens_model_class=LensModel(["SIE", "SHEAR", *["POINT_MASS"] * num_points]),
        source_model_class=LightModel(["SERSIC_ELLIPSE"] * num_sources),
        lens_light_model_class=LightModel(["SERSIC_ELLIPSE"] * num_lens_lights),
        kwargs_numerics={"supersampling_factor": oversampling, "supersampling_convolution": oversampling > 1},
    )


if __name__ == "__main__":
    main()
