"""What the training loop measures, averages and refuses."""

import errno
import itertools
import json
import shutil
import weakref
from contextlib import nullcontext
from types import SimpleNamespace

import command_line
import loop
import numpy as np
import output_folder
import predict
import pytest
import run_classification
import run_mae
import run_sr
import splits
import time_budget
import torch
from layer_decay import learning_rate_scales
from safetensors.torch import load_file

from lens_transformers import LensMAEConfig, LensMAEForClassification, LensMAEImageProcessor
from lens_transformers._hardware import has_fast_bfloat16
from lens_transformers.data import LensDataCollator
from tests.rings import write_rings


QUICK = ["--config_overrides", "num_hidden_layers=1,decoder_num_hidden_layers=1", "--max_steps", 3]
QUICK += ["--learning_rate", 1e-3]


def read_json(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize("kind", ["decoder_pred.weight", "running_var"])
def test_an_average_of_the_weights_and_of_their_statistics_is_what_is_saved(kind, rings, run_script, tmp_path):
    flags = ["--dataset", rings, *QUICK, "--save_strategy", "steps", "--save_steps", 1]
    run_script(run_mae, *flags, "--ema_decay", 0.9, "--output_dir", tmp_path)
    expected = None
    for step in (1, 2, 3):
        trained = torch.load(tmp_path / f"checkpoint-{step}/trained_weights.pt", weights_only=True)
        weight = 1 if step == 1 else 1 - step / (9 + step)
        name = next(name for name in trained if name.endswith(kind))
        value = trained[name].double()
        expected = value if expected is None else expected + weight * (value - expected)
    for folder in (tmp_path, tmp_path / "checkpoint-3"):
        saved = load_file(folder / "model.safetensors")[name].double()
        torch.testing.assert_close(saved, expected, rtol=1e-5, atol=1e-7)
    assert not torch.equal(saved, value)


def test_the_learning_rate_falls_from_layer_to_layer():
    model = LensMAEForClassification(LensMAEConfig.from_size("tiny", num_hidden_layers=2, num_labels=3))
    scales = learning_rate_scales(model, 0.5)
    assert scales["classifier.weight"] == 1
    layers = [{scale for name, scale in scales.items() if f".layers.{index}." in name} for index in range(2)]
    assert layers == [{0.25}, {0.5}]
    assert {scale for name, scale in scales.items() if ".embeddings." in name} == {0.125}


def test_the_base_learning_rate_is_for_256_images(tmp_path):
    flags = {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 4, "base_learning_rate": 1e-3}
    assert command_line.LensTrainingArguments(output_dir=str(tmp_path), **flags).learning_rate == 2.5e-4


def test_validation_loss_repeats_and_is_without_augmentation(rings, run_script, tmp_path):
    flags = ["--dataset", rings, *QUICK, "--learning_rate", 0, "--eval_strategy", "steps", "--eval_steps", 1]
    losses = []
    for name, augmentation in (("one", "none"), ("two", "dihedral")):
        extra = ["--augmentation", augmentation, "--output_dir", tmp_path / name, "--seed", 0]
        run_script(run_mae, *flags, *extra, "--eval_on_start", True, "--per_device_eval_batch_size", 4 + len(losses))
        losses.append(
            next(
                e["eval_loss"]
                for e in read_json(tmp_path / name / "trainer_state.json")["log_history"]
                if "eval_loss" in e
            )
        )
    assert losses[0] == pytest.approx(losses[1], rel=1e-2 if has_fast_bfloat16() else 1e-5)


class Stub(torch.nn.Module):
    """A network that gives the mean of each image."""

    main_input_name = "pixel_values"

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, pixel_values, labels=None):
        return {"mean": self.scale * pixel_values.mean(dim=(1, 2, 3))}


class Counted(LensDataCollator):
    """Counts the batches of pixels that are alive at once."""

    def __init__(self):
        super().__init__(lambda images, return_tensors: {"pixel_values": images}, "classification")
        self.alive, self.most, self.images = 0, 0, 0

    def __call__(self, rows):
        batch = super().__call__(rows)
        self.alive, self.images = self.alive + 1, self.images + len(rows)
        self.most = max(self.most, self.alive)
        weakref.finalize(batch["pixel_values"], self.forget)
        return batch

    def forget(self):
        self.alive -= 1


class Rows(torch.utils.data.Dataset):
    """30,000 images of 150x150 pixels, of which one exists."""

    image = np.zeros((1, 150, 150), dtype=np.float32)

    def __len__(self):
        return 30_000

    def __getitem__(self, index):
        return {"image": self.image, "label": index % 3}


class StubTrainer(loop.RunTrainer):
    scores = ("loss", "two")

    def score_images(self, inputs, outputs):
        return {"loss": outputs["mean"] + inputs["labels"], "two": inputs["labels"] == 2}


def test_evaluation_of_30_000_images_holds_a_few_batches_at_once(tmp_path):
    arguments = command_line.LensTrainingArguments(
        output_dir=str(tmp_path), per_device_eval_batch_size=1024, bf16=False
    )
    collator = Counted()
    trainer = StubTrainer(
        Stub(),
        arguments,
        collator,
        Rows(),
        Rows(),
        eval_collator=collator,
        name_rows=lambda rows: list(map(str, rows)),
    )
    metrics = trainer.evaluate()
    assert metrics["eval_loss"] == 1 and metrics["eval_two"] == pytest.approx(1 / 3)
    assert collator.images == 30_000
    assert collator.most <= 3


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_weights_of_matrices_decay_and_neither_biases_nor_norms(tmp_path, layer_decay):
    model = LensMAEForClassification(LensMAEConfig.from_size("tiny"))
    arguments = command_line.LensTrainingArguments(str(tmp_path), layer_decay=layer_decay, weight_decay=0.1)
    trainer = loop.RunTrainer(model, arguments, Counted(), Rows(), name_rows=str)
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = trainer.create_optimizer().param_groups
    decayed = {names[one] for group in groups if group["weight_decay"] for one in group["params"]}
    assert decayed == {name for name, parameter in model.named_parameters() if parameter.ndim > 1}


def test_a_loss_that_is_not_finite_names_the_step_and_the_image(rings, run_script, tmp_path, monkeypatch):
    dataset = tmp_path / "pairs"
    for index in range(8):
        for name, side in (("LR", 16), ("HR", 32)):
            (dataset / name).mkdir(parents=True, exist_ok=True)
            image = np.random.default_rng(index).random((side, side)).astype(np.float32)
            if index == 5 and name == "HR":
                image[3, 3] = 3e38
            np.save(dataset / name / f"{index}.npy", image)
    flags = ["--dataset", dataset, "--test_dataset", dataset, *QUICK, "--max_steps", 4, "--sr_loss", "mse"]
    flags += ["--data_range", 1, "--per_device_train_batch_size", 2, "--save_strategy", "steps", "--save_steps", 1]
    with pytest.raises(FloatingPointError) as raised:
        run_script(run_sr, *flags, "--output_dir", tmp_path / "out")
    message = str(raised.value)
    assert "Step " in message and "5.npy" in message
    assert message.count(".npy") == 1
    failed = int(message.split("Step ")[1].split(":")[0])
    last = output_folder.last_checkpoint(tmp_path / "out")
    assert (last is None) == (failed == 1)
    if last is not None:
        assert last.name == f"checkpoint-{failed - 1}"
        assert all(bool(value.isfinite().all()) for value in load_file(last / "model.safetensors").values())


def test_a_gradient_that_is_not_finite_names_the_step(rings, run_script, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.Trainer._get_grad_norm", lambda *args: float("inf"))
    with pytest.raises(FloatingPointError, match=r"Step 1: the gradient's norm is inf\. The images: row "):
        run_script(run_mae, "--dataset", rings, *QUICK, "--output_dir", tmp_path)


def test_a_full_disk_at_the_end_says_from_where_to_go_on(rings, run_script, tmp_path, monkeypatch):
    save = loop.LensTrainer.save_model

    def full(self, output_dir=None, _internal_call=False):
        if output_dir is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, output_dir, _internal_call)

    monkeypatch.setattr(loop.LensTrainer, "save_model", full)
    flags = ["--dataset", rings, *QUICK, "--save_strategy", "steps", "--save_steps", 3, "--output_dir", tmp_path]
    with pytest.raises(
        OSError, match=r"Step 3: no space left on the disk for the model .* Go on with: .*checkpoint-3"
    ):
        run_script(run_mae, *flags)


def test_a_full_disk_stops_in_words_and_keeps_the_last_checkpoint(rings, run_script, tmp_path, monkeypatch):
    save = loop.RunTrainer._save_optimizer_and_scheduler

    def full(self, folder):
        if self.state.global_step == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, folder)

    monkeypatch.setattr(loop.RunTrainer, "_save_optimizer_and_scheduler", full)
    flags = ["--dataset", rings, *QUICK, "--save_strategy", "steps", "--save_steps", 1, "--output_dir", tmp_path]
    with pytest.raises(OSError, match=r"Step 2: no space left .* Go on with: .*checkpoint-1"):
        run_script(run_mae, *flags)
    assert not (tmp_path / "checkpoint-2").exists()


def test_a_checkpoint_that_will_not_fit_is_not_begun(rings, run_script, tmp_path, monkeypatch):
    monkeypatch.setattr(loop.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    flags = ["--dataset", rings, *QUICK, "--save_strategy", "steps", "--save_steps", 1, "--output_dir", tmp_path]
    with pytest.raises(OSError, match="Step 1: no space left"):
        run_script(run_mae, *flags)
    assert not list(tmp_path.glob("checkpoint-*"))


def test_a_folder_that_holds_another_run_is_refused_until_it_may_be_replaced(rings, run_script, tmp_path):
    flags = ["--dataset", rings, *QUICK, "--output_dir", tmp_path / "out"]
    run_script(run_mae, *flags, "--save_strategy", "steps", "--save_steps", 1)
    with pytest.raises(ValueError, match="holds another run"):
        run_script(run_mae, *flags)
    stale = [tmp_path / "out" / name for name in ("figures/roc.png", "super_resolved/0.npy", "predictions.parquet")]
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    before = sorted((tmp_path / "out").rglob("*"))
    with pytest.raises(ValueError, match="no_such_thing"):
        run_script(run_mae, *flags, "--overwrite_output_dir", True, "--config_overrides", "no_such_thing=1")
    assert sorted((tmp_path / "out").rglob("*")) == before
    run_script(run_mae, *flags, "--overwrite_output_dir", True)
    assert not list((tmp_path / "out").glob("checkpoint-*")) and not any(path.exists() for path in stale)


def test_what_cannot_be_trained_on_is_refused_in_words(rings, run_script, tmp_path):
    flags = [*QUICK, "--output_dir", tmp_path / "out"]
    with pytest.raises(ValueError, match="takes 64 images, and there are 30 .*batch_size 30"):
        run_script(run_mae, "--dataset", rings, *flags, "--per_device_train_batch_size", 64)
    for script, side, message in (
        (run_mae, 12, "12x12 pixels have 1 blocks of 16 pixels"),
        (run_classification, 4, "4x4 pixels are smaller than one patch of 8x8"),
    ):
        write_rings(tmp_path / str(side), "train", 9, seed=0, side=side)
        write_rings(tmp_path / str(side), "test", 3, seed=1, side=side)
        with pytest.raises(ValueError, match=message):
            run_script(script, "--dataset", tmp_path / str(side), *flags)
    for index in range(9):
        (tmp_path / "unlabelled").mkdir(exist_ok=True)
        np.save(tmp_path / "unlabelled" / f"{index}.npy", np.random.default_rng(index).random((32, 32)))
    with pytest.raises(ValueError, match="(?i)class|label"):
        run_script(run_classification, "--dataset", tmp_path / "unlabelled", *flags)


def test_the_nearest_option_is_offered(run_script):
    with pytest.raises(SystemExit, match="no option --learning_rat. Did you mean --learning_rate?"):
        run_script(run_mae, "--dataset", "lenses", "--output_dir", "out", "--learning_rat", 1e-3)


def test_help_fits_on_a_screen_a_group(run_script, capsys):
    with pytest.raises(SystemExit):
        run_script(run_mae, "--help")
    groups = capsys.readouterr().out.split("\n\n")
    assert len(groups) >= 4 and max(group.count("\n") for group in groups) < 60
    with pytest.raises(SystemExit):
        run_script(run_mae, "--help_all")
    assert "--adam_epsilon" in capsys.readouterr().out
    for script, has_more in ((run_mae, True), (predict, False)):
        with pytest.raises(SystemExit):
            run_script(script, "--help")
        assert ("--help_all" in capsys.readouterr().out) is has_more


def test_pretraining_on_one_class_scores_the_others_as_anomalies(rings, run_script, tmp_path):
    flags = ["--dataset", rings, *QUICK, "--train_classes", "no_sub", "--figure_epochs", 2, "--max_steps", 4]
    run_script(run_mae, *flags, "--per_device_train_batch_size", 5, "--output_dir", tmp_path)
    results = read_json(tmp_path / "results.json")
    assert results["data"]["num_train"] == 10
    for row in results["rows"]:
        assert 0 <= row["anomaly_auc_cdm"] <= 1 and 0 <= row["anomaly_auc_axion"] <= 1
        assert "anomaly_auc_no_sub" not in row
        assert row["intervals"].keys() == row.keys() - {"name", "split", "intervals"}
    assert (tmp_path / "figures/reconstructions_epoch_0002.png").is_file()


def test_figures_are_of_whole_epochs_of_which_a_stream_has_none(rings, run_script, tmp_path):
    # An epoch has four steps, and so these are one and three quarters.
    flags = ["--dataset", rings, *QUICK, "--figure_epochs", 1, "--max_steps", 7]
    run_script(run_mae, *flags, "--output_dir", tmp_path / "run")
    drawn = sorted(path.name for path in (tmp_path / "run/figures").glob("reconstructions_epoch_*"))
    assert drawn == ["reconstructions_epoch_0001.png"]
    with pytest.raises(ValueError, match="--figure_epochs: a stream has no epochs"):
        run_script(run_mae, *flags, "--streaming", True, "--output_dir", tmp_path / "stream")


@pytest.mark.parametrize(
    "arguments", [run_mae.PretrainingArguments, run_sr.SuperResolutionTrainingArguments], ids=["mae", "sr"]
)
def test_labels_are_smoothed_only_where_there_are_some(tmp_path, arguments):
    with pytest.raises(ValueError, match="--label_smoothing_factor: only run_classification.py has labels"):
        arguments(str(tmp_path), label_smoothing_factor=0.1)


def test_the_trial_of_a_time_budget_loads_as_many_batches_as_training(tmp_path):
    seen = []

    class Noting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(()))

        def forward(self, rows, worker):
            seen.append((tuple(rows.tolist()), worker.item()))
            return SimpleNamespace(loss=self.weight)

    def collate(rows):
        worker = torch.utils.data.get_worker_info()
        return {"rows": torch.tensor(rows), "worker": torch.tensor(-1 if worker is None else worker.id)}

    arguments = command_line.LensTrainingArguments(
        str(tmp_path),
        gradient_accumulation_steps=3,
        per_device_train_batch_size=2,
        dataloader_num_workers=1,
        bf16=False,
        use_cpu=True,
    )
    trainer = SimpleNamespace(
        args=arguments,
        model=Noting(),
        train_dataset=range(60),
        data_collator=collate,
        accelerator=SimpleNamespace(autocast=nullcontext),
    )
    time_budget._steps_per_second(trainer, trial_seconds=0.0)
    num_steps = time_budget.WARM_UP_STEPS + time_budget.FEWEST_TIMED_STEPS
    assert len(seen) == len(set(seen)) == 3 * num_steps
    assert {worker for _, worker in seen} == {0}


def test_the_larger_error_of_another_class_is_an_anomaly():
    errors, labels = np.array([1.0, 2.0, 3.0, 0.5, 5.0]), np.array([0, 0, 1, 2, 2])
    scores = run_mae.score_anomalies(errors, labels, ["no_sub"])
    assert scores.pop("intervals").keys() == scores.keys()
    assert scores == {
        "anomaly_auc_cdm": 1.0,
        "anomaly_precision_at_1_percent_cdm": 1.0,
        "anomaly_auc_axion": 0.5,
        "anomaly_precision_at_1_percent_axion": 1.0,
    }


def test_the_mask_ratio_comes_to_its_end_in_a_straight_line(rings, run_script, tmp_path, monkeypatch):
    ratios = []
    forward = run_mae.LensMAEForPreTraining.forward

    def noted(self, pixel_values=None, noise=None, mask_ratio=None, **kwargs):
        ratios.append(mask_ratio)
        return forward(self, pixel_values, noise=noise, mask_ratio=mask_ratio, **kwargs)

    monkeypatch.setattr(run_mae.LensMAEForPreTraining, "forward", noted)
    flags = ["--dataset", rings, *QUICK, "--max_steps", 4, "--mask_ratio", 0.9, "--mask_ratio_start", 0.5]
    run_script(run_mae, *flags, "--output_dir", tmp_path)
    assert ratios[:4] == pytest.approx([0.5, 0.6, 0.7, 0.8])
    assert read_json(tmp_path / "config.json")["mask_ratio"] == 0.9


def test_an_endless_simulated_stream_is_trained_on(run_script, tmp_path):
    flags = [*QUICK, "--streaming", True, "--per_device_train_batch_size", 4, "--output_dir", tmp_path]
    run_script(run_mae, "--dataset", "simulate:deeplense_model_2?num_test=3&num_validation=3", *flags)
    results = read_json(tmp_path / "results.json")
    assert results["data"]["num_train"] is None and results["data"]["num_test"] == 3
    assert results["training"]["images_seen"] == 12


def test_a_stream_may_be_cut_and_trained_on_for_a_time(rings, run_script, tmp_path, monkeypatch):
    trainers = []
    monkeypatch.setattr(
        run_mae, "limit_steps", lambda trainer: trainers.append(trainer) or time_budget.limit_steps(trainer)
    )
    flags = [*QUICK[:2], *QUICK[4:], "--streaming", True, "--max_train_samples", 5, "--max_train_seconds", 1]
    run_script(run_mae, "--dataset", rings, *flags, "--per_device_train_batch_size", 4, "--output_dir", tmp_path)
    assert read_json(tmp_path / "results.json")["training"]["max_steps"] > 1
    images = [row["image"].tobytes() for row in itertools.islice(trainers[0].train_dataset, 20)]
    assert len(set(images)) == 5


def test_images_to_test_on_of_other_bands_are_refused_before_training(rings, tmp_path):
    for index, name in enumerate(("no", "sphere", "vort")):
        np.save(tmp_path / f"{name}_0.npy", np.random.default_rng(index).random((3, 64, 64)))
    arguments = command_line.DataArguments(str(rings), test_dataset=str(tmp_path))
    with pytest.raises(ValueError, match="images to test on have 3 bands, those to train on 1"):
        splits.load_splits(arguments, "classification")


def test_options_of_loading_reach_the_loader(tmp_path, caplog):
    for name in ("no_sub", "cdm", "axion"):
        (tmp_path / name).mkdir()
        for index in range(8):
            np.save(tmp_path / name / f"{index}.npy", np.random.default_rng(index).random((32, 32)))
    np.save(tmp_path / "cdm/8.npy", np.full((32, 32), np.nan))
    fractions = '{"train": 0.5, "test": 0.5}'
    arguments = command_line.DataArguments(str(tmp_path), on_error="skip", split_fractions=fractions)
    loaded = splits.load_splits(arguments, "classification")
    assert len(loaded.train) + len(loaded.test) == 24 and len(loaded.test) > 3
    with pytest.raises(ValueError, match="--fits_layout"):
        splits.load_splits(command_line.DataArguments(str(tmp_path), fits_layout='{"hdus": [1]}'), "classification")
    with pytest.raises(ValueError, match="is not JSON"):
        command_line.DataArguments(str(tmp_path), split_fractions="half")
    with pytest.raises(ValueError, match="must map names to values"):
        command_line.DataArguments(str(tmp_path), split_fractions="0.5")
    assert command_line.DataArguments(str(tmp_path), split_fractions="null").split_fractions is None


def test_images_that_are_in_both_splits_are_warned_of(rings, tmp_path, caplog):
    for split in ("train", "test"):
        write_rings(tmp_path, split, 6, seed=0)
    loaded = splits.load_splits(command_line.DataArguments(str(tmp_path)), "classification")
    loaded.look_for_duplicates()
    assert "6 in train and test" in caplog.text


def test_a_checkpoint_of_other_bands_is_refused(rings, run_script, tmp_path):
    LensMAEForClassification(LensMAEConfig.from_size("tiny", num_channels=3)).save_pretrained(tmp_path / "rgb")
    LensMAEImageProcessor(num_bands=3).save_pretrained(tmp_path / "rgb")
    with pytest.raises(ValueError, match="network of 3 bands; the images have 1"):
        run_script(
            run_mae, "--dataset", rings, "--model_name_or_path", tmp_path / "rgb", "--output_dir", tmp_path / "o"
        )
