"""What a run trains on, chooses by and tests on: never the same images."""

import itertools
import json
import shutil
from types import SimpleNamespace

import networks
import numpy as np
import pytest
import run_classification
import run_mae
import run_sr
import splits
from command_line import DataArguments
from pyarrow import parquet

from lens_transformers import LensMAEConfig, LensMAEForClassification, LensMAEImageProcessor
from lens_transformers.data import LensDataCollator, lens_features, load_lensing_dataset
from lens_transformers.data.schema import dataset_from_chunks
from lens_transformers.data.splits import content_hashes
from tests.rings import write_rings


CHOOSING = [
    "--load_best_model_at_end",
    True,
    "--eval_strategy",
    "steps",
    "--eval_steps",
    1,
    "--save_strategy",
    "steps",
]
CHOOSING += ["--save_steps", 1, "--max_steps", 1, "--config_overrides", "num_hidden_layers=1"]


@pytest.mark.parametrize(
    ("script", "flags"),
    [
        (run_mae, []),
        (run_classification, ["--baselines", False]),
        (run_sr, ["--filter_size", 3]),
        (run_mae, ["--load_best_model_at_end", False, "--save_strategy", "best", "--metric_for_best_model", "loss"]),
        (run_mae, ["--load_best_model_at_end", False, "--lr_scheduler_type", "reduce_lr_on_plateau"]),
    ],
    ids=["mae", "classification", "sr", "the best is saved", "the rate falls on a plateau"],
)
def test_a_checkpoint_is_chosen_by_images_that_are_neither_trained_nor_tested_on(
    labelled_pairs, run_script, monkeypatch, tmp_path, script, flags
):
    seen = []
    monkeypatch.setattr(script, "limit_steps", seen.append)
    run_script(script, "--dataset", labelled_pairs, "--output_dir", tmp_path, *CHOOSING, *flags)
    trainer = seen[0]
    train, chosen = set(content_hashes(trainer.train_dataset)), set(content_hashes(trainer.eval_dataset))
    tested = set(content_hashes(load_lensing_dataset(labelled_pairs, "test", task="pretraining")))
    assert chosen and not chosen & train and not chosen & tested
    data = json.loads((tmp_path / "results.json").read_text())["data"]
    assert (data["num_train"], data["num_validation"], data["num_test"]) == (len(train), len(chosen), 6)
    assert len(train) + len(chosen) == 120


def test_images_are_held_out_of_what_the_same_seed_has_divided(labelled_pairs):
    fractions = {"train": 0.8, "test": 0.2}
    arguments = DataArguments(str(labelled_pairs), split_fractions=fractions, validation_fraction=0.2)
    loaded = splits.load_splits(arguments, "classification")
    whole = splits.load_splits(DataArguments(str(labelled_pairs), split_fractions=fractions), "classification")
    assert 0 < len(loaded.validation) < len(whole.train) / 2
    assert sorted(content_hashes(loaded.train) + content_hashes(loaded.validation)) == sorted(
        content_hashes(whole.train)
    )


def test_what_is_measured_on_some_images_is_measured_on_all_classes_of_a_set_that_is_sorted():
    labels = np.repeat([0, 1, 2], 400)
    images = labels[:, None, None, None].astype(np.float32) * np.ones((1, 16, 16), np.float32)
    train = dataset_from_chunks([{"image": images, "label": labels}], lens_features((1, 16, 16)))
    assert set(np.unique(networks.some_images(train, 60))) == {0, 1, 2}
    model = LensMAEForClassification(
        LensMAEConfig.from_size("tiny", image_size=16, num_labels=3, stem_hidden_size=8, hidden_size=16)
    )
    accelerator = SimpleNamespace(unwrap_model=lambda model, **_: model)
    trainer = SimpleNamespace(model=model, accelerator=accelerator, args=SimpleNamespace(eval_batch_size=100))
    collator = LensDataCollator(LensMAEImageProcessor(normalization="none", num_bands=1), "classification")
    run_classification.measure_pooled_norm(trainer, train, collator, num_images=300)
    drawn, whole = model.norm.running_mean.clone(), len(train)
    run_classification.measure_pooled_norm(trainer, train, collator, num_images=whole)
    deviation = (model.norm.running_var / 300).sqrt()
    assert ((drawn - model.norm.running_mean).abs() < 5 * deviation + 1e-6).all()


def test_validation_images_of_the_dataset_come_first_and_without_choosing_none_are_held_out(labelled_pairs, tmp_path):
    assert splits.load_splits(DataArguments(str(labelled_pairs)), "super_resolution").validation is None
    for split, seed in (("train", 0), ("validation", 2), ("test", 1)):
        write_rings(tmp_path, split, 6, seed=seed)
    loaded = splits.load_splits(DataArguments(str(tmp_path)), "classification", choosing=True)
    assert len(loaded.train) == len(loaded.validation) == 6


def write_official(folder, split):
    for name in ("no", "sphere", "vort"):
        (folder / split / name).mkdir(parents=True)
        for index in range(2):
            image = np.random.default_rng(len(list(folder.glob("*/*/*")))).random((32, 32))
            np.save(folder / split / name / f"{index}.npy", image)


def write_catalogue(folder, splits):
    rows = ["path,label,split"]
    for index, (split, label) in enumerate(itertools.product(splits, ("no_sub", "cdm", "axion"))):
        np.save(folder / f"{index}.npy", np.random.default_rng(index).random((32, 32)))
        rows.append(f"{index}.npy,{label},{split}")
    (folder / "lenses.csv").write_text("\n".join(rows))
    return folder / "lenses.csv"


def test_a_set_of_any_kind_may_have_no_validation_images(tmp_path):
    for split in ("train", "test"):
        write_official(tmp_path / "official", split)
    (tmp_path / "catalogue").mkdir()
    catalogue = write_catalogue(tmp_path / "catalogue", ("train", "test"))
    for source in (tmp_path / "official", catalogue):
        assert splits.load_splits(DataArguments(str(source)), "classification").validation is None


@pytest.mark.parametrize("is_broken", ["by a pixel", "by a class that is missing"])
def test_validation_images_that_cannot_be_used_stop_the_run(tmp_path, is_broken):
    for split in ("train", "val", "test"):
        write_official(tmp_path, split)
    if is_broken == "by a pixel":
        np.save(tmp_path / "val/no/1.npy", np.full((32, 32), np.nan))
    else:
        shutil.rmtree(tmp_path / "val/vort")
    with pytest.raises(ValueError, match="1.npy|no images of class axion"):
        splits.load_splits(DataArguments(str(tmp_path)), "classification")


def test_a_test_set_that_is_named_as_a_split_is_no_split(monkeypatch, tmp_path):
    for folder in ("lenses", "test"):
        write_rings(tmp_path / folder, "train", 6, seed=len(folder))
    write_rings(tmp_path / "lenses", "test", 6, seed=2)
    monkeypatch.chdir(tmp_path)
    arguments = DataArguments("lenses", test_dataset="test")
    data = splits.describe_data(arguments, splits.load_splits(arguments, "classification"))
    assert data["test_source"] == str(tmp_path / "test") and data["split"] == "all"


def test_of_a_stream_no_images_are_held_out(rings, run_script, tmp_path):
    flags = ["--dataset", rings, "--streaming", True, "--output_dir", tmp_path, *CHOOSING]
    with pytest.raises(ValueError, match="has no validation images, and of a stream none are held out"):
        run_script(run_mae, *flags)


def test_images_of_several_splits_are_in_the_results_and_on_the_card(run_script, tmp_path):
    for split in ("train", "test"):
        write_rings(tmp_path, split, 6, seed=0)
    flags = ["--dataset", tmp_path, "--max_steps", 1, "--per_device_train_batch_size", 4]
    flags += ["--config_overrides", "num_hidden_layers=1"]
    run_script(run_mae, *flags, "--output_dir", tmp_path / "run")
    assert json.loads((tmp_path / "run/results.json").read_text())["data"]["duplicates"] == {"train and test": 6}
    assert "more than one split: 6 in train and test" in (tmp_path / "run/README.md").read_text()
    # Of those that are trained on.
    run_script(
        run_mae, *flags, "--train_classes", "cdm", "--per_device_train_batch_size", 2, "--output_dir", tmp_path / "cdm"
    )
    assert json.loads((tmp_path / "cdm/results.json").read_text())["data"]["duplicates"] == {"train and test": 2}


def test_fewer_images_are_of_all_classes_and_the_same_at_each_start(tmp_path):
    for split in ("train", "test"):
        write_rings(tmp_path, split, 30, seed=0)
        (file,) = tmp_path.glob(f"data/{split}-*.parquet")
        parquet.write_table(parquet.read_table(file).sort_by("label"), file)
    arguments = DataArguments(str(tmp_path), max_train_samples=12, max_test_samples=12)
    loaded, again = (splits.load_splits(arguments, "classification") for _ in range(2))
    assert list(loaded.train["label"]) == sorted(loaded.train["label"])
    for name in ("train", "test"):
        images = getattr(loaded, name)
        assert len(images) == 12 and len(set(images["label"])) == 3
        assert content_hashes(images) == content_hashes(getattr(again, name))
