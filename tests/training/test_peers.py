"""Other networks in the place of ours, and the table that they stand in beside ours."""

import json

import numpy as np
import pytest
from safetensors.torch import load_file

from benchmarks import peers, training
from benchmarks import results as results_module
from tests.training.test_run_sr import write_pairs
from training import run_classification, run_mae, run_sr


TWO_STEPS = ["--max_steps", 2, "--per_device_train_batch_size", 3]


@pytest.mark.parametrize(
    ("peer", "recipe", "name", "part", "flags"),
    [
        ("edsr", "sr_deeplense/train", "EDSR", "blocks", ["--filter_size", 3]),
        ("resnet", "deeplense_model_2/classify_from_scratch", "ResNet", "blocks", ["--baselines", False]),
        (
            "vit",
            "assignment/vit_classification",
            "ViT",
            "vit",
            ["--baselines", False, "--validation_fraction", 0.4, "--split_seed", 1, "--num_train_epochs", 1],
        ),
    ],
)
def test_another_network_takes_the_place_of_ours(monkeypatch, tmp_path, rings, peer, recipe, name, part, flags):
    images = write_pairs(tmp_path / "pairs") if peer == "edsr" else rings
    words = ["peers", peer, training.TRAINING / f"recipes/{recipe}.yaml", "--dataset", images, *flags, *TWO_STEPS]
    monkeypatch.setattr("sys.argv", list(map(str, [*words, "--output_dir", tmp_path / "run"])))
    peers.main()
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["rows"][0]["name"] == name
    weights = load_file(tmp_path / "run" / "model.safetensors")
    assert any(key.startswith(f"{part}.") for key in weights)
    assert all(np.isfinite(value.float().numpy()).all() for value in weights.values())


def test_a_finished_run_is_read_and_not_made_again(monkeypatch, tmp_path):
    row = {"name": "LensMAE", "masked_mse_0.75": 0.1}
    written = {}
    for seed in (1, 2):
        folder = tmp_path / f"lens_default_pretrain_seed_{seed}"
        folder.mkdir()
        results = {
            "task": "pretraining",
            "model": {"parameters": 7, "base_model": "/a/folder/of/this/machine"},
            "data": {"source": "simulate:lens_default", "num_test": 3},
            "training": {"train_runtime_s": 90.0, "seed": seed},
            "rows": [row],
        }
        (folder / "results.json").write_text(json.dumps(results))
    monkeypatch.setattr(training.subprocess, "run", lambda *_, **__: pytest.fail("the run is there already"))
    monkeypatch.setattr(training, "write_results", lambda name, results: written.update({name: results}))
    monkeypatch.setattr(results_module, "FOLDER", tmp_path)
    words = ["training", "--runs", "lens_default_pretrain", "--seeds", "1", "2", "--output_dir", str(tmp_path)]
    monkeypatch.setattr("sys.argv", words)
    training.main()
    first, second = written["training"]["lens_default_pretrain"]
    assert (first["training"]["seed"], second["training"]["seed"]) == (1, 2)
    assert (first["minutes"], first["parameters"], first["rows"]) == (1.5, 7, [row])
    assert "base_model" not in json.dumps(first)


def test_every_run_has_a_recipe_and_a_start_that_is_a_run():
    for run in training.RUNS.values():
        assert (training.TRAINING / f"recipes/{run.recipe}.yaml").is_file()
        assert run.program in training.PEERS or (training.TRAINING / f"{run.program}.py").is_file()
        assert run.start is None or training.RUNS[run.start].program == "run_mae"


@pytest.mark.parametrize("name", training.RUNS)
def test_every_run_is_given_what_its_script_takes_and_the_images_as_they_are_divided(monkeypatch, run_script, name):
    """All up to where images are read: the assignment's recipes divide a set, and those here are divided already."""
    run, asked = training.RUNS[name], []
    script = {"run_mae": run_mae, "run_sr": run_sr, "edsr": run_sr}.get(run.program, run_classification)
    start = ["--model_name_or_path", "start"] if run.start else []
    monkeypatch.setattr(script, "set_up", lambda *_: None)

    def load_splits(arguments, *_, **__):
        asked.append(arguments)
        raise InterruptedError

    monkeypatch.setattr(script, "load_splits", load_splits)
    with pytest.raises(InterruptedError):
        run_script(script, training.TRAINING / f"recipes/{run.recipe}.yaml", *run.flags, *start)
    assert asked[0].dataset.startswith("simulate:") and asked[0].split_fractions is None
