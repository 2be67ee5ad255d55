"""`--push_to_hub` of a training script, to a Hub on loopback."""

import sys
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard

from tests.loopback_hub import client_of, loopback_hub  # noqa: F401


sys.path.insert(0, str(Path(__file__).parents[2] / "training"))  # as Python does for a script that is launched

import run_classification  # noqa: E402

from lens_transformers.hub import pushing  # noqa: E402


@pytest.fixture
def launch(tmp_path, monkeypatch):
    """Runs run_classification.py on a few official-looking files."""
    generator = np.random.default_rng(0)
    for name in ("no_sub", "cdm", "axion"):
        for split in ("train", "test"):
            (tmp_path / "lenses" / split / name).mkdir(parents=True)
            for index in range(3):
                np.save(tmp_path / "lenses" / split / name / f"{index}.npy", generator.random((32, 32)))

    def launch(*flags):
        arguments = ["--dataset", tmp_path / "lenses" / "train", "--test_dataset", tmp_path / "lenses" / "test"]
        arguments += ["--output_dir", tmp_path / "dm", "--max_steps", 1, "--per_device_train_batch_size", 4]
        arguments += ["--config_overrides", "num_hidden_layers=1", "--baselines", False, "--push_to_hub", True]
        monkeypatch.setattr(sys, "argv", [run_classification.__file__, *map(str, [*arguments, *flags])])
        run_classification.main()
        return tmp_path / "dm"

    return launch


def test_a_run_pushes_itself_with_its_measured_card(loopback_hub, launch, tmp_path):  # noqa: F811
    with client_of(loopback_hub, tmp_path / "hf"):
        folder = launch("--hub_model_id", "org/dm", "--save_strategy", "steps", "--save_steps", "1")
    files = loopback_hub.files("org/dm")
    assert files["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert "figures/roc.png" in files and "results.json" in files
    card = ModelCard(files["README.md"].decode())
    assert card.data.eval_results[0].metric_type == "accuracy"
    assert len(loopback_hub.repo("org/dm").history()) == 2
    assert not [name for name in files if name.endswith(".bin") or name.startswith("checkpoint")]


def test_checkpoints_are_pushed_meanwhile_and_a_lost_connection_loses_none(
    loopback_hub,  # noqa: F811
    launch,
    tmp_path,
    caplog,
    monkeypatch,
):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    flags = ["--hub_model_id", "org/dm", "--save_strategy", "steps", "--save_steps", 1, "--max_steps", 3]
    loopback_hub.fail_next("POST", "/commit/in-progress", action="reset", times=pushing.MAX_ATTEMPTS)
    with client_of(loopback_hub, tmp_path / "hf"):
        # Each waits for the last, so that none is left out.
        folder = launch(*flags, "--hub_strategy", "every_save", "--hub_always_push", True)
    assert "checkpoint-1 was not pushed to org/dm" in caplog.text
    assert all((folder / f"checkpoint-{step}/model.safetensors").is_file() for step in (1, 2, 3))
    titles = [commit.title for commit in loopback_hub.repo("org/dm").history("in-progress")]
    assert titles[:2] == ["Training in progress, step 3", "Training in progress, step 2"]
    files = loopback_hub.files("org/dm", "in-progress")
    assert files["model.safetensors"] == (folder / "checkpoint-3/model.safetensors").read_bytes()
    assert {"config.json", "preprocessor_config.json", "modeling_lens_mae.py"} <= files.keys()
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pth"))]
    # What was measured, with its card, is what the main branch has.
    assert len(loopback_hub.repo("org/dm").history()) == 2 and "README.md" in loopback_hub.files("org/dm")


def test_without_a_network_a_run_finishes_and_says_how_to_push_it(
    loopback_hub,  # noqa: F811
    launch,
    tmp_path,
    caplog,
    monkeypatch,
):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    loopback_hub.close()
    with client_of(loopback_hub, tmp_path / "hf"):
        folder = launch("--hub_model_id", "org/dm")
    assert (folder / "results.json").is_file() and (folder / "README.md").is_file()
    assert f"python -m lens_transformers.hub push {folder} org/dm" in caplog.text
