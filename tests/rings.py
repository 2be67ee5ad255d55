"""Tiny sets of lens-like images."""

import numpy as np
from datasets import Dataset

from lens_transformers.data import lens_features


def write_rings(folder, split, num_rows, seed, side=32, with_target=False):
    """Rings whose radius depends on the class, in the house's schema; as targets, of images half as wide."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    labels = np.arange(num_rows) % 3
    radius = 0.3 + 0.15 * labels[:, None, None] + 0.02 * generator.standard_normal((num_rows, 1, 1))
    images = np.exp(-(((np.hypot(x, y) - radius) / 0.1) ** 2)).astype(np.float32)[:, None]
    rows = {"image": images, "label": labels}
    if with_target:
        rows["target"] = images
        rows["image"] = images.reshape(num_rows, 1, side // 2, 2, side // 2, 2).mean(axis=(3, 5))
    features = lens_features(
        rows["image"].shape[1:], target_shape=images.shape[1:] if with_target else None, label=True
    )
    (folder / "data").mkdir(parents=True, exist_ok=True)
    Dataset.from_dict({name: list(values) for name, values in rows.items()}, features=features).to_parquet(
        folder / "data" / f"{split}-00000-of-00001.parquet"
    )
