"""A run that is killed at any step and gone on with ends as an unbroken one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import callbacks
import output_folder
import pytest
import run_classification
import run_mae
import torch
from command_line import LensTrainingArguments
from safetensors.torch import load_file


QUICK = ["--config_overrides", "num_hidden_layers=1,decoder_num_hidden_layers=1", "--learning_rate", "1e-3"]
PLATEAU = ["--lr_scheduler_type", "reduce_lr_on_plateau", "--lr_scheduler_kwargs", '{"patience": 0, "mode": "max"}']
# Leaves 24 images to train on, and some of each class to choose by.
HELD_OUT = ["--validation_fraction", 0.2, "--split_seed", 5]
# Two and a half epochs of four steps, the last with a partial batch.
STEPS = [*QUICK, "--max_steps", 10, "--save_strategy", "steps", "--save_steps", 3, "--augmentation", "dihedral"]


class Killed(BaseException):
    """Stands for SIGKILL: nothing that handles errors sees it."""


def killed_at(step):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == step:
            raise Killed

    return on_step_end


def weights_of(folder):
    return load_file(folder / "model.safetensors")


def assert_same_weights(one, other):
    one, other = weights_of(one), weights_of(other)
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.fixture
def run_unbroken_and_killed(run_script, monkeypatch, tmp_path):
    """Makes a run at once, and the same again, killed after some of its steps; gives the folders of both."""

    def run_both(script, *flags, killed_steps):
        unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
        run_script(script, *flags, "--output_dir", unbroken)
        resumed = [*flags, "--output_dir", killed, "--resume_from_checkpoint", True]
        for step in killed_steps:
            with monkeypatch.context() as patch, pytest.raises(Killed):
                patch.setattr(callbacks.MetricsFile, "on_step_end", killed_at(step))
                run_script(script, *resumed)
        run_script(script, *resumed)
        return unbroken, killed

    return run_both


@pytest.mark.parametrize(
    ("script", "killed_steps", "extra"),
    [
        (run_mae, [5, 8], ["--ema_decay", 0.9, "--mask_ratio_start", 0.5]),
        (run_mae, [9], ["--gradient_accumulation_steps", 2, "--per_device_train_batch_size", 4]),
        # 3 is the last step of an epoch, after which the rate depends on what was measured.
        (run_classification, [5], [*HELD_OUT, "--eval_strategy", "epoch", *PLATEAU]),
    ],
    ids=["averaged weights", "accumulated gradients", "an evaluation at the end of the epoch"],
)
def test_a_killed_run_goes_on_to_the_weights_of_an_unbroken_one(
    rings, run_unbroken_and_killed, script, killed_steps, extra
):
    flags = ["--dataset", rings, *STEPS, *extra]
    if script is run_classification:
        flags += ["--baselines", False]
    runs = run_unbroken_and_killed(script, *flags, killed_steps=killed_steps)
    assert_same_weights(*runs)
    logs = [(run / "metrics.jsonl").read_text().splitlines() for run in runs]
    entries = [list(map(json.loads, lines)) for lines in logs]
    for name in ("loss", "eval_loss"):
        steps = [[entry["step"] for entry in of_run if name in entry] for of_run in entries]
        assert steps[0] == steps[1]


# transformers saves a ViT's weights under names of older versions.
VIT = "hidden_size=16,num_hidden_layers=1,num_attention_heads=2,intermediate_size=16,patch_size=8"
STOCK = ["--model_type", "vit", "--config_overrides", VIT, "--baselines", False, "--learning_rate", "1e-2"]
EACH_STEP = ["--eval_strategy", "steps", "--eval_steps", 1, "--save_strategy", "steps", "--save_steps", 1]


def test_a_stock_classifier_goes_on_to_the_weights_of_an_unbroken_run(rings, run_unbroken_and_killed):
    flags = ["--dataset", rings, *STOCK, "--max_steps", 4, "--save_strategy", "steps", "--save_steps", 2]
    assert_same_weights(*run_unbroken_and_killed(run_classification, *flags, killed_steps=[3]))


def test_the_best_checkpoint_of_a_stock_classifier_is_what_remains(rings, run_script, tmp_path):
    # As if the worst were the best, so that it is not the last.
    flags = ["--load_best_model_at_end", True, "--metric_for_best_model", "loss", "--greater_is_better", True]
    data = ["--dataset", rings, "--validation_fraction", 0.4, "--split_seed", 1, "--max_steps", 3]
    run_script(run_classification, *data, *STOCK, *EACH_STEP, *flags, "--output_dir", tmp_path)
    best = json.loads((tmp_path / "trainer_state.json").read_text())["best_global_step"]
    assert best < 3
    assert_same_weights(tmp_path, tmp_path / f"checkpoint-{best}")


def test_a_stream_of_several_passes_goes_on_where_it_was(rings, run_unbroken_and_killed):
    flags = ["--dataset", rings, *STEPS, "--streaming", True]
    assert_same_weights(*run_unbroken_and_killed(run_mae, *flags, killed_steps=[8]))


def test_time_and_images_are_those_of_all_sessions(rings, run_script, monkeypatch, tmp_path):
    flags = ["--dataset", rings, *STEPS, "--output_dir", tmp_path]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(callbacks.MetricsFile, "on_step_end", killed_at(8))
        run_script(run_mae, *flags)
    path = tmp_path / "checkpoint-6/trainer_state.json"
    state = json.loads(path.read_text())
    seconds = state["stateful_callbacks"]["Duration"]["attributes"]
    assert 0 < seconds["before"] < 100
    seconds["before"] += 1000
    path.write_text(json.dumps(state))
    run_script(run_mae, *flags, "--resume_from_checkpoint", True)
    training = json.loads((tmp_path / "results.json").read_text())["training"]
    assert 1000 < training["train_runtime_s"] < 1100
    assert json.loads((tmp_path / "all_results.json").read_text())["train_samples_per_second"] < 0.1
    assert training["images_seen"] == 30 + 30 + 2 * 8  # a step sees 8, the last of an epoch 6


def test_a_time_budget_is_not_measured_anew(rings, run_script, monkeypatch, tmp_path):
    flags = ["--dataset", rings, *QUICK, "--max_train_seconds", 1, "--save_strategy", "steps", "--save_steps", 2]
    flags += ["--output_dir", tmp_path]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(callbacks.MetricsFile, "on_step_end", killed_at(3))
        run_script(run_mae, *flags)
    planned = json.loads((tmp_path / "checkpoint-2/trainer_state.json").read_text())["max_steps"]
    run_script(run_mae, *flags, "--resume_from_checkpoint", True)
    assert json.loads((tmp_path / "trainer_state.json").read_text())["global_step"] == planned


def test_sigkill_loses_nothing_that_was_saved_even_while_a_checkpoint_is_written(rings, run_script, tmp_path):
    flags = ["--dataset", rings, *STEPS, "--output_dir"]
    program = """
import os, signal, sys
sys.argv[0] = run_mae = "run_mae.py"
import loop, run_mae
save = loop.RunTrainer._save_optimizer_and_scheduler
def killed_while_saving(self, folder):
    if self.state.global_step == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    save(self, folder)
loop.RunTrainer._save_optimizer_and_scheduler = killed_while_saving
run_mae.main()
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(run_mae.__file__).parent), *sys.path])}
    command = [sys.executable, "-c", program, *map(str, flags), str(tmp_path / "killed")]
    status = subprocess.run(command, env=environment, capture_output=True, timeout=120).returncode
    assert status == -signal.SIGKILL
    assert (tmp_path / "killed/checkpoint-6/model.safetensors").is_file()
    assert output_folder.last_checkpoint(tmp_path / "killed").name == "checkpoint-3"
    run_script(run_mae, *flags, tmp_path / "killed", "--resume_from_checkpoint", True)
    run_script(run_mae, *flags, tmp_path / "unbroken")
    assert_same_weights(tmp_path / "unbroken", tmp_path / "killed")


def test_ctrl_c_writes_a_checkpoint_and_says_how_to_go_on(rings, run_script, monkeypatch, tmp_path):
    flags = ["--dataset", rings, *STEPS, "--output_dir"]
    handler = signal.getsignal(signal.SIGINT)

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 4:
            # Once by SLURM, which signals every process, and once by a launcher.
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch, pytest.raises(SystemExit, match="--resume_from_checkpoint .*checkpoint-5"):
        patch.setattr(callbacks.MetricsFile, "on_step_begin", on_step_begin)
        run_script(run_mae, *flags, tmp_path / "stopped")
    assert signal.getsignal(signal.SIGINT) is handler
    run_script(run_mae, *flags, tmp_path / "stopped", "--resume_from_checkpoint", tmp_path / "stopped/checkpoint-5")
    run_script(run_mae, *flags, tmp_path / "unbroken")
    assert_same_weights(tmp_path / "unbroken", tmp_path / "stopped")


def interrupted_in(step):
    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == step - 1:
            os.kill(os.getpid(), signal.SIGINT)

    return on_step_begin


def test_ctrl_c_in_the_last_step_changes_nothing(rings, run_script, monkeypatch, tmp_path, caplog):
    flags = ["--dataset", rings, *QUICK, "--max_steps", 4, "--eval_strategy", "epoch", "--output_dir"]
    run_script(run_mae, *flags, tmp_path / "unbroken")
    with monkeypatch.context() as patch:
        patch.setattr(callbacks.MetricsFile, "on_step_begin", interrupted_in(4))
        run_script(run_mae, *flags, tmp_path / "interrupted")
    assert "All steps were done" in caplog.text
    assert_same_weights(tmp_path / "unbroken", tmp_path / "interrupted")
    names = [
        [set(json.loads(line)) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("unbroken", "interrupted")
    ]
    assert names[0] == names[1] and (tmp_path / "interrupted/results.json").is_file()


def test_the_checkpoint_to_go_on_from_is_kept_beside_the_best(rings, run_script, monkeypatch, tmp_path):
    flags = ["--dataset", rings, *QUICK, "--max_steps", 4, "--load_best_model_at_end", True, "--save_total_limit", 1]
    flags += ["--validation_fraction", 0.4, "--split_seed", 1]
    for name in ("eval", "save"):
        flags += [f"--{name}_strategy", "steps", f"--{name}_steps", 2]
    monkeypatch.setattr(callbacks.MetricsFile, "on_step_begin", interrupted_in(3))
    with pytest.raises(SystemExit, match="--resume_from_checkpoint .*checkpoint-3"):
        run_script(run_mae, *flags, "--output_dir", tmp_path)
    assert {path.name for path in tmp_path.glob("checkpoint-*")} == {"checkpoint-2", "checkpoint-3"}


def test_ctrl_c_saves_where_otherwise_the_best_alone_is_saved(rings, run_script, monkeypatch, tmp_path):
    flags = ["--dataset", rings, *QUICK, "--max_steps", 4, "--save_strategy", "best", "--greater_is_better", True]
    flags += ["--validation_fraction", 0.4, "--split_seed", 1, "--eval_strategy", "steps", "--eval_steps", 1]
    monkeypatch.setattr(callbacks.MetricsFile, "on_step_begin", interrupted_in(3))
    with pytest.raises(SystemExit, match="--resume_from_checkpoint .*checkpoint-3"):
        run_script(run_mae, *flags, "--output_dir", tmp_path)
    state = json.loads((tmp_path / "checkpoint-3/trainer_state.json").read_text())
    assert state["best_global_step"] < 3


def test_a_run_that_has_ended_without_checkpoints_is_not_trained_again(rings, run_script, tmp_path):
    flags = ["--dataset", rings, *QUICK, "--max_steps", 1, "--output_dir", tmp_path]
    run_script(run_mae, *flags)
    before = (tmp_path / "results.json").read_bytes()
    with pytest.raises(ValueError, match="has ended and left no checkpoint to go on from.*--overwrite_output_dir"):
        run_script(run_mae, *flags, "--resume_from_checkpoint", True)
    assert (tmp_path / "results.json").read_bytes() == before


def test_a_checkpoint_is_chosen_only_where_there_are_several(rings, run_script, tmp_path):
    flags = ["--dataset", rings, *QUICK, "--output_dir", tmp_path, "--load_best_model_at_end", True]
    with pytest.raises(ValueError, match="give --eval_strategy and --save_strategy too"):
        run_script(run_mae, *flags)


def test_arguments_in_a_file_that_cannot_be_read_are_refused_by_its_name(run_script, tmp_path):
    (tmp_path / "run.yaml").write_text("dataset: [")
    with pytest.raises(SystemExit, match=r"run\.yaml: neither YAML nor JSON"):
        run_script(run_mae, tmp_path / "run.yaml")


def test_ctrl_c_a_second_time_stops_at_once(monkeypatch):
    monkeypatch.setattr(callbacks.StopOnSignal, "SECONDS_OF_ONE_SIGNAL", 0.0)
    with callbacks.StopOnSignal(accelerator=None).listening(), pytest.raises(KeyboardInterrupt):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)


def test_early_stopping_goes_on_counting(rings, run_script, monkeypatch, tmp_path):
    flags = ["--dataset", rings, *QUICK, "--max_steps", 12, "--load_best_model_at_end", True]
    flags += ["--validation_fraction", 0.4, "--split_seed", 1]
    # The loss falls at every evaluation, which here is for the worse.
    flags += ["--metric_for_best_model", "loss", "--greater_is_better", True]
    for name in ("eval", "save"):
        flags += [f"--{name}_strategy", "steps", f"--{name}_steps", 2]
    flags += ["--early_stopping_patience", 3, "--output_dir", tmp_path]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(callbacks.MetricsFile, "on_step_end", killed_at(7))
        run_script(run_mae, *flags)
    run_script(run_mae, *flags, "--resume_from_checkpoint", True)
    # The first is the best, and three do not better it.
    assert json.loads((tmp_path / "trainer_state.json").read_text())["global_step"] == 8


@pytest.mark.parametrize("resume", ["True", "the checkpoint"])
def test_a_checkpoint_of_another_number_of_processes_is_refused(tmp_path, resume):
    checkpoint = tmp_path / "checkpoint-2"
    checkpoint.mkdir()
    (checkpoint / output_folder.STATE).write_text('{"global_step": 2}')
    for index in range(2):
        (checkpoint / f"rng_state_{index}.pth").touch()
    arguments = LensTrainingArguments(
        str(tmp_path), resume_from_checkpoint="True" if resume == "True" else str(checkpoint)
    )
    with pytest.raises(ValueError, match=r"checkpoint-2: .* was 2, .* is 1 now, .* --num_processes 2\."):
        output_folder.prepare_output_folder(arguments)
    # Where weights alone were saved there is nothing to compare.
    for path in checkpoint.glob("rng_state*"):
        path.unlink()
    output_folder.prepare_output_folder(arguments)


def test_the_command_to_go_on_with_starts_as_many_processes(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run_mae.py", "--dataset", "lenses"])
    flags = "run_mae.py --dataset lenses --resume_from_checkpoint runs/checkpoint-5"
    commands = [output_folder.how_to_resume(Path("runs/checkpoint-5"), world_size) for world_size in (1, 2)]
    assert commands == [
        f"Go on with: python {flags}",
        f"Go on with: accelerate launch --num_processes 2 {flags}",
    ]


@pytest.mark.parametrize("left", [output_folder.STATE, "model.safetensors"])
def test_a_training_that_ended_is_kept_though_it_was_not_measured(rings, run_script, monkeypatch, tmp_path, left):
    def interrupted(*args):
        raise KeyboardInterrupt

    flags = ["--dataset", rings, *QUICK, "--max_steps", 1, "--output_dir", tmp_path]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(run_mae, "measure", interrupted)
        run_script(run_mae, *flags)
    before = (tmp_path / "model.safetensors").read_bytes()
    if left != output_folder.STATE:
        (tmp_path / output_folder.STATE).unlink()
    with pytest.raises(ValueError, match=rf"holds another run \({left}\)"):
        run_script(run_mae, *flags)
    with pytest.raises(ValueError, match="has ended and left no checkpoint to go on from"):
        run_script(run_mae, *flags, "--resume_from_checkpoint", True)
    assert (tmp_path / "model.safetensors").read_bytes() == before
