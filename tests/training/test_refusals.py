"""What the training scripts refuse in words, before anything is trained."""

import json

import numpy as np
import pytest
import run_classification
import run_mae
import run_sr
from datasets import Dataset
from output_folder import STATE
from transformers import ViTImageProcessorPil, ViTMAEConfig, ViTMAEForPreTraining


SCRIPTS = {"mae": run_mae, "classification": run_classification, "sr": run_sr}
MISTAKES = [
    ("mae", ["--max_train_samples", -1], "--max_train_samples must be at least 1, got -1"),
    ("mae", ["--max_test_samples", 0], "--max_test_samples must be at least 1, got 0"),
    ("mae", ["--num_workers", -1], "--num_workers must be at least 1"),
    ("mae", ["--seed", -1], "--seed must be at least 0"),
    ("mae", ["--split_seed", -1], "--split_seed must be at least 0"),
    ("mae", ["--base_learning_rate", -1], "--base_learning_rate must be at least 0"),
    ("mae", ["--per_device_eval_batch_size", 0], "--per_device_eval_batch_size must be at least 1"),
    ("mae", ["--max_train_seconds", -5], "--max_train_seconds must be a time above 0"),
    ("mae", ["--max_train_seconds", "nan"], "--max_train_seconds must be a time above 0"),
    ("mae", ["--save_only_model", True], "leaves checkpoints that no run can go on from"),
    (
        "mae",
        ["--save_strategy", "best"],
        "--save_strategy best chooses by what is measured .* give --eval_strategy too",
    ),
    ("mae", ["--mask_ratio", 1.5], "There is no such network: `mask_ratio` must lie in"),
    ("mae", ["--config_overrides", "hidden_size=17"], "`hidden_size` .17. must be a multiple"),
    ("mae", ["--config_overrides", "mask_ratio"], "--config_overrides mask_ratio: .* It takes name=value"),
    ("mae", ["--config_overrides", "mask_ratio=half"], "--config_overrides mask_ratio=half: .* It takes name=value"),
    ("mae", ["--config_overrides", "frozen_part=encoder"], "--config_overrides frozen_part=encoder: .* It takes"),
    ("mae", ["--image_processor_overrides", '{"normalization": "min_max"}'], "what was painted has no flux"),
    ("classification", ["--labels_per_class", 0], "--labels_per_class must be at least 1"),
    ("classification", ["--mixup_alpha", "nan"], "--mixup_alpha must be at least 0"),
    ("classification", ["--config_overrides", "num_labels=2"], "num_labels=2: the classes are no_sub, cdm, axion"),
    (
        "classification",
        ["--metric_for_best_model", "auc_macro"],
        "--metric_for_best_model auc_macro: what is measured while training is loss, accuracy",
    ),
    ("sr", ["--data_range", 0], "--data_range must be a brightness above 0"),
]


@pytest.mark.parametrize(("name", "flags", "message"), MISTAKES, ids=lambda value: None)
def test_a_mistake_is_said_before_a_step_is_made(labelled_pairs, run_script, tmp_path, name, flags, message):
    with pytest.raises(ValueError, match=message):
        run_script(
            SCRIPTS[name], "--dataset", labelled_pairs, "--output_dir", tmp_path / "run", "--max_steps", 1, *flags
        )
    assert not list(tmp_path.rglob("model.safetensors"))


def test_a_checkpoint_whose_head_has_another_shape_is_refused(rings, labelled_pairs, run_script, tmp_path):
    flags = ["--max_steps", 1, "--config_overrides", "num_hidden_layers=1,sr_num_blocks=1", "--filter_size", 3]
    run_script(run_sr, "--dataset", labelled_pairs, "--output_dir", tmp_path / "twice", *flags)
    path = tmp_path / "twice/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sr_hidden_size": 24}))
    with pytest.raises(ValueError, match="does not fit the network for these images: .* such as super_resolution"):
        run_script(
            run_sr,
            *("--dataset", labelled_pairs, "--model_name_or_path", tmp_path / "twice"),
            *("--output_dir", tmp_path / "other"),
        )


def test_a_class_that_is_missing_is_said_before_training(rings, run_script, tmp_path):
    flags = ["--max_steps", 1, "--config_overrides", "num_hidden_layers=1", "--output_dir", tmp_path / "run"]
    labelled = Dataset.from_parquet(str(rings / "data/train-00000-of-00001.parquet"))
    (tmp_path / "two/data").mkdir(parents=True)
    two = labelled.filter(lambda row: row["label"] != 2)
    for split in ("train", "test"):
        two.to_parquet(tmp_path / f"two/data/{split}-00000-of-00001.parquet")
    with pytest.raises(ValueError, match="--baselines: of 20 training images none is of axion.*--baselines False"):
        run_script(run_classification, "--dataset", tmp_path / "two", *flags)
    (tmp_path / "unlabelled/data").mkdir(parents=True)
    labelled.remove_columns("label").to_parquet(tmp_path / "unlabelled/data/test-00000-of-00001.parquet")
    with pytest.raises(ValueError, match="--train_classes needs the class of every test image"):
        elsewhere = ["--train_classes", "no_sub", "--test_dataset", tmp_path / "unlabelled"]
        run_script(run_mae, "--dataset", rings, *elsewhere, *flags)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["mae", "sr"])
def test_a_checkpoint_of_vit_mae_is_to_be_converted(labelled_pairs, run_script, tmp_path, name):
    layers = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    decoder = {f"decoder_{key}": value for key, value in layers.items()}
    ViTMAEForPreTraining(ViTMAEConfig(**layers, **decoder, image_size=32)).save_pretrained(tmp_path / "vit")
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "vit")
    with pytest.raises(ValueError, match="a checkpoint of a 'vit_mae' model.*Convert it with"):
        flags = ["--model_name_or_path", tmp_path / "vit", "--output_dir", tmp_path / "run", "--max_steps", 1]
        run_script(SCRIPTS[name], "--dataset", labelled_pairs, *flags)


def test_a_file_of_arguments_may_have_small_negative_numbers(rings, run_script, tmp_path):
    (tmp_path / "run.yaml").write_text(f"dataset: {rings}\nnan_fill: -1.0e-5\nmixup_alpha: -2.0e-5\n")
    with pytest.raises(ValueError, match="--mixup_alpha must be at least 0, got -2e-05"):
        run_script(run_classification, tmp_path / "run.yaml", "--output_dir", tmp_path / "run")


def test_images_that_cannot_be_turned_are_refused_where_that_is_asked_for(run_script, tmp_path):
    for split in ("train", "test"):
        for name in ("no_sub", "cdm", "axion"):
            folder = tmp_path / "wide" / split / name
            folder.mkdir(parents=True)
            for index in range(4):
                np.save(folder / f"{index}.npy", np.random.default_rng(index).random((16, 24), dtype=np.float32))
    flags = ["--dataset", tmp_path / "wide", "--max_steps", 1, "--test_time_augmentation", True, "--baselines", False]
    flags += ["--per_device_train_batch_size", 4, "--model_type", "vit", "--config_overrides"]
    flags += ["hidden_size=8,num_hidden_layers=1,num_attention_heads=1,intermediate_size=8,patch_size=8"]
    with pytest.raises(ValueError, match="images of 16x24 pixels, turned by a quarter, have 24x16, which the network"):
        run_script(run_classification, *flags, "--output_dir", tmp_path / "run")


def test_a_run_of_which_nothing_was_logged_leaves_its_results(rings, run_script, tmp_path):
    flags = ["--dataset", rings, "--config_overrides", "num_hidden_layers=1", "--max_steps", 1]
    run_script(run_mae, *flags, "--logging_first_step", False, "--logging_steps", 500, "--output_dir", tmp_path)
    assert not any("loss" in entry for entry in json.loads((tmp_path / STATE).read_text())["log_history"])
    assert (tmp_path / "README.md").is_file() and not (tmp_path / "figures/training_curves.png").exists()


def test_results_are_json_whatever_was_not_defined(rings, run_script, tmp_path, monkeypatch):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON.")

    flags = ["--dataset", rings, "--config_overrides", "num_hidden_layers=1", "--max_steps", 1, "--baselines", False]
    with pytest.warns(UserWarning, match="AUC of class .* is undefined"):
        run_script(run_classification, *flags, "--max_test_samples", 1, "--output_dir", tmp_path)
    results = json.loads((tmp_path / "results.json").read_text(), parse_constant=refuse)
    assert results["rows"][0]["auc_macro"] is None


def test_a_run_in_the_working_folder_is_named_after_it(rings, run_script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_script(
        run_mae, "--dataset", rings, "--config_overrides", "num_hidden_layers=1", "--max_steps", 1, "--output_dir", "."
    )
    assert json.loads((tmp_path / "results.json").read_text())["title"] == tmp_path.name


def test_the_precision_of_accelerates_own_settings_is_what_results_say(rings, run_script, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    flags = ["--dataset", rings, "--config_overrides", "num_hidden_layers=1", "--max_steps", 1, "--bf16", False]
    run_script(run_mae, *flags, "--output_dir", tmp_path)
    assert json.loads((tmp_path / "results.json").read_text())["training"]["precision"] == "bfloat16"


def test_a_json_file_of_arguments_may_have_tabs(rings, run_script, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"dataset": str(rings), "labels_per_class": -3}, indent="\t"))
    with pytest.raises(ValueError, match="--labels_per_class must be at least 1, got -3"):
        run_script(run_classification, tmp_path / "run.json", "--output_dir", tmp_path / "run")
