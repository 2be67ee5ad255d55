"""Our presets beside the official samples: do they look alike, and does what is fitted on ours work on theirs?

    python -m benchmarks.official_samples FOLDER [--figures FOLDER]
    python -m benchmarks.official_samples FOLDER --zero_shot   # what the networks in checkpoints/ make of them, alone

FOLDER holds foundation_64 (Model II), deeplense_model_2_original, sr_pairs_75_150, common_test_150,
real_sr_pairs_64_128 and telescope, none of which this repository may carry. Nothing is ever fitted on them but the
position of one source.
"""

import argparse
import functools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.optimize import least_squares
from torch.nn import functional as F

from lens_transformers import pipeline
from lens_transformers.evaluation import (
    ClassificationMetric,
    SuperResolutionMetric,
    bicubic_upsample,
    pca_logistic_rows,
    upsampling_rows,
)
from lens_transformers.pipelines import read_image_file
from lens_transformers.simulation import get_preset, simulate
from lens_transformers.simulation.grid import crop, pixel_grid
from lens_transformers.simulation.optics import Optics, observe
from lens_transformers.simulation.rendering import render
from lens_transformers.simulation.scenes import Scene, draw_scene

from .results import known_results, write_results
from .shipping import CHECKPOINTS
from .shortcuts import min_max


CLASSES = {
    "foundation_64": ("no_sub", "cdm", "axion"),
    "common_test_150": ("no", "sphere", "vort"),
}
COMPARED_IMAGES = 300
FITTED_IMAGES = 6000
FILTERED_PAIRS = 600
CLASSIFIERS = ("lens-mae-tiny-64-deeplense-model-2", "lens-mae-tiny-64-lens-default")
# What they were trained on, and what linear models beside them are fitted to.
TRAINED_ON = ("deeplense_model_2", "lens_default")
SHARPENERS = ("lens-sr-x2-sr-deeplense", "lens-sr-x2-sr-physical")
TELESCOPES = {"Euclid VIS": "euclid*/vis_data.fits", "HST": "hst*/image.fits"}
# The side that the classifiers were trained on, and about that of the lens in a telescope's image.
SIZE = 64


def main() -> None:
    """Prints what it finds and writes results/official_samples.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the official samples")
    parser.add_argument("--figures", type=Path, help="where to write a figure a preset, ours beside theirs")
    parser.add_argument("--num_images", type=int, default=12_000, help="simulated images to fit the classifier on")
    parser.add_argument("--zero_shot", action="store_true", help="measure the networks in checkpoints/ alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.zero_shot:
        write_results("official_samples", {**known_results("official_samples"), **apply_checkpoints(arguments.data)})
        return
    results = {
        "classifier_of_deeplense_model_2_on_foundation_64": classify(
            arguments.data, "foundation_64", "deeplense_model_2", arguments.num_images
        ),
        "classifier_of_deeplense_common_on_common_test": classify(
            arguments.data, "common_test_150", "deeplense_common", 1500
        ),
        "recipe_of_deeplense_model_2_original": recipe_of_original(arguments.data),
        **apply_checkpoints(arguments.data),
    }
    for preset, folder in (("deeplense_model_2", "foundation_64"), ("deeplense_common", "common_test_150")):
        images, labels = load_classes(arguments.data, folder)
        results[f"statistics_of_{preset}"] = compare(preset, images, labels, arguments.figures)
    pairs = load_pairs(arguments.data)
    results["statistics_of_sr_deeplense"] = compare("sr_deeplense", pairs[1], None, arguments.figures)
    for name, value in results.items():
        print(name, value, flush=True)
    print(f"Wrote {write_results('official_samples', results)}")


def load_classes(data: Path, folder: str) -> tuple[np.ndarray, np.ndarray]:
    """The official images of a folder `(images, 1, height, width)`, on [0, 1], and their classes."""
    images, labels = [], []
    for label, name in enumerate(CLASSES[folder]):
        for path in sorted((data / folder).glob(f"{name}_[0-9]*.npy")):
            images.append(np.load(path).squeeze()[None])
            labels.append(label)
    if not images:
        raise SystemExit(f"{data / folder} has no official images; give the folder that holds {folder}/.")
    return min_max(np.stack(images).astype(np.float32)), np.array(labels)


def load_pairs(data: Path, folder: str = "sr_pairs_75_150") -> tuple[np.ndarray, np.ndarray]:
    """The official pairs, low and high resolution, `(images, 1, height, width)`."""
    paths = [sorted((data / folder).glob(f"{kind}_*.npy")) for kind in ("LR", "HR")]
    low, high = (np.stack([np.load(path).squeeze()[None] for path in some]).astype(np.float32) for some in paths)
    return low, high


def apply_checkpoints(data: Path) -> dict[str, dict[str, list[dict]]]:
    """What the networks in checkpoints/ make of official images, and of ours in as few bits."""
    lenses = simulate("deeplense_model_2", COMPARED_IMAGES, seed=1)
    rounded = np.round(255 * min_max(lenses.image.numpy())) / 255
    words = f"Model II as simulated here, {COMPARED_IMAGES} images rounded to the 8 bits that the official ones have"
    return {"zero_shot": zero_shot(data), "rounded": {words: tell_classes(rounded, lenses.label.numpy())}}


def zero_shot(data: Path) -> dict[str, list[dict]]:
    """What the networks in checkpoints/ make of every official set, beside baselines where they need no training."""
    foundation, labels = load_classes(data, "foundation_64")
    originals = [np.load(data / "deeplense_model_2_original" / f"{name}.npy") for name in ("nosub", "cdm", "axion")]
    originals = min_max(np.stack(originals).reshape(-1, 1, SIZE, SIZE).astype(np.float32))
    common, common_labels = load_classes(data, "common_test_150")
    common = min_max(F.interpolate(torch.from_numpy(common), SIZE, mode="bicubic", antialias=True).numpy())
    telescope = {name: cut_lens(next((data / "telescope").glob(files))) for name, files in TELESCOPES.items()}
    return {
        f"Model II, {len(foundation)} images": tell_classes(foundation, labels),
        # `recipe_of_original` finds that they were made as Model III's are.
        f"released as Model II, made as Model III, {len(originals)} images": tell_classes(originals, np.arange(3)),
        f"common test, {len(common)} images made 64×64": tell_classes(common, common_labels),
        "10 pairs 75→150": sharpen(*load_pairs(data)),
        "4 pairs of real sky 64→128": sharpen(*load_pairs(data, "real_sr_pairs_64_128")),
        "two lenses of telescopes, 64×64 pixels around each, over their peak": [
            {"name": f"{lens}, {network}", **numbers}
            for lens, image in telescope.items()
            for network, numbers in describe_lens(image).items()
        ],
    }


def cut_lens(path: Path) -> np.ndarray:
    """The middle of a telescope's image, `(1, 1, 64, 64)`, over its brightest pixel."""
    image = read_image_file(path)[0].astype(np.float32)
    top, left = ((side - SIZE) // 2 for side in image.shape)
    cut = image[None, None, top : top + SIZE, left : left + SIZE]
    return cut / cut.max()


# Once for all sets.
fitted_to = functools.lru_cache(simulate)


def tell_classes(images: np.ndarray, labels: np.ndarray) -> list[dict]:
    """The row of each classifier, and those of linear models fitted to simulated images like its own."""
    rows = []
    for name in CLASSIFIERS:
        probabilities = pipeline("classification", CHECKPOINTS / name).logits(images).softmax(dim=1)
        rows.append({"name": name, **ClassificationMetric().compute(predictions=probabilities, references=labels)})
    for preset in TRAINED_ON:
        lenses = fitted_to(preset, FITTED_IMAGES)
        fitted = pca_logistic_rows(min_max(lenses.image.numpy()), lenses.label.numpy(), images, labels)
        rows += [{**row, "name": f"{row['name']}, fitted to {preset}"} for row in fitted]
    return rows


def sharpen(low: np.ndarray, high: np.ndarray) -> list[dict]:
    """The row of each super-resolution network, and those of upsampling, by a filter fitted to simulated pairs too."""
    rows = []
    for name in SHARPENERS:
        sharp = pipeline("super-resolution", CHECKPOINTS / name)(low)
        rows.append({"name": name, **SuperResolutionMetric().compute(predictions=sharp, references=high)})
    pairs = fitted_to("sr_deeplense", FILTERED_PAIRS)
    for row in upsampling_rows(pairs.image.numpy(), pairs.target.numpy(), low, high):
        is_fitted = row["name"].startswith("Least-squares")
        rows.append({**row, "name": f"{row['name']}, fitted to sr_deeplense"} if is_fitted else row)
    return rows


def describe_lens(image: np.ndarray) -> dict[str, dict[str, float]]:
    """What each network says of an image of which nobody knows the truth: probabilities, or the flux that it keeps."""
    said: dict[str, dict[str, float]] = {}
    for name in CLASSIFIERS:
        answer = pipeline("classification", CHECKPOINTS / name)(image)
        probabilities = zip(answer.class_names, answer.probabilities[0].tolist(), strict=True)
        said[name] = {f"probability_of_{class_name}": probability for class_name, probability in probabilities}
    sharpened = {name: pipeline("super-resolution", CHECKPOINTS / name)(image) for name in SHARPENERS}
    for name, sharp in {**sharpened, "Bicubic": bicubic_upsample(image, 2)}.items():
        said[name] = {"flux_ratio": float(sharp.mean() / image.mean())}
    return said


def classify(data: Path, folder: str, preset: str, num_images: int) -> dict:
    """PCA and logistic regression, fitted on simulated images alone."""
    lenses = simulate(preset, num_images, progress=True)
    images, labels = load_classes(data, folder)
    rows = pca_logistic_rows(min_max(lenses.image.numpy()), lenses.label.numpy(), images, labels)
    return {row["name"]: {key: row[key] for key in row if key == "accuracy" or "auc" in key} for row in rows}


def recipe_of_original(data: Path) -> dict:
    """How far each preset's smooth lens is from the three originals, rms over the peak, at the best source position.

    The position is one for all three, fitted on nosub. What is left of the other two is their substructure.
    """
    images = {name: np.load(data / "deeplense_model_2_original" / f"{name}.npy") for name in ("nosub", "cdm", "axion")}
    return {
        preset: residuals(preset, {name: image.squeeze() for name, image in images.items()})
        for preset in ("deeplense_model_2", "deeplense_model_3")
    }


def residuals(preset: str, images: dict[str, np.ndarray]) -> dict[str, float]:
    """See `recipe_of_original`."""
    config = get_preset(preset).with_overrides({"substructure": None})
    instrument = config.instrument
    x, y = (c.double() for c in pixel_grid(instrument.num_pixels, instrument.pixel_scale_arcsec))
    optics = in_float64(Optics.of(instrument))
    parameters = draw_scene(config, 0, 0).parameters

    def image(position: np.ndarray) -> np.ndarray:
        moved = parameters | {"source_x_arcsec": position[0], "source_y_arcsec": position[1]}
        scene = Scene(0, moved, np.zeros((0, 3)), np.zeros((0, 5)))
        pixels = crop(observe(render(config, [scene], x, y)[:, 0], optics), instrument.num_pixels)[0].numpy()
        return (pixels - pixels.min()) / (pixels.max() - pixels.min())

    starts = [(dx, dy) for dx in (-0.15, 0.15) for dy in (-0.15, 0.15)]
    fits = [
        least_squares(lambda p: (image(p) - images["nosub"]).ravel(), start, x_scale=0.1, xtol=1e-12, ftol=1e-12)
        for start in starts
    ]
    best = min(fits, key=lambda fit: fit.cost)
    return {name: float(np.sqrt(np.mean((image(best.x) - original) ** 2))) for name, original in images.items()}


def in_float64(optics: Optics) -> Optics:
    """The same optics, to see differences below float32's rounding."""
    return replace(optics, response=optics.response.double())


def compare(preset: str, images: np.ndarray, labels: np.ndarray | None, figures: Path | None) -> dict:
    """How often a statistic of ours lies within the scatter of the official images of the same class.

    Of each statistic's numbers (of the profile the radii, of the spectrum the frequencies), the part where the median
    of ours lies between the smallest and the largest of theirs. The samples were read back from figures of 8 bits, so
    ours are rounded alike.
    """
    lenses = simulate(preset, COMPARED_IMAGES)
    ours = (lenses.image if lenses.target is None else lenses.target).numpy()
    ours = np.round(255 * min_max(ours)) / 255
    of_ours = np.zeros(len(ours), int) if labels is None else lenses.label.numpy()
    labels = np.zeros(len(images), int) if labels is None else labels
    table = {}
    for label in np.unique(labels):
        mine, theirs = statistics(ours[of_ours == label]), statistics(images[labels == label])
        table[int(label)] = {}
        for name, values in theirs.items():
            median = np.median(mine[name], 0)
            table[int(label)][name] = float(np.mean((values.min(0) <= median) & (median <= values.max(0))))
        table[int(label)]["medians_ours_theirs"] = {
            name: [float(np.median(of[name])) for of in (mine, theirs)] for name in ("background", "mean", "noise")
        }
    if figures is not None:
        figures.mkdir(parents=True, exist_ok=True)
        write_figure(figures / f"{preset}.png", preset, ours, of_ours, images, labels)
    return table


def statistics(images: np.ndarray) -> dict[str, np.ndarray]:
    """Radial profile, power spectrum, background, mean and noise of images `(images, 1, size, size)`, a row each."""
    pixels = images[:, 0].astype(np.float64)
    size = pixels.shape[-1]
    axis = np.arange(size) - (size - 1) / 2
    radius = np.hypot(axis[:, None], axis).astype(int).clip(max=size // 2)
    frequency = np.fft.fftfreq(size) * size
    wave = np.hypot(frequency[:, None], frequency).astype(int).clip(max=size // 2)
    spectrum = np.abs(np.fft.fft2(pixels)) ** 2 / size**2
    corner = np.s_[:, : size // 8, : size // 8]
    # The second difference along a row is blind to what is smooth.
    rough = np.diff(pixels, n=2, axis=2)[corner] / math.sqrt(6)
    return {
        "radial_profile": binned(pixels, radius),
        "log_power_spectrum": np.log10(binned(spectrum, wave)[:, 1 : size // 2]),
        "background": np.median(pixels[corner], axis=(1, 2))[:, None],
        "mean": pixels.mean(axis=(1, 2))[:, None],
        "noise": rough.std(axis=(1, 2))[:, None],
    }


def binned(values: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Means over bins of pixels, `(images, bins)`."""
    counts = np.bincount(bins.ravel())
    return np.stack([np.bincount(bins.ravel(), weights=image.ravel()) / counts for image in values])


def write_figure(
    path: Path, preset: str, ours: np.ndarray, of_ours: np.ndarray, images: np.ndarray, labels: np.ndarray
) -> None:
    """Ours above theirs, three of each class, and the two statistics that are curves."""
    classes = np.unique(labels)
    figure = Figure(figsize=(2 * 3 * len(classes) + 6, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 3 * len(classes) + 3)
    for row, (name, pixels, kinds) in enumerate((("ours", ours, of_ours), ("official", images, labels))):
        for place, label in enumerate(classes):
            for number, image in enumerate(pixels[kinds == label][:3]):
                axes = figure.add_subplot(grid[row, 3 * place + number])
                axes.imshow(np.arcsinh(image[0] / 0.05), origin="lower", cmap="inferno")
                axes.set_title(f"{name}, class {label}", fontsize=8)
                axes.set_axis_off()
    for row, name in enumerate(("radial_profile", "log_power_spectrum")):
        axes = figure.add_subplot(grid[row, -3:])
        mine, theirs = statistics(ours)[name], statistics(images)[name]
        x = np.arange(theirs.shape[1])
        axes.fill_between(x, theirs.min(0), theirs.max(0), alpha=0.3, label="official, smallest to largest")
        axes.plot(x, np.median(mine, 0), label="ours, median")
        axes.set_title(f"{preset}: {name.replace('_', ' ')}", fontsize=8)
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
