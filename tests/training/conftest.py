"""Scripts that are launched in this process, and a tiny set of images for them."""

import sys
from pathlib import Path

import pytest

from tests.rings import write_rings


sys.path.insert(0, str(Path(__file__).parents[2] / "training"))  # as Python does for a script that is launched


@pytest.fixture(scope="session")
def rings(tmp_path_factory):
    """30 images to train on, and 13 to test on."""
    folder = tmp_path_factory.mktemp("rings")
    write_rings(folder, "train", 30, seed=0)
    write_rings(folder, "test", 13, seed=1)
    return folder


@pytest.fixture(scope="session")
def labelled_pairs(tmp_path_factory):
    """120 pairs to train on, and 6 to test on, which all scripts read."""
    folder = tmp_path_factory.mktemp("labelled_pairs")
    write_rings(folder, "train", 120, seed=0, side=64, with_target=True)
    write_rings(folder, "test", 6, seed=1, side=64, with_target=True)
    return folder


@pytest.fixture
def run_script(monkeypatch):
    """Runs a script's `main` with flags."""

    def run(script, *flags):
        monkeypatch.setattr(sys, "argv", [script.__file__, *map(str, flags)])
        script.main()

    return run
