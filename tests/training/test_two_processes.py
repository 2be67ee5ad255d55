"""Runs of two processes: they measure what one does, go on where they were, and may hold the weights in shards."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import run_classification
import run_mae
import run_sr
import torch
from safetensors.torch import load_file

from tests.rings import write_rings


QUICK = ["--config_overrides", "num_hidden_layers=1,decoder_num_hidden_layers=1,sr_num_blocks=1", "--bf16", False]
QUICK += ["--use_cpu", True, "--per_device_eval_batch_size", 4, "--eval_strategy", "steps", "--eval_on_start", True]
SCRIPTS = {
    "mae": (run_mae, ["--figure_epochs", 1]),
    "classification": (run_classification, ["--baselines", False]),
    "sr": (run_sr, ["--filter_size", 3]),
}
SHARDED = ("mae", "sr")
METRICS = {"mae": ["loss"], "classification": ["loss", "accuracy"], "sr": ["loss", "psnr"]}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with all runs, by script and by `two`, `killed` or `shards`; and the flags of each script."""
    folder = tmp_path_factory.mktemp("two_processes")
    # 13 images to measure on: batches of 4 + 4 and 4 + 1, where the second process fills up.
    write_rings(folder / "pairs", "train", 16, seed=0, side=64, with_target=True)
    write_rings(folder / "pairs", "test", 13, seed=1, side=64, with_target=True)
    flags = {name: ["--dataset", folder / "pairs", *QUICK, *own] for name, (_, own) in SCRIPTS.items()}
    saving = ["--save_strategy", "steps", "--save_steps", 2, "--max_steps", 5, "--per_device_train_batch_size", 4]
    launched = []

    def add(name, kind, *extra, **how):
        arguments = [*flags[name], *saving, "--output_dir", folder / f"{name}_{kind}", *extra]
        launched.append({"script": SCRIPTS[name][0].__name__, "flags": list(map(str, arguments)), **how})

    for name in SCRIPTS:
        add(name, "two")
    add("mae", "killed", killed_at=3)
    add("mae", "killed", "--resume_from_checkpoint", True)
    for name in SHARDED:
        add(name, "shards", fsdp=True)
    add("sr", "shards_killed", killed_at=3, fsdp=True)
    add("sr", "shards_killed", "--resume_from_checkpoint", True, fsdp=True)
    (folder / "runs.json").write_text(json.dumps(launched))
    config = Path(run_mae.__file__).parent / "accelerate/cpu_gloo.yaml"
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config)]
    command += [str(Path(__file__).with_name("in_two_processes.py")), str(folder / "runs.json")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return folder, flags


def read_json(path):
    return json.loads(path.read_text())


def read_first_evaluation(run):
    return next(entry for entry in read_json(run / "trainer_state.json")["log_history"] if "eval_loss" in entry)


def assert_same_weights(one, other, **tolerance):
    one, other = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, **tolerance)


@pytest.mark.parametrize("name", SCRIPTS)
def test_two_processes_measure_what_one_does_with_an_uneven_last_batch(runs, run_script, tmp_path, name):
    folder, flags = runs
    run_script(SCRIPTS[name][0], *flags[name], "--max_steps", 1, "--output_dir", tmp_path)
    one, two = read_first_evaluation(tmp_path), read_first_evaluation(folder / f"{name}_two")
    for metric in METRICS[name]:
        assert two[f"eval_{metric}"] == pytest.approx(one[f"eval_{metric}"], rel=1e-5), metric
    results = read_json(folder / f"{name}_two/results.json")
    assert results["training"]["batch_size"] == 8
    assert results["data"]["num_test"] == 13


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_process_draws_numbers_of_its_own(runs, name):
    states = [runs[0] / f"{name}_two/checkpoint-2/rng_state_{index}.pth" for index in range(2)]
    for generator in ("python", "cpu"):
        one, other = (str(torch.load(state, weights_only=False)[generator]) for state in states)
        assert one != other


@pytest.mark.parametrize(("unbroken", "killed"), [("mae_two", "mae_killed"), ("sr_shards", "sr_shards_killed")])
def test_two_processes_that_were_killed_go_on_to_the_weights_of_an_unbroken_run(runs, unbroken, killed):
    assert_same_weights(runs[0] / unbroken, runs[0] / killed, rtol=0, atol=0)


@pytest.mark.parametrize("name", SHARDED)
def test_weights_in_shards_are_gathered_measured_and_saved_whole(runs, name):
    folder = runs[0] / f"{name}_shards"
    expected = read_json(runs[0] / f"{name}_two/config.json")
    for whole in (folder, folder / "checkpoint-4"):
        config = read_json(whole / "config.json")
        assert (config["architectures"], config["auto_map"]) == (expected["architectures"], expected["auto_map"])
        assert (whole / "modeling_lens_mae.py").is_file() and not list(whole.glob("*fsdp*.py"))
    assert_same_weights(runs[0] / f"{name}_two", folder, rtol=1e-3, atol=1e-4)
    one, other = (read_json(runs[0] / f"{name}_{kind}/results.json")["rows"][0] for kind in ("two", "shards"))
    measured = [metric for metric, value in one.items() if isinstance(value, float)]
    assert measured and all(other[metric] == pytest.approx(one[metric], rel=0.02, abs=1e-3) for metric in measured)
