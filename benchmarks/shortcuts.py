"""What a linear model finds in the classes: PCA and logistic regression on 64×64 pixels, five folds.

    python -m benchmarks.shortcuts [--num_images 4500]

Where one main lens stands in every image, the class can be read off the total mass; taking that mass out of the lens
and drawing every lens anew closes the shortcut.
"""

import argparse

import numpy as np
import torch
from sklearn.model_selection import StratifiedKFold

from lens_transformers.evaluation import pca_logistic_rows
from lens_transformers.simulation import LensSimulationConfig, get_preset, simulate

from .results import write_results


def scenes() -> dict[str, LensSimulationConfig]:
    """The sets, from the official recipe to the honest one."""
    official, honest = get_preset("deeplense_model_2"), get_preset("lens_default")
    return {
        "deeplense_model_2: one main lens, noise-free": official,
        "the same, substructure's mass compensated": official.with_overrides({"substructure.compensate_mass": True}),
        "lens_default: every lens its own, noise-free": honest.with_overrides({"noise": None}),
        "lens_default": honest,
    }


def main() -> None:
    """Prints the table and writes results/shortcuts.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_images", type=int, default=4500, help="images of a set")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = {}
    for name, config in scenes().items():
        lenses = simulate(config, arguments.num_images, progress=True)
        table[name] = five_folds(min_max(lenses.image.numpy()), lenses.label.numpy())
        for pixels, metrics in table[name].items():
            print(
                name, "|", pixels, "|", ", ".join(f"{key} {value:.3f}" for key, value in metrics.items()), flush=True
            )
    print(f"Wrote {write_results('shortcuts', {'num_images': arguments.num_images, 'mean_of_five_folds': table})}")


def min_max(images: np.ndarray) -> np.ndarray:
    """Images on [0, 1] by their own minimum and maximum, as the official loaders scale them."""
    low, high = images.min(axis=(1, 2, 3), keepdims=True), images.max(axis=(1, 2, 3), keepdims=True)
    return (images - low) / (high - low)


def five_folds(images: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, float]]:
    """Mean metrics of the folds, by kind of pixels."""
    folds = StratifiedKFold(5, shuffle=True, random_state=0).split(images, labels)
    tables = [pca_logistic_rows(images[fit], labels[fit], images[test], labels[test]) for fit, test in folds]
    return {
        rows[0]["name"]: {
            key: float(np.mean([row[key] for row in rows]))
            for key, value in rows[0].items()
            if isinstance(value, float) and (key == "accuracy" or "auc" in key)
        }
        for rows in zip(*tables, strict=True)
    }


if __name__ == "__main__":
    main()
