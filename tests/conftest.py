"""What every test gets: Hugging Face caches of its own, no network, a fixed seed, one thread."""

import os
import random
import sys

import pytest


# The libraries read these when they are imported, which is after this file.
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_EVALUATE_OFFLINE="1", MPLBACKEND="Agg")


@pytest.fixture(autouse=True)
def own_caches(tmp_path_factory, monkeypatch):
    home = tmp_path_factory.mktemp("hf_home")
    monkeypatch.setenv("HF_HOME", str(home))  # for the processes that a test starts
    if "datasets" in sys.modules:
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", home / "datasets")
    if "transformers" in sys.modules:
        monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(home / "modules"))


def set_seeds():
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
        sys.modules["torch"].set_num_threads(1)


# What a whole file shares is made before the first of its tests has its seed.
seeded_file = pytest.fixture(autouse=True, scope="module")(set_seeds)
fixed_seed = pytest.fixture(autouse=True)(set_seeds)
