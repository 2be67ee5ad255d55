"""Tiny sets of rings, and scripts that are launched in this process."""

import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from lens_transformers.data import lens_features


SCRIPTS = Path(__file__).parents[2] / "training"
sys.path.insert(0, str(SCRIPTS))  # as Python does for a script that is launched


def write_rings(folder, split, num_rows, seed, side=32):
    """Rings whose radius depends on the class, in the house's schema."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    labels = np.arange(num_rows) % 3
    radius = 0.3 + 0.15 * labels[:, None, None] + 0.02 * generator.standard_normal((num_rows, 1, 1))
    images = np.exp(-(((np.hypot(x, y) - radius) / 0.1) ** 2)).astype(np.float32)[:, None]
    features = lens_features(images.shape[1:], label=True)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    rows = {"image": list(images), "label": list(labels)}
    Dataset.from_dict(rows, features=features).to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")


@pytest.fixture(scope="session")
def rings(tmp_path_factory):
    """30 images to train on, and 13 to test on."""
    folder = tmp_path_factory.mktemp("rings")
    write_rings(folder, "train", 30, seed=0)
    write_rings(folder, "test", 13, seed=1)
    return folder


@pytest.fixture
def run_script(monkeypatch):
    """Runs a script's `main` with flags."""

    def run(script, *flags):
        monkeypatch.setattr(sys, "argv", [script.__file__, *map(str, flags)])
        script.main()

    return run
