import json
import shutil

import pytest
import torch

from lens_transformers import LensMAEConfig, LensMAEForClassification, LensMAEImageProcessor
from tests.loopback_hub import client_of, loopback_hub  # noqa: F401


LABELS = {0: "no_sub", 1: "cdm", 2: "axion"}
RESULTS = {
    "task": "classification",
    "model": {"size": "tiny", "parameters": 1010435},
    "data": {"source": "/home/someone/data", "preset": "deeplense_model_2", "num_train": 12000, "num_test": 1500},
    "training": {"max_steps": 400, "train_runtime_s": 61.2, "seed": 3},
    "rows": [
        {"name": "LensMAE", "split": "test", "accuracy": 0.8813333333333333, "auc_macro": 0.94},
        {"name": "PCA + logistic", "split": "test", "accuracy": 0.96, "auc_macro": 0.995},
    ],
    "versions": {"torch": "2.13.0"},
}


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """The folder that a training run leaves, smaller than any."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    config = LensMAEConfig.from_size(
        "tiny",
        num_hidden_layers=1,
        id2label=LABELS,
        label2id={name: index for index, name in LABELS.items()},
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=32,
        stem_hidden_size=4,
    )
    model = LensMAEForClassification(config)
    torch.nn.init.normal_(model.classifier.weight)  # untrained, it would tell no image from another
    model.save_pretrained(folder)
    LensMAEImageProcessor(num_bands=1, white_flux=1.0).save_pretrained(folder)
    (folder / "results.json").write_text(json.dumps(RESULTS))
    (folder / "figures").mkdir()
    (folder / "figures/roc.png").write_bytes(b"\x89PNG not really")
    (folder / "training_args.bin").write_bytes(b"a pickle with hf_aTokenThatMustNeverTravel0123")
    (folder / "checkpoint-2").mkdir()
    (folder / "checkpoint-2/optimizer.pt").write_bytes(b"state")
    return folder


@pytest.fixture
def run(finished_run, tmp_path):
    """A copy of the finished run that a test may change."""
    return shutil.copytree(finished_run, tmp_path / "run")


@pytest.fixture
def hub(loopback_hub, tmp_path, monkeypatch):  # noqa: F811
    """A Hub on loopback that huggingface_hub, in this process, is logged in to. Waiting takes no time; see `waits`."""
    with client_of(loopback_hub, tmp_path / "hf"):
        yield loopback_hub


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """Seconds that were waited, in a world where waiting takes none."""
    waited = []
    monkeypatch.setattr("time.sleep", waited.append)
    return waited
