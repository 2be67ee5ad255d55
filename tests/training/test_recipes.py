"""The recipes: arguments that exist, rates as they were, and two steps of those that this project started from."""

import importlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    ViTConfig,
    ViTImageProcessorPil,
    get_scheduler,
)

from lens_transformers import LensMAEConfig, LensMAEForSuperResolution


TRAINING = Path(__file__).parents[2] / "training"
sys.path.insert(0, str(TRAINING))  # as Python does for a script that is launched

import command_line  # noqa: E402
import run_classification  # noqa: E402
import run_mae  # noqa: E402
import run_sr  # noqa: E402


RECIPES = {str(path.relative_to(TRAINING / "recipes")): path for path in sorted(TRAINING.glob("recipes/**/*.yaml"))}
ARGUMENTS = {
    run_mae: (run_mae.PretrainingDataArguments, command_line.EncoderArguments, run_mae.PretrainingArguments),
    run_classification: (
        run_classification.ClassificationArguments,
        run_classification.ClassifierArguments,
        run_classification.ClassificationTrainingArguments,
    ),
    run_sr: (
        run_sr.SuperResolutionArguments,
        command_line.ModelArguments,
        run_sr.SuperResolutionTrainingArguments,
    ),
}
TWO_STEPS = ["--max_steps", 2, "--per_device_train_batch_size", 2, "--per_device_eval_batch_size", 2]
# Of a full-size network a checkpoint is 4 GB.
NO_CHECKPOINTS = ["--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", False]


EMBEDDING = "embeddings.patch_embeddings.projection.weight"
POSITIONS = "embeddings.position_embeddings.table"
QUERY = "layers.0.attention.q_proj.weight"


def script_of(recipe):
    """The script that the command in a recipe's comments runs."""
    comments = re.findall(r"^#.*", RECIPES[recipe].read_text(encoding="utf-8"), flags=re.MULTILINE)
    (script,) = re.findall(rf"training/(run_\w+)\.py training/recipes/{recipe}", "\n".join(comments))
    return importlib.import_module(script)


@pytest.fixture
def parse(monkeypatch, tmp_path):
    def parse(recipe, *flags):
        script = script_of(recipe)
        argv = [script.__file__, RECIPES[recipe], "--dataset", "lenses", "--output_dir", tmp_path / "out", *flags]
        monkeypatch.setattr(sys, "argv", list(map(str, argv)))
        return command_line.parse_arguments(*ARGUMENTS[script])

    return parse


@pytest.fixture
def run_recipe(monkeypatch, tmp_path, is_full):
    """Runs two steps of a recipe in an empty folder, where it leaves what it is told to."""
    monkeypatch.chdir(tmp_path)

    def run(recipe, *flags):
        script = script_of(recipe)
        flags = [*TWO_STEPS, *(NO_CHECKPOINTS if is_full else []), *flags]
        monkeypatch.setattr(sys, "argv", list(map(str, [script.__file__, RECIPES[recipe], *flags])))
        script.main()
        return tmp_path / "runs" / Path(recipe).with_suffix("")

    return run


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_names_its_command_and_has_only_arguments_that_exist(parse, recipe):
    _, _, arguments = parse(recipe)
    assert arguments.learning_rate > 0


def rates(optimizer, schedule, num_steps):
    """The learning rate of the first group at every step."""
    found = []
    for _ in range(num_steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_the_rate_of_the_vit_is_that_of_torchs_cosine_stepped_at_every_epoch(parse):
    arguments = parse("assignment/vit_classification.yaml")[2]
    steps_of_epoch, num_epochs = 7, int(arguments.num_train_epochs)
    ours, torchs = (torch.optim.SGD([torch.zeros(1)], lr=arguments.learning_rate) for _ in range(2))
    num_steps = steps_of_epoch * num_epochs
    schedule = get_scheduler(arguments.lr_scheduler_type, ours, 0, num_steps, arguments.lr_scheduler_kwargs)
    at_epochs = rates(ours, schedule, num_steps)[::steps_of_epoch]
    expected = rates(torchs, torch.optim.lr_scheduler.CosineAnnealingLR(torchs, T_max=10), num_epochs)
    assert at_epochs == pytest.approx(expected, abs=1e-12)
    assert at_epochs[10] == pytest.approx(0, abs=1e-12) and at_epochs[14] > 1e-5


def test_the_rate_of_super_resolution_falls_to_that_of_the_recipe(parse):
    arguments = parse("assignment/mae_sr.yaml")[2]
    model = LensMAEForSuperResolution(LensMAEConfig.from_size("tiny", num_hidden_layers=1))
    optimizer = run_sr.make_optimizer(model, arguments, decayed=())
    schedule = get_scheduler(arguments.lr_scheduler_type, optimizer, 0, 20, arguments.lr_scheduler_kwargs)
    found = rates(optimizer, schedule, 21)
    assert (found[0], found[-1]) == pytest.approx((1e-4, 1e-6))


def write_official_classes(folder, names, side, count):
    """Images as DeepLense releases them; of axions, as pickled pairs of an image and a mass."""
    for label, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            image = np.random.default_rng([count, label, index]).random((side, side))
            if name == "axion":
                pair = np.empty(2, dtype=object)
                pair[:] = image, 1e-23
                np.save(folder / name / f"{index}.npy", pair, allow_pickle=True)
            else:
                np.save(folder / name / f"{index}.npy", image)


def read_results(run):
    return json.loads((run / "results.json").read_text())


def read_weights(run, *names):
    with safe_open(run / "model.safetensors", "pt") as file:
        return [file.get_tensor(name) for name in names]


# At full size they take 80 s and 7 GiB. Cut down, all else is as the recipes have it.
AT_EITHER_SIZE = pytest.mark.parametrize(
    "is_full", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["cut down", "at full size"]
)
CUT_DOWN = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 64}


def with_overrides(recipe, **settings):
    """The recipe's own changes to the configuration, and others."""
    own = yaml.safe_load(RECIPES[recipe].read_text(encoding="utf-8"))["config_overrides"]
    return ["--config_overrides", ",".join([own, *(f"{name}={value}" for name, value in settings.items())])]


@AT_EITHER_SIZE
def test_the_vit_of_the_assignment_trains_on_official_files(run_recipe, tmp_path, is_full):
    for split, count in (("train", 10), ("val", 1)):
        write_official_classes(tmp_path / "common_test" / split, ("no", "sphere", "vort"), 150, count)
    # As google/vit-base-patch16-224, but with random weights.
    config = ViTConfig(num_labels=1000, **({} if is_full else CUT_DOWN))
    AutoModelForImageClassification.from_config(config).save_pretrained(tmp_path / "vit")
    ViTImageProcessorPil(size={"height": 224, "width": 224}).save_pretrained(tmp_path / "vit")
    flags = ["--model_name_or_path", "vit", "--validation_fraction", 0.2]
    data = ["--dataset", "common_test", "--test_dataset", "common_test/val"]
    run = run_recipe("assignment/vit_classification.yaml", *data, *flags)
    results = read_results(run)
    assert results["data"]["num_test"] == 3
    assert not is_full or results["model"]["parameters"] == pytest.approx(85.8e6, rel=1e-2)
    processor = AutoImageProcessor.from_pretrained(run)
    assert (processor.normalization, processor.image_mean) == ("min_max", (0.485, 0.456, 0.406))
    assert processor(np.eye(150), return_tensors="pt").pixel_values.shape == (1, 3, 224, 224)


@AT_EITHER_SIZE
def test_the_autoencoder_of_the_assignment_and_what_starts_from_it_train_on_official_files(
    run_recipe, tmp_path, is_full
):
    # Of so many, the recipes' seed draws one of each class to test on.
    write_official_classes(tmp_path / "VI_A", ("no_sub", "cdm", "axion"), 64, 18)
    recipe = "assignment/mae.yaml"
    changes = [] if is_full else with_overrides(recipe, decoder_num_hidden_layers=1, **CUT_DOWN)
    splits = json.dumps({"train": 0.8, "validation": 0.1, "test": 0.1})
    mae = run_recipe(recipe, "--dataset", "VI_A", "--split_fractions", splits, *changes)
    results = read_results(mae)
    assert not is_full or results["model"]["parameters"] == pytest.approx(329e6, rel=1e-2)
    assert {"anomaly_auc_cdm", "anomaly_auc_axion"} <= results["rows"][0].keys()
    names = [f"lens_mae.{name}" for name in (EMBEDDING, POSITIONS, QUERY)]
    pretrained = read_weights(mae, *names)
    width = 1024 if is_full else CUT_DOWN["hidden_size"]
    assert [tuple(weight.shape) for weight in pretrained] == [(width, 256), (1, 196, width), (width, width)]

    classifier = run_recipe("assignment/mae_classification.yaml", "--dataset", "VI_A")
    same, _, other = zip(pretrained, read_weights(classifier, *names), strict=True)
    assert torch.equal(*same) and not torch.equal(*other)
    assert AutoImageProcessor.from_pretrained(classifier).image_std == 0.226
    assert read_results(classifier)["model"]["size"] == ("large" if is_full else "custom")

    for resolution, side in (("LR", 75), ("HR", 150)):
        write_official_classes(tmp_path / "pairs", (resolution,), side, 20)
    recipe = "assignment/mae_sr.yaml"
    changes = [] if is_full else with_overrides(recipe, sr_decoder_num_hidden_layers=1)
    sr = run_recipe(recipe, "--dataset", "pairs", *changes)
    config = LensMAEConfig.from_pretrained(sr)
    assert (config.sr_head, config.sr_skip, config.sr_loss) == ("staged", False, "l1")
    assert (config.sr_decoder_hidden_size, config.sr_decoder_num_attention_heads) == (512, 8)
    assert config.sr_decoder_num_hidden_layers == (8 if is_full else 1)
    # The encoder sees what it was pretrained on, and its positions came along.
    assert (config.sr_pixel_mean, config.sr_pixel_std) == ([0.449], [0.226])
    (table,) = read_weights(sr, names[1])
    torch.testing.assert_close(table, pretrained[1], rtol=0, atol=1e-3)
