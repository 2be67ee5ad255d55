"""Writes `lenstronomy_reference.npz`: deflections and images of fixed scenes by lenstronomy, an independent code.

    pip install -r tests/requirements-oracle.txt
    python tests/simulation/write_lenstronomy_reference.py

The scenes are in lenstronomy's own terms. `test_against_lenstronomy.py` translates them into ours, compares with the
file, and, where lenstronomy is installed, with scenes that are computed on the spot.
"""

from pathlib import Path

import numpy as np


FILE = Path(__file__).with_name("lenstronomy_reference.npz")

# Points across a deflection field of 6 arcsec, far fewer than an image has, so that the file stays small.
DEFLECTION_POINTS = 24


def scene(seed: int, num_points: int = 0, num_halos: int = 0, lens_light: bool = False) -> dict:
    """A scene in lenstronomy's terms: SIE, shear, point masses, truncated NFW halos, source and light of the lens."""
    rng = np.random.default_rng(seed)

    def place(radius):
        angle = rng.uniform(0, 2 * np.pi)
        return radius * np.cos(angle), radius * np.sin(angle)

    def ellipticity(largest):
        return place(rng.uniform(0.02, largest))

    sie = {"theta_E": rng.uniform(0.9, 1.6)}
    sie |= dict(zip(("e1", "e2", "center_x", "center_y"), (*ellipticity(0.25), *place(0.05)), strict=True))
    shear = dict(zip(("gamma1", "gamma2"), place(0.06), strict=True))
    points = [
        {"theta_E": rng.uniform(0.005, 0.12)}
        | dict(zip(("center_x", "center_y"), place(rng.uniform(0.25, 2)), strict=True))
        for _ in range(num_points)
    ]
    halos = [
        {"Rs": rng.uniform(0.05, 0.4), "alpha_Rs": rng.uniform(0.002, 0.02), "r_trunc": rng.uniform(0.5, 3)}
        | dict(zip(("center_x", "center_y"), place(rng.uniform(0.25, 2)), strict=True))
        for _ in range(num_halos)
    ]
    lights = [
        {"amp": 1.0, "R_sersic": rng.uniform(0.2, 0.4), "n_sersic": rng.uniform(0.8, 2.5)}
        | dict(zip(("e1", "e2", "center_x", "center_y"), (*ellipticity(0.2), *place(0.2)), strict=True))
        for _ in range(1 + lens_light)
    ]
    return {
        "sie": sie,
        "shear": shear,
        "points": points,
        "halos": halos,
        "source": lights[0],
        "lens_light": lights[1:],
    }


SCENES = {
    "smooth": scene(1),
    "points": scene(2, num_points=25),
    "halos": scene(3, num_halos=8),
    "lens_light": scene(4, lens_light=True),
}
# Name, pixels, pixel width in arcsec, PSF width in arcsec, oversampling.
IMAGES = [
    ("smooth", 64, 0.101, 0.16, 1),
    ("smooth", 150, 0.05, 0.087, 2),
    ("points", 64, 0.08, 0.14, 2),
    ("points", 150, 0.05, 0.087, 1),
    ("halos", 64, 0.08, 0.14, 1),
    ("halos", 150, 0.05, 0.087, 2),
    ("lens_light", 64, 0.08, 0.2, 2),
    ("lens_light", 150, 0.05, 0.1, 1),
]


def deflection(scene: dict, part: str | None = None) -> np.ndarray:
    """Deflection by one part of a scene, or by all, `(2, DEFLECTION_POINTS ** 2)` in arcsec."""
    model, kwargs = lens_model(scene, part)
    x, y = deflection_grid()
    return np.stack(model.alpha(x, y, kwargs))


def deflection_grid() -> tuple[np.ndarray, np.ndarray]:
    axis = (np.arange(DEFLECTION_POINTS) + 0.5) / DEFLECTION_POINTS * 6 - 3
    x, y = np.meshgrid(axis, axis)
    return x.ravel(), y.ravel()


def lens_model(scene: dict, part: str | None = None):
    from lenstronomy.LensModel.lens_model import LensModel

    kinds = {"sie": "SIE", "shear": "SHEAR", "points": "POINT_MASS", "halos": "TNFW"}
    named = [
        (kind, kwargs)
        for name, kind in kinds.items()
        if part in (None, name)
        for kwargs in (scene[name] if isinstance(scene[name], list) else [scene[name]])
    ]
    return LensModel([kind for kind, _ in named]), [kwargs for _, kwargs in named]


def image(scene: dict, num_pixels: int, pixel_scale: float, psf_fwhm: float, oversampling: int) -> np.ndarray:
    """An image without noise, `(num_pixels, num_pixels)`, in brightness times the area of a pixel."""
    from lenstronomy.Data.imaging_data import ImageData
    from lenstronomy.Data.psf import PSF
    from lenstronomy.ImSim.image_model import ImageModel
    from lenstronomy.LightModel.light_model import LightModel

    corner = -(num_pixels - 1) / 2 * pixel_scale
    data = ImageData(
        image_data=np.zeros((num_pixels, num_pixels)),
        ra_at_xy_0=corner,
        dec_at_xy_0=corner,
        transform_pix2angle=pixel_scale * np.eye(2),
    )
    model, kwargs = lens_model(scene)
    imaging = ImageModel(
        data,
        PSF(psf_type="GAUSSIAN", fwhm=psf_fwhm, pixel_size=pixel_scale, truncation=5),
        lens_model_class=model,
        source_model_class=LightModel(["SERSIC_ELLIPSE"]),
        lens_light_model_class=LightModel(["SERSIC_ELLIPSE"] * len(scene["lens_light"])),
        kwargs_numerics={"supersampling_factor": oversampling, "supersampling_convolution": oversampling > 1},
    )
    return imaging.image(kwargs, [scene["source"]], scene["lens_light"])


def main() -> None:
    import lenstronomy

    arrays = {"lenstronomy_version": np.array(lenstronomy.__version__)}
    for name, content in SCENES.items():
        for part in ("sie", "shear", "points", "halos"):
            if content[part]:
                arrays[f"deflection/{name}/{part}"] = deflection(content, part)
        arrays[f"deflection/{name}/all"] = deflection(content)
    for name, *settings in IMAGES:
        arrays[f"image/{name}/{settings[0]}"] = image(SCENES[name], *settings).astype(np.float32)
    temporary = FILE.with_suffix(".tmp.npz")
    np.savez_compressed(temporary, **arrays)
    temporary.rename(FILE)


if __name__ == "__main__":
    main()
