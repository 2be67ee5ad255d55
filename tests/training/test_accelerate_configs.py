"""The files of training/accelerate: keys that accelerate knows, layers that exist, and runs where a CPU is enough."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser

from lens_transformers import LensMAEConfig, LensMAEForPreTraining


TRAINING = Path(__file__).parents[2] / "training"
CONFIGS = sorted((TRAINING / "accelerate").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_accelerate_knows_every_key(path):
    config = load_config_from_file(str(path))  # raises on unknown keys of its own
    options = set(vars(launch_command_parser().parse_args(["script.py"])))
    assert {*config.fsdp_config, *config.deepspeed_config} <= options


def test_the_layer_that_fsdp_wraps_is_one_of_the_networks():
    config = load_config_from_file(str(TRAINING / "accelerate/fsdp2.yaml"))
    model = LensMAEForPreTraining(LensMAEConfig.from_size("tiny"))
    wrapped = config.fsdp_config["fsdp_transformer_layer_cls_to_wrap"]
    assert wrapped in {type(module).__name__ for module in model.modules()}


@pytest.mark.parametrize(("name", "num_processes"), [("cpu", 1), ("cpu_gloo", 2)])
def test_what_runs_on_a_cpu_runs_with_all_its_processes(tmp_path, name, num_processes):
    (tmp_path / "lenses" / "train").mkdir(parents=True)
    (tmp_path / "lenses" / "test").mkdir()
    for index in range(12):
        split = "train" if index < 9 else "test"
        np.save(tmp_path / f"lenses/{split}/no_sub_{index}.npy", np.random.default_rng(index).random((32, 32)))
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    command += ["--config_file", str(TRAINING / f"accelerate/{name}.yaml"), str(TRAINING / "run_mae.py")]
    command += ["--dataset", str(tmp_path / "lenses"), "--output_dir", str(tmp_path / "run"), "--max_steps", "2"]
    command += ["--per_device_train_batch_size", "2", "--config_overrides", "num_hidden_layers=1"]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, timeout=120)
    training = json.loads((tmp_path / "run/results.json").read_text())["training"]
    assert training["images_seen"] == 2 * 2 * num_processes
