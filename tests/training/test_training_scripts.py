"""run_mae.py, run_classification.py and run_sr.py: from a folder of images to a Hub-ready folder."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import (
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForImageToImage,
    AutoModelForPreTraining,
)

from lens_transformers import LensMAEImageProcessor
from lens_transformers._hardware import has_fast_bfloat16
from lens_transformers.data import (
    LABEL_NAMES,
    LensDataCollator,
    MaskedCollator,
    load_lensing_dataset,
    simulate_dataset,
)
from lens_transformers.report import evaluate_checkpoint
from tests.rings import write_rings


SCRIPTS = Path(__file__).parents[2] / "training"
sys.path.insert(0, str(SCRIPTS))  # as Python does for a script that is launched

import command_line  # noqa: E402
import networks  # noqa: E402
import run_classification  # noqa: E402
import run_mae  # noqa: E402
import run_sr  # noqa: E402


QUICK = ["--max_steps", "3", "--learning_rate", "1e-3", "--config_overrides", "num_hidden_layers=1"]


@pytest.fixture(scope="module")
def lenses(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lenses")
    write_rings(folder, "train", 30, seed=0)
    write_rings(folder, "test", 12, seed=1)
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    write_rings(folder, "train", 8, seed=0, with_target=True)
    write_rings(folder, "test", 4, seed=1, with_target=True)
    return folder


@pytest.fixture(scope="module")
def launch():
    def launch(script, *flags):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [script.__file__, *map(str, flags)])
            script.main()

    return launch


@pytest.fixture(scope="module")
def pretrained(launch, lenses, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "pretrain"
    launch(run_mae, "--dataset", lenses, "--output_dir", folder, *QUICK)
    return folder


def read_results(folder):
    return json.loads((folder / "results.json").read_text())


def test_the_imprint_is_left_behind_with_its_head_where_it_is_not_learned(launch, lenses, tmp_path):
    source = "simulate:deeplense_model_2?imprint=1&num_train=24&num_validation=3&num_test=3"
    launch(run_mae, "--dataset", source, "--output_dir", tmp_path / "first", *QUICK)
    for name, flags in (
        ("folder", ["--dataset", lenses]),
        ("weight", ["--dataset", source, "--imprint_loss_weight", 0]),
    ):
        flags += ["--test_dataset", lenses / "data", "--model_name_or_path", tmp_path / "first"]
        launch(run_mae, *flags, "--output_dir", tmp_path / name, *QUICK)
        model = AutoModelForPreTraining.from_pretrained(tmp_path / name)
        assert model.config.imprint_loss_weight == 0 and model.imprint_head is None


@pytest.mark.parametrize("script", [run_mae, run_classification, run_sr])
def test_a_checkpoint_that_is_not_there_is_missed_before_images_are_read(launch, tmp_path, script):
    flags = ["--dataset", tmp_path / "none", "--output_dir", tmp_path / "run"]
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such folder, and it is no name on the Hub"):
        launch(script, *flags, "--model_name_or_path", tmp_path / "nowhere")


def test_the_deviation_of_the_imprint_is_that_within_bands():
    processor = LensMAEImageProcessor(num_bands=2, image_mean=[1.0, 3.0], image_std=[0.5, 2.0])
    imprints = 0.1 * np.random.default_rng(0).standard_normal((20, 2, 8, 8)).astype(np.float32)
    arguments = run_mae.PretrainingArguments(output_dir="run")
    deviation = run_mae.settings_of_imprint(processor, imprints, arguments)["imprint_std"]
    stretched = np.arcsinh(imprints / processor.stretch) / np.array([0.5, 2.0])[:, None, None]
    assert deviation == pytest.approx(np.sqrt(stretched.var(axis=(0, 2, 3)).mean()), rel=1e-3)


def test_the_loss_that_is_measured_is_the_loss_that_is_trained(launch, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(run_mae, "limit_steps", seen.append)
    source = "simulate:deeplense_model_2?imprint=1&num_train=24&num_validation=3&num_test=3"
    launch(run_mae, "--dataset", source, "--output_dir", tmp_path, "--eval_strategy", "epoch", *QUICK)
    trainer = seen[0]
    batch = trainer.eval_collator(list(trainer.eval_dataset))
    with torch.no_grad():
        loss = trainer.model.eval()(**batch).loss
    # Of one image the same as of the batch: all of them have as many blocks.
    assert trainer.evaluate()["eval_loss"] == pytest.approx(loss.item(), rel=1e-3)


def test_images_without_substructure_have_no_imprint_to_learn(launch, tmp_path):
    source = "simulate:deeplense_model_2?imprint=1&num_train=24&num_validation=3&num_test=3"
    launch(run_mae, "--dataset", source, "--train_classes", "no_sub", "--output_dir", tmp_path / "no_sub", *QUICK)
    flags = ["--imprint_loss_weight", 0, "--output_dir", tmp_path / "weightless"]
    launch(run_mae, "--dataset", source, *flags, *QUICK)
    for name in ("no_sub", "weightless"):
        assert AutoModelForPreTraining.from_pretrained(tmp_path / name).config.imprint_loss_weight == 0
        assert "imprint_mse" not in read_results(tmp_path / name)["rows"][0]
        assert "what substructure changes" not in (tmp_path / name / "README.md").read_text()
    arguments = run_mae.PretrainingArguments(output_dir=str(tmp_path / "run"))
    with pytest.raises(ValueError, match="does substructure leave an imprint: --imprint_loss_weight 0 leaves that"):
        run_mae.settings_of_imprint(LensMAEImageProcessor(), np.zeros((3, 1, 8, 8), np.float32), arguments)


def test_pretraining_learns_the_imprint_where_images_come_with_one(launch, lenses, pretrained, tmp_path):
    source = "simulate:deeplense_model_2?imprint=1&num_train=24&num_validation=3&num_test=3"
    launch(run_mae, "--dataset", source, "--model_name_or_path", pretrained, "--output_dir", tmp_path, *QUICK)
    model = AutoModelForPreTraining.from_pretrained(tmp_path)
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    imprints = simulate_dataset("deeplense_model_2", 24, start=2**60, imprint=True)["imprint"][:]
    assert model.config.imprint_loss_weight == 8
    assert model.config.imprint_std == pytest.approx(
        processor(imprints, return_tensors="pt").pixel_values.std().item()
    )
    assert model.imprint_head.weight.abs().max() > 0
    rows = {row["name"]: row for row in read_results(tmp_path)["rows"]}
    # The same quarter of each test image is visible here, and its imprint is in flux.
    tested = simulate_dataset("deeplense_model_2", 3, start=3 * 2**60, imprint=True)
    collator = MaskedCollator(LensDataCollator(processor, "pretraining"), model.config.mask_block_size)
    with torch.no_grad():
        outputs = model.eval()(**collator(list(tested)))
    visible = outputs.mask == 0
    imprint = model.patchify(torch.from_numpy(tested["imprint"][:]))[visible]
    predicted = processor.post_process_reconstruction(model.unpatchify(outputs.imprint_logits))
    predicted = model.patchify(predicted)[visible]
    assert rows["No imprint"]["imprint_mse"] == pytest.approx(imprint.square().mean().item(), rel=1e-3)
    assert rows["LensMAE"]["imprint_mse"] == pytest.approx((predicted - imprint).square().mean().item(), rel=1e-3)
    assert "masked_mse_0.75" not in rows["No imprint"] and "No imprint" in (tmp_path / "README.md").read_text()
    assert (tmp_path / "figures/imprints.png").is_file()


def test_pretraining_leaves_a_folder_that_loads_and_its_baselines(pretrained):
    results = read_results(pretrained)
    assert [row["name"] for row in results["rows"]] == ["LensMAE", "Mean of visible pixels", "Harmonic interpolation"]
    ratios = ("masked_mse_0.5", "masked_mse_0.75", "masked_mse_0.9")
    assert all(row[name] > 0 and name in row["intervals"] for row in results["rows"] for name in ratios)
    assert results["training"]["max_steps"] == 3
    assert results["data"]["num_train"] == 30
    for name in ("README.md", "model.safetensors", "modeling_lens_mae.py", "image_processing_lens_mae.py"):
        assert (pretrained / name).is_file(), name
    assert (pretrained / "figures/reconstructions.png").stat().st_size > 1000
    assert isinstance(AutoModelForPreTraining.from_pretrained(pretrained), torch.nn.Module)
    assert AutoModel.from_pretrained(pretrained).config.num_hidden_layers == 1


def test_training_may_predict_a_part_of_what_is_hidden_and_the_checkpoint_predicts_all(launch, lenses, tmp_path):
    launch(run_mae, "--dataset", lenses, "--output_dir", tmp_path, "--prediction_ratio", "0.25", *QUICK)
    model = AutoModelForPreTraining.from_pretrained(tmp_path).eval()
    assert model.config.prediction_ratio == 0.25
    outputs = model(torch.rand(1, 1, 64, 64))
    assert torch.equal((outputs.logits != 0).any(dim=-1), outputs.mask.bool())
    assert json.loads((tmp_path / "results.json").read_text())["rows"][0]["masked_mse_0.75"] > 0


def test_the_report_hides_the_same_blocks_as_training_did(pretrained):
    rows = evaluate_checkpoint(pretrained, in_full=False).results["rows"]
    for row, trained in zip(rows, read_results(pretrained)["rows"], strict=True):
        for name in ("masked_mse_0.5", "masked_mse_0.75", "masked_mse_0.9"):
            assert row[name] == pytest.approx(trained[name], rel=1e-5)


def test_the_report_divides_a_set_as_training_did(launch, lenses, tmp_path):
    division = ["--split_fractions", '{"train": 0.5, "test": 0.5}', "--split_seed", 3]
    launch(run_classification, "--dataset", lenses, "--output_dir", tmp_path, *division, *QUICK)
    row = evaluate_checkpoint(tmp_path, in_full=False).results["rows"][0]
    assert row["brier"] == pytest.approx(read_results(tmp_path)["rows"][0]["brier"], rel=1e-5)


def test_drawn_test_images_keep_their_files_and_are_drawn_again_by_the_report(launch, lenses, tmp_path):
    for name in ("no", "sphere", "vort"):
        (tmp_path / "official" / name).mkdir(parents=True)
        for index in range(6):
            np.save(tmp_path / "official" / name / f"{index}.npy", np.random.default_rng(index).random((1, 64, 64)))
    flags = ["--test_dataset", tmp_path / "official", "--max_test_samples", 7, "--split_seed", 3, "--baselines", False]
    launch(run_classification, "--dataset", lenses, "--output_dir", tmp_path / "dm", *flags, *QUICK)
    predictions = Dataset.from_parquet(str(tmp_path / "dm/predictions.parquet"))
    assert len(set(predictions["file"])) == 7
    classes = [("no", "sphere", "vort").index(Path(file).parent.name) for file in predictions["file"]]
    assert classes == list(predictions["label"]) and len(set(classes)) == 3
    row = evaluate_checkpoint(tmp_path / "dm", in_full=False).results["rows"][0]
    assert row["brier"] == pytest.approx(read_results(tmp_path / "dm")["rows"][0]["brier"], rel=1e-5)


def test_the_processors_constants_are_those_of_the_training_images(pretrained, lenses):
    processor = AutoImageProcessor.from_pretrained(pretrained)
    images = Dataset.from_parquet(str(lenses / "data/train-00000-of-00001.parquet")).with_format("numpy")["image"][:]
    pixel_values = processor(list(images), return_tensors="pt").pixel_values
    assert abs(pixel_values.mean()) < 1e-3 and abs(pixel_values.std() - 1) < 1e-3
    assert processor.num_bands == 1
    assert processor.white_flux == pytest.approx(np.median(images.max(axis=(1, 2, 3))))


def test_the_image_processor_is_changed_as_asked_for_and_measured_all_the_same(launch, lenses, tmp_path):
    flags = ["--image_processor_overrides", '{"normalization": "standardize", "do_resize": true, "size": 48}', *QUICK]
    launch(run_mae, "--dataset", lenses, "--output_dir", tmp_path, *flags)
    images = list(load_lensing_dataset(lenses, "train")["image"][:])
    pixel_values = AutoImageProcessor.from_pretrained(tmp_path)(images, return_tensors="pt").pixel_values
    assert pixel_values.shape == (30, 1, 48, 48)
    assert abs(pixel_values.mean()) < 1e-3 and abs(pixel_values.std() - 1) < 1e-3


def test_a_checkpoints_image_processor_keeps_what_is_not_changed(pretrained, lenses):
    arguments = command_line.EncoderArguments(str(pretrained), image_processor_overrides='{"nan_fill": 0.5}')
    changed = networks.make_image_processor(arguments, load_lensing_dataset(lenses, "train"))
    before = AutoImageProcessor.from_pretrained(pretrained)
    assert {**before.to_dict(), "nan_fill": 0.5} == changed.to_dict()


def test_how_bright_white_is_comes_from_the_images_that_a_checkpoint_is_trained_on(pretrained, lenses):
    train = load_lensing_dataset(lenses, "train")
    brighter = train.map(lambda row: {"image": 50 * row["image"]})
    arguments = command_line.EncoderArguments(str(pretrained))
    before, changed = (networks.make_image_processor(arguments, images) for images in (train, brighter))
    assert changed.white_flux == pytest.approx(50 * before.white_flux, rel=1e-5)
    assert (changed.image_mean, changed.stretch) == (before.image_mean, before.stretch)


def test_a_setting_that_no_image_processor_has_is_refused():
    with pytest.raises(ValueError, match=r"the image processor has no sizes; it has normalization, .*size"):
        command_line.EncoderArguments(image_processor_overrides='{"sizes": 48}')


def test_a_classifier_starts_from_the_pretrained_encoder(launch, lenses, pretrained, tmp_path):
    flags = ["--model_name_or_path", pretrained, "--learning_rate", 0, "--max_steps", 1, "--title", "mine"]
    launch(run_classification, "--dataset", lenses, "--output_dir", tmp_path / "dm", *flags)
    encoder = AutoModel.from_pretrained(pretrained)
    classifier = AutoModelForImageClassification.from_pretrained(tmp_path / "dm")
    assert torch.equal(classifier.base_model.layers[0].mlp.fc1.weight, encoder.layers[0].mlp.fc1.weight)
    assert classifier.config.id2label == dict(enumerate(LABEL_NAMES))
    results = read_results(tmp_path / "dm")
    assert [row["name"] for row in results["rows"]] == [
        "LensMAE",
        "PCA + logistic, raw pixels",
        "PCA + logistic, arcsinh pixels",
    ]
    assert results["title"] == "mine"
    assert Path(results["model"]["base_model"]) == pretrained


def test_the_card_has_the_numbers_of_the_results(launch, lenses, tmp_path):
    launch(run_classification, "--dataset", lenses, "--output_dir", tmp_path, *QUICK)
    accuracy = read_results(tmp_path)["rows"][0]["accuracy"]
    assert f"{accuracy:.4f}" in (tmp_path / "README.md").read_text()


def test_the_statistics_of_the_head_are_those_of_the_training_images_in_full_precision(launch, lenses, tmp_path):
    launch(run_classification, "--dataset", lenses, "--output_dir", tmp_path, *QUICK)
    model = AutoModelForImageClassification.from_pretrained(tmp_path)
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    images = load_lensing_dataset(lenses, "train")["image"][:]
    with torch.no_grad():
        pooled = model.base_model(processor(list(images), return_tensors="pt").pixel_values).pooler_output
    torch.testing.assert_close(model.norm.running_mean, pooled.mean(dim=0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.norm.running_var, pooled.var(dim=0), rtol=1e-3, atol=1e-6)


def test_few_labels_are_drawn_evenly_by_the_seed(lenses):
    train = load_lensing_dataset(lenses, "train")
    drawn = run_classification.draw_per_class(train, 4, seed=0)
    assert np.bincount(drawn["label"][:]).tolist() == [4, 4, 4]
    again = run_classification.draw_per_class(train, 4, seed=0)
    other = run_classification.draw_per_class(train, 4, seed=1)
    assert np.array_equal(drawn["image"][:], again["image"][:])
    assert not np.array_equal(drawn["image"][:], other["image"][:])
    with pytest.raises(ValueError, match="the training set has 10 images of no_sub"):
        run_classification.draw_per_class(train, 11, seed=0)


def test_official_files_of_another_size_can_be_tested_on(launch, lenses, tmp_path):
    for name in ("no", "sphere", "vort"):
        for index in range(2):
            image = np.random.default_rng(index).random((1, 50, 50))
            (tmp_path / "official").mkdir(exist_ok=True)
            np.save(tmp_path / "official" / f"{name}_{index}.npy", image)
    flags = ["--test_dataset", tmp_path / "official", *QUICK]
    launch(run_classification, "--dataset", lenses, "--output_dir", tmp_path / "dm", *flags)
    results = read_results(tmp_path / "dm")
    assert results["data"]["num_test"] == 6
    assert all(row["intervals"]["ece"][0] >= 0 for row in results["rows"])
    assert len(results["rows"]) == 3


def test_super_resolution_starts_at_bicubic_and_leaves_a_folder_that_loads(launch, pairs, pretrained, tmp_path):
    flags = ["--model_name_or_path", pretrained, "--learning_rate", 0, "--max_steps", 1, "--filter_size", 3]
    launch(run_sr, "--dataset", pairs, "--output_dir", tmp_path, *flags)
    rows = {row["name"]: row for row in read_results(tmp_path)["rows"]}
    assert list(rows) == ["LensMAE", "Bicubic", "Bilinear", "Nearest", "Least-squares filter 3×3"]
    assert rows["LensMAE"]["psnr"] == pytest.approx(rows["Bicubic"]["psnr"], abs=1e-4)
    model = AutoModelForImageToImage.from_pretrained(tmp_path)
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    image = np.random.default_rng(0).random((16, 16))
    assert model(**processor(image, return_tensors="pt")).reconstruction.shape == (1, 1, 32, 32)


def test_super_resolution_hands_the_encoder_the_stretch_it_was_pretrained_under(launch, pairs, pretrained, tmp_path):
    flags = ["--model_name_or_path", pretrained, "--max_steps", 1, "--filter_size", 3]
    launch(run_sr, "--dataset", pairs, "--output_dir", tmp_path, *flags)
    config = AutoModelForImageToImage.from_pretrained(tmp_path).config
    processor = AutoImageProcessor.from_pretrained(pretrained)
    assert config.sr_encoder_stretch == processor.stretch
    assert config.sr_encoder_mean == pytest.approx(np.atleast_1d(processor.image_mean).tolist())
    images = Dataset.from_parquet(str(pairs / "data/train-00000-of-00001.parquet")).with_format("numpy")["image"][:]
    assert config.sr_pixel_std == pytest.approx([images.std()], rel=1e-3)


def test_a_file_of_arguments_is_read_and_flags_win_over_it(monkeypatch, tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        "dataset: lenses\noutput_dir: out\nlearning_rate: 2e-3\nmax_steps: 7\nlr_scheduler_kwargs:\n  min_lr: 0.1\n"
    )
    monkeypatch.setattr(sys, "argv", ["run_mae.py", str(tmp_path / "recipe.yaml"), "--max_steps", "9"])
    data, model, arguments = command_line.parse_arguments(
        command_line.DataArguments, command_line.ModelArguments, command_line.LensTrainingArguments
    )
    assert data.dataset == "lenses" and arguments.learning_rate == 2e-3 and arguments.max_steps == 9
    assert arguments.lr_scheduler_kwargs == {"min_lr": 0.1}


@pytest.fixture
def parse(monkeypatch, tmp_path):
    """Makes training arguments of flags."""

    def parse_flags(*flags):
        monkeypatch.setattr(sys, "argv", ["run_mae.py", "--output_dir", str(tmp_path), *flags])
        return command_line.parse_arguments(command_line.LensTrainingArguments)[0]

    return parse_flags


def test_the_machine_decides_precision_and_device_until_a_flag_does(parse):
    assert parse().use_cpu is not torch.accelerator.is_available()
    assert parse().bf16 is has_fast_bfloat16()
    assert parse("--bf16", "False").bf16 is False
    assert parse("--bf16").bf16 is True
    assert parse("--bf16", "True", "--use_cpu", "True").bf16 is True


@pytest.mark.parametrize("flag", [True, False], ids=["flag", "launched"])
def test_on_the_cpu_beside_an_accelerator_the_cpu_decides_the_precision(monkeypatch, parse, flag):
    asked = []
    monkeypatch.setattr(command_line, "has_fast_bfloat16", lambda device=None: bool(asked.append(device)))
    monkeypatch.setenv("ACCELERATE_USE_CPU", str(not flag).lower())
    parse("--use_cpu", str(flag))
    assert asked == ["cpu"]


def test_half_precision_by_its_name_takes_the_place_of_the_machines_choice(monkeypatch, parse):
    monkeypatch.setattr(command_line, "has_fast_bfloat16", lambda _: True)
    arguments = parse("--fp16")
    assert (arguments.fp16, arguments.bf16) == (True, False)


def test_a_missing_file_of_arguments_is_named(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run_mae.py", "nowhere.yaml"])
    with pytest.raises(SystemExit, match=r"nowhere\.yaml: no such file"):
        command_line.parse_arguments(command_line.DataArguments)


def test_a_time_budget_becomes_a_number_of_steps_without_changing_the_run(launch, lenses, tmp_path):
    launch(run_mae, "--dataset", lenses, "--output_dir", tmp_path / "timed", "--max_train_seconds", 2)
    steps = read_results(tmp_path / "timed")["training"]["max_steps"]
    assert steps > 1
    launch(run_mae, "--dataset", lenses, "--output_dir", tmp_path / "counted", "--max_steps", steps)
    timed, counted = (
        AutoModelForPreTraining.from_pretrained(tmp_path / name).state_dict() for name in ("timed", "counted")
    )
    assert all(torch.equal(value, counted[name]) for name, value in timed.items())


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(launch, lenses, tmp_path):
    states = []
    for name, seed in (("one", 3), ("two", 3), ("three", 4)):
        launch(run_classification, "--dataset", lenses, "--output_dir", tmp_path / name, "--seed", seed, *QUICK)
        states.append(AutoModelForImageClassification.from_pretrained(tmp_path / name).state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not torch.equal(states[0]["classifier.weight"], states[2]["classifier.weight"])


def test_a_checkpoint_of_another_architecture_is_refused(launch, lenses, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    (tmp_path / "preprocessor_config.json").write_text('{"image_processor_type": "LensMAEImageProcessor"}')
    with pytest.raises(ValueError, match="a checkpoint of a 'vit' model"):
        launch(run_mae, "--dataset", lenses, "--model_name_or_path", tmp_path, "--output_dir", tmp_path / "out")


@pytest.mark.parametrize("script", [run_mae, run_classification, run_sr], ids=lambda script: script.__name__)
def test_what_is_wrong_is_said_in_a_sentence(monkeypatch, tmp_path, script):
    flags = ["--dataset", str(tmp_path / "nowhere"), "--output_dir", str(tmp_path / "run")]
    for more, message in (([], "nowhere"), (["--layer_decay", "3"], "--layer_decay must be above 0")):
        monkeypatch.setattr(sys, "argv", [script.__file__, *flags, *more])
        with pytest.raises(SystemExit, match=rf"^{script.__name__}\.py: .*{message}"):
            runpy.run_path(script.__file__, run_name="__main__")


@pytest.mark.parametrize(
    "broken", [lambda: np.stack([np.zeros(2), np.zeros(3)]), lambda: run_sr._as_list("wide")], ids=["numpy", "ours"]
)
def test_a_bug_keeps_its_traceback(broken):
    with pytest.raises(ValueError, match="same shape|could not convert"):
        command_line.launch(broken)


def test_an_output_folder_is_asked_for(launch, lenses):
    with pytest.raises(ValueError, match="--output_dir is missing"):
        launch(run_mae, "--dataset", lenses)


def test_accelerate_launches_the_scripts(pairs, tmp_path):
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        str(SCRIPTS / "accelerate/cpu.yaml"),
    ]
    command += [str(SCRIPTS / "run_sr.py"), str(SCRIPTS / "recipes/sr_deeplense/train.yaml"), "--dataset", str(pairs)]
    command += ["--output_dir", str(tmp_path / "sr"), "--max_steps", "1", "--filter_size", "3"]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, timeout=120)
    assert read_results(tmp_path / "sr")["training"]["max_steps"] == 1


def test_results_and_card_name_the_augmentation(launch, lenses, tmp_path):
    flags = ["--augmentation", "half_turn", "--augmentation_settings", '{"max_level_step": 0.01}']
    launch(run_classification, "--dataset", lenses, "--output_dir", tmp_path, *flags, *QUICK)
    assert read_results(tmp_path)["training"]["augmentation"] == "half_turn, max_level_step 0.01"
    assert "| augmentation | half_turn, max_level_step 0.01 |" in (tmp_path / "README.md").read_text()
