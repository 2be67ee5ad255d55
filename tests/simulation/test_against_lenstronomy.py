"""Our physics against lenstronomy: stored arrays by default, computed on the spot where it is installed."""

import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from lens_transformers.simulation import Instrument, LensSimulationConfig, MainLens, Source, Square
from lens_transformers.simulation.grid import crop, pixel_grid
from lens_transformers.simulation.optics import Optics, observe
from lens_transformers.simulation.rendering import deflect, render
from lens_transformers.simulation.scenes import Scene


reference = runpy.run_path(str(Path(__file__).with_name("write_lenstronomy_reference.py")))
STORED = np.load(reference["FILE"])
SCENES, IMAGES = reference["SCENES"], reference["IMAGES"]
PARTS = [(name, part) for name, content in SCENES.items() for part in ("sie", "shear", "points", "halos", "all")]
PARTS = [(name, part) for name, part in PARTS if part == "all" or SCENES[name][part]]

TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-5}


def axes(e1, e2):
    c = math.hypot(e1, e2)
    return (1 - c) / (1 + c), 0.5 * math.atan2(e2, e1)


def light(prefix, kwargs):
    axis_ratio, angle = axes(kwargs["e1"], kwargs["e2"])
    return {
        f"{prefix}_x_arcsec": kwargs["center_x"],
        f"{prefix}_y_arcsec": kwargs["center_y"],
        # lenstronomy's radius is the geometric mean of both axes.
        f"{prefix}_radius_arcsec": kwargs["R_sersic"] / math.sqrt(axis_ratio),
        f"{prefix}_sersic_index": kwargs["n_sersic"],
        f"{prefix}_axis_ratio": axis_ratio,
        f"{prefix}_position_angle_rad": angle,
    }


def translated(content, part="all"):
    """A scene of ours from lenstronomy's terms, of which only one part may deflect."""
    axis_ratio, angle = axes(content["sie"]["e1"], content["sie"]["e2"])
    gamma1, gamma2 = content["shear"]["gamma1"], content["shear"]["gamma2"]
    parameters = {
        "lens_x_arcsec": content["sie"]["center_x"],
        "lens_y_arcsec": content["sie"]["center_y"],
        "main_lens_einstein_radius_arcsec": content["sie"]["theta_E"] if part in ("all", "sie") else 0.0,
        "axis_ratio": axis_ratio,
        "position_angle_rad": angle,
        "shear_strength": math.hypot(gamma1, gamma2) if part in ("all", "shear") else 0.0,
        "shear_angle_rad": 0.5 * math.atan2(gamma2, gamma1),
    }
    parameters |= light("source", content["source"])
    for number, kwargs in enumerate(content["lens_light"]):
        parameters |= light(f"lens_light_{number + 1}", kwargs)
    points = [[p["center_x"], p["center_y"], p["theta_E"] ** 2] for p in content["points"]]
    halos = [
        # alpha_Rs is the deflection at Rs of the halo without its truncation.
        [h["center_x"], h["center_y"], h["alpha_Rs"] * h["Rs"] / (1 + math.log(0.5)), h["Rs"], h["r_trunc"] / h["Rs"]]
        for h in content["halos"]
    ]
    points = np.array(points if part in ("all", "points") else []).reshape(-1, 3)
    return Scene(0, parameters, points, np.array(halos if part in ("all", "halos") else []).reshape(-1, 5))


def configured(content, num_pixels=64, pixel_scale=0.1, psf_fwhm=0.16, oversampling=1):
    component = Source(position=Square(0.0), effective_radius_arcsec=0.3)
    return LensSimulationConfig(
        name="reference",
        main_lens=MainLens(einstein_radius_arcsec=1.0),
        source=component,
        lens_light=(component,) * len(content["lens_light"]),
        instrument=Instrument(num_pixels, pixel_scale, psf_fwhm, oversampling=oversampling),
    )


def our_deflection(content, part, dtype):
    x, y = (torch.from_numpy(c).to(dtype)[None] for c in reference["deflection_grid"]())
    return torch.cat(deflect(configured(content), [translated(content, part)], x, y)).double().numpy()


def our_image(content, num_pixels, pixel_scale, psf_fwhm, oversampling):
    config = configured(content, num_pixels, pixel_scale, psf_fwhm, oversampling)
    x, y = pixel_grid(num_pixels * oversampling, pixel_scale / oversampling)
    surface = render(config, [translated(content)], x, y)[:, 0]
    return crop(observe(surface, Optics.of(config.instrument)), num_pixels)[0].double().numpy() * pixel_scale**2


def assert_agree(ours, theirs, tolerance):
    assert np.abs(ours - theirs).max() < tolerance * np.abs(theirs).max()


def test_the_file_says_which_lenstronomy_made_it():
    assert str(STORED["lenstronomy_version"]).startswith("1.14")


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("name", "part"), PARTS)
def test_a_deflection_is_that_of_the_stored_reference(name, part, dtype):
    assert_agree(our_deflection(SCENES[name], part, dtype), STORED[f"deflection/{name}/{part}"], TOLERANCE[dtype])


@pytest.mark.parametrize("settings", IMAGES, ids=lambda s: f"{s[0]}-{s[1]}")
def test_an_image_is_that_of_the_stored_reference(settings):
    name, *settings = settings
    assert_agree(our_image(SCENES[name], *settings), STORED[f"image/{name}/{settings[0]}"], 1e-5)


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(100, 106))
def test_lenstronomy_agrees_on_scenes_of_its_own(seed):
    pytest.importorskip("lenstronomy")
    content = reference["scene"](seed, num_points=10, num_halos=3, lens_light=True)
    for dtype, tolerance in TOLERANCE.items():
        for part in ("sie", "shear", "points", "halos"):
            assert_agree(our_deflection(content, part, dtype), reference["deflection"](content, part), tolerance)
    for num_pixels, pixel_scale in ((64, 0.08), (150, 0.05)):
        settings = (num_pixels, pixel_scale, 0.14, 2)
        assert_agree(our_image(content, *settings), reference["image"](content, *settings), 1e-5)
